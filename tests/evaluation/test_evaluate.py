"""Predictions to metrics: on calibrated risk, by split, with what is undefined excused by name."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, precision_score, recall_score, roc_auc_score

from icu_lightning.errors import UserError
from icu_lightning.evaluation.calibration import AfterPrior, Identity, Isotonic, prior_corrected
from icu_lightning.evaluation.evaluate import evaluate, metric_names
from icu_lightning.evaluation.metrics import net_benefit
from icu_lightning.evaluation.predictions import (
    COLUMNS,
    LATER,
    SUBGROUPS,
    calibrate,
    cross_fitted,
    raw_predictions,
    write,
)
from icu_lightning.evaluation.smooth import smooth_calibration
from icu_lightning.evaluation.stored import read


def stays(n: int = 400, deaths: float = 0.25) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    died = rng.random(n) < deaths
    split = rng.choice(["train", "val", "test"], n, p=[0.4, 0.3, 0.3])
    none = pl.lit(None, pl.String)
    frame = pl.DataFrame(
        {
            "stay_id": np.arange(n),
            "patient_id": rng.integers(0, n // 2, n).astype(str),
            "split": split,
            "died_in_hospital": died,
            "age": rng.normal(60, 9, n),
        }
    )
    return frame.with_columns(
        none.alias("hospital_id"),
        *(none.alias(name) for name in SUBGROUPS if name != "age"),
    )


def draws(table: pl.DataFrame, s: int = 1) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (
        0.6 * rng.random((table.height, s))
        + 0.4 * table["died_in_hospital"].to_numpy()[:, None] * rng.random((table.height, 1))
    ).clip(0, 1)


def predictions(n: int = 400, s: int = 1, deaths: float = 0.25) -> pl.DataFrame:
    table = stays(n, deaths)
    return calibrated(table, Isotonic(), draws(table, s))


def calibrated(table, calibrator, risks, rule="f1", n_measured=None) -> pl.DataFrame:
    return calibrate(raw_predictions(table, "died_in_hospital", risks, n_measured), calibrator, rule, risks)


def test_calibrator_and_threshold_come_from_validation_alone():
    table, risks = stays(), draws(stays())
    raw = raw_predictions(table, "died_in_hospital", risks)
    first = calibrate(raw, Isotonic(), "f1", risks)
    flipped = raw.with_columns(label=pl.when(pl.col("split") == "val").then("label").otherwise(1 - pl.col("label")))
    second = calibrate(flipped, Isotonic(), "f1", risks)
    assert first["risk"].equals(second["risk"])
    assert first["threshold"].equals(second["threshold"])
    other_val = raw.with_columns(label=pl.when(pl.col("split") == "val").then(1 - pl.col("label")).otherwise("label"))
    assert not calibrate(other_val, Isotonic(), "f1", risks)["risk"].equals(first["risk"])


@pytest.mark.parametrize("split", ["test", "val"])
def test_every_value_equals_scikit_learns(split):
    table = predictions()
    result = evaluate(table, 50)[split]
    part = table.filter(pl.col("split") == split)
    label, risk, raw = (part[name].to_numpy() for name in ("label", "risk", "risk_raw"))
    flagged = risk >= part["threshold"][0]
    expected = {
        "auroc": roc_auc_score(label, risk), "auprc": average_precision_score(label, risk),
        "brier": brier_score_loss(label, risk),
        "sensitivity": recall_score(label, flagged), "specificity": recall_score(1 - label, ~flagged),
        "ppv": precision_score(label, flagged),
    }  # fmt: skip
    for name, value in expected.items():
        assert result[name]["value"] == pytest.approx(value, abs=1e-6)
        assert result[name]["low"] <= result[name]["value"] <= result[name]["high"]
    assert result["raw"]["auroc"]["value"] == pytest.approx(roc_auc_score(label, raw), abs=1e-6)
    assert (result["n"], result["events"], result["patients"]) == (
        part.height,
        int(label.sum()),
        part["patient_id"].n_unique(),
    )


def test_the_named_metrics_are_those_that_have_a_value():
    block = evaluate(predictions(), 2)["val"]
    cells = {name for name, cell in block.items() if isinstance(cell, dict) and cell.keys() == {"value", "low", "high"}}
    assert set(metric_names()) == cells - {"auroc_delong"}


def test_intervals_follow_from_the_seed():
    table = predictions()
    assert evaluate(table, 50, seed=1) == evaluate(table, 50, seed=1) != evaluate(table, 50, seed=2)


def test_several_draws_give_their_mean_and_spread():
    table = stays()
    risks = draws(table, 5)
    raw = raw_predictions(table, "died_in_hospital", risks)
    assert raw["risk_raw"].to_numpy() == pytest.approx(risks.mean(1))
    own = calibrate(raw, Identity(), "f1", risks)
    assert own["risk_sd"].to_numpy() == pytest.approx(risks.std(1, ddof=1))
    assert calibrated(table, Identity(), risks[:, :1])["risk_sd"].null_count() == table.height


def test_the_spread_is_of_the_risks_and_not_of_the_scores_before_prior_and_calibrator():
    table, risks = stays(), draws(stays(), 5)
    calibrator = AfterPrior(0.02, Identity())
    told = calibrated(table, calibrator, risks)
    assert told["risk_sd"].to_numpy() == pytest.approx(calibrator.transform(risks).std(1, ddof=1))
    assert told["risk_sd"].median() < np.median(risks.std(1, ddof=1)) / 2


def test_a_table_says_how_much_was_measured_and_old_ones_need_not(tmp_path):
    table, risks = stays(), draws(stays())
    n_measured = np.arange(table.height, dtype=np.int32)
    for counts, more in ((None, set()), (n_measured, {"n_measured"})):
        told = calibrated(table, Isotonic(), risks, n_measured=counts)
        assert set(told.columns) - {*COLUMNS, *LATER} == more
        write(told, tmp_path / "predictions.parquet", outcome="died_in_hospital", source="x", synthetic=False)
        assert set(read(tmp_path / "predictions.parquet", None).table.columns) == {*COLUMNS, *LATER, *more}
    assert (told["n_measured"].to_numpy() == n_measured).all()


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.5, float("inf")])
def test_a_risk_that_is_none_is_refused(wrong):
    table = stays()
    risks = draws(table)
    risks[[3, 7]] = wrong
    with pytest.raises(UserError, match=r"gave 2 of 400 stays a risk that is no number in \[0, 1\] \(stays \[3, 7\]"):
        raw_predictions(table, "died_in_hospital", risks)


def test_a_split_of_one_class_is_excused_by_name():
    table = predictions().with_columns(label=pl.when(pl.col("split") == "test").then(0.0).otherwise("label"))
    result = evaluate(table, 20)["test"]
    assert result["auroc"] == {"value": None, "low": None, "high": None}
    assert result["brier"]["value"] is not None
    assert "only survivors among" in result["note"]


def test_of_deaths_alone_no_model_is_perfect():
    """Average precision would be 1, whatever the model says."""
    table = predictions().with_columns(label=pl.when(pl.col("split") == "test").then(1.0).otherwise("label"))
    result = evaluate(table, 20)["test"]
    for name in ("auroc", "auroc_delong", "auprc"):
        assert result[name]["value"] is None
    assert "only deaths among" in result["note"]


def test_an_unknown_threshold_rule_lists_the_known():
    table = stays()
    with pytest.raises(UserError, match="Known: alert_rate, f1"):
        calibrated(table, Isotonic(), draws(table), "f2")


def test_a_validation_stay_is_calibrated_without_its_patient():
    """Turning the labels of a patient around, who still counts on the same side, leaves the patient's own risks as they are."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), 2)
    label, score = (rng.random(200) < 0.4).astype(float), rng.random(200)
    label[::2][rng.random(100) < 0.3] = 1
    one_of_each = next(p for p in range(100) if label[patients == p].sum() == 1)
    own = patients == one_of_each
    first = cross_fitted(Isotonic(), label, score, patients)
    second = cross_fitted(Isotonic(), np.where(own, 1 - label, label), score, patients)
    assert np.array_equal(first[own], second[own])
    assert not np.array_equal(first, second), "others learn from it"


