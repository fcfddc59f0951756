"""The leakage audit: passes on honest data, and each check fails when what it is there for happens."""

import copy
import dataclasses
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from icu_lightning.data.audit import audit, audit_line, missingness_auroc, scores_on_one_side
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.outliers import Outliers
from icu_lightning.data.scaling import Scaler, StaticEncoder
from tests.conftest import settings
from tests.data.test_module import Without


@pytest.fixture
def data(synthetic_data):
    return copy.copy(synthetic_data(600))


def verdicts(data) -> dict[str, bool | None]:
    return {check["name"]: check["passed"] for check in audit(data)["checks"]}


def test_honest_data_pass_and_say_so_in_one_line(data):
    result = audit(data)
    assert result["passed"]
    line = audit_line(result)
    assert "\n" not in line
    assert line.count(" ok (") == 6
    assert "0 of" in line
    assert "of 24 h" in line


def test_a_patient_on_two_sides_fails(data):
    first = data.stays["patient_id"][0]
    data.stays = data.stays.with_columns(
        patient_id=pl.when(pl.int_range(pl.len()) % 50 == 0).then(pl.lit(first)).otherwise("patient_id")
    )
    assert verdicts(data)["patients disjoint"] is False


def test_an_event_at_the_prediction_time_fails(data):
    late = data.extract.cleaning.with_columns(latest_hours=pl.lit(24.0))
    data.extract = dataclasses.replace(data.extract, cleaning=late)
    assert verdicts(data)["events before prediction"] is False


def test_a_death_or_a_departure_inside_the_window_fails_with_the_way_out(data):
    died = pl.when(pl.int_range(pl.len()) == 3)
    for changed in (
        data.stays.with_columns(death_hours=died.then(5.0).otherwise("death_hours")),
        data.stays.with_columns(los_hours=died.then(20.0).otherwise("los_hours")),
    ):
        touched = copy.copy(data)
        touched.stays = changed
        assert verdicts(touched)["outcome after prediction"] is False
        assert "add '- in_icu_at_prediction: 24' to data.cohort" in audit_line(audit(touched))


def test_a_death_at_an_unknown_hour_is_neither_passed_nor_failed(data):
    data.stays = data.stays.with_columns(death_hours=pl.lit(None, pl.Float64))
    assert verdicts(data)["outcome after prediction"] is None
    assert audit(data)["passed"]


@pytest.mark.parametrize("what", ["scaler", "encoder"])
def test_anything_fitted_on_more_than_train_fails(data, what):
    fitted = (
        Scaler().fit(data.extract.values, data.settings.variables)
        if what == "scaler"
        else StaticEncoder(data.settings.static).fit(data.stays)
    )
    setattr(data, what, fitted)
    assert verdicts(data)["fitted on train only"] is False


def test_outlier_bounds_fitted_on_more_than_train_fail(synthetic_data):
    data = copy.copy(synthetic_data(600, outliers="iqr"))
    assert verdicts(data)["fitted on train only"] is True
    data.outliers = Outliers("iqr").fit(data.extract.values)
    assert verdicts(data)["fitted on train only"] is False


def test_a_scaler_fitted_before_the_outliers_went_fails(synthetic_data):
    data = copy.copy(synthetic_data(600, outliers="iqr"))
    train = (data.stays["split"] == "train").to_numpy()
    data.scaler = Scaler().fit(data.extract.values[train], data.settings.variables)
    assert verdicts(data)["fitted on train only"] is False


def test_the_probe_sees_what_was_measured_and_nothing_else(data):
    values = dataclasses.replace(data.train, values=torch.randn_like(data.train.values))
    assert missingness_auroc(values, data.test) == missingness_auroc(data.train, data.test)
    told = [
        dataclasses.replace(s, observed=s.observed & (s.label == 0).view(-1, 1, 1)) for s in (data.train, data.test)
    ]
    assert missingness_auroc(*told) > 0.95
    one_class = dataclasses.replace(data.test, label=torch.zeros_like(data.test.label))
    assert missingness_auroc(data.train, one_class) is None
    assert np.isfinite(audit(data)["missingness_auroc"])


def test_a_cohort_selected_by_the_future_is_told(synthetic_data):
    checked = {check["name"]: check for check in audit(synthetic_data(300, hours=6))["checks"]}
    assert checked["cohort known at prediction"]["passed"] is False
    assert "stay_at_least 24" in checked["cohort known at prediction"]["said"]
    assert verdicts(synthetic_data(300, hours=24))["cohort known at prediction"] is True


def test_saps2_as_an_input_is_no_clean_bill(synthetic_data):
    """It counts diagnoses that were coded at discharge; the other scores do not."""
    plain = synthetic_data(300, static=["age"], severity=[])
    for static, passed in ((["age"], True), (["age", "saps2"], None), (["age", "sofa"], True)):
        told = scores_on_one_side(SimpleNamespace(settings=replace(plain.settings, static=static)))
        assert told.passed is passed


def test_cells_hidden_on_purpose_are_counted_and_said(synthetic_data):
    assert audit(synthetic_data(600))["held_out"] is None
    data = synthetic_data(600, held_out={"pattern": "mcar", "rate": 0.3})
    result = audit(data)
    assert result["held_out"]["cells"]["test"]["hidden"] == int(data.test.held_out.sum()) > 0
    assert "cells hidden on purpose (mcar, rate 0.3, seed 0): " in audit_line(result)


def test_survivors_left_out_of_training_are_counted_and_said(synthetic_data):
    result = audit(synthetic_data(600, undersample=1))
    assert result["passed"], "a patient with one stay in training and one left out is on one side"
    counts = result["undersampled"]
    assert counts["survivors"] - counts["left_out"] == counts["deaths"] > 0
    words = (
        f"(data.undersample=1): {counts['left_out']:,} of {counts['survivors']:,}, beside {counts['deaths']:,} deaths"
    )
    assert words in audit_line(result)
    assert audit(synthetic_data(600))["undersampled"] is None


def test_stays_without_a_single_measurement_are_told(synthetic_data):
    data = synthetic_data(400)
    result = audit(data)
    assert result["unmeasured"] == {"train": 0, "val": 0, "test": 0}
    assert "without a single measurement" not in audit_line(result)
    source = Without(data.source, ids=data.test.stay_id[:2].tolist())
    bare = ICUDataModule(source, settings())
    bare.setup()
    result = audit(bare)
    assert result["unmeasured"]["test"] == 2
    assert "whose risk is that of nobody in particular: 2 test" in audit_line(result)


def test_components_without_a_measurement_are_counted_and_the_most_frequent_is_said(synthetic_data):
    """Of the scores that were asked for, as inputs or to be predicted, and of no others."""
    assert audit(synthetic_data(300))["missing_components"] == []
    result = audit(synthetic_data(300, severity=["sofa"], static=["age", "sirs"]))
    rows = result["missing_components"]
    assert {row["score"] for row in rows} == {"sofa", "sirs"}
    assert len(rows) == 6 + 4
    assert all(0 <= row["missing"] <= row["scored"] <= 300 for row in rows)
    worst = max((row for row in rows if row["score"] == "sofa"), key=lambda row: row["missing"])
    said = f"count 0 points: sofa most often {worst['component']}, in {worst['missing']:,} of {worst['scored']:,} stays"
    assert said in audit_line(result)
