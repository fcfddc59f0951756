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
    "MULTI|MULTIPLE|^OTHER$": "other",
}


UNKNOWN = ("", "unknown", "unknown_default")  # of blanks, '?', 'UNKNOWN (DEFAULT)'

# MIMIC-III's codes of which there is no doubt, and words of MIMIC-IV 3.x for the same language
LANGUAGE = {
    "alba": "albanian",
    "arab": "arabic",
    "camb": "khmer",
    "cambodian": "khmer",
    "cant": "chinese",
    "cantonese": "chinese",
    "cape": "kabuverdianu",
    "cape_verdean": "kabuverdianu",
    "engl": "english",
    "fren": "french",
    "germ": "german",
    "gree": "greek",
    "hait": "haitian",
    "haitian_creole": "haitian",
    "hind": "hindi",
    "ital": "italian",
    "japa": "japanese",
    "kore": "korean",
    "mand": "chinese",
    "mandarin": "chinese",
    "modern_greek_1453": "greek",
    "pers": "persian",
    "poli": "polish",
    "ptun": "portuguese",
    "russ": "russian",
    "span": "spanish",
    "turk": "turkish",
    "viet": "vietnamese",
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


def insurance(column: str) -> pl.Expr:
    """medicare, medicaid, private, government, self_pay, no_charge, other, or what else is charted as such a word; or null.

    >>> said = pl.DataFrame({"i": ["Medicare", "Self Pay", "No charge", "?", None]})
    >>> said.select(insurance("i"))["i"].to_list()
    ['medicare', 'self_pay', 'no_charge', None, None]
    """
    return _word(column)


def marital_status(column: str) -> pl.Expr:
    """single, married, divorced, widowed, separated, life_partner, or what else is charted as such a word; or null.

    >>> said = pl.DataFrame({"m": ["SINGLE", "Life Partner", "UNKNOWN (DEFAULT)", None]})
    >>> said.select(marital_status("m"))["m"].to_list()
    ['single', 'life_partner', None, None]
    """
    return _word(column)


def language(column: str) -> pl.Expr:
    """The language's English name in lower case, or a code of unknown meaning as charted, or null.

    MIMIC-IV 2.x names English only and hides every other language as '?'; that is unknown here.

    >>> said = pl.DataFrame({"l": ["ENGL", "ENGLISH", "English", "CANT", "Modern Greek (1453-)", "**SHA", "?"]})
    >>> said.select(language("l"))["l"].to_list()
    ['english', 'english', 'english', 'chinese', 'greek', 'sha', None]
    """
    return _word(column).replace(LANGUAGE)


def _word(column: str) -> pl.Expr:
    """Lower case, with an underscore for whatever is neither letter nor digit; null where nothing or UNKNOWN is said."""
    word = pl.col(column).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", "_").str.strip_chars("_")
    return pl.when(~word.is_in(UNKNOWN)).then(word).alias(column)
