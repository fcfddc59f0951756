"""cv=n: every stay tested once by a model that did not see its patient; killed in the middle, it goes on; folds stay runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from icu_lightning import pipeline
from icu_lightning.crossvalidation import audited
from icu_lightning.data.audit import audit_line
from icu_lightning.errors import UserError
from icu_lightning.results import finished_metrics
from icu_lightning.run import check
from tests.conftest import composed

RUN = ("model=logistic_regression", "data=synthetic", "data.stays=400", "bootstrap=20")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A cross-validated run of three folds, done once."""
    from icu_lightning import runfolder
    from icu_lightning.data.settings import source_and_settings

    folder = tmp_path_factory.mktemp("cv") / "run"
    folder.mkdir()
    config = composed("report=none", "cv=3", *RUN, "data.cache_dir=null").plain
    names = {
        "data": "synthetic",
        "model": "logistic_regression",
        "trainer": "cpu",
        "logger": "csv",
        "calibration": "isotonic",
    }
    source, settings = source_and_settings(**config["data"])
    pipeline.run_pipeline(folder, runfolder.start(folder, {"names": names, **config}), source, settings)
    return folder


def test_every_stay_of_the_cohort_is_predicted_once_by_its_fold(whole):
    table = pl.read_parquet(whole / "predictions.parquet")
    cohort = pl.read_parquet(whole / "fold-0" / "predictions.parquet")["stay_id"]
    assert sorted(table["stay_id"]) == sorted(cohort)
    assert table["split"].unique().to_list() == ["test"]
    assert sorted(table["fold"].unique()) == [0, 1, 2]
    for i in range(3):
        own = pl.read_parquet(whole / f"fold-{i}" / "predictions.parquet").filter(pl.col("split") == "test")
        columns = ["stay_id", "risk_raw", "risk", "threshold", "label"]
        assert (
            table.filter(pl.col("fold") == i)
            .select(columns)
            .sort("stay_id")
            .equals(own.select(columns).sort("stay_id"))
        )
    assert table.group_by("patient_id").agg(pl.col("fold").n_unique())["fold"].max() == 1


def test_the_numbers_are_those_of_the_pooled_stays_and_of_each_fold(whole):
    table, test = (
        pl.read_parquet(whole / "predictions.parquet"),
        json.loads((whole / "metrics.json").read_text())["test"],
    )
    label, risk = table["label"].to_numpy(), table["risk"].to_numpy()
    assert test["n"] == table.height
    assert test["auroc"]["value"] == pytest.approx(roc_auc_score(label, risk), abs=1e-9)
    own = [
        roc_auc_score(fold["label"], fold["risk"])
        for _, fold in sorted(table.partition_by("fold", as_dict=True).items())
    ]
    assert test["folds"]["auroc"]["values"] == pytest.approx(own, abs=1e-9)
    assert test["folds"]["auroc"]["mean"] == pytest.approx(np.mean(own))
    assert test["folds"]["auroc"]["sd"] == pytest.approx(np.std(own, ddof=1))
    assert len(set(own)) == 3
    flagged = risk >= table["threshold"].to_numpy()
    assert test["threshold"] is None or table["threshold"].n_unique() == 1
    assert test["sensitivity"]["value"] == pytest.approx(flagged[label == 1].mean())
    odds = table["threshold"].to_numpy() / (1 - table["threshold"].to_numpy())
    benefit = (flagged * (label - (1 - label) * odds)).mean()
    assert test["net_benefit"]["value"] == pytest.approx(benefit, abs=1e-12)


def test_the_audit_and_the_cleaning_are_those_of_all_folds(whole):
    audit = json.loads((whole / "audit.json").read_text())
    assert audit["passed"]
    assert {check["name"] for check in audit["checks"]} >= {"patients disjoint", "fitted on train only"}
    assert pl.read_csv(whole / "cleaning.csv")["fold"].unique().sort().to_list() == [0, 1, 2]
    assert (whole / "attrition.csv").read_text() == (whole / "fold-2" / "attrition.csv").read_text()


