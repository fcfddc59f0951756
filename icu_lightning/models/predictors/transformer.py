"""A small transformer over the hours of filled series; the mean of its hours goes to a linear layer (METHODS B.3).

    h_t = W x_t + position_t,  (h_1 ... h_T) -> encoder layers -> mean over t -> logit

References: Attention Is All You Need (Vaswani et al., 2017).
"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import check_widths, share
from icu_lightning.models.base import RiskModule
from icu_lightning.models.mtdm.denoiser import sinusoids_of_hours


class Transformer(RiskModule):
    """The predictor.

    Arguments:
        shape: of the data.
        width, layers, heads, feedforward, dropout: of the encoder; the width is even, and a multiple of the heads.
        training: loss, optimizer, scheduler, max_epochs, patience, monitor of `RiskModule`.

    Raises ValueError for a width that cannot be.
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
        **training: Any,
    ) -> None:
        check_widths("model.predictor", width=width, layers=layers, heads=heads, feedforward=feedforward)
        share("model.predictor.dropout", dropout)
        if width % heads or width % 2:
            raise ValueError(f"width ({width}) must be even, and a multiple of heads ({heads})")
        network = MeanOfHours(shape, width, layers, heads, feedforward, dropout)
        super().__init__(network=network, **training)

    @torch.no_grad()
    def embed(self, batch: StayBatch) -> Tensor:
        """(B, D): the mean of the hours, in double precision as in `predict`."""
        network = copy.deepcopy(cast(MeanOfHours, self.network)).double().eval()
        return network.state(batch.to(self.device).double()).cpu()


class MeanOfHours(nn.Module):
    """StayBatch -> logits (B)."""

    hours: Tensor

    def __init__(
        self, shape: BatchShape, width: int, layers: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(shape.n_variables, width), nn.Linear(width, 1)
        self.register_buffer("hours", sinusoids_of_hours(shape.hours, width), persistent=False)
        layer = nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def state(self, batch: StayBatch) -> Tensor:
        """(B, D)"""
        return self.encoder(self.into(batch.values) + self.hours).mean(1)

    def forward(self, batch: StayBatch) -> Tensor:
        return self.out(self.state(batch)).squeeze(1)
