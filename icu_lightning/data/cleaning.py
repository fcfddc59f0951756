"""Units and plausibility: what a charted number is worth, decided from concepts.yaml alone, and counted.

A charted number is read in its charted unit if it is plausible there, in another unit of the concept if it is plausible
in that one, and is out of range otherwise: a temperature of 98.6 charted as degC is 37.0 degC, one of 300 is nothing.
Every event leaves with a `status`; only `kept`, `converted` and `repaired` ones reach the grid.
"""

from collections.abc import Sequence

import polars as pl

from icu_lightning.data.concepts import Concept, Unit

STATUSES = (
    "kept",
    "converted",
    "repaired",
    "out_of_range",
    "non_numeric",
    "no_time",
    "no_stay",
    "entered_in_error",
    "outside_window",
    "outside_stay",
    "revised_later",
    "stored_later",
)
LAB_TIMES = ("charttime", "storetime")
USABLE = ("kept", "converted", "repaired")


def clean(
    events: pl.LazyFrame,
    concepts: Sequence[Concept],
    hours: float,
    start: float = 0.0,
    *,
    stays: pl.DataFrame | None = None,
    lab_time: str = "charttime",
) -> pl.LazyFrame:
    """Events with `value` in the concept's unit (null unless usable) and their `status`, one of STATUSES:

    kept (charted in the concept's unit), converted (from another unit), repaired (charted in one unit, plausible only
    in another), out_of_range, non_numeric, no_time and no_stay (unreadable), entered_in_error
    (so marked by the database), outside_window (before `start` or at or
    after `hours`), outside_stay (inside the window, but after the unit was left; only where `stays` tell when that was),
    revised_later (charted inside the window, but given this value after it), stored_later (charted inside, but there to be
    read only after it; only where `lab_time` is "storetime").

    >>> from icu_lightning.data.concepts import concepts_of
    >>> said = {"value": [37.0, 98.6, 98.6, 300.0], "unit": ["degC", "degF", "degC", "degC"]}
    >>> said |= {"wrong": False, "revision": 0.0, "stored": 0.0}
    >>> events = pl.LazyFrame({"stay_id": 1, "variable": "temperature", "hours": 1.0, **said})
    >>> cleaned = clean(events, concepts_of(["temperature"]), hours=24)
    >>> cleaned.select(pl.col("value").round(6), "status").sort("status").collect().rows()
    [(37.0, 'kept'), (37.0, 'converted'), (37.0, 'repaired'), (None, 'out_of_range')]
    """
    facts = pl.LazyFrame([_facts(concept, unit) for concept in concepts for unit in concept.units])
    events = events.join(facts, on=["variable", "unit"], how="left")
    if stays is None:
        events = events.with_columns(los_hours=pl.lit(None, pl.Float64))
    else:
        events = events.join(stays.lazy().select("stay_id", "los_hours"), on="stay_id", how="left")
    plausible = pl.col("value").is_between("low", "high")
    value: pl.Expr = pl.when(plausible).then((pl.col("value") - pl.col("subtract")) / pl.col("divide"))
    status = pl.when(plausible).then("said").otherwise(pl.lit("out_of_range"))
    for concept in concepts:
        for unit in concept.units if len(concept.units) > 1 else ():
            value, status = _repaired(concept, unit, plausible, value, status)
    status = (
        pl.when(pl.col("stay_id").is_null())
        .then(pl.lit("no_stay"))
        .when(pl.col("hours").is_null())
        .then(pl.lit("no_time"))
        .when((pl.col("hours") < start) | (pl.col("hours") >= hours))
        .then(pl.lit("outside_window"))
        .when(pl.col("hours") > pl.col("los_hours"))
        .then(pl.lit("outside_stay"))
        .when(pl.col("revision") >= hours)
        .then(pl.lit("revised_later"))
        .when(pl.lit(lab_time == "storetime") & (pl.col("stored") >= hours))
        .then(pl.lit("stored_later"))
        .when(pl.col("wrong"))
        .then(pl.lit("entered_in_error"))
        .when(pl.col("value").is_null())
        .then(pl.lit("non_numeric"))
        .otherwise(status)
        .cast(pl.Enum(STATUSES))
    )
    cleaned = events.with_columns(value=value, status=status).drop(
        "los_hours", "low", "high", "subtract", "divide", "said"
    )
    return cleaned.with_columns(value=pl.when(pl.col("status").is_in(USABLE)).then("value"))


def cleaning_table(counts: pl.DataFrame, variables: Sequence[str]) -> pl.DataFrame:
    """One row a variable: a count a status, and the hour of the latest usable value, from `grid.status_counts`' rows.

    `used_before_stored` are usable values that were stored at or after the window's end. Counts are 0, and the hour is null, where
    there is nothing.
    """
    counted = (*STATUSES, "used_before_stored")
    sums = counts.group_by(pl.col("variable").cast(pl.String)).agg(
        *(pl.col(status).cast(pl.Int64).sum() for status in counted), pl.col("latest_hours").max()
    )
    table = pl.DataFrame({"variable": list(variables)}).join(sums, on="variable", how="left", maintain_order="left")
    return table.with_columns(pl.col(counted).fill_null(0))


def _facts(concept: Concept, unit: Unit) -> dict[str, object]:
    said = "kept" if unit == concept.units[0] else "converted"
    numbers = {name: float(getattr(unit, name)) for name in ("low", "high", "subtract", "divide")}
    return {"variable": concept.name, "unit": unit.name, "said": said, **numbers}


def _repaired(
    concept: Concept, unit: Unit, plausible: pl.Expr, value: pl.Expr, status: pl.Expr
) -> tuple[pl.Expr, pl.Expr]:
    """Read an implausible number in `unit`, where that makes it plausible."""
    applies = ~plausible & (pl.col("variable") == concept.name) & pl.col("value").is_between(unit.low, unit.high)
    reading = (pl.col("value") - unit.subtract) / unit.divide
    return pl.when(applies).then(reading).otherwise(value), pl.when(applies).then(pl.lit("repaired")).otherwise(status)
