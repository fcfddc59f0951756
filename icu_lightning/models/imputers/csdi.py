"""CSDI: the MTDM's diffusion trained alone, predicting epsilon, what was never observed being 0 in training, as published.

    loss = E | epsilon - denoiser(x_k, k, observed) |^2 over a random share r ~ U(0, 1) of a stay's observed cells

References: CSDI: Conditional Score-based Diffusion Models for Probabilistic Time Series Imputation (Tashiro, Song, Song, Ermon, 2021).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import whole_number
from icu_lightning.models.base import settings_of
from icu_lightning.models.imputers.trained import TrainedImputer
from icu_lightning.models.mtdm.imputer import Imputer
from icu_lightning.models.stage import decay_shares


class CSDI(TrainedImputer):
    """The imputer. Validation's loss is that of the same stays at the same steps with the same noise.

    Arguments:
        shape: of the data.
        diffusion: made here, given `shape`.
        decay_at: shares of max_epochs after which the learning rate falls to a tenth.
        seed: of the noise of imputing and of validation.
        training: optimizer, max_epochs, patience of `TrainedImputer`.

    Raises UserError for a share that is none, and ValueError for a diffusion whose gaps are drawn in training.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        diffusion: "partial[Imputer]",
        decay_at: "list[float]",
        seed: int,
        **training: Any,
    ) -> None:
        with settings_of("model.imputer.diffusion", known_as="model.imputer"):
            network = diffusion(shape=shape)
        super().__init__(network=network, **training)
        self.seed = whole_number("model.imputer.seed", seed, 0)
        self.decay_at = decay_shares("model.imputer.decay_at", decay_at, "max_epochs")
        self.draws_differ = network.draws_differ
        if self.network.completion != "zero":
            raise ValueError("completion must be zero: only the MTDM draws gaps while it trains")

    def terms(self, batch: StayBatch) -> dict[str, Tensor]:
        return {"loss": self.network.loss(batch, None)}

    def schedule(self, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
        milestones = [max(1, round(share * epochs)) for share in self.decay_at]
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)

    def validation_loss(self, batch: StayBatch) -> tuple[Tensor, Tensor]:
        return self.network.validation_loss(batch, self.seed, None)

    @torch.no_grad()
    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        return self.network.eval().impute(batch, n_samples, self.seed).cpu()
