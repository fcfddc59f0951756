"""The run folder: opened new or to be resumed, never overwritten; what is in it before anything is computed."""

import fcntl
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from icu_lightning import __version__
from icu_lightning.atomic import write_text
from icu_lightning.errors import UserError
from icu_lightning.yaml_file import read_yaml

SIZE = "size"  # what conf/model/size says, which other settings read: it is stored with them, and not beside them
PARTS = ("imputer", "predictor")  # groups whose options are parts of model=two_stage
REUSED = " (reused)"  # behind the name of a stage in metrics.csv that an earlier run has trained
UNFINISHED = "unfinished"  # a file that stands in the folder for as long as something has still to be written
NEEDED = {"names", "data", "model", "trainer", "logger", "calibration", "seed", "threshold", "bootstrap"}
OF_A_BEGUN_RUN = (
    "config.yaml",
    UNFINISHED,
    "environment.txt",
    "attrition.csv",
    "plots/attrition.svg",
    "cleaning.csv",
    "audit.json",
    "metrics.csv",
    "checkpoints/data.json",
)


def start(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write config.yaml and environment.txt into a new folder; returns the configuration as stored.

    Raises UserError if the folder holds anything, or another process takes it at the same moment.
    """
    if any(folder.iterdir()):
        there = (folder / "config.yaml").exists()
        way_out = f"continue that run with {resume_argument(folder)}" if there else "empty it"
        raise UserError(
            f"The run folder {folder} is not empty, and results are never overwritten: "
            f"choose another hydra.run.dir, or {way_out}."
        )
    stored = _with_absolute_paths(config)
    try:
        with (folder / "config.yaml").open("x", encoding="utf-8") as file:
            yaml.safe_dump(stored, file, sort_keys=False)
    except FileExistsError:
        raise UserError(f"Another run has just begun in {folder}: choose another hydra.run.dir.") from None
    write_text(folder / "environment.txt", environment())
    return stored


@contextmanager
def to_be_finished(folder: Path) -> Iterator[None]:
    """What is done inside has come to its end only if it gets there: a run killed while its report is written is not finished."""
    (folder / UNFINISHED).touch()
    yield
    (folder / UNFINISHED).unlink()


def is_unfinished(folder: Path) -> bool:
    return (folder / UNFINISHED).exists()


def begun_by(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a run of this very configuration has begun in the folder."""
    if not (folder / "config.yaml").exists():
        return False
    return configuration(folder) == yaml.safe_load(yaml.safe_dump(_with_absolute_paths(config)))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process. Raises UserError if another process holds it."""
    with (folder / "config.yaml").open("r+b") as file:  # for writing: on NFS an exclusive lock takes that
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another process is running in {folder}: wait for it, or stop it first.") from None
        yield


@contextmanager
def undone_if_refused(folder: Path) -> Iterator[None]:
    """For a folder that `start` has just made: a refusal before anything was trained or predicted removes what was written.

    So the corrected command may use the folder. Once there is a checkpoint or a prediction, everything stays.
    """
    try:
        yield
    except (UserError, OSError):
        if not any((folder / "checkpoints").glob("*/*")) and not (folder / "predictions.parquet").exists():
            for name in OF_A_BEGUN_RUN:
                (folder / name).unlink(missing_ok=True)
            for name in ("checkpoints", "plots"):
                remove_if_empty(folder / name)
        raise


def remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def resume_argument(folder: Path) -> str:
    """resume=FOLDER as it has to be typed: Hydra's quotes, and the shell's, only where the path needs them."""
    typed = typed_path(folder)
    return f"resume={typed}" if typed == str(folder) else shlex.quote(f"resume={typed}")


def typed_path(folder: Path) -> str:
    """A path as the value of an override: in Hydra's quotes only where it needs them."""
    if re.fullmatch(r"[\w./~:-]+", str(folder), re.ASCII):
        return str(folder)
    inner = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{inner}'"


def reopen(folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of an interrupted run.

    Arguments:
        overrides: what was typed beside resume=...; there must be nothing, because the run's own configuration counts.

    Raises UserError if there is, or if the folder is no run folder.
    """
    if overrides and (folder / "config.yaml").exists():
        raise UserError(
            f"resume continues a run with its own configuration; leave out {' '.join(overrides)}, or start a new run."
        )
    return configuration(folder)


def configuration(folder: Path) -> dict[str, Any]:
    """The stored configuration of a run. Raises UserError if the folder is no run folder."""
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder}: there is no run in that folder (no config.yaml).")
    try:
        stored = read_yaml(folder / "config.yaml")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / 'config.yaml'} is no valid YAML: {error}") from error
    if not isinstance(stored, dict) or not stored.keys() >= NEEDED:
        raise UserError(f"{folder / 'config.yaml'} is not the configuration of a run.")
    return stored


def environment() -> str:
    """Date, command, git commit, machine and the version of every installed package."""
    facts = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "git commit": git_commit(),
        "icu_lightning": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    return "\n".join([*(f"{name}: {value}" for name, value in facts.items()), "", *packages(), ""])


def stored_environment(folder: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """What `environment` has told of a run: its facts by name, and name==version of each package; nothing where there is no file."""
    path = folder / "environment.txt"
    facts, _, packages = path.read_text(encoding="utf-8").partition("\n\n") if path.exists() else ("", "", "")
    pairs = (line.partition(": ") for line in facts.splitlines())
    return {name: text for name, _, text in pairs}, tuple(packages.split())


@cache
def packages() -> tuple[str, ...]:
    """name==version of everything that is installed, as it was when this process first asked: it takes a while."""
    found = (each.metadata for each in metadata.distributions())
    return tuple(sorted({f"{facts['Name']}=={facts['Version']}" for facts in found}, key=str.lower))


def git_commit() -> str:
    """The commit of the code that runs, with '+ changes' if files differ from it; 'none' for an installed package."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return "none (installed package)"
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + (" + changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown (git could not be asked)"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def _with_absolute_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run may be resumed from another working directory."""
    data = {
        k: str(Path(v).expanduser().absolute()) if k in ("root", "cache_dir") and v else v
        for k, v in config["data"].items()
    }
    return {**config, "data": data}
