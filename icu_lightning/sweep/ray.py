"""Jobs on a Ray cluster: a task of Ray's each, on whichever of its machines has room.

Ray is driven directly, not by hydra-ray-launcher (1.2.2): that one starts every job at once, blocks on them in order and raises the
first error (no states, no going on, no lock, no next trial), needs boto3 and cloudpickle < 3, and upstream Hydra 1.4.

The machines share the disk and the installation. Ray stops the tasks of a command that is gone: the jobs of a sweep that is
killed stop as if they were told to, and the same line goes on with them from their checkpoints. With a cluster of its own, on
this machine, it is as with launcher=local: they run on, and are waited for.
"""

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from icu_lightning.cores import cores
from icu_lightning.errors import UserError, whole_number
from icu_lightning.sweep.jobs import ELSEWHERE, Job, last_lines
from icu_lightning.sweep.local import THREADS
from icu_lightning.sweep.process import End, Watch, run_here, run_jobs

STOPPED = 143  # exit code of a job that was told to stop
OBJECTS = 2**27  # bytes of Ray's store of objects: jobs write into files
OURS = ("ICU_", "WANDB_")  # of the environment, what goes along to another machine
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # a cluster that no other machine can reach
TOKEN = Path("~/.ray/auth_token")  # Ray's, of whoever may use a cluster


class RayLauncher:
    """Gives jobs to Ray.

    Arguments:
        address: of a cluster, HOST:PORT, ray://HOST:PORT or auto, the one of this machine; None starts one here.
        jobs: at a time; None: as many as the cluster has room for.
        cpus, gpus: of each; gpus may be a fraction, for jobs that share one.
    """

    def __init__(self, *, address: str | None, jobs: int | None, cpus: int, gpus: float) -> None:
        self.address = address
        self.jobs = None if jobs is None else whole_number("launcher.jobs", jobs, 1)
        self.cpus, self.gpus = whole_number("launcher.cpus", cpus, 1), share("launcher.gpus", gpus)
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"} | (ALONE if address is None else {})  # read when it is imported
        if address is None or TOKEN.expanduser().exists():  # as `ray start`, which does not ask where there is none
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        try:
            import ray  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError(f"launcher=ray needs Ray ({error}): pip install 'icu-lightning[ray]'.") from error

    def launch(self, jobs: Iterable[Job], *, watch: Watch, ended: End) -> None:
        with connected(self.address) as machines:
            places = self.jobs or room(machines, self.cpus, self.gpus)
            needs = {"num_cpus": self.cpus, "num_gpus": self.gpus}
            run_jobs(jobs, lambda job, place: Task(job, needs), places, watch=watch, ended=ended)


def share(name: str, value: object) -> float:
    """`value`, if it is a whole number of GPUs or a part of one; else UserError naming the setting."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not (0 <= value < 1 or value == int(value) > 0):
        raise UserError(f"{name} must be 0, a part of one such as 0.5, or a whole number; it is {value}.")
    return value


@contextmanager
def connected(address: str | None) -> Iterator[Sequence[Mapping[str, float]]]:
    """Yield what each machine of the cluster has. Raises UserError if there is no cluster, or it does not speak to us."""
    import ray

    own = {
        "num_cpus": cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECTS,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else own))
    except (ConnectionError, ImportError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(
            f"launcher.address={address}: there is no Ray to be reached ({why}). Is it running (ray status), with this version "
            f"({ray.__version__}), and does it ask for a token (RAY_AUTH_TOKEN, RAY_AUTH_MODE=token)?"
        ) from error
    try:
        yield [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
    finally:
        ray.shutdown()


def room(machines: Sequence[Mapping[str, float]], cpus: int, gpus: float) -> int:
    """How many jobs fit at a time. Raises UserError if none does.

    >>> room([{"CPU": 8, "GPU": 2}, {"CPU": 4}], cpus=2, gpus=0), room([{"CPU": 8, "GPU": 2}, {"CPU": 4}], cpus=2, gpus=0.5)
    (6, 4)
    """
    needs = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    fitting = sum(min(math.floor(has.get(name, 0) / n) for name, n in needs.items()) for has in machines)
    if not fitting:
        raise UserError(
            f"launcher.cpus={cpus} launcher.gpus={gpus}: no machine of the cluster has so many. "
            "If it grows when it is asked to, say how many jobs to give it at a time (launcher.jobs)."
        )
    return fitting


class Task:
    """A job that Ray was given.

    Arguments:
        needs: num_cpus, num_gpus.
    """

    def __init__(self, job: Job, needs: Mapping[str, float]) -> None:
        import ray

        self.job = job
        self.ended: int | None = None
        self.lost = ""  # what Ray says of a task that had no time to say anything
        carried = {name: value for name, value in os.environ.items() if name.startswith(OURS)}
        carried |= dict.fromkeys(THREADS, str(needs["num_cpus"]))
        run = ray.remote(max_retries=0, **needs)(on_worker)
        self.task = run.options(name=job.name).remote(job, Path.cwd(), carried)

    @property
    def code(self) -> int | None:
        import ray

        if self.ended is None and ray.wait([self.task], timeout=0)[0]:
            self.ended = self._outcome()
        return self.ended

    def _outcome(self) -> int:
        import ray

        try:
            ray.get(self.task)
        except ray.exceptions.TaskCancelledError:
            return STOPPED
        except ray.exceptions.RayError as error:  # of the worker, not of the job
            if self.job.held:  # which goes on without it
                return ELSEWHERE
            self.lost = str(error).strip().splitlines()[-1]
            return 1
        return self.job.last["exit"]

    def tell(self, number: int) -> None:
        import ray

        ray.cancel(self.task)  # one that runs is interrupted, as by Ctrl-C

    def conclude(self, *, pruned: bool) -> None:
        last = self.job.last
        if self.lost:
            last |= {"exit": self.ended, "how": f"Ray lost it: {self.lost}", "last_lines": last_lines(self.job.log, 0)}
        if self.lost or pruned:
            self.job.note(**{**last, "pruned": pruned})


def on_worker(job: Job, folder: Path, environment: Mapping[str, str]) -> None:
    """What a worker of Ray runs.

    Arguments:
        folder: in which the sweep was started.
        environment: of the job, beside the worker's. GPUs are those that Ray has given to this task.
    """
    import icu_lightning.run

    sys.modules["__main__"].__spec__ = icu_lightning.run.__spec__  # or the job would import Ray's worker, and so Ray
    os.chdir(folder)
    given = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES",) if name in os.environ}
    run_here(job, {**environment, **given})
