"""The jobs of a sweep, and what a sweep's folder says of each.

    sweep.json            the line, its jobs, and what their words stood for
    jobs/<name>.json      the last attempt at a job: when, where, how it ended, its last lines
    jobs/<name>.log       all that it printed
    jobs/<name>.lock      held by the process that runs it, and by the one that waits to write down how it ended
    runs/<name>/          its run folder

A job is its overrides, whatever its number or their order, so the same line finds the same jobs again. A job is finished if
its run folder is, and by nothing else.
"""

import fcntl
import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from icu_lightning.atomic import write_text
from icu_lightning.errors import LATER, UserError

LAST_LINES = 20  # of what a failed job printed
ENDED = ("finished", "pruned", "failed")
STATES = (*ENDED, "running", "interrupted", "waiting")
ELSEWHERE = LATER  # exit code of a job that another process is running, or that waits for what another job makes
INTERRUPTED = {
    130,
    143,
    138,
    -2,
    -15,
    -10,
    ELSEWHERE,
}  # exit codes that are nobody's mistake: after SIGINT, SIGTERM, SIGUSR1


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a sweep.

    Arguments:
        sweep: the sweep's folder.
        name: of its files, the same for the same overrides.
        overrides: as typed, one value each.
        axes: those of them that vary in this sweep.
        gpu: whether it trains on one; of a job that is only looked at, false.
    """

    sweep: Path
    name: str
    overrides: tuple[str, ...]
    axes: tuple[str, ...] = ()
    gpu: bool = False

    @property
    def run(self) -> Path:
        return self.sweep / "runs" / self.name

    @property
    def log(self) -> Path:
        return self.sweep / "jobs" / f"{self.name}.log"

    @property
    def lock(self) -> Path:
        return self.sweep / "jobs" / f"{self.name}.lock"

    @property
    def record(self) -> Path:
        return self.sweep / "jobs" / f"{self.name}.json"

    @property
    def sweep_id(self) -> str:
        """For loggers: which runs belong together. Two sweeps of one name in different places do not."""
        folder = self.sweep.resolve()
        return f"{folder.name[:40]}-{digest(str(folder))}"

    @property
    def title(self) -> str:
        return " ".join(self.axes or self.overrides) or "defaults"

    @property
    def last(self) -> dict[str, Any]:
        """What is known of the last attempt; empty before the first, or if it is not whole."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    @property
    def state(self) -> str:
        """One of STATES."""
        from icu_lightning.results import finished_metrics

        last = self.last
        if finished_metrics(self.run) is not None:
            return "finished"
        if self.held:
            return "running"
        if last.get("pruned"):
            return "pruned"
        code = last.get("exit")
        if code is not None and code not in INTERRUPTED:
            return "failed"
        return "interrupted" if last or self.run.exists() else "waiting"

    @property
    def held(self) -> bool:
        """True if a process, of this sweep or one that was killed, is running it."""
        if not self.lock.exists():
            return False
        with self.lock.open("r+") as file:
            return not taken(file)

    def note(self, **facts: Any) -> None:
        """Replace the record of the last attempt."""
        write_text(self.record, json.dumps(facts, indent=2) + "\n")


def name_of(overrides: Sequence[str], axes: Sequence[str]) -> str:
    """A name for people, the varying words, and eight digits that follow from all words in any order.

    >>> name_of(["model=mtdm", "seed=1"], ["seed=1"])
    'seed-1_766b87dc'
    """
    words = "_".join(re.sub(r"[^\w.-]+", "-", re.sub(r"^[^=]*\.", "", axis)) for axis in axes)[:80]
    return f"{words or 'job'}_{digest(sorted(overrides))}"


def digest(content: Any) -> str:
    """Eight digits of anything that JSON can hold."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()


def without_password(url: str) -> str:
    """
    >>> without_password("postgresql://me:sec@ret@host/db")
    'postgresql://me:***@host/db'
    >>> without_password("postgresql://host/db?user=me&password=secret")
    'postgresql://host/db?user=me&password=***'
    """
    return re.sub(r"(password=)[^&\s]+", r"\1***", re.sub(r"(://[^:@/\s]+):\S+@", r"\1:***@", url))


def taken(file: TextIO, *, shared: bool = False) -> bool:
    """Lock an open file for as long as it is open, in this process and those that inherit it; False if another has it."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held_sweep(folder: Path, *, shared: bool) -> Iterator[None]:
    """Hold a sweep's folder; `shared` with others that share it, as the processes of one search do.

    Raises UserError if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:  # for both: on NFS a shared lock takes reading, another writing
        if not taken(file, shared=shared):
            raise UserError(
                f"Another sweep is running in {folder}: wait for it or stop it, or choose another hydra.sweep.dir."
            )
        yield


def last_lines(log: Path, offset: int) -> list[str]:
    """The last lines that were written to a log after `offset` bytes; none if it is not there."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(offset)
        return [line.decode(errors="replace").rstrip("\r\n") for line in deque(file, maxlen=LAST_LINES)]


def keep(folder: Path, line: str, jobs: Sequence[Job], meaning: Mapping[str, str]) -> list[Job]:
    """Write sweep.json, and return all jobs of the folder: these, and those of earlier lines.

    Arguments:
        line: as typed.
        meaning: name of a job -> digest of the configuration that its words stand for today.

    Raises UserError if the folder holds something else, or if a job's words have another meaning than when it was begun.
    """
    path = folder / "sweep.json"
    before: dict[str, Any] = {"jobs": {}, "meaning": {}, "lines": []}
    if path.exists():
        before = stored(path)
    elif any(other.name != ".lock" for other in folder.iterdir()):
        raise UserError(
            f"{folder} is no folder of a sweep, and nothing is overwritten: choose another hydra.sweep.dir."
        )
    for name, now in meaning.items():
        if before["meaning"].get(name, now) != now:
            raise UserError(
                f"Since the sweep in {folder} was begun, the configuration has changed: {name} stands for something else now. "
                "Choose another hydra.sweep.dir, or change it back."
            )
    listed = before["jobs"] | {job.name: {"overrides": job.overrides, "axes": job.axes} for job in jobs}
    lines = before["lines"] + [line] * (line not in before["lines"])
    content = {"lines": lines, "jobs": listed, "meaning": before["meaning"] | dict(meaning)}
    write_text(path, json.dumps(content, indent=2) + "\n")
    return jobs_of(folder)


def jobs_of(folder: Path) -> list[Job]:
    """All jobs of a sweep, in the order in which they were first named."""
    listed = stored(folder / "sweep.json")["jobs"].items()
    return [Job(sweep=folder, name=n, overrides=tuple(j["overrides"]), axes=tuple(j["axes"])) for n, j in listed]


def stored(path: Path) -> dict[str, Any]:
    """The content of sweep.json. Raises UserError if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): choose another hydra.sweep.dir.") from error
    if not isinstance(content, dict) or not content.keys() >= {"jobs", "meaning", "lines"}:
        raise UserError(f"{path} is not that of a sweep: choose another hydra.sweep.dir.")
    return content
