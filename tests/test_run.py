"""The command: what it writes, what it refuses, and that an interrupted run ends as an uninterrupted one."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score

from icu_lightning import run, runfolder
from icu_lightning.build import built
from icu_lightning.errors import UserError
from icu_lightning.evaluation.calibration import load as load_calibrator
from icu_lightning.pipeline import run_pipeline
from icu_lightning.results import finished_metrics, stored_metrics
from icu_lightning.training.checkpoint import trained
from icu_lightning.training.stages import StageCheckpoint, read_metrics
from tests.conftest import CONF, run_in, tiny

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
FILES = {
    "config.yaml",
    "environment.txt",
    "attrition.csv",
    "cleaning.csv",
    "audit.json",
    "metrics.csv",
    "predictions.parquet",
    "metrics.json",
    "checkpoints",
    "plots",
}


def smallest(model: str) -> list[str]:
    return [*tiny(model), "imputation.stays=10"]


OF_THE_MODEL = ("variables", "hours", "cohort", "static", "severity", "vis")
SMALL = ("data.stays=300", "bootstrap=20", "++report.explanation.stays=0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A function: a model's name -> the folder of its run of two epochs, done once; whoever changes something takes a copy."""

    def make(model: str) -> Path:
        line = (f"model={model}", "trainer.max_epochs=2", *SMALL, *smallest(model))
        return run_in(tmp_path_factory.mktemp(model) / "run", *line)

    return cache(make)


@pytest.fixture
def copied(finished, tmp_path):
    """A function: a model's name -> a copy of its run, in an empty folder."""
    return lambda model: shutil.copytree(finished(model), tmp_path / "run")


@pytest.mark.parametrize("model", MODELS)
def test_a_run_folder_holds_everything_and_scores_every_stay(model, finished):
    folder = finished(model)
    own = {"imputations.parquet"} if hasattr(trained(folder).model, "impute") else set()
    assert {path.name for path in folder.iterdir()} == FILES | own
    table, metrics = pl.read_parquet(folder / "predictions.parquet"), json.loads((folder / "metrics.json").read_text())
    attrition = pl.read_csv(folder / "attrition.csv")
    if "block" in attrition.columns:  # of a pretraining cohort, too, whose stays have no risk
        attrition = attrition.filter(pl.col("block") == "cohort")
    assert table.height == table["stay_id"].n_unique() == attrition["stays"][-1]
    assert pl.read_parquet_metadata(folder / "predictions.parquet")["outcome"] == "died_in_hospital"
    assert table.columns[:11] == [
        "stay_id",
        "patient_id",
        "hospital_id",
        "split",
        "fold",
        "label",
        "risk_raw",
        "risk",
        "risk_sd",
        "threshold",
        "n_measured",
    ]
    assert (table["n_measured"] > 0).mean() > 0.9
    for split in ("test", "val"):
        part = table.filter(pl.col("split") == split)
        assert (metrics[split]["n"], metrics[split]["events"]) == (part.height, int(part["label"].sum()))
        assert metrics[split]["auroc"]["value"] == pytest.approx(roc_auc_score(part["label"], part["risk"]), abs=1e-9)
    environment, packages = runfolder.stored_environment(folder)
    assert re.match(r"[0-9a-f]{40}|none|unknown", environment["git commit"])
    assert any(package.startswith("torch==") for package in packages)


def test_the_environment_is_read_back_as_it_was_written(monkeypatch, tmp_path):
    assert runfolder.stored_environment(tmp_path) == ({}, ())
    monkeypatch.setattr(sys, "argv", ["run.py", "model={a: 1}", "two words", "hydra.run.dir=x"])
    (tmp_path / "environment.txt").write_text(runfolder.environment())
    facts, packages = runfolder.stored_environment(tmp_path)
    assert [*facts] == ["date", "command", "git commit", "icu_lightning", "python", "platform"]
    assert shlex.split(facts["command"]) == sys.argv
    assert packages == runfolder.packages()


