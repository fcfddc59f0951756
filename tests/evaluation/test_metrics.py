"""Every metric equals scikit-learn's, weighted or not, with ties and without."""

import numpy as np
import pytest
from sklearn import metrics as reference

from icu_lightning.evaluation import metrics


@pytest.fixture(params=[0, 1, 2], ids=["ties", "no ties", "few levels"])
def case(request):
    rng = np.random.default_rng(request.param)
    label = (rng.random(300) < 0.2).astype(float)
    risk = [lambda r: r.round(2), lambda r: r, lambda r: (r * 4).round() / 4][request.param](rng.random(300))
    return label, risk, rng.integers(0, 4, (5, 300)).astype(float)


def scaled_brier(y, p, sample_weight=None):
    rate = np.full(len(y), np.average(y, weights=sample_weight))
    worst = reference.brier_score_loss(y, rate, sample_weight=sample_weight)
    return 1 - reference.brier_score_loss(y, p, sample_weight=sample_weight) / worst


def f_beta(beta):
    return lambda y, f, sample_weight=None: reference.fbeta_score(y, f, beta=beta, sample_weight=sample_weight)


RISK = {
    "auroc": reference.roc_auc_score,
    "auprc": reference.average_precision_score,
    "brier": reference.brier_score_loss,
    "scaled_brier": scaled_brier,
    "log_loss": reference.log_loss,
}
FLAG = {
    "sensitivity": reference.recall_score,
    "specificity": lambda y, f, sample_weight=None: reference.recall_score(1 - y, 1 - f, sample_weight=sample_weight),
    "ppv": reference.precision_score,
    "npv": lambda y, f, sample_weight=None: reference.precision_score(1 - y, 1 - f, sample_weight=sample_weight),
    "accuracy": reference.accuracy_score,
    "alert_rate": lambda y, f, sample_weight=None: np.average(f, weights=sample_weight),
    "f1": f_beta(1),
    "f2": f_beta(2),
    "min_sensitivity_ppv": lambda y, f, sample_weight=None: min(
        reference.recall_score(y, f, sample_weight=sample_weight),
        reference.precision_score(y, f, sample_weight=sample_weight),
    ),
}


@pytest.mark.parametrize("name", RISK)
def test_risk_metrics(case, name):
    label, risk, weights = case
    ours = metrics.RISK_METRICS[name]
    assert ours(label, risk, np.ones(300)) == pytest.approx(RISK[name](label, risk), abs=1e-12)
    assert ours(label, risk, weights) == pytest.approx(
        [RISK[name](label, risk, sample_weight=w) for w in weights], abs=1e-12
    )


@pytest.mark.parametrize("name", FLAG)
def test_threshold_metrics(case, name):
    label, risk, weights = case
    flagged = (risk >= 0.6).astype(float)
    ours = metrics.THRESHOLD_METRICS[name]
    assert ours(label, flagged, np.ones(300)) == pytest.approx(FLAG[name](label, flagged), abs=1e-12)
    assert ours(label, flagged, weights) == pytest.approx(
        [FLAG[name](label, flagged, sample_weight=w) for w in weights], abs=1e-12
    )


def test_every_metric_has_a_reference():
    assert set(metrics.RISK_METRICS) == set(RISK)
    assert set(metrics.THRESHOLD_METRICS) == set(FLAG)


def test_what_is_undefined_is_nan_and_not_a_number_somebody_could_print():
    alive, risk, once = np.zeros(4), np.array([0.1, 0.2, 0.2, 0.9]), np.ones(4)
    assert np.isnan(metrics.auroc(alive, risk, once))
    assert np.isnan(metrics.auprc(alive, risk, once))
    assert np.isnan(metrics.sensitivity(alive, risk > 0.5, once))
    assert np.isnan(metrics.ppv(alive, np.zeros(4), once))
    assert metrics.brier(alive, risk, once) == pytest.approx((0.01 + 0.04 + 0.04 + 0.81) / 4)


def test_constant_risks_rank_nobody():
    assert metrics.auroc(np.array([0.0, 1, 1, 0]), np.full(4, 0.3), np.ones(4)) == 0.5


def test_net_benefit_by_hand():
    """10 stays, 4 flagged at .2: 3 deaths found, 1 false alarm: 3/10 - 1/10 * .2/.8 = .275 (Vickers, Elkin, 2006)."""
    label = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0.0])
    flagged = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0.0])
    assert metrics.net_benefit(label, flagged, np.ones(10), 0.2) == pytest.approx(0.275)
    treat_all = metrics.net_benefit(label, np.ones(10), np.ones(10), 0.4)
    assert treat_all == pytest.approx(0, abs=1e-12), "flagging everybody is worth nothing at the death rate"
    assert metrics.net_benefit(label, np.zeros(10), np.ones((3, 10)), 0.9).tolist() == [0, 0, 0]
    assert np.isnan(metrics.net_benefit(label, flagged, np.ones(10), 1.0))


def test_pooling_stays_of_one_risk_changes_no_metric(case):
    label, risk, weights = case
    fifths = (risk * 5).round() / 5
    rows = metrics.pooled(label, fifths, weights)
    assert rows[0].shape == rows[1].shape == (rows[2].shape[1],)
    assert len(rows[0]) <= 12
    for metric in metrics.RISK_METRICS.values():
        assert metric(*rows) == pytest.approx(metric(label, fifths, weights), abs=1e-12)
    everybodys_own = np.arange(300) / 300
    assert metrics.pooled(label, everybodys_own, weights)[2] is weights
