"""python -m icu_lightning.average runs/...: several finished runs averaged into one, calibrated on validation. torch is not loaded.

What is written is a run folder without a model: `compare`, `evaluate` and `report` take it like any other.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.compare import check_empty, read_run, run_folders
from icu_lightning.comparison.runs import MEMBERS, Run, SeededModel
from icu_lightning.errors import UserError, whole_number
from icu_lightning.plots.kinds import KINDS
from icu_lightning.run import one_line_errors, time_and_suffix

CALIBRATIONS = {
    "isotonic": "Isotonic",
    "platt": "Platt",
    "beta": "Beta",
    "temperature": "Temperature",
    "none": "Identity",
}
OF_THE_DATA = ("attrition.csv", "plots/attrition.svg", "cleaning.csv", "audit.json")  # what members say of their stays
WAYS = ("rank", "logit", "risk")  # of evaluation/averages.py, which --help does not load


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    asked = arguments(sys.argv[1:])
    folder = Path(asked.out or f"averages/{time_and_suffix()}").expanduser()
    with one_line_errors(Path(), new=False):
        settings = {"by": asked.by, "calibration": asked.calibration, "bootstrap": asked.bootstrap}
        average_runs(asked.runs, folder, **settings, figures=asked.figures)


def arguments(typed: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m icu_lightning.average",
        description="Average finished runs on the same stays: each model counts the same, however many seeds it has.",
    )
    parser.add_argument(
        "runs", nargs="+", help="run folders (also of cv=5), folders that hold runs, or patterns such as 'runs/eicu-*'"
    )
    parser.add_argument(
        "--by",
        choices=WAYS,
        default="rank",
        help="what is averaged: ranks among validation stays (default), logits or risks",
    )
    parser.add_argument(
        "--calibration", choices=CALIBRATIONS, help="of the average, on validation stays (default: the members')"
    )
    parser.add_argument("--out", help="new or empty folder for the result (default: averages/<time>-<suffix>)")
    parser.add_argument("--bootstrap", type=int, default=1000, help="patient resamples behind every interval (1000)")
    parser.add_argument(
        "--figures", choices=KINDS, default="svg", help="in OUT/plots; png: also as PNG of 300 dpi (default: svg)"
    )
    return parser.parse_args(typed)


def average_runs(
    named: Sequence[str], folder: Path, *, by: str, calibration: str | None, bootstrap: int, figures: str = "svg"
) -> None:
    """Read, refuse or average, calibrate, evaluate, draw, and show.

    Raises UserError for runs that cannot be averaged, or a folder that holds anything; then nothing is written.
    """
    from icu_lightning.comparison.refusals import refuse_unlike
    from icu_lightning.comparison.runs import models
    from icu_lightning.evaluation import predictions
    from icu_lightning.evaluation.stored import digest
    from icu_lightning.plots.run import draw_run
    from icu_lightning.results import evaluated, show, write_metrics

    whole_number("--bootstrap", bootstrap, 0)
    check_empty(folder)
    runs = [read_run(path) for path in run_folders(named)]
    _refuse_what_is_no_member(runs)
    refuse_unlike(runs, "be averaged", "Leave one out.")
    grouped = models(runs)
    chosen = calibration or _agreed(runs, "calibration", "Choose one with --calibration.")
    config = described(grouped, by=by, calibration=chosen, bootstrap=bootstrap)
    table = averaged_predictions(grouped, by, chosen, config["threshold"])

    folder.mkdir(parents=True, exist_ok=True)
    stored = runfolder.start(folder, config)
    facts = runs[0].facts
    kind = {name: facts.get(name) == "true" for name in ("synthetic", "open_data")}
    path = folder / "predictions.parquet"
    predictions.write(table, path, outcome=facts["outcome"], source=runs[0].data, **kind)
    for name in OF_THE_DATA:
        if (there := Path(runs[0].name) / name).exists():
            write_text(folder / name, there.read_text(encoding="utf-8"))
    metrics = evaluated(table, digest(path), bootstrap=bootstrap, seed=config["seed"])
    write_metrics(folder, metrics)
    draw_run(folder, stored, figures)
    show(folder, stored, metrics)


def averaged_predictions(grouped: Sequence[SeededModel], by: str, calibration: str, rule: Any) -> pl.DataFrame:
    """predictions.parquet of the average: validation and test stays of one split, or the test stays of all folds.

    Each fold is averaged, calibrated and given its threshold by itself, on its own validation stays.
    """
    from icu_lightning.evaluation.averages import averaged
    from icu_lightning.evaluation.calibration import KINDS as CALIBRATORS
    from icu_lightning.evaluation.predictions import calibrate, columns

    folds = grouped[0].runs[0].config.get("cv")
    tables = []
    for i in range(folds or 1):
        members = [[_predictions(run, i if folds else None) for run in model.runs] for model in grouped]
        _refuse_other_validation(
            [run for model in grouped for run in model.runs], [own for seeds in members for own in seeds]
        )
        mean, alone = averaged(members, by)
        table = calibrate(mean, CALIBRATORS[calibration](), rule, alone)
        tables.append(table.filter(split="test").with_columns(fold=pl.lit(i, pl.Int32)) if folds else table)
    whole = pl.concat(tables)
    return whole.select(columns(whole))


def described(grouped: Sequence[SeededModel], *, by: str, calibration: str, bootstrap: int) -> dict[str, Any]:
    """config.yaml of the average: the first member's, with what is its own in the place of model, names and calibration.

    Averages of one seed each, made of the same models, differ in `seed` alone: to `compare` they are one model with several seeds.
    """
    runs = [run for model in grouped for run in model.runs]
    seeds = sorted({run.seed for run in runs})
    one = seeds[0] if len(seeds) == 1 else None
    told = {model.name: None if one is not None else [run.seed for run in model.runs] for model in grouped}
    first = runs[0].config
    names = {name: option for name, option in first["names"].items() if not name.startswith("model/")}
    return {
        **first,
        "names": {**names, "model": f"average of {_and([m.name for m in grouped])}", "calibration": calibration},
        "model": {"by": by, "models": told},
        "calibration": {"_target_": f"icu_lightning.evaluation.calibration.{CALIBRATIONS[calibration]}"},
        "threshold": _agreed(runs, "threshold", "Run them with one rule.", lambda config: config["threshold"]),
        "seed": one or 0,
        "bootstrap": bootstrap,
        "resume": None,
        MEMBERS: [_provenance(run) for run in runs],
    }


def _provenance(run: Run) -> dict[str, Any]:
    """Which run a member is: its folder, model, seed, digest of its predictions, and the code that made them."""
    from icu_lightning.evaluation.stored import digest

    folder = Path(run.name)
    facts, _ = runfolder.stored_environment(folder)
    sha256 = digest(folder / "predictions.parquet")
    return {
        "folder": str(folder.absolute()),
        "model": run.model,
        "seed": run.seed,
        "predictions_sha256": sha256,
        "commit": facts.get("git commit", "unknown"),
    }


def _predictions(run: Run, fold: int | None) -> pl.DataFrame:
    """All stays that one model of the run has scored. Raises UserError if the fold's folder is gone, unfinished or altered."""
    from icu_lightning.evaluation.stored import read
    from icu_lightning.results import finished_metrics, stored_digest

    folder = Path(run.name) if fold is None else Path(run.name) / f"fold-{fold}"
    table = read(folder / "predictions.parquet", stored_digest(finished_metrics(folder))).table
    if table.filter(split="val").is_empty():
        raise UserError(f"{folder} has no validation stays: there is nothing to rank among, or to calibrate on.")
    return table


