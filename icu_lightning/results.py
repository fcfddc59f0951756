"""The results of a run: computed from its predictions, kept in metrics.json, read back and shown."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.evaluation.evaluate import SMALLEST, evaluate
from icu_lightning.evaluation.imputation import evaluate_imputations
from icu_lightning.evaluation.stored import StoredImputations
from icu_lightning.terminal import print_table, say

SHOWN = (  # of the metrics in metrics.json
    "auroc",
    "auprc",
    "brier",
    "scaled_brier",
    "calibration_slope",
    "calibration_in_the_large",
    "observed_to_expected",
    "ece",
    "sensitivity",
    "specificity",
    "ppv",
    "alert_rate",
    "net_benefit",
)
BESIDE = {
    "raw": ", uncalibrated",
    "prior": ", prior-corrected",
}  # blocks of metrics.json, and what stands behind a metric's name
IMPUTATION_SHOWN = {
    "mae": "MAE",
    "rmse": "RMSE",
    "crps": "CRPS",
    "coverage90": "in 90 % band",
    "mae_mean": "MAE of the mean",
}
HEADINGS = {"test": "test", "val": "validation *"}
UNCALIBRATED = ("auroc", "auprc", "brier", "calibration_slope", "observed_to_expected")


def evaluated(
    predictions: pl.DataFrame,
    sha256: str,
    *,
    bootstrap: int,
    seed: int,
    smallest: int = SMALLEST,
    imputations: StoredImputations | None = None,
) -> dict[str, Any]:
    """The content of metrics.json: `evaluate`'s; `imputation`, where there are any; `evaluation`: digests and settings."""
    settings: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "smallest": smallest}
    metrics: dict[str, Any] = evaluate(predictions, bootstrap, seed, smallest)
    if imputations is not None:
        metrics["imputation"] = evaluate_imputations(imputations.table, bootstrap, seed)
        settings |= {"imputations_sha256": imputations.sha256, "pattern": imputations.pattern}
    return {**metrics, "evaluation": {"predictions_sha256": sha256, **settings}}


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    write_text(folder / "metrics.json", metrics_text(metrics))


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """JSON in lines that a person can read: a list of numbers, or a number and its interval, is one line."""
    text = json.dumps(metrics, indent=2)
    for together in (r"\[[-+.\w\s,]*\]", r'\{\s*"value": [-+.\w\s,":]*\}'):
        text = re.sub(together, lambda numbers: " ".join(numbers[0].split()), text)
    return text + "\n"


def stored_digest(metrics: Mapping[str, Any] | None, file: str = "predictions") -> str | None:
    """SHA-256 that predictions.parquet, or imputations.parquet, had when it was evaluated; None for a run that kept none."""
    block = (metrics or {}).get("evaluation")
    return block.get(f"{file}_sha256") if isinstance(block, dict) else None


def finished_metrics(folder: Path) -> dict[str, Any] | None:
    """The content of metrics.json of a run that has come to its end, report and loggers too; None of any other."""
    return None if runfolder.is_unfinished(folder) else stored_metrics(folder)


def stored_metrics(folder: Path) -> dict[str, Any] | None:
    """The content of metrics.json, whatever had still to follow it; None if it is not there, or not whole."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) and {"test", "val"} <= metrics.keys() else None


def show(folder: Path, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """The metrics table, with intervals, and where everything is."""
    splits = {name: metrics[name] for name in ("test", "val") if metrics[name]["n"] or name == "test"}
    rows = [["stays (deaths)", *(f"{split['n']} ({split['events']})" for split in splits.values())]]
    rows += [[name, *(cell_text(split.get(name)) for split in splits.values())] for name in SHOWN]
    rows += [
        [f"{name}{behind}", *(cell_text(split.get(block, {}).get(name)) for split in splits.values())]
        for block, behind in BESIDE.items()
        if any(block in split for split in splits.values())
        for name in UNCALIBRATED
    ]
    names, seed = config["names"], config["seed"]
    protocol = "" if names.get("protocol", "clean") == "clean" else f", {names['protocol'].upper()} PROTOCOL"
    title = f"{names['model']} on {names['data']}, seed {seed}{protocol} (95 % patient-bootstrap interval)"
    if "folds" in metrics["test"]:
        heading = f"test, {len(metrics['test']['folds']['n'])} folds pooled"
        print_table(title, ["", heading, "mean of folds ± SD"], [[*row, *_of_folds(metrics, row[0])] for row in rows])
    else:
        print_table(title, ["", *(HEADINGS[name] for name in splits)], rows)
    if "val" in splits:
        say("* calibrator, threshold and best epoch were chosen on validation stays: its numbers flatter")
    for name, split in splits.items():
        if "note" in split:
            say(f"{name}: {split['note']}")
    _show_imputation(metrics)
    say(f"Run folder: {folder}")


def _show_imputation(metrics: Mapping[str, Any]) -> None:
    """Errors of hidden cells by the rate at which they were hidden, in SDs of the training stays."""
    if not (found := metrics.get("imputation")):
        return
    rows = [
        [f"{float(rate):.0%}", f"{cell['n']:,}", *(_value(cell.get(name)) for name in IMPUTATION_SHOWN)]
        for rate, cell in found.items()
    ]
    pattern = metrics["evaluation"].get("pattern", "mcar").upper()
    title = (
        f"Imputation of cells of test stays that were hidden on purpose ({pattern}), in SDs; intervals in metrics.json"
    )
    print_table(title, ["hidden", "cells", *IMPUTATION_SHOWN.values()], rows)


def _value(cell: Mapping[str, float | None] | None) -> str:
    return cell_text({**cell, "low": None} if cell else None)


def _of_folds(metrics: Mapping[str, Any], name: str) -> list[str]:
    metric, comma, behind = name.partition(",")
    own = [block for block, words in BESIDE.items() if words == comma + behind]
    cell = (metrics["test"][own[0]] if own else metrics["test"])["folds"].get(metric)
    known = isinstance(cell, dict) and cell["mean"] is not None and cell["sd"] is not None
    return [f"{cell['mean']:.3f} ± {cell['sd']:.3f}" if known else ""]


def cell_text(cell: Mapping[str, float | None] | None) -> str:
    if not cell or cell["value"] is None:
        return "undefined"
    if cell["low"] is None:
        return f"{cell['value']:.3f}"
    return f"{cell['value']:.3f} ({cell['low']:.3f}{' to ' if cell['low'] < 0 else '-'}{cell['high']:.3f})"
