"""The mean of the nearest training stays: k neighbours, cell by cell, among those that have the cell.

    d(x, y)^2 = F / |shared| * sum over cells that both have of (x - y)^2            F = T V cells a stay

What scikit-learn's KNNImputer computes (a test compares the two), but that a stay's neighbours do not depend on who else is asked
about: stays at equal distance, which rounded values often are, come in the order of training. A cell that no training stay with
anything in common has gets the mean of the training stays that have it, else 0.

The training stays are what it has learnt, so they lie in its checkpoint.

References: Missing value estimation methods for DNA microarrays (Troyanskaya et al., 2001).
"""

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, whole_number
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.filling import as_draws

DIGITS = 9  # of a squared distance, beyond which two are equal
STAYS_AT_ONCE = 64


class KNN(nn.Module):
    """Arguments:
    shape: of the data.
    neighbours: k.

    Raises UserError for a checkpoint of another shape when it imputes.
    """

    draws_differ, trains = False, False
    values: Tensor  # (N, T V) of the training stays, 0 where not observed
    observed: Tensor  # (N, T V) bool

    def __init__(self, *, shape: BatchShape, neighbours: int) -> None:
        super().__init__()
        self.neighbours = whole_number("model.imputer.neighbours", neighbours, 1)
        self.cells = shape.hours * shape.n_variables
        self.register_buffer("values", torch.zeros(0, self.cells))
        self.register_buffer("observed", torch.zeros(0, self.cells, dtype=torch.bool))

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        train = data.train
        self.values = torch.where(train.observed, train.values, 0.0).flatten(1).cpu()  # (N, T, V) -> (N, T V)
        self.observed = train.observed.flatten(1).cpu()

    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        if len(batch) and batch.values[0].numel() != self.cells:
            raise UserError(
                f"This imputer was fitted on stays of {self.cells} cells; these have other hours or variables."
            )
        values, observed = (part.flatten(1).cpu() for part in (batch.values, batch.observed))
        parts = [slice(i, i + STAYS_AT_ONCE) for i in range(0, len(batch), STAYS_AT_ONCE)]
        filled = [self._estimates(values[part], observed[part]) for part in parts]
        estimate = torch.cat(filled).to(batch.values) if filled else batch.values.flatten(1)
        return as_draws(batch, estimate.view_as(batch.values), n_samples)

    def _estimates(self, values: Tensor, observed: Tensor) -> Tensor:
        """(B, F), (B, F) -> (B, F) for every cell."""
        has, known = self.observed.double(), self.values.double()
        mean = known.sum(0) / has.sum(0).clamp(min=1)
        order, comparable = self._order(values, observed)
        return torch.stack([self._of_stay(row[:n], mean) for row, n in zip(order, comparable.tolist(), strict=True)])

    def _order(self, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) training stays, the nearest first, and (B) with how many of them there is a cell in common."""
        x, seen = torch.where(observed, values, 0.0).double(), observed.double()
        y, has = self.values.double(), self.observed.double()
        shared = seen @ has.T  # (B, N)
        squares = (x.square() @ has.T - 2 * x @ y.T + seen @ y.square().T).clamp(min=0)
        distance = (squares * self.cells / shared.clamp(min=1)).round(decimals=DIGITS)
        distance = torch.where(shared > 0, distance, float("inf"))
        return distance.argsort(dim=1, stable=True), (shared > 0).sum(1)

    def _of_stay(self, nearest: Tensor, mean: Tensor) -> Tensor:
        """(F) means over the first k of the stays `nearest` that have a cell; `mean` where none has."""
        some = nearest[: 16 * self.neighbours]  # enough for all but rare cells
        has = self.observed[some]
        if bool((has.sum(0) < self.neighbours).any()) and len(nearest) > len(some):
            some, has = nearest, self.observed[nearest]
        taken = has & (has.cumsum(0) <= self.neighbours)
        n = taken.sum(0)
        total = torch.where(taken, self.values[some].double(), 0.0).sum(0)
        return torch.where(n > 0, total / n.clamp(min=1), mean)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        """As many training stays as the checkpoint has."""
        for name in ("values", "observed"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *args)
