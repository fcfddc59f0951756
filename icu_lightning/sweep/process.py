"""Jobs as processes of their own, side by side: whatever becomes of one, the sweep goes on.

Each is a fork of a process that has imported the packages (multiprocessing's fork server), in a session of its own, so that
an interruption reaches it once, from here. A job's lock is taken here and goes along: it is free when the job has ended and its
end is written down, or, if the sweep was killed, when the job has ended.
"""

import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from multiprocessing.reduction import DupFd
from types import FrameType
from typing import Any, Protocol, TextIO

from icu_lightning import runfolder
from icu_lightning.errors import UserError
from icu_lightning.results import finished_metrics
from icu_lightning.sweep.jobs import ELSEWHERE, ENDED, INTERRUPTED, Job, last_lines, taken

AGAIN = 30.0  # seconds after which a job that was put back is tried again, though none of ours has ended
POLL = 0.05  # seconds between looks at the running jobs
Watch = Callable[[Job], bool]  # asked now and then of a running job: True stops it, and it counts as pruned
End = Callable[[Job], object]  # called when a job has ended


class Attempt(Protocol):
    """A job that was started, here or elsewhere."""

    job: Job

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""

    def tell(self, number: int) -> None:
        """Send it a signal."""

    def conclude(self, *, pruned: bool) -> None:
        """Write down how it ended, which it has."""


def run_jobs(
    jobs: Iterable[Job], begin: Callable[[Job, int], Attempt], places: int, *, watch: Watch, ended: End
) -> None:
    """Run jobs to their ends, `places` at a time. One that another process runs is waited for; one that ends because another makes
    what it needs is put back, and gone on with when one of the others has ended.

    Arguments:
        jobs: asked for the next one only when there is a place for it.
        begin: starts a job in a place, 0 to places - 1.

    Whatever ends it, an interruption (SystemExit for SIGTERM) or an error, the running jobs are told and have stopped before.
    """
    coming, elsewhere, back, since = iter(jobs), list[Job](), list[Job](), 0.0
    running, pruned = dict[int, Attempt](), set[str]()
    with terminable():
        try:
            while True:
                for place in set(range(places)) - running.keys():
                    if (job := next_free(elsewhere, coming, ended)) is not None:
                        running[place] = begin(job, place)
                if not running and not elsewhere:
                    if not back:
                        return
                    if time.monotonic() - since > AGAIN:  # who makes it is no job of ours
                        elsewhere, back = back, elsewhere
                time.sleep(POLL)
                for attempt in running.values():
                    if attempt.code is None and attempt.job.name not in pruned and watch(attempt.job):
                        pruned.add(attempt.job.name)
                        attempt.tell(signal.SIGTERM)
                for place, attempt in [(p, a) for p, a in running.items() if a.code is not None]:
                    del running[place]
                    attempt.conclude(pruned=attempt.job.name in pruned)
                    if attempt.code == ELSEWHERE:
                        (elsewhere if attempt.job.held else back).append(attempt.job)
                        since = time.monotonic()
                    else:
                        elsewhere, back = back + elsewhere, []
                        ended(attempt.job)
        except BaseException as ending:
            stop(list(running.values()), signal.SIGINT if isinstance(ending, KeyboardInterrupt) else signal.SIGTERM)
            raise


def next_free(elsewhere: list[Job], coming: Iterator[Job], ended: End) -> Job | None:
    """The first job that nobody runs: of those that somebody did, or of those to come. None if there is none now.

    One that another process has brought to an end is not begun again, whatever end that was.
    """
    for job in list(elsewhere):
        if not job.held:
            elsewhere.remove(job)
            if job.state not in ENDED:
                return job
            ended(job)
    for job in coming:
        if not job.held:
            return job
        elsewhere.append(job)
    return None


class Here:
    """A job in a process of its own on this machine; none, and ELSEWHERE is its exit code, if another process has it.

    Arguments:
        environment: what it has beside this process's.
    """

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self.job, self.process, self.began = job, None, time.monotonic()
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self.lock = Lock(job.lock.open("a"))
        if not taken(self.lock.file):
            return
        self.offset = job.log.stat().st_size if job.log.exists() else 0
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["icu_lightning.sweep.preloaded"])
        last = job.last
        self.process = context.Process(target=be, args=(job, self.lock, arguments(job), dict(environment)))
        self.process.start()  # the first one waits until the packages are imported
        self.began = time.monotonic()
        job.note(
            began=f"{datetime.now():%Y-%m-%d %H:%M:%S}",
            where=socket.gethostname(),
            pid=self.process.pid,
            slurm=os.environ.get("SLURM_JOB_ID"),
            attempts=last.get("attempts", 0) + 1,
            seconds=last.get("seconds", 0.0),
            exit=None,
        )

    @property
    def code(self) -> int | None:
        return ELSEWHERE if self.process is None else self.process.exitcode

    def tell(self, number: int) -> None:
        """The job and all that it has started."""
        if self.process is None:
            return
        pid = self.process.pid
        assert pid is not None, "it has been started"
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # over, or not yet the head of a session of its own
            if self.code is None:
                os.kill(pid, number)

    def conclude(self, *, pruned: bool) -> None:
        if self.process is not None:
            code, last = self.code, self.job.last
            seconds = last.get("seconds", 0.0) + time.monotonic() - self.began
            facts = {**last, "seconds": round(seconds, 2), "exit": code, "pruned": pruned}
            if code not in (0, *INTERRUPTED) and not pruned:
                facts |= {"how": how_it_ended(code), "last_lines": last_lines(self.job.log, self.offset)}
            self.job.note(**facts)
        self.lock.file.close()


class Lock:
    """An open file that is locked, and stays so in a process that it is sent to, for as long as either has it open."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return received, (DupFd(self.file.fileno()),)


def received(descriptor: Any) -> Lock:
    return Lock(os.fdopen(descriptor.detach(), "a"))


def run_here(job: Job, environment: Mapping[str, str]) -> None:
    """Run one job to its end, as a node of a cluster does."""
    run_jobs([job], lambda job, place: Here(job, environment), 1, watch=lambda job: False, ended=lambda job: None)


def arguments(job: Job) -> list[str]:
    """Of `python -m icu_lightning.run`: resume= where there is something to go on with, else the job's words."""
    try:
        runfolder.configuration(job.run)
    except UserError:  # none, or half written: nothing has been computed
        shutil.rmtree(job.run, ignore_errors=True)
        return [*job.overrides, f"hydra.run.dir={runfolder.typed_path(job.run)}"]
    return [f"resume={runfolder.typed_path(job.run)}"]


def be(job: Job, lock: Lock, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """What the job's process does, and `lock` is held for as long as it does."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # submitit's to our parent, which Slurm sends to everybody in the job
    os.environ.update(environment, ICU_SWEEP_ID=job.sweep_id)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # or the last lines of a killed job are lost
    from icu_lightning import run

    if finished_metrics(job.run) is None:
        sys.argv = [run.__file__, *arguments]
        run.main()


def how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (for memory, if nobody did it)" if name == "SIGKILL" else "")
    return f"exit code {code}"


def stop(running: Sequence[Attempt], number: int) -> None:
    """Tell all of them, and wait: a job that is told ends with what it needs to go on."""
    for attempt in running:
        attempt.tell(number)
    for attempt in running:
        while attempt.code is None:
            time.sleep(POLL)
        attempt.conclude(pruned=False)


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
