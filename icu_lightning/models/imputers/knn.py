"""The mean of the nearest training stays: k neighbours, cell by cell, among those that have the cell.

    d(x, y)^2 = F / |shared| * sum over cells that both have of (x - y)^2            F = T V cells a stay

What scikit-learn's KNNImputer computes (a test compares the two), but that a stay's neighbours do not depend on who else is asked
about: stays at equal distance, which rounded values often are, come in the order of training. A cell that no training stay with
anything in common has gets the mean of the training stays that have it, else 0.

The training stays are what it has learnt, so they lie in its checkpoint. What it needs beside them does not grow with the stays that
are asked about: distances of STAYS_AT_ONCE stays from all N, CELLS_AT_ONCE cells in double precision, and sqrt(k N) stays a rare cell.

References: Missing value estimation methods for DNA microarrays (Troyanskaya et al., 2001).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, whole_number
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.filling import as_draws

DIGITS = 9  # of a squared distance, beyond which two are equal
STAYS_AT_ONCE = 64
CELLS_AT_ONCE = 2**20  # of training stays


@dataclass(frozen=True)
class Donors:
    """Training stays that have a cell, of c for which c^2 > k N (`usual`), and of the others (`rare`).

    The first k of the nearest that have it are among some k N / c: of a usual cell that is less than to look at all c.

    wanted: (F) k, or c if less. mean: (F) of all c; 0 if there are none. usual: (U), and rare: (R) numbers of cells.
    of_rare: (R, the largest c) numbers of stays; N where there are no more.
    """

    wanted: Tensor
    mean: Tensor
    usual: Tensor
    rare: Tensor
    of_rare: Tensor


class KNN:
    """Looks on the CPU, wherever the stays are.

    Arguments:
        shape: of the data.
        neighbours: k.

    Raises UserError for stays of another shape when it imputes, and ValueError for a state of another.
    """

    draws_differ, kept = False, True

    def __init__(self, *, shape: BatchShape, neighbours: int) -> None:
        self.neighbours = whole_number("model.imputer.neighbours", neighbours, 1)
        self.cells = shape.hours * shape.n_variables
        self.values = torch.zeros(0, self.cells)  # (N, T V) of the training stays, 0 where not observed
        self.observed = torch.zeros(0, self.cells, dtype=torch.bool)
        self.donors = self._donors()

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        train = data.train
        self.values = torch.where(train.observed, train.values, 0.0).flatten(1).cpu()  # (N, T, V) -> (N, T V)
        self.observed = train.observed.flatten(1).cpu()
        self.donors = self._donors()

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

    def _donors(self) -> Donors:
        count, n_stays = self.observed.sum(0), len(self.values)
        k = min(self.neighbours, n_stays)
        total = torch.stack([part.double().sum(0) for part in self._parts(self.values)]).sum(0)
        usual = count.square() > k * n_stays
        rare = ((count > 0) & ~usual).nonzero().flatten()
        stays = [has.nonzero().flatten() for has in self.observed[:, rare].T]
        return Donors(
            wanted=count.clamp(max=k),
            mean=total / count.clamp(min=1),
            usual=usual.nonzero().flatten(),
            rare=rare,
            of_rare=pad_sequence(stays, batch_first=True, padding_value=n_stays) if stays else rare.view(0, 0),
        )

    def _parts(self, cells: Tensor) -> tuple[Tensor, ...]:
        return cells.split(max(1, CELLS_AT_ONCE // self.cells))

    def _estimates(self, values: Tensor, observed: Tensor) -> Tensor:
        """(B, F), (B, F) -> (B, F) for every cell."""
        distance = self._distance(values, observed)
        order, comparable = distance.argsort(dim=1, stable=True), distance.isfinite().sum(1)
        return torch.stack([self._of_stay(row[:n]) for row, n in zip(order, comparable.tolist(), strict=True)])

    def _distance(self, values: Tensor, observed: Tensor) -> Tensor:
        """(B, N) squared, of each training stay; infinite without a cell in common."""
        x, seen = torch.where(observed, values, 0.0).double(), observed.double()
        distances = []
        for known, there in zip(self._parts(self.values), self._parts(self.observed), strict=True):
            y, has = known.double(), there.double()
            shared = seen @ has.T  # (B, N)
            squares = (x.square() @ has.T - 2 * x @ y.T + seen @ y.square().T).clamp(min=0)
            distance = (squares * self.cells / shared.clamp(min=1)).round(decimals=DIGITS)
            distances.append(torch.where(shared > 0, distance, float("inf")))
        return torch.cat(distances, dim=1)

    def _of_stay(self, nearest: Tensor) -> Tensor:
        """(F) means over the first k of the stays `nearest` that have a cell; the mean of all that have it where none of these has."""
        donors = self.donors
        total, missing = torch.zeros_like(donors.mean), donors.wanted.clone()

        def take(stays: Tensor, cells: Tensor) -> None:
            total.index_add_(0, cells, self.values[stays, cells].double())
            missing.index_add_(0, cells, torch.full_like(cells, -1))

        take(*self._rare(nearest))
        short, first, last = donors.usual, 0, 4 * self.neighbours
        # Cells that lack donors, and the next nearest, twice as many each time
        while len(short) and first < len(nearest):
            some = nearest[first:last]
            has = self.observed[some][:, short]
            row, column = (has & (has.cumsum(0) <= missing[short])).nonzero(as_tuple=True)
            take(some[row], short[column])
            short = short[missing[short] > 0]
            first, last = last, 2 * last
        n = donors.wanted - missing
        return torch.where(n > 0, total / n.clamp(min=1), donors.mean)

    def _rare(self, nearest: Tensor) -> tuple[Tensor, Tensor]:
        """Training stays, and the rare cell that is taken of each."""
        donors, n_stays = self.donors, len(self.values)
        rank = torch.full([n_stays + 1], n_stays)
        rank[nearest] = torch.arange(len(nearest))
        k = min(self.neighbours, donors.of_rare.shape[1])
        first, place = rank[donors.of_rare].topk(k, largest=False)  # (R, k)
        found = first < n_stays
        return donors.of_rare.gather(1, place)[found], donors.rare.unsqueeze(1).expand_as(found)[found]

    def state_dict(self) -> Mapping[str, Tensor]:
        return {"values": self.values, "observed": self.observed}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        if (cells := state_dict["values"].shape[1]) != self.cells:
            raise ValueError(f"its training stays have {cells} cells, those of this model {self.cells}")
        self.values, self.observed = state_dict["values"], state_dict["observed"]
        self.donors = self._donors()
