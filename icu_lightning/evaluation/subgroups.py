"""Who else the numbers hold for: groups of stays by sex, age, ethnicity, unit, insurance, marital status, language, hospital.

A group with fewer stays than `smallest`, or without both classes, is not scored but named, with its size.
"""

from collections.abc import Iterator, Mapping

import polars as pl

AGE_BANDS = {"16-44": (0, 45), "45-64": (45, 65), "65-79": (65, 80), "80 and above": (80, 1000)}
HOSPITALS = {"under 50 stays": (0, 50), "50 to 199 stays": (50, 200), "200 stays and more": (200, 10**9)}
BY = ("sex", "age", "ethnicity", "unit_type", "insurance", "marital_status", "language", "hospital_size")


def subgroups(part: pl.DataFrame, everyone: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(column, group, its stays) of every group, in the order of BY, then of the bands, or by size; unknown is a group too.

    Arguments:
        part: the rows of a split of predictions.parquet.
        everyone: all its rows, which tell the size of a hospital.
    """
    sizes = everyone.group_by("hospital_id").agg(hospital_stays=pl.len())
    table = part.join(sizes, on="hospital_id", how="left", maintain_order="left")
    table = table.with_columns(
        age=_band(pl.col("age"), AGE_BANDS),
        hospital_size=_band(pl.when(pl.col("hospital_id").is_not_null()).then("hospital_stays"), HOSPITALS),
    )
    for column in BY:
        if column not in table.columns or table[column].null_count() == table.height:
            continue
        named = table.with_columns(pl.col(column).fill_null("unknown"))
        for group in _ordered(named[column], column):
            yield column, group, named.filter(pl.col(column) == group)


def _band(number: pl.Expr, bands: Mapping[str, tuple[float, float]]) -> pl.Expr:
    return pl.coalesce(
        pl.when(number.is_between(low, high, closed="left")).then(pl.lit(name)) for name, (low, high) in bands.items()
    )


def _ordered(column: pl.Series, name: str) -> list[str]:
    bands = {"age": AGE_BANDS, "hospital_size": HOSPITALS}.get(name)
    there = dict(column.value_counts().iter_rows())
    if bands is not None:
        return [group for group in (*bands, "unknown") if group in there]
    return sorted(there, key=lambda group: (-there[group], group))
