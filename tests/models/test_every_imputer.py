"""Laws of every imputer, by globbing conf/imputer: a new one is tested because its file exists."""

import copy
import dataclasses
from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.impute import KNNImputer

from icu_lightning.batch import hide
from icu_lightning.build import built
from icu_lightning.data.masking import shown
from icu_lightning.models.imputers import knn
from icu_lightning.models.imputers.remasker import Transformer
from icu_lightning.models.two_stage import TwoStage
from icu_lightning.training.stages import StageTrainer, stable_seed
from tests.conftest import CONF, composed

IMPUTERS = sorted(path.stem for path in (CONF / "imputer").glob("*.yaml"))
RATES = (0.1, 0.5, 0.9)
QUICK = {"zero", "mean", "locf", "knn"}  # that do not train
LONGER = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in IMPUTERS]


@pytest.fixture(scope="module")
def stays(request):
    return request.getfixturevalue("synthetic_data")(400)


WITH_LABELS = {"mtdm"}  # that learn from those of training stays
SMALLER = {  # than what a user gets, for the sake of time
    "remasker": ["model.imputer.warm_up=2"],
    "saits": ["model.imputer.width=32", "model.imputer.layers=1"],
    "mtdm": ["model/size=tiny"],
    "csdi": ["model.imputer.diffusion.denoiser.layers=1", "model.imputer.diffusion.denoiser.channels=8"],
}


def of_conf(name: str, shape):
    words = ["model=two_stage", f"imputer={name}", *SMALLER.get(name, [])]
    if name == "pypots":
        pytest.importorskip("pypots")
    return built(composed(*words).plain["model"]["imputer"], shape=shape)


def fitted(name: str, data, folder, max_epochs: int = 1, precision: str = "32-true"):
    torch.manual_seed(stable_seed(0, "initial weights"))
    imputer = of_conf(name, data.shape)
    folder.mkdir(exist_ok=True)
    device = {"accelerator": "cpu", "devices": 1, "precision": precision, "deterministic": True, "threads": 1}
    imputer.fit(data, StageTrainer(folder=folder, seed=0, max_epochs=max_epochs, **device))
    return imputer


@pytest.fixture(scope="module")
def ready(stays, tmp_path_factory):
    """A function: an imputer's name -> it after one epoch, fitted once for the tests that only ask it."""
    return cache(lambda name: fitted(name, stays, tmp_path_factory.mktemp(name)))


def mae(imputer, batch, rate: float) -> float:
    hidden = shown(batch, "mcar", rate, 0)
    estimate = imputer.impute(hidden, 1 if not imputer.draws_differ else 5).median(1).values
    return float((estimate - batch.values).abs()[hidden.held_out].mean())


def few(data):
    """Of the same data 32 stays to train on and to validate."""
    part = copy.copy(data)
    part.train, part.val = data.train[:32], data.val[:32]
    return part


def shorter(data):
    """The same stays' first twelve hours of six variables."""
    chosen = dataclasses.replace(data.settings, hours=12, variables=list(data.settings.variables)[:6])
    part = type(data)(data.source, chosen, seed=0)
    part.setup()
    return part


@pytest.mark.parametrize("name", IMPUTERS)
def test_observed_cells_are_unchanged_and_hidden_truth_changes_nothing(name, ready, stays):
    """Bit for bit: what stands in cells that are not observed, labels and held-out marks enter nothing."""
    imputer = ready(name)
    batch = shown(stays.test[:20], "mcar", 0.4, 1)
    other = dataclasses.replace(
        batch,
        values=torch.where(batch.observed, batch.values, 50.0),
        held_out=~batch.held_out,
        label=1 - batch.label,
        in_icu=~batch.in_icu,
    )
    draws = imputer.impute(batch, 2)
    assert draws.shape == (20, 2, *batch.values.shape[1:])
    assert draws.isfinite().all()
    assert torch.equal(draws, imputer.impute(other, 2))
    seen = batch.observed.unsqueeze(1).expand_as(draws)
    assert torch.equal(draws[seen], batch.values.unsqueeze(1).expand_as(draws)[seen])
    assert imputer.draws_differ == bool((draws[:, 0] != draws[:, 1]).any())


