"""Zero in every gap, which of z-scores is the training mean: what a linear model without imputation does."""

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.filling import as_draws


class Zero(nn.Module):
    """Learns nothing."""

    draws_differ, kept = False, False

    def __init__(self, *, shape: BatchShape) -> None:
        super().__init__()

    def fit(self, data: Data, trainer: StageTrainer) -> None: ...

    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        return as_draws(batch, torch.zeros_like(batch.values), n_samples)
