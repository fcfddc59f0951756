"""experiments/focal_lstm: what is stored is what its README tells, and is as an honest comparison must be."""

import importlib.util
import json
import sys
from itertools import pairwise

import polars as pl
import pytest

from icu_lightning.data.synthetic.settings import settings_of
from icu_lightning.data.synthetic.writers.write import write
from tests.conftest import ROOT, generator_conf

FOLDER = ROOT / "experiments" / "focal_lstm"
RESULT = json.loads((FOLDER / "folds.json").read_text())
ROWS = {
    "oracle: the true risk": "oracle",
    "**focal LSTM**": "focal LSTM",
    "logistic regression on last, mean": "logistic regression, summaries",
    "logistic regression on the last values": "logistic regression, last values",
    "focal LSTM as published, `model.l2": "focal LSTM, l2 as published",
}


@pytest.fixture(scope="module")
def compare():
    """experiments/focal_lstm/compare.py as a module."""
    spec = importlib.util.spec_from_file_location("compare_of_focal_lstm", FOLDER / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_every_patient_is_tested_once_and_never_in_the_fold_that_chose_the_epoch(compare):
    sides = [[compare.side_of(str(patient), fold) for fold in range(5)] for patient in range(2000)]
    assert all(side.count("test") == 1 for side in sides)
    shares = [sum(side[0] == name for side in sides) / 2000 for name in ("test", "val", "train")]
    assert shares == pytest.approx([0.20, 0.15, 0.65], abs=0.03)


@pytest.mark.slow
def test_the_comparison_runs_and_goes_on_where_it_was(compare, tmp_path, monkeypatch, capsys):
    write(tmp_path / "made-up", "mimic3", settings_of(generator_conf()), 400, 1)
    out, kept = tmp_path / "folds.json", tmp_path / "made-up-risks" / "fold-0.parquet"
    call = [str(tmp_path / "made-up"), "--folds", "1", "--max-epochs", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["compare.py", *call])
    compare.main()
    first, said = out.read_text(), capsys.readouterr().out
    result = json.loads(first)
    assert set(result) == set(RESULT)
    assert set(result["pooled"]) == set(ROWS.values()) == set(result["folds"][0]["models"])
    assert result["folds"][0]["models"]["oracle"].keys() == RESULT["folds"][0]["models"]["oracle"].keys()
    assert "calibration_slope" in said
    stays = pl.read_parquet(kept).group_by("stay_id").len()
    assert (stays["len"] == len(ROWS)).all(), "every model tells a risk of every stay"
    monkeypatch.setattr(compare, "risks_of", lambda *_: pytest.fail("computed again"))
    compare.main()
    assert out.read_text() == first
