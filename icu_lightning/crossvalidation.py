"""cv=n: a run for each fold of patients, one after another, and what they say of all stays together.

    fold-0/ ... fold-<n-1>/   whole runs, each tested on the patients of its fold
    predictions.parquet       of every stay, by the model that did not see its patient (`fold` says which)

Every fold chooses epoch, calibrator and threshold on validation patients of its own, so a stay's risk is calibrated, and
flagged, by its fold. A fold that is finished is not run again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning import runfolder
from icu_lightning.atomic import atomic_file, write_text
from icu_lightning.data.audit import audit_line
from icu_lightning.data.settings import DataSettings
from icu_lightning.evaluation import predictions as prediction_table
from icu_lightning.evaluation.stored import read
from icu_lightning.results import finished_metrics, stored_digest
from icu_lightning.terminal import say

OneRun = Callable[[Path, Mapping[str, Any], DataSettings], None]


def fold_folders(folder: Path, folds: int) -> list[Path]:
    return [folder / f"fold-{i}" for i in range(folds)]


def run_folds(folder: Path, config: Mapping[str, Any], settings: DataSettings, one_run: OneRun) -> list[Path]:
    """The folders of all folds, each run to its end by `one_run(folder, configuration, settings)`.

    Raises what `one_run` raises; the folds before it stay, and the next start goes on after them.
    """
    folders = fold_folders(folder, config["cv"])
    for i, path in enumerate(folders):
        fold = [i, config["cv"]]
        if finished_metrics(path) is not None:
            say(f"Fold {i + 1} of {fold[1]} is finished: {path}")
            continue
        say(f"Fold {i + 1} of {fold[1]}:")
        path.mkdir(exist_ok=True)
        own = {
            **config,
            "cv": None,
            "data": {**config["data"], "fold": fold},
            "report": {**config["report"], "write": False},
        }
        with runfolder.undone_if_refused(path):
            begun = (path / "config.yaml").exists()
            one_run(
                path,
                runfolder.configuration(path) if begun else runfolder.start(path, own),
                replace(settings, fold=fold),
            )
    return folders


def pooled(folders: Sequence[Path]) -> tuple[pl.DataFrame, dict[str, str]]:
    """The test stays of all folds with their `fold`, as one test split, and the metadata of their files.

    Raises UserError for a fold whose predictions are missing or altered.
    """
    stored = [read(path / "predictions.parquet", stored_digest(finished_metrics(path))) for path in folders]
    tests = [
        fold.table.filter(pl.col("split") == "test").with_columns(fold=pl.lit(i, pl.Int32))
        for i, fold in enumerate(stored)
    ]
    table = pl.concat(tests)
    return table.select(prediction_table.columns(table)), stored[0].facts


def write_pooled(folder: Path, folders: Sequence[Path]) -> pl.DataFrame:
    """predictions.parquet of the whole, and what its folds wrote about their data, put together; returns the predictions."""
    table, facts = pooled(folders)
    prediction_table.write(
        table,
        folder / "predictions.parquet",
        outcome=facts["outcome"],
        source=facts["source"],
        synthetic=facts["synthetic"] == "true",
        open_data=facts["open_data"] == "true",
    )
    for name in ("attrition.csv", "plots/attrition.svg"):  # decided before the split, so the same in every fold
        write_text(folder / name, (folders[0] / name).read_text(encoding="utf-8"))
    for name in ("cleaning.csv", "metrics.csv"):
        tables = [
            pl.read_csv(path / name, infer_schema=False).select(pl.lit(str(i)).alias("fold"), pl.all())
            for i, path in enumerate(folders)
        ]
        with atomic_file(folder / name) as path:
            pl.concat(tables, how="diagonal").write_csv(path)
    checked = audited(folders)
    write_text(folder / "audit.json", json.dumps(checked, indent=2) + "\n")
    say(audit_line(checked))
    return table


def audited(folders: Sequence[Path]) -> dict[str, Any]:
    """The folds' audits as one: a check is passed if it is in every fold; it tells what the first that failed saw, else the first."""
    audits = [json.loads((path / "audit.json").read_text(encoding="utf-8")) for path in folders]
    checks = []
    for same in zip(*(audit["checks"] for audit in audits), strict=True):
        worst = next((check for check in same if check["passed"] is False), None)
        unknown = next((check for check in same if check["passed"] is None), None)
        shown = worst or unknown or same[0]
        alike = all(check["said"] == shown["said"] for check in same)
        checks.append(
            shown if alike else {**shown, "said": f"{shown['said']} in fold {same.index(shown) + 1} of {len(same)}"}
        )
    known = [audit["missingness_auroc"] for audit in audits if audit["missingness_auroc"] is not None]
    return {
        "passed": all(audit["passed"] for audit in audits),
        "checks": checks,
        "missingness_auroc": sum(known) / len(known) if known else None,
        "held_out": _held_out([audit["held_out"] for audit in audits]),
        "undersampled": _undersampled([audit.get("undersampled") for audit in audits]),
        # Of the whole cohort, so alike in all folds
        **{name: audits[0].get(name, []) for name in ("unknown_units", "missing_components")},
        "unmeasured": {"test": sum(audit.get("unmeasured", {}).get("test", 0) for audit in audits)},
    }


def _undersampled(of_folds: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Added up over the folds: a stay is a training stay of most of them."""
    counts = [fold for fold in of_folds if fold is not None]
    if not counts:
        return None
    together = {name: sum(fold[name] for fold in counts) for name in ("deaths", "survivors", "left_out")}
    return {**counts[0], **together, "folds": len(counts)}


def _held_out(of_folds: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Cells hidden on purpose: of the test stays, because a validation stay of one fold is a test stay of another."""
    hidden = [fold for fold in of_folds if fold is not None]
    if not hidden:
        return None
    tests = [fold["cells"]["test"] for fold in hidden]
    return {**hidden[0], "cells": {"test": {name: sum(cells[name] for cells in tests) for name in tests[0]}}}