@pytest.mark.parametrize("model", MODELS)
def test_the_checkpoint_alone_reproduces_the_predictions(model, finished, synthetic_data):
    folder = finished(model)
    stored = torch.load(folder / "checkpoints" / "model.ckpt", weights_only=True)
    config = yaml.safe_load((folder / "config.yaml").read_text())["data"]
    data = synthetic_data(300, **{name: config[name] for name in OF_THE_MODEL})
    assert data.outliers.state() == stored["outliers"]
    assert data.scaler.state() == stored["scaler"]
    assert data.encoder.state() == stored["static_encoder"]
    restored = built(stored["model"], shape=data.shape)
    restored.load_state_dict(stored["state"])
    raw = restored.predict(data.test).mean(1).double().numpy()
    test = pl.read_parquet(folder / "predictions.parquet").filter(pl.col("split") == "test")
    assert raw == pytest.approx(test["risk_raw"].to_numpy(), abs=1e-6)
    assert (test["n_measured"].to_numpy() == data.test.observed.sum((1, 2)).numpy()).all()
    assert load_calibrator(stored["calibrator"]).transform(test["risk_raw"].to_numpy()) == pytest.approx(
        test["risk"].to_numpy()
    )
    assert stored["threshold"] == {"rule": "f1", "value": test["threshold"][0]}
    assert {name: stored["data"][name] for name in ("source", "synthetic")} == {
        "source": "synthetic",
        "synthetic": True,
    }


def same_results(one: Path, other: Path) -> bool:
    best = [
        {
            (path.parent.name, name): weight
            for path in (folder / "checkpoints").glob("*/best.ckpt")
            for name, weight in torch.load(path, weights_only=True)["state_dict"].items()
        }
        for folder in (one, other)
    ]
    return (
        (one / "metrics.json").read_text() == (other / "metrics.json").read_text()
        and pl.read_parquet(one / "predictions.parquet").equals(pl.read_parquet(other / "predictions.parquet"))
        and read_metrics(one / "metrics.csv") == read_metrics(other / "metrics.csv")
        and all(torch.equal(best[0][name], best[1][name]) for name in best[0])
    )


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(run_here):
    arguments = ("trainer.max_epochs=3", *SMALL)
    first = run_here(*arguments, folder="a")
    assert same_results(first, run_here(*arguments, folder="b"))
    assert not same_results(first, run_here(*arguments, "seed=1", folder="c"))


class Killed(BaseException):
    """Stands for a SIGKILL: nothing may catch it and tidy up."""


def kill_in(monkeypatch, owner, method: str, epoch: int) -> None:
    """Die in `method` when the trainer has reached `epoch`."""
    real = getattr(owner, method)

    def dying(self, *arguments):
        trainer = arguments[0] if hasattr(arguments[0], "current_epoch") else self.trainer
        if trainer.current_epoch == epoch:
            raise Killed
        return real(self, *arguments)

    monkeypatch.setattr(owner, method, dying)


