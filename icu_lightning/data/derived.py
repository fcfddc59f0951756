"""Facts of a stay that a cohort's filters, or a score, want and that the stays table of no database has: read when first wanted.

Each is a function: source, stays, prediction time -> (stay_id and the column, what the attrition table says about it).
"""

from collections.abc import Callable

import polars as pl

from icu_lightning.data.concepts import all_concepts
from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.infusions import RAN, clean_infusions
from icu_lightning.data.sepsis import definition, sepsis_onset
from icu_lightning.data.sources.base import Source
from icu_lightning.data.worst import usable_events

WEIGHED = 24  # hours before and after admission to the unit in which a charted weight is that at admission

Fact = tuple[pl.DataFrame, str | None]


def sepsis_onset_hours(source: Source, stays: pl.DataFrame, hours: int) -> Fact:
    """See `sepsis.sepsis_onset`; the attrition table names the definition."""
    return sepsis_onset(source, stays, hours), definition(source)


def first_vasoactive_hours(source: Source, stays: pl.DataFrame, hours: int) -> Fact:
    """Hour in the unit, from 0, in which the first of the six drugs of the VIS began to run, at whatever rate but 0."""
    drugs = vis_drugs()
    rows = source.collect(source.infusions(drugs)).join(stays.select("stay_id"), on="stay_id", how="semi")
    ran = clean_infusions(rows, drugs, stays.select("stay_id", "weight_kg"), hours).filter(
        pl.col("status").cast(pl.String).is_in(RAN)
        & (pl.col("rate").is_null() | (pl.col("rate") > 0))
        & (pl.col("end_hours") > pl.col("start_hours"))
    )
    return ran.group_by("stay_id").agg(first_vasoactive_hours=pl.col("start_hours").min()), None


def hospital_charts_infusions(source: Source, stays: pl.DataFrame, hours: int) -> Fact:
    """True for the stays of hospitals with an infusion of one of the six drugs in any stay, in the cohort or not.

    Many hospitals of eICU chart none. Where the database names no hospitals, it is one. What begins at or after the prediction
    time of its stay does not count: a hospital of a single stay would otherwise tell of that stay's future.
    """
    early = pl.col("start_hours") < hours
    infused = source.collect(source.infusions(vis_drugs()).filter(early).select("stay_id")).unique()
    everyone = source.collect(source.stays().select("stay_id", pl.col("hospital_id").fill_null("")))
    charting = everyone.join(infused, on="stay_id", how="semi")["hospital_id"].unique()
    there = pl.col("hospital_id").fill_null("").is_in(charting.implode())
    return stays.select("stay_id", hospital_charts_infusions=there), None


DERIVED: dict[str, Callable[[Source, pl.DataFrame, int], Fact]] = {
    f.__name__: f for f in (sepsis_onset_hours, first_vasoactive_hours, hospital_charts_infusions)
}


def with_weight(source: Source, stays: pl.DataFrame, hours: int) -> pl.DataFrame:
    """Stays with `weight_kg`, where the stays table has none, as first charted within a day of admission, before `hours`."""
    if source.name not in all_concepts()["weight"].charted or not stays["weight_kg"].null_count():
        return stays
    events = usable_events(source, ["weight"], stays, min(WEIGHED, hours), -WEIGHED)
    first = pl.col("value").min_by(pl.struct("hours", "preference", "value"))
    weights = source.collect(events.group_by("stay_id").agg(charted=first))
    stays = stays.join(weights, on="stay_id", how="left", maintain_order="left")
    return stays.with_columns(pl.coalesce("weight_kg", "charted").alias("weight_kg")).drop("charted")
