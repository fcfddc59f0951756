"""Curves: their ends, and nothing where they are undefined."""

import numpy as np

from icu_lightning.evaluation.curves import calibration_curve, pr_curve, roc_curve

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
