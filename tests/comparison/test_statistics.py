"""Differences equal brute force over the same resamples; DeLong's contrast, Holm's correction, seeds."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from icu_lightning.comparison.runs import models
from icu_lightning.comparison.statistics import METRICS, _differences, auroc_of_folds, bootstrap_p, compare, holm
from icu_lightning.evaluation import delong
from icu_lightning.evaluation.bootstrap import patient_weights
from tests.comparison.conftest import table


@pytest.fixture
def two_models(make_run):
    """Two seeds of a better model, and one of a worse."""
    runs = [make_run(f"s{seed}", table(1.5, noise=seed + 1), seed=seed) for seed in (0, 1)]
    return models([*runs, make_run("lr", table(0.5, noise=9), names__model="logistic_regression")])


@pytest.mark.parametrize(
    ("name", "reference"),
    [("auroc", roc_auc_score), ("auprc", average_precision_score), ("brier", brier_score_loss)],
)
def test_values_and_paired_intervals_equal_brute_force(name, reference, two_models):
    result = compare(two_models, 60, seed=3)
    label = two_models[0].runs[0].label
    patients = two_models[0].runs[0].test["patient_id"].to_numpy()
    better, worse = two_models[0].risks, two_models[1].risks[0]

    def at(weight):
        own = [reference(label, risk, sample_weight=weight) for risk in better]
        return np.mean(own), reference(label, worse, sample_weight=weight)

    first, second = at(np.ones(len(label)))
    assert result.summaries[0].metrics[name].value == pytest.approx(first, abs=1e-9)
    assert result.summaries[1].metrics[name].value == pytest.approx(second, abs=1e-9)
    weights = np.concatenate(list(patient_weights(patients, 60, 3)))
    drawn = np.array([at(weight) for weight in weights])
    differences = drawn[:, 0] - drawn[:, 1]
    found = next(d for d in result.differences if d.metric == name)
    assert found.estimate.value == pytest.approx(first - second, abs=1e-9)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(
        np.quantile(differences, [0.025, 0.975]), abs=1e-9
    )
    assert found.p == pytest.approx(bootstrap_p(differences))
    seeds = [reference(label, risk) for risk in better]
    assert result.summaries[0].sd[name] == pytest.approx(np.std(seeds, ddof=1), abs=1e-9)
    assert result.summaries[1].sd[name] is None


def test_the_auroc_of_own_risks_is_the_mean_of_the_folds(make_run):
    """By brute force, its interval too; a fold of survivors alone has none. Without folds it is that of the test stays."""
    fold = pl.when(pl.col("label") == 0).then(pl.int_range(pl.len()) % 3).otherwise(pl.int_range(pl.len()) % 2)
    runs = [make_run("a", table(1.5).with_columns(fold=fold)), make_run("b", table(0.5), names__model="lightgbm")]
    result = compare(models(runs), 60, seed=3)
    test = runs[0].test
    assert test.filter(fold=2)["label"].sum() == 0

    def at(weight):
        parts = [(test["fold"] == i).to_numpy() for i in (0, 1)]
        own = [roc_auc_score(runs[0].label[p], test["risk_raw"].to_numpy()[p], sample_weight=weight[p]) for p in parts]
        return np.mean(own)

    found = result.summaries[0].metrics["auroc_own"]
    drawn = [at(weight) for weight in np.concatenate(list(patient_weights(test["patient_id"].to_numpy(), 60, 3)))]
    assert found.value == pytest.approx(at(np.ones(test.height)))
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    assert auroc_of_folds(test, 60, 3) == pytest.approx({"value": found.value, "low": found.low, "high": found.high})
    own = result.summaries[1].metrics["auroc_own"].value
    assert own == pytest.approx(roc_auc_score(runs[1].label, runs[1].test["risk_raw"]))


def test_delong_of_single_seeds_is_the_paired_test(two_models):
    one_seed = [type(two_models[0])(name="first", runs=two_models[0].runs[:1]), two_models[1]]
    found = compare(one_seed, 5, 0).differences[0]
    label = one_seed[0].runs[0].label
    expected = delong.difference(label, one_seed[0].risks[0], one_seed[1].risks[0])
    assert found.p_delong == pytest.approx(expected.p)
    assert (found.delong.value, found.delong.low, found.delong.high) == pytest.approx(expected[:3])


def test_delong_of_several_seeds_is_the_variance_of_the_contrast(two_models):
    """Two equal seeds count as one: their mean has no smaller variance."""
    better, worse = two_models[0].risks[0], two_models[1].risks[0]
    label = two_models[0].runs[0].label
    once = delong.difference(label, better, worse)
    twice = delong.contrast(label, np.stack([better, better, worse]), np.array([0.5, 0.5, -1]))
    assert twice == pytest.approx(once)
    found = compare(two_models, 5, 0).differences[0]
    auroc, covariance = delong.auroc_covariance(label, np.concatenate([two_models[0].risks, two_models[1].risks]))
    factors = np.array([0.5, 0.5, -1])
    half = 1.959964 * np.sqrt(factors @ covariance @ factors)
    assert (found.delong.low, found.delong.high) == pytest.approx(
        (factors @ auroc - half, factors @ auroc + half), abs=1e-6
    )


def test_a_model_against_its_double_differs_by_nothing(make_run):
    twins = models([make_run("a"), make_run("b", names__model="other")])
    for d in compare(twins, 40, 0).differences:
        assert (d.estimate.value, d.estimate.low, d.estimate.high) == (0, 0, 0)
        assert d.p == d.p_holm == 1
        assert d.p_delong in (None, 1)


def test_a_planted_difference_is_found_and_chance_is_not(make_run):
    good, poor = make_run("a", table(2.5, 1, n=800)), make_run("b", table(0.3, 2, n=800), names__model="other")
    (auroc,) = (d for d in compare(models([good, poor]), 200, 0).differences if d.metric == "auroc")
    assert auroc.p < 0.02
    assert auroc.p_delong < 1e-4
    assert auroc.estimate.low > 0.1


def test_holm_by_hand_and_the_pairs_of_three_models(make_run):
    assert holm([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    runs = [
        make_run(name, table(q, i), names__model=name) for i, (name, q) in enumerate([("a", 2), ("b", 1), ("c", 0.2)])
    ]
    result = compare(models(runs), 50, 0)
    auroc = [d for d in result.differences if d.metric == "auroc"]
    assert [(d.first, d.second) for d in auroc] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [d.p_holm for d in auroc] == holm([d.p for d in auroc])
    assert [d.p_delong_holm for d in auroc] == holm([d.p_delong for d in auroc])


def test_without_test_deaths_what_needs_both_classes_is_none(make_run):
    runs = [make_run("a", table(1, 1, deaths=False)), make_run("b", table(1, 2, deaths=False), names__model="other")]
    result = compare(models(runs), 20, 0)
    assert result.events == 0
    assert result.summaries[0].metrics["auroc"].value is None
    assert result.summaries[0].metrics["brier"].value is not None
    auroc = next(d for d in result.differences if d.metric == "auroc")
    assert (auroc.estimate.value, auroc.p, auroc.p_holm, auroc.p_delong) == (None, None, None, None)


def test_a_difference_that_is_undefined_is_not_tested(two_models):
    """A metric may be undefined on the stays themselves and defined in resamples: then there is nothing to test."""
    risks = np.concatenate([model.risks for model in two_models])
    values = {name: np.full((3, 1), 0.5) for name in METRICS} | {
        "calibration_slope": np.array([[1.0], [1.0], [np.nan]])
    }
    replicates = {name: np.random.default_rng(0).random((3, 30)) for name in METRICS}
    found = {d.metric: d for d in _differences(two_models, [slice(0, 2), slice(2, 3)], risks, values, replicates)}
    slope = found["calibration_slope"]
    assert (slope.estimate.value, slope.estimate.low, slope.p, slope.p_holm) == (None, None, None, None)
    assert 0 < found["ece"].p == found["ece"].p_holm <= 1


def test_one_model_alone_has_no_differences(make_run):
    result = compare(models([make_run()]), 5, 0)
    assert result.differences == []
    assert set(result.summaries[0].metrics) == set(METRICS)


def test_it_follows_from_the_seed(two_models):
    assert compare(two_models, 20, 1).differences == compare(two_models, 20, 1).differences
    assert compare(two_models, 20, 1).differences != compare(two_models, 20, 2).differences