def test_a_killed_cross_validation_goes_on_with_the_folds_that_are_missing(whole, tmp_path, monkeypatch):
    from icu_lightning import runfolder
    from icu_lightning.data.settings import source_and_settings

    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    before = (folder / "fold-0" / "predictions.parquet").stat().st_mtime_ns
    for gone in ("metrics.json", "predictions.parquet", "fold-2/metrics.json"):
        (folder / gone).unlink()
    shutil.rmtree(folder / "fold-1")
    config = runfolder.reopen(folder, [])
    source, settings = source_and_settings(**config["data"])
    pipeline.run_pipeline(folder, config, source, settings)
    assert (folder / "fold-0" / "predictions.parquet").stat().st_mtime_ns == before
    assert finished_metrics(folder) == finished_metrics(whole)


def test_an_audit_that_fails_in_one_fold_fails(whole, tmp_path):
    from icu_lightning.crossvalidation import audited

    folders = [tmp_path / name for name in ("a", "b")]
    good = json.loads((whole / "fold-0" / "audit.json").read_text())
    bad = json.loads(json.dumps(good))
    bad["passed"], bad["checks"][0] = False, {**good["checks"][0], "passed": False, "said": "3 on two sides"}
    for folder, content in zip(folders, (good, bad), strict=True):
        folder.mkdir()
        (folder / "audit.json").write_text(json.dumps(content))
    result = audited(folders)
    assert not result["passed"]
    assert result["checks"][0]["passed"] is False
    assert "3 on two sides" in result["checks"][0]["said"]
    assert "fold 2 of 2" in result["checks"][0]["said"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cv=1"], "cv must be a whole number of at least 2"),
        (["cv=five"], "cv must be a whole number of at least 2"),
        (["cv=5", "data.fold=[0,5]"], "leave one of the two out"),
    ],
)
def test_impossible_folds_are_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        check(composed(*overrides).plain)


@pytest.mark.parametrize("fold", ["3", "[5,5]", "[-1,5]", "[0,1]", "[0]"])
def test_impossible_folds_of_the_data_are_refused(fold):
    from icu_lightning.data.settings import source_and_settings

    with pytest.raises(UserError, match=r"data\.fold"):
        source_and_settings(**composed(f"data.fold={fold}").plain["data"])


def test_hidden_cells_of_all_folds_are_counted_once(tmp_path):
    """A fold's audit tells of its own validation and test stays; what is tested once is counted once."""

    def folder(i: int, hidden: int | None) -> Path:
        cells = {"val": {"measured": 70, "hidden": 7}, "test": {"measured": 100, "hidden": hidden}}
        held_out = None if hidden is None else {"pattern": "mcar", "rate": 0.3, "seed": 0, "cells": cells}
        path = tmp_path / f"{hidden is None}-{i}"
        path.mkdir()
        content = {"passed": True, "checks": [], "missingness_auroc": None, "held_out": held_out}
        (path / "audit.json").write_text(json.dumps(content))
        return path

    whole = audited([folder(0, 30), folder(1, 31)])
    assert whole["held_out"] == {
        "pattern": "mcar",
        "rate": 0.3,
        "seed": 0,
        "cells": {"test": {"measured": 200, "hidden": 61}},
    }
    assert "61 of 200 in test" in audit_line(whole)
    assert audited([folder(0, None), folder(1, None)])["held_out"] is None


def test_survivors_left_out_of_training_are_counted_over_the_folds(tmp_path):
    counts = {"per_death": 1, "deaths": 10, "survivors": 100, "left_out": 90}
    folders = [tmp_path / f"fold-{i}" for i in range(3)]
    for i, folder in enumerate(folders):
        folder.mkdir()
        own = {"undersampled": counts | {"left_out": 90 - i}, "held_out": None}
        audit = {"passed": True, "checks": [], "missingness_auroc": None, **own}
        (folder / "audit.json").write_text(json.dumps(audit))
    together = audited(folders)
    assert together["undersampled"] == {"per_death": 1, "deaths": 30, "survivors": 300, "left_out": 267, "folds": 3}
    assert "267 of 300, beside 30 deaths, counted in each of 3 folds" in audit_line(together)
