"""The training mean of each variable. Of z-scores it is 0 to rounding: `zero` and `mean` are one method (METHODS B.5, 1)."""

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.filling import as_draws


class Mean(nn.Module):
    """Over the observed cells of the training stays."""

    draws_differ, kept = False, False
    mean: Tensor  # (V)

    def __init__(self, *, shape: BatchShape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full([shape.n_variables], float("nan")))

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        values, observed = data.train.values.double(), data.train.observed
        total = torch.where(observed, values, 0.0).sum((0, 1))
        self.mean = (total / observed.sum((0, 1)).clamp(min=1)).float()

    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        return as_draws(batch, self.mean.to(batch.values).expand_as(batch.values), n_samples)
