"""One recurrent layer over the hours of vasoactive drugs: the LSTM that the teacher-student paper compares with, and a GRU.

    h = LSTM(64) or GRU(64) over [log rates and log score of each hour, which are known], at the last hour in the unit
    logit = Linear(Dropout[h, ReLU(Linear(static))])

It is given what teacher and student are given, the same hours, drugs and static features; not taught, and not pretrained.

References: the teacher-student paper (Jin et al., arXiv 2502.16834, 2025), whose abstract says no more of it; METHODS C.5.
"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import check_widths, share, unknown_name, whole_number
from icu_lightning.models.base import Data, RiskModule, StageTrainer
from icu_lightning.models.vis import check_drugs, check_vis, checked_horizon, tokens_of, until

CELLS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU}


class VISRecurrent(RiskModule):
    """The model.

    Arguments:
        shape: of the data.
        cell: of CELLS.
        width: units.
        static: units of the static branch; 0 leaves static features out.
        dropout: before the last layer.
        horizon: hours that it is shown, see `vis.checked_horizon`.
        training: loss, optimizer, scheduler, max_epochs, patience, monitor of `RiskModule`.

    Raises UserError for data without drugs, and for a cell that there is not.
    """

    EARLY = True

    def __init__(
        self,
        *,
        shape: BatchShape,
        cell: str,
        width: int,
        static: int,
        dropout: float,
        horizon: int | None,
        **training: Any,
    ) -> None:
        check_vis(shape, f"vis_{cell}")
        whole_number("model.static", static, 0)
        share("model.dropout", dropout)
        horizon = checked_horizon(horizon, shape)
        reader = LastState(cell=cell, shape=shape, width=width)
        super().__init__(network=VISNetwork(reader, shape.n_static, static, dropout, horizon), **training)

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """Raises UserError for training stays without a drug."""
        check_drugs(until(data.train, cast(VISNetwork, self.network).horizon))
        super().fit(data, trainer)

    @torch.no_grad()
    def embed(self, batch: StayBatch) -> Tensor:
        """(B, H): the state of the hours, in double precision as in `predict`."""
        network = copy.deepcopy(cast(VISNetwork, self.network)).double().eval()
        return network.state(batch.to(self.device).double()).cpu()


class LastState(nn.Module):
    """A reader of the hours: the state at the last hour in the unit.

    Arguments:
        cell: of CELLS.
        shape: of the data.
        width: units.
    """

    def __init__(self, *, cell: str, shape: BatchShape, width: int) -> None:
        super().__init__()
        if cell not in CELLS:
            raise unknown_name("model.cell", cell, CELLS)
        check_widths("model", width=width)
        self.width = width
        self.layer = CELLS[cell](2 * len(shape.vis), width, batch_first=True)

    def read(self, batch: StayBatch) -> Tensor:
        """(B, H); of the first hour, where the patient was in the unit in none."""
        states, _ = self.layer(tokens_of(batch))  # (B, T, H)
        last = (batch.in_icu.sum(1) - 1).clamp(min=0)
        return states[torch.arange(len(batch), device=last.device), last]


class VISNetwork(nn.Module):
    """StayBatch -> logits (B)."""

    def __init__(self, reader: LastState, n_static: int, static: int, dropout: float, horizon: int | None) -> None:
        super().__init__()
        self.reader, self.horizon = reader, horizon
        self.static = nn.Linear(n_static, static) if n_static and static else None
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(reader.width + (static if self.static else 0), 1)

    def state(self, batch: StayBatch) -> Tensor:
        """(B, H) of the hours that may be seen."""
        return self.reader.read(until(batch, self.horizon))

    def forward(self, batch: StayBatch) -> Tensor:
        parts = [self.state(batch)]
        if self.static is not None:
            parts.append(F.relu(self.static(batch.static)))
        return self.out(self.dropout(torch.cat(parts, dim=1))).squeeze(1)
