"""Calibrators: fitted on validation, monotone, restored from plain values."""

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from icu_lightning.build import built
from icu_lightning.evaluation import metrics, reliability
from icu_lightning.evaluation.calibration import (
    AfterPrior,
    Beta,
    Identity,
    Isotonic,
    Platt,
    Temperature,
    load,
    prior_corrected,
)
from tests.conftest import CONF, composed

CALIBRATIONS = sorted(path.stem for path in (CONF / "calibration").glob("*.yaml"))
RNG = np.random.default_rng(0)
RISK = RNG.random(500)
LABEL = (RNG.random(500) < RISK**2).astype(float)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_it_is_monotone_bounded_and_restored_from_json(name):
    calibrator = built(composed(f"calibration={name}").plain["calibration"]).fit(LABEL, RISK)
    grid = np.linspace(-0.1, 1.1, 200)
    risk = calibrator.transform(grid.clip(0, 1))
    assert (np.diff(risk) >= 0).all()
    assert ((risk >= 0) & (risk <= 1)).all()
    assert np.array_equal(load(json.loads(json.dumps(calibrator.state()))).transform(grid.clip(0, 1)), risk)


def test_isotonic_is_scikit_learns_also_outside_of_what_it_saw():
    reference = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(RISK, LABEL)
    grid = np.linspace(0, 1, 300)
    assert Isotonic().fit(LABEL, RISK).transform(grid) == pytest.approx(reference.predict(grid), abs=1e-12)


@pytest.mark.parametrize("name", CALIBRATIONS)
@pytest.mark.parametrize("label", [np.zeros(500), np.ones(500)], ids=["survivors", "deaths"])
def test_with_one_class_nothing_changes(name, label):
    calibrator = built(composed(f"calibration={name}").plain["calibration"]).fit(label, RISK)
    assert calibrator.transform(RISK) == pytest.approx(RISK, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in CALIBRATIONS if name != "none"])
def test_it_brings_bent_risks_back(name):
    """Risks that are too extreme, as a focal loss leaves them; temperature alone cannot shift, and has nothing to shift here."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=20_000)
    label, bent = (rng.random(20_000) < expit(x)).astype(float), expit(2.5 * x)
    calibrator = built(composed(f"calibration={name}").plain["calibration"]).fit(label[:10_000], bent[:10_000])
    risk, once = calibrator.transform(bent[10_000:]), np.ones(10_000)
    assert reliability.slope(label[10_000:], bent[10_000:], once) == pytest.approx(0.4, abs=0.05)
    assert reliability.slope(label[10_000:], risk, once) == pytest.approx(1, abs=0.12)
    assert np.abs(risk - expit(x[10_000:])).mean() < 0.03


@pytest.mark.parametrize("kind", [Isotonic, Beta, Platt, Temperature])
def test_an_unfitted_calibrator_is_refused(kind):
    with pytest.raises(RuntimeError, match="has not seen validation"):
        kind().transform(RISK)


def test_platt_is_an_unpenalised_logistic_regression():
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(reliability.logit(RISK)[:, None], LABEL)
    expected = fitted.predict_proba(reliability.logit(RISK)[:, None])[:, 1]
    assert Platt().fit(LABEL, RISK).transform(RISK) == pytest.approx(expected, abs=1e-5)


def test_beta_has_platt_and_temperature_inside():
    def log_loss(calibrator):
        return metrics.log_loss(LABEL, calibrator.fit(LABEL, RISK).transform(RISK), np.ones(500))

    assert log_loss(Beta()) <= log_loss(Platt()) + 1e-9 <= log_loss(Temperature()) + 2e-9


def test_a_model_that_ranks_the_wrong_way_round_is_not_turned_around():
    assert Platt().fit(1 - LABEL, RISK).transform(RISK) == pytest.approx((1 - LABEL).mean())


def test_separated_validation_stays_have_no_platt():
    risk = np.array([0.1, 0.2, 0.8, 0.9])
    assert Platt().fit(np.array([0, 0, 1, 1.0]), risk).transform(risk) == pytest.approx(risk)


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.05])
def test_perfect_risks_of_undersampled_training_are_perfect_again(kept):
    """A model that is right about training stays of which a share of the survivors was kept; mean risk, slope and intercept of all."""
    rng = np.random.default_rng(2)
    x = rng.normal(-2.5, 1.2, 200_000)
    label = (rng.random(x.size) < expit(x)).astype(float)
    bent = expit(x - np.log(kept))  # Bayes: of the kept stays, this share died at x
    some = (label == 1) | (rng.random(x.size) < kept)
    assert bent[some].mean() == pytest.approx(label[some].mean(), abs=0.01), "they are what such training learns"
    risk, once = prior_corrected(bent, kept), np.ones(x.size)
    assert risk == pytest.approx(expit(x), abs=1e-12)
    assert risk.mean() == pytest.approx(label.mean(), abs=0.003)
    assert reliability.slope(label, risk, once) == pytest.approx(1, abs=0.02)
    assert reliability.in_the_large(label, risk, once) == pytest.approx(0, abs=0.03)


def test_the_prior_correction_is_saerens_and_elkans_formula():
    """By Saerens' ratio of priors, which is written differently; and twice by halves is once by a quarter."""
    deaths, survivors, kept = 786, 4814, 786
    true, seen = deaths / (deaths + survivors), deaths / (deaths + kept)
    top, bottom = true / seen * RISK, (1 - true) / (1 - seen) * (1 - RISK)
    assert prior_corrected(RISK, kept / survivors) == pytest.approx(top / (top + bottom), rel=1e-12)
    elkan = true * (RISK - RISK * seen) / (seen - RISK * seen + true * RISK - true * seen)
    assert prior_corrected(RISK, kept / survivors) == pytest.approx(elkan, rel=1e-12)
    assert prior_corrected(prior_corrected(RISK, 0.5), 0.5) == pytest.approx(prior_corrected(RISK, 0.25), rel=1e-12)


def test_the_prior_correction_keeps_order_bounds_and_what_needs_none():
    edges = np.concatenate([[0.0, 1e-300], np.sort(RISK), [1 - 1e-16, 1.0]])
    for odds in (1e-6, 0.3, 0.999):
        risk = prior_corrected(edges, odds)
        assert (np.diff(risk) >= 0).all()
        assert (risk[0], risk[-1]) == (0, 1)
        assert (risk <= edges).all()
    assert np.array_equal(prior_corrected(edges, 1.0), edges)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_after_a_prior_a_calibrator_is_fitted_on_corrected_risks_and_restored(name):
    def made():
        return built(composed(f"calibration={name}").plain["calibration"])

    after = AfterPrior(0.2, made()).fit(LABEL, RISK)
    corrected = prior_corrected(RISK, 0.2)
    assert np.array_equal(after.transform(RISK), made().fit(LABEL, corrected).transform(corrected))
    assert np.array_equal(load(json.loads(json.dumps(after.state()))).transform(RISK), after.transform(RISK))
    nothing = AfterPrior(1.0, made()).fit(LABEL, RISK)
    assert np.array_equal(nothing.transform(RISK), made().fit(LABEL, RISK).transform(RISK))


def test_without_a_calibrator_the_risk_is_the_prior_corrected_score():
    assert np.array_equal(AfterPrior(0.2, Identity()).fit(LABEL, RISK).transform(RISK), prior_corrected(RISK, 0.2))
