"""metrics.json from predictions alone: the model is not asked again."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.metrics import RISK_METRICS, THRESHOLD_METRICS

SPLITS = ("test", "val")  # the training split's numbers would only be mistaken for something


def evaluate(predictions: pl.DataFrame, n_replicates: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """split -> {n, patients, events, auroc, auprc, brier, sensitivity, specificity, ppv, threshold, raw, note?}.

    A metric is {value, low, high} with the 95 % patient-bootstrap interval, on the calibrated risk; `raw` has the risk
    metrics of the uncalibrated score. What a split cannot give (one class only) is null, and `note` says why.
    """
    parts = {name: predictions.filter(pl.col("split") == name) for name in SPLITS}
    return {name: _split(part, n_replicates, seed) for name, part in parts.items()}


def _split(part: pl.DataFrame, n_replicates: int, seed: int) -> dict[str, Any]:
    label, patients = part["label"].to_numpy(), part["patient_id"].to_numpy()
    result: dict[str, Any] = {"n": part.height, "patients": part["patient_id"].n_unique(), "events": int(label.sum())}
    if part.is_empty():
        return result | {"note": "no stays in this split"}
    threshold = float(part["threshold"][0])
    result |= _risk_metrics(label, part["risk"].to_numpy(), patients, n_replicates, seed)
    result |= _threshold_metrics(label, part["risk"].to_numpy() >= threshold, patients, n_replicates, seed)
    result["threshold"] = threshold
    result["raw"] = _risk_metrics(label, part["risk_raw"].to_numpy(), patients, n_replicates, seed)
    if len(np.unique(label)) < 2:
        result["note"] = (
            f"only {'deaths' if label.all() else 'survivors'} among {part.height} stays: what needs both classes is null"
        )
    return result


def _risk_metrics(label: NDArray, risk: NDArray, patients: NDArray, n_replicates: int, seed: int) -> dict[str, Any]:
    metrics = {name: (lambda weight, f=f: f(label, risk, weight)) for name, f in RISK_METRICS.items()}
    return with_intervals(metrics, patients, n_replicates, seed)


def _threshold_metrics(
    label: NDArray, flagged: NDArray, patients: NDArray, n_replicates: int, seed: int
) -> dict[str, Any]:
    flag = flagged.astype(float)
    metrics = {name: (lambda weight, f=f: f(label, flag, weight)) for name, f in THRESHOLD_METRICS.items()}
    return with_intervals(metrics, patients, n_replicates, seed)