def test_with_too_few_deaths_one_calibrator_serves_all():
    label, risk = np.array([1.0, 0, 0, 0, 0, 1]), np.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.8])
    assert cross_fitted(Isotonic(), label, risk, np.arange(6)) == pytest.approx(
        Isotonic().fit(label, risk).transform(risk)
    )


def grouped() -> pl.DataFrame:
    table = predictions(2400)
    rng = np.random.default_rng(5)
    return table.with_columns(
        sex=pl.Series(rng.choice(["female", "male"], 2400)),
        insurance=pl.Series(rng.choice(["medicare", "private", None], 2400, p=[0.6, 0.35, 0.05])),
        marital_status=pl.Series(rng.choice(["single", "married"], 2400)),
        age=pl.Series(rng.uniform(18, 95, 2400)),
        hospital_id=pl.Series(rng.choice(["large", "small"], 2400, p=[0.99, 0.01])),
    )


def test_subgroups_are_scored_as_splits_of_their_own_and_small_ones_are_named():
    table = grouped()
    test = table.filter(pl.col("split") == "test")
    result = evaluate(table, 20, smallest=50)["test"]
    women = test.filter(pl.col("sex") == "female")
    cell = result["subgroups"]["sex"]["female"]
    assert (cell["n"], cell["events"]) == (women.height, int(women["label"].sum()))
    assert cell["auroc"]["value"] == pytest.approx(roc_auc_score(women["label"], women["risk"]))
    assert list(result["subgroups"]["age"]) == ["16-44", "45-64", "65-79", "80 and above"]
    assert result["too_small"]["insurance"]["unknown"]["n"] == test["insurance"].null_count()
    assert set(result["subgroups"]["hospital_size"]) == {"200 stays and more"}
    assert "under 50 stays" in result["too_small"]["hospital_size"]
    for column in ("sex", "insurance", "marital_status", "age"):
        groups = result["subgroups"][column] | result["too_small"].get(column, {})
        assert sum(group["n"] for group in groups.values()) == test.height, "everybody is in one group"
    assert "ethnicity" not in result["subgroups"], "nobody has one"


