"""The MTDM's LSTM reading series that another has filled: the paper's predictor of tables 4 to 6 beside its imputers.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025), section 5.
"""

import copy
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.models.base import RiskModule, settings_of
from icu_lightning.models.mtdm.predictor import MortalityLSTM
from icu_lightning.models.two_stage import measured


class LSTM(RiskModule):
    """The predictor.

    Arguments:
        shape: of the data.
        network: made here, given `shape`.
        training: loss, optimizer, scheduler, max_epochs, patience, monitor of `RiskModule`.
    """

    def __init__(self, *, shape: BatchShape, network: "partial[MortalityLSTM]", **training: Any) -> None:
        with settings_of("model.predictor.network", known_as="model.predictor"):
            lstm = network(shape=shape)
        super().__init__(network=Reading(lstm), **training)

    @torch.no_grad()
    def embed(self, batch: StayBatch) -> Tensor:
        """(B, 64): the second LSTM's last state, in double precision as in `predict`."""
        network = copy.deepcopy(cast(Reading, self.network)).double().eval()
        return network.read(batch.to(self.device).double())[1].cpu()


class Reading(nn.Module):
    """Filled stays -> logits (B)."""

    def __init__(self, lstm: MortalityLSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def read(self, batch: StayBatch) -> tuple[Tensor, Tensor]:
        """Logits (B) and embeddings (B, 64)."""
        return self.lstm(batch.values, measured(batch), batch.static)

    def forward(self, batch: StayBatch) -> Tensor:
        return self.read(batch)[0]
