"""Source -> cohort -> cleaning -> grid: everything that happens before a split, with nothing fitted and no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from icu_lightning.data.cleaning import clean, cleaning_table
from icu_lightning.data.cohort import Derive, Step, select_cohort
from icu_lightning.data.concepts import concepts_of, with_ingredients
from icu_lightning.data.derived import DERIVED, with_weight
from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.grid import dense, derive, hourly_cells, preferred, status_counts
from icu_lightning.data.infusions import UNREAD, clean_infusions, infusion_table, unknown_units
from icu_lightning.data.sources.base import Source
from icu_lightning.data.storage import known_by
from icu_lightning.data.vis import hourly_rates
from icu_lightning.data.worst import COMPONENTS, scores_and_components


@dataclass(frozen=True)
class Extract:
    """The cohort and its hourly values, in clinical units.

    stays: (B rows) as `sources.base.STAYS`, sorted by stay_id.
    values: (B, T, V) float32, NaN where not measured.
    attrition, cleaning: what was left out, and what was changed, and why.
    rates: (B, T, D) float32, the hourly rates of the vasoactive drugs, NaN where one ran at an unknown rate; None unless asked for.
    assumed: (B, T, D) float32, what of the rates rests on 80 kg, because no weight was charted (see `weights`); None if nothing.
    units: units of infusions that nobody can read, see `infusions.unknown_units`.
    components: of the scores that were asked for, and in how many stays nothing of each was measured, see
        `worst.scores_and_components`.

    Scores that were asked for are columns of `stays`, by their names.
    """

    stays: pl.DataFrame
    values: np.ndarray
    attrition: pl.DataFrame
    cleaning: pl.DataFrame
    rates: np.ndarray | None = None
    assumed: np.ndarray | None = None
    units: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=UNREAD))
    components: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COMPONENTS))


def extract(
    source: Source,
    hours: int,
    variables: Sequence[str],
    cohort: Sequence[Step],
    outcome: str,
    scores: Sequence[str] = (),
    vis: str | None = None,
    vis_extended: bool = False,
    weighed: bool = False,
    lab_time: str = "charttime",
    step: Callable[[str], object] = lambda _: None,
) -> Extract:
    """Read a database down to the cohort's hourly grid.

    Arguments:
        hours, variables: T and V of the grid.
        cohort, outcome: see `select_cohort`.
        scores: of `severity.SCORES`; all five are computed if any is asked for.
        vis, vis_extended: how an hour's drug rate is summarised, see `vis.hourly_rates`; None reads no infusions.
        weighed: `weight_kg` also from where weights are charted, which is another pass over the longest table; scores and rates,
            which need it, see to it themselves.
        lab_time: "storetime" leaves out what was charted inside the window, but stored at its end or later, as not known then;
            with "charttime" such values are counted.
        step: told in words what is being done, for a progress bar.

    Raises UserError for what a person got wrong: files, columns, names, an empty cohort.
    """
    wanted = with_ingredients(source.name, concepts_of(variables))
    known = known_by(source, hours) if lab_time == "storetime" else source
    step(f"{source.name}: stays")
    everyone = source.collect(source.stays())
    step("cohort")
    stays, attrition = select_cohort(everyone, cohort, outcome, _derive(known, hours))
    if weighed or scores or vis is not None:
        stays = with_weight(source, stays, hours)
    step("events to hours")
    events = _of_cohort(source.events(wanted), stays, everyone)
    cleaned = clean(events, wanted, hours, stays=stays, lab_time=lab_time)
    cells = source.collect(hourly_cells(cleaned, wanted, hours))
    step("grid")
    names = [concept.name for concept in wanted]
    values = dense(preferred(cells, wanted), stays["stay_id"], names, hours)
    derived = derive(values, wanted)
    cleaning = cleaning_table(status_counts(cells), names).with_columns(
        derived=pl.col("variable").replace_strict(derived, default=0, return_dtype=pl.Int64),
        cells=pl.Series(np.isfinite(values).sum((0, 1))),
    )
    rates = assumed = None
    beside: dict[str, pl.DataFrame] = {}
    if vis is not None:
        step("infusions to hours")
        rates, assumed, of_drugs, beside["units"] = _rates(source, stays, everyone, hours, vis, vis_extended)
        cleaning = pl.concat([cleaning, of_drugs], how="diagonal")
    if scores:
        step("severity scores")
        points, components = scores_and_components(known, stays, hours)
        beside["components"] = components.filter(pl.col("score").is_in(list(scores)))
        stays = stays.join(points, on="stay_id", how="left", maintain_order="left")
    asked_for = np.ascontiguousarray(values[..., : len(variables)])
    return Extract(stays, asked_for, attrition, _with_unreadable(cleaning, stays), rates, assumed, **beside)


def _derive(source: Source, hours: int) -> Derive:
    def fact(column: str, stays: pl.DataFrame) -> tuple[pl.DataFrame, str | None]:
        weighed = with_weight(source, stays, hours)  # CareVue's rates a minute need it
        return DERIVED[column](source, weighed, hours)

    return fact


def _of_cohort(rows: pl.LazyFrame, stays: pl.DataFrame, everyone: pl.DataFrame) -> pl.LazyFrame:
    """The rows of the cohort's stays, and, to be counted, those of no stay: their stay_id, null or not in the stays table, is null."""
    stay_id = pl.col("stay_id")
    rows = rows.with_columns(pl.when(stay_id.is_in(everyone["stay_id"].implode())).then(stay_id).alias("stay_id"))
    return rows.filter(stay_id.is_in(stays["stay_id"].implode()) | stay_id.is_null())


