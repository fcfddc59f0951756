"""Focal LSTM: an LSTM over hourly values, two dense layers, strong regularisation, focal loss.

    x (B, T, V) -> LSTM(64), last state -> Dense 32 ReLU -> Dropout -> Dense 16 ReLU -> Dropout -> Dense 1
    loss = focal(logit, label) + l2 (|W_x|^2 + |W_h|^2 + |W_32|^2 + |W_16|^2)

Notation and defaults are those of the original's Keras code, whose layers this port reproduces: dropout masks that are
constant over time, initial weights, 23,105 trainable parameters at 15 variables.

References: lehdermann/reproducible-mortality-prediction (A. Lehdermann Silveira, 2025), src/train_dl.py;
A Theoretically Grounded Application of Dropout in Recurrent Neural Networks (Gal, Ghahramani, 2016).
"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, listed, number, share, whole_number
from icu_lightning.models.base import RiskModule


class FocalLSTM(RiskModule):
    """The focal LSTM as a model.

    Arguments:
        shape: of the data.
        hidden: units of the LSTM.
        dense: units of the two dense layers.
        input_dropout, recurrent_dropout, dropout: of the LSTM's input, of its state, after each dense layer.
        l2: weight of the squared kernels.
        training: loss, optimizer, scheduler, max_epochs, patience of `RiskModule`.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        hidden: int,
        dense: tuple[int, int],
        input_dropout: float,
        recurrent_dropout: float,
        dropout: float,
        l2: float,
        **training: Any,
    ) -> None:
        if len(listed("model.dense", dense, "[32,16]")) != 2:
            raise UserError(f"model.dense must be the units of two layers, as in [32,16]; it is {dense}.")
        for units in dense:
            whole_number("each of model.dense", units, 1)
        dropouts = {"input_dropout": input_dropout, "recurrent_dropout": recurrent_dropout, "dropout": dropout}
        for name, value in dropouts.items():
            share(f"model.{name}", value)
        number("model.l2", l2, least=0)
        lstm = DropoutLSTM(shape.n_variables, hidden, input_dropout, recurrent_dropout)
        network = FocalLSTMNetwork(lstm, hidden, dense, dropout, l2)
        super().__init__(network=network, **training)

    @torch.no_grad()
    def embed(self, batch: StayBatch) -> Tensor:
        """(B, hidden) the LSTM's state after the last hour that counts, in double precision as in `predict`."""
        network = copy.deepcopy(cast(FocalLSTMNetwork, self.network)).double().eval()
        return network.state(batch.to(self.device).double()).cpu()

    def penalty(self) -> Tensor:
        return cast(FocalLSTMNetwork, self.network).penalty()


class FocalLSTMNetwork(nn.Module):
    """StayBatch -> logits (B)."""

    def __init__(self, lstm: "DropoutLSTM", hidden: int, dense: tuple[int, int], dropout: float, l2: float) -> None:
        super().__init__()
        self.lstm, self.l2 = lstm, l2
        self.dense_1, self.dense_2, self.out = (
            nn.Linear(hidden, dense[0]),
            nn.Linear(dense[0], dense[1]),
            nn.Linear(dense[1], 1),
        )
        self.dropout = nn.Dropout(dropout)
        for layer in (self.dense_1, self.dense_2, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def state(self, batch: StayBatch) -> Tensor:
        """(B, H) after the last hour that counts."""
        # Deviation: the original's Masking(0) never masks, because scaling turns its zeros into other numbers; here hours in
        # which nothing was measured are skipped, which is what that layer was for.
        return self.lstm(batch.values, batch.observed.any(dim=2))

    def forward(self, batch: StayBatch) -> Tensor:
        state = self.state(batch)
        state = self.dropout(F.relu(self.dense_1(state)))
        state = self.dropout(F.relu(self.dense_2(state)))
        return self.out(state).squeeze(1)

    def penalty(self) -> Tensor:
        """l2 times the squared kernels, as Keras' regularizers add it: no biases, not the output layer."""
        w_x, w_h, *_ = self.lstm.weights
        kernels = (w_x, w_h, self.dense_1.weight, self.dense_2.weight)
        return self.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()


class DropoutLSTM(nn.Module):
    """One LSTM layer with dropout on input and recurrent state, each stay's masks constant over its hours.

    torch's LSTM has no recurrent dropout, so training steps through the hours; without dropout the fused kernel gives the
    same numbers. Hours to skip are moved behind the others, and the state is read after the last hour that counts.
    """

    def __init__(self, n_variables: int, hidden: int, input_dropout: float, recurrent_dropout: float) -> None:
        super().__init__()
        self.cell = nn.LSTM(n_variables, hidden, batch_first=True)
        self.input_dropout, self.recurrent_dropout = input_dropout, recurrent_dropout
        w_x, w_h, bias, second_bias = self.weights
        nn.init.xavier_uniform_(w_x)
        nn.init.orthogonal_(w_h)
        nn.init.zeros_(bias)
        nn.init.ones_(bias.detach()[hidden : 2 * hidden])  # the forget gate's
        nn.init.zeros_(second_bias)
        second_bias.requires_grad_(False)  # torch has two biases where one suffices

    @property
    def weights(self) -> list[nn.Parameter]:
        """W_x (4 H, V), W_h (4 H, H), bias (4 H), and a second bias (4 H) that stays 0; gates in the order i, f, g, o."""
        return self.cell.all_weights[0]

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """(B, T, V), (B, T) bool, True for the hours that count -> the state (B, H) after the last of them, 0 if none."""
        order = (~counts).to(torch.uint8).argsort(dim=1, stable=True)  # hours that count first, in their order
        x = x.gather(1, order.unsqueeze(2).expand_as(x))
        states = self._stepwise(x) if self.training else self.cell(x)[0]  # (B, T, H)
        n = counts.sum(dim=1)  # (B)
        last = states[torch.arange(len(x), device=x.device), (n - 1).clamp(min=0)]
        return torch.where((n > 0).unsqueeze(1), last, 0.0)

    def _stepwise(self, x: Tensor) -> Tensor:
        """The LSTM's equations hour by hour, (B, T, V) -> (B, T, H)."""
        w_x, w_h, bias, _ = self.weights
        x = x * _mask(x.new_ones(len(x), 1, x.shape[2]), self.input_dropout)
        gates_x = F.linear(x, w_x, bias)  # (B, T, 4 H), all hours at once
        h = c = x.new_zeros(len(x), self.cell.hidden_size)
        keep = _mask(torch.ones_like(h), self.recurrent_dropout)
        states = []
        for gate_x in gates_x.unbind(1):
            i, f, g, o = torch.addmm(gate_x, h * keep, w_h.t()).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return torch.stack(states, dim=1)


def _mask(ones: Tensor, dropout: float) -> Tensor:
    return F.dropout(ones, dropout, training=True)
