"""How good imputations are: MAE and RMSE of the point estimate, CRPS and coverage of the draws. In the units of what is given.

The point estimate is the median of the draws. Errors are summed over all cells and divided by their number, as CSDI does, so
that long stays count for what they hold.

References: CSDI (Tashiro, Song, Song, Ermon, 2021), appendix D; Strictly Proper Scoring Rules (Gneiting, Raftery, 2007), Eq. 20, 21.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVELS = np.arange(1, 20) / 20  # .05, .10, ..., .95
LOW, HIGH = 0.05, 0.95  # of a 90 % band


def imputation_metrics(truth: Array, draws: Array) -> dict[str, float | None]:
    """What is reported of one missing rate.

    Arguments:
        truth: (N) of the held-out cells.
        draws: (S, N) imputations of them.

    `coverage90` and `crps_19` are None with a single draw, which has no spread; everything is None without cells.
    """
    if draws.ndim != 2 or draws.shape[1:] != truth.shape:
        raise ValueError(f"draws must be (S, N) of N = {len(truth)} cells; their shape is {draws.shape}")
    names = ("mae", "rmse", "crps", "crps_19", "coverage90")
    if not len(truth):
        return dict.fromkeys(names)
    error = np.median(draws, axis=0) - truth
    several = len(draws) > 1
    values = (
        np.abs(error).mean(),
        np.sqrt(np.square(error).mean()),
        crps(truth, draws).mean(),
        quantile_crps(truth, draws) if several else None,
        coverage(truth, draws) if several else None,
    )
    return {name: None if value is None else float(value) for name, value in zip(names, values, strict=True)}


def crps(truth: Array, draws: Array) -> Array:
    """(N), (S, N) -> (N) the exact CRPS of the S draws as a distribution: E|X - y| - E|X - X'| / 2 (Gneiting, Raftery, Eq. 21).

    E|X - X'| follows from the sorted draws: 2 / S^2 sum_i (2 i - S - 1) x_(i).
    """
    n = len(draws)
    rank = 2 * np.arange(1, n + 1) - n - 1
    spread = (rank[:, None] * np.sort(draws, axis=0)).sum(0) / n**2  # half of E|X - X'|
    return np.abs(draws - truth).mean(0) - spread


def quantile_crps(truth: Array, draws: Array) -> float:
    """CSDI's CRPS: the mean of twice the pinball loss at 19 quantiles, over the mean of |truth|. NaN where all truth is 0."""
    estimate = np.quantile(draws, LEVELS, axis=0)  # (19, N)
    level = LEVELS[:, None]
    pinball = np.maximum(level * (truth - estimate), (level - 1) * (truth - estimate))
    size = np.abs(truth).mean()
    return float(2 * pinball.mean() / size) if size > 0 else float("nan")


def coverage(truth: Array, draws: Array, low: float = LOW, high: float = HIGH) -> float:
    """The share of cells within the band of the draws between these quantiles."""
    bounds: Any = np.quantile(draws, [low, high], axis=0)
    return float(((truth >= bounds[0]) & (truth <= bounds[1])).mean())
