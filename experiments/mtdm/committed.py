"""The metrics.json of finished runs as it is committed: every number that is cited, in a tenth of its size.

    python experiments/mtdm/committed.py 'sweeps/table6-*' --out experiments/mtdm/tables/runs

Left out are the points of curves, subgroups, single folds' values but of AUROC and AUPRC, and of an imputed variable's errors all
but the mean absolute one in its unit. All else stands where it stood, digit by digit, so that in the place of the run's own it gives
the same table (`compare --published`).
Before it stands `run`: what was run, on which code, its audit and attrition, and of a cross-validation the AUROC of a table's cell,
the mean of the folds', with its interval over patients; and of each stage of a training how many epochs it had, which of them had the
least validation loss, by which an epoch is kept, and which the labels' least. No stay is in it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from results import typed  # of results.py beside this file

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.compare import read_run, run_folders
from icu_lightning.comparison.ablation import changes, usual
from icu_lightning.comparison.published import predictor_and_imputer
from icu_lightning.comparison.runs import Run, models
from icu_lightning.comparison.statistics import auroc_of_folds
from icu_lightning.errors import UserError
from icu_lightning.results import finished_metrics, metrics_text

BULK = ("subgroups", "too_small", "calibration_curve", "decision_curve")  # of a split
BY_FOLD = ("auroc", "auprc")  # whose values of single folds are kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", help="finished run folders, folders that hold them, or patterns")
    parser.add_argument("--out", type=Path, required=True, help="folder of the files, one a run")
    asked = parser.parse_args()
    finished = []
    for folder in run_folders(asked.runs):
        if finished_metrics(folder) is None:
            print(f"Not finished, so left out: {folder}")
        else:
            finished.append(folder)
    for name, folder in file_names(finished).items():
        write_text(asked.out / name, metrics_text(committed(folder)))
        print(asked.out / name)


def file_names(folders: Sequence[Path]) -> dict[str, Path]:
    """Raises UserError for two folders of one name. Where an ablation has several settings, most have the plain name."""
    runs = {folder: read_run(folder) for folder in folders}
    named = {folder: file_name(run.config) for folder, run in runs.items()}
    found: dict[str, Path] = {}
    for folder, name in named.items():
        run = runs[folder]
        if list(named.values()).count(name) > 1:
            setting = setting_of(
                run, [other for other in runs.values() if other.config["names"] == run.config["names"]]
            )
            name = "_".join([name.removesuffix(".json"), *setting]) + ".json"
        if name in found:
            raise UserError(f"{found[name]} and {folder} would both be {name}: leave one out.")
        found[name] = folder
    return found


def setting_of(run: Run, namesakes: Sequence[Run]) -> list[str]:
    """What of a run's settings is not that of most of its namesakes: `lr-0.003`."""
    (model,) = models([run])
    return [f"{name.rsplit('.', 1)[-1]}-{value}" for name, value in changes(model, usual(namesakes)).items()]


def file_name(config: Mapping[str, Any]) -> str:
    """Of what a cell of a table is: imputer and predictor, or model and tasks; protocol and seed where they are not clean and 0."""
    names, seed = config["names"], config["seed"]
    parts = [f"{part}-{names[part]}" for part in runfolder.PARTS if part in names] or [names["model"]]
    parts += [f"tasks-{names['model/tasks']}"] if "model/tasks" in names else []
    parts += [f"protocol-{protocol}"] if (protocol := names.get("protocol", "clean")) != "clean" else []
    return "_".join([*parts, *([f"seed-{seed}"] if seed else [])]) + ".json"


def committed(folder: Path) -> dict[str, Any]:
    """Raises UserError for a run that is not finished, or whose predictions are not those that it wrote."""
    run, metrics = read_run(folder), dict(finished_metrics(folder) or {})
    for split in ("test", "val"):
        metrics[split] = without_bulk(metrics[split])
    if "imputation" in metrics:
        metrics["imputation"] = {
            rate: errors | {"variables": in_units(errors["variables"])}
            for rate, errors in metrics["imputation"].items()
        }
    return {"run": what_was_run(folder, run), **metrics}


def what_was_run(folder: Path, run: Run) -> dict[str, Any]:
    environment, _ = runfolder.stored_environment(folder)
    whole = bool(run.test["fold"].null_count())  # no cross-validation
    return {
        "names": run.config["names"],
        "place": predictor_and_imputer(run),  # row and column of a table of AUROCs; null of what is in none
        "seed": run.seed,
        "source": run.data,
        "synthetic": run.synthetic,
        "command": typed(environment["command"]),
        "commit": environment["git commit"],
        "auroc_of_folds": None if whole else auroc_of_folds(run.test, run.config["bootstrap"], run.seed),
        "training": training(run.epochs),
        "audit": json.loads((folder / "audit.json").read_text(encoding="utf-8")),
        "attrition": pl.read_csv(folder / "attrition.csv").to_dict(as_series=False),
    }


def training(epochs: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Of each stage, of each fold's if there are folds, from metrics.csv; nothing of a model without epochs."""
    if epochs is None:
        return []
    by = [name for name in ("fold", "stage") if name in epochs.columns]
    return [
        {**rows.select(by).row(0, named=True), "epochs": rows.height}
        | {f"least {loss}": least for loss in ("val/loss", "val/mortality") if (least := least_of(rows, loss))}
        for rows in epochs.partition_by(by, maintain_order=True)
    ]


def least_of(rows: pl.DataFrame, loss: str) -> dict[str, Any] | None:
    """The epoch at which it is least, and all validation losses there; None where it was not logged."""
    if loss not in rows.columns or not (known := rows.drop_nulls(loss)).height:
        return None
    losses = [name for name in ("val/loss", "val/imputation", "val/mortality") if name in rows.columns]
    return {
        name: v
        for name, v in known.sort(loss).row(0, named=True).items()
        if name in ("epoch", *losses) and v is not None
    }


def in_units(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Of each imputed variable its unit, and the mean absolute error in it, without the interval."""
    return {name: {"unit": of["unit"], "mae": {"value": of["mae"]["value"]}} for name, of in variables.items()}


def without_bulk(split: Mapping[str, Any]) -> dict[str, Any]:
    """A split, or a block in it, such as `raw`: of its folds mean and SD are kept, and of BY_FOLD the values."""
    kept = {name: of for name, of in split.items() if name not in BULK}
    for name, of in kept.items():
        if name == "folds":
            kept[name] = {metric: fold if metric in BY_FOLD else without_values(fold) for metric, fold in of.items()}
        elif isinstance(of, dict):
            kept[name] = without_bulk(of)
    return kept


def without_values(fold: Any) -> Any:
    """Mean and SD of a metric over folds; a list of counts as it is."""
    return {name: of for name, of in fold.items() if name != "values"} if isinstance(fold, dict) else fold


if __name__ == "__main__":
    main()
