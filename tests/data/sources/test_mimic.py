"""MIMIC-III and MIMIC-IV: the published counts of the open demos, hours recomputed the slow way, ages, linking, versions."""

import csv
import gzip
import math
from collections import defaultdict
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.extract import extract
from icu_lightning.data.settings import DataSettings
from icu_lightning.data.sources.base import EVENTS, STAYS
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.errors import UserError
from tests.conftest import MTDM, composed, settings


@pytest.fixture(scope="module")
def mimic3(real_root):
    """Needs ICUSTAYS, ADMISSIONS, PATIENTS, CHARTEVENTS and LABEVENTS of the MIMIC-III demo."""
    return MIMIC3(real_root)


@pytest.fixture(scope="module")
def mimic4(real_root):
    """Needs icu/icustays, icu/chartevents, hosp/admissions, hosp/patients and hosp/labevents of the MIMIC-IV demo."""
    return MIMIC4(real_root)


def table(source, name):
    with gzip.open(source.tables.files[name], "rt", newline="", encoding="utf-8", errors="replace") as file:
        yield from csv.DictReader(file)


def test_counts_before_any_filter(mimic3, mimic4):
    """../shared/data/README.md: 136 stays of 100 patients; 140 stays of 100 patients, 20 of them with a hospital death."""
    three, four = mimic3.stays().collect(), mimic4.stays().collect()
    assert three.schema == four.schema == pl.Schema(STAYS)
    assert (three.height, three["patient_id"].n_unique()) == (136, 100)
    assert (four.height, four["patient_id"].n_unique(), four["died_in_hospital"].sum()) == (140, 100, 20)
    died = {r["hadm_id"] for r in table(mimic3, "admissions") if r["hospital_expire_flag"] == "1"}
    assert len(died) == 40
    of_died = [r for r in table(mimic3, "icustays") if r["hadm_id"] in died]
    assert three["died_in_hospital"].sum() == len(of_died)


@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
def test_death_in_the_unit_is_a_death_in_hospital_and_never_after_it(source, request):
    stays = request.getfixturevalue(source).stays().collect()
    assert (stays.filter("died_in_icu")["died_in_hospital"]).all()
    assert 0 < stays["died_in_icu"].sum() < stays["died_in_hospital"].sum()
    assert (stays.filter("died_in_icu")["death_hours"] <= stays.filter("died_in_icu")["los_hours"]).all()
    dead = stays.filter("died_in_hospital", pl.col("death_hours").is_not_null())
    assert (dead["hospital_hours"] - dead["death_hours"]).median() == pytest.approx(0, abs=1), (
        "they leave when they die"
    )
    assert (
        stays.filter(~pl.col("died_in_hospital"))["death_hours"].null_count()
        == stays.filter(~pl.col("died_in_hospital")).height
    )


def test_ages(mimic3, mimic4):
    """MIMIC-III shifts dates of birth above 89; MIMIC-IV stores 91, and an age of another year than the stay's."""
    three, four = mimic3.stays().collect(), mimic4.stays().collect()
    assert three.filter(pl.col("age") > 89)["age"].min() > 250
    assert three.filter(pl.col("age") <= 89)["age"].is_between(16, 89).all()
    year = {r["subject_id"]: (int(r["anchor_age"]), int(r["anchor_year"])) for r in table(mimic4, "hosp/patients")}
    for row in table(mimic4, "icu/icustays"):
        age, anchor = year[row["subject_id"]]
        said = four.filter(pl.col("stay_id") == int(row["stay_id"]))["age"].item()
        assert said == age + int(row["intime"][:4]) - anchor


