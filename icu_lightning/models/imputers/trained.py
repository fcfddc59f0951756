"""The common shell of imputers that are trained: one network, one stage named `imputer`, stopped early on validation stays.

A network says its loss on a batch, and its estimate of every cell. Validation hides half of the observed cells, the same ones every
time and for every imputer, and the best epoch is that of the smallest mean absolute error in them: one rule and one budget for all.
"""

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from icu_lightning.batch import StayBatch, hide
from icu_lightning.errors import whole_number
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.filling import as_draws
from icu_lightning.models.losses import mean_of_losses
from icu_lightning.models.noise import KeyedNoise
from icu_lightning.models.stage import Stage

CELLS_OF_VALIDATION = -1  # the stream of noise that chooses them, as the MTDM's imputer has it


class Filling(Protocol):
    """A network that fills: a torch Module with these two methods, which look at observed values only."""

    def loss(self, batch: StayBatch) -> Mapping[str, Tensor]:
        """() each: `loss`, and what is logged beside it."""

    def estimate(self, batch: StayBatch) -> Tensor:
        """(B, T, V) z-scores of every cell."""


class TrainedImputer(Stage):
    """The shell.

    Arguments:
        network: see `Filling`.
        optimizer: called with the parameters.
        max_epochs: at most, unless the trainer's own cap is lower.
        patience: epochs without a better val/loss after which training stops.
    """

    draws_differ, kept = False, True

    def __init__(self, *, network: Any, optimizer: Any, max_epochs: int, patience: int) -> None:
        super().__init__(optimizer=optimizer)
        self.network = network
        self.max_epochs = whole_number("model.imputer.max_epochs", max_epochs, 1)
        self.patience = whole_number("model.imputer.patience", patience, 1)
        self.val_loss = mean_of_losses()  # over cells, so that it does not depend on how stays are batched

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        until: dict[str, Any] = {"max_epochs": self.max_epochs, "patience": self.patience}
        trainer.fit(self, data, stage="imputer", monitor="val/loss", mode="min", **until)

    @torch.no_grad()
    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        # In double precision, as RiskModule's risks: in single, an estimate moves with the others in its batch
        network = copy.deepcopy(self.network).double().eval()
        estimate = network.estimate(batch.to(self.device).double()) if len(batch) else batch.values
        return as_draws(batch, estimate.cpu().to(batch.values), n_samples)

    def terms(self, batch: StayBatch) -> dict[str, Tensor]:
        return dict(self.network.loss(batch))

    def schedule(self, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    def validation_step(self, batch: StayBatch, _: int) -> Tensor:
        loss, n = self.validation_loss(batch)
        self.val_loss.update(loss, n)
        self.log("val/loss", self.val_loss)
        return loss

    def validation_loss(self, batch: StayBatch) -> tuple[Tensor, Tensor]:
        """() the mean absolute error in the hidden cells, and () their number; nearly none, but not 0, where there are none."""
        cells = hidden_cells(batch)
        error = (self.network.estimate(hide(batch, cells)) - batch.values).abs()
        n = cells.sum()
        return torch.where(cells, error, 0.0).sum() / n.clamp(min=1), n.clamp(min=1e-9)


def hidden_cells(batch: StayBatch) -> Tensor:
    """(B, T, V) True for half of the observed cells, by lot, which follow from the stay alone."""
    hours, n_variables = batch.values.shape[1:]
    noise = KeyedNoise(0, batch.stay_id, [CELLS_OF_VALIDATION], hours=hours, n_variables=n_variables, like=batch.values)
    return batch.observed & (noise().squeeze(1) < 0)


def masked_mean(error: Tensor, where: Tensor) -> Tensor:
    """() the mean over cells `where`; 0 where there are none."""
    return torch.where(where, error, 0.0).sum() / where.sum().clamp(min=1)