@pytest.mark.parametrize("name", IMPUTERS)
def test_a_stay_is_imputed_alike_alone_and_in_company_and_one_without_measurements_too(name, ready, stays):
    imputer = ready(name)
    batch = stays.test[:8]
    nothing = hide(batch[:1], batch[:1].observed)
    assert torch.allclose(imputer.impute(batch, 2)[2:3], imputer.impute(batch[2:3], 2), atol=1e-6)
    assert imputer.impute(nothing, 2).isfinite().all()
    assert imputer.impute(batch[:0], 2).shape == (0, 2, *batch.values.shape[1:])


@pytest.mark.parametrize("name", IMPUTERS)
def test_it_is_fitted_on_training_stays_without_their_labels_unless_it_says_so_and_the_same_seed_gives_the_same(
    name, ready, stays, tmp_path
):
    other = dataclasses.replace
    data = type(stays)(stays.source, stays.settings, seed=0)
    data.setup()
    first = ready(name)
    if name not in WITH_LABELS:
        data.train, data.val = (other(part, label=1 - part.label) for part in (data.train, data.val))
    del data.test  # whoever touches it while fitting fails
    second = fitted(name, data, tmp_path)
    assert torch.equal(first.impute(stays.test[:10], 2), second.impute(stays.test[:10], 2))


@pytest.mark.parametrize("name", IMPUTERS)
def test_its_state_is_plain_and_restores_it(name, ready, stays, tmp_path):
    imputer = ready(name)
    torch.save(dict(imputer.state_dict()), tmp_path / "state.ckpt")
    again = of_conf(name, stays.shape)
    again.load_state_dict(torch.load(tmp_path / "state.ckpt", weights_only=True))
    assert torch.equal(imputer.impute(stays.test[:10], 2), again.impute(stays.test[:10], 2))


@pytest.mark.parametrize("name", sorted(set(IMPUTERS) - QUICK - {"pypots"}))
def test_it_trains_in_mixed_precision(name, stays, tmp_path):
    """trainer.precision=bf16-mixed, under which a network has numbers of two kinds: an epoch of one step, and its validation."""
    imputer = fitted(name, few(stays), tmp_path, precision="bf16-mixed")
    assert imputer.impute(stays.test[:2], 1).isfinite().all()


@pytest.mark.parametrize("name", LONGER)
def test_its_error_weakly_rises_with_the_missing_rate_and_is_below_the_means(name, stays, tmp_path):
    """In shares of the mean's error, because the cells differ between the rates, and some are easier; within their noise.

    ReMasker's paper trains for 600 epochs, thousands of steps: of 150 it has learnt little, so it gets 600, on a shorter window, since
    a step costs as the square of the cells.
    """
    data, epochs = (shorter(stays), 120) if name == "remasker" else (stays, 30)
    imputer, zero = fitted(name, data, tmp_path, max_epochs=epochs), of_conf("zero", data.shape)
    found = [mae(imputer, data.test, rate) / mae(zero, data.test, rate) for rate in RATES]
    assert all(later > before - 0.02 for before, later in pairwise(found)), found
    if name in ("zero", "mean"):
        assert found[0] == pytest.approx(1, abs=1e-6)
    else:
        assert found[0] < 0.95


@pytest.mark.parametrize("size", sorted(path.stem for path in (CONF / "model" / "size").glob("*.yaml")))
def test_the_diffusions_have_equal_budgets_in_every_size(size):
    """The MTDM as a model, as an imputer, and CSDI: widths, epochs, patience, learning rate and draws."""
    asked = f"model/size={size}"
    whole = composed("model=mtdm", asked).plain["model"]
    stage = composed("model=two_stage", "imputer=mtdm", asked).plain["model"]
    part = stage["imputer"]["joint"]
    assert part | {"_partial_": None, "snapshots": None} == whole | {"_partial_": None, "snapshots": None}
    alone = composed("model=two_stage", "imputer=csdi", asked).plain["model"]
    csdi = alone["imputer"]
    assert csdi["diffusion"]["denoiser"] == whole["imputer"]["denoiser"]
    assert csdi["diffusion"]["sampler"]["steps"] == whole["imputer"]["sampler"]["steps"]
    assert csdi["max_epochs"] == whole["epochs"]["stage1"] + whole["epochs"]["stage2"]
    for name in ("optimizer", "patience", "decay_at"):
        assert csdi[name] == whole[name]
    assert alone["samples"] == stage["samples"] == whole["samples"]


