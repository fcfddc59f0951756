"""Coded events of MIMIC: the same as a plain loop over the raw rows of the demos, and the rules on made-up rows."""

import csv
import gzip
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.sources.base import EVENTS, Source
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from tests.data.plain_mimic4 import SPONTANEOUS, support
from tests.data.test_sepsis import is_antibiotic

WEEK = 7 * 24
DISCHARGE = ("aids", "haematologic_malignancy", "metastatic_cancer")
Row = dict[str, str]


def rows(source: Any, name: str) -> Iterator[Row]:
    hosp, icu = f"hosp/{name}", f"icu/{name}"
    files = source.tables.files
    with gzip.open(
        files.get(name) or files.get(hosp) or files[icu], "rt", newline="", encoding="utf-8", errors="replace"
    ) as file:
        yield from ({key.lower(): value for key, value in row.items()} for row in csv.DictReader(file))


@pytest.fixture(scope="module", params=[MIMIC3, MIMIC4])
def source(request, real_root) -> Source:
    """Needs microbiologyevents, prescriptions, services, admissions, diagnoses_icd, icustays, chartevents of the demo."""
    return request.param(real_root)


def got(source: Any, variable: str) -> list[tuple[int, float, float]]:
    events = source.collect(source.events(concepts_of([variable])))
    assert events.schema == pl.Schema(EVENTS)
    return sorted(
        (stay, round(hours, 6), value) for stay, hours, value in events.select("stay_id", "hours", "value").rows()
    )


def looped(
    source: Any, table: str, on: str, reading: Callable[[Row], tuple[str, float] | None], before: float, after: float
) -> list[tuple[int, float, float]]:
    """(stay, hours, value) of every row of a table and stay of the same patient or admission, near enough to the stay."""
    found = []
    units = list(rows(source, "icustays"))
    for row in rows(source, table):
        read = reading(row)
        for unit in units if read and read[0] else ():
            assert read is not None
            start, end, when = (datetime.fromisoformat(t) for t in (unit["intime"], unit["outtime"], read[0]))
            hours = (when - start).total_seconds() / 3600
            if unit[on] == row[on] and hours >= -before and (when - end).total_seconds() / 3600 <= after:
                found.append((int(unit.get("stay_id") or unit["icustay_id"]), round(hours, 6), read[1]))
    return sorted(found)


def test_cultures(source):
    def reading(row: Row) -> tuple[str, float]:
        return (row["charttime"], 1) if row["charttime"] else (row["chartdate"], 2)

    expected = looped(source, "microbiologyevents", "subject_id", reading, WEEK, WEEK)
    assert got(source, "culture") == expected
    assert {value for *_, value in expected} == {1, 2}


def test_antibiotics(source):
    def reading(row: Row) -> tuple[str, float] | None:
        if not is_antibiotic(row):
            return None
        return (row["startdate"], 2) if source.name == "mimic3" else (row["starttime"], 1)

    expected = looped(source, "prescriptions", "hadm_id", reading, 1e5, WEEK)
    assert got(source, "antibiotic") == expected
    assert len(expected) > 500


def test_services_and_kinds_of_admission(source):
    def surgical(row: Row) -> tuple[str, float]:
        return row["transfertime"], float(
            row["curr_service"] in ("SURG", "CSURG", "VSURG", "NSURG", "TSURG", "PSURG", "ORTHO")
        )

    def elective(row: Row) -> tuple[str, float]:
        return row["admittime"], float(row["admission_type"] in ("ELECTIVE", "SURGICAL SAME DAY ADMISSION"))

    assert got(source, "surgical") == looped(source, "services", "hadm_id", surgical, 1e5, WEEK)
    assert got(source, "elective") == looped(source, "admissions", "hadm_id", elective, 1e5, WEEK)


@pytest.mark.parametrize("variable", DISCHARGE)
def test_diagnoses_are_dated_at_discharge_however_late(source, variable):
    discharge = {row["hadm_id"]: row["dischtime"] for row in rows(source, "admissions")}
    codes = {"aids": ("042", "043", "044"), "haematologic_malignancy": tuple(str(i) for i in range(200, 209))}
    codes["metastatic_cancer"] = ("196", "197", "198", "1990", "1991")
    tens = {"aids": ("B20", "B21", "B22", "B24"), "metastatic_cancer": ("C77", "C78", "C79", "C800")}
    tens["haematologic_malignancy"] = tuple(f"C{i}" for i in range(81, 97))

    def reading(row: Row) -> tuple[str, float] | None:
        code = row.get("icd_code") or row.get("icd9_code") or ""
        of = tens if row.get("icd_version") == "10" else codes
        return (discharge[row["hadm_id"]], 1) if code.startswith(of[variable]) else None

    expected = looped(source, "diagnoses_icd", "hadm_id", reading, 1e5, 1e5)
    assert got(source, variable) == expected
    assert variable == "aids" or len(expected) > 10


