"""Curves as points (x, y), for whoever draws them; and at given x for many weightings at once, for their bands.

Decision curve: Decision curve analysis (Vickers, Elkin, 2006).
"""

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from icu_lightning.evaluation.metrics import in_order
from icu_lightning.evaluation.reliability import equal_mass

Array = NDArray[np.float64]
Points = tuple[Array, Array]
THRESHOLDS = np.arange(1, 51) / 100  # of the decision curve, as far as alarms are given


def roc_curve(label: Array, risk: Array) -> Points:
    """1 - specificity and sensitivity at every threshold; no points with one class only."""
    if len(np.unique(label)) < 2:
        return np.empty(0), np.empty(0)
    false_positive, true_positive, _ = metrics.roc_curve(label, risk)
    return false_positive, true_positive


def pr_curve(label: Array, risk: Array) -> Points:
    """Sensitivity and positive predictive value at every threshold; no points without a death."""
    if not label.any():
        return np.empty(0), np.empty(0)
    precision, recall, _ = metrics.precision_recall_curve(label, risk)
    return recall[::-1], precision[::-1]


def pr_steps(label: Array, risk: Array) -> Points:
    """The precision-recall curve as steps: each precision over the recall gained with it, without the made-up start at (0, 1)."""
    recall, precision = (points[1:] for points in pr_curve(label, risk))
    return np.concatenate([[0.0], np.repeat(recall, 2)[:-1]]), np.repeat(precision, 2)


def decision_curve(label: Array, risk: Array) -> Points:
    """Net benefit of flagging at each of THRESHOLDS."""
    return THRESHOLDS, net_benefit_at(label, risk, np.ones(len(label)), THRESHOLDS)


def calibration_curve(label: Array, risk: Array, bins: int = 10) -> Points:
    """Mean risk and observed share of deaths in up to `bins` groups of equal size, from the lowest risk up.

    Stays of one risk are never parted, as in `reliability.ece`: the curve does not depend on their order.
    """
    order, starts = equal_mass(risk, bins)
    groups = np.split(order, starts[1:])
    return np.array([risk[g].mean() for g in groups]), np.array([label[g].mean() for g in groups])


# ---- of weights (R, n), as in metrics.py, at the same places for all -----------------------------------------------------


def sensitivity_at(label: Array, risk: Array, weight: Array, false_positives: Array) -> Array:
    """(R, G) of the ROC curves, straight between their points, at shares of survivors flagged (G,); NaN with one class only."""
    deaths, survivors = _flagged_from_above(label, risk, weight)
    rows = zip(survivors, deaths, strict=True)
    return np.stack([np.interp(false_positives, _share(lived), _share(died)) for lived, died in rows])


def ppv_at(label: Array, risk: Array, weight: Array, sensitivities: Array) -> Array:
    """(R, G) of the precision-recall curves as steps, at sensitivities (G,) above 0; NaN without a death."""
    deaths, survivors = _flagged_from_above(label, risk, weight)
    reached = np.stack([np.searchsorted(_share(row), sensitivities - 1e-12) for row in deaths])
    reached = np.minimum(reached, deaths.shape[1] - 1)
    died, lived = (np.take_along_axis(x, reached, axis=1) for x in (deaths, survivors))
    return np.divide(died, died + lived, out=np.full(died.shape, np.nan), where=deaths[:, -1:] > 0)


def net_benefit_at(label: Array, risk: Array, weight: Array, thresholds: Array) -> Array:
    """(R, G), or (G,) for weights (n,), of flagging at each threshold (G,) below 1: metrics.net_benefit at all of them at once."""
    worth = np.where(label[:, None] == 1, 1.0, -thresholds / (1 - thresholds))  # of an alarm: (n, G)
    gained, total = weight @ (worth * (risk[:, None] >= thresholds)), np.asarray(weight.sum(-1))[..., None]
    return np.divide(gained, total, out=np.full_like(gained, np.nan), where=total > 0)


def _flagged_from_above(label: Array, risk: Array, weight: Array) -> tuple[Array, Array]:
    """(R, 1 + K) deaths and survivors at or above each risk from the highest down, nobody first."""
    order = np.argsort(-risk, kind="stable")
    weight, died = in_order(np.atleast_2d(weight), order), label[order] == 1
    ends = np.flatnonzero(np.diff(risk[order], append=np.inf))  # the last stay of each risk
    nobody = np.zeros((len(weight), 1))
    deaths, everyone = (np.cumsum(x, axis=1)[:, ends] for x in (weight * died, weight))
    return np.hstack([nobody, deaths]), np.hstack([nobody, everyone - deaths])


def _share(cumulative: Array) -> Array:
    total = cumulative[-1]
    return cumulative / total if total > 0 else np.full_like(cumulative, np.nan)
