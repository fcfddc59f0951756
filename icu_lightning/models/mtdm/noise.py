"""Noise that follows from (seed, stay_id, draw) alone, so that a stay's imputation does not depend on its batch."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


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
            torch.Generator().manual_seed(_key(seed, stay, draw)) for stay in stay_id for draw in self.draws
        ]

    def __call__(self) -> Tensor:
        noise = torch.empty(len(self.streams), *self.cells)
        for row, stream in zip(noise, self.streams, strict=True):
            row.normal_(generator=stream)
        return noise.view(-1, len(self.draws), *self.cells).to(self.like)  # (B S, T, V) -> (B, S, T, V)


def _key(seed: int, stay: object, draw: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}|{stay}|{draw}".encode(), digest_size=8).digest(), "little") >> 1