@pytest.mark.slow
def test_ventilation_of_mimic4_in_words(real_root):
    source = MIMIC4(real_root)
    units = {row["stay_id"]: datetime.fromisoformat(row["intime"]) for row in rows(source, "icustays")}
    expected = []
    for row in rows(source, "chartevents"):
        if (
            row["itemid"] in ("226732", "223849", "229314")
            and (kind := support(row["itemid"], row["value"])) is not None
        ):
            hours = (datetime.fromisoformat(row["charttime"]) - units[row["stay_id"]]).total_seconds() / 3600
            expected.append((int(row["stay_id"]), round(hours, 6), kind))
    assert got(source, "ventilation") == sorted(expected)


# (item, text) -> what it stands for; every text of the MIMIC-III demo is here or matches nothing
CAREVUE = {
    **{
        ("467", text): 0
        for text in ("Nasal Cannula", "None", "Aerosol-Cool", "Face Tent", "Non-Rebreather", "Hi Flow Neb")
    },
    ("467", "Medium Conc Mask"): 0,
    ("467", "Bipap Mask"): 1,
    **{
        ("720", text): 2
        for text in ("Assist Control", "CPAP+PS", "SIMV+PS", "Pressure Control", "CMV", "Pressure Support")
    },
    ("640", "Extubated"): 0,
    **{("226732", text): 0 for text in (*SPONTANEOUS, "T-piece")},
    **{("226732", text): 1 for text in ("Bipap mask", "CPAP mask")},
    **{("226732", text): 2 for text in ("Endotracheal tube", "Tracheostomy tube")},
    ("223848", "Drager"): 2,
}
SILENT = {("467", "Other/Remarks"), ("720", "Other/Remarks"), ("226732", "Other"), ("223849", "Standby")}


@pytest.mark.slow
def test_ventilation_of_mimic3_in_words(real_root):
    """Devices, modes and the extubation in words. Needs CHARTEVENTS and ICUSTAYS."""
    source = MIMIC3(real_root)
    expected = []
    units = {row["icustay_id"]: datetime.fromisoformat(row["intime"]) for row in rows(source, "icustays")}
    for row in rows(source, "chartevents"):
        item, text = row["itemid"], row["value"].strip()
        if item in ("467", "720", "640", "226732", "223848", "223849") and text and row["error"] != "1":
            kind = CAREVUE.get((item, text), 2 if item == "223849" else None)
            if kind is not None and (item, text) not in SILENT:
                hours = (datetime.fromisoformat(row["charttime"]) - units[row["icustay_id"]]).total_seconds() / 3600
                expected.append((int(row["icustay_id"]), round(hours, 6), float(kind)))
    events = source.collect(
        source.events(concepts_of(["ventilation"])).filter(
            (pl.col("preference") < 3) & ~pl.col("wrong").fill_null(False)
        )
    )
    events = events.select("stay_id", pl.col("hours").round(6), "value").rows()
    assert sorted(events) == sorted(expected)
    assert len(expected) > 2500


# Made-up rows


@pytest.fixture
def made_up(tmp_path):
    """A function: tables -> a MIMIC-IV folder of one stay, 2100-01-10 00:00 to 2100-01-13 00:00."""

    def write(**tables: list[dict[str, Any]]) -> MIMIC4:
        stay = {"subject_id": 1, "hadm_id": 10, "stay_id": 100, "first_careunit": "MICU"}
        stay |= {"intime": "2100-01-10 00:00:00", "outtime": "2100-01-13 00:00:00"}
        admission = {
            "subject_id": 1,
            "hadm_id": 10,
            "admittime": "2100-01-09 00:00:00",
            "dischtime": "2100-03-01 00:00:00",
        }
        admission |= {"admission_type": "URGENT"}
        for name, content in {"icu/icustays": [stay], "hosp/admissions": [admission], **tables}.items():
            path = tmp_path / f"{name}.csv"
            path.parent.mkdir(exist_ok=True)
            pl.DataFrame(content, infer_schema_length=None).write_csv(path)
        return MIMIC4(tmp_path)

    return write