def test_a_file_of_before_there_were_marital_status_and_language_is_still_read(tmp_path):
    table = predictions()
    write(table.drop(LATER), tmp_path / "old.parquet", outcome="died_in_hospital", source="s", synthetic=True)
    assert read(tmp_path / "old.parquet", None).table.equals(table.drop(LATER))
    write(table, tmp_path / "new.parquet", outcome="died_in_hospital", source="s", synthetic=True)
    assert read(tmp_path / "new.parquet", None).table.columns[-2:] == list(LATER)


def test_a_group_without_deaths_is_not_scored_but_named():
    table = grouped().with_columns(label=pl.when(pl.col("sex") == "male").then(0.0).otherwise("label"))
    assert evaluate(table, 10)["test"]["too_small"]["sex"]["male"]["events"] == 0


def test_calibration_is_told_before_and_after():
    """A model whose logits are three times too large: the slope is about a third before, about one after."""
    rng = np.random.default_rng(0)
    x = rng.normal(-1, 1, 6000)
    table = pl.concat([stays(400)] * 15).with_columns(
        stay_id=pl.Series(range(6000)),
        patient_id=pl.Series(range(6000)).cast(pl.String),
        died_in_hospital=pl.Series(rng.random(6000) < 1 / (1 + np.exp(-x))),
    )
    bent = (1 / (1 + np.exp(-3 * x)))[:, None]
    result = evaluate(calibrated(table, Isotonic(), bent), 100)["test"]
    assert result["raw"]["calibration_slope"]["value"] == pytest.approx(1 / 3, abs=0.04)
    assert result["calibration_slope"]["value"] == pytest.approx(1, abs=0.15)
    low, high = (result["observed_to_expected"][side] for side in ("low", "high"))
    assert low < 1 < high
    assert result["ece"]["value"] < result["raw"]["ece"]["value"]
    assert result["auroc_delong"]["value"] == pytest.approx(result["auroc"]["value"])


