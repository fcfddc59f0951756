"""The smooth calibration curve is statsmodels' lowess, weighted or not; ends, ties and what has no line."""

import numpy as np
import pytest
from statsmodels.nonparametric.smoothers_lowess import lowess

from icu_lightning.evaluation.smooth import POINTS, SPAN, risks_of_curve, smooth_calibration

RNG = np.random.default_rng(0)
RISK = RNG.random(300) ** 2
LABEL = (RNG.random(300) < RISK).astype(float)
WEIGHTS = RNG.integers(0, 3, (4, 300)).astype(float)


@pytest.mark.parametrize("decimals", [9, 2, 1], ids=["no ties", "ties", "few levels"])
def test_it_is_statsmodels_lowess_and_every_weighting_is_its_own(decimals):
    risk = RISK.round(decimals)
    at = risks_of_curve(risk)
    assert (len(at), at[0], at[-1]) == (POINTS, risk.min(), risk.max())
    reference = lowess(LABEL, risk, frac=SPAN, it=0, delta=0, xvals=at)
    assert smooth_calibration(LABEL, risk, np.ones(300), at) == pytest.approx(reference.clip(0, 1), abs=1e-9)
    together = smooth_calibration(LABEL, risk, WEIGHTS, at)
    alone = [smooth_calibration(LABEL, risk, weight, at) for weight in WEIGHTS]
    assert together == pytest.approx(np.array(alone), abs=1e-12)
    shuffled = RNG.permutation(300)
    assert smooth_calibration(LABEL[shuffled], risk[shuffled], WEIGHTS[:, shuffled], at) == pytest.approx(together)


def test_a_weight_is_how_often_a_stay_counts():
    """Where the nearest are the same ones, a stay of weight two is a stay that is there twice."""
    at = np.array([0.3])
    near = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    died = np.array([0.0, 1, 0, 1, 1])
    twice = smooth_calibration(died, near, np.full(5, 2.0), at)
    assert twice == pytest.approx(smooth_calibration(died, near, np.ones(5), at))


def test_calibrated_risks_lie_on_the_diagonal_and_bent_ones_do_not():
    rng = np.random.default_rng(1)
    risk = rng.random(50_000)
    label = (rng.random(50_000) < risk).astype(float)
    at, once = risks_of_curve(risk), np.ones(50_000)
    assert np.abs(smooth_calibration(label, risk, once, at) - at).max() < 0.03
    half = risk / 2
    assert smooth_calibration(label, half, once, np.array([0.25])) == pytest.approx(0.5, abs=0.02)


def test_one_risk_one_class_and_nobody():
    once = np.ones(4)
    constant = np.full(4, 0.3)
    at = risks_of_curve(constant)
    assert at.tolist() == [0.3]
    assert smooth_calibration(np.array([0, 1.0, 1, 1]), constant, once, at) == pytest.approx([0.75])
    alive = smooth_calibration(np.zeros(300), RISK, WEIGHTS, risks_of_curve(RISK))
    assert (alive == 0).all()
    assert np.isnan(smooth_calibration(LABEL, RISK, np.zeros((1, 300)), np.array([0.5]))).all()
    mostly_one_risk = np.array([0.1] * 9 + [0.9])
    label = np.array([0.0] * 6 + [1.0] * 4)
    curve = smooth_calibration(label, mostly_one_risk, np.ones(10), np.array([0.1, 0.5, 0.9]))
    assert curve[0] == pytest.approx(1 / 3), "three in four lie on one risk: there is no line, only their share"
    assert np.isnan(curve[1]), "between the risks all of those stays are at the edge, where weights are nothing"
    assert curve[2] == 1
