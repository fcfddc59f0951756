"""eICU Collaborative Research Database 2.0 (and its open demo 2.0.1), from the tables as distributed.

Times are minutes from admission to the unit, so a stay's hours are offset / 60. A patient is a `uniquepid`.

References: The eICU Collaborative Research Database (Pollard et al., Scientific Data 2018), doi:10.1038/sdata.2018.178.
"""

import os
from collections.abc import Sequence
from functools import cached_property

import polars as pl

from icu_lightning.data.concepts import Charted, Concept, charted_in
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources import demographics
from icu_lightning.data.sources.base import EVENTS, STAYS, charted_facts, complete, said, stay_number
from icu_lightning.data.sources.eicu_infusions import eicu_infusions
from icu_lightning.data.sources.infusions import drug_places
from icu_lightning.data.sources.tables import RawTables, number, unreadable

ACCESS = """Ways to get eICU:
  - the full database (credentialed): https://physionet.org/content/eicu-crd/2.0/
  - the open demo, 2,520 stays:       https://physionet.org/content/eicu-crd-demo/2.0.1/
  - no files at all:                  data=synthetic"""

DEMO = "c6a9c8fd79f5a55cfda15ba37eb0257004f1cda0ecdac0a8f1bfc5df97c877ed"  # `ids_digest` of the open demo's 2,520 stays
OFFSET: dict[str, str | None] = {
    "vitalPeriodic": "observationoffset",
    "vitalAperiodic": "observationoffset",
    "lab": "labresultoffset",
    "nurseCharting": "nursingchartoffset",
    "respiratoryCharting": "respchartoffset",
    "respiratoryCare": "respcarestatusoffset",
    "intakeOutput": "intakeoutputoffset",
    "diagnosis": "diagnosisoffset",
    "admissionDx": "admitdxenteredoffset",
    "apacheApsVar": None,
    "apachePredVar": None,
}
# Long tables: the column of the label, of a second label, of the value, of the revision
LONG = {
    "lab": ("labname", None, "labresult", "labresultrevisedoffset"),
    "nurseCharting": ("nursingchartcelltypevallabel", "nursingchartcelltypevalname", "nursingchartvalue", None),
    "respiratoryCharting": ("respchartvaluelabel", None, "respchartvalue", None),
}
# Tables whose words say it: the column of the text, and of the number beside it
WORDS = {
    "respiratoryCare": ("airwaytype", None),
    "intakeOutput": ("cellpath", "cellvaluenumeric"),
    "diagnosis": ("diagnosisstring", None),
    "admissionDx": ("admitdxpath", None),
}
DAY_END = 24 * 60 - 1  # minutes: the APACHE tables hold the worst of the first day, which is known when it is over


class EICU:
    """The eICU database as a `Source`.

    Arguments:
        root: folder of the tables, or one that contains it. Raises UserError if they are not there.
    """

    name = "eicu"

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        self.tables = RawTables(root, "eICU", markers=("patient", "vitalPeriodic"), access=ACCESS)
        self.collect, self.synthetic = self.tables.collect, self.tables.synthetic
        self.fingerprint = self.tables.fingerprint

    @cached_property
    def open_data(self) -> bool:
        return self.synthetic or self.tables.ids_digest("patient", "patientunitstayid") == DEMO

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
        raw = self.tables.scan("patient", numbers + texts, optional=[*order, "hospitaladmitoffset"])
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
                pre_icu_hours=-number("hospitaladmitoffset") / 60,
                hospital_hours=number("hospitaldischargeoffset") / 60,
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

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        return eicu_infusions(self.tables, drug_places(self.name, drugs), drugs)

    def _events(self, table: str, places: Sequence[Charted]) -> pl.LazyFrame:
        if table in LONG:
            return self._long(table, places)
        return self._words(table, places) if table in WORDS else self._wide(table, places)

    def _wide(self, table: str, places: Sequence[Charted]) -> pl.LazyFrame:
        columns = sorted({place.column for place in places if place.column})
        offset = OFFSET[table]
        raw = self.tables.scan(table, ("patientunitstayid", *([offset] if offset else []), *columns))
        if offset is None:
            offset = "offset"
            raw = raw.with_columns(pl.when(pl.col(c) != "-1").then(c).alias(c) for c in columns)  # -1: not measured
            raw = raw.with_columns(offset=pl.lit(str(DAY_END)))
        rows = raw.unpivot(columns, index=["patientunitstayid", offset], variable_name="column", value_name="value")
        facts = pl.LazyFrame([_facts(place) | {"column": place.column} for place in places])
        return _as_events(rows.drop_nulls("value").join(facts, on="column"), offset)

    def _words(self, table: str, places: Sequence[Charted]) -> pl.LazyFrame:
        text, value = WORDS[table]
        columns = [c for c in ("patientunitstayid", OFFSET[table], text, value) if c]
        raw = self.tables.scan(table, columns).drop_nulls(text)
        raw = raw.with_columns(text=pl.col(text), value=pl.col(value) if value else pl.lit(None, pl.String))
        parts = []
        for place in places:
            rows = raw.filter(_matches(place, text)).with_columns(
                pl.lit(of).alias(name) for name, of in _facts(place).items()
            )
            parts.append(rows.with_columns(pl.col("preference").cast(pl.Int8)))
        rows = pl.concat(parts)
        spoken = [place for place in places if place.says]
        if spoken:
            rows = rows.with_columns(said(spoken, "text", number("value"))).filter(pl.col("value").is_not_nan())
        return _as_events(rows.filter(pl.col("value").is_not_null()), str(OFFSET[table]))

    def _long(self, table: str, places: Sequence[Charted]) -> pl.LazyFrame:
        label, second, value, revision = LONG[table]
        columns = [c for c in ("patientunitstayid", OFFSET[table], label, second, value, revision) if c]
        on = [c for c in (label, second) if c]
        facts = charted_facts(places).rename({"label": label} | ({"name": second} if second else {}))
        rows = self.tables.scan(table, columns).rename({value: "value"}).drop_nulls("value").join(facts, on=on)
        if any(place.says for place in places):
            rows = rows.with_columns(said(places, "value", number("value"))).filter(
                ~pl.col("value").is_nan() | pl.col("value").is_null()
            )
        return _as_events(rows.with_columns(revision=number(revision) / 60) if revision else rows, str(OFFSET[table]))


def _facts(place: Charted) -> dict[str, object]:
    return {"variable": place.variable, "unit": place.unit, "preference": place.preference}


def _matches(place: Charted, text: str) -> pl.Expr:
    """True where the text is one that the place means."""
    right = pl.col(text).str.contains(place.path) if place.path else pl.lit(True)
    return right & ~pl.col(text).str.contains(place.unless) if place.unless else right


def _as_events(rows: pl.LazyFrame, offset: str) -> pl.LazyFrame:
    minutes = number(offset)
    return complete(
        rows.with_columns(stay_id=number("patientunitstayid"), hours=minutes / 60, value=number("value")), EVENTS
    )


def _expired(status: str) -> pl.Expr:
    """True if expired, False if alive, null for anything else: an unknown outcome is not survival."""
    return pl.col(status).replace_strict({"Expired": True, "Alive": False}, default=None, return_dtype=pl.Boolean)
