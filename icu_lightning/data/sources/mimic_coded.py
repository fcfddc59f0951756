"""Coded events of MIMIC-III and MIMIC-IV: rows that say something by being there, or in words, not by a number.

Cultures, antibiotics, services, admissions and diagnoses name a patient or an admission, not a stay; each row becomes an
event of every stay of that patient or admission, with its hours from that stay's admission to the unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from icu_lightning.data.concepts import Charted
from icu_lightning.data.sources.base import said
from icu_lightning.data.sources.mimic import linked_by_time, time
from icu_lightning.data.sources.tables import RawTables

NOT_SYSTEMIC = ("OU", "OS", "OD", "AU", "AS", "AD", "TP")  # routes: eyes, ears, skin
AROUND = 7 * 24  # hours before admission to the unit, and after leaving it, that can still make an infection suspected
ALWAYS = 1e5  # hours, eleven years: longer than any admission


@dataclass(frozen=True)
class Coded:
    """How a table is read.

    Arguments:
        table: where it lies.
        text: columns whose text, joined by ":", says what the row means.
        time, day: column of the time, and of the date where there is no time. Without either, the time of discharge.
        on: subject_id or hadm_id.
        version: what stands before the text where the table does not tell it (ICD-9 in MIMIC-III).
    """

    table: str
    text: Sequence[str]
    on: str
    time: str | None = None
    day: str | None = None
    version: str | None = None


def coded_events(
    tables: RawTables, how: Mapping[str, Coded], places: Sequence[Charted], times: pl.LazyFrame
) -> list[pl.LazyFrame]:
    """Linked rows of every coded table among the places.

    Arguments:
        times: stay_id, subject_id, hadm_id, intime, outtime, dischtime of every stay.
    """
    parts = []
    for name, coded in how.items():
        own = [place for place in places if place.table == name]
        if own:
            parts.append(_coded(tables, coded, own, times))
    return parts


def _coded(tables: RawTables, coded: Coded, places: Sequence[Charted], times: pl.LazyFrame) -> pl.LazyFrame:
    times_of_row = [column for column in (coded.time, coded.day) if column]
    rows = tables.scan(coded.table, [coded.on, *coded.text, *times_of_row], optional=["route", "drug_type"])
    systemic = pl.col("route").is_in(NOT_SYSTEMIC) | pl.col("route").str.contains("(?i)eye|ear")
    rows = rows.filter(systemic.not_().fill_null(True) & (pl.col("drug_type") != "BASE").fill_null(True))
    version = [pl.lit(coded.version)] if coded.version else []
    text = pl.concat_str([*version, *coded.text], separator=":")
    clock = time(coded.time) if coded.time else pl.lit(None, pl.Datetime("us"))
    day = time(coded.day) if coded.day else pl.lit(None, pl.Datetime("us"))
    rows = rows.select(coded.on, text=text, charttime=pl.coalesce(clock, day), day_only=clock.is_null())
    rows = rows.join(_facts(places), how="cross").with_columns(said(places, "text", pl.lit(None, pl.Float64)))
    rows = rows.filter(pl.col("value").is_not_nan())
    if coded.day:  # 1 at this time, 2 on this day
        rows = rows.with_columns(value=pl.when("day_only").then(2.0).otherwise(pl.col("value")))
    if not (coded.time or coded.day):
        rows = rows.drop("charttime").join(times.select(coded.on, charttime="dischtime").unique(), on=coded.on)
        # Discharge may come weeks after the unit was left, and says what the admission was about all the same
        return linked_by_time(rows, times, on=coded.on, before=ALWAYS, after=ALWAYS)
    before = AROUND if coded.on == "subject_id" else ALWAYS
    return linked_by_time(rows, times, on=coded.on, before=before, after=AROUND)


def _facts(places: Sequence[Charted]) -> pl.LazyFrame:
    return pl.LazyFrame(
        [{"variable": place.variable, "unit": place.unit, "preference": place.preference} for place in places],
        schema_overrides={"preference": pl.Int8},
    )
