"""Scaler and static features: fitted on observed training cells, refused when unfitted."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.scaling import Scaler, StaticEncoder
from icu_lightning.errors import NotFittedError, UserError

VALUES = np.array([[[1.0, np.nan], [3.0, 5.0]], [[5.0, np.nan], [np.nan, 5.0]]])


def test_only_observed_cells_count_and_missing_becomes_zero():
    scaler = Scaler().fit(VALUES, ["a", "b"])
    assert scaler.mean.tolist() == [3.0, 5.0]
    assert scaler.sd.tolist() == [pytest.approx(np.std([1, 3, 5])), 1.0]  # a constant variable has SD 1
    z = scaler.transform(VALUES)
    assert z.dtype == np.float32
    assert z[0, 0].tolist() == [pytest.approx(-2 / np.std([1, 3, 5])), 0.0]
    assert z[1, 1].tolist() == [0.0, 0.0]


def test_an_unfitted_scaler_is_refused():
    with pytest.raises(NotFittedError):
        Scaler().transform(VALUES)
    with pytest.raises(NotFittedError):
        Scaler().state()
    with pytest.raises(NotFittedError):
        StaticEncoder(["age"]).transform(pl.DataFrame({"age": [1.0]}))
    with pytest.raises(NotFittedError):
        StaticEncoder(["sex"]).state()
    with pytest.raises(NotFittedError):
        StaticEncoder(["sex"]).names  # noqa: B018


def test_a_variable_that_training_lacks_is_named():
    with pytest.raises(UserError, match="No training stay has a value of b"):
        Scaler().fit(np.where(VALUES == 5.0, np.nan, VALUES), ["a", "b"])


def test_unseen_and_missing_categories_are_unknown():
    train = pl.DataFrame({"age": [40.0, 60.0], "sex": ["male", "female"], "ethnicity": ["A", None]})
    encoder = StaticEncoder(["age", "sex", "ethnicity"]).fit(train)
    assert encoder.names == ("age", "sex=female", "sex=male", "sex=unknown", "ethnicity=A", "ethnicity=unknown")
    other = pl.DataFrame({"age": [50.0, None], "sex": [None, "male"], "ethnicity": ["B", "A"]})
    assert encoder.transform(other).tolist() == [[0, 0, 0, 1, 0, 1], [0, 0, 1, 0, 1, 0]]


def test_features_come_in_the_order_asked_for_and_numbers_are_standard():
    weight = [60.0, 80.0, 100.0, None]
    train = pl.DataFrame({"insurance": ["private", "unknown", "medicaid", None], "weight_kg": weight})
    encoder = StaticEncoder(["insurance", "weight_kg"]).fit(train)
    assert encoder.names == ("insurance=medicaid", "insurance=private", "insurance=unknown", "weight_kg")
    encoded = encoder.transform(train)
    assert encoded[:, :3].tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert encoded[:3, 3].std() == pytest.approx(1)
    assert encoded[3, 3] == encoded[1, 3] == 0, "an unknown weight is the mean"


def test_what_a_database_does_not_chart_is_unknown_for_everybody():
    nobody = pl.DataFrame(
        {"insurance": [None, None], "weight_kg": [None, None]}, schema_overrides={"insurance": pl.String}
    )
    nobody = nobody.cast({"weight_kg": pl.Float64})
    encoder = StaticEncoder(["weight_kg", "insurance"]).fit(nobody)
    assert encoder.transform(nobody).tolist() == [[0, 1], [0, 1]]


def test_no_feature_at_all_is_a_width_of_zero():
    encoder = StaticEncoder([]).fit(pl.DataFrame({"age": [1.0]}))
    assert (encoder.names, encoder.transform(pl.DataFrame({"age": [1.0, 2.0]})).shape) == ((), (2, 0))


def test_the_state_is_plain_values():
    import json

    train = pl.DataFrame({"age": [40.0, 60.0], "sex": ["male", None]})
    state = StaticEncoder(["age", "sex"]).fit(train).state()
    assert json.loads(json.dumps(state)) == {
        "features": ["age", "sex"], "mean": {"age": 50.0}, "sd": {"age": 10.0}, "categories": {"sex": ["male", "unknown"]},
    }  # fmt: skip