def test_cultures_of_a_week_before_and_after_the_unit(made_up):
    times = ["2100-01-02 23:00:00", "2100-01-03 00:00:00", "2100-01-20 00:00:00", "2100-01-20 01:00:00"]
    micro = [{"subject_id": 1, "charttime": t, "chartdate": t[:10], "spec_type_desc": "URINE"} for t in times]
    micro += [{"subject_id": 1, "charttime": "", "chartdate": "2100-01-11 00:00:00", "spec_type_desc": "MRSA SCREEN"}]
    micro += [{"subject_id": 2, "charttime": times[1], "chartdate": "", "spec_type_desc": "URINE"}]
    assert got(made_up(**{"hosp/microbiologyevents": micro}), "culture") == [
        (100, -168, 1),
        (100, 24, 2),
        (100, 240, 1),
    ]


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"route": ""}, True),
        ({"route": "PO"}, True),
        ({"drug_type": "BASE"}, False),
        ({"route": "OU"}, False),
        ({"route": "TP"}, False),
        ({"route": "BOTH EYES"}, False),
        ({"route": "LEFT EAR"}, False),
        ({"drug": "vancomycin oral liquid"}, True),
        ({"drug": "Vancomycin Enema"}, False),
        ({"drug": "Heparin"}, False),
        ({"drug": ""}, False),
        ({"hadm_id": 11}, False),
        ({"starttime": "2100-01-20 01:00:00"}, False),
    ],
)
def test_an_antibiotic_is_systemic_and_of_this_admission(made_up, changes, counts):
    usual = {
        "hadm_id": 10,
        "drug": "Vancomycin",
        "drug_type": "MAIN",
        "route": "IV",
        "starttime": "2100-01-09 12:00:00",
    }
    source = made_up(**{"hosp/prescriptions": [usual | changes]})
    assert got(source, "antibiotic") == ([(100, -12, 1)] if counts else [])


def test_a_prescription_without_a_readable_time_is_kept_to_be_counted(made_up):
    row = {"hadm_id": 10, "drug": "Vancomycin", "drug_type": "MAIN", "route": "IV", "starttime": "soon"}
    events = made_up(**{"hosp/prescriptions": [row]}).events(concepts_of(["antibiotic"])).collect()
    assert events.select("stay_id", "hours", "value").rows() == [(100, None, 1)]


def test_only_arterial_blood_gives_arterial_gases(made_up):
    def lab(specimen: int, item: int, value: str, number: float | None) -> dict[str, Any]:
        when = f"2100-01-10 0{specimen}:00:00"
        return {
            "subject_id": 1,
            "specimen_id": specimen,
            "itemid": item,
            "charttime": when,
            "value": value,
            "valuenum": number,
        }

    labs = [lab(i, 52033, text, None) for i, text in enumerate(["ART.", "VEN.", "MIX.", "art"], start=1)]
    labs += [lab(i, 50821, str(60 + i), 60.0 + i) for i in range(1, 6)]  # nobody says what kind the fifth was
    labs += [lab(2, 50813, "2.5", 2.5), lab(2, 50816, "40", 40.0)]
    chart = {"stay_id": 100, "itemid": 220045, "charttime": "2100-01-10 01:00:00", "value": "80", "valuenum": 80}
    source = made_up(**{"hosp/labevents": labs, "icu/chartevents": [chart]})
    assert got(source, "pao2") == [(100, 1, 61), (100, 4, 64)]
    assert got(source, "lactate") == [(100, 2, 2.5)], "a venous lactate is one"
    assert got(source, "fio2") == [(100, 2, 40)], "what was breathed in is not the blood's"


@pytest.mark.parametrize(("make", "item"), [(MIMIC3, "50800"), (MIMIC4, "52033")])
def test_venous_gases_of_the_demos_are_left_out(make, item, real_root):
    """Needs labevents and icustays."""
    source = make(real_root)
    key = "specimen_id" if make is MIMIC4 else "charttime"
    labs = [row for row in rows(source, "labevents") if row["itemid"] in ("50821", item)]
    arterial = {(r["subject_id"], r[key]) for r in labs if r["itemid"] == item and r["value"].lower().startswith("art")}
    gases = [r for r in labs if r["itemid"] == "50821"]
    units = list(rows(source, "icustays"))
    count = sum(
        1
        for gas in gases
        if (gas["subject_id"], gas[key]) in arterial
        for unit in units
        if unit["subject_id"] == gas["subject_id"]
        and (datetime.fromisoformat(gas["charttime"]) - datetime.fromisoformat(unit["intime"])).total_seconds() / 3600
        >= -24
        and gas["charttime"] <= unit["outtime"]
    )
    assert len(got(source, "pao2")) == count > 500
    assert any((gas["subject_id"], gas[key]) not in arterial for gas in gases)
