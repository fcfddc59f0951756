"""What a sweep came to: a table of its jobs on the terminal, as CSV and as one page; a comparison of what may be compared.

jobs.csv              a row a job: its words, state, metrics, seconds, run folder; of a search's trials those that it looks at itself
index.html            the same, and the last lines of what failed
comparison/           of the finished jobs, as `python -m icu_lightning.compare` makes it
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from icu_lightning import __version__
from icu_lightning.atomic import atomic_file, write_text
from icu_lightning.evaluation.stored import facts_of
from icu_lightning.results import cell_text, finished_metrics
from icu_lightning.runfolder import git_commit, resume_argument
from icu_lightning.sweep.jobs import STATES, Job, without_password
from icu_lightning.templates import rendered
from icu_lightning.terminal import print_table, say

if TYPE_CHECKING:
    from icu_lightning.sweep.study import Search  # which loads Optuna

METRICS = ("auroc", "auprc", "brier", "calibration_slope", "ece")  # of the test split, in a sweep's jobs.csv
TOLD = 3  # last lines of a failed job on the terminal, where none is an error's; the page has all that are kept


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Which numbers of the jobs people see: of a sweep the test split's, of a search its objectives alone.

    A search's trials are there to be chosen from, and who sees their test numbers chooses by them.

    Arguments:
        split: test or val.
        headings: metric -> what stands above it in tables.
        stored: metric -> its column in jobs.csv.
    """

    split: str
    headings: Mapping[str, str]
    stored: Mapping[str, str]


OF_SWEEP = Shown(split="test", headings={"auroc": "AUROC (test)"}, stored={name: name for name in METRICS})


def of_search(objectives: Iterable[str]) -> Shown:
    names = list(objectives)
    return Shown(
        split="val", headings={name: f"val {name}" for name in names}, stored={name: f"val/{name}" for name in names}
    )


class Progress:
    """Says how each job ended, as it ends."""

    def __init__(self, jobs: int, ended: int = 0, shown: Shown = OF_SWEEP) -> None:
        self.jobs, self.ended, self.shown = jobs, ended, shown

    def __call__(self, job: Job) -> None:
        self.ended += 1
        row = Row.of(job, self.shown)
        told = "".join(f", {heading} {row.cell(name)}" for name, heading in self.shown.headings.items() if row.metrics)
        say(f"[{self.ended}/{self.jobs}] {row.title}: {row.state}{told}, {row.time}")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job, as people see it."""

    job: Job
    state: str
    last: Mapping[str, Any]
    metrics: Mapping[str, Any]  # of the split that is shown, in metrics.json; empty for a job that is not finished
    synthetic: bool  # a finished job's stays were made up
    epoch: int | None = None  # at which a trial was pruned

    @classmethod
    def of(cls, job: Job, shown: Shown = OF_SWEEP, epoch: int | None = None) -> "Row":
        metrics = (finished_metrics(job.run) or {}).get(shown.split, {})
        predictions = job.run / "predictions.parquet"
        made_up = bool(metrics) and predictions.exists() and facts_of(predictions).get("synthetic") == "true"
        return cls(job=job, state=job.state, last=job.last, metrics=metrics, synthetic=made_up, epoch=epoch)

    @property
    def title(self) -> str:
        """The job's, with SYNTHETIC beside numbers of stays that were made up."""
        return f"{self.job.title} (SYNTHETIC)" if self.synthetic else self.job.title

    @property
    def end(self) -> str:
        """The state, of a trial that was pruned with the epoch."""
        return self.state if self.state != "pruned" or self.epoch is None else f"pruned at epoch {self.epoch}"

    def cell(self, name: str) -> str:
        return cell_text(self.metrics.get(name)) if self.metrics else ""

    def value(self, name: str) -> float | None:
        return (self.metrics.get(name) or {}).get("value")

    @property
    def time(self) -> str:
        seconds = self.last.get("seconds")
        return "" if seconds is None else f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"

    @property
    def told(self) -> list[str]:
        """Of what a failed job said last: its error, or the last lines."""
        lines = self.last.get("last_lines", [])
        errors = [i for i, line in enumerate(lines) if line.startswith("error:")]
        return lines[errors[-1] :] if errors else lines[-TOLD:]

    @property
    def again(self) -> str:
        """The command that runs this job alone."""
        begun = (self.job.run / "config.yaml").exists()
        words = [resume_argument(self.job.run)] if begun else [shlex.quote(word) for word in self.job.overrides]
        return " ".join(["python -m icu_lightning.run", *words])


