"""Measured cells hidden on purpose, to be imputed and scored: the same cells for every method.

A pattern of `patterns` gives each cell of a stay a random key; the measured cells with the smallest keys are hidden until the rate
is reached. The keys follow from (seed, pattern, rate, stay_id) alone: not from the method, the batch or the other stays.

A run hides cells of its validation and test stays by `data.held_out`. A method that is scored at several rates hides them itself,
`shown(data.measured["test"], "mcar", rate, seed)`, and the truth is in the batch that it began with.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from icu_lightning.batch import StayBatch, hide
from icu_lightning.data.patterns import PATTERNS, Keys
from icu_lightning.errors import UserError, unknown_name


def held_out_cells(batch: StayBatch, pattern: str, rate: float, seed: int) -> torch.Tensor:
    """(B, T, V) bool, True for the measured cells to hide.

    At least `rate` of each stay's measured cells are hidden: for mcar and mnar exactly, rounded; for the others the last
    group is hidden whole. A stay without measurements has none to hide.

    Arguments:
        pattern: one of PATTERNS.
        rate: between 0 and 1.

    Raises UserError for an unknown pattern or an impossible rate.
    """
    if pattern not in PATTERNS:
        raise unknown_name("pattern of held-out cells", pattern, PATTERNS)
    if not 0 <= rate <= 1:
        raise UserError(f"The rate of held-out cells must be between 0 and 1; it is {rate}.")
    values, observed = batch.values.numpy(), batch.observed.numpy()
    hidden = np.zeros_like(observed)
    for b, stay in enumerate(batch.stay_id):
        rng = np.random.default_rng(_entropy(seed, pattern, rate, stay))
        hidden[b] = _smallest(PATTERNS[pattern](rng, values[b]), observed[b], rate)
    return torch.from_numpy(hidden)


def shown(batch: StayBatch, pattern: str, rate: float, seed: int) -> StayBatch:
    """The batch with `held_out_cells` hidden. Raises UserError as it does."""
    return hide(batch, held_out_cells(batch, pattern, rate, seed))


def _smallest(keys: Keys, observed: NDArray[np.bool_], rate: float) -> NDArray[np.bool_]:
    n = round(rate * observed.sum())
    if n == 0:
        return np.zeros_like(observed)
    limit = np.partition(keys[observed], n - 1)[n - 1]
    return observed & (keys <= limit)


def _entropy(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=16).digest(), "little")
