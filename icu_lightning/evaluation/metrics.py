"""Discrimination, accuracy and operating-point metrics, for one weighting of the stays or for thousands at once.

Every function takes `label` (n,), `risk` (n,) and `weight` (R, n) or (n,), and returns (R,) or a number. A weight is how
often a stay counts, so a bootstrap replicate is a row of weights and a thousand replicates share one sorting. Weights of
one give scikit-learn's values. What is undefined (one class only, nobody flagged) is NaN.
"""

from collections.abc import Callable
from functools import partial

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


def scaled_brier(label: Array, risk: Array, weight: Array) -> Array:
    """1 - Brier / Brier of the death rate as everybody's risk: 1 is perfect, 0 no better than the rate."""
    rate = _ratio(weight @ label, weight.sum(-1))
    return 1 - _ratio(brier(label, risk, weight), rate * (1 - rate))


def log_loss(label: Array, risk: Array, weight: Array) -> Array:
    """Mean negative log likelihood; a risk of 0 or 1 counts as the next number to it, as in scikit-learn."""
    inside = np.clip(risk, np.finfo(float).eps, 1 - np.finfo(float).eps)
    return _ratio(weight @ -(label * np.log(inside) + (1 - label) * np.log1p(-inside)), weight.sum(-1))


def npv(label: Array, flagged: Array, weight: Array) -> Array:
    """Share of those not flagged that live: negative predictive value."""
    return _ratio(weight @ ((1 - label) * (1 - flagged)), weight @ (1 - flagged))


def alert_rate(label: Array, flagged: Array, weight: Array) -> Array:
    """Share of all stays that are flagged."""
    return _ratio(weight @ flagged, weight.sum(-1))


def f_beta(label: Array, flagged: Array, weight: Array, beta: float = 1.0) -> Array:
    """Harmonic mean of PPV and sensitivity, sensitivity weighing beta**2 times as much; 0 if no death is flagged."""
    hits = weight @ (label * flagged)
    return _ratio((1 + beta**2) * hits, beta**2 * (weight @ label) + weight @ flagged)


def min_sensitivity_ppv(label: Array, flagged: Array, weight: Array) -> Array:
    """The smaller of sensitivity and PPV: the score of the PhysioNet Challenge 2012."""
    return np.minimum(sensitivity(label, flagged, weight), ppv(label, flagged, weight))


def net_benefit(label: Array, flagged: Array, weight: Array, threshold: float) -> Array:
    """Deaths flagged, minus survivors flagged at the odds of the threshold, per stay (Vickers, Elkin, 2006).

    A threshold of 1 is worth no false alarm at all: NaN where there is one.
    """
    hits, alarms = weight @ (label * flagged), np.asarray(weight @ ((1 - label) * flagged), float)
    odds = threshold / (1 - threshold) if threshold < 1 else np.where(alarms > 0, np.nan, 0.0)
    return _ratio(np.ones(()), weight.sum(-1)) * (hits - odds * alarms)


Metric = Callable[[Array, Array, Array], Array]
RISK_METRICS: dict[str, Metric] = {
    "auroc": auroc,
    "auprc": auprc,
    "brier": brier,
    "scaled_brier": scaled_brier,
    "log_loss": log_loss,
}
THRESHOLD_METRICS: dict[str, Metric] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
    "ppv": ppv,
    "npv": npv,
    "alert_rate": alert_rate,
    "f1": f_beta,
    "f2": partial(f_beta, beta=2.0),
    "min_sensitivity_ppv": min_sensitivity_ppv,
}


def _by_risk(label: Array, risk: Array, weight: Array) -> tuple[Array, Array]:
    """Weights of deaths and of survivors, summed over each distinct risk, in rising order of risk."""
    order = np.argsort(risk, kind="stable")
    starts = np.flatnonzero(np.diff(risk[order], prepend=-np.inf))  # where a new risk begins
    weight, label = weight[..., order], label[order]
    return np.add.reduceat(weight * label, starts, axis=-1), np.add.reduceat(weight * (1 - label), starts, axis=-1)


def _ratio(numerator: Array, denominator: Array) -> Array:
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
