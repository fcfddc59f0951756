"""Jobs on a Slurm cluster, submitted by submitit: a job of the queue each, gone on with when it is preempted or out of time.

submitit is driven directly, not by hydra-submitit-launcher (1.2.0): that one submits all jobs as one array, blocks until the last
result and raises the first error, so there is no state of a job to show, nothing to go on with after a kill, no lock that a job
holds for itself, and no place to ask a search for its next trial.

The sweep waits on the machine on which it was started. If it is killed, what it has submitted stays in the queue, and the same
line waits for that instead of submitting it again.
"""

import math
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from typing import Any

from icu_lightning.errors import UserError, whole_number
from icu_lightning.results import finished_metrics
from icu_lightning.sweep.jobs import INTERRUPTED, LAST_LINES, Job, last_lines
from icu_lightning.sweep.process import End, Watch, run_here, run_jobs

ASK = 10.0  # seconds between looks at the queue, one for all jobs of the sweep
TRIES, PAUSE = 30, 2.0  # of a question that Slurm does not answer, and seconds between them
OF_SLURM = 5  # of a failed job's last lines, how many are Slurm's own
WAITING = ("PENDING", "RUNNING", "REQUEUED", "CONFIGURING", "COMPLETING", "SUSPENDED", "RESIZING", "REQUEUE_HOLD")
STOPPED = 143  # exit code of a job that was told to stop


class SlurmLauncher:
    """Submits jobs.

    Arguments:
        jobs: at most so many in the queue at a time.
        timeout_min: minutes of each; a job that needs longer goes on in another one.
        cpus, gpus, memory_gb: of each.
        partition: None for the cluster's default.
        more: other options of sbatch, name -> value.
    """

    def __init__(
        self,
        *,
        jobs: int,
        timeout_min: int,
        cpus: int,
        gpus: int,
        memory_gb: float | None,
        partition: str | None,
        more: Mapping[str, Any],
    ) -> None:
        self.jobs = whole_number("launcher.jobs", jobs, 1)
        try:
            import submitit
        except ModuleNotFoundError as error:
            raise UserError(f"launcher=slurm needs submitit ({error}): pip install 'icu-lightning[slurm]'.") from error
        if submitit.AutoExecutor.which() != "slurm":
            raise UserError(
                "launcher=slurm: there is no sbatch here. Start the sweep on a machine that submits to the cluster."
            )
        options: dict[str, Any] = {
            "cpus_per_task": cpus,
            "timeout_min": timeout_min,
            "mem_gb": memory_gb,
            "slurm_partition": partition,
        }
        options |= {"slurm_gres": f"gpu:{gpus}"} if gpus else {}
        self.options = {name: value for name, value in options.items() if value is not None}
        self.options["slurm_additional_parameters"] = dict(more)

    def launch(self, jobs: Iterable[Job], *, watch: Watch, ended: End) -> None:
        queue = Queue()
        run_jobs(jobs, lambda job, place: Queued(job, self.options, queue), self.jobs, watch=watch, ended=ended)


class Queued:
    """A job in the queue, submitted here or by a sweep that was killed.

    Arguments:
        options: of submitit's executor.
        queue: in which it is.

    Raises UserError if Slurm does not take it.
    """

    def __init__(self, job: Job, options: Mapping[str, Any], queue: "Queue") -> None:
        import submitit

        self.queue = queue
        self.job, self.ended = job, 0 if finished_metrics(job.run) is not None else None
        self.told = False  # to stop: then it has not failed, and the same line goes on with it
        self.folder, self.submitted = job.sweep / ".submitit", -math.inf
        self.id = str(job.last.get("slurm"))
        if self.ended is None and (not self.id.isdigit() or not queue.holds(self.id)):
            executor = submitit.AutoExecutor(folder=self.folder, cluster="slurm", slurm_max_num_timeout=1000)
            executor.update_parameters(name=job.name, **options)
            job.log.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.id = executor.submit(OnNode(), job).job_id
            except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
                raise UserError(f"Slurm does not take the job: {error}") from error
            self.submitted = time.monotonic()
            job.note(**{**job.last, "slurm": self.id, "exit": None})

    @property
    def code(self) -> int | None:
        seen = time.monotonic() - self.submitted > ASK  # by every answer of the queue that is young enough
        if self.ended is None and seen and not self.queue.holds(self.id):
            code = self.job.last.get("exit")
            self.ended = STOPPED if self.told and code != 0 else 1 if code is None else code
        return self.ended

    def tell(self, number: int) -> None:
        self.told = True
        subprocess.run(["scancel", self.id], check=False, capture_output=True)

    def conclude(self, *, pruned: bool) -> None:
        last = self.job.last
        if last.get("exit") is None and self.ended not in (
            0,
            *INTERRUPTED,
        ):  # the node's process had no time to say anything
            said = [line for path in sorted(self.folder.glob(f"{self.id}_*_log.err")) for line in last_lines(path, 0)]
            how = f"ended by Slurm, job {self.id}: out of memory, out of time, cancelled, or its node failed"
            lines = [*last_lines(self.job.log, 0), *said[-OF_SLURM:]][-LAST_LINES:]
            last |= {"exit": self.ended, "how": how, "last_lines": lines}
        if self.ended == STOPPED:
            last |= {"exit": STOPPED}
        self.job.note(**{**last, "pruned": pruned})


class OnNode:
    """What the node runs."""

    def __call__(self, job: Job) -> None:
        run_here(job, {})

    def checkpoint(self, job: Job) -> Any:
        """Asked by submitit when time is up: the same again, which goes on from the run's checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


class Queue:
    """What Slurm knows of this user's jobs, asked once for all of them, and not again within ASK seconds."""

    def __init__(self) -> None:
        self.asked, self.waiting = -math.inf, set[str]()

    def holds(self, identity: str) -> bool:
        """True while the queue knows the job as waiting or running. Raises UserError if Slurm cannot be asked."""
        if time.monotonic() - self.asked > ASK:
            self.waiting, self.asked = waiting(), time.monotonic()
        return identity in self.waiting


def waiting() -> set[str]:
    """This user's jobs that wait or run, and those that are about to again. Raises UserError if Slurm cannot be asked."""
    asked = ["squeue", "--noheader", "--states=all", f"--user={os.getuid()}", "--format=%i %T"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    for _ in range(TRIES):
        if not done.returncode:
            break
        time.sleep(PAUSE)  # a controller that is busy or restarts is back soon
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"Slurm cannot be asked (squeue: {done.stderr.strip()}). The jobs stay in the queue; the same line goes on."
        )
    states = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    return {identity for identity, state in states.items() if state.strip() in WAITING}
