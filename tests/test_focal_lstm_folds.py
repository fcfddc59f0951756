"""experiments/focal_lstm: what is stored is what its README tells, and is as an honest comparison must be."""

import json
from itertools import pairwise

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "experiments" / "focal_lstm"
RESULT = json.loads((FOLDER / "folds.json").read_text())
ROWS = {
    "oracle: the true risk": "oracle",
    "**focal LSTM**": "focal LSTM",
    "logistic regression on last, mean": "logistic regression, summaries",
    "logistic regression on the last values": "logistic regression, last values",
    "focal LSTM as published, `model.l2": "focal LSTM, l2 as published",
}


def written(value):
    return f"{value:.3f}".lstrip("0")


@pytest.mark.parametrize("row", ROWS)
def test_the_readme_tells_the_stored_numbers(row):
    name = ROWS[row]
    line = next(line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith(f"| {row}"))
    for fold in RESULT["folds"]:
        assert f" {written(fold['models'][name]['auroc'])} " in line
    auroc = RESULT["pooled"][name]["auroc"]
    assert f"{written(auroc['value'])} ({written(auroc['low'])} to {written(auroc['high'])})" in line


def test_five_folds_are_five_numbers_and_every_stay_is_in_one():
    """The public repository's file says the same in every fold (METHODS A.5)."""
    for name in ROWS.values():
        found = sorted(fold["models"][name]["auroc"] for fold in RESULT["folds"])
        assert len(found) == 5
        assert all(a < b for a, b in pairwise(found))
    assert RESULT["synthetic"] is True
    assert sum(fold["stays"] for fold in RESULT["folds"]) == RESULT["stays"]
    assert sum(fold["deaths"] for fold in RESULT["folds"]) == RESULT["deaths"]


def test_the_generator_is_as_hard_as_it_was_meant_to_be_and_nobody_is_above_the_oracle():
    auroc = {name: RESULT["pooled"][name]["auroc"] for name in ROWS.values()}
    lstm = auroc["focal LSTM"]["value"]
    assert 0.88 < auroc["oracle"]["value"] < 0.94
    assert 0.80 < lstm < 0.90
    assert lstm - auroc["logistic regression, last values"]["value"] >= 0.05
    assert all(a["value"] < auroc["oracle"]["low"] for name, a in auroc.items() if name != "oracle")
    assert not any("stay_id" in key for fold in RESULT["folds"] for key in fold), "metrics, and no stay"
