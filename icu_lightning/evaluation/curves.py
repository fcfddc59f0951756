"""Curves as points (x, y), for whoever draws them."""

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from icu_lightning.evaluation.reliability import equal_mass

Array = NDArray[np.float64]
Points = tuple[Array, Array]


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


def calibration_curve(label: Array, risk: Array, bins: int = 10) -> Points:
    """Mean risk and observed share of deaths in up to `bins` groups of equal size, from the lowest risk up.

    Stays of one risk are never parted, as in `reliability.ece`: the curve does not depend on their order.
    """
    order, starts = equal_mass(risk, bins)
    groups = np.split(order, starts[1:])
    return np.array([risk[g].mean() for g in groups]), np.array([label[g].mean() for g in groups])