POINTS = [
    "first batch",
    "middle of an epoch",
    "validation end",
    "before the last.ckpt of an epoch",
    "after the last epoch",
]
SCHEDULED = (
    "trainer.max_epochs=6",
    "model.scheduler.patience=0",
    "model.scheduler.factor=0.7",
    "model.scheduler.threshold=0.5",
    *SMALL,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was not killed."""
    return run_in(tmp_path_factory.mktemp("whole") / "run", *SCHEDULED)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_ends_like_one_that_was_not(point, whole, run_here, monkeypatch, tmp_path):
    """The learning rate is lowered each epoch, so that a schedule that is not resumed shows."""
    from icu_lightning.models.base import RiskModule
    from icu_lightning.training import stages as training

    with monkeypatch.context() as patch:
        if point == "first batch":
            kill_in(patch, RiskModule, "training_step", 0)
        elif point == "middle of an epoch":
            kill_in(patch, RiskModule, "training_step", 3)
        elif point == "validation end":
            kill_in(patch, StageCheckpoint, "on_validation_end", 3)
        elif point == "before the last.ckpt of an epoch":
            kill_in(patch, StageCheckpoint, "on_train_epoch_start", 4)
        else:
            real = training.write_text
            patch.setattr(
                training,
                "write_text",
                lambda path, text: real(path, text) if path.name != "finished.json" else (_ for _ in ()).throw(Killed),
            )
        with pytest.raises(Killed):
            run_here(*SCHEDULED, folder="killed")
    killed = tmp_path / "killed"
    assert not (killed / "metrics.json").exists()
    resumed(killed)
    assert same_results(whole, killed)
    rates = [row["lr"] for row in read_metrics(killed / "metrics.csv")]
    assert len(set(rates)) == 5, "lowered after each epoch but the first"


def test_a_finished_stage_is_not_trained_again(copied, monkeypatch):
    folder = copied("focal_lstm")
    before = (folder / "metrics.json").read_text()
    (folder / "metrics.json").unlink()
    from icu_lightning.models.base import RiskModule

    monkeypatch.setattr(RiskModule, "training_step", lambda *_: pytest.fail("trained again"))
    resumed(folder)
    assert (folder / "metrics.json").read_text() == before


def test_an_unlearnable_rate_stops_with_the_epoch_named(run_here):
    with pytest.raises(UserError, match=r"validation loss is nan in epoch \d"):
        run_here("model.optimizer.lr=1e30", "model.l2=1e30", "trainer.max_epochs=3", *SMALL)


def test_validation_of_one_class_is_reported_and_training_goes_on(run_here, monkeypatch):
    import dataclasses

    from icu_lightning.data.module import ICUDataModule

    real = ICUDataModule.setup

    def setup(self, stage=None):
        real(self, stage)
        dead = self.val.label == 1
        self.val = dataclasses.replace(self.val, label=torch.where(dead, 0.0, self.val.label))
        self.stays = self.stays.with_columns(
            died_in_hospital=pl.when(pl.col("split") == "val").then(False).otherwise("died_in_hospital")
        )

    monkeypatch.setattr(ICUDataModule, "setup", setup)
    folder = run_here("trainer.max_epochs=2", *SMALL)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "only survivors" in metrics["val"]["note"]
    assert metrics["val"]["auroc"]["value"] is None
    assert metrics["test"]["auroc"]["value"] is not None
    assert pl.read_parquet(folder / "predictions.parquet")["threshold"][0] == 0.5


def test_cells_without_numbers_reach_cleaning_csv(write_eicu, run_here):
    root = write_eicu(stays=90)
    lab = (root / "lab.csv").read_text().replace(",glucose,120.0,", ",glucose,high,")
    (root / "lab.csv").write_text(lab.replace(",glucose,high,", ",glucose,120.0,", 900))
    folder = run_here("data=eicu", f"data.root={root}", "model=logistic_regression", "bootstrap=20")
    counts = pl.read_csv(folder / "cleaning.csv").filter(pl.col("variable") == "glucose")
    assert counts["non_numeric"][0] > 0
    assert counts["kept"][0] > 0


def test_outliers_reach_cleaning_csv_and_their_bounds_the_checkpoint(run_here):
    folder = run_here("model=logistic_regression", "data.outliers=iqr", *SMALL)
    counts = pl.read_csv(folder / "cleaning.csv")
    assert counts["outlier_replaced"].sum() > 0
    stored = torch.load(folder / "checkpoints" / "model.ckpt", weights_only=True)
    assert stored["outliers"]["rule"] == "iqr"
    assert np.isfinite(stored["outliers"]["low"]).all()


# ---- from the outside -------------------------------------------------------------------------------------------------


def test_help_and_composition_never_load_torch():
    modules = "icu_lightning.run, icu_lightning.data.settings, icu_lightning.evaluation.thresholds"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_shows_groups_and_common_overrides(cli):
    done = cli("--help")
    assert done.returncode == 0
    for word in (
        "focal_lstm",
        "eicu, episodes, mimic3, mimic4, physionet2012, synthetic",
        "data.root=FOLDER",
        "resume=FOLDER",
        "trainer.max_epochs=1",
    ):
        assert word in done.stdout
    people = re.search(r"What people change most:\n\n(.*?)\n\n", done.stdout, re.S)[1]
    assert len(people.splitlines()) == 10


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("~sede", r"Could not delete from config. 'sede' does not exist. Did you mean ~seed\?"),
        (
            "hydra.run.dri=x",
            r"Could not override 'hydra.run.dri': Key 'dri' not in 'RunDir'. Did you mean hydra.run.dir\?.*",
        ),
        (
            "run.dir=/x",
            r"Could not override 'run.dir': Key 'run' is not in struct. Did you mean hydra.run.dir\? .*\+run.dir=/x\.\)",
        ),
        (  # with options that go together by what the experiment chooses, or not at all
            "experiment=mtdm model/size=tiny model.snapshot=[1]",
            r"Could not override 'model.snapshot': .* Did you mean model.snapshots\?.*",
        ),
        (
            "model/size=tiny",
            "Could not override 'model/size': what was chosen has no such options. They are those of another model.",
        ),
        ("hydra/job_loging=x", r"Could not override 'hydra/job_loging': .* Did you mean hydra/job_logging\?.*"),
        ("-m --cfg job", r"-m cannot be combined with --cfg or --info, .*"),
    ],
)
def test_a_typo_is_one_line_with_the_nearest_name(typed, line, monkeypatch):
    monkeypatch.setattr(sys, "argv", [run.__file__, *typed.split()])
    with pytest.raises(SystemExit) as told:
        run.main()
    assert re.fullmatch(rf"error: {line}", told.value.code)


MISTAKES = {
    "unknown model": (["model=focal"], r"Could not find 'model/focal'(.|\n)*focal_lstm\n(.|\n)*logistic_regression"),
    "unknown data": (["data=mimik"], r"Could not find 'data/mimik'(.|\n)*eicu\n\s*episodes\n\s*mimic3\n\s*mimic4"),
    "unknown cohort": (["cohort=h24"], r"Could not find 'cohort/h24'(.|\n)*everyone\n\s*h48\n\s*mtdm\n\s*sepsis"),
    "unknown key": (["model.hiden=3"], r"Key 'hiden' is not in struct(.|\n)*Did you mean model.hidden\?"),
    "unknown group": (["modle=mtdm"], r"Could not override 'modle'(.|\n)*Did you mean model\?"),
    "a part of another model": (
        ["imputer=knn"],
        r"Could not override 'imputer'(.|\n)*Only model=two_stage has an imputer",
    ),
    "unknown imputer": (["model=two_stage", "imputer=knm"], r"Did you mean imputer=knn\?"),
    "unknown option": (["model=mdtm"], r"Could not find 'model/mdtm'(.|\n)*Did you mean model=mtdm\?"),
    "unknown key of a model that was chosen": (["model=mtdm", "model.snapshot=[1]"], r"Did you mean model.snapshots\?"),
    "help with a mistake": (["model=focal", "--help"], r"Could not find 'model/focal'"),
    "unknown variable": (
        ["data.variables=[lactat]"],
        r"Unknown variable in data.variables 'lactat'. Did you mean 'lactate'",
    ),
    "a number for a variable": (["data.variables=[1]"], r"Unknown variable in data.variables '1'"),
    "no data folder": (
        ["data=eicu", "data.root=null"],
        r"set data.root=FOLDER or the environment variable ICU_DATA_ROOT",
    ),
    "wrong data folder": (["data=eicu", "data.root=nowhere"], r"does not exist: .*nowhere"),
    "no epochs": (["trainer.max_epochs=0"], r"trainer.max_epochs must be a whole number of at least 1; it is 0"),
    "half an epoch": (["trainer.max_epochs=1.5"], r"trainer.max_epochs must be a whole number"),
    "a word for epochs": (["trainer.max_epochs=abc"], r"trainer.max_epochs must be a whole number"),
    "no threads": (["trainer.threads=0"], r"trainer.threads must be a whole number of at least 1"),
    "no device": (
        ["trainer.devices=0"],
        r"trainer.devices, if not auto, must be a whole number of at least 1; it is 0",
    ),
    "two machines alone": (
        ["trainer.nodes=2"],
        r"starts processes on its own machine only. Start it with srun or torchrun",
    ),
    "a word for the seed": (["seed=one"], r"seed must be a whole number of at least 0; it is one"),
    "true for the seed": (["seed=true"], r"seed must be a whole number of at least 0; it is True"),
    "a word for the split": (["data.split_seed=abc"], r"data.split_seed must be a whole number"),
    "a variable of the environment that is not set": (
        ["data=eicu", "data.root=${oc.env:NO_SUCH_ONE}"],
        r"'NO_SUCH_ONE' not found",
    ),
    "no such run": (["resume=nowhere"], r"there is no run in that folder"),
    "no such rule": (["threshold=f2"], r"Unknown threshold rule 'f2'. Known: alert_rate, f1"),
    "a folder that cannot be": (["hydra.run.dir=/proc/icu/run"], r"error: .*/proc/icu"),
}
LATE_MISTAKES = {  # what only torch, Lightning, scikit-learn or the data can know
    "nobody left": (["data.cohort=[{age_at_least: 200}]"], r"No stay is left in the cohort(.|\n)*age_at_least 200\s+0"),
    "a word for a number": (
        ["model.hidden=many"],
        r"Cannot build icu_lightning.models.focal_lstm.FocalLSTM \(hidden=many",
    ),
    "one dense layer": (["model.dense=[32]"], r"dense must be the units of two layers"),
    "no patience": (["model.patience=0"], r"model.patience must be a whole number of at least 1"),
    "a negative penalty": (
        ["model=logistic_regression", "model.inverse_penalty=-1"],
        r"inverse_penalty must be above 0",
    ),
    "no such precision": (["trainer.precision=17"], r"cannot train with trainer.* = .*precision"),
    "a negative rate": (
        ["model.optimizer.lr=-1"],
        r"model.optimizer or model.scheduler has a value that torch refuses: Invalid learning rate",
    ),
    "a word for a rate": (["model.optimizer.lr=fast"], r"torch refuses"),
}


@pytest.mark.parametrize("name", LATE_MISTAKES)
def test_a_mistake_that_shows_late_is_refused_with_a_message(name, run_here):
    arguments, message = LATE_MISTAKES[name]
    with pytest.raises(UserError, match=message):
        run_here(*arguments, *SMALL)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_message_and_exit_code_1(name, cli):
    arguments, message = MISTAKES[name]
    done = cli(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert re.search(message, done.stderr), done.stderr


def test_a_refused_run_leaves_no_empty_folder_behind(cli, tmp_path):
    cli("data=eicu", "data.root=nowhere")
    cli("resume=nowhere")
    assert [
        path
        for path in (tmp_path / "work").rglob("*")
        if path.is_dir() and path.name != "runs" and path.parent.name != "runs"
    ] == []


@pytest.mark.slow
def test_results_are_never_overwritten_and_a_finished_run_can_be_read_again(fresh_cli, tmp_path):
    folder = tmp_path / "mine"
    first = fresh_cli("model=logistic_regression", f"hydra.run.dir={folder}", *SMALL)
    assert first.returncode == 0, first.stderr
    assert str(folder) in first.stdout
    assert "\x1b" not in first.stdout, "no colours or bars into a pipe"
    assert first.stderr == ""
    before = (folder / "metrics.json").read_bytes()
    again = fresh_cli("model=logistic_regression", f"hydra.run.dir={folder}", *SMALL)
    assert again.returncode == 1
    assert f"choose another hydra.run.dir, or continue that run with resume={folder}" in again.stderr
    refused = fresh_cli(f"resume={folder}", "seed=7")
    assert refused.returncode == 1
    assert "leave out seed=7" in refused.stderr
    resumed = fresh_cli(f"resume={folder}")
    assert resumed.returncode == 0
    assert "finished" in resumed.stdout
    assert "auroc" in resumed.stdout
    assert (folder / "metrics.json").read_bytes() == before


def test_a_refused_command_may_be_corrected_in_the_same_folder(cli, tmp_path):
    """One of the late mistakes from the outside: no traceback, exit code 1, nothing left."""
    folder = tmp_path / "mine"
    wrong = cli("model.hidden=many", f"hydra.run.dir={folder}", *SMALL)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: Cannot build")
    assert "Traceback" not in wrong.stderr
    assert not folder.exists()


def test_an_error_that_nobody_foresaw_is_kept_in_a_file_and_told_in_a_line(cli, tmp_path):
    folder = tmp_path / "run"
    done = cli(
        "model.loss._target_=torch.nn.CosineEmbeddingLoss",
        "~model.loss.gamma",
        "~model.loss.alpha",
        f"hydra.run.dir={folder}",
        *SMALL,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"Where it happened: {folder / 'error.txt'}" in done.stderr
    assert "Traceback" in (folder / "error.txt").read_text()


def test_a_path_with_blanks_is_resumed_as_the_message_says(cli, tmp_path):
    from icu_lightning.runfolder import resume_argument

    folder = tmp_path / "my run = é"
    quoted = f"hydra.run.dir='{folder}'"
    assert cli("model=logistic_regression", "report=none", quoted, *SMALL).returncode == 0
    (argument,) = shlex.split(resume_argument(folder))
    assert cli(argument).returncode == 0
    assert (
        resume_argument(Path("runs/eicu-x/2026-01-01_00-00-00-ab12")) == "resume=runs/eicu-x/2026-01-01_00-00-00-ab12"
    )


def resumed(folder: Path) -> None:
    """Go on with a run, as `resume=` does."""
    from icu_lightning.data.settings import source_and_settings

    config = yaml.safe_load((folder / "config.yaml").read_text())
    run_pipeline(folder, config, *source_and_settings(**config["data"]))


def test_a_run_is_not_resumed_on_other_data(write_eicu, run_here):
    """Else the weights of one split would be tested on training stays of another."""
    root = write_eicu(stays=90)
    folder = run_here("data=eicu", f"data.root={root}", "trainer.max_epochs=1", "bootstrap=20")
    (folder / "metrics.json").unlink()
    before = (folder / "attrition.csv").read_text()
    patients = (root / "patient.csv").read_text().splitlines()
    (root / "patient.csv").write_text("\n".join(patients[:70]) + "\n")
    with pytest.raises(UserError, match=r"are not what they were when the run began \(86 stays then, \d+ now\)"):
        resumed(folder)
    assert (folder / "attrition.csv").read_text() == before


def test_a_half_written_metrics_file_is_no_finished_run(copied):
    folder = copied("logistic_regression")
    whole = (folder / "metrics.json").read_text()
    for damaged in (whole[:100], "{}", ""):
        (folder / "metrics.json").write_text(damaged)
        assert finished_metrics(folder) is None
        resumed(folder)
        assert (folder / "metrics.json").read_text() == whole


def test_a_run_that_ends_while_its_results_are_shown_is_not_finished(tmp_path, monkeypatch):
    """Its numbers are there; figures, report and loggers are not, and come with resume."""

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("icu_lightning.pipeline.present", killed)
        with pytest.raises(KeyboardInterrupt):
            run_in(tmp_path / "run", "model=logistic_regression", *SMALL)
    assert stored_metrics(tmp_path / "run") is not None
    assert finished_metrics(tmp_path / "run") is None
    shown = []
    monkeypatch.setattr("icu_lightning.pipeline.present", lambda folder, *_: shown.append(folder))
    resumed(tmp_path / "run")
    assert shown == [tmp_path / "run"]
    assert finished_metrics(tmp_path / "run") == stored_metrics(tmp_path / "run")


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(name, copied):
    folder = copied("focal_lstm")
    stage = folder / "checkpoints" / "fit"
    if name == "last.ckpt":
        (stage / "finished.json").unlink()
    (stage / name).write_bytes((stage / name).read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"Cannot read the checkpoint .*{name}.*Delete the folder .*fit to train"):
        resumed(folder)


def test_a_folder_is_taken_once_and_held_by_one_process(tmp_path):
    runfolder.start(tmp_path, {"data": {}})
    with runfolder.locked(tmp_path):
        code = f"from icu_lightning import runfolder; from pathlib import Path\nwith runfolder.locked(Path({str(tmp_path)!r})): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "Another process is running in" in done.stderr
    with runfolder.locked(tmp_path):
        pass
    with pytest.raises(UserError, match="not empty"):
        runfolder.start(tmp_path, {"data": {}})


@pytest.mark.slow
def test_a_run_killed_by_the_system_is_finished_by_resume(fresh_cli, tmp_path):
    """SIGKILL in the middle of training, then resume=FOLDER from another working directory."""
    arguments = ["data.stays=1000", "trainer.max_epochs=12", "bootstrap=50", "report=none"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert fresh_cli(*arguments, f"hydra.run.dir={whole}").returncode == 0
    command = [sys.executable, "-m", "icu_lightning.run", *arguments, f"hydra.run.dir={killed}"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while len(read_metrics(killed / "metrics.csv")) < 4:
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "metrics.json").exists()
    assert fresh_cli(f"resume={killed}").returncode == 0
    assert same_results(whole, killed)


@pytest.mark.slow
def test_the_eicu_demo_from_raw_tables_to_metrics_twice(fresh_cli, real_eicu, tmp_path):
    """The issue's command; needs the eICU demo."""
    folders = [tmp_path / "first", tmp_path / "second"]
    reports = ("report.explanation.stays=4", "report=none")  # the same figures once
    for folder, report in zip(folders, reports, strict=True):
        done = fresh_cli(
            "model=focal_lstm",
            "data=eicu",
            "seed=1",
            f"data.root={real_eicu}",
            f"hydra.run.dir={folder}",
            "data.cache_dir=null",
            report,
        )
        assert done.returncode == 0, done.stderr
        assert "886 stays, 758 patients, 97 died_in_hospital" in done.stdout
    assert same_results(*folders)
    table = pl.read_parquet(folders[0] / "predictions.parquet")
    assert table.height == 886
    assert np.isfinite(table["risk"].to_numpy()).all()
    sides = [set(table.filter(pl.col("split") == name)["patient_id"]) for name in ("train", "val", "test")]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert os.path.exists(folders[0] / "cleaning.csv")
