"""Does a wide spread of a stay's risk draws mean more errors? The stays in thirds of it, each with its errors.

A risk near one half spreads more than one near zero, and is wrong more often even if it is right on average; so beside the Brier
score stands the one that such risks would have if they were exact, mean p (1 - p). More than that is what the risks do not own up to.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.metrics import discrimination, pooled

THIRDS = ("narrow", "middle", "wide")
Array = NDArray[np.float64]


def of_spread(part: pl.DataFrame, n_replicates: int, seed: int) -> dict[str, dict[str, Any]] | None:
    """third of THIRDS -> {n, events, risk_sd: its median, risk: mean, auroc, brier, brier_if_exact}, with intervals.

    None for a model with one draw a stay, or with fewer stays than thirds.

    Arguments:
        part: predictions of one split.
    """
    if part["risk_sd"].null_count() or part.height < len(THIRDS):
        return None
    order = np.argsort(part["risk_sd"].to_numpy(), kind="stable")
    thirds = zip(THIRDS, np.array_split(order, len(THIRDS)), strict=True)
    return {name: _third(part[np.sort(rows)], n_replicates, seed) for name, rows in thirds}


def _third(stays: pl.DataFrame, n_replicates: int, seed: int) -> dict[str, Any]:
    label, risk = stays["label"].to_numpy(), stays["risk"].to_numpy()
    squared, exact = (label - risk) ** 2, risk * (1 - risk)

    def metrics(weight: Array) -> dict[str, Any]:
        total = weight.sum(-1)
        auroc, _ = discrimination(*pooled(label, risk, weight))
        return {"auroc": auroc, "brier": weight @ squared / total, "brier_if_exact": weight @ exact / total}

    return {
        "n": stays.height,
        "events": int(label.sum()),
        "risk_sd": float(np.median(stays["risk_sd"].to_numpy())),
        "risk": float(risk.mean()),
        **with_intervals(metrics, stays["patient_id"].to_numpy(), n_replicates, seed),
    }
