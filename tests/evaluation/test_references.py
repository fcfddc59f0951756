"""Numbers of metrics.json against independent packages: dcurves for net benefit, statsmodels for the recalibration."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.api as sm
from scipy.special import logit
from sklearn import metrics as sklearn

from icu_lightning.evaluation.curves import THRESHOLDS, decision_curve
from icu_lightning.evaluation.evaluate import evaluate
from tests.comparison.conftest import table


@pytest.fixture(scope="module", params=[0, 1], ids=["skilled", "poor"])
def case(request):
    """(test stays, their metrics), risks strictly between 0 and 1."""
    rows = table(quality=[2.0, 0.3][request.param], noise=request.param, n=600)
    rows = rows.with_columns(pl.col("risk", "risk_raw").clip(0.001, 0.999))
    return rows.filter(pl.col("split") == "test"), evaluate(rows, 20)["test"]


@pytest.mark.parametrize("column", ["risk", "risk_raw"])
def test_slope_intercept_and_calibration_in_the_large_are_those_of_statsmodels(case, column):
    rows, found = case
    found = found if column == "risk" else found["raw"]
    label, z = rows["label"].to_numpy(), logit(rows[column].to_numpy())
    fitted = sm.GLM(label, sm.add_constant(z), family=sm.families.Binomial()).fit(tol=1e-12)
    assert found["calibration_intercept"]["value"] == pytest.approx(fitted.params[0], abs=1e-6)
    assert found["calibration_slope"]["value"] == pytest.approx(fitted.params[1], abs=1e-6)
    offset = sm.GLM(label, np.ones((len(z), 1)), family=sm.families.Binomial(), offset=z).fit(tol=1e-12)
    assert found["calibration_in_the_large"]["value"] == pytest.approx(offset.params[0], abs=1e-6)
    expected = rows[column].sum()
    assert found["observed_to_expected"]["value"] == pytest.approx(label.sum() / expected, abs=1e-9)


def test_net_benefit_is_that_of_dcurves(case):
    dcurves = pytest.importorskip("dcurves")
    rows, found = case
    frame = pd.DataFrame({"label": rows["label"].to_numpy(), "risk": rows["risk"].to_numpy()})
    at = found["threshold"]
    reference = dcurves.dca(data=frame, outcome="label", modelnames=["risk"], thresholds=[*THRESHOLDS, at])
    by_model = reference.pivot_table(index="threshold", columns="model", values="net_benefit")
    thresholds, ours = decision_curve(frame["label"].to_numpy(), frame["risk"].to_numpy())
    assert ours == pytest.approx(by_model["risk"].loc[thresholds].to_numpy(), abs=1e-6)
    assert found["net_benefit"]["value"] == pytest.approx(by_model["risk"].loc[at], abs=1e-6)


def test_flags_and_probabilities_are_scored_as_by_scikit_learn(case):
    rows, found = case
    label, risk = rows["label"].to_numpy(), rows["risk"].to_numpy()
    flagged = risk >= rows["threshold"].to_numpy()
    (tn, fp), (fn, tp) = sklearn.confusion_matrix(label, flagged)
    expected = {
        "auroc": sklearn.roc_auc_score(label, risk),
        "auprc": sklearn.average_precision_score(label, risk),
        "brier": sklearn.brier_score_loss(label, risk),
        "log_loss": sklearn.log_loss(label, risk),
        "accuracy": sklearn.accuracy_score(label, flagged),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "ppv": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "alert_rate": (tp + fp) / len(label),
        "f1": sklearn.fbeta_score(label, flagged, beta=1),
        "f2": sklearn.fbeta_score(label, flagged, beta=2),
        "scaled_brier": sklearn.d2_brier_score(label, risk),
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-6)