def test_the_mtdms_is_what_the_mtdm_alone_fills_in(stays, tmp_path):
    """Trained with its tasks, by the same settings: labels and all, so that other labels make another imputer."""
    alone = composed("model=mtdm", "model/size=tiny").plain["model"]
    device = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "deterministic": True, "threads": 1}
    torch.manual_seed(stable_seed(0, "initial weights"))
    model = built(alone, shape=stays.shape)
    model.fit(stays, StageTrainer(folder=tmp_path, seed=0, max_epochs=1, **device))
    filled = fitted("mtdm", stays, tmp_path / "part").impute(stays.test[:5], 2)
    assert torch.equal(filled, model.impute(stays.test[:5], 2))
    data = type(stays)(stays.source, stays.settings, seed=0)
    data.setup()
    data.train = dataclasses.replace(data.train, label=data.train.label.flip(0))
    assert not torch.equal(filled, fitted("mtdm", data, tmp_path / "other").impute(stays.test[:5], 2))


def test_zero_and_mean_are_one_method(stays, tmp_path):
    """METHODS B.5, 1: in z-space to 1e-6."""
    zero, mean = (fitted(name, stays, tmp_path / name) for name in ("zero", "mean"))
    assert torch.allclose(zero.impute(stays.test, 1), mean.impute(stays.test, 1), atol=1e-6)


def test_the_nearest_stays_are_scikit_learns(stays, tmp_path):
    """On numbers without ties, which scikit-learn breaks by who else is asked about."""
    rng = np.random.default_rng(0)
    data = type(stays)(stays.source, stays.settings, seed=0)
    data.setup()
    noise = torch.from_numpy(rng.normal(0, 0.1, data.train.values.shape)).float()
    values = torch.where(data.train.observed, data.train.values + noise, 0.0)
    data.train = dataclasses.replace(data.train, values=values)
    asked = data.train[:40]
    asked = hide(
        asked, asked.observed & (torch.rand(asked.values.shape, generator=torch.Generator().manual_seed(0)) < 0.3)
    )
    nan = float("nan")
    reference = KNNImputer(n_neighbors=5, keep_empty_features=True)
    reference.fit(torch.where(data.train.observed, data.train.values, nan).flatten(1).numpy())
    expected = reference.transform(torch.where(asked.observed, asked.values, nan).flatten(1).numpy())
    found = fitted("knn", data, tmp_path).impute(asked, 1)[:, 0].flatten(1).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def plain_search(train, stay, k: int) -> torch.Tensor:
    """(T, V) that the k nearest of `train` with a cell give one stay; see models/imputers/knn.py."""
    both = train.observed & stay.observed
    shared = both.flatten(1).sum(1)
    squares = torch.where(both, train.values.double() - stay.values.double(), 0.0).square().flatten(1).sum(1)
    distance = (squares * stay.observed[0].numel() / shared).round(decimals=9).tolist()
    order = sorted((n for n in range(len(train)) if shared[n]), key=lambda n: (distance[n], n))
    filled = torch.zeros_like(train.values[0])
    for t, v in np.ndindex(*filled.shape):
        having = train.observed[:, t, v]
        donors = [n for n in order if having[n]][:k] or having.nonzero().flatten().tolist()
        if donors:
            filled[t, v] = train.values[donors, t, v].double().mean()
    return filled


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_the_nearest_stays_are_those_of_a_plain_search(k, stays, monkeypatch):
    """Bit for bit: with ties, cells that few training stays have, or none, or none that can be compared, and stays of few cells."""
    monkeypatch.setattr(knn, "CELLS_AT_ONCE", 1000)
    monkeypatch.setattr(knn, "STAYS_AT_ONCE", 3)
    generator = torch.Generator().manual_seed(0)

    def of_few_values(part):
        part = dataclasses.replace(part, values=part.values[:, :3, :4], observed=part.observed[:, :3, :4])
        values = torch.randn(part.values.shape, generator=generator).round()
        observed = torch.rand(values.shape, generator=generator) < torch.tensor([0.9, 0.4, 0.2, 0.03])
        return dataclasses.replace(part, values=values, observed=observed)

    train, asked = of_few_values(stays.train), of_few_values(stays.test[:8])
    train.observed[:, 0] = train.observed[:, 0] & (torch.arange(len(train)) == 9).unsqueeze(1)  # one has them
    train.observed[:, 0, 0] = False
    asked.observed[5:] = False
    asked.observed[5, 1, 3] = asked.observed[6, 0, 1] = True
    imputer = knn.KNN(shape=dataclasses.replace(stays.shape, hours=3, variables=tuple("abcd")), neighbours=k)
    imputer.fit(SimpleNamespace(train=train), None)
    found = imputer.impute(asked, 1)[:, 0]
    for b, stay in enumerate(asked[i : i + 1] for i in range(len(asked))):
        expected = torch.where(stay.observed[0], stay.values[0], plain_search(train, stay, k))
        assert torch.equal(found[b], expected), b


