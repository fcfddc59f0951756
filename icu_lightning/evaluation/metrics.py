"""Discrimination, accuracy and operating-point metrics, for one weighting of the stays or for thousands at once.

Every function takes `label` (n,), `risk` (n,) and `weight` (R, n) or (n,), and returns (R,) or a number. A weight is how
often a stay counts, so a bootstrap replicate is a row of weights and a thousand replicates share one sorting. Weights of
one give scikit-learn's values. What is undefined (one class only, nobody flagged) is NaN.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def auroc(label: Array, risk: Array, weight: Array) -> Array:
    """Area under the ROC curve: the probability that a death's risk exceeds a survivor's, ties counting half."""
    died, lived = _by_risk(label, risk, weight)
    below = np.cumsum(lived, axis=-1) - lived
    return _ratio((died * (below + 0.5 * lived)).sum(-1), died.sum(-1) * lived.sum(-1))


def auprc(label: Array, risk: Array, weight: Array) -> Array:
    """Average precision: precision at each distinct risk, weighted by the recall gained there (no interpolation)."""
    died, lived = (part[..., ::-1] for part in _by_risk(label, risk, weight))  # from the highest risk down
    flagged_deaths, flagged = np.cumsum(died, axis=-1), np.cumsum(died + lived, axis=-1)
    precision = np.divide(flagged_deaths, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    return _ratio((died * precision).sum(-1), died.sum(-1))


def brier(label: Array, risk: Array, weight: Array) -> Array:
    """Mean squared difference of risk and outcome."""
    return _ratio(weight @ (risk - label) ** 2, weight.sum(-1))


def sensitivity(label: Array, flagged: Array, weight: Array) -> Array:
    """Share of deaths that are flagged."""
    return _ratio(weight @ (label * flagged), weight @ label)


def specificity(label: Array, flagged: Array, weight: Array) -> Array:
    """Share of survivors that are not flagged."""
    return _ratio(weight @ ((1 - label) * (1 - flagged)), weight @ (1 - label))


def ppv(label: Array, flagged: Array, weight: Array) -> Array:
    """Share of the flagged that die: positive predictive value, precision."""
    return _ratio(weight @ (label * flagged), weight @ flagged)


RISK_METRICS: dict[str, Callable[[Array, Array, Array], Array]] = {"auroc": auroc, "auprc": auprc, "brier": brier}
THRESHOLD_METRICS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
    "ppv": ppv,
}


def _by_risk(label: Array, risk: Array, weight: Array) -> tuple[Array, Array]:
    """Weights of deaths and of survivors, summed over each distinct risk, in rising order of risk."""
    order = np.argsort(risk, kind="stable")
    starts = np.flatnonzero(np.diff(risk[order], prepend=-np.inf))  # where a new risk begins
    weight, label = weight[..., order], label[order]
    return np.add.reduceat(weight * label, starts, axis=-1), np.add.reduceat(weight * (1 - label), starts, axis=-1)


def _ratio(numerator: Array, denominator: Array) -> Array:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
