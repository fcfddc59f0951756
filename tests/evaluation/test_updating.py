"""Recalibration on k labelled stays: who is drawn, what is found again, what cannot change."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, roc_auc_score

from icu_lightning.evaluation.calibration import Intercept, Isotonic, Platt
from icu_lightning.evaluation.updating import RECALIBRATORS, Stays, draw, judging, sizes, updated, with_flags


def stays(n: int, seed: int = 0, shift: float = 0.0, slope: float = 1.0, first: int = 0) -> Stays:
    """Perfect risks, bent: logit risk = (logit truth - shift) / slope, so shift and slope are what recalibration has to find."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-2, 1.2, n)
    label = (rng.random(n) < expit(x)).astype(float)
    return Stays(label, expit((x - shift) / slope), (first + np.arange(n) // 2).astype(str))


def test_the_judging_stays_share_no_patient_with_the_others_and_keep_deaths_on_both_sides():
    everyone = stays(400)
    judge = judging(everyone.label, everyone.patient_id, 0.5, seed=3)
    assert not set(everyone.patient_id[judge]) & set(everyone.patient_id[~judge])
    assert 0.4 < judge.mean() < 0.6
    assert abs(everyone.label[judge].sum() - everyone.label[~judge].sum()) < 0.3 * everyone.label.sum()
    assert np.array_equal(judge, judging(everyone.label, everyone.patient_id, 0.5, seed=3))
    order = np.random.default_rng(1).permutation(400)
    again = judging(everyone.label[order], everyone.patient_id[order], 0.5, seed=3)
    assert np.array_equal(again, judge[order]), "whatever the order of the stays"


def test_exactly_k_stays_are_drawn_whole_patients_first():
    patients = np.repeat([f"p{i}" for i in range(40)], 3)
    rows = draw(patients, 50, np.random.default_rng(0))
    assert len(rows) == len(set(rows)) == 50
    _, counts = np.unique(patients[rows], return_counts=True)
    assert sorted(counts)[:2] == [2, 3], "only the last patient may be cut"
    assert set(draw(patients, 120, np.random.default_rng(0))) == set(range(120))
    assert not np.array_equal(rows, draw(patients, 50, np.random.default_rng(1)))


def test_a_patient_on_both_sides_is_refused():
    with pytest.raises(ValueError, match="both sides"):
        updated(stays(40), stays(40), 0.1, [20], draws=1, n_replicates=0, seed=0)


def test_recalibration_finds_a_planted_shift_and_slope_again():
    pool, judges = stays(6000, 1, shift=0.9, slope=0.5), stays(6000, 2, shift=0.9, slope=0.5, first=10_000)
    once = np.ones(6000)
    before = with_flags(judges.label, judges.risk, 0.1, once)
    assert before["calibration_slope"] == pytest.approx(0.5, abs=0.04)
    assert before["calibration_intercept"] == pytest.approx(0.9, abs=0.12)
    after = {u.method: u for u in updated(pool, judges, 0.1, [6000], draws=9, n_replicates=0, seed=0)}
    assert [u.draws for u in after.values()] == [1, 1, 1], "all of them is drawn once"
    both = after["slope and intercept"].metrics
    assert both["calibration_slope"]["value"] == pytest.approx(1, abs=0.1)
    for name in RECALIBRATORS:
        assert after[name].metrics["calibration_in_the_large"]["value"] == pytest.approx(0, abs=0.12)
        assert after[name].metrics["observed_to_expected"]["value"] == pytest.approx(1, abs=0.1)
    assert both["brier"]["value"] < after["intercept"].metrics["brier"]["value"] < before["brier"]


def test_intercept_keeps_auroc_exactly_and_platt_too_isotonic_weakly():
    rng = np.random.default_rng(5)
    pool, judges = stays(300, 3, shift=1.0), stays(500, 4, shift=1.0, first=1000)
    judges = judges._replace(risk=np.concatenate([judges.risk[:-4], [0.0, 1e-9, 1 - 1e-9, 1.0]]))
    auroc = roc_auc_score(judges.label, judges.risk)
    found = updated(pool, judges, 0.1, [50, 200], draws=3, n_replicates=0, seed=0)
    for one in found:
        if one.method == "intercept":
            assert one.metrics["auroc"]["value"] == pytest.approx(auroc, abs=1e-15)
            assert one.metrics["auroc"]["sd"] == pytest.approx(0, abs=1e-15)
    for calibrator in (Intercept(), Platt(), Isotonic()):
        rows = rng.permutation(300)[:60]
        risk = calibrator.fit(pool.label[rows], pool.risk[rows]).transform(judges.risk)
        order = np.argsort(judges.risk, kind="stable")
        assert (np.diff(risk[order]) >= 0).all()


def test_intercept_is_a_logistic_regression_with_an_offset():
    statsmodels = pytest.importorskip("statsmodels.api")
    one = stays(400, 6, shift=-0.7)
    model = statsmodels.GLM(one.label, np.ones(400), family=statsmodels.families.Binomial(), offset=logit(one.risk))
    fitted = Intercept().fit(one.label, one.risk)
    assert fitted.c == pytest.approx(model.fit(tol=1e-12).params[0], abs=1e-7)
    assert fitted.transform(one.risk) == pytest.approx(expit(logit(one.risk) + fitted.c), abs=1e-12)
    ends = np.array([0.0, 1e-9, 1e-7, 5e-7, 1e-6, 1.5e-6, 3e-6, 0.5, 1 - 1e-6, 1 - 1e-8, 1.0])
    assert (np.diff(fitted.transform(ends)) > 0).all(), "no two risks become one"


def test_intercept_also_moves_risks_of_0_and_1():
    """A stored isotonic calibrator says both; a shift that left them alone would leave the mean risk where it was."""
    rng = np.random.default_rng(0)
    risk = rng.choice([0.0, 1.0], 2000)
    label = (rng.random(2000) < 0.2 + 0.1 * risk).astype(float)
    after = Intercept().fit(label, risk).transform(risk)
    assert after.mean() == pytest.approx(label.mean(), abs=1e-6)


def test_draws_that_teach_nothing_are_counted_and_values_are_means_over_draws():
    pool, judges = stays(200, 7), stays(300, 8, first=1000)
    rare = pool._replace(label=np.where(np.arange(200) < 2, 1.0, 0.0))
    found = {u.method: u for u in updated(rare, judges, 0.1, [20], draws=10, n_replicates=50, seed=0)}
    assert found["intercept"].unchanged > 0
    assert all(u.unchanged + u.flat <= 10 for u in found.values())
    values = []
    for i in range(10):
        rows = draw(rare.patient_id, 20, np.random.default_rng((0, 20, i)))
        values.append(
            brier_score_loss(judges.label, Isotonic().fit(rare.label[rows], rare.risk[rows]).transform(judges.risk))
        )
    cell = found["isotonic"].metrics["brier"]
    assert (cell["value"], cell["sd"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert cell["low"] < cell["value"] < cell["high"]


def test_the_same_seed_gives_the_same_numbers_and_more_stays_less_spread():
    pool, judges = stays(3000, 9, shift=0.8), stays(600, 10, shift=0.8, first=5000)
    first = updated(pool, judges, 0.1, [50, 1000], draws=10, n_replicates=20, seed=4)
    assert first == updated(pool, judges, 0.1, [50, 1000], draws=10, n_replicates=20, seed=4)
    few, many = (next(u for u in first if u.k == k and u.method == "slope and intercept") for k in (50, 1000))
    assert many.metrics["calibration_slope"]["sd"] < few.metrics["calibration_slope"]["sd"]


def test_k_without_room():
    assert sizes([200, 50, 50], 100) == ([50], [200])
    assert sizes([50], 20) == ([20], [50])
