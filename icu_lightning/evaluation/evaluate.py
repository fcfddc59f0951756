"""metrics.json from predictions alone: the model is not asked again.

Every number is on the calibrated risk, with the 95 % interval over resampled patients; the same under `raw` for the model's
own score, under `prior` for that score corrected for undersampled training, and under `subgroups` for the groups that are large
enough.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from icu_lightning.evaluation import delong, reliability
from icu_lightning.evaluation.balanced import of_balanced
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.curves import THRESHOLDS, net_benefit_at
from icu_lightning.evaluation.metrics import ACCURACY_METRICS, THRESHOLD_METRICS, discrimination, net_benefit, pooled
from icu_lightning.evaluation.predictions import PRIOR
from icu_lightning.evaluation.smooth import risks_of_curve, smooth_calibration
from icu_lightning.evaluation.spread import of_spread
from icu_lightning.evaluation.subgroups import subgroups

SPLITS = ("test", "val")  # the training split's numbers would only be mistaken for something
SMALLEST = 50  # stays of a subgroup that is scored
WORKERS = 4  # threads; each holds some 200 MB of weights
BESIDE = {"raw": "risk_raw", "prior": PRIOR}  # blocks of the scores that are not the calibrated risk, and their columns
CURVE = "curve "  # before the names of the risks that have a smooth calibration curve
DECISION = CURVE + "net benefit"
Array = NDArray[np.float64]


def evaluate(
    predictions: pl.DataFrame, n_replicates: int = 1000, seed: int = 0, smallest: int = SMALLEST
) -> dict[str, dict[str, Any]]:
    """split -> {n, patients, events, <metric>: {value, low, high}, threshold, raw, prior?, calibration_curve, decision_curve,
    balanced?, subgroups, too_small, folds?, spread?, note?}.

    Metrics: those of metrics.py and reliability.py; `auroc_delong` is AUROC with DeLong's interval, which takes stays for
    independent. `calibration_curve`: of risk, risk_raw and perhaps risk_prior -> {at, value, low, high}, lists, as smooth.py draws
    it; `decision_curve` the same of the net benefit over thresholds. What a split cannot give (one class only) is null, and `note`
    says why.

    Arguments:
        predictions: as predictions.py describes them.
        n_replicates: patient resamples behind every interval.
        smallest: stays that a subgroup must have.
    """
    parts = {name: predictions.filter(pl.col("split") == name) for name in SPLITS}
    # One thread for BLAS: the pool has the cores already, and threads that wait for one cost as much as those that work
    with threadpool_limits(1), ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:

        def start(stays: pl.DataFrame, curves: bool = False) -> "Future[dict[str, Any]]":
            return pool.submit(_split, stays, n_replicates, seed, curves)

        whole = {name: start(part, curves=True) for name, part in parts.items()}  # the largest first
        groups = {name: _subgroups(part, predictions, smallest, start) for name, part in parts.items()}
    return {name: whole[name].result() | _finished(groups[name]) for name in parts}


def _split(part: pl.DataFrame, n_replicates: int, seed: int, curves: bool) -> dict[str, Any]:
    part = part.sort("risk", "risk_raw", "stay_id")  # one sorting, in which most metrics find their stays as they stand
    label, patients = part["label"].to_numpy(), part["patient_id"].to_numpy()
    result: dict[str, Any] = {"n": part.height, "patients": part["patient_id"].n_unique(), "events": int(label.sum())}
    if part.is_empty():
        return result | {"note": "no stays in this split"}
    threshold = part["threshold"].to_numpy()
    risk = part["risk"].to_numpy()
    beside = {block: part[column].to_numpy() for block, column in BESIDE.items() if column in part.columns}
    scores = {"risk": risk} | {BESIDE[block]: score for block, score in beside.items()}
    drawn = {name: (x, risks_of_curve(x)) for name, x in scores.items() if curves}

    def metrics(weight: Array) -> dict[str, Any]:
        smooth = {CURVE + name: smooth_calibration(label, x, weight, at) for name, (x, at) in drawn.items()}
        benefit = {DECISION: net_benefit_at(label, risk, weight, THRESHOLDS)} if curves else {}
        return _metrics(label, risk, beside, threshold, weight) | smooth | benefit

    cells = with_intervals(metrics, patients, n_replicates, seed)
    blocks = {block: f"{block} " for block in beside}
    result |= {name: cell for name, cell in cells.items() if not name.startswith((*blocks.values(), CURVE))}
    result["auroc_delong"] = _delong(label, risk)
    result["threshold"] = float(threshold[0]) if part["threshold"].n_unique() == 1 else None  # each fold has its own
    if part["fold"].null_count() < part.height:
        result["folds"] = _folds(part, "risk")
    for block, prefix in blocks.items():
        result[block] = {name.removeprefix(prefix): cell for name, cell in cells.items() if name.startswith(prefix)}
        if "folds" in result:
            result[block]["folds"] = _folds(part, BESIDE[block])
    if curves and (thirds := of_spread(part, n_replicates, seed)):
        result["spread"] = thirds
    if curves and (even := of_balanced(label, risk, threshold, patients, n_replicates, seed)):
        result["balanced"] = even
    if curves:
        result["calibration_curve"] = {
            name: {"at": at.tolist()} | cells[CURVE + name] for name, (_, at) in drawn.items()
        }
        result["decision_curve"] = {"at": THRESHOLDS.tolist()} | cells[DECISION]
    if len(np.unique(label)) < 2:
        result["note"] = (
            f"only {'deaths' if label.all() else 'survivors'} among {part.height} stays: what needs both classes is null"
        )
    return result


def _subgroups(
    part: pl.DataFrame, everyone: pl.DataFrame, smallest: int, start: Callable[[pl.DataFrame], Any]
) -> dict[str, Any]:
    """{subgroups: column -> group -> what `start` gives, too_small: column -> group -> {n, events}}."""
    scored: dict[str, Any] = {}
    too_small: dict[str, Any] = {}
    for column, group, stays in subgroups(part, everyone):
        if stays.height >= smallest and stays["label"].n_unique() == 2:
            scored.setdefault(column, {})[group] = start(stays)
        else:
            counts = {"n": stays.height, "events": int(stays["label"].sum())}
            too_small.setdefault(column, {})[group] = counts
    return {"subgroups": scored, "too_small": too_small}


def _finished(node: Any) -> Any:
    """The same with each Future's result in its place."""
    if isinstance(node, dict):
        return {name: _finished(below) for name, below in node.items()}
    return node.result() if isinstance(node, Future) else node


