"""Whether W&B knows us, and what it is given of a finished run: no patient's row unless it is asked for."""

import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from icu_lightning.evaluation.curves import calibration_curve, pr_curve, roc_curve

ARTIFACTS = {"model": "checkpoints/model.ckpt", "predictions": "predictions.parquet"}  # of the run folder, on request
FIGURES = (  # of its plots/, where they are; those of single stays are not among them
    "shap_bar",
    "calibration_smooth",
    "decision_curve",
    "learning_curves",
    "subgroup_forest",
    "imputation_errors",
)
OF_STAYS = (
    "shap_beeswarm",
    "embedding",
    "embedding_epochs",
)  # a point a stay: of open or made-up data, or at the user's word
ERRORS = ("mae", "rmse", "crps", "coverage90", "mae_mean")  # of imputations


def results(folder: Path, metrics: Mapping[str, Any], test: pl.DataFrame, *, of_stays: bool) -> dict[str, Any]:
    """Charts, tables and figures by name.

    Arguments:
        test: the test rows of predictions.parquet.
        of_stays: also the figures in which every stay has a point.
    """
    return {
        **_curves(test),
        "test/confusion": _confusion(test),
        **_imputation(metrics),
        **_figures(folder / "plots", of_stays),
    }


def _curves(test: pl.DataFrame) -> dict[str, Any]:
    import wandb

    label, risk = test["label"].to_numpy(), test["risk"].to_numpy()
    plots = {}
    for name, (x, y, x_name, y_name) in {
        "roc": (*roc_curve(label, risk), "1 - specificity", "sensitivity"),
        "pr": (*pr_curve(label, risk), "sensitivity", "positive predictive value"),
        "calibration": (*calibration_curve(label, risk), "predicted risk", "observed share of deaths"),
    }.items():
        points = [list(map(float, point)) for point in zip(x, y, strict=True)]
        table = wandb.Table(data=points, columns=[x_name, y_name])
        plots[f"test/{name}"] = wandb.plot.line(table, x_name, y_name, title=f"{name} (test)")
    return plots


def _confusion(test: pl.DataFrame) -> Any:
    """Counts at the stored threshold, at and above which a stay is flagged."""
    import wandb

    flagged = pl.col("risk") >= pl.col("threshold")
    counted = (
        test.group_by(died=pl.col("label") == 1, flagged=flagged).agg(stays=pl.len()).rows_by_key(("died", "flagged"))
    )
    rows = [
        ["died" if died else "survived", "flagged" if high else "not flagged", counted.get((died, high), [(0,)])[0][0]]
        for died in (True, False)
        for high in (True, False)
    ]
    return wandb.Table(data=rows, columns=["outcome", "at the stored threshold", "stays"])


def _imputation(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Errors by the share of cells that was hidden, in SDs of the training stays, with their intervals."""
    import wandb

    found = metrics.get("imputation") or {}
    if not found:
        return {}
    columns: list[str | int] = [
        "hidden",
        "cells",
        *(f"{name}{end}" for name in ERRORS for end in ("", " low", " high")),
    ]
    rows = [
        [
            float(rate),
            cell["n"],
            *((cell.get(name) or {}).get(end) for name in ERRORS for end in ("value", "low", "high")),
        ]
        for rate, cell in found.items()
    ]
    return {"test/imputation": wandb.Table(data=rows, columns=columns)}


def _figures(plots: Path, of_stays: bool) -> dict[str, Any]:
    import wandb

    shown = FIGURES + OF_STAYS * of_stays
    there = {name: plots / f"{name}.svg" for name in shown if (plots / f"{name}.svg").exists()}
    return {
        f"figures/{name}": wandb.Html(path.read_text(encoding="utf-8"), inject=False) for name, path in there.items()
    }


def logged_in() -> bool:
    """A key in the environment, or an entry for the W&B server in ~/.netrc, where `wandb login` puts it."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        entry = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        entry = None
    return bool(os.environ.get("WANDB_API_KEY") or entry)
