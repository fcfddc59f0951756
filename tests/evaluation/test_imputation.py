"""Imputation metrics against their definitions, by brute force."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.evaluation.bootstrap import patient_weights, percentile_interval
from icu_lightning.evaluation.imputation import (
    LEVELS,
    coverage,
    crps,
    evaluate_imputations,
    imputation_metrics,
    patient_errors,
    quantile_crps,
)


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return rng.normal(size=40), rng.normal(size=(15, 40))


def test_crps_is_its_double_mean(cells):
    truth, draws = cells
    for n in range(len(truth)):
        x = draws[:, n]
        expected = np.abs(x - truth[n]).mean() - np.abs(x[:, None] - x[None, :]).mean() / 2
        assert crps(truth, draws)[n] == pytest.approx(expected)


def test_crps_of_one_draw_is_its_absolute_error(cells):
    truth, draws = cells
    assert crps(truth, draws[:1]) == pytest.approx(np.abs(draws[0] - truth))


def test_crps_of_many_normal_draws_is_the_normals():
    """At 0, of N(0, 1): (sqrt(2) - 1) / sqrt(pi)."""
    draws = np.random.default_rng(0).normal(size=(100_000, 1))
    assert crps(np.zeros(1), draws)[0] == pytest.approx((np.sqrt(2) - 1) / np.sqrt(np.pi), abs=0.002)


def test_csdis_crps_is_twice_the_pinball_loss_over_the_size_of_the_truth(cells):
    truth, draws = cells
    total = 0.0
    for q in LEVELS:
        estimate = np.quantile(draws, q, axis=0)
        total += (2 * np.abs((estimate - truth) * ((truth <= estimate) - q))).sum() / np.abs(truth).sum()
    assert len(LEVELS) == 19
    assert quantile_crps(truth, draws) == pytest.approx(total / 19)


def test_coverage_of_calibrated_draws():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    assert coverage(truth, rng.normal(size=(1000, 4000))) == pytest.approx(0.9, abs=0.02)
    assert coverage(truth, rng.normal(size=(10, 4000))) == pytest.approx(0.76, abs=0.03), "METHODS B.4"


def test_metrics_are_of_the_median_and_over_all_cells(cells):
    truth, draws = cells
    metrics = imputation_metrics(truth, draws)
    error = np.median(draws, axis=0) - truth
    assert metrics["mae"] == pytest.approx(np.abs(error).mean())
    assert metrics["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert metrics["rmse"] >= metrics["mae"]


def test_what_cannot_be_known_is_none(cells):
    truth, draws = cells
    single = imputation_metrics(truth, draws[:1])
    assert (single["coverage90"], single["crps_19"]) == (None, None)
    assert single["crps"] == pytest.approx(single["mae"])
    assert set(imputation_metrics(truth[:0], draws[:, :0]).values()) == {None}
    with pytest.raises(ValueError, match="must be"):
        imputation_metrics(truth, draws.T)


def test_the_errors_of_patients_make_the_metrics_and_their_intervals():
    """On the same resamples, so that two models can be paired."""
    rng = np.random.default_rng(0)
    n = 300
    table = pl.DataFrame(
        {
            "stay_id": rng.integers(0, 50, n),
            "patient_id": [f"p{i}" for i in rng.integers(0, 30, n)],
            "rate": np.repeat([0.1, 0.5], n // 2),
            "truth": rng.normal(size=n),
            "draws": rng.normal(size=(n, 5)),
        },
        schema_overrides={"draws": pl.Array(pl.Float64, 5)},
    )
    whole = evaluate_imputations(table, 50, seed=3)
    for rate, own in patient_errors(table).items():
        alone = own.errors(np.ones((1, len(own.patients))))
        drawn = [own.errors(weight) for weight in patient_weights(own.patients, 50, 3)]
        for name in ("mae", "rmse"):
            assert alone[name][0] == pytest.approx(whole[rate][name]["value"])
            ends = percentile_interval(np.concatenate([chunk[name] for chunk in drawn]))
            assert ends == pytest.approx((whole[rate][name]["low"], whole[rate][name]["high"]))
    assert set(whole) == {"0.1", "0.5"}
