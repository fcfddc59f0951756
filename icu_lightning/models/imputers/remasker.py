"""ReMasker: a masked autoencoder whose tokens are cells. Of a stay's observed cells half are masked again, and told from the others.

    tokens: W value + position of each cell kept, and a class token -> encoder
    decoder: the encoded tokens in their places, one learned token in every other -> tanh / 2 + 1/2, in [0, 1]
    loss = mean (x - x^)^2 of cells that are masked again + mean (x - x^)^2 of cells kept

Made for tables: a stay is flattened to a row of T V fields, each scaled to [0, 1] by the training stays.
Deviation: the range is a variable's over all hours, since the rarest cells are measured in a stay or two; padding is not attended
to, so that a stay's estimates do not depend on how many cells the others have; and a position is that of the hour beside that of the
variable, half of the width each, as masked autoencoders of images have it, because of a field's number among T V the variable is the
remainder, which takes longer to learn (seen in one fit of each).

References: ReMasker: Imputing Tabular Data with Masked Autoencoding (Du, Melis, Wang, 2024).
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import check_widths, number, share, whole_number
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.trained import TrainedImputer, masked_mean
from icu_lightning.models.mtdm.denoiser import sinusoids_of_hours

SQUARES_AT_ONCE = 2**24  # pairs of cells in a call that is not trained on; bounds the memory


class ReMasker(TrainedImputer):
    """The imputer.

    Arguments:
        shape: of the data.
        width, heads, feedforward: of every layer; the width is a multiple of four, and of the heads.
        encoder_layers, decoder_layers: how many.
        masked_share: of the observed cells that are masked again in training.
        warm_up: epochs in which the learning rate rises; then it falls as a cosine to `lowest` of it, 0 to 1, at max_epochs.
        training: optimizer, max_epochs, patience of `TrainedImputer`.

    Raises UserError for a share that cannot be, and ValueError for such a width.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        width: int,
        heads: int,
        feedforward: int,
        encoder_layers: int,
        decoder_layers: int,
        masked_share: float,
        warm_up: int,
        lowest: float,
        **training: Any,
    ) -> None:
        check_widths("model.imputer", width=width, heads=heads, feedforward=feedforward)
        check_widths("model.imputer", encoder_layers=encoder_layers, decoder_layers=decoder_layers)
        if width % heads or width % 4:
            raise ValueError(f"width ({width}) must be a multiple of four, and of heads ({heads})")
        number("model.imputer.masked_share", masked_share, above=0, below=1)
        share("model.imputer.lowest", lowest)
        network = CellAutoencoder(shape, width, heads, feedforward, (encoder_layers, decoder_layers), masked_share)
        super().__init__(network=network, **training)
        self.warm_up, self.lowest = whole_number("model.imputer.warm_up", warm_up, 0), lowest

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        self.network.fit_range(data.train)
        super().fit(data, trainer)

    def schedule(self, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
        return torch.optim.lr_scheduler.LambdaLR(optimizer, partial(self._factor, epochs=epochs))

    def _factor(self, epoch: int, epochs: int) -> float:
        """Of the learning rate: the warm-up, no longer than half of the epochs that there are, then the cosine."""
        warm_up = min(self.warm_up, epochs // 2)
        if epoch < warm_up:
            return (epoch + 1) / warm_up
        share = min(1.0, (epoch - warm_up) / max(1, epochs - warm_up))
        return self.lowest + (1 - self.lowest) * 0.5 * (1 + math.cos(math.pi * share))


class CellAutoencoder(nn.Module):
    """The network; `layers` are the encoder's and the decoder's, the others as of `ReMasker`."""

    low: Tensor  # (V) of the training stays
    span: Tensor  # (V)
    places: Tensor  # (T V, D)

    def __init__(
        self,
        shape: BatchShape,
        width: int,
        heads: int,
        feedforward: int,
        layers: tuple[int, int],
        masked_share: float,
    ) -> None:
        super().__init__()
        self.masked_share = masked_share
        self.register_buffer("low", torch.zeros(shape.n_variables))
        self.register_buffer("span", torch.ones(shape.n_variables))
        self.register_buffer("places", positions(shape, width))
        self.into, self.between, self.out = nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.first, self.nothing = (nn.Parameter(torch.randn(1, 1, width) * 0.02) for _ in range(2))
        self.encoder, self.decoder = (Transformer(width, heads, feedforward, n) for n in layers)

    def fit_range(self, train: StayBatch) -> None:
        """The lowest and highest z-score of each variable."""
        low = torch.where(train.observed, train.values, float("inf")).amin((0, 1))
        high = torch.where(train.observed, train.values, float("-inf")).amax((0, 1))
        there = low < high
        self.low.copy_(torch.where(there, low, 0.0))
        self.span.copy_(torch.where(there, high - low, 1.0))

    def loss(self, batch: StayBatch) -> Mapping[str, Tensor]:
        masked = batch.observed & (torch.rand_like(batch.values) < self.masked_share)
        shown = batch.observed & ~masked
        error = (self(batch.values, shown) - self._scaled(batch.values)).square()
        named = {"masked": masked_mean(error, masked), "shown": masked_mean(error, shown)}
        return {"loss": named["masked"] + named["shown"], **named}

    def estimate(self, batch: StayBatch) -> Tensor:
        at_once = max(1, SQUARES_AT_ONCE // len(self.places) ** 2)
        parts = [slice(i, i + at_once) for i in range(0, len(batch), at_once)]
        scaled = torch.cat([self(batch.values[part], batch.observed[part]) for part in parts])
        return scaled * self.span + self.low

    def forward(self, values: Tensor, observed: Tensor) -> Tensor:
        """(B, T, V), of which observed ones alone are looked at, and (B, T, V) bool -> (B, T, V) in [0, 1]."""
        x = torch.where(observed, self._scaled(values), 0.0).flatten(1).unsqueeze(2)  # (B, T, V) -> (B, T V, 1)
        seen = observed.flatten(1)
        kept, n_kept = seen.to(torch.uint8).argsort(dim=1, descending=True, stable=True), int(seen.sum(1).amax())
        kept = kept[:, :n_kept].unsqueeze(2)  # (B, K, 1) places of the cells kept; those of stays with fewer are padded
        padding = ~seen.gather(1, kept.squeeze(2))
        tokens = (self.into(x) + self.places).gather(1, kept.expand(-1, -1, self.places.shape[1]))
        first = self.first.expand(len(x), -1, -1)
        ignored = torch.cat([padding.new_zeros(len(x), 1), padding], dim=1)
        encoded = self.encoder(torch.cat([first, tokens], dim=1), ignored)
        encoded = self.between(encoded)
        whole = self.nothing.expand(len(x), x.shape[1], -1).scatter(
            1, kept.expand_as(encoded[:, 1:]), torch.where(padding.unsqueeze(2), self.nothing, encoded[:, 1:])
        )
        decoded = self.decoder(torch.cat([encoded[:, :1], whole + self.places], dim=1))[:, 1:]
        return (torch.tanh(self.out(decoded)) / 2 + 0.5).squeeze(2).view_as(values)

    def _scaled(self, values: Tensor) -> Tensor:
        return (values - self.low) / self.span


def positions(shape: BatchShape, width: int) -> Tensor:
    """(T V, D): sines and cosines of the hour, then of the variable's number."""
    hours, variables = (sinusoids_of_hours(n, width // 2) for n in (shape.hours, shape.n_variables))
    return torch.cat([hours.repeat_interleave(shape.n_variables, dim=0), variables.repeat(shape.hours, 1)], dim=1)


class Transformer(nn.Module):
    """(B, L, D) -> (B, L, D), normalised before each part of a layer and at the end."""

    def __init__(self, width: int, heads: int, feedforward: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads, feedforward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, ignored: Tensor | None = None) -> Tensor:
        """`ignored` is (B, L) bool, of what is not attended to."""
        mask = None if ignored is None else ~ignored[:, None, None]
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class Layer(nn.Module):
    """Attention and a feed-forward part, each added to its input.

    A head's cells are side by side in memory. In torch.nn.TransformerEncoderLayer they are a batch's width apart, and without
    gradients all weights are written out: on a CPU, at 264 cells, a training step of that takes 1.7 times as long.
    """

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.qkv.weight)  # as nn.MultiheadAttention
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.attended.bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        n, length, width = x.shape
        qkv = self.qkv(self.norm_1(x)).view(n, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).contiguous().unbind(0)  # (B, heads, L, D / heads)
        state = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.attended(state.transpose(1, 2).reshape(n, length, width))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))