def moment(text):
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("name", "stay", "chart", "labs"),
    [("mimic4", "stay_id", "icu/chartevents", "hosp/labevents"), ("mimic3", "icustay_id", "chartevents", "labevents")],
)
def test_hours_equal_those_of_a_plain_python_loop_over_the_raw_rows(name, stay, chart, labs, request):
    """Heart rate, systolic pressure and lactate of every stay of the cohort."""
    source = request.getfixturevalue(name)
    variables = ["heart_rate", "sbp", "lactate"]
    got = extract(source, **settings(variables=variables).of_extract)
    ids = got.stays["stay_id"].to_list()
    icu = "icu/icustays" if name == "mimic4" else "icustays"
    times = {
        int(r[stay]): (r["subject_id"], moment(r["intime"]), moment(r["outtime"]))
        for r in table(source, icu)
        if int(r[stay]) in ids
    }
    of_subject = defaultdict(list)
    for i, (subject, *_) in times.items():
        of_subject[subject].append(i)
    arterial = {"51", "6701", "220050", "225309"}
    places = {
        **{i: ("heart_rate", 0, 20, 300) for i in ("211", "220045")},
        **{i: ("sbp", 0 if i in arterial else 1, 30, 300) for i in (*arterial, "442", "455", "220179")},
    }
    cells = defaultdict(list)

    def add(i, when, variable, preference, text, low, high):
        hours = (moment(when) - times[i][1]).total_seconds() / 3600
        if text and 0 <= hours < 24 and low <= float(text) <= high:
            cells[i, int(hours), variable].append((preference, hours, float(text)))

    for row in table(source, chart):
        if row["itemid"] in places and row[stay] and int(row[stay]) in times and row.get("error") != "1":
            add(
                int(row[stay]),
                row["charttime"],
                *places[row["itemid"]][:2],
                row["valuenum"],
                *places[row["itemid"]][2:],
            )
    for row in table(source, labs):
        if row["itemid"] in ("50813", "52442"):
            for i in of_subject[row["subject_id"]]:
                if times[i][1] <= moment(row["charttime"]) <= times[i][2]:
                    add(i, row["charttime"], "lactate", 0, row["valuenum"], 0.1, 40)
    slow = np.full((len(ids), 24, 3), np.nan)
    for (i, hour, variable), found in cells.items():
        best = [c for c in found if c[0] == min(x[0] for x in found)]
        value = (
            max(best, key=lambda c: c[1:])[2] if variable == "lactate" else math.fsum(c[2] for c in best) / len(best)
        )
        slow[ids.index(i), hour, variables.index(variable)] = value
    assert np.isfinite(slow).sum() > 2000
    assert np.allclose(got.values, slow, atol=1e-3, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mimic3", "mimic4"])
def test_parquet_gives_the_same_hours(name, request, tmp_path):
    source = request.getfixturevalue(name)
    first = extract(source, **settings().of_extract)
    for key in {
        "mimic3": ["icustays", "admissions", "patients", "chartevents", "labevents"],
        "mimic4": ["icu/icustays", "icu/chartevents", "hosp/admissions", "hosp/patients", "hosp/labevents"],
    }[name]:
        path = tmp_path / f"{key}.parquet"
        path.parent.mkdir(exist_ok=True)
        # 3rd-party conversions parse times; so do we here
        pl.read_csv(
            source.tables.files[key], infer_schema_length=None, try_parse_dates=True, encoding="utf8-lossy"
        ).write_parquet(path)
    other = extract(type(source)(tmp_path), **settings().of_extract)
    assert np.array_equal(first.values, other.values, equal_nan=True)
    assert first.cleaning.equals(other.cleaning)
    assert first.stays.drop("unreadable").equals(other.stays.drop("unreadable"))


def test_the_two_databases_are_not_taken_for_one_another(real_root):
    three, four = MIMIC3(real_root).tables.folder, MIMIC4(real_root).tables.folder
    assert three != four
    with pytest.raises(UserError, match=r"No MIMIC-III tables"):
        MIMIC3(four)


@pytest.fixture
def made_up(tmp_path):
    """A function: extra columns or rows -> a MIMIC-III folder of three stays."""

    def write(chart: list[dict], stays: list[dict] | None = None):
        usual = {
            "subject_id": 1,
            "hadm_id": 10,
            "icustay_id": 100,
            "first_careunit": "MICU",
            "intime": "2100-01-01 00:00:00",
            "outtime": "2100-01-04 00:00:00",
        }
        second = usual | {"icustay_id": 101, "intime": "2100-01-05 00:00:00", "outtime": "2100-01-09 00:00:00"}
        admission = {
            "hadm_id": 10,
            "admittime": "2099-12-31 12:00:00",
            "deathtime": "",
            "dischtime": "2100-01-10 00:00:00",
            "hospital_expire_flag": 0,
            "insurance": "Medicare",
            "language": "",
            "marital_status": "SINGLE",
            "ethnicity": "WHITE",
        }
        labs = {"subject_id": 1, "itemid": 50813, "charttime": "2100-01-04 12:00:00", "value": "2", "valuenum": 2.0}
        tables = {
            "ICUSTAYS": stays or [usual, second],
            "ADMISSIONS": [admission],
            "PATIENTS": [{"subject_id": 1, "gender": "F", "dob": "2050-01-01 00:00:00"}],
            "LABEVENTS": [labs, labs | {"charttime": "2100-01-05 01:30:00", "valuenum": 3.0}],
            "CHARTEVENTS": chart,
        }
        for name, rows in tables.items():
            pl.DataFrame(rows, infer_schema_length=None).write_csv(tmp_path / f"{name}.csv")
        return MIMIC3(tmp_path)

    return write


def chartevent(**changes):
    return {
        "hadm_id": 10,
        "icustay_id": 100,
        "itemid": 211,
        "charttime": "2100-01-01 02:00:00",
        "value": "80",
        "valuenum": 80,
        "error": 0,
    } | changes


def test_rows_without_a_stay_go_to_the_one_in_whose_time_they_lie(made_up):
    rows = [
        chartevent(icustay_id=None, charttime="2100-01-05 03:00:00"),
        chartevent(icustay_id=None, charttime="2100-01-04 12:00:00"),
        chartevent(),
    ]
    events = made_up(rows).events(concepts_of(["heart_rate", "lactate"])).collect().sort("variable", "stay_id")
    assert events.schema == pl.Schema(EVENTS)
    # A laboratory value of the day before admission is the stay's too, at a negative hour, for the scores that look back
    assert events.sort("variable", "stay_id", "hours").select("stay_id", "hours", "variable").rows() == [
        (100, 2.0, "heart_rate"),
        (101, 3.0, "heart_rate"),
        (101, -12.0, "lactate"),
        (101, 1.5, "lactate"),
    ]


def test_errors_words_and_unreadable_times_are_counted(made_up):
    rows = [
        chartevent(error=1),
        chartevent(value="refused", valuenum=None),
        chartevent(charttime="yesterday"),
        chartevent(valuenum=None),
        chartevent(value=None, valuenum=None),
    ]
    got = extract(made_up(rows), **settings(variables=["heart_rate"], cohort=["age_known"]).of_extract)
    count = got.cleaning.row(0, named=True)
    assert (count["entered_in_error"], count["non_numeric"], count["no_time"], count["kept"]) == (1, 1, 1, 1)


def test_a_negative_length_of_stay_is_counted_out_by_a_filter(made_up):
    stay = {
        "subject_id": 1,
        "hadm_id": 10,
        "icustay_id": 100,
        "first_careunit": "MICU",
        "intime": "2100-01-04 00:00:00",
        "outtime": "2100-01-01 00:00:00",
    }
    other = stay | {"icustay_id": 101, "outtime": "2100-01-09 00:00:00"}
    got = extract(made_up([chartevent()], [stay, other]), **settings(variables=["heart_rate"]).of_extract)
    assert got.stays["stay_id"].to_list() == [101]
    assert got.attrition.filter(pl.col("filter") == "stay_at_least 24")["removed_stays"].item() == 1
    assert np.isnan(got.values).all(), "a stay without events is kept, all missing"


def test_the_order_of_a_patients_stays_is_that_of_their_admissions(made_up, mimic3, mimic4):
    later = {
        "subject_id": 1,
        "hadm_id": 10,
        "icustay_id": 100,
        "first_careunit": "MICU",
        "intime": "2100-02-01 00:00:00",
        "outtime": "2100-02-04 00:00:00",
    }
    earlier = later | {"icustay_id": 101, "intime": "2100-01-05 00:00:00", "outtime": "2100-01-09 00:00:00"}
    stays = made_up([chartevent()], [later, earlier]).stays().collect().sort("stay_id")
    assert stays["stay_number"].to_list() == [2, 1]
    unreadable = made_up([chartevent()], [later, earlier | {"intime": "soon"}]).stays().collect()
    assert unreadable["stay_number"].to_list() == [None, None], "nobody knows which was first"
    for source, table_name, stay in ((mimic3, "icustays", "icustay_id"), (mimic4, "icu/icustays", "stay_id")):
        rows = sorted(table(source, table_name), key=lambda r: r["intime"])
        first = {r["subject_id"]: int(r[stay]) for r in reversed(rows)}
        stays = source.stays().collect()
        assert set(stays.filter(pl.col("stay_number") == 1)["stay_id"]) == set(first.values())


@pytest.mark.parametrize(("name", "counts"), [("mimic3", (68, 25)), ("mimic4", (72, 12))])
def test_the_48_hour_cohorts_of_the_demos(name, counts, request):
    chosen = DataSettings(**composed("model=focal_lstm", f"data={name}").data_settings)
    got = extract(request.getfixturevalue(name), **chosen.of_extract)
    assert (got.stays.height, got.stays["died_in_hospital"].sum()) == counts
    assert (np.isfinite(got.values).mean((0, 1)) > 0.01).all()


def test_the_eleven_series_are_there(mimic3, mimic4):
    for source in (mimic3, mimic4):
        got = extract(source, **settings().of_extract)
        assert (np.isfinite(got.values).mean((0, 1)) > 0.02).all(), MTDM
