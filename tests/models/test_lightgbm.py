"""LightGBM: seeds, what it says when it is not installed, and settings that it refuses."""

import sys

import pytest
import torch

from icu_lightning.build import built
from icu_lightning.errors import NotFittedError, UserError
from tests.conftest import composed

CONF = composed("model=lightgbm").plain["model"] | {"trees": 20}


def fitted(data, seed=0, **changes):
    torch.manual_seed(seed)
    model = built(CONF | changes, shape=data.shape)
    model.fit(data, None)
    return model


def test_another_seed_draws_other_columns(synthetic_data):
    data = synthetic_data(400)
    assert torch.equal(fitted(data).predict(data.val), fitted(data).predict(data.val))
    assert not torch.equal(fitted(data).predict(data.val), fitted(data, seed=1).predict(data.val))


def test_static_features_are_used_only_if_asked_for(synthetic_data):
    data = synthetic_data(400)
    for static in (True, False):
        model = fitted(data, static=static)
        assert model.booster.num_feature() == 6 * data.shape.n_variables + static * data.shape.n_static


def test_without_trees_there_is_no_risk(synthetic_data):
    data = synthetic_data(400)
    with pytest.raises(NotFittedError):
        built(CONF, shape=data.shape).predict(data.val)


def test_no_stays_no_risks(synthetic_data):
    data = synthetic_data(400)
    assert fitted(data).predict(data.val[:0]).shape == (0, 1)


def test_a_missing_package_is_named(synthetic_data, monkeypatch):
    data = synthetic_data(400)
    model = built(CONF, shape=data.shape)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UserError, match=r"pip install 'icu-lightning\[boosting\]'"):
        model.fit(data, None)


def test_a_value_that_lightgbm_refuses_is_a_users_error(synthetic_data):
    with pytest.raises(UserError, match="LightGBM refuses"):
        fitted(synthetic_data(400), leaves=2**20)
