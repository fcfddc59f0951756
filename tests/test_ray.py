"""launcher=ray on real clusters of this machine: one that was there before, and one that the sweep starts."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from icu_lightning.errors import UserError
from icu_lightning.sweep.jobs import jobs_of
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
    """A job is killed with SIGKILL, then the sweep, whose other job Ray stops; they go on on a cluster that the sweep starts."""
    (typed,) = re.findall(r"```sh\n(.*launcher=ray.*)\n```", chapter("Run it on your cluster"))
    small = [
        "data.stays=300",
        "trainer.max_epochs=150",
        "model.max_epochs=150",  # outlives the wait for the other and the end of the sweep
        "model.patience=150",
        "report=none",
        "bootstrap=5",
        "data.cache_dir=null",
    ]
    command = [sys.executable, "-m", *shlex.split(typed)[2:], *small, "hydra.sweep.dir=sweep"]
    with one_machine(tmp_path / "home") as environment:
        first = subprocess.Popen(command, cwd=tmp_path, env=os.environ | environment, stdout=subprocess.DEVNULL)
        jobs = until(lambda: training(tmp_path), lambda: first.poll() is None)
        os.kill(jobs[0].last["pid"], signal.SIGKILL)
        until(lambda: jobs[0].state == "failed", lambda: first.poll() is None)
        first.send_signal(signal.SIGKILL)
        first.wait()
        until(lambda: not jobs[1].held, lambda: True)
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


def training(folder):
    """The jobs, if both are."""
    if not (folder / "sweep" / "sweep.json").exists():
        return None
    jobs = jobs_of(folder / "sweep")
    return jobs if all(job.log.exists() and "Training" in job.log.read_text() for job in jobs) else None


def until(found, alive, seconds: float = 300):
    began = time.monotonic()
    while not (value := found()):
        assert alive(), "it was over too early"
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return value
