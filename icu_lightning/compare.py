"""python -m icu_lightning.compare runs/...: several finished runs in one table, tested pair by pair. torch is not loaded."""

import argparse
import glob
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icu_lightning import __version__
from icu_lightning.atomic import atomic_file, atomic_folder, write_text
from icu_lightning.comparison.runs import Run, models
from icu_lightning.comparison.statistics import Comparison, compare, enough_replicates
from icu_lightning.errors import UserError, unknown_name, whole_number
from icu_lightning.plots.kinds import KINDS
from icu_lightning.run import one_line_errors, time_and_suffix

if TYPE_CHECKING:  # arguments are checked before polars is loaded
    import polars as pl

    from icu_lightning.comparison.cells import Result

USUAL: dict[str, Any] = {"bootstrap": None, "seed": 0, "figures": "svg"}  # arguments that --published has no use for
DEEPEST = 3  # levels below a folder in which its runs are looked for


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    asked = arguments(sys.argv[1:])
    folder = Path(asked.out or f"comparisons/{time_and_suffix()}").expanduser()
    with one_line_errors(Path(), new=False):
        if asked.published:
            refuse_ignored(asked)
            return compare_published(asked.runs, folder, asked.published, by=asked.by, synthetic=asked.synthetic)
        bootstrap, seed, kind = (
            usual if (typed := getattr(asked, name)) is None else typed for name, usual in USUAL.items()
        )
        compare_runs(asked.runs, folder, by_data=asked.by == "data", bootstrap=bootstrap, seed=seed, kind=kind)


def arguments(typed: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m icu_lightning.compare",
        description="Compare finished runs on the same test stays: a table, paired tests, CSV, LaTeX and one HTML page.",
    )
    parser.add_argument(
        "runs", nargs="+", help="run folders, folders that hold runs, or patterns such as 'runs/eicu-*'"
    )
    parser.add_argument("--by", choices=["data"], help="a table for each data set, instead of refusing to mix them")
    parser.add_argument(
        "--published",
        metavar="TABLE",
        help="put the runs beside that table of the MTDM paper: table1 to table6, or ablation",
    )
    parser.add_argument("--synthetic", action="store_true", help="with --published: also runs of synthetic stays")
    parser.add_argument("--out", help="new or empty folder for the results (default: comparisons/<time>-<suffix>)")
    parser.add_argument(
        "--bootstrap",
        type=int,
        help="patient resamples behind every interval (1000; of more than five models 100 a pair, up to 10000)",
    )
    parser.add_argument("--seed", type=int, help="of the resamples (0)")
    parser.add_argument("--figures", choices=KINDS, help="in OUT/plots; png: also as PNG of 300 dpi (default: svg)")
    return parser.parse_args(typed)


def refuse_ignored(asked: argparse.Namespace) -> None:
    """Raise UserError for an argument beside --published that would have no effect."""
    for name in USUAL:
        if getattr(asked, name) is not None:
            raise UserError(
                f"--{name} is not for --published: its intervals are a run's own, or of the same 1,000 resamples for all, and "
                "it draws no figures. Leave it out."
            )


def compare_runs(
    named: Sequence[str], folder: Path, *, by_data: bool, bootstrap: int | None, seed: int, kind: str = "svg"
) -> None:
    """Read, refuse or compare, print, and write into `folder`, with figures of a kind of KINDS. bootstrap: None for what is usual.

    Raises UserError for runs that cannot be compared, or a folder that holds anything; then nothing is written.
    """
    from icu_lightning.comparison.refusals import refuse_unlike

    if bootstrap is not None:
        whole_number("--bootstrap", bootstrap, 1)
    whole_number("--seed", seed, 0)
    check_empty(folder)
    runs = [read_run(path) for path in run_folders(named)]
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(f"{run.data}, {run.synthetic}" if by_data else "", []).append(run)
    for part in parts.values():
        refuse_unlike(part)
    show(compared(list(parts.values()), folder, bootstrap=bootstrap, seed=seed, kind=kind), folder)


def compare_published(named: Sequence[str], folder: Path, table: str, *, by: str | None, synthetic: bool) -> None:
    """Print a table of the MTDM paper, or its ablation, with the runs in it, and write it into `folder`. Unfinished runs are named.

    Raises UserError for what is no table, runs that cannot stand in it, or a folder that holds anything.
    """
    from icu_lightning.comparison import ablation
    from icu_lightning.comparison.published import TABLES
    from icu_lightning.results import finished_metrics
    from icu_lightning.terminal import say

    if table not in (*TABLES, ablation.NAME):
        raise unknown_name("table in --published", table, (*TABLES, ablation.NAME))
    if by:
        raise UserError("--by is not for --published: a table is of one database.")
    check_empty(folder)
    metrics = {path: finished_metrics(path) for path in run_folders(named)}
    hidden = table not in TABLES[3:]  # those are of AUROC alone
    results = [(read_run(path, hidden=hidden), m) for path, m in metrics.items() if m]
    notes = (show_ablation if table == ablation.NAME else show_table)(table, results, folder, synthetic=synthetic)
    for note in notes:
        say(note)
    if unfinished := [str(path) for path, m in metrics.items() if m is None]:
        say(f"Not finished, so not in the table: {', '.join(unfinished)}")
    say(f"Table: {folder / f'{table}.md'}")


