"""eICU: the published counts of the open demo, its hours recomputed the slow way, and the traps of its columns."""

import csv
import gzip
import math
from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.extract import extract
from icu_lightning.data.settings import DataSettings
from icu_lightning.data.sources.base import EVENTS, STAYS
from icu_lightning.data.sources.eicu import EICU
from tests.conftest import MTDM, composed, settings


@pytest.fixture(scope="module")
def demo(real_eicu):
    """Needs patient, vitalPeriodic, vitalAperiodic, nurseCharting and lab of the eICU demo."""
    return extract(EICU(real_eicu), **settings().of_extract)


def test_counts_of_the_demo_before_any_filter(real_eicu):
    """../shared/data/README.md: 2,520 stays, 1,841 patients, 186 hospitals, 212 deaths among 2,492 known outcomes."""
    stays = EICU(real_eicu).stays().collect()
    assert stays.schema == pl.Schema(STAYS)
    assert (stays.height, stays["patient_id"].n_unique(), stays["hospital_id"].n_unique()) == (2520, 1841, 186)
    assert (stays["died_in_hospital"].sum(), stays["died_in_hospital"].count()) == (212, 2492)


def test_the_papers_cohort(demo):
    last = demo.attrition.row(-1, named=True)
    assert (last["stays"], last["patients"], last["deaths"]) == (1542, 1259, 126)
    assert demo.attrition["stays"][0] - demo.attrition["removed_stays"].sum() == 1542
    assert demo.values.shape == (1542, 24, 11)


def test_every_event_of_the_cohort_is_counted_once(demo, real_eicu):
    """kept + ... + outside_window of glucose is the number of its rows that belong to the cohort's stays."""
    ids = set(demo.stays["stay_id"].to_list())
    rows = [
        r
        for r in table(real_eicu, "lab")
        if r["labname"] in ("glucose", "bedside glucose") and int(r["patientunitstayid"]) in ids
    ]
    counts = (
        demo.cleaning.filter(pl.col("variable") == "glucose")
        .drop("variable", "derived", "cells", "latest_hours")
        .row(0)
    )
    assert sum(counts) == len([r for r in rows if r["labresult"].strip()])


def table(folder, name):
    with gzip.open(folder / f"{name}.csv.gz", "rt", newline="") as file:
        yield from csv.DictReader(file)


