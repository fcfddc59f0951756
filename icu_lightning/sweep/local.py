"""Jobs side by side on this machine: each that trains on a GPU sees one, each other has its share of the cores."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby

from icu_lightning.cores import cores
from icu_lightning.errors import PUT_BACK, UserError, whole_number
from icu_lightning.sweep.jobs import Job
from icu_lightning.sweep.process import End, Here, Watch, run_jobs

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


class LocalLauncher:
    """Runs jobs here.

    Arguments:
        jobs: how many at a time; None: one a GPU if they train on GPUs, else one a core.
    """

    def __init__(self, *, jobs: int | None) -> None:
        self.jobs = None if jobs is None else whole_number("launcher.jobs", jobs, 1)

    def launch(self, jobs: Iterable[Job], *, watch: Watch, ended: End) -> None:
        for on_gpus, alike in groupby(jobs, key=lambda job: job.gpu):
            places = slots(self.jobs, gpus() if on_gpus else [], cores())
            # Before jobs' common parent imports the packages, which read them once: a job that is forked from it could not lower them
            os.environ.update({name: places[0][name] for name in THREADS if name in places[0]})
            run_jobs(alike, partial(in_its_place, places), len(places), watch=watch, ended=ended)


def in_its_place(places: Sequence[dict[str, str]], job: Job, place: int) -> Here:
    return Here(job, places[place] | ({PUT_BACK: "1"} if len(places) > 1 else {}))


def slots(jobs: int | None, gpus: Sequence[str], cores: int) -> list[dict[str, str]]:
    """The environment of each of the places in which jobs run.

    >>> slots(None, ["0", "1"], cores=8)[1]
    {'CUDA_VISIBLE_DEVICES': '1', 'OMP_NUM_THREADS': '4', 'MKL_NUM_THREADS': '4', 'POLARS_MAX_THREADS': '4'}
    >>> slots(1, [], cores=8)
    [{}]
    """
    n = jobs or len(gpus) or cores
    one = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus and n > 1 else {} for i in range(n)]
    share = {name: str(max(1, cores // n)) for name in THREADS} if n > 1 else {}
    return [place | share for place in one]


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. torch is not asked: it would hold them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip()]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        return []
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"nvidia-smi cannot tell which GPUs there are: {(error.stderr or error.stdout).strip()}"
        ) from error
    return listed.stdout.split()
