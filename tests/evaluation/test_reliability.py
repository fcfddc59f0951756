"""Calibration statistics equal those of independent solvers; what has no finite answer is NaN."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from icu_lightning.evaluation import reliability

RNG = np.random.default_rng(3)
X = RNG.normal(size=500)
RISK = expit(1.6 * X - 1.5)
LABEL = (RNG.random(500) < expit(X - 1)).astype(float)
WEIGHTS = RNG.integers(0, 4, (6, 500)).astype(float)
FEW_LEVELS = (RISK * 5).round() / 5  # with risks of exactly 0 and 1, as isotonic regression gives them


@pytest.mark.parametrize("risk", [RISK, FEW_LEVELS, RISK.round(2)], ids=["continuous", "0 to 1 in fifths", "ties"])
def test_slope_and_intercept_are_those_of_an_unpenalised_logistic_regression(risk):
    slopes, intercepts = reliability.slope_and_intercept(LABEL, risk, WEIGHTS)
    for weight, slope, intercept in zip(WEIGHTS, slopes, intercepts, strict=True):
        fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000)
        fitted.fit(reliability.logit(risk)[:, None], LABEL, sample_weight=weight)
        assert slope == pytest.approx(fitted.coef_[0, 0], abs=1e-5)
        assert intercept == pytest.approx(fitted.intercept_[0], abs=1e-5)
        assert reliability.slope(LABEL, risk, weight) == pytest.approx(slope, abs=1e-9)
        assert reliability.intercept(LABEL, risk, weight) == pytest.approx(intercept, abs=1e-9)


@pytest.mark.parametrize("risk", [RISK, FEW_LEVELS])
def test_calibration_in_the_large_brings_the_sum_of_risks_to_the_deaths(risk):
    for weight in WEIGHTS:
        answer = brentq(lambda a, w=weight: w @ (LABEL - expit(reliability.logit(risk) + a)), -20, 20, xtol=1e-12)
        assert reliability.in_the_large(LABEL, risk, weight) == pytest.approx(answer, abs=1e-8)
    assert reliability.in_the_large(LABEL, risk, WEIGHTS).shape == (6,)


def test_perfect_risks_have_slope_one_and_intercept_zero():
    x = np.random.default_rng(0).normal(size=200_000)
    label = (np.random.default_rng(1).random(200_000) < expit(x)).astype(float)
    once = np.ones(200_000)
    assert reliability.slope(label, expit(x), once) == pytest.approx(1, abs=0.02)
    assert reliability.in_the_large(label, expit(x), once) == pytest.approx(0, abs=0.02)
    assert reliability.slope(label, expit(2 * x), once) == pytest.approx(0.5, abs=0.01), "too extreme"
    assert reliability.observed_to_expected(label, expit(x), once) == pytest.approx(1, abs=0.01)
    assert reliability.ece(label, expit(x), once) < 0.01


@pytest.mark.parametrize(
    ("label", "risk"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),  # separated: the slope grows without end
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3]),  # constant
        ([0, 0, 0, 0], [0.1, 0.2, 0.8, 0.9]),  # one class
    ],
)
def test_without_a_finite_answer_there_is_none(label, risk):
    case = np.array(label, float), np.array(risk), np.ones(4)
    assert np.isnan(reliability.slope(*case))
    assert np.isnan(reliability.intercept(*case))


def test_one_class_has_no_calibration_in_the_large_but_constant_risks_have():
    assert np.isnan(reliability.in_the_large(np.zeros(4), np.full(4, 0.3), np.ones(4)))
    half = reliability.in_the_large(np.array([0, 1, 0, 1.0]), np.full(4, 0.3), np.ones(4))
    assert half == pytest.approx(-reliability.logit(np.array(0.3)))


def test_ece_by_hand_and_whatever_the_order():
    """20 stays in ten groups of two: one group says .9 and neither dies, the others are right on the mark."""
    risk = np.repeat([0, 0, 0, 0, 0, 0, 0, 1, 1, 0.9], 2) + np.tile([0, 1e-9], 10)
    label = np.repeat([0, 0, 0, 0, 0, 0, 0, 1, 1, 0.0], 2)
    expected = 2 * 0.9 / 20
    order = np.random.default_rng(0).permutation(20)
    assert reliability.ece(label, risk, np.ones(20)) == pytest.approx(expected, abs=1e-8)
    assert reliability.ece(label[order], risk[order], np.ones(20)) == pytest.approx(expected, abs=1e-8)
    tied = FEW_LEVELS[RNG.permutation(500)]
    assert reliability.ece(LABEL, FEW_LEVELS, np.ones(500)) == pytest.approx(
        reliability.ece(LABEL[::-1], FEW_LEVELS[::-1], np.ones(500)), abs=1e-12
    )
    assert tied.size == 500


def test_many_weightings_of_many_risks_are_condensed_without_loss():
    """4,000 different logits become some dozens of nodes; every weighting's answer is the one it has alone, from the stays."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=4000) * 2 - 2
    label = (rng.random(4000) < expit(0.7 * x)).astype(float)
    weights = rng.multinomial(4000, np.full(4000, 1 / 4000), 20).astype(float)
    weights[3], weights[4] = label, 1 - label  # one class only
    terms = reliability._levels(label, reliability.logit(expit(x)), weights)
    assert len(reliability._condensed(terms, 1.5).x) < 200
    together = reliability.recalibration(label, expit(x), weights)
    alone = [reliability.recalibration(label, expit(x), weight) for weight in weights]
    assert pytest.approx(np.array(alone), abs=1e-9, nan_ok=True) == np.array(together).T
    assert np.isnan(np.array(together)[:, 3:5]).all()


def test_weightings_far_from_the_others_are_done_with_the_stays_themselves():
    """Ten weightings with a slope near zero and one with a slope of five, for which the nodes are too few."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=3000)
    label = (rng.random(3000) < 0.3).astype(float)
    steep = np.where((rng.random(3000) < expit(5 * x)) == (label == 1), 1.0, 0.0)
    weights = np.concatenate([rng.integers(1, 4, (10, 3000)).astype(float), steep[None]])
    slopes = reliability.slope(label, expit(x), weights)
    assert slopes[-1] > 3
    alone = reliability.slope(label, expit(x), steep)
    assert slopes[-1] == pytest.approx(alone, abs=1e-9)