def test_a_filled_stay_has_a_value_everywhere_and_still_tells_what_was_measured(stays, tmp_path):
    from icu_lightning.models.two_stage import measured

    conf = composed("model=two_stage", "imputer=locf", "predictor=logistic_regression").plain["model"]
    model: TwoStage = built(conf, shape=stays.shape)
    filled = model.filled(stays.test)
    assert filled.observed.all()
    assert torch.equal(measured(filled), stays.test.observed)
    assert torch.equal(filled.values[stays.test.observed], stays.test.values[stays.test.observed])


def test_remasker_warms_up_and_falls_within_the_epochs_that_there_are(stays):
    imputer = of_conf("remasker", stays.shape)
    optimizer = torch.optim.AdamW(imputer.parameters(), lr=1.0)
    for epochs in (1, 10, 200):
        schedule = imputer.schedule(optimizer, epochs)
        factors = [schedule.lr_lambdas[0](epoch) for epoch in range(epochs)]
        highest = max(range(epochs), key=factors.__getitem__)
        assert factors[highest] == 1
        assert highest <= epochs / 2
        assert epochs == 1 or factors[-1] < 0.2, "the end of the cosine, not of the warm-up"


def test_remaskers_layers_are_those_of_torch():
    torch.manual_seed(0)
    ours = Transformer(width=16, heads=4, feedforward=24, layers=2)
    layer = torch.nn.TransformerEncoderLayer(16, 4, 24, 0.0, "gelu", batch_first=True, norm_first=True)
    theirs = torch.nn.TransformerEncoder(layer, 2, norm=torch.nn.LayerNorm(16), enable_nested_tensor=False)
    names = {"qkv.": "self_attn.in_proj_", "attended": "self_attn.out_proj", "up": "linear1", "down": "linear2"}
    names |= {"norm_1": "norm1", "norm_2": "norm2"}
    weights = {}
    for name, value in ours.state_dict().items():
        for own, of_torch in names.items():
            name = name.replace(f".{own}", f".{of_torch}")
        weights[name] = value
    theirs.load_state_dict(weights)
    x, ignored = torch.randn(3, 9, 16), torch.zeros(3, 9, dtype=torch.bool)
    ignored[1, 4:] = True
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert torch.allclose(ours(x, ignored), theirs(x, src_key_padding_mask=ignored), atol=1e-6)


def test_the_two_directions_of_brits_differ_only_where_nothing_was_observed(stays):
    network = of_conf("brits", stays.shape).network
    whole = dataclasses.replace(stays.test[:8], observed=torch.ones_like(stays.test[:8].observed))
    assert network.loss(whole)["consistency"] == 0, "what is imputed is the data there, in both directions"
    batch = stays.test[:8]
    forwards, backwards = network(batch).combined
    of_missing = (forwards - backwards).abs()[~batch.observed].sum() / batch.observed.numel()
    assert network.loss(batch)["consistency"].item() == pytest.approx(of_missing.item(), rel=1e-5)


def test_the_median_of_an_even_number_of_draws_is_between_the_two_in_the_middle(stays):
    class Draws:
        draws_differ, kept = True, False

        def impute(self, batch, n_samples):
            of_each = torch.arange(n_samples, dtype=batch.values.dtype).view(1, -1, 1, 1) ** 2
            made = of_each.expand(len(batch), -1, *batch.values.shape[1:])
            return torch.where(batch.observed.unsqueeze(1), batch.values.unsqueeze(1), made)

    conf = composed("model=two_stage", "imputer=locf", "predictor=logistic_regression").plain["model"]
    model: TwoStage = built(conf, shape=stays.shape)
    model.imputer = Draws()
    batch = stays.test[:5]
    for samples, median in ((1, 0.0), (4, 2.5), (5, 4.0)):
        model.samples = samples
        values = model.filled(batch).values
        assert torch.equal(values[batch.observed], batch.values[batch.observed])
        assert (values[~batch.observed] == median).all()
