"""launcher=slurm on a real cluster of one node. Needs Debian's slurm-wlm and munge, which .ci/run installs."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from icu_lightning.results import finished_metrics
from icu_lightning.sweep import slurm
from icu_lightning.sweep.jobs import LAST_LINES, Job, jobs_of
from icu_lightning.training.stages import read_metrics
from tests.conftest import run_in
from tests.slurm_cluster import one_node, said
from tests.test_readme import chapter
from tests.test_run import same_results

THERE = shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is not None


def test_a_launcher_that_is_not_to_be_had_says_what_is_missing(cli):
    done = cli("-m", "launcher=slurm", "seed=0,1", PATH="/nowhere")
    assert done.returncode == 1
    assert "launcher=slurm: there is no sbatch here" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not THERE and not os.environ.get("CI"), reason="needs Debian's slurm-wlm and munge")
def test_a_sweep_on_slurm_killed_in_the_middle_finds_its_jobs_in_the_queue(tmp_path):
    """Two succeed, one is refused by the model; SIGKILL of the sweep leaves its jobs in the queue, and none is submitted twice."""
    (typed,) = re.findall(r"```sh\n(.*launcher=slurm.*)\n```", chapter("Run it on your cluster"))
    line = [*shlex.split(typed)[3:-1], "model.inverse_penalty=1,2,-1"]
    line += [
        "data.stays=300",
        "report=none",
        "bootstrap=5",
        "data.cache_dir=null",
        "hydra.sweep.dir=sweep",
        "sweep.retry=false",
    ]
    command = [sys.executable, "-m", "icu_lightning.run", *line]
    with one_node(tmp_path / "cluster") as environment:
        there = {"cwd": tmp_path, "env": os.environ | environment, "text": True}
        first = subprocess.Popen(command, **there, stdout=subprocess.DEVNULL)
        while len(said(["squeue", "-h", "--states=all"], environment).splitlines()) < 3:  # one may be over
            assert first.poll() is None
            time.sleep(0.2)
        first.send_signal(signal.SIGKILL)
        first.wait()
        done = subprocess.run(command, **there, capture_output=True, timeout=600, check=False)
        accounted = said(["squeue", "-h", "--states=all", "--format=%i"], environment).split()
    assert done.returncode == 1, done.stdout + done.stderr
    assert [job.state for job in jobs_of(tmp_path / "sweep")] == ["finished", "finished", "failed"], done.stdout
    assert "inverse_penalty must be above 0" in done.stdout
    assert len(accounted) == 3, "nothing was submitted twice"
    assert {job.last["slurm"] for job in jobs_of(tmp_path / "sweep")} == set(accounted)


def job_of(script: str, folder: Path, environment: dict[str, str]) -> str:
    """The id of a job of the queue."""
    (folder / "job.sh").write_text(f"#!/bin/sh\n{script}\n")
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    everything = os.environ | environment | {"PATH": path}
    done = subprocess.run(
        ["sbatch", "--parsable", "job.sh"], cwd=folder, env=everything, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def state_of(job: str, environment: dict[str, str]) -> str:
    return said(["squeue", "-h", "--states=all", f"--jobs={job}", "--format=%T"], environment).strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[dict[str, str]]:
    with one_node(tmp_path_factory.mktemp("cluster")) as environment:
        yield environment


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run folder of LINE that nobody stopped."""
    return run_in(tmp_path_factory.mktemp("whole") / "run", *LINE)


NEEDS = pytest.mark.skipif(not THERE and not os.environ.get("CI"), reason="needs Debian's slurm-wlm and munge")
LINE = ("model=focal_lstm", "data.stays=400", "trainer.max_epochs=30", "model.patience=30", "data.cache_dir=null")
LINE += ("bootstrap=20",)


def until(done: Callable[[], bool], folder: Path, seconds: float = 200) -> None:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, written(folder)
        time.sleep(0.1)


def written(folder: Path) -> str:
    """The ends of what was written; looked for when all is over, because a run takes its second process' folder away."""
    return "\n".join(f"{path}:\n{path.read_text()[-2000:]}" for path in folder.rglob("*.*") if path.suffix in SAID)


SAID = (".out", ".log", ".err")


