"""The focal LSTM: the original's sizes and regularisation, and masking that masks."""

import dataclasses

import pytest
import torch

from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.models.focal_lstm import DropoutLSTM
from tests.conftest import composed

CONF = composed("model=focal_lstm").plain["model"]


def model(n_variables: int = 15, **changes):
    return built(CONF | changes, shape=BatchShape(48, tuple(map(str, range(n_variables))), ()))


def test_it_has_as_many_trainable_parameters_as_the_original():
    assert sum(p.numel() for p in model().parameters() if p.requires_grad) == 23_105


def test_the_risk_follows_from_the_embedding(synthetic_data):
    test = synthetic_data().test
    made = built(CONF, shape=synthetic_data().shape)
    state = made.embed(test)
    network = made.network.double().eval()
    logit = network.out(torch.relu(network.dense_2(torch.relu(network.dense_1(state)))))
    assert state.shape == (len(test), 64)
    assert torch.allclose(torch.sigmoid(logit), made.predict(test), atol=1e-12)


@pytest.fixture
def series():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 10, 4, generator=generator), torch.rand(6, 10, generator=generator) < 0.6


def test_stepping_through_the_hours_equals_the_fused_kernel_where_nothing_is_dropped(series):
    x, counts = series
    lstm = DropoutLSTM(4, 8, 0.0, 0.0)
    trained = lstm.train()(x, counts)
    assert torch.allclose(trained, lstm.eval()(x, counts), atol=1e-6)


def test_skipped_hours_are_as_if_they_had_never_been(series):
    x, counts = series
    lstm = DropoutLSTM(4, 8, 0.5, 0.3).eval()
    for stay in range(len(x)):
        alone = lstm.cell(x[stay, counts[stay]].unsqueeze(0))[0][0, -1]
        assert torch.allclose(lstm(x, counts)[stay], alone, atol=1e-6)


def test_a_stay_without_any_measurement_has_the_initial_state(series):
    x, counts = series
    counts[2] = False
    for mode in (True, False):
        assert (DropoutLSTM(4, 8, 0.5, 0.3).train(mode)(x, counts)[2] == 0).all()


def test_dropout_masks_are_constant_over_the_hours(monkeypatch, series):
    """Two masks a call, one of the input (B, 1, V), one of the state (B, H): not one an hour."""
    shapes = []
    real = torch.nn.functional.dropout
    monkeypatch.setattr(
        torch.nn.functional,
        "dropout",
        lambda ones, p, training: shapes.append((*ones.shape, p)) or real(ones, p, training),
    )
    DropoutLSTM(4, 8, 0.5, 0.3).train()(*series)
    assert shapes == [(6, 1, 4, 0.5), (6, 8, 0.3)]


def test_the_penalty_is_of_four_kernels_and_nothing_else():
    penalised = model()
    network = penalised.network
    kernels = [
        network.lstm.cell.weight_ih_l0,
        network.lstm.cell.weight_hh_l0,
        network.dense_1.weight,
        network.dense_2.weight,
    ]
    assert penalised.penalty().item() == pytest.approx(
        network.l2 * sum(k.detach().square().sum().item() for k in kernels), rel=1e-6
    )
    penalised.penalty().backward()
    touched = {name for name, p in penalised.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert touched == {
        "network.lstm.cell.weight_ih_l0",
        "network.lstm.cell.weight_hh_l0",
        "network.dense_1.weight",
        "network.dense_2.weight",
    }
    assert torch.allclose(kernels[2].grad, 2 * network.l2 * kernels[2])


def test_values_of_an_hour_without_measurements_cannot_matter(synthetic_data):
    batch = synthetic_data().test
    observed, garbage = batch.observed.clone(), batch.values.clone()
    observed[:, 5], garbage[:, 5] = False, 99.0
    fresh = model(batch.values.shape[2])
    assert not torch.equal(fresh.predict(batch), fresh.predict(dataclasses.replace(batch, values=garbage)))
    hidden = dataclasses.replace(batch, observed=observed)
    assert torch.equal(fresh.predict(hidden), fresh.predict(dataclasses.replace(hidden, values=garbage)))
