"""The command: runs in, a run folder out that compare, evaluate and report take; one message for what it refuses."""

import json
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from icu_lightning.average import average_runs
from icu_lightning.compare import compare_runs
from icu_lightning.errors import UserError
from icu_lightning.evaluate import evaluate_runs
from icu_lightning.evaluation.stored import digest
from tests.comparison.conftest import make_folder, table  # noqa: F401  (a fixture)

SETTINGS = {"by": "rank", "calibration": None, "bootstrap": 3, "figures": "none"}
OTHER = {"names__model": "lightgbm", "model__hidden": 1}


@pytest.fixture
def make_cv(make_folder):  # noqa: F811
    """A function: name, quality of the predictions and changes -> a finished run of cv=2, its folds in their folders."""

    def make(name: str, quality: float, noise: int, **changes):
        rows = table(quality, noise, n=200)
        half = pl.col("patient_id").cast(pl.Int64) % 2
        validation, test = rows.filter(split="val"), rows.filter(split="test")
        whole = pl.concat([test.filter(half == i).with_columns(fold=pl.lit(i, pl.Int32)) for i in (0, 1)])
        folder = make_folder(name, whole, cv=2, **changes)
        for i in (0, 1):
            one = pl.concat([validation, test.filter(half == i)])
            make_folder(f"{name}/fold-{i}", one, data__fold=[i, 2], **changes)
        return folder

    return make


def averaged(named, folder, **changes):
    average_runs([str(name) for name in named], folder, **(SETTINGS | changes))
    return pl.read_parquet(folder / "predictions.parquet"), yaml.safe_load((folder / "config.yaml").read_text())


def test_the_result_is_a_run_that_names_its_members(make_folder, tmp_path, capsys):  # noqa: F811
    members = [
        make_folder("a", table(1.0, 1), seed=0),
        make_folder("b", table(1.0, 2), seed=1),
        make_folder("c", table(1.0, 3), **OTHER),
    ]
    rows, config = averaged(members, tmp_path / "out")
    assert "average of focal_lstm and lightgbm" in capsys.readouterr().out
    assert config["model"] == {"by": "rank", "models": {"focal_lstm": [0, 1], "lightgbm": [0]}}
    assert [m["folder"] for m in config["members"]] == [str(folder) for folder in members]
    assert [m["predictions_sha256"] for m in config["members"]] == [digest(f / "predictions.parquet") for f in members]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["evaluation"]["predictions_sha256"] == digest(tmp_path / "out" / "predictions.parquet")
    test = rows.filter(split="test")
    own = [
        roc_auc_score(test["label"], pl.read_parquet(f / "predictions.parquet").filter(split="test")["risk"])
        for f in members
    ]
    assert metrics["test"]["raw"]["auroc"]["value"] > max(own), "three noises are averaged out"
    assert (tmp_path / "out" / "environment.txt").exists()


def test_calibrator_and_threshold_see_validation_stays_alone(make_folder, tmp_path):  # noqa: F811
    """Other labels of the test stays change nothing of what is predicted."""
    turned = pl.when(pl.col("split") == "test").then(1 - pl.col("label")).otherwise("label").alias("label")
    results = []
    for name, change in {"as": pl.col("label"), "turned": turned}.items():
        members = [make_folder(f"{name}/{i}", table(1.0, i).with_columns(change), seed=i) for i in (1, 2)]
        results.append(averaged(members, tmp_path / name, calibration="platt")[0].drop("label"))
    assert results[0].equals(results[1])
    assert results[0]["threshold"].n_unique() == 1


def test_of_a_cross_validation_each_fold_is_averaged_by_its_own_validation_stays(make_cv, tmp_path):
    members = [make_cv("a", 1.0, 1), make_cv("b", 1.0, 2, **OTHER)]
    rows, config = averaged(members, tmp_path / "out")
    assert config["cv"] == 2
    assert set(rows["split"]) == {"test"}
    assert rows["fold"].value_counts().sort("fold")["count"].to_list() == [100, 100]
    one = tmp_path / "one"
    average_runs([str(folder / "fold-1") for folder in members], one, **SETTINGS)
    alone = pl.read_parquet(one / "predictions.parquet").filter(split="test").sort("stay_id")
    both = rows.filter(fold=1).sort("stay_id")
    for column in ("risk_raw", "risk", "threshold"):
        assert both[column].to_list() == alone[column].to_list()
    folds = json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]["folds"]
    assert len(folds["auroc"]["values"]) == 2


