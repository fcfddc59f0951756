"""Balanced metrics against scikit-learn's on stays that are in fact balanced by repeating them."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_score, roc_auc_score

from icu_lightning.evaluation.balanced import balanced, of_balanced
from icu_lightning.evaluation.metrics import auroc


@pytest.fixture
def stays():
    """20 deaths, 100 survivors: five times as many, so deaths repeated five times are a balanced set."""
    rng = np.random.default_rng(0)
    label = np.repeat([1.0, 0.0], [20, 100])
    risk = np.clip(0.3 * label + rng.normal(0.3, 0.2, size=120), 0, 1).round(2)
    return label, risk, np.arange(120)


def test_they_are_those_of_a_balanced_set(stays):
    label, risk, patients = stays
    repeats = np.where(label == 1, 5, 1)
    died, score = label.repeat(repeats), risk.repeat(repeats)
    flagged = score >= 0.5
    found = of_balanced(label, risk, np.full(120, 0.5), patients, n_replicates=20, seed=0)
    expected = {
        "auroc": roc_auc_score(died, score),
        "auprc": average_precision_score(died, score),
        "ppv": precision_score(died, flagged),
        "accuracy": accuracy_score(died, flagged),
        "f1": f1_score(died, flagged),
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected)
    assert all(cell["low"] <= cell["value"] <= cell["high"] for cell in found.values())


def test_every_resample_is_balanced_anew(stays):
    label, risk, _ = stays
    weight = np.random.default_rng(1).multinomial(120, np.full(120, 1 / 120), size=7).astype(float)
    even = balanced(label, weight)
    assert even @ label == pytest.approx(even @ (1 - label))
    assert auroc(label, risk, even) == pytest.approx(auroc(label, risk, weight)), "it does not depend on how many died"


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_of_one_outcome_there_is_nothing_to_balance(outcome):
    same = np.full(9, outcome)
    assert of_balanced(same, np.linspace(0, 1, 9), np.full(9, 0.5), np.arange(9), 5, 0) is None
    assert not balanced(np.ones(3), np.ones(3)).any()
