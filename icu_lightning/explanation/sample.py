"""Which stays are explained, and which stand for "absent": seeded samples of test and training stays."""

import numpy as np
import torch
from numpy.typing import NDArray

from icu_lightning.batch import StayBatch
from icu_lightning.explanation.owen import Risk

FEWEST = 5  # of each outcome among the explained, where the split has them


def explained_stays(stays: StayBatch, n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions of min(n, B) stays, in their order, and how many stays of the split each of them stands for.

    Drawn within each outcome, in the split's proportion but at least FEWEST, so that deaths occur; the weights undo it.
    """
    random = np.random.default_rng([seed, 1])
    died = stays.label.numpy() == 1
    sides = [np.flatnonzero(died), np.flatnonzero(~died)]
    n = min(n, len(stays))
    n_died = int(np.clip(round(n * died.mean()), min(FEWEST, n // 2), n - min(FEWEST, n // 2)))
    n_died = min(max(n_died, n - len(sides[1])), len(sides[0]))
    drawn = [random.choice(side, size, replace=False) for side, size in zip(sides, (n_died, n - n_died), strict=True)]
    weights = [np.full(len(d), len(side) / max(1, len(d))) for d, side in zip(drawn, sides, strict=True)]
    rows, weight = np.concatenate(drawn), np.concatenate(weights)
    return rows[np.argsort(rows)], weight[np.argsort(rows)]


def background_stays(risk: Risk, stays: StayBatch, n: int, pool: int, seed: int) -> NDArray[np.int64]:
    """Positions of min(n, B) stays: every so-manieth in the order of risk, from a random start, of a random pool.

    A systematic sample has the pool's mean risk much more nearly than a random one, and few stays must do: each costs evaluations.
    """
    random = np.random.default_rng([seed, 2])
    candidates = random.permutation(len(stays))[: max(n, pool)]
    by_risk = candidates[np.argsort(risk(stays[torch.from_numpy(candidates)]), kind="stable")]
    n = min(n, len(candidates))
    return by_risk[((np.arange(n) + random.random()) * len(candidates) / n).astype(int)]
