"""metrics.json from predictions alone: the model is not asked again.

Every number is on the calibrated risk, with the 95 % interval over resampled patients; the same under `raw` for the model's
own score, and under `subgroups` for the groups that are large enough.
"""

from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.evaluation import delong, reliability
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.metrics import RISK_METRICS, THRESHOLD_METRICS, net_benefit
from icu_lightning.evaluation.subgroups import subgroups

SPLITS = ("test", "val")  # the training split's numbers would only be mistaken for something
SMALLEST = 50  # stays of a subgroup that is scored
Array = NDArray[np.float64]


def evaluate(
    predictions: pl.DataFrame, n_replicates: int = 1000, seed: int = 0, smallest: int = SMALLEST
) -> dict[str, dict[str, Any]]:
    """split -> {n, patients, events, <metric>: {value, low, high}, threshold, raw, subgroups, too_small, note?}.

    Metrics: those of metrics.py and reliability.py; `auroc_delong` is AUROC with DeLong's interval, which takes stays for
    independent. What a split cannot give (one class only) is null, and `note` says why.

    Arguments:
        predictions: as predictions.py describes them.
        n_replicates: patient resamples behind every interval.
        smallest: stays that a subgroup must have.
    """
    parts = {name: predictions.filter(pl.col("split") == name) for name in SPLITS}
    results = {name: _split(part, n_replicates, seed) for name, part in parts.items()}
    for name, part in parts.items():
        results[name] |= _subgroups(part, predictions, n_replicates, seed, smallest)
    return results


def _split(part: pl.DataFrame, n_replicates: int, seed: int) -> dict[str, Any]:
    label, patients = part["label"].to_numpy(), part["patient_id"].to_numpy()
    result: dict[str, Any] = {"n": part.height, "patients": part["patient_id"].n_unique(), "events": int(label.sum())}
    if part.is_empty():
        return result | {"note": "no stays in this split"}
    threshold = float(part["threshold"][0])
    risk, raw = part["risk"].to_numpy(), part["risk_raw"].to_numpy()
    flagged = (risk >= threshold).astype(float)
    result |= with_intervals(
        lambda weight: _of_risk(label, risk, weight) | _of_flags(label, flagged, weight, threshold),
        patients,
        n_replicates,
        seed,
    )
    result["auroc_delong"] = _delong(label, risk)
    result["threshold"] = threshold
    result["raw"] = with_intervals(partial(_of_risk, label, raw), patients, n_replicates, seed)
    if len(np.unique(label)) < 2:
        result["note"] = (
            f"only {'deaths' if label.all() else 'survivors'} among {part.height} stays: what needs both classes is null"
        )
    return result


def _subgroups(
    part: pl.DataFrame, everyone: pl.DataFrame, n_replicates: int, seed: int, smallest: int
) -> dict[str, Any]:
    """{subgroups: column -> group -> metrics, too_small: column -> group -> {n, events}}."""
    scored: dict[str, Any] = {}
    too_small: dict[str, Any] = {}
    for column, group, stays in subgroups(part, everyone):
        if stays.height >= smallest and stays["label"].n_unique() == 2:
            scored.setdefault(column, {})[group] = _split(stays, n_replicates, seed)
        else:
            counts = {"n": stays.height, "events": int(stays["label"].sum())}
            too_small.setdefault(column, {})[group] = counts
    return {"subgroups": scored, "too_small": too_small}


def _of_risk(label: Array, risk: Array, weight: Array) -> dict[str, Any]:
    slope, intercept = reliability.slope_and_intercept(label, risk, weight)
    return {
        **{name: metric(label, risk, weight) for name, metric in RISK_METRICS.items()},
        "calibration_in_the_large": reliability.in_the_large(label, risk, weight),
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "observed_to_expected": reliability.observed_to_expected(label, risk, weight),
        "ece": reliability.ece(label, risk, weight),
    }


def _of_flags(label: Array, flagged: Array, weight: Array, threshold: float) -> dict[str, Any]:
    values = {name: metric(label, flagged, weight) for name, metric in THRESHOLD_METRICS.items()}
    return values | {"net_benefit": net_benefit(label, flagged, weight, threshold)}


def _delong(label: Array, risk: Array) -> dict[str, float | None]:
    numbers = zip(("value", "low", "high"), delong.interval(label, risk), strict=True)
    return {name: number if np.isfinite(number) else None for name, number in numbers}