def _metrics(label: Array, risk: Array, beside: Mapping[str, Array], threshold: Array, weight: Array) -> dict[str, Any]:
    """Of the calibrated risk, of the flags at the threshold, and, with their block before the names, of the scores beside it."""
    flagged = (risk >= threshold).astype(float)
    metrics = of_risk(label, risk, weight) | of_flags(label, flagged, threshold, weight)
    for block, score in beside.items():
        metrics |= {f"{block} {name}": own for name, own in of_risk(label, score, weight).items()}
    return metrics


def of_risk(label: Array, risk: Array, weight: Array) -> dict[str, Any]:
    """name -> (R,) of every metric that needs no threshold."""
    ece = reliability.ece(label, risk, weight)  # its groups are of stays, so before they are pooled
    label, risk, weight = pooled(label, risk, weight)
    auroc, auprc = discrimination(label, risk, weight)
    slope, intercept, in_the_large = reliability.recalibration(label, risk, weight)
    accuracy = {name: metric(label, risk, weight) for name, metric in ACCURACY_METRICS.items()}
    return {
        "auroc": auroc,
        "auprc": auprc,
        **accuracy,
        "calibration_in_the_large": in_the_large,
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "observed_to_expected": reliability.observed_to_expected(label, risk, weight),
        "ece": ece,
    }


def of_flags(label: Array, flagged: Array, threshold: Array, weight: Array) -> dict[str, Any]:
    """name -> (R,) of every metric of the flags; threshold: (n,) of each stay."""
    benefit = net_benefit(label, flagged, weight, threshold)
    rows = pooled(label, flagged, weight)
    return {name: metric(*rows) for name, metric in THRESHOLD_METRICS.items()} | {"net_benefit": benefit}


def metric_names() -> list[str]:
    """Of all metrics of risk and of flags: keys of a split's block that have a value."""
    label, risk, weight = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.2, 0.4, 0.5, 0.6]), np.ones((1, 4))
    return [*of_risk(label, risk, weight), *of_flags(label, label, risk, weight)]


def _folds(part: pl.DataFrame, score: str) -> dict[str, Any]:
    """{n, events: of each fold; <metric>: {mean, sd, values}}: what each fold's own test stays say, null where undefined.

    Folds share training stays, so their SD is no standard error: intervals are those of the pooled stays.
    """
    folds = [fold for _, fold in sorted(part.partition_by("fold", as_dict=True).items())]
    result: dict[str, Any] = {
        "n": [fold.height for fold in folds],
        "events": [int(fold["label"].sum()) for fold in folds],
    }
    by_fold = [of_risk(fold["label"].to_numpy(), fold[score].to_numpy(), np.ones((1, fold.height))) for fold in folds]
    for name in by_fold[0]:
        values = np.array([float(np.ravel(metrics[name])[0]) for metrics in by_fold])
        known = values[np.isfinite(values)]
        result[name] = {
            "mean": float(known.mean()) if known.size else None,
            "sd": float(known.std(ddof=1)) if known.size > 1 else None,
            "values": [float(value) if np.isfinite(value) else None for value in values],
        }
    return result


def _delong(label: Array, risk: Array) -> dict[str, float | None]:
    numbers = zip(("value", "low", "high"), delong.interval(label, risk), strict=True)
    return {name: number if np.isfinite(number) else None for name, number in numbers}
