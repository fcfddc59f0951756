"""Owen values of a risk by walks over random orders, as an explainer of shap.

For one background stay b and one order o, players arrive one by one, and again in the reverse order:

    phi_i = 1/2 [v(P_i + i) - v(P_i)] + 1/2 [v(Q_i + i) - v(Q_i)],    P_i before i in o, Q_i = those after i in o

which sums to f(x) - f(b) by construction, and is exact for a model without interactions of three or more players. Each background
stay has an order of its own, and a stay's attribution is the mean over them.

Deviation: shap's PermutationExplainer walks the same way, but its groups are pairs of pairs, so that members of a larger group
are not alike, and it shuffles them by numba's own generator, which no seed reaches; here groups are of any size, and the order
follows from the seed and the stay's id, so that a stay's attributions do not depend on the stays beside it.

References: A Unified Approach to Interpreting Model Predictions (Lundberg, Lee, 2017) and its library shap; Sampling Permutations
for Shapley Value Estimation (Mitchell et al., 2022), antithetic orders.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import shap
import torch
from numpy.typing import NDArray
from torch import Tensor

from icu_lightning.batch import StayBatch
from icu_lightning.explanation.game import Players, random_order
from icu_lightning.explanation.mixture import effective, mixed

Risk = Callable[[StayBatch], NDArray[np.float64]]  # (B) one risk a stay
AT_ONCE = 512  # mixtures shown to the model in one batch


class OwenExplainer(shap.Explainer):
    """Called with row numbers (n, 1) of `stays`; gives a shap.Explanation with values (n, M), base_values (n).

    Arguments:
        risk: the model.
        players: who shares the risk.
        stays: to be explained.
        background: K stays that stand for "absent".
        seed: of the orders.
        advance: told after each stay how many more are done.
    """

    def __init__(
        self,
        *,
        risk: Risk,
        players: Players,
        stays: StayBatch,
        background: StayBatch,
        seed: int,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        super().__init__(risk, masker=None, feature_names=[f"{p.feature}|{p.kind}|{p.first}" for p in players.all])
        self.players, self.stays, self.background = players, stays, background
        self.seed, self.advance, self.evaluations = seed, advance, 0

    def explain_row(self, *row_args: Any, **_: Any) -> dict[str, Any]:
        """One stay, given by its row number. shap's other arguments (a budget, batches, outputs) have no meaning here."""
        i = int(row_args[0][0])
        stay = self.stays[i : i + 1]
        random = np.random.default_rng([self.seed, *str(stay.stay_id[0]).encode()])
        able = effective(self.players, stay, self.background).numpy()
        orders = [order[able[k, order]] for k, order in enumerate(self._orders(random))]
        walks = [walk(order, len(self.players)) for order in orders]
        worths = self._worths(stay, walks)
        parts = [steps(order, worth, len(self.players)) for order, worth in zip(orders, worths, strict=True)]
        self.advance(1)
        return {
            "values": np.mean(parts, axis=0),
            "expected_values": float(np.mean([worth[0] for worth in worths])),
            "mask_shapes": [(len(self.players),)],
        }

    def _orders(self, random: np.random.Generator) -> list[NDArray[np.int64]]:
        return [random_order(self.players.tree, random) for _ in range(len(self.background))]

    def _worths(self, stay: StayBatch, walks: list[NDArray[np.bool_]]) -> list[NDArray[np.float64]]:
        """The risks of all mixtures, walk by walk, asked of the model in large batches."""
        which = torch.from_numpy(np.repeat(np.arange(len(walks)), [len(rows) for rows in walks]))
        present = torch.from_numpy(np.concatenate(walks))
        self.evaluations += len(present)
        risks = [self._risks(stay, w, p) for w, p in zip(which.split(AT_ONCE), present.split(AT_ONCE), strict=True)]
        return np.split(np.concatenate(risks), np.cumsum([len(rows) for rows in walks])[:-1])

    def _risks(self, stay: StayBatch, which: Tensor, present: Tensor) -> NDArray[np.float64]:
        return np.asarray(self.model(mixed(self.players, stay, self.background, which, present)))


def walk(order: NDArray[np.int64], n_players: int) -> NDArray[np.bool_]:
    """(2 m, M) for an order of m players: who is present as they arrive, none to all, then as the first, second, ... leave again.

    The last to leave is not shown, because then none is present: row 0. Without players, one row of none.

    >>> walk(np.array([2, 0]), 3).astype(int).tolist()
    [[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    """
    m = len(order)
    arriving = np.zeros((m + 1, n_players), dtype=bool)
    arriving[:, order] = np.tri(m + 1, m, -1, dtype=bool)  # row j: the first j
    leaving = arriving[m] & ~arriving[1:m]
    return np.concatenate([arriving, leaving])


def steps(order: NDArray[np.int64], worth: NDArray[np.float64], n_players: int) -> NDArray[np.float64]:
    """(M) each player's mean step over the two directions of a walk, 0 for players that are not in the order.

    Arguments:
        worth: (2 m) of the rows of `walk`.
    """
    m = len(order)
    phi = np.zeros(n_players)
    leaving = np.concatenate([worth[m:], worth[:1]]) if m else worth  # all, without the first, ..., none
    phi[order] = (np.diff(worth[: m + 1]) - np.diff(leaving)) / 2
    return phi
