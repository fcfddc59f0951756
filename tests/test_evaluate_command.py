"""The command: the run's own numbers from predictions.parquet alone, and one message for a file that is not the run's."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from functools import cache

import polars as pl
import pytest

from icu_lightning.errors import UserError
from icu_lightning.evaluate import evaluate_runs, folders
from icu_lightning.results import finished_metrics
from tests.conftest import run_in

SMALL = ("model=logistic_regression", "data.stays=300", "bootstrap=20")


@pytest.fixture(scope="module")
def of_seed(tmp_path_factory):
    """A function: a seed -> the folder of its run, done once."""
    return cache(lambda seed: run_in(tmp_path_factory.mktemp("seed") / "run", *SMALL, f"seed={seed}"))


@pytest.fixture
def finished(of_seed, tmp_path):
    """A run of the test's own."""
    return shutil.copytree(of_seed(0), tmp_path / "run")


@pytest.fixture
def two(of_seed, tmp_path):
    """Two runs of the test's own, of other seeds."""
    return [shutil.copytree(of_seed(seed), tmp_path / f"seed{seed}") for seed in (0, 1)]


def rewrite(folder, table: pl.DataFrame, *, keep_digest: bool = False) -> None:
    """Put `table` in the place of the run's predictions; without keep_digest, as if no digest had ever been kept."""
    table.write_parquet(folder / "predictions.parquet", metadata={"outcome": "died_in_hospital"})
    if not keep_digest:
        metrics = finished_metrics(folder)
        del metrics["evaluation"]
        (folder / "metrics.json").write_text(json.dumps(metrics))


def test_a_run_keeps_the_digest_of_its_predictions_and_is_redone_to_the_letter(run_here, capsys):
    finished = run_here(*SMALL)
    whole = (finished / "metrics.json").read_text()
    kept = json.loads(whole)["evaluation"]
    assert kept["predictions_sha256"] == hashlib.sha256((finished / "predictions.parquet").read_bytes()).hexdigest()
    assert (kept["bootstrap"], kept["seed"], kept["smallest"]) == (20, 0, 50)
    shown = capsys.readouterr().out
    (finished / "metrics.json").unlink()
    evaluate_runs([finished], None, 50)
    assert (finished / "metrics.json").read_text() == whole
    again = capsys.readouterr().out
    assert "no digest of predictions.parquet was kept" in again
    assert shown[shown.index("logistic_regression on synthetic") :] in again, "the same table"


def test_settings_may_differ_from_the_runs(finished):
    before = finished_metrics(finished)
    evaluate_runs([finished], 30, 10)
    after = finished_metrics(finished)
    assert (after["evaluation"]["bootstrap"], after["evaluation"]["smallest"]) == (30, 10)
    assert after["test"]["auroc"]["value"] == before["test"]["auroc"]["value"]
    assert after["test"]["auroc"]["low"] != before["test"]["auroc"]["low"]
    assert len(after["test"]["subgroups"]["age"]) >= len(before["test"]["subgroups"].get("age", {}))


def test_figures_are_drawn_when_asked_for_and_a_run_without_report_has_none(finished, monkeypatch):
    monkeypatch.setattr("icu_lightning.plots.save.DPI", 10)
    plots = finished / "plots"
    evaluate_runs([finished], None, 50)
    assert [path.name for path in plots.iterdir()] == ["attrition.svg"]
    evaluate_runs([finished], None, 50, "svg")
    first = {path.name: path.read_bytes() for path in plots.iterdir()}
    assert {"roc_curve.svg", "subgroup_forest.svg"} <= first.keys()
    assert "learning_curves.svg" not in first, "a regression has no epochs"
    evaluate_runs([finished], None, 50, "png")
    again = {path.name: path.read_bytes() for path in plots.iterdir()}
    assert {name.replace("svg", "png") for name in first} - again.keys() == {"attrition.png"}
    assert first.items() <= again.items(), "the same, to the byte"


def nan_risks(table):
    return table.with_columns(
        risk=pl.when(pl.col("stay_id").is_in(table["stay_id"][:2])).then(float("nan")).otherwise("risk")
    )


