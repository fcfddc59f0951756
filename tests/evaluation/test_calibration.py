"""Calibrators: fitted on validation, monotone, restored from plain values."""

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from icu_lightning.build import built
from icu_lightning.evaluation import metrics, reliability
from icu_lightning.evaluation.calibration import Beta, Isotonic, Platt, Temperature, load
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