def test_compare_and_evaluate_take_it_and_averages_of_single_seeds_are_seeds_of_one(make_folder, tmp_path):  # noqa: F811
    outs = []
    for seed in (0, 1):
        members = [
            make_folder(f"{seed}/a", table(1.0, seed), seed=seed),
            make_folder(f"{seed}/b", table(1.0, seed + 5), seed=seed, **OTHER),
        ]
        outs.append(tmp_path / f"average-{seed}")
        averaged(members, outs[-1])
    before = [(out / "metrics.json").read_text() for out in outs]
    evaluate_runs(outs, SETTINGS["bootstrap"], 50, "none")
    assert [(out / "metrics.json").read_text() for out in outs] == before
    compare_runs(
        [*map(str, outs), str(tmp_path / "runs" / "0" / "b")],
        tmp_path / "compared",
        by_data=False,
        bootstrap=3,
        seed=0,
        kind="none",
    )
    seeds = pl.read_csv(tmp_path / "compared" / "models.csv").filter(metric="auroc").select("model", "seeds")
    assert dict(seeds.iter_rows()) == {"average of focal_lstm and lightgbm": 2, "lightgbm": 1}


def test_by_and_calibration_are_chosen(make_folder, tmp_path):  # noqa: F811
    members = [make_folder("a", table(1.0, 1)), make_folder("b", table(1.0, 2), seed=1)]
    raw = {by: averaged(members, tmp_path / by, by=by)[0]["risk_raw"].to_numpy() for by in ("rank", "logit", "risk")}
    assert not np.allclose(raw["rank"], raw["risk"])
    one, two = (pl.read_parquet(f / "predictions.parquet").sort("stay_id")["risk_raw"].to_numpy() for f in members)
    assert raw["risk"] == pytest.approx((one + two) / 2)
    rows, config = averaged(members, tmp_path / "none", by="risk", calibration="none")
    assert rows["risk"].to_list() == rows["risk_raw"].to_list()
    assert config["calibration"] == {"_target_": "icu_lightning.evaluation.calibration.Identity"}


def other_validation(rows: pl.DataFrame) -> pl.DataFrame:
    left = rows.filter(split="val")["stay_id"].head(3).implode()
    return rows.with_columns(split=pl.when(pl.col("stay_id").is_in(left)).then(pl.lit("train")).otherwise("split"))


REFUSED = {
    "other stays": (table(n=200), {}, r"a and .*b cannot be averaged: their test stays differ"),
    "another outcome": (table().with_columns(label=1 - pl.col("label")), {}, r"averaged: 240 of 240 test stays have another label"),
    "another window": (None, {"data__hours": 24}, r"averaged: window of prediction .* is 48 and 24\. Leave one out"),
    "other data": (None, {"source": "mimic4"}, r"cannot be averaged: data is eicu and mimic4\. Leave one out"),
    "other validation": (other_validation(table()), {}, r"validation stays differ, and what one was calibrated on the other was"),
    "the same run twice": (None, {"seed": 0}, r"have the same configuration and seed 0"),
    "another calibration": (None, {"names__calibration": "platt"}, r"isotonic and platt\. Choose one with --calibration"),
    "another rule": (None, {"threshold": "youden"}, r"another threshold: f1 and youden"),
    "folds": (None, {"cv": 5}, r"cv is None and 5"),
    "no validation": (table().filter(split="test"), {}, r"b has no validation stays"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_averaged_is_refused_and_nothing_is_written(name, make_folder, tmp_path):  # noqa: F811
    rows, changes, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        averaged([make_folder("a"), make_folder("b", rows, **({"seed": 1} | changes))], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_run_or_an_average_is_no_member(make_folder, tmp_path):  # noqa: F811
    a, b = make_folder("a"), make_folder("b", seed=1)
    with pytest.raises(UserError, match="is one run: an average takes two or more"):
        averaged([a], tmp_path / "out")
    averaged([a, b], tmp_path / "out")
    with pytest.raises(UserError, match="out is an average already: name its members"):
        averaged([a, tmp_path / "out"], tmp_path / "again")
    with pytest.raises(UserError, match="is not an empty folder"):
        averaged([a, b], tmp_path / "out")


def test_the_command_and_a_mistake_in_one_line(make_folder, cli, tmp_path):  # noqa: F811
    names = [str(make_folder("a")), str(make_folder("b", seed=1))]
    done = cli(
        *names, "--bootstrap", "2", "--out", str(tmp_path / "out"), "--figures", "none", module="icu_lightning.average"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    wrong = cli(names[0], "nowhere", module="icu_lightning.average")
    assert wrong.returncode == 1
    assert re.fullmatch(r"error: nowhere: there is no run in that folder.*\n", wrong.stderr)
    assert cli(*names, "--by", "votes", module="icu_lightning.average").returncode == 2


def test_torch_is_not_loaded(make_folder, tmp_path):  # noqa: F811
    names = [str(make_folder("a")), str(make_folder("b", seed=1))]
    code = (
        "import sys; from pathlib import Path; from icu_lightning.average import average_runs;"
        f"average_runs({names!r}, Path({str(tmp_path / 'out')!r}), **{SETTINGS!r});"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
