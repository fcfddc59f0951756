"""Batches by indexing tensors: no stay is ever collated alone, no worker process copies what is already in memory.

Several processes share out each batch of one process. So a step sees the same stays however many they are, and
data.batch_size means what it meant.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytorch_lightning as lightning
import torch

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError

AT_ONCE = 1024  # stays of a batch that is not trained on


class StayLoader:
    """Iterates over a split in batches; the last one may be smaller, no stay is left out.

    Arguments:
        stays: the whole split.
        batch_size: B of each batch.
        shuffle_seed: None keeps the order; a number draws a new one each epoch, from (shuffle_seed, epoch) alone, so that a
            resumed run sees the batches that the interrupted one would have seen.
        rank, ranks: of this process, and how many share the stays. All have as many batches, because they wait for one another
            in each. In order, every stay is in one process only. Shuffled, a last batch with fewer stays than processes is
            seen by several.

    Raises UserError if there are fewer stays than processes.
    """

    def __init__(
        self, stays: StayBatch, batch_size: int, shuffle_seed: int | None = None, *, rank: int = 0, ranks: int = 1
    ) -> None:
        if ranks > max(1, len(stays)):
            raise UserError(f"{ranks} devices cannot share {len(stays)} stays: lower trainer.devices.")
        self.stays, self.batch_size, self.shuffle_seed = stays, batch_size, shuffle_seed
        self.rank, self.ranks = rank, ranks
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
        for start, end in self._bounds():
            if order is None:
                yield self.stays[slice(start + self.rank, end, self.ranks)]
            else:
                yield self.stays[self._share(order[start:end])]

    def _order(self) -> torch.Tensor | None:
        if self.shuffle_seed is None:
            return None
        generator = torch.Generator().manual_seed(self.shuffle_seed * 1_000_003 + self.epoch)
        return torch.randperm(len(self.stays), generator=generator)

    def _bounds(self) -> list[tuple[int, int]]:
        """Of all batches. Shared ones that are in order are of equal size, so that none is too small to be shared."""
        n, batches = len(self.stays), len(self)
        if self.ranks > 1 and self.shuffle_seed is None:
            return [(i * n // batches, (i + 1) * n // batches) for i in range(batches)]
        return [(start, min(start + self.batch_size, n)) for start in range(0, n, self.batch_size)]

    def _share(self, batch: torch.Tensor) -> torch.Tensor:
        mine = batch[self.rank :: self.ranks]
        return mine if len(mine) else batch[self.rank % len(batch)].unsqueeze(0)


class TrainingData(lightning.LightningDataModule):
    """What training needs of the data, and all that its further processes get: two splits, as batches.

    Arguments:
        train, val: the splits.
        shape: of both.
        batch_size: of a training step, over all processes.
        seed: of the training batches' order.
        pretraining: the same of the wider cohort that a model may learn from without labels first; None if there is none.
        prior_odds: share of the training survivors that undersampling left in; None if nobody was left out.
        fitted: `ICUDataModule.state()`.
    """

    def __init__(
        self,
        *,
        train: StayBatch,
        val: StayBatch,
        shape: BatchShape,
        batch_size: int,
        seed: int,
        pretraining: "TrainingData | None" = None,
        prior_odds: float | None = None,
        fitted: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.pretraining, self.prior_odds, self.fitted = pretraining, prior_odds, dict(fitted)
        self.train, self.val, self.shape = train, val, shape
        self.batch_size, self.seed = batch_size, seed

    @classmethod
    def of(cls, data: Any, batch_size: int, seed: int) -> "TrainingData":
        """That of a whole data module."""
        parts = {name: getattr(data, name) for name in ("train", "val", "shape", "pretraining", "prior_odds")}
        return cls(**parts, batch_size=batch_size, seed=seed, fitted=data.state())

    def state(self) -> Mapping[str, Any]:
        """That of the whole data module."""
        return self.fitted

    def train_dataloader(self) -> StayLoader:
        return train_loader(self, self.batch_size, self.seed)

    def val_dataloader(self) -> StayLoader:
        return val_loader(self)


def train_loader(data: Any, batch_size: int, seed: int) -> StayLoader:
    """Of `data.train`, this process's share."""
    return StayLoader(data.train, batch_size, shuffle_seed=seed, **_place(data.trainer))


def val_loader(data: Any) -> StayLoader:
    """Of `data.val`, this process's share."""
    return StayLoader(data.val, AT_ONCE, **_place(data.trainer))


def _place(trainer: "lightning.Trainer | None") -> dict[str, int]:
    return {} if trainer is None else {"rank": trainer.global_rank, "ranks": trainer.world_size}
