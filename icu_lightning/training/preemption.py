"""A run that is told to stop: by SIGTERM or SIGINT, as a cluster or a person ends it, or by Slurm's SIGUSR1, before its time is over.

Nothing has to be saved then: the state at the beginning of every epoch is on the disk already. What is lost is the epoch that was
going on, which the next start repeats, batch for batch.

The answer to a signal is an exception, which may be raised anywhere, also inside a library that turns it into another. So what was
heard is remembered: whatever ends the run after that is the end of a run that was told to stop.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

HEARD = (signal.SIGTERM, signal.SIGUSR1)
_told: "signal.Signals | None" = None  # the first signal that this process has heard inside `heard`


class Preempted(SystemExit):
    """The process was told to stop; `signal` says how. Its exit code is the one that shells give: 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


@contextmanager
def heard(signals: Sequence[signal.Signals] = HEARD) -> Iterator[None]:
    """Within, these signals raise Preempted, once, and SIGINT, unless it is ignored, KeyboardInterrupt; `told` knows of all.

    In a thread that is not the main one, nothing changes.
    """
    global _told
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _told = None
    before: dict[signal.Signals, Any] = {number: signal.signal(number, _stop) for number in signals}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)


def told() -> "signal.Signals | None":
    """The signal by which this process was told to stop in the last `heard`; None if it was not."""
    return _told


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _told
    _told = _told or signal.Signals(number)
    signal.default_int_handler(number, frame)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    global _told
    _told = _told or signal.Signals(number)
    for heard in HEARD:
        signal.signal(heard, signal.SIG_IGN)  # what is tidied up now is not interrupted again
    raise Preempted(number)


def requeue(stop: Preempted) -> str:
    """After Slurm's SIGUSR1, ask for the same job again; what came of it, as a sentence, or nothing."""
    job = os.environ.get("SLURM_JOB_ID")
    if stop.signal is not signal.SIGUSR1 or job is None:
        return ""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        return f" Slurm could not be asked for job {job} again: {error}."
    failed = f" Slurm would not queue job {job} again: {done.stderr.strip()}"
    return failed if done.returncode else f" Slurm has queued job {job} again."


def requeued() -> bool:
    """Whether Slurm has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0
