"""eICU Collaborative Research Database 2.0 (and its open demo 2.0.1), from the tables as distributed.

Times are minutes from admission to the unit, so a stay's hours are offset / 60. A patient is a `uniquepid`.

References: The eICU Collaborative Research Database (Pollard et al., Scientific Data 2018), doi:10.1038/sdata.2018.178.
"""

import os
from collections.abc import Sequence

import polars as pl

from icu_lightning.data.concepts import Charted, Concept, charted_in
from icu_lightning.data.sources import demographics
from icu_lightning.data.sources.base import EVENTS, STAYS, charted_facts, complete, stay_number
from icu_lightning.data.sources.tables import RawTables, number, unreadable

ACCESS = """Ways to get eICU:
  - the full database (credentialed): https://physionet.org/content/eicu-crd/2.0/
  - the open demo, 2,520 stays:       https://physionet.org/content/eicu-crd-demo/2.0.1/
  - no files at all:                  data=synthetic"""

OFFSET = {
    "vitalPeriodic": "observationoffset",
    "vitalAperiodic": "observationoffset",
    "lab": "labresultoffset",
    "nurseCharting": "nursingchartoffset",
}
# Long tables: the column of the label, of a second label, of the value, of the revision
LONG = {
    "lab": ("labname", None, "labresult", "labresultrevisedoffset"),
    "nurseCharting": ("nursingchartcelltypevallabel", "nursingchartcelltypevalname", "nursingchartvalue", None),
}


class EICU:
    """The eICU database as a `Source`.

    Arguments:
        root: folder of the tables, or one that contains it. Raises UserError if they are not there.
    """

    name = "eicu"
    synthetic = False

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        self.tables = RawTables(root, "eICU", markers=("patient", "vitalPeriodic"), access=ACCESS)
        self.collect = self.tables.collect
        self.fingerprint = self.tables.fingerprint

    def stays(self) -> pl.LazyFrame:
        """`sources.base.STAYS`. The order of a patient's stays is known inside a hospitalisation, by unitvisitnumber.

        Hospitalisations have no date but the year of discharge, so they are ordered by it, then by age in years, then by
        patienthealthsystemstayid, which means nothing: most patients with two in one year and at one age are ordered by it.
        """
        numbers = ("age", "unitdischargeoffset", "hospitaldischargeoffset", "admissionweight")
        order = ("hospitaldischargeyear", "patienthealthsystemstayid", "unitvisitnumber")
        texts = (
            "patientunitstayid",
            "uniquepid",
            "hospitalid",
            "gender",
            "ethnicity",
            "unittype",
            "hospitaldischargestatus",
            "unitdischargestatus",
        )
        raw = self.tables.scan("patient", numbers + texts, optional=order)
        age = pl.when(pl.col("age") == "> 89").then(90.0).otherwise(number("age"))
        return complete(
            raw.select(
                stay_id=number("patientunitstayid"),
                patient_id="uniquepid",
                hospital_id="hospitalid",
                stay_number=stay_number(
                    "uniquepid",
                    number("hospitaldischargeyear"),
                    age.fill_null(-1),
                    number("patienthealthsystemstayid"),
                    number("unitvisitnumber"),
                ),
                los_hours=number("unitdischargeoffset") / 60,
                age=age,
                sex=demographics.sex("gender"),
                ethnicity=demographics.ethnicity("ethnicity"),
                unit_type="unittype",
                weight_kg=number("admissionweight"),
                died_in_hospital=_expired("hospitaldischargestatus"),
                died_in_icu=_expired("unitdischargestatus"),
                death_hours=pl.when(_expired("unitdischargestatus"))
                .then(number("unitdischargeoffset"))
                .when(_expired("hospitaldischargestatus"))
                .then(number("hospitaldischargeoffset"))
                / 60,
                unreadable=unreadable(*numbers, *order, "patientunitstayid", allowed=["> 89"]),
            ),
            STAYS,
        )

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        places = charted_in(self.name, concepts)
        tables = dict.fromkeys(place.table for place in places)
        return pl.concat(self._events(table, [place for place in places if place.table == table]) for table in tables)

    def _events(self, table: str, places: Sequence[Charted]) -> pl.LazyFrame:
        return self._long(table, places) if table in LONG else self._wide(table, places)

    def _wide(self, table: str, places: Sequence[Charted]) -> pl.LazyFrame:
        columns = [place.column for place in places if place.column]
        raw = self.tables.scan(table, ("patientunitstayid", OFFSET[table], *columns))
        rows = raw.unpivot(
            columns, index=["patientunitstayid", OFFSET[table]], variable_name="column", value_name="value"
        )
        facts = pl.LazyFrame([_facts(place) | {"column": place.column} for place in places])
        return _as_events(rows.drop_nulls("value").join(facts, on="column"), OFFSET[table])

    def _long(self, table: str, places: Sequence[Charted]) -> pl.LazyFrame:
        label, second, value, revision = LONG[table]
        columns = [c for c in ("patientunitstayid", OFFSET[table], label, second, value, revision) if c]
        on = [c for c in (label, second) if c]
        facts = charted_facts(places).rename({"label": label} | ({"name": second} if second else {}))
        rows = self.tables.scan(table, columns).rename({value: "value"}).drop_nulls("value").join(facts, on=on)
        return _as_events(rows.with_columns(revision=number(revision) / 60) if revision else rows, OFFSET[table])


def _facts(place: Charted) -> dict[str, object]:
    return {"variable": place.variable, "unit": place.unit, "preference": place.preference}


def _as_events(rows: pl.LazyFrame, offset: str) -> pl.LazyFrame:
    minutes = number(offset)
    return complete(
        rows.with_columns(stay_id=number("patientunitstayid"), hours=minutes / 60, value=number("value")), EVENTS
    )


def _expired(status: str) -> pl.Expr:
    """True if expired, False if alive, null for anything else: an unknown outcome is not survival."""
    return pl.col(status).replace_strict({"Expired": True, "Alive": False}, default=None, return_dtype=pl.Boolean)
