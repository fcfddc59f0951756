"""launcher=ray on real clusters of this machine: one that was there before, and one that the sweep starts."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from icu_lightning.errors import UserError
from icu_lightning.sweep.jobs import Job, jobs_of
from icu_lightning.sweep.ray import RayLauncher, room, share
from tests.ray_cluster import one_machine
from tests.test_readme import chapter


def test_what_cannot_be_is_told(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(UserError, match=r"launcher.cpus=1 launcher.gpus=2: no machine of the cluster has so many"):
        room([{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}], cpus=1, gpus=2)
    for wrong in (1.5, -1, True, "one"):
        with pytest.raises(UserError, match=r"launcher.gpus must be 0, a part of one"):
            share("launcher.gpus", wrong)
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(UserError, match=r"launcher=ray needs Ray .*pip install 'icu-lightning\[ray\]'"):
        RayLauncher(address=None, jobs=None, cpus=1, gpus=0)


@pytest.mark.slow
def test_a_sweep_on_ray_killed_in_the_middle_is_finished_by_the_same_line(tmp_path):
    """A job is killed with SIGKILL, then the sweep, whose other job Ray stops; they go on on a cluster that the sweep starts.

    Both are paused as soon as they train, so that it is the same on a fast machine and on a slow one.
    """
    (typed,) = re.findall(r"```sh\n(.*launcher=ray.*)\n```", chapter("Run it on your cluster"))
    small = ["data.stays=300", "trainer.max_epochs=30", "report=none", "bootstrap=5", "data.cache_dir=null"]
    command = [sys.executable, "-m", *shlex.split(typed)[2:], *small, "hydra.sweep.dir=sweep"]
    with one_machine(tmp_path / "home") as environment:
        first = subprocess.Popen(command, cwd=tmp_path, env=os.environ | environment, stdout=subprocess.DEVNULL)
        with paused_in_training(tmp_path / "sweep", first) as jobs:
            killed, stopped = (job.last["pid"] for job in jobs)
            os.kill(killed, signal.SIGKILL)
            until(lambda: jobs[0].state == "failed", first)
            first.send_signal(signal.SIGKILL)
            first.wait()
            until(lambda: is_told(stopped, signal.SIGTERM))
        until(lambda: not jobs[1].held)
    assert jobs[0].last["how"].startswith("killed by SIGKILL")
    assert jobs[0].last["last_lines"][-1].startswith("Training focal_lstm")
    assert jobs[1].state == "interrupted"
    assert "Stopped by SIGTERM" in jobs[1].log.read_text()
    here = [word for word in command if not word.startswith("launcher.address=")]
    alone = os.environ | {"HOME": str(tmp_path / "home")}
    done = subprocess.run(here, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert [job.state for job in jobs] == ["finished", "finished"]
    assert [job.last["attempts"] for job in jobs] == [2, 2]
    assert not any(job.log.read_text().count("Training") != 2 for job in jobs), "each went on once"


@contextmanager
def paused_in_training(sweep: Path, process: subprocess.Popen) -> Iterator[list[Job]]:
    """Yield the jobs of a sweep, each paused as soon as it trains; afterwards they go on."""
    pids: dict[str, int] = {}

    def all_paused() -> list[Job]:
        jobs = jobs_of(sweep) if (sweep / "sweep.json").exists() else []
        for job in jobs:
            if job.name not in pids and job.log.exists() and "Training" in job.log.read_text():
                pids[job.name] = job.last["pid"]
                os.kill(pids[job.name], signal.SIGSTOP)
        return jobs if len(pids) == len(jobs) else []

    try:
        yield until(all_paused, process)
    finally:
        for pid in pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def is_told(pid: int, number: signal.Signals) -> bool:
    """Whether a paused process has been sent this signal, which it will hear when it goes on."""
    (pending,) = re.findall(r"ShdPnd:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(pending, 16) >> (number - 1) & 1)


def until(found: Callable[[], Any], alive: subprocess.Popen | None = None, seconds: float = 300) -> Any:
    """What is found at last; `alive` must not end before."""
    began = time.monotonic()
    while not (value := found()):
        assert alive is None or alive.poll() is None, "it was over too early"
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return value
