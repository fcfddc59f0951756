"""What all imputers end with: their estimate in every cell becomes draws in which the observed cells are as they were."""

import torch
from torch import Tensor

from icu_lightning.batch import StayBatch


def as_draws(batch: StayBatch, estimate: Tensor, n_samples: int) -> Tensor:
    """(B, T, V) z-scores of all cells -> (B, S, T, V), every draw the same; of observed cells the estimate is not looked at."""
    whole = torch.where(batch.observed, batch.values, estimate.to(batch.values))
    return whole.unsqueeze(1).expand(-1, n_samples, -1, -1)


def median_of_draws(draws: Tensor) -> Tensor:
    """(B, S, T, V) -> (B, T, V); of an even S the mean of the two in the middle, of which torch.median has the lower."""
    n = draws.shape[1]
    ordered = draws.sort(1).values
    return (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
