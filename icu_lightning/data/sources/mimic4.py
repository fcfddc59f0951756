"""MIMIC-IV 2.x and 3.x (and its open demo), from the tables as distributed: folders hosp/ and icu/.

Columns are taken by name, so that versions that add, drop or move columns read alike. A patient is a `subject_id`.

References: MIMIC-IV, a freely accessible electronic health record dataset (Johnson et al., Scientific Data 2023).
"""

import os
from collections.abc import Sequence
from functools import cached_property

import polars as pl

from icu_lightning.data.concepts import Charted, Concept, charted_in
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.dictionary import unlisted_items
from icu_lightning.data.sources.infusions import drug_places
from icu_lightning.data.sources.mimic import (
    ADMISSION,
    BEFORE,
    as_events,
    as_stays,
    hours_between,
    items,
    linked_by_id,
    linked_by_time,
    of_specimen,
    time,
    without_rows,
)
from icu_lightning.data.sources.mimic_coded import Coded, coded_events
from icu_lightning.data.sources.mimic_infusions import metavision_infusions
from icu_lightning.data.sources.tables import RawTables, number

ACCESS = """Ways to get MIMIC-IV:
  - the full database (credentialed): https://physionet.org/content/mimiciv/
  - the open demo, 140 stays:         https://physionet.org/content/mimic-iv-demo/2.2/
  - no files at all:                  data=synthetic"""

DEMO = "d20f0ad9c1f0f0bcf8b2cf28c66610b0808e1f3809e0063c5f8ea329cb6ba70b"  # `ids_digest` of the open demo's 140 stays
DICTIONARIES = {"chartevents": "icu/d_items", "outputevents": "icu/d_items", "labevents": "hosp/d_labitems"}
DICTIONARIES |= {"inputevents": "icu/d_items"}

CODED = {
    "microbiologyevents": Coded("hosp/microbiologyevents", ["spec_type_desc"], "subject_id", "charttime", "chartdate"),
    "prescriptions": Coded("hosp/prescriptions", ["drug"], "hadm_id", "starttime"),
    "services": Coded("hosp/services", ["curr_service"], "hadm_id", "transfertime"),
    "admissions": Coded("hosp/admissions", ["admission_type"], "hadm_id", "admittime"),
    "diagnoses_icd": Coded("hosp/diagnoses_icd", ["icd_version", "icd_code"], "hadm_id"),
}


class MIMIC4:
    """MIMIC-IV as a `Source`.

    Arguments:
        root: folder of the tables (the one above hosp/ and icu/), or one that contains it. Raises UserError if not there.
    """

    name = "mimic4"
    tells_storage = True  # of laboratory values

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        self.tables = RawTables(root, "MIMIC-IV", markers=("icu/icustays", "hosp/admissions"), access=ACCESS)
        self.collect, self.synthetic = self.tables.collect, self.tables.synthetic
        self.fingerprint = self.tables.fingerprint

    @cached_property
    def open_data(self) -> bool:
        return self.synthetic or self.tables.ids_digest("icu/icustays", "stay_id") == DEMO

    def stays(self) -> pl.LazyFrame:
        stay = self.tables.scan(
            "icu/icustays", ["stay_id", "subject_id", "hadm_id", "first_careunit", "intime", "outtime"]
        )
        admission = self.tables.scan("hosp/admissions", ADMISSION, one_of=("race", "ethnicity"))
        patient = self.tables.scan("hosp/patients", ["subject_id", "gender", "anchor_age", "anchor_year"])
        rows = stay.join(admission, on="hadm_id", how="left").join(patient, on="subject_id", how="left")
        # Ages above 89 are stored as 91 in anchor_year, so they stay above 89
        age = number("anchor_age") + pl.col("intime").dt.year() - number("anchor_year")
        return as_stays(rows, stay_id="stay_id", ethnicity="race", age=age, checked=["anchor_age", "anchor_year"])

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        places, times = charted_in(self.name, concepts), self._times()
        parts = coded_events(self.tables, CODED, places, times)
        for table in ("chartevents", "outputevents"):
            if own := [place for place in places if place.table == table]:
                parts.append(linked_by_id(items(self.tables, f"icu/{table}", ["stay_id"], own), times))
        if labs := [place for place in places if place.table == "labevents"]:
            rows = items(self.tables, "hosp/labevents", ["subject_id"], labs, optional=["specimen_id", "storetime"])
            rows = of_specimen(rows, self.tables, "hosp/labevents", labs, kind="52033", key=["specimen_id"])
            linked = linked_by_time(rows, times, on="subject_id", before=BEFORE)
            parts.append(linked.with_columns(stored=hours_between(pl.col("intime"), time("storetime"))))
        return as_events(parts)

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        places = drug_places(self.name, drugs)
        return metavision_infusions(self.tables, "icu/inputevents", "stay_id", places, self._times())

    def unlisted_items(self, places: Sequence[Charted]) -> str | None:
        return unlisted_items(self.tables, DICTIONARIES, places)

    def incomplete(self) -> str | None:
        return without_rows(self.tables, "icu/icustays", {"hosp/admissions": "hadm_id", "hosp/patients": "subject_id"})

    def _times(self) -> pl.LazyFrame:
        times = self.tables.scan("icu/icustays", ["stay_id", "subject_id", "hadm_id", "intime", "outtime"])
        discharge = self.tables.scan("hosp/admissions", ["hadm_id", "dischtime"])
        times = times.join(discharge, on="hadm_id", how="left")
        return times.with_columns(time("intime"), time("outtime"), time("dischtime"))
