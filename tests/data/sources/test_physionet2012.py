"""PhysioNet 2012: counts, hours and descriptors as distributed, from the archives and unpacked."""

import tarfile

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.extract import extract
from icu_lightning.data.sources.base import EVENTS, STAYS
from icu_lightning.data.sources.physionet2012 import PhysioNet2012
from icu_lightning.errors import UserError
from tests.conftest import composed, settings

RECORD = """Time,Parameter,Value
00:00,RecordID,{id}
00:00,Age,54
00:00,Gender,0
00:00,Height,-1
00:00,ICUType,4
00:00,Weight,-1
00:07,HR,73
00:40,HR,83
01:10,NISysABP,120
01:20,SysABP,100
05:00,Urine,100
05:30,Urine,50
07:00,pH,low
47:59,Lactate,2
48:00,Lactate,9
"""


@pytest.fixture
def challenge(tmp_path):
    """A folder with one set of two records, the second without any series."""
    (tmp_path / "set-a").mkdir()
    (tmp_path / "set-a" / "1.txt").write_text(RECORD.format(id=1))
    (tmp_path / "set-a" / "2.txt").write_text("".join(line + "\n" for line in RECORD.format(id=2).splitlines()[:7]))
    (tmp_path / "Outcomes-a.txt").write_text(
        "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n1,6,1,5,-1,0\n2,16,8,8,3,1\n"
    )
    return tmp_path


def of(folder, variables):
    return extract(PhysioNet2012(folder), **settings(variables=variables, hours=48, cohort=[]).of_extract)


def test_hours_by_hand(challenge):
    got = of(challenge, ["heart_rate", "sbp", "urine", "ph", "lactate", "weight", "cuff_sbp"])
    first, second = got.values
    assert first[0, 0] == 78
    assert first[1, 1] == 100, "the arterial line before the cuff"
    assert first[1, 6] == 120
    assert first[5, 2] == 150, "urine is added up"
    assert first[47, 4] == 2
    assert np.isfinite(first).sum() == 5
    assert np.isnan(second).all(), "a stay without series is kept"
    count = {r["variable"]: r for r in got.cleaning.iter_rows(named=True)}
    assert (count["ph"]["non_numeric"], count["lactate"]["outside_window"], count["weight"]["kept"]) == (1, 1, 0)


def test_lines_that_are_no_triple_are_counted_and_a_record_of_none_is_a_stay(challenge):
    lines = ["00:10,HR", "00:20,HR,80,5", '00:30,HR,"80', "garbage", "", "00:40,HR,90"]
    (challenge / "set-a" / "1.txt").write_text("\n".join(["Time,Parameter,Value", *lines]))
    (challenge / "set-a" / "2.txt").write_text("Time,Parameter,Value\n")
    got = of(challenge, ["heart_rate"])
    assert got.stays.select("stay_id", "age", "died_in_hospital").rows() == [(1, None, False), (2, None, True)]
    count = got.cleaning.row(0, named=True)
    assert (count["kept"], count["non_numeric"], got.values[0, 0, 0]) == (1, 3, 90)


def test_records_and_outcomes_that_do_not_belong_together_are_told(challenge):
    assert PhysioNet2012(challenge).incomplete() is None
    (challenge / "set-a" / "1.txt").rename(challenge / "set-a" / "7.txt")
    line = PhysioNet2012(challenge).incomplete()
    assert line.startswith("1 of 2 stays of Outcomes-a.txt have no record, and 1 of 2 records no outcome.")


@pytest.mark.parametrize("twin", ["set-a.tar.gz", "p12-set-a.tar.gz", "copy/Outcomes-a.txt"])
def test_a_part_that_is_there_twice_is_refused(challenge, twin):
    (challenge / "copy").mkdir()
    (challenge / twin).write_text("RecordID,In-hospital_death\n1,0\n")
    with pytest.raises(UserError, match=r"are the same part of the Challenge: move one away"):
        PhysioNet2012(challenge)


def test_descriptors(challenge):
    stays = PhysioNet2012(challenge).stays().collect().sort("stay_id")
    assert stays.schema == pl.Schema(STAYS)
    assert stays["stay_number"].to_list() == [1, 1], "no record names another one's patient"
    assert stays["hospital_hours"].to_list() == [5 * 24.0, 8 * 24.0]
    assert stays.select("age", "sex", "unit_type", "died_in_hospital", "died_in_icu").rows() == [
        (54.0, "female", "surgical", False, None),
        (54.0, "female", "surgical", True, None),
    ]


