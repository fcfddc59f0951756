"""Against statsmodels, which is an independent implementation, and what must hold whatever the numbers."""

import numpy as np
import pytest
from scipy.stats import chi2, t

from icu_lightning.evaluation.random_effects import random_effects


@pytest.mark.parametrize("seed", range(12))
def test_it_is_statsmodels(seed):
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 40))
    variance = rng.uniform(0.02, 0.6, k)
    estimate = rng.normal(1.2, np.sqrt(variance + 0.3 * (seed % 3)))
    reference = meta.combine_effects(estimate, variance, method_re="dl")
    ours = random_effects(estimate, variance)
    assert ours.q == pytest.approx(reference.q, abs=1e-9)
    assert ours.heterogeneity_p == pytest.approx(chi2.sf(reference.q, k - 1), abs=1e-9)
    assert ours.tau2 == pytest.approx(max(0, reference.tau2), abs=1e-9)
    if reference.tau2 < 0:  # statsmodels goes on with a negative variance
        assert ours.mean == pytest.approx(reference.mean_effect_fe, abs=1e-9)
        assert ours.se == pytest.approx(reference.sd_eff_w_fe * max(1, np.sqrt(reference.scale_hksj_fe)), abs=1e-9)
        assert ours.i2 == 0
    else:
        assert ours.mean == pytest.approx(reference.mean_effect_re, abs=1e-9)
        assert ours.i2 == pytest.approx(reference.i2, abs=1e-9)
        assert ours.se == pytest.approx(reference.sd_eff_w_re * max(1, np.sqrt(reference.scale_hksj_re)), abs=1e-9)
    half = t.ppf(0.975, k - 1) * ours.se
    assert (ours.low, ours.high) == pytest.approx((ours.mean - half, ours.mean + half))
    reach = t.ppf(0.975, k - 2) * np.sqrt(ours.tau2 + ours.se**2)
    assert (ours.prediction_low, ours.prediction_high) == pytest.approx((ours.mean - reach, ours.mean + reach))


def test_hospitals_that_agree_are_no_narrower_than_one_of_their_size():
    ours = random_effects(np.full(5, 0.4), np.full(5, 0.1))
    assert (ours.tau2, ours.i2, ours.q) == (0, 0, pytest.approx(0, abs=1e-12))
    assert ours.se == pytest.approx(np.sqrt(0.1 / 5))


@pytest.mark.parametrize(("k", "further"), [(12, 0.88), (40, 0.92)])
def test_intervals_cover_what_the_module_says(k, further):
    """The mean's 95 %; a further hospital's what is measured and said in the module: less with few hospitals."""
    rng = np.random.default_rng(0)
    mean_in = next_in = 0
    for _ in range(1500):
        variance = rng.uniform(0.05, 0.3, k)
        truth = rng.normal(0.5, 0.4, k + 1)
        found = random_effects(rng.normal(truth[:k], np.sqrt(variance)), variance)
        mean_in += found.low < 0.5 < found.high
        next_in += found.prediction_low < truth[k] < found.prediction_high
    assert mean_in / 1500 == pytest.approx(0.95, abs=0.015)
    assert next_in / 1500 == pytest.approx(further, abs=0.015)


def test_too_few_hospitals_tell_what_they_can():
    assert random_effects(np.empty(0), np.empty(0)).n == 0
    one = random_effects(np.array([0.3]), np.array([0.04]))
    assert (one.n, one.mean, one.se) == (1, 0.3, pytest.approx(0.2))
    assert np.isnan([one.low, one.tau2, one.prediction_low]).all()
    two = random_effects(np.array([0.3, 0.9]), np.array([0.04, 0.04]))
    assert np.isfinite([two.low, two.high, two.tau2]).all()
    assert np.isnan(two.prediction_low)
