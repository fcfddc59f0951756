"""BRITS: a recurrent network forwards and one backwards in time, each of which imputes an hour from its state before it reads it.

    h~ = exp(-relu(W_h delta + b)) h                                   delta: hours since a variable was measured before
    x^ = W_x h~ + b                      z^ = W_z [m x + (1 - m) x^] + b, W_z without its diagonal
    c^ = beta z^ + (1 - beta) x^         beta = sigmoid(W [gamma_x, m])
    h  = LSTM([m x + (1 - m) c^, m], h~)
    loss = mean |x - x^| + mean |x - z^| + mean |x - c^|, over observed cells of both directions,
           + consistency mean |c_f - c_b| of what is not observed (0 where it is)

Notation is the paper's. Both directions are one batch of two: each hour is a few products for both, and everything that
does not depend on the state (decays, beta, the mask's share of the gates) is made of all hours at once.

Deviation: errors are averaged over all observed cells, not hour by hour, so that an hour with one measurement weighs as one. The
authors' script has .3 times the sum over hours and both directions, so consistency weighs .6 T times as much here, 14 times at 24 h.

References: BRITS: Bidirectional Recurrent Imputation for Time Series (Cao et al., 2018), Eq. 1 to 12.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape, StayBatch, hours_since_last
from icu_lightning.errors import check_widths, number
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.trained import TrainedImputer, masked_mean
from icu_lightning.models.losses import at_prevalence_of_training

DIRECTIONS = 2


class BRITS(TrainedImputer):
    """The imputer.

    Arguments:
        shape: of the data.
        hidden: units of each direction.
        consistency: weight of the two directions' difference, 0 or more.
        training: optimizer, max_epochs, patience of `TrainedImputer`.

    Raises UserError for another weight.

    `network.label_weight` is 0 unless a predictor is trained along, see predictors/brits.py.
    """

    def __init__(self, *, shape: BatchShape, hidden: int, consistency: float, **training: Any) -> None:
        check_widths("model.imputer", hidden=hidden)
        number("model.imputer.consistency", consistency, least=0)
        super().__init__(network=Bidirectional(shape.n_variables, hidden, consistency), **training)
        self.survivor_weight = 1.0  # of validation survivors, in the loss of labels

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        self.survivor_weight = data.prior_odds or 1.0
        super().fit(data, trainer)

    def validation_loss(self, batch: StayBatch) -> tuple[Tensor, Tensor]:
        error, n = super().validation_loss(batch)
        if self.network.label_weight:
            logits = self.network.logits(self.network(batch))
            of_labels, _ = at_prevalence_of_training(
                lambda rows: label_loss(logits[:, rows], batch.label[rows]), batch.label, self.survivor_weight
            )
            error = error + self.network.label_weight * of_labels
        return error, n


class Pass(NamedTuple):
    """Of both directions, hours in their usual order: estimates (2, B, T, V) from the state, from the other variables, of both; and
    the last states (2, B, H)."""

    history: Tensor
    features: Tensor
    combined: Tensor
    state: Tensor


class Bidirectional(nn.Module):
    """The network.

    Arguments:
        n_variables: V.
        hidden: H.
        consistency: weight.
    """

    diagonal: Tensor

    def __init__(self, n_variables: int, hidden: int, consistency: float) -> None:
        super().__init__()
        v, h = n_variables, hidden
        self.hidden, self.consistency, self.label_weight = hidden, consistency, 0.0
        self.decay_h, self.bias_decay_h = _weight(v, v, h), _weight(v, 1, h)
        self.decay_x, self.bias_decay_x = _weight(v, 1, v), _weight(v, 1, v)
        self.history, self.bias_history = _weight(h, h, v), _weight(h, 1, v)
        self.features, self.bias_features = _weight(v, v, v), _weight(v, 1, v)
        self.combine, self.bias_combine = _weight(2 * v, 2 * v, v), _weight(2 * v, 1, v)
        self.gates_x, self.gates_m = _weight(h, v, 4 * h), _weight(h, v, 4 * h)
        self.gates_h, self.bias_gates = _weight(h, h, 4 * h), _weight(h, 1, 4 * h)
        self.out, self.bias_out = _weight(h, h, 1), _weight(h, 1, 1)
        self.register_buffer("diagonal", torch.eye(v, dtype=torch.bool), persistent=False)

    def loss(self, batch: StayBatch) -> Mapping[str, Tensor]:
        made = self(batch)
        parts = (made.history, made.features, made.combined)
        errors = torch.stack([masked_mean((part - batch.values).abs().mean(0), batch.observed) for part in parts])
        differ = (made.combined[0] - made.combined[1]).abs().masked_fill(batch.observed, 0.0).mean()
        loss = errors.sum() + self.consistency * differ
        named = {"imputation": errors[2], "consistency": differ}
        if self.label_weight:
            named["mortality"] = label_loss(self.logits(made), batch.label)
            loss = loss + self.label_weight * named["mortality"]
        return {"loss": loss, **named}

    def estimate(self, batch: StayBatch) -> Tensor:
        return self(batch).combined.mean(0)

    def logits(self, made: Pass) -> Tensor:
        """(2, B) of each direction's last state."""
        return torch.baddbmm(self.bias_out, made.state, self.out).squeeze(2)

    def forward(self, batch: StayBatch) -> Pass:
        seen = _both(batch.observed)  # (T, 2, B, V)
        x = _both(torch.where(batch.observed, batch.values, 0.0))
        delta = torch.stack([_before(batch.observed), _before(batch.observed.flip(1))], dim=1).to(x)
        m = seen.to(x.dtype)
        decay_h = torch.exp(-F.relu(delta @ self.decay_h + self.bias_decay_h))  # (T, 2, B, H)
        decay_x = torch.exp(-F.relu(delta * self.decay_x + self.bias_decay_x))
        beta = torch.sigmoid(torch.cat([decay_x, m], dim=3) @ self.combine + self.bias_combine)
        gates_m = m @ self.gates_m + self.bias_gates  # (T, 2, B, 4 H)
        return self._through_time(x, seen, decay_h, beta, gates_m)

    def _through_time(self, x: Tensor, seen: Tensor, decay_h: Tensor, beta: Tensor, gates_m: Tensor) -> Pass:
        without_self = self.features.masked_fill(self.diagonal, 0.0)
        h = c = x.new_zeros(DIRECTIONS, x.shape[2], self.hidden)
        history, features, combined = [], [], []
        hours = zip(x.unbind(0), seen.unbind(0), decay_h.unbind(0), beta.unbind(0), gates_m.unbind(0), strict=True)
        for x_t, seen_t, decay_t, beta_t, gates_t in hours:
            h = h * decay_t
            x_hat = torch.baddbmm(self.bias_history, h, self.history)  # Eq. 1 of the paper
            z_hat = torch.baddbmm(self.bias_features, torch.where(seen_t, x_t, x_hat), without_self)  # Eq. 7
            c_hat = x_hat + beta_t * (z_hat - x_hat)  # Eq. 9; torch.lerp refuses numbers of two precisions
            gates = torch.baddbmm(gates_t, torch.where(seen_t, x_t, c_hat), self.gates_x)
            gates = torch.baddbmm(gates, h, self.gates_h)
            ifo, g = gates.split([3 * self.hidden, self.hidden], dim=2)
            i, f, o = torch.sigmoid(ifo).chunk(3, dim=2)
            c = torch.addcmul(f * c, i, torch.tanh(g))
            h = o * torch.tanh(c)
            history.append(x_hat)
            features.append(z_hat)
            combined.append(c_hat)
        x_hat, z_hat, c_hat = (_in_order(torch.stack(part)) for part in (history, features, combined))
        return Pass(x_hat, z_hat, c_hat, h)


def label_loss(logits: Tensor, label: Tensor) -> Tensor:
    """(2, B), (B) -> ()"""
    return F.binary_cross_entropy_with_logits(logits, label.expand(DIRECTIONS, -1))


def _weight(fan_in: int, *size: int) -> nn.Parameter:
    """(2, ...) one a direction, as torch's own layers begin."""
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(DIRECTIONS, *size).uniform_(-bound, bound))


def _both(part: Tensor) -> Tensor:
    """(B, T, V) -> (T, 2, B, V): forwards, and backwards in time."""
    hours = part.transpose(0, 1)
    return torch.stack([hours, hours.flip(0)], dim=1)


def _in_order(part: Tensor) -> Tensor:
    """(T, 2, B, V), each direction in the order in which it went -> (2, B, T, V), the hours in their order."""
    return torch.stack([part[:, 0], part[:, 1].flip(0)]).transpose(1, 2)


def _before(observed: Tensor) -> Tensor:
    """(B, T, V) -> (T, B, V) hours since a variable was measured, this hour not looked at; 1 in the first."""
    return (F.pad(hours_since_last(observed)[:, :-1], (0, 0, 1, 0)) + 1).transpose(0, 1)
