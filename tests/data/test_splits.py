"""Splits: by patient, at the quotas, the same in every process."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.splits import LEFT_OUT, SPLITS, split_by_hospital, split_by_patient, undersampled
from icu_lightning.errors import UserError

SCRIPT = """
import polars as pl
from icu_lightning.data.splits import split_by_patient
patients = pl.Series([f"p{i % 70}" for i in range(100)])
print("".join(s[1] for s in split_by_patient(patients, pl.Series([i % 5 == 0 for i in range(100)]), (0.7, 0.1, 0.2), 3)))
"""


def stays(n: int = 1000, patients: int = 700, seed: int = 0) -> tuple[pl.Series, pl.Series]:
    rng = np.random.default_rng(seed)
    return pl.Series(rng.integers(0, patients, n)).cast(pl.String), pl.Series(rng.random(n) < 0.1)


def test_no_patient_is_on_two_sides_and_quotas_hold_in_both_strata():
    patient, died = stays()
    frame = pl.DataFrame(
        {"patient": patient, "died": died, "split": split_by_patient(patient, died, (0.7, 0.1, 0.2), 0)}
    )
    by_patient = frame.group_by("patient").agg(
        pl.col("split").n_unique().alias("sides"), pl.col("split").first(), pl.col("died").any()
    )
    assert by_patient["sides"].max() == 1
    for _, stratum in by_patient.group_by("died"):
        shares = [(stratum["split"] == name).mean() for name in SPLITS]
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.011)


def test_the_split_follows_the_patient_not_the_row():
    patient, died = stays()
    split = split_by_patient(patient, died, (0.7, 0.1, 0.2), 0)
    order = np.random.default_rng(1).permutation(len(patient))
    again = split_by_patient(patient[order.tolist()], died[order.tolist()], (0.7, 0.1, 0.2), 0)
    assert again.to_list() == split[order.tolist()].to_list()


def test_another_seed_is_another_split():
    patient, died = stays()
    assert (
        split_by_patient(patient, died, (0.7, 0.1, 0.2), 0).to_list()
        != split_by_patient(patient, died, (0.7, 0.1, 0.2), 1).to_list()
    )


@pytest.mark.parametrize("deaths", [3, 4, 9])
def test_a_few_deaths_are_on_every_side(deaths):
    patient = pl.Series([str(i) for i in range(60)])
    split = split_by_patient(patient, pl.Series([i < deaths for i in range(60)]), (0.7, 0.1, 0.2), 0)
    assert set(split[:deaths]) == set(SPLITS)


def test_the_split_is_the_same_in_every_process():
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(said) == 1
    assert len(said.pop().strip()) == 100


def hospitals(n: int = 3000) -> tuple[pl.Series, pl.Series]:
    rng = np.random.default_rng(0)
    patient = rng.integers(0, 2000, n)
    hospital = patient % 60
    moved = rng.random(n) < 0.005  # a few patients are seen in two hospitals
    return pl.Series(patient).cast(pl.String), pl.Series(np.where(moved, (hospital + 1) % 60, hospital)).cast(pl.String)


def test_whole_hospitals_and_whole_patients_are_on_one_side():
    patient, hospital = hospitals()
    split = split_by_hospital(patient, hospital, (0.7, 0.1, 0.2), 0)
    frame = pl.DataFrame({"patient": patient, "hospital": hospital, "split": split})
    for unit in ("patient", "hospital"):
        assert frame.group_by(unit).agg(pl.col("split").n_unique())["split"].max() == 1
    assert frame.group_by("patient").agg(pl.col("hospital").n_unique())["hospital"].max() == 2, "some patients do move"
    shares = [(split == name).mean() for name in SPLITS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.12)
    assert split.to_list() == split_by_hospital(patient, hospital, (0.7, 0.1, 0.2), 0).to_list()
    assert split.to_list() != split_by_hospital(patient, hospital, (0.7, 0.1, 0.2), 1).to_list()


def test_hospitals_that_cannot_be_split_are_refused():
    patient = pl.Series([str(i) for i in range(10)])
    with pytest.raises(UserError, match="3 of 10 stays have no hospital id"):
        split_by_hospital(patient, pl.Series([None] * 3 + ["a"] * 7), (0.7, 0.1, 0.2), 0)
    with pytest.raises(UserError, match="leaves no hospital for"):
        split_by_hospital(patient, pl.Series(["a", "b"] * 5), (0.7, 0.1, 0.2), 0)


@pytest.mark.parametrize("folds", [2, 5])
def test_every_patient_is_tested_in_exactly_one_fold(folds):
    patient, died = stays()
    tested = []
    for i in range(folds):
        split = split_by_patient(patient, died, (0.7, 0.1, 0.2), 0, [i, folds])
        frame = pl.DataFrame({"patient": patient, "died": died, "split": split})
        assert frame.group_by("patient").agg(pl.col("split").n_unique())["split"].max() == 1
        patients = frame.group_by("patient").agg(pl.col("split").first(), pl.col("died").any())
        for _, stratum in patients.group_by("died"):
            assert (stratum["split"] == "test").mean() == pytest.approx(1 / folds, abs=0.02)
            others = stratum.filter(pl.col("split") != "test")
            assert (others["split"] == "val").mean() == pytest.approx(1 / 8, abs=0.02), (
                "the share of val in train and val"
            )
        tested += patients.filter(pl.col("split") == "test")["patient"].to_list()
    assert sorted(tested) == sorted(patient.unique())


def test_every_hospital_is_tested_in_exactly_one_fold():
    hospital = pl.Series([f"h{i % 23}" for i in range(900)])
    patient = pl.Series([f"{h}-{i // 2}" for i, h in enumerate(hospital)])
    tested = []
    for i in range(4):
        split = split_by_hospital(patient, hospital, (0.7, 0.1, 0.2), 0, [i, 4])
        assert set(split.unique()) == set(SPLITS)
        sides = pl.DataFrame({"hospital": hospital, "split": split}).unique()
        assert sides.height == 23
        tested += sides.filter(pl.col("split") == "test")["hospital"].to_list()
    assert sorted(tested) == sorted(hospital.unique())


def test_a_small_stratum_is_tested_once_too():
    """Three patients that died in five folds: two folds have no death to test on, none is left out or counted twice."""
    patient = pl.Series([f"p{i}" for i in range(13)])
    died = pl.Series([i < 3 for i in range(13)])
    splits = [split_by_patient(patient, died, (0.7, 0.1, 0.2), 0, [i, 5]) for i in range(5)]
    assert [sum(split[i] == "test" for split in splits) for i in range(13)] == [1] * 13
    assert all("train" in split.filter(died).to_list() for split in splits)


@pytest.mark.parametrize("per_death", [1, 2.5, 1000])
def test_undersampling_takes_training_survivors_alone_and_as_many_as_asked_for(per_death):
    patient, died = stays()
    stay, split = pl.Series(range(1000)), split_by_patient(patient, died, (0.7, 0.1, 0.2), 0)
    after = undersampled(stay, split, died, per_death, 0)
    gone = after == LEFT_OUT
    assert not (gone & (died | (split != "train"))).any()
    assert after.filter(~gone).equals(split.filter(~gone))
    deaths, survivors = int((died & (split == "train")).sum()), int((~died & (split == "train")).sum())
    assert int(((after == "train") & ~died).sum()) == min(survivors, round(per_death * deaths))
    assert gone.any() == (per_death < 1000)


def test_who_is_left_out_follows_from_the_seed_and_not_from_the_other_stays():
    patient, died = stays()
    stay, split = pl.Series(range(1000)), split_by_patient(patient, died, (0.7, 0.1, 0.2), 0)
    chosen = undersampled(stay, split, died, 1, 0)
    shuffled = pl.Series(np.random.default_rng(0).permutation(1000))
    again = undersampled(stay[shuffled], split[shuffled], died[shuffled], 1, 0)
    assert again.equals(chosen[shuffled])
    assert not undersampled(stay, split, died, 1, 1).equals(chosen)
    fewer = undersampled(stay, split, died, 0.5, 0)
    assert set(stay.filter((fewer == "train") & ~died)) < set(stay.filter((chosen == "train") & ~died))


def test_one_survivor_stays_however_few_are_asked_for():
    died = pl.Series([True, False, False])
    split = undersampled(pl.Series([1, 2, 3]), pl.Series(["train"] * 3), died, 1e-9, 0)
    assert sorted(split.filter(~died)) == [LEFT_OUT, "train"]
