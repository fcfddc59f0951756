"""MIMIC-III 1.4 (and its open demo), CareVue and MetaVision, from the tables as distributed.

A patient is a `subject_id`. Rows of chartevents that the database marks as wrong (error = 1) are counted as
`entered_in_error`; rows without an icustay_id, and all laboratory values, belong to the stay during which they were charted.

References: MIMIC-III, a freely accessible critical care database (Johnson et al., Scientific Data 2016).
"""

import os
from collections.abc import Sequence

import polars as pl

from icu_lightning.data.concepts import Concept, charted_in
from icu_lightning.data.sources.mimic import (
    ADMISSION,
    as_events,
    as_stays,
    hours_between,
    items,
    linked_by_id,
    linked_by_time,
    time,
)
from icu_lightning.data.sources.tables import RawTables

ACCESS = """Ways to get MIMIC-III:
  - the full database (credentialed): https://physionet.org/content/mimiciii/1.4/
  - the open demo, 136 stays:         https://physionet.org/content/mimiciii-demo/1.4/
  - no files at all:                  data=synthetic"""


class MIMIC3:
    """MIMIC-III as a `Source`.

    Arguments:
        root: folder of the tables, or one that contains it. Raises UserError if they are not there.
    """

    name = "mimic3"
    synthetic = False

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        self.tables = RawTables(root, "MIMIC-III", markers=("icustays", "admissions", "chartevents"), access=ACCESS)
        self.collect = self.tables.collect
        self.fingerprint = self.tables.fingerprint

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
        places = charted_in(self.name, concepts)
        times = self.tables.scan("icustays", ["icustay_id", "subject_id", "hadm_id", "intime", "outtime"])
        times = times.rename({"icustay_id": "stay_id"}).with_columns(time("intime"), time("outtime"))
        chart, labs = ([place for place in places if place.table == table] for table in ("chartevents", "labevents"))
        parts = []
        if chart:
            rows = items(self.tables, "chartevents", ["icustay_id", "hadm_id"], chart, optional=["error"])
            rows = rows.rename({"icustay_id": "stay_id"}).with_columns(wrong=pl.col("error") == "1")
            parts.append(linked_by_id(rows.filter(pl.col("stay_id").is_not_null()), times))
            parts.append(linked_by_time(rows.filter(pl.col("stay_id").is_null()).drop("stay_id"), times, on="hadm_id"))
        if labs:
            parts.append(linked_by_time(items(self.tables, "labevents", ["subject_id"], labs), times, on="subject_id"))
        return as_events(parts)