DAMAGE = {
    "NaN risks": (nan_risks, r"a risk that is no number in \[0, 1\] in 2 of \d+ rows \(stays "),
    "impossible risks": (
        lambda t: t.with_columns(risk_raw=pl.lit(1.5)),
        r"a risk_raw that is no number .* in \d+ of \d+",
    ),
    "no risks": (lambda t: t.with_columns(risk=pl.lit(None, pl.Float64)), r"no risk in \d+ of \d+"),
    "words": (lambda t: t.with_columns(risk=pl.lit("high")), r"risk should hold numbers, not String"),
    "a stay twice": (lambda t: pl.concat([t, t.head(1)]), r"a row for a stay that has another in 2 of \d+ rows"),
    "fewer columns": (lambda t: t.drop("threshold", "sex"), r"other columns than a run writes: without threshold, sex"),
    "a corrected risk above 1": (
        lambda t: t.with_columns(risk_prior=pl.lit(1.5)),
        r"a risk_prior that is no number in",
    ),
    "no corrected risk": (lambda t: t.with_columns(risk_prior=pl.lit(None, pl.Float64)), r"no risk_prior in"),
    "more columns": (lambda t: t.with_columns(note=pl.lit(1)), r"with unknown note"),
    "another split": (
        lambda t: t.with_columns(split=pl.lit("holdout")),
        r"a split that is none of train, val and test",
    ),
    "other labels": (lambda t: t.with_columns(label=pl.lit(2.0)), r"a label that is neither 0 nor 1"),
    "two thresholds": (lambda t: t.with_columns(threshold=pl.int_range(pl.len()) / 1000), r"\d+ different thresholds"),
    "no threshold": (lambda t: t.with_columns(threshold=pl.lit(float("inf"))), r"a threshold that is no number"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_predictions_that_are_none_are_refused_and_nothing_is_written(name, finished):
    damage, message = DAMAGE[name]
    rewrite(finished, damage(pl.read_parquet(finished / "predictions.parquet")))
    before = (finished / "metrics.json").read_bytes()
    with pytest.raises(UserError, match=message) as refused:
        evaluate_runs([finished], None, 50)
    assert str(finished / "predictions.parquet") in str(refused.value)
    assert (finished / "metrics.json").read_bytes() == before


def test_an_altered_file_is_known_by_its_digest(finished):
    table = pl.read_parquet(finished / "predictions.parquet")
    rewrite(finished, table.with_columns(risk=pl.col("risk") * 0.9), keep_digest=True)
    with pytest.raises(UserError, match=r"is not the file that its run wrote.*Put the original back"):
        evaluate_runs([finished], None, 50)


def test_missing_and_unreadable_predictions(finished):
    path = finished / "predictions.parquet"
    (finished / "metrics.json").unlink()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        evaluate_runs([finished], None, 50)
    path.unlink()
    with pytest.raises(UserError, match=r"is missing.*resume="):
        evaluate_runs([finished], None, 50)


def test_of_several_runs_all_are_looked_at_before_any_is_redone(two):
    good, bad = two
    before = (good / "metrics.json").read_bytes()
    (bad / "predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"seed1.*is missing"):
        evaluate_runs([good, bad], 5, 50)
    assert (good / "metrics.json").read_bytes() == before


def test_which_runs():
    assert [str(path) for path in folders(["a", "b/c"])] == ["a", "b/c"]
    with pytest.raises(UserError, match="Which run"):
        folders(None)
    with pytest.raises(UserError, match=r"run names a/\.\./b twice"):
        folders(["b", "a/../b"])


MISTAKES = {
    "nothing": ([], r"Which run\? Name its folder: run=FOLDER"),
    "no such run": (["run=nowhere"], r"nowhere: there is no run in that folder"),
    "a word": (["run=nowhere", "bootstrap=many"], r"bootstrap must be a whole number"),
    "a group of nobody": (["run=nowhere", "smallest=0"], r"smallest must be a whole number of at least 1"),
    "no such figures": (["run=nowhere", "figures=pdf"], r"Unknown kind of figures 'pdf'"),
    "unknown key": (["run=nowhere", "smalest=3"], r"Key 'smalest' is not in struct"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_message_and_exit_code_1(name, cli, tmp_path):
    arguments, message = MISTAKES[name]
    done = cli(*arguments, module="icu_lightning.evaluate")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert (tmp_path / "work").is_dir(), "the working directory is not ours to remove"
    assert not list((tmp_path / "work").iterdir())


def test_the_command_redoes_runs_by_name(two, cli, tmp_path):
    done = cli(f"run=[{two[0]},{two[1]}]", "bootstrap=10", module="icu_lightning.evaluate")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("auroc, uncalibrated") == 2
    assert all(finished_metrics(name)["evaluation"]["bootstrap"] == 10 for name in two)
    assert not list((tmp_path / "work").iterdir())


def test_torch_is_not_loaded(finished):
    code = (
        "import sys; from pathlib import Path; from icu_lightning.evaluate import evaluate_runs;"
        f"evaluate_runs([Path({str(finished)!r})], 5, 50); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
