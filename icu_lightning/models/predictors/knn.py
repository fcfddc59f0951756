"""The deaths among the nearest training stays, each weighed by the inverse of its distance, in principal components.

    risk = sum_k y_k / d_k / sum_k 1 / d_k        of the k nearest; those at distance 0, if there are any, decide alone

With the usual k of 5 there are six different risks; 25 weighted ones rank (METHODS B.3). The training stays' components are what it
has learnt, so they lie in its checkpoint.
"""

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, whole_number
from icu_lightning.models.base import Data, StageTrainer

DIGITS = 9  # of a distance, beyond which two are equal
SMALLEST = 1e-9


class KNN(nn.Module):
    """Arguments:
    shape: of the data.
    neighbours: k; all training stays, if there are fewer.
    components: principal components of the flattened series; as many as there are, if there are fewer.
    """

    mean: Tensor  # (T V)
    axes: Tensor  # (T V, C)
    stays: Tensor  # (N, C)
    label: Tensor  # (N)

    def __init__(self, *, shape: BatchShape, neighbours: int, components: int) -> None:
        super().__init__()
        self.neighbours = whole_number("model.predictor.neighbours", neighbours, 1)
        self.components = whole_number("model.predictor.components", components, 1)
        cells = shape.hours * shape.n_variables
        for name, size in {"mean": [cells], "axes": [cells, 0], "stays": [0, 0], "label": [0]}.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        x = data.train.values.double().flatten(1).cpu()  # (N, T, V) -> (N, T V)
        self.mean = x.mean(0)
        spread, axes = torch.linalg.eigh((x - self.mean).T @ (x - self.mean))  # ascending
        there = int((spread > SMALLEST * spread[-1]).sum())
        self.axes = axes[:, -min(self.components, max(there, 1)) :].contiguous()
        self.stays, self.label = (x - self.mean) @ self.axes, data.train.label.double().cpu()

    def predict(self, batch: StayBatch) -> Tensor:
        """(B, 1). Raises UserError for stays of other hours or variables."""
        if len(batch) and batch.values[0].numel() != len(self.mean):
            raise UserError(f"This predictor was fitted on stays of {len(self.mean)} cells; these have others.")
        x = (batch.values.double().flatten(1).cpu() - self.mean) @ self.axes
        distance = torch.cdist(x, self.stays, compute_mode="donot_use_mm_for_euclid_dist").round(decimals=DIGITS)
        k = min(self.neighbours, len(self.stays))
        nearest, place = distance.sort(dim=1, stable=True)
        nearest, died = nearest[:, :k], self.label[place[:, :k]]
        weight = torch.where(
            (nearest == 0).any(1, keepdim=True), (nearest == 0).double(), 1 / nearest.clamp(min=SMALLEST)
        )
        return (weight * died).sum(1, keepdim=True) / weight.sum(1, keepdim=True)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        """As many training stays and components as the checkpoint has."""
        for name in ("axes", "stays", "label"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *args)
