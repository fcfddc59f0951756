"""Threshold rules: the best of all, found by brute force; bounds kept; mistakes told."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from icu_lightning.errors import UserError
from icu_lightning.evaluation import metrics
from icu_lightning.evaluation.thresholds import RULES, threshold_rule


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    risk = rng.random(120).round(1 if seed % 2 else 4)
    label = (rng.random(120) < risk).astype(float)
    best = max(f1_score(label, risk >= t) for t in np.unique(risk))
    assert f1_score(label, risk >= threshold_rule("f1")(label, risk)) == pytest.approx(best)


def test_flagging_everybody_can_be_best_and_needs_a_threshold_below_all():
    threshold = threshold_rule("f1")(np.array([1.0, 1, 0]), np.array([0.2, 0.4, 0.3]))
    assert 0 < threshold < 0.2


def test_without_deaths_there_is_nothing_to_choose():
    assert threshold_rule("f1")(np.zeros(3), np.array([0.1, 0.2, 0.3])) == 0.5


def case(seed=0):
    rng = np.random.default_rng(seed)
    risk = rng.random(200).round(2)
    return (rng.random(200) < risk**2).astype(float), risk


@pytest.mark.parametrize("seed", range(4))
def test_youden_is_the_best_sum_of_sensitivity_and_specificity(seed):
    label, risk = case(seed)
    once = np.ones(200)

    def worth(t):
        flagged = (risk >= t).astype(float)
        return metrics.sensitivity(label, flagged, once) + metrics.specificity(label, flagged, once)

    assert worth(threshold_rule("youden")(label, risk)) == pytest.approx(max(worth(t) for t in np.unique(risk)))


@pytest.mark.parametrize("wanted", [0.1, 0.5, 0.8, 0.99])
def test_a_fixed_sensitivity_is_reached_with_the_highest_threshold(wanted):
    label, risk = case()
    threshold = threshold_rule({"sensitivity": wanted})(label, risk)
    assert label[risk >= threshold].sum() / label.sum() >= wanted
    above = risk[risk >= threshold].min()
    assert label[risk > above].sum() / label.sum() < wanted


@pytest.mark.parametrize("most", [0.05, 0.1, 0.5])
def test_a_fixed_alert_rate_is_kept_and_used(most):
    label, risk = case()
    threshold = threshold_rule({"alert_rate": most})(label, risk)
    assert (risk >= threshold).mean() <= most
    assert (risk >= risk[risk < threshold].max()).mean() > most


def test_an_alert_rate_that_even_the_highest_risk_exceeds_flags_nobody():
    threshold = threshold_rule({"alert_rate": 0.1})(np.array([0, 1, 1.0]), np.full(3, 0.7))
    assert not (np.full(3, 0.7) >= threshold).any()


def test_net_benefit_is_the_worth_itself():
    assert threshold_rule({"net_benefit": 0.2})(*case()) == 0.2


@pytest.mark.parametrize("rule", ["f1", "youden", {"sensitivity": 0.8}])
@pytest.mark.parametrize("label", [np.zeros(3), np.ones(3)])
def test_one_class_never_crashes(rule, label):
    assert 0 <= threshold_rule(rule)(label, np.array([0.1, 0.2, 0.3])) <= 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("f2", "Known: alert_rate, f1"),
        ("sensitivity", r"takes a value: 'threshold=\{sensitivity: 0.8\}'"),
        ({"f1": 0.5}, "takes no value"),
        ({"sensitivity": 80}, "between 0 and 1; it is 80"),
        ({"alert_rate": "many"}, "between 0 and 1; it is many"),
        ({"alert_rate": 0.1, "f1": 1}, "rule's name"),
        (0.5, "rule's name"),
    ],
)
def test_mistakes_are_told(rule, message):
    with pytest.raises(UserError, match=message):
        threshold_rule(rule)


def test_every_rule_is_documented():
    assert all(rule.__doc__ for rule in RULES.values())
