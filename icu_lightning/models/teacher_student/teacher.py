"""The teacher: the pretrained encoder beside what is known of the person, and two heads.

    h = encoder(hours),   e = [h, ReLU(Linear(static))],   z = Linear(e)  (mortality),   s = Linear(e)  (severity scores)
    L_T = BCE(y, z) + .5 Huber(severity, s)                     severity in z-scores, where the score is known

References: the teacher-student paper (Jin et al., arXiv 2502.16834, 2025), as METHODS C.5 reads it.
"""

from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import N_SCORES, BatchShape, StayBatch
from icu_lightning.errors import share, whole_number
from icu_lightning.models.vis import until


class Reader(Protocol):
    """A module that makes a row of `width` numbers of a stay's hours."""

    width: int

    def read(self, batch: StayBatch) -> Tensor: ...


class Reading(NamedTuple):
    """logit: (B). severity: (B, 5) z-scores. state: (B, D), of the hours alone."""

    logit: Tensor
    severity: Tensor
    state: Tensor


class MultitaskNetwork(nn.Module):
    """A reader of the hours, a branch for the static features, and heads for mortality and severity.

    Arguments:
        shape: of the data.
        reader: of the hours; a module.
        static: units of the static branch.
        dropout: before the heads.
        horizon: hours that are read, see `vis.until`.
    """

    def __init__(
        self, *, shape: BatchShape, reader: Reader, static: int, dropout: float, horizon: int | None = None
    ) -> None:
        super().__init__()
        whole_number("model.static", static, 0)
        share("model.dropout", dropout)
        self.reader = cast(nn.Module, reader)
        self.width, self.horizon = reader.width, horizon
        self.static = nn.Linear(shape.n_static, static) if shape.n_static and static else None
        self.dropout = nn.Dropout(dropout)
        inputs = reader.width + (static if self.static else 0)
        self.mortality, self.severity = nn.Linear(inputs, 1), nn.Linear(inputs, N_SCORES)

    def forward(self, batch: StayBatch) -> Reading:
        state = cast(Reader, self.reader).read(until(batch, self.horizon))
        known = [state] if self.static is None else [state, F.relu(self.static(batch.static))]
        e = self.dropout(torch.cat(known, dim=1))
        return Reading(self.mortality(e).squeeze(1), self.severity(e), state)


def severity_loss(told: Tensor, batch: StayBatch) -> Tensor:
    """(): the mean Huber loss over the scores that are known; 0 if none is."""
    known = batch.severity_observed
    error = F.huber_loss(told, batch.severity, reduction="none")
    return (error * known).sum() / known.sum().clamp(min=1)
