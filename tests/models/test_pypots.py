"""imputer=pypots: an optional extra that says what to install, and settings that PyPOTS would refuse told before any training."""

import dataclasses
import sys

import pytest
import torch

from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.data.masking import shown
from icu_lightning.errors import UserError
from icu_lightning.models.imputers import pypots
from icu_lightning.models.imputers.pypots import check_settings
from tests.conftest import composed

SHAPE = BatchShape(6, ("a", "b"), ())


class Peer:
    """As a class of pypots.imputation takes its arguments."""

    shape = (SHAPE.hours, SHAPE.n_variables)

    def __init__(self, n_steps, n_features, rnn_hidden_size, batch_size=32, epochs=100, patience=None, alpha=1.0): ...


def of(*words: str, shape=SHAPE):
    return built(composed("model=two_stage", "imputer=pypots", *words).plain["model"], shape=shape)


def test_without_pypots_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypots", None)
    monkeypatch.setitem(sys.modules, "pypots.imputation", None)
    with pytest.raises(UserError, match=r"pip install 'icu-lightning\[pypots\]'"):
        of()


def test_an_argument_that_is_missing_or_unknown_is_told_by_its_name():
    check_settings(Peer, {"rnn_hidden_size": 4})
    with pytest.raises(UserError, match=r"needs rnn_hidden_size: give them, as in '\+model.imputer.settings"):
        check_settings(Peer, {"alpha": 2.0})
    with pytest.raises(UserError, match=r"Unknown argument of PyPOTS' Peer 'alpa'. Did you mean 'alpha'"):
        check_settings(Peer, {"rnn_hidden_size": 4, "alpa": 2.0})


def test_an_unknown_name_is_told_where_pypots_is_installed():
    pytest.importorskip("pypots")
    with pytest.raises(UserError, match=r"Unknown imputer of PyPOTS 'SAIT'. Did you mean 'SAITS'"):
        of("model.imputer.name=SAIT")


class Drawing(Peer):
    """As those of its models that draw: (B, S, T, V) from torch's random numbers."""

    def predict(self, test_set, file_type="hdf5", n_sampling_times=1):
        return {"imputation": torch.randn(len(test_set["X"]), n_sampling_times, *self.shape).numpy()}


class Told(Peer):
    """As GP-VAE: one number, (B, 1, T, V)."""

    def predict(self, test_set, file_type="hdf5"):
        return {"imputation": torch.ones(len(test_set["X"]), 1, *self.shape).numpy()}


@pytest.mark.parametrize(("name", "kind"), [("CSDI", Drawing), ("GPVAE", Told)])
def test_a_model_that_draws_is_asked_for_as_many_draws_and_another_for_one(name, kind, synthetic_data, monkeypatch):
    batch = shown(synthetic_data(300).test[:4], "mcar", 0.5, 0)
    hours, variables = batch.values.shape[1:]
    monkeypatch.setattr(Peer, "shape", (hours, variables))
    monkeypatch.setattr(pypots, "_class_of", lambda _: kind)
    shape = BatchShape(hours, tuple(map(str, range(variables))), ())
    model = of("predictor=knn", f"model.imputer.name={name}", shape=shape)
    before = torch.random.get_rng_state()
    draws = model.impute(batch, 5)
    assert draws.shape == (4, 5, hours, variables)
    assert torch.equal(torch.random.get_rng_state(), before), "the run's random numbers are left alone"
    seen = batch.observed.unsqueeze(1).expand_as(draws)
    assert torch.equal(draws[seen], batch.values.unsqueeze(1).expand_as(draws)[seen])
    spread = draws.std(1)[~batch.observed]
    assert (spread > 0).all() if kind is Drawing else (spread == 0).all()
    assert (model.samples, model.most_draws) == ((10, None) if kind is Drawing else (1, 1))
    torch.manual_seed(1)
    loaded = of("predictor=knn", f"model.imputer.name={name}", shape=shape)
    assert torch.equal(loaded.impute(batch, 5), draws), "by a seed that a checkpoint's configuration has"


class Centred(Peer):
    """As GRU-D: its estimate is the mean of all that it is given at once."""

    def predict(self, test_set, file_type="hdf5"):
        made = torch.as_tensor(test_set["X"]).nanmean().expand(len(test_set["X"]), *self.shape)
        return {"imputation": made.numpy()}


@pytest.mark.parametrize(("name", "kind"), [("CSDI", Drawing), ("GRUD", Centred)])
def test_a_class_that_looks_at_the_batch_is_given_one_stay_at_a_time(name, kind, synthetic_data, monkeypatch):
    batch = shown(synthetic_data(300).test[:4], "mcar", 0.5, 0)
    hours, variables = batch.values.shape[1:]
    monkeypatch.setattr(Peer, "shape", (hours, variables))
    monkeypatch.setattr(pypots, "_class_of", lambda _: kind)
    model = of("predictor=knn", f"model.imputer.name={name}", shape=synthetic_data(300).shape)
    together = model.impute(batch, 3)
    for place in range(4):
        assert torch.equal(together[place : place + 1], model.impute(batch[place : place + 1], 3))
    cell = (~batch.observed[0] & ~batch.observed[1]).nonzero()[0]
    assert together[0, 0, *cell] != together[1, 0, *cell], "each stay has its own"


OWN = {  # classes that are given one stay at a time, and their own sizes
    "CSDI": "n_channels=8 d_time_embedding=8 d_feature_embedding=4 d_diffusion_embedding=8 n_diffusion_steps=3",
    "Informer": "factor=3",
    "Reformer": "bucket_size=4 n_hashes=2 causal=false",
    "TimesNet": "top_k=2 n_kernels=2",
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")  # PyPOTS' own, both
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")
@pytest.mark.parametrize("name", ["BRITS", "MRNN", "SAITS", "Transformer", "iTransformer", *OWN])
def test_a_stay_is_filled_alike_alone_and_in_company_where_pypots_is_installed(name, synthetic_data):
    """Of more stays than a batch of PyPOTS has; with other weights than the first ones, which hide much. The draws of CSDI differ."""
    pytest.importorskip("pypots")
    data = synthetic_data(300)
    small = [f"model.imputer.usual.{size}" for size in ("n_layers=1", "d_model=16", "n_heads=2", "d_k=8", "d_ffn=16")]
    own = [f"+model.imputer.settings.{size}" for size in OWN.get(name, "").split()]
    words = [f"model.imputer.name={name}", "model.imputer.batch_size=2", *small, "model.imputer.usual.d_v=8", *own]
    model = of("predictor=knn", *words, shape=data.shape)
    assert model.imputer.alone == (name in OWN)
    generator = torch.Generator().manual_seed(1)
    for weight in model.imputer.model.model.parameters():
        weight.data += 0.2 * torch.randn(weight.shape, generator=generator)
    batch = shown(data.test[:4], "mcar", 0.5, 0)
    noise = torch.randn(batch.values.shape, generator=torch.Generator().manual_seed(0))  # stays of different periods
    batch = dataclasses.replace(batch, values=torch.where(batch.observed, noise, 0.0))
    draws = model.impute(batch, 3)
    assert draws.shape == (4, 3, *batch.values.shape[1:])
    assert bool((draws.std(1)[~batch.observed] > 0).all()) == (name in pypots.DRAW)
    alone = torch.cat([model.impute(batch[place : place + 1], 3) for place in range(4)])
    assert torch.allclose(draws, alone, atol=1e-5)