@pytest.mark.slow
@NEEDS
def test_a_job_that_slurm_queues_again_ends_like_one_that_was_left_alone(cluster, whole, tmp_path):
    """The README's lines; Slurm's USR1 before the time is over, its own scontrol, and its second start of the job."""
    (script,) = re.findall(r"```text\n(#SBATCH --requeue.*?)\n```", chapter("Stopped and started again"), re.S)
    job = job_of(script.replace("model=mtdm", " ".join([*LINE, "report=none"])), tmp_path, cluster)
    run = tmp_path / "runs" / job
    until(lambda: len(read_metrics(run / "metrics.csv")) > 2, tmp_path)
    said(["scancel", "--signal=USR1", job], cluster)
    until(lambda: finished_metrics(run) is not None, tmp_path)
    until(lambda: state_of(job, cluster) in ("COMPLETED", ""), tmp_path)
    assert "Restarts=1 " in said(["scontrol", "show", "job", job], cluster)
    assert same_results(whole, run)


@pytest.mark.slow
@NEEDS
def test_a_job_of_a_sweep_whose_time_is_over_goes_on_and_ends_like_one_that_was_left_alone(cluster, whole, tmp_path):
    """Slurm's USR2, as submitit has it sent before the time is over; the sweep waits through the second start."""
    line = ["-m", "launcher=slurm", "launcher.cpus=1", *LINE, "report=none", "hydra.sweep.dir=sweep"]
    command = [sys.executable, "-m", "icu_lightning.run", *line]
    sweep = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | cluster, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until(lambda: any(len(read_metrics(path)) > 2 for path in tmp_path.glob("sweep/runs/*/metrics.csv")), tmp_path)
    (job,) = jobs_of(tmp_path / "sweep")
    said(["scancel", "--signal=USR2", job.last["slurm"]], cluster)
    told, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, told
    assert job.state == "finished"
    assert job.last["attempts"] == 2
    assert same_results(whole, job.run)


@pytest.mark.slow
@NEEDS
def test_two_processes_of_srun_are_one_run(cluster, tmp_path):
    """Lightning's Slurm environment, with gloo between them."""
    line = "trainer=ddp_cpu trainer.max_epochs=2 data.stays=400 data.cache_dir=null bootstrap=20 report=none"
    script = f"#SBATCH --ntasks=2 --ntasks-per-node=2\nsrun -n2 python -m icu_lightning.run {line}"
    job = job_of(script, tmp_path, cluster)
    until(lambda: state_of(job, cluster) not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"), tmp_path)
    out = (tmp_path / f"slurm-{job}.out").read_text()
    assert state_of(job, cluster) == "COMPLETED", out
    (run,) = (tmp_path / "runs" / "synthetic-focal_lstm").iterdir()
    assert out.count("Run folder:") == 1, "one process speaks"
    (path,) = tmp_path.rglob("predictions.parquet")
    table = pl.read_parquet(path)
    assert path.parent == run
    assert table.height == table["stay_id"].n_unique()


def test_the_queue_is_asked_once_for_all_jobs_of_a_sweep(monkeypatch):
    asked: list[list[str]] = []

    def squeue(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(returncode=0, stdout="7 RUNNING\n8 COMPLETED\n9 PENDING\n", stderr="")

    monkeypatch.setattr(slurm.subprocess, "run", squeue)
    queue = slurm.Queue()
    assert [queue.holds(job) for job in ("7", "8", "9", "10")] == [True, False, True, False]
    assert len(asked) == 1
    monkeypatch.setattr(slurm, "ASK", 0.0)
    assert queue.holds("7")
    assert len(asked) == 2


def test_of_a_job_that_slurm_ended_the_last_twenty_lines_are_kept(tmp_path):
    job = Job(sweep=tmp_path, name="one", overrides=())
    job.log.parent.mkdir()
    job.log.write_text("".join(f"epoch {i}\n" for i in range(30)))
    job.note(slurm="17", exit=None)
    (tmp_path / ".submitit").mkdir()
    (tmp_path / ".submitit" / "17_0_log.err").write_text("".join(f"slurmstepd: {i}\n" for i in range(30)))
    attempt = slurm.Queued.__new__(slurm.Queued)
    attempt.job, attempt.id, attempt.folder, attempt.ended = job, "17", tmp_path / ".submitit", 1
    attempt.conclude(pruned=False)
    lines = job.last["last_lines"]
    assert len(lines) == LAST_LINES
    assert lines[-1] == "slurmstepd: 29"
    assert "epoch 29" in lines
