"""BRITS, GRU-D and SAITS against their papers' equations, hour by hour with torch's own cells and attention, in double precision."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape
from icu_lightning.models.imputers.brits import Bidirectional
from icu_lightning.models.imputers.locf import carried_forward
from icu_lightning.models.imputers.saits import Block, TwoBlocks
from icu_lightning.models.predictors.gru_d import GRUDNetwork

HIDDEN = 8
close = partial(torch.testing.assert_close, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def stays(request):
    return request.getfixturevalue("synthetic_data")(400).test[:6].double()


def with_any_weights(network):
    """Biases too, which begin as 0 in some."""
    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.uniform_(weight, -0.5, 0.5)
    return network.double().eval().requires_grad_(False)


def gaps(observed: Tensor) -> list[Tensor]:
    """(B, V) of each hour: hours since a variable was measured before it; 1 in the first, as in BRITS' authors' script."""
    found = [torch.ones_like(observed[:, 0], dtype=torch.float64)]
    for seen in observed.unbind(1)[:-1]:
        found.append(torch.where(seen, 1.0, 1.0 + found[-1]))
    return found


def rits(network: Bidirectional, direction: int, x: Tensor, observed: Tensor) -> tuple[list[Tensor], Tensor]:
    """One direction, its hours in the order in which it goes -> x^, z^ and c^, each (B, T, V), and the last state (B, H)."""
    of = {name: weight[direction] for name, weight in network.named_parameters()}
    v = x.shape[2]

    def as_torch_has_them(gates: Tensor) -> Tensor:
        i, f, o, g = gates.chunk(4, dim=1)
        return torch.cat([i, f, g, o], dim=1).T

    cell = nn.LSTMCell(2 * v, HIDDEN).double().requires_grad_(False)
    cell.weight_ih.copy_(as_torch_has_them(torch.cat([of["gates_x"], of["gates_m"]])))
    cell.weight_hh.copy_(as_torch_has_them(of["gates_h"]))
    cell.bias_ih.copy_(as_torch_has_them(of["bias_gates"]).squeeze(1))
    cell.bias_hh.zero_()
    h = c = x.new_zeros(len(x), HIDDEN)
    made: list[list[Tensor]] = [[], [], []]
    for x_t, seen, delta in zip(x.unbind(1), observed.unbind(1), gaps(observed), strict=True):
        m = seen.double()
        gamma_h = torch.exp(-F.relu(delta @ of["decay_h"] + of["bias_decay_h"]))
        gamma_x = torch.exp(-F.relu(delta @ of["decay_x"].squeeze(0).diag() + of["bias_decay_x"]))
        h = gamma_h * h
        x_hat = h @ of["history"] + of["bias_history"]
        z_hat = (m * x_t + (1 - m) * x_hat) @ (of["features"] * (1 - torch.eye(v))) + of["bias_features"]
        beta = torch.sigmoid(torch.cat([gamma_x, m], dim=1) @ of["combine"] + of["bias_combine"])
        c_hat = beta * z_hat + (1 - beta) * x_hat
        h, c = cell(torch.cat([m * x_t + (1 - m) * c_hat, m], dim=1), (h, c))
        for part, estimate in zip(made, (x_hat, z_hat, c_hat), strict=True):
            part.append(estimate)
    return [torch.stack(part, dim=1) for part in made], h


def test_brits_is_its_equations_forwards_and_backwards(stays):
    network = with_any_weights(Bidirectional(stays.values.shape[2], HIDDEN, consistency=0.1))
    found = network(stays)
    forwards, last = rits(network, 0, stays.values, stays.observed)
    backwards, first = rits(network, 1, stays.values.flip(1), stays.observed.flip(1))
    for part, ahead, back in zip(found[:3], forwards, backwards, strict=True):
        close(part, torch.stack([ahead, back.flip(1)]))
    close(found.state, torch.stack([last, first]))
    close(network.estimate(stays), (forwards[2] + backwards[2].flip(1)) / 2)


def test_gru_d_is_its_equations_on_the_last_observation_carried_forward(stays):
    v = stays.values.shape[2]
    network = with_any_weights(GRUDNetwork(v, HIDDEN, dropout=0.0))
    cell = nn.GRUCell(2 * v, HIDDEN).double()
    names = {"weight_ih": network.gates_x.weight, "weight_hh": network.gates_h.weight}
    cell.load_state_dict(names | {"bias_ih": network.gates_x.bias, "bias_hh": network.gates_h.bias})
    h, last = stays.values.new_zeros(len(stays), HIDDEN), stays.values.new_zeros(len(stays), v)
    for x, seen, delta in zip(stays.values.unbind(1), stays.observed.unbind(1), gaps(stays.observed), strict=True):
        m = seen.double()
        gamma_x = torch.exp(-F.relu(delta @ network.decay_x.diag() + network.bias_x))
        gamma_h = torch.exp(-F.relu(delta @ network.decay_h.weight.T + network.decay_h.bias))
        x_hat = m * x + (1 - m) * gamma_x * last  # decays to the mean, 0 of z-scores
        h = cell(torch.cat([x_hat, m], dim=1), gamma_h * h)
        last = torch.where(seen, x, last)
    filled = replace(
        stays, values=carried_forward(stays.values, stays.observed), observed=torch.ones_like(stays.observed)
    )
    close(network.state(filled), h)


def block(of: Block, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, 2 V) -> states (B, T, D), and the last layer's attention over its heads (B, T, T), none of it on the diagonal."""
    h = of.into(x) + of.hours
    own = torch.eye(x.shape[1], dtype=torch.bool)
    for layer in of.layers:
        attention = nn.MultiheadAttention(h.shape[2], layer.heads, bias=False, batch_first=True).double()
        attention.load_state_dict({"in_proj_weight": layer.qkv.weight, "out_proj.weight": layer.attended.weight})
        attended, weight = attention(h, h, h, attn_mask=own)
        h = layer.norm_1(h + attended)
        h = layer.norm_2(h + layer.down(F.relu(layer.up(h))))
    return h, weight


def test_saits_is_its_equations_and_no_hour_attends_to_itself(stays):
    """In either block: an hour's own value reaches its estimate by what is added to a layer's attention alone, as in the paper."""
    hours, variables = stays.values.shape[1:]
    shape = BatchShape(hours, tuple(map(str, range(variables))), ())
    network = with_any_weights(TwoBlocks(shape, 16, 2, 4, 24, 0.0, 0.5))
    x, m = stays.values, stays.observed.double()
    state, _ = block(network.first, torch.cat([x, m], dim=2))
    x_1 = network.reduce_1(state)
    state, attended = block(network.second, torch.cat([m * x + (1 - m) * x_1, m], dim=2))
    x_2 = network.reduce_3(F.relu(network.reduce_2(state)))
    eta = torch.sigmoid(network.weigh(torch.cat([m, attended], dim=2)))
    for found, expected in zip(network(x, stays.observed), (x_1, x_2, (1 - eta) * x_1 + eta * x_2), strict=True):
        close(found, expected)
    for part in (network.first, network.second):
        assert (part(torch.cat([x, m], dim=2))[1].diagonal(dim1=1, dim2=2) == 0).all()
