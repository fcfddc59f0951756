"""What W&B gets of a run, read back from the file that it keeps offline; and a server that does not answer stops nothing."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from icu_lightning.errors import UserError
from icu_lightning.evaluation.curves import roc_curve
from icu_lightning.loggers import _run_id, build_loggers, tell_epoch
from icu_lightning.training.stages import read_metrics
from icu_lightning.wandb_results import ARTIFACTS, FIGURES, OF_STAYS, results
from tests.training.test_preemption import stopped
from tests.wandb_file import OfflineRun

LINE = (
    "model=mtdm",
    "model/size=tiny",
    "imputation.stays=10",
    "data.stays=300",
    "trainer.max_epochs=1",
    "bootstrap=20",
)


@pytest.mark.slow
def test_an_offline_run_read_back(cli, tmp_path):
    folder = tmp_path / "run"
    more = ("report=none", "logger=wandb", "logger.artifacts.model=true", f"hydra.run.dir={folder}")
    done = cli(*LINE, *more, WANDB_MODE="offline", ICU_SWEEP_ID="night-3", WANDB_DATA_DIR=str(tmp_path / "staged"))
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    kept = OfflineRun(path)
    assert kept.run.run_id == (folder / "wandb" / "run-id.txt").read_text().strip()
    assert kept.run.run_group == "synthetic/mtdm"
    assert set(kept.run.tags) == {"synthetic", "mtdm", "sweep:night-3"}
    assert kept.config["sweep"] == "night-3"
    assert kept.config["model"]["weights"]["imputation"] == 0.4
    rows = read_metrics(folder / "metrics.csv")
    epochs = [row for row in kept.history if "train/loss" in row]
    assert [(row["epoch"], row["stage"]) for row in epochs] == [(0, 1), (1, 2)]
    for row, stored in zip(epochs, rows, strict=True):
        names = {name for name, value in stored.items() if value} - {"stage", "epoch"}
        assert {name: row[name] for name in names} == pytest.approx(
            {name: float(stored[name]) for name in names}, rel=1e-5
        )
    assert {"train/imputation", "train/contrastive", "train/mortality", "val/auroc"} <= epochs[1].keys()
    assert kept.summary["test"]["auroc"]["value"] is not None
    last = " ".join(kept.history[-1])
    assert all(f"test/{name}" in last for name in ("roc", "pr", "calibration", "confusion", "imputation"))
    assert [name for name in kept.artifacts if "-test" not in name] == [f"{kept.run.run_id}-model"], (
        "what was asked for"
    )
    content = path.read_bytes()
    table = pl.read_parquet(folder / "predictions.parquet")
    numbers = set(re.findall(rb"\d+", content))  # whole ones: eight digits stand within some decimal by chance
    assert not numbers & {str(patient).encode() for patient in table["patient_id"].unique()}


FIGURED = (
    "report=full",
    "report.explanation.stays=2",
    "report.explanation.evaluations=200",
    "report.explanation.background=2",
    "report.stays=0",
)


@pytest.mark.slow
def test_two_processes_keep_one_run_with_every_curve_and_figure(cli, tmp_path):
    """trainer=ddp_cpu: rank 0 alone speaks to W&B. Curves, tables and figures are read back from what it keeps offline."""
    folder = tmp_path / "run"
    line = ("trainer=ddp_cpu", "model=focal_lstm", "trainer.max_epochs=2", "data.stays=500", "bootstrap=20", *FIGURED)
    done = cli(*line, "logger=wandb", f"hydra.run.dir={folder}", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("run-*.wandb")
    kept = OfflineRun(path)
    assert len([row for row in kept.history if "train/loss" in row]) == 2
    last = kept.history[-1]

    def content(name: str) -> str:
        return (path.parent / "files" / last[f"{name}.path"]).read_text()

    figures = {name[len("figures/") : -len(".path")] for name in last if re.fullmatch(r"figures/.*[.]path", name)}
    assert figures == {name for name in FIGURES + OF_STAYS if (folder / "plots" / f"{name}.svg").exists()}
    assert {
        "shap_bar",
        "shap_beeswarm",
        "embedding",
        "calibration_smooth",
        "decision_curve",
        "learning_curves",
    } <= figures
    for name in figures:
        assert (folder / "plots" / f"{name}.svg").read_text() in content(f"figures/{name}"), name
    test = pl.read_parquet(folder / "predictions.parquet").filter(pl.col("split") == "test")
    rows = {
        name: json.loads(content(f"test/{name}"))["data"] for name in ("roc_table", "pr_table", "calibration_table")
    }
    x, y = roc_curve(test["label"].to_numpy(), test["risk"].to_numpy())
    assert rows["roc_table"] == pytest.approx(np.column_stack([x, y]), abs=1e-9)
    assert rows["pr_table"][-1][0] == pytest.approx(1)
    assert rows["calibration_table"]
    counted = {(died, flagged): n for died, flagged, n in json.loads(content("test/confusion"))["data"]}
    flagged = test.filter(pl.col("risk") >= pl.col("threshold"))
    assert counted["died", "flagged"] == flagged["label"].sum()
    assert sum(counted.values()) == test.height


@pytest.mark.slow
def test_a_run_that_goes_on_is_the_same_run_at_wandb(cli, tmp_path):
    """Two files offline, as it was begun twice, which W&B makes one of by their id; each epoch is in one of them at least."""
    folder = tmp_path / "run"
    line = [
        "data.stays=600",
        "trainer.max_epochs=12",
        "model.patience=12",
        "report=none",
        "bootstrap=20",
        "logger=wandb",
    ]
    ended, said = stopped([*line, f"hydra.run.dir={folder}"], folder, signal.SIGTERM, WANDB_MODE="offline")
    assert ended == 143, said
    done = cli(f"resume={folder}", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    begun, ended = (OfflineRun(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")))
    assert begun.run.run_id == ended.run.run_id
    epochs = [row["epoch"] for one in (begun, ended) for row in one.history if "train/loss" in row]
    assert set(epochs) == set(range(12))
    assert len(epochs) <= 13, "at most the epoch that was cut off is told twice"
    assert "test" in ended.summary


def test_tables_and_figures_of_the_results(tmp_path):
    test = pl.DataFrame({"label": [1.0, 1.0, 0.0, 0.0, 0.0], "risk": [0.9, 0.2, 0.5, 0.1, 0.1], "threshold": [0.5] * 5})
    plots = tmp_path / "plots"
    plots.mkdir()
    for name in ("shap_bar", "shap_stay_1", "embedding"):
        (plots / f"{name}.svg").write_text(f"<svg>{name}</svg>")
    cell = {"value": 0.5, "low": 0.4, "high": 0.6}
    metrics = {"imputation": {"0.1": {"n": 7, "mae": cell, "rmse": cell, "crps": cell, "coverage90": cell}}}
    of_nobody = results(tmp_path, metrics, test, of_stays=False)
    assert [name for name in of_nobody if name.startswith("figures/")] == ["figures/shap_bar"], "no point of a patient"
    found = results(tmp_path, metrics, test, of_stays=True)
    assert {"figures/shap_bar", "figures/embedding"} == {name for name in found if name.startswith("figures/")}
    assert found["test/confusion"].data == [
        ["died", "flagged", 1],
        ["died", "not flagged", 1],
        ["survived", "flagged", 1],
        ["survived", "not flagged", 2],
    ]
    table = found["test/imputation"]
    assert table.columns[:5] == ["hidden", "cells", "mae", "mae low", "mae high"]
    assert table.data[0][:5] == [0.1, 7, 0.5, 0.4, 0.6]
    assert table.data[0][-3:] == [None] * 3, "not computed"


def config(**artifacts) -> dict:
    wandb = {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "icu_lightning", "log_model": False}
    names = {"data": "eicu", "model": "mtdm"}
    return {"names": names, "data": {"fold": None}, "logger": {"loggers": [wandb], "artifacts": artifacts}}


@pytest.mark.parametrize(
    ("artifacts", "message"), [({"weights": True}, "Unknown artifact"), ({"model": "yes"}, "must be true or false")]
)
def test_artifacts_that_cannot_be_meant(artifacts, message, tmp_path):
    with pytest.raises(UserError, match=message):
        build_loggers(tmp_path, config(**artifacts))
    assert set(ARTIFACTS) == {"model", "predictions"}


def test_a_resumed_run_has_its_id_and_another_folder_of_that_name_has_not(tmp_path):
    one, other = tmp_path / "a" / "0", tmp_path / "b" / "0"
    assert _run_id(one, "0") == _run_id(one, "0")
    assert _run_id(one, "0") != _run_id(other, "0")


UNREACHED = {
    "nobody answers": (
        {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": "online"},
        "W&B: ",
    ),
    "not logged in": ({"WANDB_MODE": "", "WANDB_API_KEY": ""}, "W&B: not logged in"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNREACHED)
def test_a_run_that_cannot_reach_wandb_is_kept_offline_with_one_line(name, tmp_path):
    environment, said = UNREACHED[name]
    home = {"HOME": str(tmp_path), "NETRC": str(tmp_path / ".netrc"), "WANDB_INIT_TIMEOUT": "3"}
    code = (
        "from pathlib import Path; from icu_lightning.loggers import build_loggers, tell_epoch; from tests.test_wandb import config\n"
        "made = build_loggers(Path('run'), config()); tell_epoch(made, {'val/auroc': 0.5}, 0); made[0].experiment.finish()"
    )
    variables = os.environ | home | environment
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=variables | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(said)
    assert "offline" in lines[0]
    assert "wandb sync --yes run/wandb/offline-run-*" in lines[0]
    (kept,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    assert any(row.get("val/auroc") == 0.5 for row in OfflineRun(kept).history)


def test_a_logger_that_fails_is_told_of_once_and_left_out(capsys):
    class Failing:
        def log_metrics(self, values, step):
            raise ConnectionError("the server has gone\nand more")

    loggers = [Failing()]
    for epoch in range(3):
        tell_epoch(loggers, {"val/auroc": 0.5}, epoch)
    assert capsys.readouterr().out.count("Failing fails (the server has gone): the run goes on without it") == 1