def show_table(name: str, results: "Sequence[Result]", folder: Path, *, synthetic: bool) -> list[str]:
    """Print one of tables 1 to 6, write it, and return its notes."""
    from icu_lightning.comparison import published_text as text
    from icu_lightning.comparison.published import filled
    from icu_lightning.terminal import print_table

    found = filled(name, results, synthetic=synthetic)
    for column, heading in text.COLUMNS.items():
        print_table(f"{text.title(found)}: {heading.upper()}", *text.terminal_rows(found, column))
    if three := text.three_aurocs(found):
        print_table("Each AUROC of ours in three ways", *three)
    for what, heads, rows in text.errors_in_units(found):
        print_table(what, heads, rows)
    write_forms(name, folder, text.csv_rows(found), text.markdown(found), text.latex(found))
    write_more(name, folder, units=text.rows_in_units(found), differences=text.rows_of_differences(found))
    return text.notes(found)


def show_ablation(name: str, results: "Sequence[Result]", folder: Path, *, synthetic: bool) -> list[str]:
    """Print the ablation, write it, and return its notes."""
    from icu_lightning.comparison import ablation_text as text
    from icu_lightning.comparison.ablation import filled
    from icu_lightning.terminal import print_table

    found = filled(results, synthetic=synthetic)
    for protocol, heads, rows in text.terminal_tables(found):
        print_table(text.title(found, protocol), heads, rows)
        if pairs := text.terminal_pairs(found, protocol):
            print_table(text.DESIGNS, *pairs)
    write_forms(name, folder, text.csv_rows(found), text.markdown(found), text.latex(found))
    write_more(name, folder, differences=text.rows_of_differences(found))
    return text.notes(found)


def write_more(name: str, folder: Path, **tables: "pl.DataFrame") -> None:
    """NAME_<what>.csv of each that has a row."""
    for what, table in tables.items():
        if table.height:
            with atomic_file(folder / f"{name}_{what}.csv") as path:
                table.write_csv(path)


def write_forms(name: str, folder: Path, rows: "pl.DataFrame", markdown: str, latex: str) -> None:
    with atomic_file(folder / f"{name}.csv") as path:
        rows.write_csv(path)
    write_text(folder / f"{name}.md", markdown)
    write_text(folder / f"{name}.tex", latex)


def compare_alike(named: Sequence[str], folder: Path) -> str:
    """Compare finished runs, each with those on the same test stays, into `folder`, which is replaced, without a word.

    Returns where the page is, relative to the folder's parent, or why there is none.
    """
    from icu_lightning.comparison.refusals import alike

    try:
        parts = alike([read_run(path) for path in run_folders(named)])
        with atomic_folder(folder) as temporary:
            compared(parts, temporary, bootstrap=1000, seed=0, kind="svg")
    except UserError as error:
        return f"not made: {error}"
    return f"{folder.name}/index.html"


def compared(
    parts: Sequence[Sequence[Run]], folder: Path, *, bootstrap: int | None, seed: int, kind: str
) -> list[Comparison]:
    """A comparison of each part, written into `folder`. bootstrap: None for enough_replicates of the models in it."""
    named = [models(part) for part in parts]
    comparisons = [compare(each, bootstrap or enough_replicates(len(each)), seed) for each in named]
    write(comparisons, folder, runs=sum(len(part) for part in parts), seed=seed)
    if kind != "none":
        write_figures(comparisons, folder / "plots", png=kind == "png")
    return comparisons


