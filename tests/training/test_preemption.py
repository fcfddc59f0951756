"""A run that is told to stop says how to go on, and the next start ends with the numbers of a run that was left alone."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from icu_lightning import runfolder
from icu_lightning.errors import UserError
from icu_lightning.models.mtdm.stages import Stage
from icu_lightning.run import answer, one_line_errors
from icu_lightning.training.preemption import Preempted, heard, requeue
from icu_lightning.training.stages import read_metrics
from tests.conftest import run_in
from tests.test_run import SMALL, resumed, same_results

MTDM = ("model=mtdm", "model/size=tiny", "imputation.stays=10", "model.epochs.stage2=3", *SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that nobody stopped."""
    return run_in(tmp_path_factory.mktemp("whole") / "run", *MTDM)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["WarmUp", "Joint"])
def test_mtdm_stopped_in_either_stage_ends_like_one_that_was_not(stage, whole, run_here, monkeypatch, tmp_path):
    """SIGTERM in the middle of the stage's second epoch."""
    real = Stage.training_step

    def stopping(self, batch, step):
        if type(self).__name__ == stage and self.current_epoch == 1 and step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "training_step", stopping)
        with pytest.raises(Preempted), heard():
            run_here(*MTDM, folder="stopped")
    rows = read_metrics(tmp_path / "stopped" / "metrics.csv")
    assert [row["stage"] for row in rows] == {"WarmUp": ["stage1"], "Joint": ["stage1", "stage1", "stage2"]}[stage]
    resumed(tmp_path / "stopped")
    assert same_results(whole, tmp_path / "stopped")


def stopped(line: list[str], folder: Path, number: int, **environment: str) -> tuple[int, str]:
    """Exit code and errors of a command that gets a signal in its third epoch."""
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background is deaf to it
    command = [sys.executable, "-m", "icu_lightning.run", *line]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=folder.parent, env=os.environ | environment, preexec_fn=hears, **pipes)
    while len(read_metrics(folder / "metrics.csv")) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.fixture
def hears_sigint():
    """As at a terminal; a shell's background is deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("error", [RuntimeError("what a library made of it"), OSError("EINTR"), SystemExit(1)])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 138)])
def test_a_signal_that_a_library_turned_into_its_own_error_is_no_failure(
    error, name, code, tmp_path, capsys, hears_sigint
):
    def interrupted_in_a_library():
        with contextlib.suppress(KeyboardInterrupt, Preempted):
            os.kill(os.getpid(), getattr(signal, name))
        raise error

    with pytest.raises(SystemExit) as ended, one_line_errors(tmp_path, "Go on."):
        interrupted_in_a_library()
    assert ended.value.code == code
    assert capsys.readouterr().err == ("Stopped. Go on.\n" if name == "SIGINT" else f"Stopped by {name}. Go on.\n")
    assert not (tmp_path / "error.txt").exists()
    with pytest.raises(SystemExit) as ended, one_line_errors(tmp_path):
        raise RuntimeError("of a run that nobody stopped")
    assert str(ended.value.code).startswith("error: RuntimeError")


@pytest.mark.parametrize("made_of_it", [None, ImportError("numpy.core.multiarray failed to import"), UserError("bad")])
def test_an_interruption_before_the_job_has_begun_is_one_word(made_of_it, monkeypatch, capsys, hears_sigint):
    """Of every command that Hydra composes: while it composes, and while packages are imported."""

    def importing():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise made_of_it or KeyboardInterrupt from None

    monkeypatch.setattr(sys, "argv", ["run"])
    with pytest.raises(SystemExit) as ended:
        answer(importing)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Stopped.\n"

    def told_already():
        with one_line_errors(Path(), "Go on.", new=False):
            importing()

    with pytest.raises(SystemExit) as ended:
        answer(told_already)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Stopped. Go on.\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stopped_run_says_how_to_continue(name, code, tmp_path):
    folder = tmp_path / "run"
    ended, said = stopped(["data.stays=2500", f"hydra.run.dir={folder}"], folder, getattr(signal, name))
    assert ended == code
    assert said.startswith("Stopped. " if name == "SIGINT" else f"Stopped by {name}. ")
    assert f"resume={folder}" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_job_whose_time_is_over_is_queued_again_and_the_same_line_goes_on(cli, tmp_path):
    """Slurm's SIGUSR1, with a scontrol that notes what it was asked; then the job as Slurm starts it again."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    job = {"SLURM_JOB_ID": "17", "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    folder = tmp_path / "run"
    line = ["data.stays=1000", "trainer.max_epochs=6", "report=none", "bootstrap=20", f"hydra.run.dir={folder}"]
    ended, said = stopped(line, folder, signal.SIGUSR1, **job)
    assert ended == 138
    assert said.endswith("Slurm has queued job 17 again.\n")
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
    refused = cli(*line, **job)
    assert "is not empty" in refused.stderr, "not started again by Slurm"
    config = runfolder.configuration(folder)
    assert runfolder.begun_by(folder, config)
    assert not runfolder.begun_by(folder, config | {"seed": 1}), "another run must not be taken for it"
    done = cli(*line, **job, SLURM_RESTART_COUNT="1")
    assert done.returncode == 0, done.stderr
    assert len(read_metrics(folder / "metrics.csv")) == 6


def test_slurm_that_cannot_be_asked_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Slurm could not be asked for job 17 again" in requeue(Preempted(signal.SIGUSR1))
    assert requeue(Preempted(signal.SIGTERM)) == "", "what Slurm ends so, it queues itself, or does not mean to"


def test_the_signals_answers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted) as stop, heard():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
