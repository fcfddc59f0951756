"""SAITS: two blocks of self-attention over the hours, whose estimates are weighed by how each cell was attended to.

    X1 = reduce(block_1([X, M]))                       every hour attends to the others, never to itself
    X2 = reduce(block_2([M X + (1 - M) X1, M]))
    X3 = (1 - eta) X1 + eta X2                         eta = sigmoid(W [A, M]), A the last layer's attention, over its heads
    loss = mean |X - X1|, |X - X2|, |X - X3| of shown cells / 3 + mean |X - X3| of cells that are hidden for the occasion

Deviation: a layer normalises after attention and after its feed-forward part, as the Transformer that the paper cites and PyPOTS'
SAITS; the authors' own code does before them.

Notation is the paper's; cells hidden for the occasion are its masked imputation task (MIT), shown ones its reconstruction (ORT).

References: SAITS: Self-Attention-based Imputation for Time Series (Du, Cote, Liu, 2023), Eq. 9 to 20.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import check_widths, number
from icu_lightning.models.imputers.trained import TrainedImputer, masked_mean
from icu_lightning.models.mtdm.denoiser import sinusoids_of_hours


class SAITS(TrainedImputer):
    """The imputer.

    Arguments:
        shape: of the data.
        width, layers, heads, feedforward, dropout: of each block; the width is even, and a multiple of the heads.
        hidden_share: of observed cells that training hides for the occasion, by lot.
        training: optimizer, max_epochs, patience of `TrainedImputer`.

    Raises UserError for a share that cannot be, and ValueError for such a width.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        hidden_share: float,
        **training: Any,
    ) -> None:
        check_widths("model.imputer", width=width, layers=layers, heads=heads, feedforward=feedforward)
        if width % heads or width % 2:
            raise ValueError(f"width ({width}) must be even, and a multiple of heads ({heads})")
        number("model.imputer.dropout", dropout, least=0, below=1)
        number("model.imputer.hidden_share", hidden_share, above=0, below=1)
        network = TwoBlocks(shape, width, layers, heads, feedforward, dropout, hidden_share)
        super().__init__(network=network, **training)


class TwoBlocks(nn.Module):
    """The network; arguments as of `SAITS`."""

    def __init__(
        self,
        shape: BatchShape,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        hidden_share: float,
    ) -> None:
        super().__init__()
        v = shape.n_variables
        self.hidden_share = hidden_share
        self.first, self.second = (Block(shape, width, layers, heads, feedforward, dropout) for _ in range(2))
        self.reduce_1, self.reduce_2, self.reduce_3 = nn.Linear(width, v), nn.Linear(width, v), nn.Linear(v, v)
        self.weigh = nn.Linear(shape.hours + v, v)

    def loss(self, batch: StayBatch) -> Mapping[str, Tensor]:
        hidden = batch.observed & (torch.rand_like(batch.values) < self.hidden_share)
        shown = batch.observed & ~hidden
        estimates = self(batch.values, shown)
        told = torch.stack([masked_mean((part - batch.values).abs(), shown) for part in estimates]).mean()
        found = masked_mean((estimates[2] - batch.values).abs(), hidden)
        return {"loss": told + found, "reconstruction": told, "imputation": found}

    def estimate(self, batch: StayBatch) -> Tensor:
        return self(batch.values, batch.observed)[2]

    def forward(self, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, V), of which observed ones alone are looked at, and (B, T, V) bool -> X1, X2, X3."""
        m = observed.to(values.dtype)
        x = torch.where(observed, values, 0.0)
        state, _ = self.first(torch.cat([x, m], dim=2))
        x_1 = self.reduce_1(state)
        state, attended = self.second(torch.cat([torch.where(observed, x, x_1), m], dim=2))
        x_2 = self.reduce_3(F.relu(self.reduce_2(state)))
        eta = torch.sigmoid(self.weigh(torch.cat([m, attended], dim=2)))
        return x_1, x_2, torch.lerp(x_1, x_2, eta)


class Block(nn.Module):
    """Hours [X, M] (B, T, 2 V) -> states (B, T, D), and the last layer's attention over its heads (B, T, T)."""

    hours: Tensor

    def __init__(
        self, shape: BatchShape, width: int, layers: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.into, self.dropout = nn.Linear(2 * shape.n_variables, width), ByteDropout(dropout)
        self.register_buffer("hours", sinusoids_of_hours(shape.hours, width), persistent=False)
        self.layers = nn.ModuleList(Layer(shape.hours, width, heads, feedforward, dropout) for _ in range(layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.dropout(self.into(x) + self.hours)
        for layer in self.layers:
            h, weight = layer(h)
        return h, weight.mean(1)  # (B, heads, T, T) -> (B, T, T)


class Layer(nn.Module):
    """Attention without the diagonal, then a feed-forward part; each is added to its input and normalised."""

    diagonal: Tensor

    def __init__(self, hours: int, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, ByteDropout(dropout)
        self.qkv, self.attended = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        own = torch.eye(hours, dtype=torch.bool) & torch.tensor(hours > 1)  # a single hour has itself alone
        self.register_buffer("diagonal", torch.zeros(hours, hours).masked_fill(own, float("-inf")), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n, hours, width = x.shape
        # (B, T, 3 D) -> (3, B, heads, T, D / heads)
        q, k, v = self.qkv(x).view(n, hours, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(2, 3) + self.diagonal
        weight = scores.softmax(3)
        state = (weight @ v).transpose(1, 2).reshape(n, hours, width)
        x = self.norm_1(self.dropout(self.attended(state)) + x)
        return self.norm_2(self.dropout(self.down(F.relu(self.up(x)))) + x), weight


class ByteDropout(nn.Module):
    """Dropout by random bytes, eight of a 64-bit number: torch draws a number a cell, a fifth of this network's time on a CPU.

    The share is the nearest of 256ths, and what stays is scaled by what that share leaves.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.limit = min(255, round(256 * share))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.limit:
            return x
        numbers = torch.empty(x.numel() // 8 + 1, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = numbers.view(torch.uint8)[: x.numel()].view_as(x) >= self.limit
        return x * kept.to(x.dtype).mul_(256 / (256 - self.limit))