def check_empty(folder: Path) -> None:
    """Raise UserError if there is anything where results are to be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder, and nothing is overwritten: choose another --out.")


def run_folders(named: Sequence[str]) -> list[Path]:
    """The run folders that were meant, each once, in the order named.

    A name is a run folder, a folder with runs up to DEEPEST levels below it, or a pattern. Raises UserError for a name that
    leads to no run.
    """
    found: dict[Path, Path] = {}
    for name in named:
        expanded = Path(name).expanduser()
        paths = [expanded] if expanded.exists() else [Path(path) for path in sorted(glob.glob(str(expanded)))]
        runs = [run for path in paths for run in _runs_at_or_below(path)]
        if not runs:
            raise UserError(f"{name}: there is no run in that folder (no config.yaml), and none below it.")
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs_at_or_below(path: Path) -> list[Path]:
    """The folder itself if it is a run, else those of the first level below it that has any."""
    for level in range(DEEPEST + 1):
        if configs := sorted(path.glob("*/" * level + "config.yaml")):
            return [config.parent for config in configs]
    return []


def read_run(folder: Path, *, hidden: bool = False) -> Run:
    """The Run of a folder; `hidden`: with its errors in hidden cells, if it has any.

    Raises UserError if it is not finished, damaged or altered, or has no test stays.
    """
    import polars as pl

    from icu_lightning import runfolder
    from icu_lightning.evaluation.imputation import patient_errors
    from icu_lightning.evaluation.stored import read, read_imputations
    from icu_lightning.results import finished_metrics, stored_digest

    config = runfolder.configuration(folder)
    metrics = finished_metrics(folder)
    if metrics is None:
        raise UserError(
            f"{folder} is not finished (no whole metrics.json). Continue it with python -m icu_lightning.run "
            f"{runfolder.resume_argument(folder)}, or leave it out."
        )
    stored = read(folder / "predictions.parquet", stored_digest(metrics))
    test = stored.table.filter(pl.col("split") == "test").sort("stay_id")
    if test.is_empty():
        raise UserError(f"{folder} has no test stays: there is nothing to compare.")
    commit = runfolder.stored_environment(folder)[0].get("git commit", "unknown")
    epochs = epochs_of(folder / "metrics.csv")
    digest = stored_digest(metrics, "imputations")
    imputed = read_imputations(folder / "imputations.parquet", digest) if hidden else None
    return Run(
        name=str(folder),
        config=config,
        test=test,
        facts=stored.facts,
        epochs=epochs,
        commit=commit,
        hidden=patient_errors(imputed.table) if imputed else None,
    )


def epochs_of(path: Path) -> "pl.DataFrame | None":
    """What each epoch logged; None for a run that had none, as one that is no network."""
    import polars as pl

    if not path.is_file():
        return None
    table = pl.read_csv(path, infer_schema_length=None)
    return None if table.is_empty() else table


def show(comparisons: Sequence[Comparison], folder: Path) -> None:
    """The tables on the terminal, and where everything is."""
    from icu_lightning.comparison.tables import counts, difference_rows, ranking_rows, told_of_p
    from icu_lightning.terminal import print_table, say

    for comparison in comparisons:
        kind = "SYNTHETIC stays (no patients of any hospital): " if comparison.synthetic else ""
        say(f"{comparison.data}, {comparison.outcome}: {kind}{counts(comparison)}, the same in every run")
        print_table("Mean over seeds (95 % patient-bootstrap interval), ± SD over seeds", *ranking_rows(comparison))
        if comparison.differences:
            print_table("Differences, paired on the same stays", *difference_rows(comparison.differences))
            say(told_of_p(comparison))
        if comparison.events in (0, comparison.n):
            say("All test stays have the same outcome: what needs both is undefined.")
    say(f"Comparison: {folder / 'index.html'}")


def write(comparisons: Sequence[Comparison], folder: Path, *, runs: int, seed: int) -> None:
    """index.html, comparison.tex and three tables as CSV."""
    from icu_lightning.comparison import tables
    from icu_lightning.comparison.page import page
    from icu_lightning.runfolder import git_commit

    made = {
        "Made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "By": f"icu_lightning {__version__}, code {git_commit()}",
        "Command": shlex.join(["python", "-m", "icu_lightning.compare", *sys.argv[1:]]),
        "Runs": str(runs),
        "Resamples": f"{', '.join(f'{c.replicates:,}' for c in comparisons)} of patients, seed {seed}",
    }
    csv = {"models": tables.summary_table, "runs": tables.run_table, "differences": tables.difference_table}
    for name, table in csv.items():
        with atomic_file(folder / f"{name}.csv") as path:
            table(comparisons).write_csv(path)
    write_text(folder / "comparison.tex", tables.latex(comparisons))
    write_text(folder / "index.html", page(comparisons, made))


def write_figures(comparisons: Sequence[Comparison], folder: Path, *, png: bool) -> None:
    """Five of each comparison; where there are several, with the data's name before theirs."""
    from icu_lightning.plots.compared import Contender, Contest, draw

    for comparison in comparisons:
        prefix = re.sub(r"\W+", "-", f"{comparison.data}-") if len(comparisons) > 1 else ""
        contenders = [
            Contender(name=s.model.name, risks=s.model.risks, metrics={k: vars(e) for k, e in s.metrics.items()})
            for s in comparison.summaries
        ]
        contest = Contest(
            data=comparison.data,
            outcome=comparison.outcome,
            synthetic=comparison.synthetic,
            label=comparison.summaries[0].model.runs[0].label,
            replicates=comparison.replicates,
            contenders=contenders,
        )
        draw(contest, folder, prefix=prefix, png=png)


if __name__ == "__main__":
    main()
