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
        StaticEncoder().transform(pl.DataFrame({"age": [1.0], "sex": ["male"], "ethnicity": [None]}))


def test_a_variable_that_training_lacks_is_named():
    with pytest.raises(UserError, match="No training stay has a value of b"):
        Scaler().fit(np.where(VALUES == 5.0, np.nan, VALUES), ["a", "b"])


def test_unseen_and_missing_categories_are_unknown():
    train = pl.DataFrame({"age": [40.0, 60.0], "sex": ["male", "female"], "ethnicity": ["A", None]})
    encoder = StaticEncoder().fit(train)
    assert encoder.names == ("age", "sex=female", "sex=male", "sex=unknown", "ethnicity=A", "ethnicity=unknown")
    other = pl.DataFrame({"age": [50.0, None], "sex": [None, "male"], "ethnicity": ["B", "A"]})
    assert encoder.transform(other).tolist() == [[0, 0, 0, 1, 0, 1], [0, 0, 1, 0, 1, 0]]
