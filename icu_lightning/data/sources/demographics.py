"""One vocabulary for what the databases chart of a person in their own words."""

import polars as pl

# The first pattern that a charted ethnicity or race contains (in upper case) decides; what contains none is unknown.
ETHNICITY = {
    "HISPANIC|LATINO|SOUTH AMERICAN|PORTUGUESE": "hispanic",
    "BLACK|AFRICAN": "black",
    "WHITE|CAUCASIAN|MIDDLE EASTERN": "white",
    "NATIVE HAWAIIAN|PACIFIC ISLANDER": "native",
    "AMERICAN INDIAN|ALASKA NATIVE|NATIVE AMERICAN|CARIBBEAN ISLAND": "native",
    "ASIAN": "asian",
    "MULTI|MULTIPLE": "other",
}


def ethnicity(column: str) -> pl.Expr:
    """white, black, hispanic, asian, native, other, or null.

    >>> said = pl.DataFrame({"e": ["BLACK/CAPE VERDEAN", "Caucasian", "HISPANIC/LATINO - CUBAN", "Other/Unknown", None]})
    >>> said.select(ethnicity("e"))["e"].to_list()
    ['black', 'white', 'hispanic', None, None]
    """
    text = pl.col(column).str.to_uppercase()
    group = pl.coalesce(pl.when(text.str.contains(pattern)).then(pl.lit(name)) for pattern, name in ETHNICITY.items())
    return group.alias(column)


def sex(column: str) -> pl.Expr:
    """female, male, or null, from F, Female, M, Male in any case."""
    first = pl.col(column).str.to_uppercase()
    return first.replace_strict({"F": "female", "FEMALE": "female", "M": "male", "MALE": "male"}, default=None)
