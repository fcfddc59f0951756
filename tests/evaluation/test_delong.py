"""DeLong's variance equals the double sum of the paper, and its coverage is what it says."""

import time

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from icu_lightning.evaluation import delong


def slow_covariance(label, risks):
    """Structural components by all pairs of a death and a survivor (DeLong et al., 1988)."""
    v10, v01 = [], []
    for risk in risks:
        died, lived = risk[label == 1], risk[label == 0]
        psi = (died[:, None] > lived[None]) + 0.5 * (died[:, None] == lived[None])
        v10.append(psi.mean(1))
        v01.append(psi.mean(0))
    return np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])


@pytest.mark.parametrize("decimals", [1, 8])
def test_it_is_the_papers_double_sum(decimals):
    rng = np.random.default_rng(0)
    label = (rng.random(150) < 0.3).astype(float)
    risks = (rng.random((3, 150)) + 0.4 * label).round(decimals)
    auroc, covariance = delong.auroc_covariance(label, risks)
    assert auroc == pytest.approx([roc_auc_score(label, risk) for risk in risks], abs=1e-12)
    assert covariance == pytest.approx(slow_covariance(label, risks), abs=1e-12)


def test_difference_of_two_models():
    rng = np.random.default_rng(1)
    label = (rng.random(400) < 0.3).astype(float)
    good, bad = rng.random(400) + label, rng.random(400) + 0.2 * label
    found = delong.difference(label, good, bad)
    covariance = slow_covariance(label, np.stack([good, bad]))
    sd = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.value == pytest.approx(roc_auc_score(label, good) - roc_auc_score(label, bad))
    assert found.p == pytest.approx(2 * norm.sf(found.value / sd))
    assert (found.low, found.high) == pytest.approx(
        (found.value - 1.959964 * sd, found.value + 1.959964 * sd), abs=1e-6
    )
    assert delong.difference(label, good, good) == (0, 0, 0, 1)
    assert delong.difference(label, bad, good).value == -found.value


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth = norm.cdf(1 / np.sqrt(2))  # of two unit normals one apart
    hits = 0
    for _ in range(400):
        label = np.repeat([0.0, 1.0], [120, 40])
        _, low, high = delong.interval(label, rng.normal(size=160) + label)
        hits += low <= truth <= high
    assert 0.90 <= hits / 400 <= 0.98


def test_too_few_of_a_class_have_no_variance():
    value, low, high = delong.interval(np.array([0, 0, 0, 1.0]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert np.isnan([value, low, high]).all()


def test_it_is_fast_enough_for_a_database():
    """200,000 predictions; all pairs would be 3.6 billion. No absolute time: n log n next to a sort."""
    rng = np.random.default_rng(0)
    label, risk = (rng.random(200_000) < 0.1).astype(float), rng.random(200_000)
    begun = time.perf_counter()
    for _ in range(3):
        np.sort(risk)
    sorting = time.perf_counter() - begun
    begun = time.perf_counter()
    delong.interval(label, risk)
    assert time.perf_counter() - begun < 200 * sorting
