"""Noise that follows from (seed, stay_id, draw) alone, so that what is drawn for a stay does not depend on its batch.

`StratifiedNoise` is that of n draws that are made to differ: a cell's n numbers fall into n strata of equal probability, one
into each, in an order of its own (a Latin hypercube). Every draw by itself is as normal as before; together they say more
about a distribution than as many independent ones: here ten are worth about forty (experiments/benchmarks).

References: A Comparison of Three Methods for Selecting Values of Input Variables (McKay, Beckman, Conover, 1979).
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

STRATA = -2  # the stream that orders a stay's strata; -1 is the validation loss's
SMALLEST = 1e-7  # probability, in single precision neither 0 nor, from above, 1


class KeyedNoise:
    """A call gives the next standard normal numbers of every stay and draw, (B, S, T, V).

    A stay and draw has a stream of its own: it is the same whoever else is in the batch, however many draws are asked for, and
    on every device (the numbers are drawn on the CPU).

    Arguments:
        seed: of all streams.
        stay_id: (B) of anything printable.
        draws: the S numbers of the draws.
        hours, n_variables: T and V.
        like: gives device and floating type.
    """

    def __init__(
        self, seed: int, stay_id: np.ndarray, draws: Iterable[int], *, hours: int, n_variables: int, like: Tensor
    ) -> None:
        self.draws, self.like = list(draws), like
        self.cells = (hours, n_variables)
        self.streams = [
            torch.Generator().manual_seed(key_of(seed, stay, draw)) for stay in stay_id for draw in self.draws
        ]

    def __call__(self) -> Tensor:
        noise = torch.empty(len(self.streams), *self.cells)
        for row, stream in zip(noise, self.streams, strict=True):
            row.normal_(generator=stream)
        return noise.view(-1, len(self.draws), *self.cells).to(self.like)  # (B S, T, V) -> (B, S, T, V)


class StratifiedNoise(KeyedNoise):
    """A stay's first numbers are stratified over all its draws, those that follow are independent.

    Arguments:
        of: number of draws that the strata are shared by; `draws` are some of range(of).
    """

    def __init__(self, seed: int, stay_id: np.ndarray, draws: Iterable[int], *, of: int, **cells: Any) -> None:
        super().__init__(seed, stay_id, draws, **cells)
        self.strata: Tensor | None = torch.cat([self._strata(seed, stay, of) for stay in stay_id])
        self.of = of

    def _strata(self, seed: int, stay: object, of: int) -> Tensor:
        """(S, T, V) the stratum of each cell in each of the draws, from 0 to of - 1."""
        order = torch.Generator().manual_seed(key_of(seed, stay, STRATA))
        return torch.rand(of, *self.cells, generator=order).argsort(0)[self.draws]

    def __call__(self) -> Tensor:
        noise = super().__call__()
        if self.strata is None:
            return noise
        within = torch.special.ndtr(noise.float().cpu()).view(-1, *self.cells)  # uniform on (0, 1)
        stratified = torch.special.ndtri(((self.strata + within) / self.of).clamp(SMALLEST, 1 - SMALLEST))
        self.strata = None
        return stratified.view(noise.shape).to(noise)


def key_of(seed: int, stay: object, draw: int) -> int:
    """Of a stream of random numbers."""
    return int.from_bytes(hashlib.blake2b(f"{seed}|{stay}|{draw}".encode(), digest_size=8).digest(), "little") >> 1