def test_without_calibration_risks_are_the_models_own():
    own = calibrated(stays(), Identity(), draws(stays()))
    assert own["risk"].to_list() == own["risk_raw"].to_list()


def test_splits_have_a_smooth_calibration_curve_before_and_after_and_subgroups_none():
    table = grouped()
    test = table.filter(pl.col("split") == "test")
    result = evaluate(table, 60)["test"]
    for column, curve in result["calibration_curve"].items():
        at = np.array(curve["at"])
        label, risk = test["label"].to_numpy(), test[column].to_numpy()
        assert curve["value"] == pytest.approx(smooth_calibration(label, risk, np.ones(test.height), at))
        low, value, high = (np.array(curve[side]) for side in ("low", "value", "high"))
        assert ((low >= 0) & (low <= high) & (high <= 1)).all()
        assert ((low <= value) & (value <= high)).mean() > 0.9
    assert set(result["calibration_curve"]) == {"risk", "risk_raw"}
    assert "calibration_curve" not in result["subgroups"]["sex"]["female"]


def test_prior_corrected_numbers_stand_between_raw_and_calibrated():
    table, risks = stays(), draws(stays())
    raw = raw_predictions(table, "died_in_hospital", risks)
    corrected = calibrate(raw, AfterPrior(0.1, Isotonic()), "f1", risks)
    assert corrected.columns[corrected.columns.index("risk_raw") + 1] == "risk_prior"
    assert corrected["risk_prior"].to_numpy() == pytest.approx(prior_corrected(raw["risk_raw"].to_numpy(), 0.1))
    result = evaluate(corrected, 20)["test"]
    part = corrected.filter(pl.col("split") == "test")
    label, prior = part["label"].to_numpy(), part["risk_prior"].to_numpy()
    assert result["prior"]["brier"]["value"] == pytest.approx(brier_score_loss(label, prior), abs=1e-9)
    assert result["prior"]["observed_to_expected"]["value"] == pytest.approx(label.sum() / prior.sum())
    assert result["prior"]["auroc"] == result["raw"]["auroc"], "the order is the model's"
    assert set(result["prior"]) == set(result["raw"])
    assert result["calibration_curve"].keys() == {"risk", "risk_raw", "risk_prior"}
    plain = evaluate(calibrate(raw, Isotonic(), "f1", risks), 20)["test"]
    assert "prior" not in plain
    assert plain["raw"] == result["raw"], "what the model said is told either way"


def test_a_prior_that_changes_nothing_changes_no_number():
    table, risks = stays(), draws(stays())
    plain = evaluate(calibrated(table, Isotonic(), risks), 20)
    beside = evaluate(calibrated(table, AfterPrior(1.0, Isotonic()), risks), 20)
    for split in ("test", "val"):
        assert beside[split].pop("prior") == plain[split]["raw"]
        beside[split]["calibration_curve"].pop("risk_prior")
        for group in beside[split].pop("subgroups"):
            plain[split]["subgroups"].pop(group)
        plain[split].pop("subgroups")
    assert beside == plain


def test_net_benefit_over_thresholds_is_that_at_each_of_them():
    table = predictions()
    curve = evaluate(table, 50)["test"]["decision_curve"]
    part = table.filter(pl.col("split") == "test")
    label, risk = part["label"].to_numpy(), part["risk"].to_numpy()
    assert curve["at"] == pytest.approx([i / 100 for i in range(1, 51)])
    for at, value, low, high in zip(*(curve[side] for side in ("at", "value", "low", "high")), strict=True):
        expected = net_benefit(label, (risk >= at).astype(float), np.ones(len(label)), at)
        assert value == pytest.approx(float(expected), abs=1e-12)
        assert low <= value + 0.02
        assert high >= value - 0.02
