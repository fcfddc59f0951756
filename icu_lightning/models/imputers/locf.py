"""The last observation carried forward: what a bedside monitor shows. Before a variable's first value, its training mean, 0."""

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch, hours_since_last
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.filling import as_draws


class LOCF(nn.Module):
    """Learns nothing."""

    draws_differ, kept = False, False

    def __init__(self, *, shape: BatchShape) -> None:
        super().__init__()

    def fit(self, data: Data, trainer: StageTrainer) -> None: ...

    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        return as_draws(batch, carried_forward(batch.values, batch.observed), n_samples)


def carried_forward(values: Tensor, observed: Tensor) -> Tensor:
    """(B, T, V), (B, T, V) bool -> (B, T, V)

    >>> seen = torch.tensor([[[False], [True], [False]]])
    >>> carried_forward(torch.tensor([[[9.0], [2.0], [9.0]]]), seen).flatten().tolist()
    [0.0, 2.0, 2.0]
    """
    hour = torch.arange(values.shape[1], device=values.device).view(1, -1, 1)
    last = hour - hours_since_last(observed).long()  # -1 before the first
    return torch.where(last >= 0, values.gather(1, last.clamp(min=0)), 0.0)
