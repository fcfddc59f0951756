"""The model card's facts: what a run knows of the sections of a model card.

References: Model Cards for Model Reporting (Mitchell et al., 2019).
"""

from typing import Any

import polars as pl

from icu_lightning.description.words import plain
from icu_lightning.report import groups, limits
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import estimate
from icu_lightning.report.performance import METRICS, undersampling
from icu_lightning.report.summary import rule_words
from icu_lightning.report.tripod import filters, threshold, variables


def card(run: Run) -> dict[str, Any]:
    """What model_card.md needs beside the facts of every page."""
    raw = run.test.get("raw", {})
    return {
        "outcome": run.outcome,
        "hours": run.hours,
        "target": str(run.config["model"].get("_target_", run.model)),
        "commit": run.environment.get("git commit", "unknown"),
        "date": run.environment.get("date", "an unknown day"),
        "variables": variables(run),
        "calibration": run.config["names"].get("calibration", "unknown"),
        "threshold": threshold(run),
        "rule": rule_words(run.config["threshold"]),
        "sha256": run.stored.sha256,
        "intended": limits.intended(run),
        "not_intended": limits.NOT_INTENDED,
        "limits": limits.limits(run),
        "filters": filters(run),
        "training": _training(run),
        "bootstrap": f"{run.metrics.get('evaluation', {}).get('bootstrap', 0):,}",
        "metrics": [
            (title, estimate(run.test.get(name)), estimate(raw[name]) if name in raw else "")
            for name, (title, _) in METRICS.items()
        ],
        **_groups(run),
    }


def _training(run: Run) -> str:
    train = run.predictions.filter(pl.col("split") == "train")
    if run.folds:
        return f"{run.database}; of each fold, the stays of the patients of the others"
    size = f"{train.height:,} stays of {train['patient_id'].n_unique():,} patients"
    return f"{run.database}: {size}, {int(train['label'].sum()):,} with the outcome. {undersampling(run)}".strip()


def _groups(run: Run) -> dict[str, str]:
    every = [groups.suppressed(column, run.test) for column in groups.columns(run.test)]
    shown = [f"{plain(g.column)} ({', '.join(g.shown)})" for g in every if g.shown]
    hidden = [f"{plain(g.column)} ({', '.join(g.hidden)})" for g in every if g.hidden]
    return {"groups": "; ".join(shown) or "none", "too_few": "; ".join(hidden) or "none"}
