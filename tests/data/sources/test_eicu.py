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
