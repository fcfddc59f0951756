"""A model hospital by hospital: standard errors of references, exact funnel limits, everybody kept or left out by name."""

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, logit
from scipy.stats import binom, poisson
from sklearn.metrics import roc_auc_score

from icu_lightning.evaluation import delong
from icu_lightning.evaluation.hospitals import SCHEMA, SUMMARISED, by_hospital, funnel_limits, readable, summaries

N = 2000


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    hospital = rng.choice([f"h{i}" for i in range(8)], N, p=[0.3, 0.2, 0.15, 0.12, 0.1, 0.07, 0.05, 0.01])
    x = rng.normal(-2, 1.3, N)
    worse = 0.9 * (hospital == "h1")
    return hospital, np.arange(N).astype(str), (rng.random(N) < expit(x + worse)).astype(float), expit(x)


def test_every_hospital_is_a_row_and_those_left_out_say_why(data):
    hospital, patient, label, risk = data
    label = np.where(hospital == "h5", 0.0, label)
    table = by_hospital(hospital, patient, label, risk, smallest=40)
    assert table.schema == SCHEMA
    assert table["stays"].sum() == N
    assert table["deaths"].sum() == label.sum()
    why = dict(table.select("hospital_id", "auroc_left_out").iter_rows())
    assert (why["h7"], why["h5"], why["h0"]) == ("fewer than 40 stays", "no deaths", None)
    assert dict(table.select("hospital_id", "calibration_left_out").iter_rows())["h5"] == "no deaths"
    for name, found in summaries(table).items():
        assert found.n == 6, name
    assert table["stays"].is_sorted(descending=True)


def test_estimates_and_standard_errors_are_those_of_references(data):
    api = pytest.importorskip("statsmodels.api")
    hospital, patient, label, risk = data
    table = by_hospital(hospital, patient, label, risk, 40)
    for row in table.filter(pl.col("stays") > 150).iter_rows(named=True):
        own = hospital == row["hospital_id"]
        auroc = roc_auc_score(label[own], risk[own])
        _, variance = delong.auroc_covariance(label[own], risk[own][None])
        assert row["auroc"] == pytest.approx(auroc, abs=1e-12)
        step = 1e-6  # delta method, the derivative taken numerically
        slope = (logit(auroc + step) - logit(auroc - step)) / (2 * step)
        assert row["logit_auroc_se"] == pytest.approx(np.sqrt(variance[0, 0]) * slope, rel=1e-5)
        glm = api.GLM(label[own], np.ones(own.sum()), family=api.families.Binomial(), offset=logit(risk[own])).fit()
        assert row["calibration_in_the_large"] == pytest.approx(glm.params[0], abs=1e-6)
        assert row["calibration_in_the_large_se"] == pytest.approx(glm.bse[0], abs=1e-6)
        assert row["observed_to_expected"] == pytest.approx(label[own].sum() / risk[own].sum())
        rate = label[own].mean()
        assert row["log_observed_to_expected_se"] == pytest.approx(np.sqrt((1 - rate) / label[own].sum()))


def test_a_hospital_where_more_die_is_beyond_its_limit_and_few_others_are(data):
    hospital, patient, label, risk = data
    table = by_hospital(hospital, patient, label, risk, 40)
    beyond = dict(table.select("hospital_id", "beyond").iter_rows())
    assert beyond["h1"] == "above the 99.8 % limit"
    assert sum(side is not None for side in beyond.values()) <= 2
    assert summaries(table)["observed_to_expected"].i2 > 0.3


@pytest.mark.parametrize("level", [0.95, 0.998])
def test_funnel_limits_are_poissons_exact_quantiles_made_smooth(level):
    """Between its neighbouring whole numbers of deaths, the distribution function, drawn straight, is the tail at the limit."""
    expected = np.array([0.3, 2.0, 7.5, 40.0, 300.0])
    low, high = funnel_limits(expected, level)
    for e, lower, upper in zip(expected, low * expected, high * expected, strict=True):
        for limit, p in ((lower, (1 - level) / 2), (upper, (1 + level) / 2)):
            if limit == 0:
                assert poisson.cdf(0, e) >= p
                continue
            whole = np.floor(limit)
            at = poisson.cdf([whole, whole + 1], e)
            assert at[0] + (limit - whole) * (at[1] - at[0]) == pytest.approx(p, abs=1e-9)
    assert (np.diff(high) < 0).all()
    assert (np.diff(low) >= 0).all()


def test_poissons_limits_are_the_binomials_where_deaths_are_rare_and_wider_where_not():
    expected = np.array([30.0])
    low, high = (limit[0] * 30 for limit in funnel_limits(expected, 0.95))
    rare = binom.ppf([0.025, 0.975], 300_000, 30 / 300_000)
    common = binom.ppf([0.025, 0.975], 100, 0.3)
    assert abs(low - rare[0]) <= 1
    assert abs(high - rare[1]) <= 1
    assert low < common[0]
    assert high > common[1]


def test_chance_alone_puts_no_more_than_the_promised_share_beyond_the_limits():
    rng = np.random.default_rng(3)
    risk = rng.uniform(0.02, 0.3, 60 * 400)
    label = (rng.random(60 * 400) < risk).astype(float)
    hospital = np.repeat([f"{i:03}" for i in range(400)], 60)
    table = by_hospital(hospital, hospital, label, risk, 10)
    assert table["beyond"].is_not_null().mean() < 0.06
    assert table["beyond"].str.contains("99.8").fill_null(False).mean() < 0.01


def test_back_from_the_scale_of_the_summary():
    assert readable("auroc", 0.0) == 0.5
    assert readable("observed_to_expected", 0.0) == 1
    assert readable("calibration_in_the_large", 0.2) == 0.2
    assert set(SUMMARISED) == {"auroc", "observed_to_expected", "calibration_in_the_large"}
