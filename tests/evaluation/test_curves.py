"""Curves: their ends, and nothing where they are undefined."""

import numpy as np
import pytest
from sklearn import metrics as reference

from icu_lightning.evaluation import curves
from icu_lightning.evaluation.curves import calibration_curve, pr_curve, pr_steps, roc_curve

RNG = np.random.default_rng(0)
RISK = RNG.random(1000)
LABEL = (RNG.random(1000) < RISK).astype(float)


def test_ends_and_direction():
    x, y = roc_curve(LABEL, RISK)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    recall, precision = pr_curve(LABEL, RISK)
    assert (recall[0], recall[-1]) == (0, 1)
    assert precision[-1] == LABEL.mean()


def test_calibrated_risks_lie_on_the_diagonal_in_groups_of_equal_size():
    predicted, seen = calibration_curve(LABEL, RISK)
    assert len(predicted) == 10
    assert np.abs(predicted - seen).max() < 0.12
    assert len(calibration_curve(LABEL[:4], RISK[:4])[0]) == 4


def test_one_class_has_no_curve():
    assert roc_curve(np.zeros(4), RISK[:4])[0].size == 0
    assert pr_curve(np.zeros(4), RISK[:4])[0].size == 0


def test_the_area_under_the_steps_is_average_precision():
    recall, precision = pr_steps(LABEL, RISK)
    assert (np.diff(recall) * precision[1:]).sum() == pytest.approx(reference.average_precision_score(LABEL, RISK))


GRID = np.linspace(0, 1, 21)
WEIGHTS = RNG.integers(0, 4, (3, 1000)).astype(float)


@pytest.mark.parametrize("decimals", [9, 1], ids=["no ties", "ties"])
def test_weighted_curves_are_scikit_learns_at_the_same_places(decimals):
    risk = RISK.round(decimals)
    sensitivity = curves.sensitivity_at(LABEL, risk, WEIGHTS, GRID)
    precision = curves.ppv_at(LABEL, risk, WEIGHTS, GRID[1:])
    for row, weight in enumerate(WEIGHTS):
        fpr, tpr, _ = reference.roc_curve(LABEL, risk, sample_weight=weight)
        assert sensitivity[row] == pytest.approx(np.interp(GRID, fpr, tpr), abs=1e-9)
        ppv, recall, _ = reference.precision_recall_curve(LABEL, risk, sample_weight=weight)
        steps = [ppv[:-1][recall[:-1] >= r - 1e-12][-1] for r in GRID[1:]]
        assert precision[row] == pytest.approx(steps, abs=1e-9)


def test_weighted_curves_of_one_class_or_of_one_risk():
    alive, constant = np.zeros(1000), np.full(1000, 0.3)
    assert np.isnan(curves.sensitivity_at(alive, RISK, WEIGHTS, GRID)).all()
    assert np.isnan(curves.ppv_at(alive, RISK, WEIGHTS, GRID[1:])).all()
    assert curves.sensitivity_at(LABEL, constant, WEIGHTS, GRID) == pytest.approx(np.tile(GRID, (3, 1)))
    rates = WEIGHTS @ LABEL / WEIGHTS.sum(1)
    assert curves.ppv_at(LABEL, constant, WEIGHTS, GRID[1:]) == pytest.approx(np.repeat(rates[:, None], 20, axis=1))
    assert curves.net_benefit_at(alive, RISK, WEIGHTS, np.array([0.2])).shape == (3, 1)