def _refuse_what_is_no_member(runs: Sequence[Run]) -> None:
    """Raise UserError for a single run, an average, or folds beside a single split."""
    if len(runs) < 2:
        raise UserError(f"{runs[0].name} is one run: an average takes two or more.")
    for run in runs:
        if MEMBERS in run.config:
            raise UserError(f"{run.name} is an average already: name its members, which are in its config.yaml.")
    cv = [run.config.get("cv") for run in runs]
    if other := next((run for run, folds in zip(runs, cv, strict=True) if folds != cv[0]), None):
        raise UserError(
            f"{runs[0].name} and {other.name} cannot be averaged: cv is {cv[0]} and {other.config.get('cv')}. Leave one out."
        )


def _refuse_other_validation(runs: Sequence[Run], tables: Sequence[pl.DataFrame]) -> None:
    """Raise UserError if members have other validation or test stays: one member's validation would be another one's training."""

    def sides(table: pl.DataFrame) -> pl.DataFrame:
        return table.filter(pl.col("split").is_in(["val", "test"])).select("stay_id", "split", "label").sort("stay_id")

    for run, table in zip(runs, tables, strict=True):
        if not sides(table).equals(sides(tables[0])):
            raise UserError(
                f"{runs[0].name} and {run.name} cannot be averaged: their validation stays differ, and what one was calibrated on "
                "the other was trained on. Run both with the same data.fractions and data.split_seed."
            )


def _agreed(runs: Sequence[Run], name: str, way_out: str, of: Any = None) -> Any:
    """What all members chose. Raises UserError, naming two of them, if they did not choose the same."""

    def chosen(run: Run) -> Any:
        return of(run.config) if of else run.config["names"][name]

    other = next((run for run in runs if chosen(run) != chosen(runs[0])), None)
    if other is not None:
        raise UserError(
            f"{runs[0].name} and {other.name} have another {name}: {chosen(runs[0])} and {chosen(other)}. {way_out}"
        )
    return chosen(runs[0])


def _and(names: Sequence[str]) -> str:
    """
    >>> _and(["a"]), _and(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


if __name__ == "__main__":
    main()
