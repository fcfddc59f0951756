"""ICUDataModule: calls source, cohort, cleaning, grid, split and scaling in order, and hands out StayBatches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch

from icu_lightning.batch import BatchShape, StayBatch, hours_since_last
from icu_lightning.data.cache import cached
from icu_lightning.data.cohort import attrition_text
from icu_lightning.data.extract import extract
from icu_lightning.data.loader import StayLoader
from icu_lightning.data.narrow import narrowed
from icu_lightning.data.scaling import Scaler, StaticEncoder
from icu_lightning.data.settings import DataSettings
from icu_lightning.data.sources.base import Source
from icu_lightning.data.splits import SPLITS, split_by_hospital, split_by_patient
from icu_lightning.errors import UserError


class ICUDataModule(lightning.LightningDataModule):
    """The stays of one source as train, val and test.

    Arguments:
        source: the database.
        settings: hours, variables, cohort, outcome, split, batch size, cache.
        seed: of the training batches' order.
        say, step: told in words what happens, and what is being done.

    After `setup`: `train`, `val`, `test` (StayBatch), `stays` (a row a stay of the cohort, with its `split`), `shape`,
    `scaler`, `encoder`, `extract` (attrition and cleaning tables, values in clinical units).
    """

    def __init__(
        self,
        source: Source,
        settings: DataSettings,
        *,
        seed: int = 0,
        say: Callable[[str], object] = print,
        step: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__()
        self.source, self.settings, self.seed, self.say, self.step = source, settings, seed, say, step
        self.scaler, self.encoder = Scaler(), StaticEncoder()
        self._ready = False

    def setup(self, stage: str | None = None) -> None:
        """Extract (or read the cache), split, fit on train, build the tensors; once, whatever the stage."""
        if self._ready:
            return
        settings = self.settings
        cache_dir = Path(settings.cache_dir).expanduser() if settings.cache_dir else None
        self.extract = cached(
            cache_dir,
            self.source,
            settings.of_extract,
            lambda: extract(
                narrowed(self.source, cache_dir, self.say, self.step), **settings.of_extract, step=self.step
            ),
            self.say,
        )
        stays = self.extract.stays
        if unknown := stays[settings.outcome].null_count():
            raise UserError(
                f"{unknown} stays of the cohort have an unknown outcome: add '- outcome_known: {settings.outcome}' to data.cohort."
            )
        self.stays = stays.with_columns(self._split(stays))
        self._fit()
        self.train, self.val, self.test = (self._tensors(self.stays["split"] == name) for name in SPLITS)
        self._ready = True

    def _split(self, stays: pl.DataFrame) -> pl.Series:
        settings = self.settings
        if settings.split == "hospital":
            return split_by_hospital(stays["patient_id"], stays["hospital_id"], settings.fractions, settings.split_seed)
        return split_by_patient(stays["patient_id"], stays[settings.outcome], settings.fractions, settings.split_seed)

    def _fit(self) -> None:
        """Everything that is fitted, and nothing but training stays to fit it on."""
        training = self.stays["split"] == "train"
        if (classes := self.stays.filter(training)[self.settings.outcome].unique().len()) < 2:
            n = int(training.sum())
            raise UserError(
                f"The training split has {classes} of the 2 classes of {self.settings.outcome} among {n} stays, "
                "so nothing can be learnt from it: "
                "widen data.cohort, or raise the training share in data.fractions.\n"
                f"Attrition:\n{attrition_text(self.extract.attrition)}"
            )
        self.scaler.fit(self.extract.values[training.to_numpy()], self.settings.variables)
        self.encoder.fit(self.stays.filter(training))

    def _tensors(self, rows: pl.Series) -> StayBatch:
        stays, values = self.stays.filter(rows), self.extract.values[rows.to_numpy()]
        observed = torch.from_numpy(np.isfinite(values))
        hour = np.arange(self.settings.hours)
        return StayBatch(
            values=torch.from_numpy(self.scaler.transform(values)),
            observed=observed,
            held_out=torch.zeros_like(observed),
            hours_since=hours_since_last(observed),
            static=torch.from_numpy(self.encoder.transform(stays)),
            in_icu=torch.from_numpy(hour[None, :] < stays["los_hours"].to_numpy()[:, None]),
            label=_flag(stays[self.settings.outcome]),
            died_in_hospital=_flag(stays["died_in_hospital"]),
            died_in_icu=_flag(stays["died_in_icu"]),
            stay_id=stays["stay_id"].to_numpy(),
            patient_id=stays["patient_id"].to_numpy(),
        )

    @property
    def shape(self) -> BatchShape:
        return BatchShape(self.settings.hours, tuple(self.settings.variables), self.encoder.names)

    def train_dataloader(self) -> StayLoader:
        return StayLoader(self.train, self.settings.batch_size, shuffle_seed=self.seed)

    def val_dataloader(self) -> StayLoader:
        return StayLoader(self.val, batch_size=1024)

    def test_dataloader(self) -> StayLoader:
        return StayLoader(self.test, batch_size=1024)


def _flag(died: pl.Series) -> torch.Tensor:
    return torch.from_numpy(died.cast(pl.Float32).fill_null(float("nan")).to_numpy(writable=True))
