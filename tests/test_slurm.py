"""launcher=slurm on a real cluster of one node. Needs Debian's slurm-wlm and munge, which .ci/run installs."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from icu_lightning.sweep.jobs import jobs_of
from tests.slurm_cluster import one_node, said
from tests.test_readme import chapter

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
    line += ["data.stays=300", "report=none", "bootstrap=5", "data.cache_dir=null", "hydra.sweep.dir=sweep"]
    command = [sys.executable, "-m", "icu_lightning.run", *line]
    with one_node(tmp_path / "cluster") as environment:
        there = {"cwd": tmp_path, "env": os.environ | environment, "text": True}
        first = subprocess.Popen(command, **there, stdout=subprocess.DEVNULL)
        while len(said(["squeue", "-h"], environment).splitlines()) < 3:
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
