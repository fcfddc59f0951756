"""Jobs as processes of their own, side by side: whatever becomes of one, the sweep goes on.

Each is a fork of a process that has imported the packages (multiprocessing's fork server), in a session of its own, so that
an interruption reaches it once, from here. The job holds its own lock, so that it is known to run even if the sweep is killed.
"""

import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.context import ForkServerProcess
from types import FrameType

from icu_lightning import runfolder
from icu_lightning.errors import UserError
from icu_lightning.results import finished_metrics
from icu_lightning.sweep.jobs import ELSEWHERE, INTERRUPTED, Job, last_lines, taken

POLL = 0.05  # seconds between looks at the running jobs
Watch = Callable[[Job], bool]  # asked now and then of a running job: True stops it, and it counts as pruned
End = Callable[[Job], object]  # called when a job has ended


@dataclass(kw_only=True)
class Attempt:
    """A job that is running here."""

    job: Job
    process: ForkServerProcess
    environment: Mapping[str, str]
    offset: int  # bytes of the log before it
    began: float = field(default_factory=time.monotonic)
    pruned: bool = False

    def conclude(self) -> None:
        """Write down how it ended."""
        code = self.process.exitcode
        seconds = self.job.last.get("seconds", 0.0) + time.monotonic() - self.began
        lines = last_lines(self.job.log, self.offset) if self.job.log.exists() else []
        failed = code not in (0, *INTERRUPTED) and not self.pruned
        facts = {**self.job.last, "seconds": round(seconds, 2), "exit": code, "pruned": self.pruned}
        self.job.note(**facts, **({"how": how_it_ended(code), "last_lines": lines} if failed else {}))


def run_jobs(
    jobs: Sequence[Job],
    slots: Sequence[Mapping[str, str]],
    *,
    watch: Watch = lambda job: False,
    ended: End = lambda job: None,
) -> None:
    """Run jobs to their ends, as many at a time as there are slots. One that another process runs is waited for.

    Arguments:
        slots: the environment of each place in which a job may run.

    Whatever ends it, an interruption (SystemExit for SIGTERM) or an error, the running jobs are told and have stopped before.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["icu_lightning.sweep.preloaded"])
    waiting, free, running = list(jobs), list(slots), list[Attempt]()
    with terminable():
        try:
            while waiting or running:
                while waiting and free and (job := next_free(waiting)) is not None:
                    running.append(start(context, job, free.pop()))
                time.sleep(POLL)
                for attempt in running:
                    if attempt.process.exitcode is None and not attempt.pruned and watch(attempt.job):
                        attempt.pruned = True
                        tell(attempt, signal.SIGTERM)
                for attempt in [a for a in running if a.process.exitcode is not None]:
                    running.remove(attempt)
                    free.append(attempt.environment)
                    attempt.conclude()
                    if attempt.process.exitcode == ELSEWHERE:
                        waiting.append(attempt.job)
                    else:
                        ended(attempt.job)
        except BaseException as ending:
            stop(running, signal.SIGINT if isinstance(ending, KeyboardInterrupt) else signal.SIGTERM)
            raise


def next_free(waiting: list[Job]) -> Job | None:
    """Take the first job that nobody runs off the list; one that somebody has finished meanwhile is nobody's."""
    for job in list(waiting):
        if not job.held:
            waiting.remove(job)
            return job
    return None


def start(context: multiprocessing.context.ForkServerContext, job: Job, environment: Mapping[str, str]) -> Attempt:
    """Begin a job, or go on with it."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    offset = job.log.stat().st_size if job.log.exists() else 0
    last = job.last
    process = context.Process(target=be, args=(job, arguments(job), dict(environment)))
    process.start()
    job.note(
        began=f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        where=socket.gethostname(),
        pid=process.pid,
        attempts=last.get("attempts", 0) + 1,
        seconds=last.get("seconds", 0.0),
        exit=None,
    )
    return Attempt(job=job, process=process, environment=environment, offset=offset)


def arguments(job: Job) -> list[str]:
    """Of `python -m icu_lightning.run`: resume= where there is something to go on with, else the job's words."""
    try:
        runfolder.configuration(job.run)
    except UserError:  # none, or half written: nothing has been computed
        shutil.rmtree(job.run, ignore_errors=True)
        return [*job.overrides, f"hydra.run.dir={runfolder.typed_path(job.run)}"]
    return [f"resume={runfolder.typed_path(job.run)}"]


def be(job: Job, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """What the job's process does. Ends with ELSEWHERE if another process is running the job."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # or the last lines of a killed job are lost
    with job.lock.open("a") as lock:
        if not taken(lock):
            sys.exit(ELSEWHERE)
        from icu_lightning import run

        if finished_metrics(job.run) is None:
            sys.argv = [run.__file__, *arguments]
            run.main()


def how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (for memory, if nobody did it)" if name == "SIGKILL" else "")
    return f"exit code {code}"


def tell(attempt: Attempt, number: int) -> None:
    """Send a signal to the job and all that it has started."""
    pid = attempt.process.pid
    assert pid is not None, "it has been started"
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # over, or not yet the head of a session of its own
        if attempt.process.exitcode is None:
            os.kill(pid, number)


def stop(running: Sequence[Attempt], number: int) -> None:
    """Tell all of them, and wait: a job that is told ends with what it needs to go on."""
    for attempt in running:
        tell(attempt, number)
    for attempt in running:
        attempt.process.join()
        attempt.conclude()


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block as sys.exit(143) would, so that the jobs are told."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