def _rates(
    source: Source, stays: pl.DataFrame, everyone: pl.DataFrame, hours: int, how: str, extended: bool
) -> tuple[np.ndarray, np.ndarray | None, pl.DataFrame, pl.DataFrame]:
    """(B, T, D) rates and what of them rests on an assumed weight; the rows of the cleaning table: a count a status, the
    hours in which a drug ran, the latest start; and `unknown_units`."""
    drugs = vis_drugs(extended)
    charted = source.collect(_of_cohort(source.infusions(drugs), stays, everyone))
    infusions = clean_infusions(charted, drugs, stays.select("stay_id", "weight_kg"), hours)
    rates = hourly_rates(infusions, drugs, stays["stay_id"], hours, how).astype(np.float32)
    unweighed = infusions.filter(pl.col("status") == "assumed_weight")
    assumed = (
        hourly_rates(unweighed, drugs, stays["stay_id"], hours, how).astype(np.float32) if unweighed.height else None
    )
    ran = pl.Series("cells", ((rates > 0) | np.isnan(rates)).sum((0, 1)), dtype=pl.Int64)
    # Where a hospital charts no infusions at all, nobody knows of any stay that none ran
    charting, _ = DERIVED["hospital_charts_infusions"](source, stays, hours)
    known = stays.select("stay_id").join(charting, on="stay_id", how="left", maintain_order="left")
    rates[~known["hospital_charts_infusions"].fill_null(False).to_numpy()] = np.nan
    table = infusion_table(infusions, [drug.name for drug in drugs]).with_columns(ran)
    return rates, assumed, table, unknown_units(infusions)


def _with_unreadable(cleaning: pl.DataFrame, stays: pl.DataFrame) -> pl.DataFrame:
    """The cleaning table, and a row for each column of the stays table with cells that held no number where one was due."""
    counts = stays.explode("unreadable", empty_as_null=True).drop_nulls("unreadable").group_by("unreadable").len()
    rows = counts.sort("unreadable").select(variable="unreadable", non_numeric=pl.col("len").cast(pl.Int64))
    return pl.concat([cleaning, rows], how="diagonal").with_columns(pl.exclude("variable", "latest_hours").fill_null(0))
