"""MIMIC-III 1.4 (and its open demo), CareVue and MetaVision, from the tables as distributed.

A patient is a `subject_id`. Rows of chartevents that the database marks as wrong (error = 1) are counted as
`entered_in_error`; rows without an icustay_id, and all laboratory values, belong to the stay during which they were charted.

References: MIMIC-III, a freely accessible critical care database (Johnson et al., Scientific Data 2016).
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
from icu_lightning.data.sources.mimic_infusions import carevue_infusions, metavision_infusions
from icu_lightning.data.sources.tables import RawTables

ACCESS = """Ways to get MIMIC-III:
  - the full database (credentialed): https://physionet.org/content/mimiciii/1.4/
  - the open demo, 136 stays:         https://physionet.org/content/mimiciii-demo/1.4/
  - no files at all:                  data=synthetic"""

DEMO = "16131fbf9b9fa4c59c3cb8acf56aeb369d54e5c383a1ef6c12a75ef46c59091f"  # `ids_digest` of the open demo's 136 stays
DICTIONARIES = {"chartevents": "d_items", "outputevents": "d_items", "labevents": "d_labitems"}
DICTIONARIES |= {"inputevents_cv": "d_items", "inputevents_mv": "d_items"}

CODED = {
    "microbiologyevents": Coded("microbiologyevents", ["spec_type_desc"], "subject_id", "charttime", "chartdate"),
    "prescriptions": Coded("prescriptions", ["drug"], "hadm_id", day="startdate"),
    "services": Coded("services", ["curr_service"], "hadm_id", "transfertime"),
    "admissions": Coded("admissions", ["admission_type"], "hadm_id", "admittime"),
    "diagnoses_icd": Coded("diagnoses_icd", ["icd9_code"], "hadm_id", version="9"),
}


class MIMIC3:
    """MIMIC-III as a `Source`.

    Arguments:
        root: folder of the tables, or one that contains it. Raises UserError if they are not there.
    """

    name = "mimic3"

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        self.tables = RawTables(root, "MIMIC-III", markers=("icustays", "admissions", "chartevents"), access=ACCESS)
        self.collect, self.synthetic = self.tables.collect, self.tables.synthetic
        self.fingerprint = self.tables.fingerprint

    @cached_property
    def open_data(self) -> bool:
        return self.synthetic or self.tables.ids_digest("icustays", "icustay_id") == DEMO

    def stays(self) -> pl.LazyFrame:
        stay = self.tables.scan(
            "icustays", ["icustay_id", "subject_id", "hadm_id", "first_careunit", "intime", "outtime"]
        )
        admission = self.tables.scan("admissions", [*ADMISSION, "ethnicity"])
        patient = self.tables.scan("patients", ["subject_id", "gender", "dob"])
        rows = stay.join(admission, on="hadm_id", how="left").join(patient, on="subject_id", how="left")
        # Dates of birth of patients above 89 are shifted so that their age becomes about 300: above 89, as it was
        age = hours_between(time("dob"), pl.col("intime")) / 24 / 365.2425
        return as_stays(rows, stay_id="icustay_id", ethnicity="ethnicity", age=age, checked=[])

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        places, times = charted_in(self.name, concepts), self._times()
        parts = coded_events(self.tables, CODED, places, times)
        for table, error in {"chartevents": "error", "outputevents": "iserror"}.items():
            if own := [place for place in places if place.table == table]:
                rows = items(self.tables, table, ["icustay_id", "hadm_id"], own, optional=[error])
                rows = rows.rename({"icustay_id": "stay_id"}).with_columns(wrong=pl.col(error) == "1")
                parts.append(linked_by_id(rows.filter(pl.col("stay_id").is_not_null()), times))
                unlinked = rows.filter(pl.col("stay_id").is_null()).drop("stay_id")
                parts.append(linked_by_time(unlinked, times, on="hadm_id"))
        if labs := [place for place in places if place.table == "labevents"]:
            rows = items(self.tables, "labevents", ["subject_id"], labs)
            rows = of_specimen(rows, self.tables, "labevents", labs, kind="50800", key=["subject_id", "charted"])
            parts.append(linked_by_time(rows, times, on="subject_id", before=BEFORE))
        return as_events(parts)

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        places, times = drug_places(self.name, drugs), self._times()
        carevue = [place for place in places if place.table == "inputevents_cv"]
        metavision = [place for place in places if place.table == "inputevents_mv"]
        return pl.concat(
            [
                carevue_infusions(self.tables, carevue, times),
                metavision_infusions(self.tables, "inputevents_mv", "icustay_id", metavision, times),
            ]
        )

    def unlisted_items(self, places: Sequence[Charted]) -> str | None:
        return unlisted_items(self.tables, DICTIONARIES, places)

    def incomplete(self) -> str | None:
        return without_rows(self.tables, "icustays", {"admissions": "hadm_id", "patients": "subject_id"})

    def _times(self) -> pl.LazyFrame:
        times = self.tables.scan("icustays", ["icustay_id", "subject_id", "hadm_id", "intime", "outtime"])
        discharge = self.tables.scan("admissions", ["hadm_id", "dischtime"])
        times = times.rename({"icustay_id": "stay_id"}).join(discharge, on="hadm_id", how="left")
        return times.with_columns(time("intime"), time("outtime"), time("dischtime"))
