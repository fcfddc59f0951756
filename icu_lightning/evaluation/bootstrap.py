"""Confidence intervals by resampling patients, not stays: the stays of one patient are not independent.

References: An Introduction to the Bootstrap (Efron, Tibshirani, 1993), percentile interval.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 4_000_000  # weights held in memory at a time


def patient_weights(patient_id: NDArray, n_replicates: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Chunks (r, n) of bootstrap weights: how often each stay counts when its patient is drawn with replacement.

    Arguments:
        patient_id: (n,) any sortable type.
        n_replicates: rows over all chunks; they depend on `seed` and the patients alone. Of nobody there are none.
    """
    if not len(patient_id):
        return
    patients, of_stay = np.unique(patient_id, return_inverse=True)
    rng = np.random.default_rng(seed)
    chunk = max(1, CELLS // max(1, len(patient_id)))
    for start in range(0, n_replicates, chunk):
        rows = min(chunk, n_replicates - start)
        drawn = rng.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), size=rows)
        yield drawn[:, of_stay].astype(np.float64)


def percentile_interval(replicates: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The central `level` of the replicates; those that are NaN (a resample without deaths) are left out."""
    defined = replicates[np.isfinite(replicates)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def with_intervals(
    metrics: Callable[[NDArray[np.float64]], Mapping[str, Any]], patient_id: NDArray, n_replicates: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Value and 95 % interval of several metrics over the same resamples.

    Arguments:
        metrics: weights (R, n) or (n,) -> {name: (R,) or a number}; of a curve of G points (R, G) or (G,).

    Returns: name -> {value, low, high}; None for what is undefined. Of a curve each is a list, and the interval is each point's own.
    """
    values = metrics(np.ones(len(patient_id)))
    chunks = [metrics(weight) for weight in patient_weights(patient_id, n_replicates, seed)]
    return {name: _cell(value, [chunk[name] for chunk in chunks]) for name, value in values.items()}


def _cell(value: Any, chunks: list[NDArray[np.float64]]) -> dict[str, Any]:
    points = np.ravel(value)
    replicates = np.concatenate(chunks).reshape(-1, len(points)) if chunks else np.empty((0, len(points)))
    ends = [percentile_interval(column) for column in replicates.T]
    lists = {
        "value": [_plain(x) for x in points],
        "low": [_plain(low) for low, _ in ends],
        "high": [_plain(high) for _, high in ends],
    }
    return {side: numbers[0] for side, numbers in lists.items()} if np.ndim(value) == 0 else lists


def _plain(number: float | NDArray) -> float | None:
    return float(number) if np.isfinite(number) else None
