"""Batches by indexing tensors: no stay is ever collated alone, no worker process copies what is already in memory."""

from collections.abc import Iterator

import torch

from icu_lightning.batch import StayBatch


class StayLoader:
    """Iterates over a split in batches; the last one may be smaller, no stay is left out.

    Arguments:
        stays: the whole split.
        batch_size: B of each batch.
        shuffle_seed: None keeps the order; a number draws a new one each epoch, from (shuffle_seed, epoch) alone, so that a
            resumed run sees the batches that the interrupted one would have seen.
    """

    def __init__(self, stays: StayBatch, batch_size: int, shuffle_seed: int | None = None) -> None:
        self.stays, self.batch_size, self.shuffle_seed = stays, batch_size, shuffle_seed
        self.epoch = 0

    @property
    def sampler(self) -> "StayLoader":
        """Lightning announces each epoch to `loader.sampler.set_epoch`, and looks for a batch sampler beside it."""
        return self

    batch_sampler = None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.stays) // self.batch_size)

    def __iter__(self) -> Iterator[StayBatch]:
        order = self._order()  # a generator: drawn with the first batch, after Lightning has told the epoch
        for start in range(0, len(self.stays), self.batch_size):
            end = start + self.batch_size
            yield self.stays[slice(start, end) if order is None else order[start:end]]

    def _order(self) -> torch.Tensor | None:
        if self.shuffle_seed is None:
            return None
        generator = torch.Generator().manual_seed(self.shuffle_seed * 1_000_003 + self.epoch)
        return torch.randperm(len(self.stays), generator=generator)