def report(folder: Path, jobs: Sequence[Job], *, compared: bool, search: "Search | None" = None) -> list[Row]:
    """Write and print the table; returns the rows.

    Arguments:
        compared: also compare the finished jobs, which takes a while.
        search: that the jobs are trials of.
    """
    shown = OF_SWEEP if search is None else of_search(search.objectives)
    epochs = {} if search is None else search.last_epochs()
    rows = [Row.of(job, shown, epochs.get(job.name)) for job in jobs]
    with atomic_file(folder / "jobs.csv") as path:
        table(rows, shown).write_csv(path)
    comparison = compare_finished(folder, rows) if compared else "not made yet"
    write_text(folder / "index.html", page(folder, rows, shown, comparison, None if search is None else found(search)))
    show(folder, rows, shown, searched=search is not None)
    if search is not None:
        show_best(search)
    return rows


def table(rows: Sequence[Row], shown: Shown) -> pl.DataFrame:
    """A row a job; an axis a column."""
    axes = list(dict.fromkeys(word.split("=", 1)[0] for row in rows for word in row.job.axes))
    listed = []
    for row in rows:
        words = dict(word.split("=", 1) for word in row.job.axes)
        values = {column: row.value(name) for name, column in shown.stored.items()}
        facts = {
            "seconds": row.last.get("seconds"),
            "attempts": row.last.get("attempts", 0),
            "where": row.last.get("where"),
        }
        own = {axis: words.get(axis) for axis in axes}
        state = {"state": row.state, "synthetic": row.synthetic if row.metrics else None}
        listed.append({"job": row.job.name, **own, **state, **values, **facts, "run": str(row.job.run)})
    return pl.DataFrame(listed, infer_schema_length=None)


def compare_finished(folder: Path, rows: Sequence[Row]) -> str:
    """Compare the finished jobs, those on the same test stays with each other; returns what is to be said about it."""
    from icu_lightning.compare import compare_alike

    finished = [str(row.job.run) for row in rows if row.state == "finished"]
    if len(finished) < 2:
        return "not made: it takes two finished jobs"
    return compare_alike(finished, folder / "comparison")


def found(search: "Search") -> dict[str, Any]:
    """What the page shows of a search: the best trials, and the figures, if any trial is complete."""
    from icu_lightning.sweep import figures

    trials, best = search.begun(), search.best()
    return {
        "objectives": search.objectives,
        "best": best,
        "study": without_password(search.url),
        "trials": len(trials),
        "history": figures.history(trials, search.objectives) if best else None,
        "importance": figures.importance(search.study, search.objectives) if best else None,
    }


def show_best(search: "Search") -> None:
    """The best trials on the terminal, and the command of the first."""
    best = search.best()
    for trial in best:
        values = ", ".join(
            f"val {name} {value:.3f}" for name, value in zip(search.objectives, trial.values, strict=True)
        )
        say(f"Best, trial {trial.number}: {values}: {' '.join(search.job(trial).axes)}")
    if best:
        say(f"    python -m icu_lightning.run {shlex.join(search.job(best[0]).overrides)}")


def page(folder: Path, rows: Sequence[Row], shown: Shown, comparison: str, search: Mapping[str, Any] | None) -> str:
    made = {
        "Made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "By": f"icu_lightning {__version__}, code {git_commit()}",
        "Folder": str(folder.absolute()),
    }
    return rendered(
        Path(__file__).parent,
        "page.html",
        rows=rows,
        synthetic=any(row.synthetic for row in rows),
        headings=shown.headings,
        counts=counts(rows),
        comparison=comparison,
        search=search,
        made=made,
    )


def counts(rows: Sequence[Row]) -> str:
    """For example `3 finished, 1 failed`."""
    found = {state: sum(row.state == state for row in rows) for state in STATES}
    return ", ".join(f"{n} {state}" for state, n in found.items() if n)


def show(folder: Path, rows: Sequence[Row], shown: Shown, *, searched: bool) -> None:
    """The table on the terminal, and of what failed the last lines and the command."""
    cells = [[row.title, row.end, *map(row.cell, shown.headings), row.time, f"runs/{row.job.name}"] for row in rows]
    headings = ["job", "state", *shown.headings.values(), "time", "run folder"]
    print_table(f"{folder}: {counts(rows)}", headings, cells)
    failed = [row for row in rows if row.state == "failed"]
    for row in failed:
        say(f"FAILED {row.job.title}: {row.last.get('how')}")
        for line in row.told:
            say(f"    {line}")
        say(f"    all it said: {row.job.log}\n    alone: {row.again}")
    if failed:
        say(f"The same line {'with sweep.retry=true ' * searched}runs them again.")
    say(f"Sweep: {folder / 'index.html'}")
