"""Source -> cohort -> cleaning -> grid: everything that happens before a split, with nothing fitted and no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from icu_lightning.data.cleaning import clean, cleaning_table
from icu_lightning.data.cohort import Step, select_cohort
from icu_lightning.data.concepts import concepts_of, with_ingredients
from icu_lightning.data.grid import dense, derive, hourly_cells, preferred
from icu_lightning.data.sources.base import Source


@dataclass(frozen=True)
class Extract:
    """The cohort and its hourly values, in clinical units.

    stays: (B rows) as `sources.base.STAYS`, sorted by stay_id.
    values: (B, T, V) float32, NaN where not measured.
    attrition, cleaning: what was left out, and what was changed, and why.
    """

    stays: pl.DataFrame
    values: np.ndarray
    attrition: pl.DataFrame
    cleaning: pl.DataFrame


def extract(
    source: Source,
    hours: int,
    variables: Sequence[str],
    cohort: Sequence[Step],
    outcome: str,
    step: Callable[[str], object] = lambda _: None,
) -> Extract:
    """Read a database down to the cohort's hourly grid.

    Arguments:
        hours, variables: T and V of the grid.
        cohort, outcome: see `select_cohort`.
        step: told in words what is being done, for a progress bar.

    Raises UserError for what a person got wrong: files, columns, names, an empty cohort.
    """
    wanted = with_ingredients(concepts_of(variables))
    step(f"{source.name}: stays")
    everyone = source.collect(source.stays())
    step("cohort")
    stays, attrition = select_cohort(everyone, cohort, outcome)
    step("events to hours")
    in_cohort = pl.col("stay_id").is_in(stays["stay_id"].implode()) | pl.col("stay_id").is_null()
    events = source.events(wanted).filter(in_cohort)
    cells = source.collect(hourly_cells(clean(events, wanted, hours)))
    step("grid")
    names = [concept.name for concept in wanted]
    values = dense(preferred(cells, wanted), stays["stay_id"], names, hours)
    derived = derive(values, wanted)
    cleaning = cleaning_table(cells, names).with_columns(
        derived=pl.col("variable").replace_strict(derived, default=0, return_dtype=pl.Int64),
        cells=pl.Series(np.isfinite(values).sum((0, 1))),
    )
    asked_for = np.ascontiguousarray(values[..., : len(variables)])
    return Extract(stays, asked_for, attrition, _with_unreadable(cleaning, stays))


def _with_unreadable(cleaning: pl.DataFrame, stays: pl.DataFrame) -> pl.DataFrame:
    """The cleaning table, and a row for each column of the stays table with cells that held no number where one was due."""
    counts = stays.explode("unreadable", empty_as_null=True).drop_nulls("unreadable").group_by("unreadable").len()
    rows = counts.sort("unreadable").select(variable="unreadable", non_numeric=pl.col("len").cast(pl.Int64))
    return pl.concat([cleaning, rows], how="diagonal").with_columns(pl.exclude("variable", "latest_hours").fill_null(0))
