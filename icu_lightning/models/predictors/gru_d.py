"""GRU-D: a GRU whose inputs and state decay with the time since a variable was measured.

    gamma = exp(-relu(W delta + b))            delta: hours since the variable was last measured, of hours before this one
    x^ = m x + (1 - m) gamma_x fill            gamma_x diagonal; fill in place of the last observation, decaying to the mean, 0
    h = GRU([x^, m], gamma_h h)

With `imputer=locf` the fill is the last observation and this is GRU-D as published; another imputer's fill decays in its place.
Nothing but the state depends on the hour before, so inputs, decays and their products with the weights are made of all hours at once.

Deviation: delta is 1 in the first hour and counts on from it, where the paper begins with 0, because `hours_since` counts from 1 too;
and the reset gate is applied after U h, as torch's GRU has it, not before.

References: Recurrent Neural Networks for Multivariate Time Series with Missing Values (Che, Purushotham, Cho, Sontag, Liu, 2018).
"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import check_widths, share
from icu_lightning.models.base import RiskModule
from icu_lightning.models.two_stage import measured


class GRUD(RiskModule):
    """The predictor.

    Arguments:
        shape: of the data.
        hidden: units.
        dropout: before the last layer.
        training: loss, optimizer, scheduler, max_epochs, patience, monitor of `RiskModule`.
    """

    def __init__(self, *, shape: BatchShape, hidden: int, dropout: float, **training: Any) -> None:
        check_widths("model.predictor", hidden=hidden)
        share("model.predictor.dropout", dropout)
        super().__init__(network=GRUDNetwork(shape.n_variables, hidden, dropout), **training)

    @torch.no_grad()
    def embed(self, batch: StayBatch) -> Tensor:
        """(B, H): the last state, in double precision as in `predict`."""
        network = copy.deepcopy(cast(GRUDNetwork, self.network)).double().eval()
        return network.state(batch.to(self.device).double()).cpu()


class GRUDNetwork(nn.Module):
    """Filled stays -> logits (B)."""

    def __init__(self, n_variables: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.decay_x, self.bias_x = nn.Parameter(torch.rand(n_variables) * 0.1), nn.Parameter(torch.zeros(n_variables))
        self.decay_h = nn.Linear(n_variables, hidden)
        self.gates_x, self.gates_h = nn.Linear(2 * n_variables, 3 * hidden), nn.Linear(hidden, 3 * hidden)
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(hidden, 1)

    def state(self, batch: StayBatch) -> Tensor:
        """(B, H) after the last hour."""
        seen = measured(batch)
        m, delta = seen.to(batch.values.dtype), hours_before(batch.hours_since)
        fill = torch.exp(-F.relu(delta * self.decay_x + self.bias_x)) * batch.values
        x = torch.where(seen, batch.values, fill)
        gates_x = self.gates_x(torch.cat([x, m], dim=2)).transpose(0, 1)  # (B, T, 3 H) -> (T, B, 3 H)
        decay = torch.exp(-F.relu(self.decay_h(delta))).transpose(0, 1)
        h = x.new_zeros(len(x), self.hidden)
        of_gates, of_new = gates_x.split([2 * self.hidden, self.hidden], dim=2)
        for decayed, gate_x, new_x in zip(decay.unbind(0), of_gates.unbind(0), of_new.unbind(0), strict=True):
            h = h * decayed
            gate_h, new_h = self.gates_h(h).split([2 * self.hidden, self.hidden], dim=1)
            reset, update = torch.sigmoid(gate_x + gate_h).chunk(2, dim=1)
            new = torch.tanh(torch.addcmul(new_x, reset, new_h))
            h = new + update * (h - new)  # torch.lerp refuses numbers of two precisions
        return h

    def forward(self, batch: StayBatch) -> Tensor:
        return self.out(self.dropout(self.state(batch))).squeeze(1)


def hours_before(hours_since: Tensor) -> Tensor:
    """(B, T, V) hours since a variable was measured, that of the hour itself not looked at: 1, 1 + those of the hour before, ...

    >>> hours_before(torch.tensor([[[1.0], [0.0], [1.0], [2.0]]])).flatten().tolist()
    [1.0, 2.0, 1.0, 2.0]
    """
    return F.pad(hours_since[:, :-1], (0, 0, 1, 0)) + 1
