"""Calibrators: fitted on validation, monotone, restored from plain values."""

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from icu_lightning.build import built
from icu_lightning.evaluation.calibration import Isotonic, load
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


def test_isotonic_with_one_class_changes_nothing():
    assert Isotonic().fit(np.zeros(500), RISK).transform(RISK) == pytest.approx(RISK)


def test_an_unfitted_calibrator_is_refused():
    with pytest.raises(RuntimeError, match="has not seen validation"):
        Isotonic().transform(RISK)
