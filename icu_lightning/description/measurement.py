"""What was measured when: shares of stays and hours with a value, variable by variable and hour by hour."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icu_lightning.data.concepts import Concept

MOST_COLUMNS = 48  # of the heat map; a longer window is told in blocks of hours


@dataclass(frozen=True)
class Measured:
    """How often a variable was measured.

    stays: with any value. hours: stay-hours with a value, of all B x T. by_block: (T / block) stays with a value in each block.
    """

    concept: Concept
    stays: int
    hours: int
    by_block: tuple[int, ...]


def measured(values: NDArray[np.float32], concepts: Sequence[Concept]) -> tuple[list[Measured], int]:
    """Every variable's counts, and the block of hours that `by_block` counts in: 1 up to 48 hours, more beyond.

    Arguments:
        values: (B, T, V), NaN where not measured; `concepts` are the V.
    """
    n_hours = values.shape[1]
    block = -(-n_hours // MOST_COLUMNS)
    starts = np.arange(0, n_hours, block)
    table = []
    for v, concept in enumerate(concepts):
        observed = np.isfinite(values[..., v])  # (B, T)
        blocks = np.logical_or.reduceat(observed, starts, axis=1).sum(axis=0)  # (T / block)
        stays = int(observed.any(axis=1).sum())
        table.append(Measured(concept, stays, int(observed.sum()), tuple(blocks.tolist())))
    return table, block