@pytest.mark.parametrize(
    ("survival", "died", "hours", "unreadable"),
    [
        ("1", "1", 60.0, []),
        ("2", "1", 84.0, []),
        ("-1", "1", None, []),
        ("400", "0", None, []),
        ("", "1", None, []),
        ("two", "1", None, ["Survival"]),
    ],
)
def test_the_hour_of_a_death_is_the_middle_of_its_day(challenge, survival, died, hours, unreadable):
    (challenge / "Outcomes-a.txt").write_text(f"RecordID,Survival,In-hospital_death\n1,-1,0\n2,{survival},{died}\n")
    second = PhysioNet2012(challenge).stays().collect().sort("stay_id").row(1, named=True)
    assert (second["death_hours"], second["unreadable"]) == (hours, unreadable)


def test_outcomes_without_the_days_of_survival_and_stay(challenge):
    (challenge / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,0\n2,1\n")
    stays = PhysioNet2012(challenge).stays().collect()
    assert stays.select("death_hours", "hospital_hours").rows() == [(None, None), (None, None)]


@pytest.mark.parametrize(
    ("days", "hours", "unreadable"), [("3", 72.0, []), ("-1", None, []), ("x", None, ["Length_of_stay"])]
)
def test_a_length_of_stay_that_is_not_known_is_none(challenge, days, hours, unreadable):
    (challenge / "Outcomes-a.txt").write_text(f"RecordID,Length_of_stay,In-hospital_death\n1,2,0\n2,{days},1\n")
    second = PhysioNet2012(challenge).stays().collect().sort("stay_id").row(1, named=True)
    assert (second["hospital_hours"], second["unreadable"]) == (hours, unreadable)


def test_an_archive_and_its_unpacked_folder_are_the_same(challenge, tmp_path_factory):
    packed = tmp_path_factory.mktemp("packed")
    with tarfile.open(packed / "set-a.tar.gz", "w:gz") as archive:
        archive.add(challenge / "set-a", "set-a")
    (packed / "Outcomes-a.txt").write_bytes((challenge / "Outcomes-a.txt").read_bytes())
    variables = ["heart_rate", "lactate"]
    assert np.array_equal(of(challenge, variables).values, of(packed, variables).values, equal_nan=True)
    archive = (packed / "set-a.tar.gz").read_bytes()
    (packed / "set-a.tar.gz").write_bytes(archive[: len(archive) // 2])
    with pytest.raises(UserError, match=r"set-a\.tar\.gz: .*damaged or cut short"):
        of(packed, variables)


def test_empty_outcomes_are_a_users_error(challenge):
    (challenge / "Outcomes-a.txt").write_text("")
    with pytest.raises(UserError, match=r"Outcomes-a\.txt is empty"):
        PhysioNet2012(challenge).stays()


def test_what_is_missing_is_named(challenge, tmp_path_factory):
    with pytest.raises(UserError, match=r"looked for set-a\.tar\.gz or set-a/(.|\n)*physionet\.org"):
        PhysioNet2012(tmp_path_factory.mktemp("empty"))
    with pytest.raises(UserError, match="No folder given"):
        PhysioNet2012(None)
    (challenge / "Outcomes-a.txt").rename(challenge / "Outcomes-b.txt")
    with pytest.raises(UserError, match=r"set-a is there, but Outcomes-a\.txt is not"):
        PhysioNet2012(challenge)


def test_the_real_sets(real_root):
    """Sets a and b: 8,000 stays, 1,122 deaths, 37 variables, all of them seen."""
    conf = composed("data=physionet2012").plain["data"]
    assert len(conf["variables"]) == 37
    got = extract(
        PhysioNet2012(real_root), **settings(**{k: conf[k] for k in ("hours", "variables", "cohort")}).of_extract
    )
    assert (got.stays.height, got.stays["died_in_hospital"].sum()) == (8000, 1122)
    died = got.stays.filter("died_in_hospital")["death_hours"]
    assert (died.null_count(), died.min(), (died == 60).sum(), (died == 84).sum()) == (0, 60.0, 50, 116)
    assert (np.isfinite(got.values).sum((0, 1)) > 500).all()
    assert np.isnan(got.values).all((1, 2)).sum() == 9, "stays without any of the 37, kept"


def test_events_have_the_promised_shape(challenge):
    from icu_lightning.data.concepts import concepts_of

    assert PhysioNet2012(challenge).events(concepts_of(["heart_rate"])).collect_schema() == pl.Schema(EVENTS)
