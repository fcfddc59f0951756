"""What may not stand in one ranking is refused, with both runs and their difference named; seeds of one model are found."""

import polars as pl
import pytest

from icu_lightning.comparison.refusals import refuse_unlike
from icu_lightning.comparison.runs import models
from icu_lightning.errors import UserError
from tests.comparison.conftest import table

UNLIKE = {
    "kind": ({"synthetic": "true"}, r"synthetic or real data is real and synthetic\. Put them .* --by data"),
    "data": ({"source": "mimic4"}, r"data is eicu and mimic4\. Put them into separate tables with --by data"),
    "outcome": ({"outcome": "died_in_icu"}, r"outcome is died_in_hospital and died_in_icu"),
    "window": ({"data__hours": 24}, r"data\.hours\) is 48 and 24"),
    "cohort": ({"data__cohort": ["age_known"]}, r"data\.cohort\) is .*age_at_least.* and .*age_known"),
    "split": ({"data__split_seed": 1}, r"data\.split_seed\) is 0 and 1"),
    "protocol": ({"names__protocol": "paper"}, r"protocol is clean and paper"),
    "fewer stays": ({"predicted": table(n=200)}, r"their test stays differ \(240 and 200, 200 in both\)"),
    "other labels": ({"predicted": table().with_columns(label=1 - pl.col("label"))}, r"240 of 240 test stays have another label"),
    "other patients": ({"predicted": table().with_columns(patient_id=pl.lit("x"))}, r"240 of 240 .* another patient_id"),
    "other ids": ({"predicted": table().with_columns(pl.col("stay_id").cast(pl.String))}, r"their test stays differ"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_runs_are_refused_with_both_names_and_the_difference(name, make_run):
    changes, message = UNLIKE[name]
    with pytest.raises(UserError, match=message) as refused:
        refuse_unlike([make_run("runs/one"), make_run("runs/same", seed=1), make_run("runs/other", **changes)])
    assert "runs/one and runs/other cannot stand in one ranking" in str(refused.value)


def test_alike_runs_pass(make_run):
    refuse_unlike([make_run("a"), make_run("b", table(0.1, 5), names__model="other", trainer__max_epochs=9)])
    refuse_unlike([make_run("a", names__protocol="paper"), make_run("b", names__protocol="paper", seed=1)])


def test_an_older_file_without_facts_is_synthetic_by_the_name_of_its_data(make_run):
    run = make_run(names__data="synthetic")
    run.facts.pop("synthetic")
    assert run.synthetic


def test_runs_that_differ_in_the_seed_alone_are_one_model(make_run):
    runs = [
        make_run("b", seed=2),
        make_run("c", names__model="other"),
        make_run("a", seed=1, data__root="/elsewhere", bootstrap=9, report={"write": False}),
    ]
    found = models(runs)
    assert [(model.name, [run.seed for run in model.runs]) for model in found] == [
        ("focal_lstm", [1, 2]),
        ("other", [0]),
    ]
    assert found[0].risks.shape == (2, 240)


def test_configurations_of_one_model_are_told_apart_by_their_differences(make_run):
    found = models([make_run("a"), make_run("b", trainer__max_epochs=9), make_run("c", names__model="other")])
    assert [model.name for model in found] == [
        "focal_lstm (trainer.max_epochs=4)",
        "focal_lstm (trainer.max_epochs=9)",
        "other",
    ]


def test_the_same_seed_twice_is_no_spread(make_run):
    with pytest.raises(UserError, match=r"a and b have the same configuration and seed 0: they are one result"):
        models([make_run("a"), make_run("b")])
