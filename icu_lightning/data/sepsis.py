"""Sepsis-3: suspected infection and organ dysfunction, from cultures, antibiotics and hourly SOFA (METHODS C.2).

Infection is suspected where a culture is followed by a systemic antibiotic within 72 hours, or an antibiotic by a culture within
24 hours; the earlier of the two is the time. It is sepsis where SOFA, with a baseline of 0, reaches 2 at the end of some hour in
the unit from 48 hours before to 24 hours after. Where a database knows one of them by its date only, days are
counted: 3 and 1. Of several suspicions the earliest that fits counts; its time is the onset.

Nothing charted at or after the prediction time is looked at: a cohort that a model could not have known is none. What is known
by its date only counts if that day is over by then.
Every row of the microbiology tables is a culture, screening swabs too, as in mimic-code.
Deviation: antibiotics of the whole hospital admission count, in mimic-code only those started in the unit; a septic patient often
gets the first dose in the emergency department. mimic-code tries each antibiotic with the earliest culture before it; here
every pair is a suspicion.

eICU has cultures of few hospitals only. There the onset is the first diagnosis of sepsis that a person wrote down: not Sepsis-3,
and the attrition table says so.

References: The Third International Consensus Definitions for Sepsis and Septic Shock (Singer et al., 2016); Assessment of
    Clinical Criteria for Sepsis (Seymour et al., 2016).
"""

import polars as pl

from icu_lightning.data.concepts import all_concepts, concepts_of
from icu_lightning.data.sources.base import Source
from icu_lightning.data.worst import hourly_sofa
from icu_lightning.errors import UserError

CULTURE_FIRST = 72.0  # hours from culture to antibiotic
ANTIBIOTIC_FIRST = 24.0  # hours from antibiotic to culture
DAYS_CULTURE_FIRST, DAYS_ANTIBIOTIC_FIRST = 3, 1
BEFORE, AFTER = 48.0, 24.0  # hours around the suspicion in which SOFA counts
SOFA_RISE = 2


def definition(source: Source) -> str | None:
    """How this database tells sepsis, in the words of the attrition table; None if it cannot."""
    if all(source.name in all_concepts()[name].charted for name in ("culture", "antibiotic")):
        return "Sepsis-3"
    if source.name in all_concepts()["sepsis_diagnosis"].charted:
        return "written diagnosis, not Sepsis-3"
    return None


def sepsis_onset(source: Source, stays: pl.DataFrame, hours: int) -> pl.DataFrame:
    """stay_id and sepsis_onset_hours of the stays with sepsis known before `hours`; from ICU admission, negative before it.

    Raises UserError if the database cannot tell.
    """
    how = definition(source)
    if how is None:
        raise UserError(
            f"data={source.name} has neither cultures and antibiotics nor diagnoses, so sepsis cannot be told: "
            "leave 'sepsis_onset_within' out of data.cohort."
        )
    if how != "Sepsis-3":
        said = _coded(source, stays, "sepsis_diagnosis", hours)
        return said.group_by("stay_id").agg(sepsis_onset_hours=pl.col("hours").min()).sort("stay_id")
    suspected = suspicion(_coded(source, stays, "culture", hours), _coded(source, stays, "antibiotic", hours))
    candidates = stays.join(suspected.select("stay_id").unique(), on="stay_id", how="semi")
    ill = hourly_sofa(source, candidates, hours).filter(pl.col("sofa") >= SOFA_RISE)
    return sepsis3(suspected, ill)


def sepsis3(suspected: pl.DataFrame, ill: pl.DataFrame) -> pl.DataFrame:
    """stay_id, sepsis_onset_hours: the earliest suspicion with an hour of SOFA >= 2 near it.

    Arguments:
        suspected: stay_id, hours.
        ill: stay_id, hour: the ends of the hours with SOFA >= 2.

    >>> suspected = pl.DataFrame({"stay_id": [1, 1, 2], "hours": [-30.0, 10.0, 0.0]})
    >>> ill = pl.DataFrame({"stay_id": [1, 2], "hour": [1, 25]})
    >>> sepsis3(suspected, ill).rows()
    [(1, 10.0)]
    """
    near = pl.col("hour").is_between(pl.col("hours") - BEFORE, pl.col("hours") + AFTER)
    found = suspected.join(ill.select("stay_id", "hour"), on="stay_id").filter(near)
    return found.group_by("stay_id").agg(sepsis_onset_hours=pl.col("hours").min()).sort("stay_id")


def suspicion(cultures: pl.DataFrame, antibiotics: pl.DataFrame) -> pl.DataFrame:
    """Every suspected infection: stay_id, hours (of the earlier of culture and antibiotic).

    Arguments:
        cultures, antibiotics: stay_id, hours, value: 1 at this time, 2 on the day that begins at this time.
    """
    pair = cultures.join(antibiotics, on="stay_id", suffix="_ab")
    dated, dated_ab = pl.col("value") == 2, pl.col("value_ab") == 2
    gap = (pl.col("hours_ab") - pl.col("hours")).round(6)
    # A date stands for its midnight, so a gap from or to one is a number of days and part of a day
    days = pl.when(dated_ab & ~dated).then((gap / 24).ceil()).otherwise((gap / 24).floor())
    close = pl.when(dated | dated_ab).then(days.is_between(-DAYS_ANTIBIOTIC_FIRST, DAYS_CULTURE_FIRST))
    kept = pair.filter(close.otherwise(gap.is_between(-ANTIBIOTIC_FIRST, CULTURE_FIRST)))
    return kept.select("stay_id", hours=pl.min_horizontal("hours", "hours_ab")).unique().sort("stay_id", "hours")


def _coded(source: Source, stays: pl.DataFrame, variable: str, hours: int) -> pl.DataFrame:
    """stay_id, hours, value of the events known before `hours`."""
    over = pl.when(pl.col("value") == 2).then(pl.col("hours") + 24 <= hours).otherwise(pl.col("hours") < hours)
    rows = source.events(concepts_of([variable])).filter(pl.col("stay_id").is_in(stays["stay_id"].implode()) & over)
    return source.collect(rows.select("stay_id", "hours", "value")).unique().sort("stay_id", "hours", "value")