def test_hours_equal_those_of_a_plain_python_loop_over_the_raw_rows(demo, real_eicu):
    """Heart rate, pressures and glucose of 40 stays; invasive before cuff, mean of vitals, last laboratory value."""
    ids = demo.stays["stay_id"].to_list()[::39][:40]
    wanted = {str(i) for i in ids}
    cells = defaultdict(list)  # (stay, hour, variable) -> [(preference, minute, revision, value)]

    def add(stay, minute, variable, preference, text, low, high, revision=0.0):
        minute = float(minute)
        if text.strip() and 0 <= minute < 24 * 60 and low <= float(text) <= high and revision < 24 * 60:
            cells[stay, int(minute // 60), variable].append((preference, minute, revision, float(text)))

    for row in table(real_eicu, "vitalPeriodic"):
        if row["patientunitstayid"] in wanted:
            add(row["patientunitstayid"], row["observationoffset"], "heart_rate", 0, row["heartrate"], 20, 300)
            add(row["patientunitstayid"], row["observationoffset"], "sbp", 0, row["systemicsystolic"], 30, 300)
    for row in table(real_eicu, "vitalAperiodic"):
        if row["patientunitstayid"] in wanted:
            add(row["patientunitstayid"], row["observationoffset"], "sbp", 2, row["noninvasivesystolic"], 30, 300)
    for row in table(real_eicu, "lab"):
        if row["patientunitstayid"] in wanted and row["labname"] in ("glucose", "bedside glucose"):
            add(
                row["patientunitstayid"],
                row["labresultoffset"],
                "glucose",
                0,
                row["labresult"],
                20,
                1500,
                float(row["labresultrevisedoffset"]),
            )

    slow = np.full((len(ids), 24, 3), np.nan)
    for (stay, hour, variable), found in cells.items():
        best = [cell for cell in found if cell[0] == min(c[0] for c in found)]
        value = (
            max(best, key=lambda c: c[1:])[3] if variable == "glucose" else math.fsum(c[3] for c in best) / len(best)
        )
        slow[ids.index(int(stay)), hour, ["heart_rate", "sbp", "glucose"].index(variable)] = value
    at = [demo.stays["stay_id"].to_list().index(i) for i in ids]
    fast = demo.values[at][:, :, [MTDM.index(v) for v in ("heart_rate", "sbp", "glucose")]]
    assert np.isfinite(slow).sum() > 1500
    assert np.allclose(fast, slow, atol=1e-3, equal_nan=True)


def test_gz_and_parquet_give_the_same_hours_and_so_do_two_runs(demo, real_eicu, tmp_path):
    for name in ("patient", "vitalPeriodic", "vitalAperiodic", "nurseCharting", "lab"):
        pl.read_csv(real_eicu / f"{name}.csv.gz", infer_schema_length=None).write_parquet(
            tmp_path / f"{name.upper()}.parquet"
        )
    for folder in (tmp_path, real_eicu):
        other = extract(EICU(folder), **settings().of_extract)
        assert np.array_equal(demo.values, other.values, equal_nan=True)
        assert demo.cleaning.equals(other.cleaning)


def test_traps_of_the_patient_table(write_eicu):
    folder = write_eicu(stays=60)
    frame = pl.read_csv(folder / "patient.csv", infer_schema=False)
    said = {
        "hospitaldischargestatus": ["", "Expired", "Alive"],
        "gender": ["Unknown", "Female", "Other"],
        "ethnicity": ["Other/Unknown", "", "Hispanic"],
        "age": ["> 89", "", "0"],
    }
    frame.head(3).with_columns(pl.Series(name, values) for name, values in said.items()).write_csv(
        folder / "patient.csv"
    )
    stays = EICU(folder).stays().collect().sort("stay_id")
    assert stays["died_in_hospital"].to_list() == [None, True, False], "unknown is not survival"
    assert stays["died_in_icu"].to_list() == [False, False, False]
    assert stays["sex"].to_list() == [None, "female", None]
    assert stays["ethnicity"].to_list() == [None, None, "hispanic"]
    assert stays["age"].to_list() == [90.0, None, 0.0]
    assert stays["los_hours"].to_list() == [50.0] * 3
    assert stays["hospital_hours"].to_list() == [pytest.approx(4000 / 60)] * 3
    assert stays["death_hours"].to_list() == [None, pytest.approx(4000 / 60), None]


def test_the_order_of_a_patients_stays(write_eicu):
    """By year of discharge, age, hospitalisation, unit visit; stay ids mean nothing, and without the columns nobody knows."""
    folder = write_eicu(stays=12)
    frame = pl.read_csv(folder / "patient.csv", infer_schema=False).head(6)
    assert EICU(folder).stays().collect()["stay_number"].null_count() == 12
    said = {
        "uniquepid": ["a", "a", "a", "a", "b", "b"],
        "hospitaldischargeyear": ["2015", "2014", "2014", "2014", "2014", ""],
        "age": ["> 89", "89", "88", "88", "50", "50"],
        "patienthealthsystemstayid": ["9", "10", "30", "30", "40", "41"],
        "unitvisitnumber": ["1", "1", "2", "1", "1", "1"],
    }
    frame.with_columns(pl.Series(name, values) for name, values in said.items()).write_csv(folder / "patient.csv")
    stays = EICU(folder).stays().collect().sort("stay_id")
    assert stays["stay_number"].to_list() == [4, 3, 2, 1, None, None]


def test_first_stays_of_the_demo(real_eicu):
    """Needs patient: one first stay a patient, and inside a hospitalisation the first unit visit before the second."""
    stays = EICU(real_eicu).stays().collect()
    first = stays.filter(pl.col("stay_number") == 1)
    assert first.height == first["patient_id"].n_unique() == 1841
    assert stays["stay_number"].null_count() == 0
    raw = pl.DataFrame(list(table(real_eicu, "patient")))
    raw = raw.select("patienthealthsystemstayid", pl.col("patientunitstayid", "unitvisitnumber").cast(pl.Int64)).join(
        stays, left_on="patientunitstayid", right_on="stay_id"
    )
    visits = raw.sort("unitvisitnumber").group_by("patienthealthsystemstayid").agg("stay_number")
    assert visits["stay_number"].list.diff().list.drop_nulls().list.eval(pl.element() > 0).list.all().all()


def test_the_48_hour_cohort_of_the_demo(real_eicu):
    got = extract(EICU(real_eicu), **DataSettings(**composed("model=focal_lstm", "data=eicu").data_settings).of_extract)
    assert (got.stays.height, got.stays["died_in_hospital"].sum(), got.values.shape) == (886, 97, (886, 48, 15))


def test_made_up_events_have_the_promised_shape_and_derive_the_mean_pressure(write_eicu):
    source = EICU(write_eicu(stays=12))
    from icu_lightning.data.concepts import concepts_of

    assert source.events(concepts_of(MTDM)).collect_schema() == pl.Schema(EVENTS)
    got = extract(source, **settings(cohort=["age_known"]).of_extract)
    count = {row["variable"]: row for row in got.cleaning.iter_rows(named=True)}
    assert count["temperature"]["converted"] == count["temperature"]["cells"] > 0
    assert count["map"]["kept"] == 0
    assert count["map"]["derived"] == count["map"]["cells"] == count["sbp"]["cells"]


def events_of(source, *variables):
    from icu_lightning.data.concepts import concepts_of

    found = source.collect(source.events(concepts_of(variables)))
    assert found.schema == pl.Schema(EVENTS)
    return sorted(found.select("stay_id", "variable", pl.col("hours").round(6), "value", "preference").rows())


def note(minute, name, value, label="Glasgow coma score"):
    return {
        "patientunitstayid": 1,
        "nursingchartoffset": minute,
        "nursingchartcelltypevallabel": label,
        "nursingchartcelltypevalname": name,
        "nursingchartvalue": value,
    }


def aps(**said):
    return {"patientunitstayid": 1, "intubated": 0, "vent": 0, "eyes": 4, "motor": 6, "verbal": 5} | said


def test_a_coma_scale_in_nurses_notes(write_eicu):
    notes = [note(60, "GCS Total", "9"), note(60, "Eyes", "3"), note(60, "Verbal", "1"), note(60, "Motor", "5")]
    notes += [
        note(120, "Value", "14", label="Score (Glasgow Coma Scale)"),
        note(180, "GCS Total", "Unable to score due to medication"),
    ]
    notes += [note(60, "Eyes", "3", label="Pupils"), note(-30, "Motor", "6")]
    source = EICU(write_eicu(stays=1, nurseCharting=notes, apacheApsVar=[aps(patientunitstayid=9)]))
    of_notes = [row for row in events_of(source, "gcs", "gcs_eyes", "gcs_verbal", "gcs_motor") if row[0] == 1]
    assert of_notes == [
        (1, "gcs", 1.0, 9.0, 0),
        (1, "gcs", 2.0, 14.0, 1),
        (1, "gcs", 3.0, None, 0),
        (1, "gcs_eyes", 1.0, 3.0, 0),
        (1, "gcs_motor", -0.5, 6.0, 0),
        (1, "gcs_motor", 1.0, 5.0, 0),
        (1, "gcs_verbal", 1.0, 1.0, 0),
    ]


def test_minus_one_in_the_apache_tables_is_not_measured_and_the_rest_is_known_at_the_days_end(write_eicu):
    rows = [aps(eyes=-1, verbal=2, intubated=1), aps(patientunitstayid=2, vent=-1, motor=5)]
    charting = {
        "patientunitstayid": 2,
        "respchartoffset": 60,
        "respchartvaluelabel": "Vent Rate",
        "respchartvalue": "14",
    }
    care = {"patientunitstayid": 2, "respcarestatusoffset": 90, "airwaytype": "No Artificial Airway"}
    source = EICU(write_eicu(stays=1, apacheApsVar=rows, respiratoryCharting=[charting], respiratoryCare=[care]))
    found = events_of(source, "gcs_eyes", "gcs_verbal", "gcs_motor", "gcs_tube", "ventilation")
    end = round((24 * 60 - 1) / 60, 6)
    assert [(stay, variable, value) for stay, variable, hours, value, _ in found if hours == end] == [
        (1, "gcs_motor", 6.0),
        (1, "gcs_tube", 1.0),
        (1, "gcs_verbal", 2.0),
        (1, "ventilation", 0.0),
        (2, "gcs_eyes", 4.0),
        (2, "gcs_motor", 5.0),
        (2, "gcs_tube", 0.0),
        (2, "gcs_verbal", 5.0),
    ]
    assert [row[2:] for row in found if row[2] != end] == [(1.0, 2.0, 2), (1.5, 0.0, 3)], "in words, in their places"


def test_urine_is_what_the_paths_of_the_demo_call_urine(real_eicu):
    """Needs intakeOutput: every path with urine, foley, void, ... in its last part below Output (ml), but no stool or counts."""
    slow = []
    words = ("urine", "urinary", "foley", "urethral", "indwelling cath", "straight cath", "void", "nephrostomy")
    never = ("count", "occurrence", "unmeasured", "stool", "incontinen")
    for row in table(real_eicu, "intakeOutput"):
        path = row["cellpath"].lower()
        _, _, last = path.partition("|output (ml)|")
        if any(word in last for word in words) and not any(word in path for word in never):
            slow.append(
                (
                    int(row["patientunitstayid"]),
                    round(int(row["intakeoutputoffset"]) / 60, 6),
                    float(row["cellvaluenumeric"]),
                )
            )
    fast = [(stay, hours, value) for stay, _, hours, value, _ in events_of(EICU(real_eicu), "urine")]
    assert fast == sorted(slow)
    assert len(slow) > 10_000


def test_ventilation_of_the_demo_in_words(real_eicu):
    """Needs respiratoryCharting, respiratoryCare and apacheApsVar."""
    code = {
        "Start": 2,
        "Continued": 2,
        "Off": 0,
        "Ventilator": 2,
        "Mechanical ventilator": 2,
        "Bi-PAP": 1,
        "BiPAP": 1,
        "CPAP": 1,
    }
    code |= dict.fromkeys(
        ("Nasal cannula", "None (Room air)", "Room air", "High flow nasal cannula", "Simple mask", "Face mask"), 0
    )
    code |= dict.fromkeys(("High flow mask", "Non-rebreather mask", "Aerosol mask", "Venturi mask", "Face tent"), 0)
    code |= {"Heated high flow nasal cannula": 0, "Oral ETT": 2, "Tracheostomy": 2, "No Artificial Airway": 0}
    settings_of = (
        "Ventilator Support Mode",
        "Vent Rate",
        "Tidal Volume (set)",
        "Plateau Pressure",
        "Exhaled TV (machine)",
    )
    slow = []
    for row in table(real_eicu, "respiratoryCharting"):
        label, text = row["respchartvaluelabel"], row["respchartvalue"].strip()
        kind = 2 if label in settings_of and text else None
        if label in ("RT Vent On/Off", "O2 Device", "Oxygen Delivery Method"):
            kind = code.get(text)
        if kind is not None:
            slow.append((int(row["patientunitstayid"]), round(int(row["respchartoffset"]) / 60, 6), float(kind)))
    for row in table(real_eicu, "respiratoryCare"):
        if row["airwaytype"].strip() in code:
            when = round(int(row["respcarestatusoffset"]) / 60, 6)
            slow.append((int(row["patientunitstayid"]), when, float(code[row["airwaytype"].strip()])))
    for row in table(real_eicu, "apacheApsVar"):
        if row["vent"] != "-1":
            slow.append((int(row["patientunitstayid"]), round((24 * 60 - 1) / 60, 6), float(row["vent"])))
    fast = [(stay, hours, value) for stay, _, hours, value, _ in events_of(EICU(real_eicu), "ventilation")]
    assert sorted(fast) == sorted(slow)


def test_history_of_the_demo(real_eicu):
    """Needs admissionDx and apachePredVar."""
    source = EICU(real_eicu)
    operated = {
        int(row["patientunitstayid"])
        for row in table(real_eicu, "admissionDx")
        if "|all diagnosis|operative|" in row["admitdxpath"].lower()
    }
    assert {stay for stay, _, _, value, _ in events_of(source, "surgical") if value == 1} == operated
    columns = {
        "elective": ["electivesurgery"],
        "haematologic_malignancy": ["leukemia", "lymphoma"],
        "metastatic_cancer": ["metastaticcancer"],
    }
    for variable, names in columns.items():
        said = {
            int(row["patientunitstayid"])
            for row in table(real_eicu, "apachePredVar")
            if any(row[name] == "1" for name in names)
        }
        assert {stay for stay, _, _, value, _ in events_of(source, variable) if value == 1} == said
        assert said
