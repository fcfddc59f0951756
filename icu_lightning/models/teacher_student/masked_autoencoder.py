"""The masked autoencoder over a stay's hours: from the hours that it is shown, it tells the drugs of those that are hidden.

    token_t = [log rates and log score of hour t, which of them are known]                        (B, T, 2 C)
    states  = encoder([CLS, tokens of the visible hours])                      visible hours only, a quarter of all
    line    = each channel between its nearest visible hours, as `interpolation.interpolated` draws it     (B, T, C)
    told    = line + decoder([states, a learnt token for each hidden hour], line, hours to both neighbours)
    L       = mean over hidden hours in the unit of w Huber(told - true),   w = 3 where a drug ran, else 1

Without the line (`line: false`) it is the plain masked autoencoder of the references: told = decoder([...], hours to both neighbours).

A drug's rate is held for hours and then changed, so that a straight line between neighbours is hard to beat, and a network that
has to learn to draw it first never gets further. So the line is given, and the decoder learns what it gets wrong: levels are held
and then jump, drugs are started and weaned together, and beyond the last visible hour there is no line. Its last layer begins
near zero, so that training begins where the line ends. All of it is made of visible hours. Deviation: the references tell the value.

Our reading of a paper whose abstract alone is public (METHODS C.5); notation of the references.

References: Masked Autoencoders Are Scalable Vision Learners (He et al., 2022); Ti-MAE (Li et al., 2023); the teacher-student
paper (Jin et al., arXiv 2502.16834, 2025).
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import check_widths, number, share, true_or_false
from icu_lightning.models.base import settings_of
from icu_lightning.models.teacher_student.interpolation import distances, interpolated
from icu_lightning.models.teacher_student.masking import Masking
from icu_lightning.models.vis import rates, tokens_of, until

RUNS = 1e-3  # of an SD above a channel's lowest value, from which on a drug runs


class Visible(NamedTuple):
    """What the encoder saw and made of it.

    states: (B, 1 + K, D), first the summary (CLS).
    hour: (B, K) of each token.
    absent: (B, K) True where a stay has fewer than K visible hours; that state means nothing.
    """

    states: Tensor
    hour: Tensor
    absent: Tensor


class Encoder(nn.Module):
    """A transformer over the visible hours of a stay, which are all that it is given.

    Arguments:
        shape: of the data.
        width: D.
        layers, heads, feedforward, dropout: of the transformer.
    """

    position: Tensor

    def __init__(
        self, *, shape: BatchShape, width: int, layers: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        check_transformer(width, layers, heads, feedforward, dropout)
        self.width = width
        self.embed = nn.Linear(2 * len(shape.vis), width)
        self.summary = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.register_buffer("position", positions(shape.hours, width), persistent=False)
        self.blocks = transformer(width, layers, heads, feedforward, dropout)

    def forward(self, batch: StayBatch, visible: Tensor) -> Visible:
        """Arguments: visible (B, T) True for the hours that are shown."""
        tokens, hour, absent = gathered(self.embed(tokens_of(batch)) + self.position, visible)
        tokens = torch.cat([self.summary.expand(len(batch), -1, -1), tokens], dim=1)
        states = self.blocks(tokens, src_key_padding_mask=F.pad(absent, (1, 0)))
        return Visible(states, hour, absent)

    def read(self, batch: StayBatch) -> Tensor:
        """(B, D): the summary of every hour in the unit."""
        return self(batch, batch.in_icu).states[:, 0]


class Decoder(nn.Module):
    """Tells what the line between visible hours gets wrong, for every hour and channel, from the visible hours' states.

    Arguments:
        shape: of the data.
        states: width of the encoder's states, given by the model.
        width, layers, heads, feedforward, dropout: of its own transformer, which is small.
    """

    position: Tensor

    def __init__(
        self,
        *,
        shape: BatchShape,
        states: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check_transformer(width, layers, heads, feedforward, dropout)
        self.narrow = nn.Linear(states, width)
        self.hidden = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.register_buffer("position", positions(shape.hours, width), persistent=False)
        self.blocks = transformer(width, layers, heads, feedforward, dropout)
        self.hints = nn.Linear(len(shape.vis) + 2, width)
        self.out = nn.Linear(width, len(shape.vis))
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, seen: Visible, in_icu: Tensor, hints: Tensor) -> Tensor:
        """(B, T, C), to be added to the line; hours outside of the unit are neither told nor looked at.

        Arguments:
            hints: (B, T, C + 2) the line, and how far both visible neighbours are.
        """
        states = self.narrow(seen.states)
        summary, states = states[:, :1], torch.where(seen.absent.unsqueeze(2), self.hidden, states[:, 1:])
        hours = self.hidden.expand(*in_icu.shape, -1)
        hours = hours.scatter(1, seen.hour.unsqueeze(2).expand_as(states), states) + self.position + self.hints(hints)
        states = self.blocks(torch.cat([summary, hours], dim=1), src_key_padding_mask=F.pad(~in_icu, (1, 0)))
        return self.out(states[:, 1:])


class Reconstruction(NamedTuple):
    """What was told, and how wrong.

    error: (B) weighted, summed over a stay's hidden hours and channels. weight: (B) summed over the same.
    told: (B, T, C).
    hidden: (B, T) True where it had to be told.
    """

    error: Tensor
    weight: Tensor
    told: Tensor
    hidden: Tensor

    def loss(self, stays: Tensor | slice = slice(None)) -> Tensor:
        """(), over the hidden hours of these stays together; 0 if there is none."""
        return self.error[stays].sum() / self.weight[stays].sum().clamp(min=1)


class MaskedAutoencoder(nn.Module):
    """Encoder, decoder, and the loss of what was hidden.

    Arguments:
        encoder: made by the model, which gives it to the teacher, too.
        decoder: made here, given `shape` and the encoder's width.
        masking: which hours are hidden.
        horizon: hours that there are, see `vis.until`.
        running_weight: of an hour in which a drug ran, beside 1 of the others.
        line: the decoder corrects the line between visible hours; else it is not given it and tells the value.
    """

    nothing: Tensor  # (C) z-scores of no drug

    def __init__(
        self,
        *,
        shape: BatchShape,
        encoder: Encoder,
        decoder: "partial[Decoder]",
        masking: Masking,
        running_weight: float,
        line: bool,
        horizon: int | None = None,
    ) -> None:
        super().__init__()
        self.line = true_or_false("model.autoencoder.line", line)
        self.encoder = encoder
        with settings_of("model.autoencoder.decoder"):
            self.decoder = decoder(shape=shape, states=encoder.width)
        self.running_weight = number("model.autoencoder.running_weight", running_weight, least=0)
        self.masking, self.horizon = masking, horizon
        self.register_buffer("nothing", torch.zeros(len(shape.vis)))  # until `fit_nothing`

    def fit_nothing(self, train: StayBatch) -> None:
        """Learn which z-score is that of no drug: the lowest of each channel, as no rate is below 0."""
        vis, known = rates(until(train, self.horizon))
        lowest = vis.masked_fill(~known, math.inf).amin((0, 1))
        self.nothing.copy_(torch.where(lowest.isfinite(), lowest, 0.0))

    def running(self, batch: StayBatch) -> Tensor:
        """(B, T) True where a drug is known to run, within the horizon."""
        vis, known = rates(until(batch, self.horizon))
        return (known & (vis > self.nothing + RUNS)).any(2)

    def forward(self, batch: StayBatch, uniform: Tensor) -> Reconstruction:
        """Arguments: uniform, see `Masking`."""
        batch = until(batch, self.horizon)
        hidden = self.masking(batch.in_icu, uniform)
        visible, (vis, known) = batch.in_icu & ~hidden, rates(batch)
        line = (
            interpolated_channels(vis, known & visible.unsqueeze(2), self.nothing)
            if self.line
            else torch.zeros_like(vis)
        )
        hints = torch.cat([line, distances(visible)], dim=2)
        told = line + self.decoder(self.encoder(batch, visible), batch.in_icu, hints)
        weight = torch.where(self.running(batch), self.running_weight, 1.0).unsqueeze(2) * (known & hidden.unsqueeze(2))
        error = F.huber_loss(told, vis, reduction="none")
        return Reconstruction((weight * error).sum((1, 2)), weight.sum((1, 2)), told, hidden)


def interpolated_channels(x: Tensor, visible: Tensor, nothing: Tensor) -> Tensor:
    """(B, T, C), (B, T, C), (C) -> (B, T, C): `interpolated`, each channel between the hours in which it is itself visible."""
    series, shown = (part.transpose(1, 2).flatten(0, 1) for part in (x, visible))  # (B, T, C) -> (B C, T)
    line = interpolated(series, shown, nothing.repeat(len(x)).unsqueeze(1))
    return line.unflatten(0, (len(x), -1)).transpose(1, 2)


def gathered(tokens: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, D), (B, T) -> the visible tokens (B, K, D) in their order, their hours (B, K), and (B, K) True beyond a stay's last.

    >>> tokens, hour, absent = gathered(torch.arange(3.0).view(1, 3, 1), torch.tensor([[True, False, True]]))
    >>> tokens.flatten().tolist(), hour.tolist(), absent.tolist()
    ([0.0, 2.0], [[0, 2]], [[False, False]])
    """
    most = int(visible.sum(1).max())
    hour = (~visible).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
    absent = ~visible.gather(1, hour)
    shown = tokens.gather(1, hour.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
    return shown.masked_fill(absent.unsqueeze(2), 0.0), hour, absent  # a hidden hour is not there even unattended


def positions(hours: int, width: int) -> Tensor:
    """(T, D) sines and cosines of the hour, in wavelengths from 2 pi to 10,000 times that."""
    angle = torch.arange(hours).unsqueeze(1) * torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


def check_transformer(width: int, layers: int, heads: int, feedforward: int, dropout: float) -> None:
    """Raise UserError for what cannot be widths or a dropout, and ValueError for a width that heads cannot share."""
    check_widths("model", width=width, layers=layers, heads=heads, feedforward=feedforward)
    share("model.dropout", dropout)
    if width % heads:
        raise ValueError(f"width ({width}) must be a multiple of heads ({heads})")


def transformer(width: int, layers: int, heads: int, feedforward: int, dropout: float) -> nn.TransformerEncoder:
    """(B, L, D) -> (B, L, D), normalised before each part and at the end.

    Arguments:
        dropout: of what each part adds. Attention weights and the feed-forward's hidden units, three quarters of the numbers that
            would have to be drawn, have none: that is a third of the teacher's step on a CPU, whose fused attention takes none.
    """
    layer = nn.TransformerEncoderLayer(
        width, heads, feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    layer.self_attn.dropout = layer.dropout.p = 0.0
    return nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
