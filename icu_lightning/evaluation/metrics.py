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
    return discrimination(label, risk, weight)[0]


def auprc(label: Array, risk: Array, weight: Array) -> Array:
    """Average precision: precision at each distinct risk, weighted by the recall gained there (no interpolation)."""
    return discrimination(label, risk, weight)[1]


def discrimination(label: Array, risk: Array, weight: Array) -> tuple[Array, Array]:
    """AUROC and AUPRC from one sorting and one cumulative sum, looked up only at the risks of deaths."""
    order, ranked = sorted_by(risk)
    weight = in_order(weight, order)
    deaths = np.flatnonzero(label[order] == 1)
    if not deaths.size:
        nothing = np.full(weight.shape[:-1], np.nan)
        return nothing, nothing
    starts = np.flatnonzero(np.diff(ranked, prepend=-np.inf))  # where a new risk begins
    levels, first = np.unique(np.searchsorted(starts, deaths, side="right") - 1, return_index=True)
    ends = np.append(starts[1:], len(risk))[levels]
    cumulative = np.cumsum(weight, axis=-1)
    total, up_to = cumulative[..., -1:], cumulative[..., ends - 1]
    below = np.where(starts[levels] > 0, cumulative[..., starts[levels] - 1], 0.0)
    died = np.add.reduceat(weight[..., deaths], first, axis=-1)  # (..., distinct risks of deaths)
    died_up_to = np.cumsum(died, axis=-1)
    all_died = died_up_to[..., -1:]
    lived_below, lived = below - (died_up_to - died), up_to - below - died
    pairs = (died * (lived_below + 0.5 * lived)).sum(-1)
    flagged_deaths, flagged = all_died - died_up_to + died, total - below
    precision = np.divide(flagged_deaths, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    all_died, total = all_died[..., 0], total[..., 0]
    both = np.where(total > all_died, all_died, 0.0)  # of deaths alone every model has 1, which says nothing
    return _ratio(pairs, all_died * (total - all_died)), _ratio((died * precision).sum(-1), both)


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


def accuracy(label: Array, flagged: Array, weight: Array) -> Array:
    """Share of stays whose flag is right; with few deaths high for a model that flags nobody."""
    return _ratio(weight @ (label * flagged + (1 - label) * (1 - flagged)), weight.sum(-1))


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


def net_benefit(label: Array, flagged: Array, weight: Array, threshold: float | Array) -> Array:
    """Deaths flagged, minus survivors flagged at the odds of the threshold, per stay (Vickers, Elkin, 2006).

    A threshold of 1 is worth no false alarm at all: NaN where there is one.

    Arguments:
        threshold: of all stays, or (n,) of each, as in the pooled folds of a cross-validation.
    """
    alarm, never = (1 - label) * flagged, np.asarray(threshold >= 1)
    odds = np.where(never, 0.0, threshold / np.where(never, 1.0, 1 - threshold))
    gained = np.asarray(weight @ (label * flagged - odds * alarm), float)
    worthless = np.asarray(weight @ (alarm * never)) > 0
    return _ratio(np.ones(()), weight.sum(-1)) * np.where(worthless, np.nan, gained)


Metric = Callable[[Array, Array, Array], Array]
ACCURACY_METRICS: dict[str, Metric] = {"brier": brier, "scaled_brier": scaled_brier, "log_loss": log_loss}
RISK_METRICS: dict[str, Metric] = {"auroc": auroc, "auprc": auprc, **ACCURACY_METRICS}
THRESHOLD_METRICS: dict[str, Metric] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
    "ppv": ppv,
    "npv": npv,
    "accuracy": accuracy,
    "alert_rate": alert_rate,
    "f1": f_beta,
    "f2": partial(f_beta, beta=2.0),
    "min_sensitivity_ppv": min_sensitivity_ppv,
}


def pooled(label: Array, risk: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Stays of one risk and outcome as one row, with the sum of their weights: every metric of this module stays what it is.

    A calibrated risk has few levels, a flag two. Where most stays have a risk of their own, they are returned as they are.
    """
    order = np.lexsort((label, risk))
    ranked, died = risk[order], label[order]
    starts = np.flatnonzero((np.diff(ranked, prepend=-np.inf) > 0) | (np.diff(died, prepend=-1.0) != 0))
    if len(starts) > len(risk) / 4:
        return label, risk, weight
    return died[starts], ranked[starts], np.add.reduceat(in_order(weight, order), starts, axis=-1)


def sorted_by(risk: Array) -> tuple[NDArray[np.intp], Array]:
    """The stays in rising order of risk, and their risks."""
    order = np.argsort(risk, kind="stable")
    return order, risk[order]


def in_order(weight: Array, order: NDArray[np.intp]) -> Array:
    """Weights (..., n) in an order of stays; not copied if they stand in it already."""
    return weight if (order[:-1] < order[1:]).all() else np.take(weight, order, axis=-1)


def _ratio(numerator: Array, denominator: Array) -> Array:
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
