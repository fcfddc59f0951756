"""DeLong's variance of the AUROC and of differences between AUROCs on the same stays, in O(n log n).

It assumes that stays are independent of one another; stays of one patient are not, so the patient bootstrap stands beside it.

References: Comparing the areas under two or more correlated receiver operating characteristic curves: a nonparametric
    approach (DeLong, DeLong, Clarke-Pearson, 1988); Fast implementation of DeLong's algorithm for comparing the areas under
    correlated receiver operating characteristic curves (Sun, Xu, 2014).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Array = NDArray[np.float64]


class Difference(NamedTuple):
    """AUROC of the first model minus that of the second, its 95 % interval, and the two-sided p value of no difference."""

    value: float
    low: float
    high: float
    p: float


def auroc_covariance(label: Array, risks: Array) -> tuple[Array, Array]:
    """(M,) AUROCs and their (M, M) covariance.

    Arguments:
        label: (n,) 0 or 1.
        risks: (M, n) of M models on the same stays.

    NaN throughout with fewer than two stays of either class.
    """
    died = label == 1
    m, n = int(died.sum()), int((~died).sum())
    models = len(risks)
    if m < 2 or n < 2:
        return np.full(models, np.nan), np.full((models, models), np.nan)
    everyone = np.stack([rankdata(risk) for risk in risks])
    deaths = np.stack([rankdata(risk[died]) for risk in risks])
    survivors = np.stack([rankdata(risk[~died]) for risk in risks])
    v10 = (everyone[:, died] - deaths) / n  # (M, m) share of survivors below each death
    v01 = 1 - (everyone[:, ~died] - survivors) / m  # (M, n) share of deaths above each survivor
    return v10.mean(1), np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n


def interval(label: Array, risk: Array, level: float = 0.95) -> tuple[float, float, float]:
    """AUROC and its interval, kept within [0, 1]; NaN with fewer than two stays of either class."""
    auroc, covariance = auroc_covariance(label, risk[None])
    value, half = float(auroc[0]), float(norm.ppf((1 + level) / 2) * np.sqrt(covariance[0, 0]))
    low, high = np.clip([value - half, value + half], 0.0, 1.0)  # which keeps NaN
    return value, float(low), float(high)


def difference(label: Array, first: Array, second: Array, level: float = 0.95) -> Difference:
    """Of two models on the same stays. Two that rank alike differ by 0, with p = 1."""
    return contrast(label, np.stack([first, second]), np.array([1.0, -1.0]), level)


def contrast(label: Array, risks: Array, factors: Array, level: float = 0.95) -> Difference:
    """Sum of factor times AUROC over models on the same stays, and the test that it is 0.

    Arguments:
        risks: (M, n). factors: (M,) that add up to 0, as [.5, .5, -1] for the mean of two seeds against a third model.
    """
    auroc, covariance = auroc_covariance(label, risks)
    value, variance = float(factors @ auroc), float(factors @ covariance @ factors)
    if variance <= 1e-18:
        return Difference(value, value, value, 1.0 if abs(value) < 1e-12 else 0.0)
    sd = float(np.sqrt(variance))
    half = float(norm.ppf((1 + level) / 2)) * sd
    return Difference(value, value - half, value + half, float(2 * norm.sf(abs(value) / sd)))
