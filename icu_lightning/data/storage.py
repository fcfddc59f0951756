"""When a laboratory's value was there to be read: some are charted at the time of the sample and stored hours later."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from icu_lightning.data.concepts import Concept
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.base import Source
from icu_lightning.errors import UserError


def known_by(source: Source, hours: float) -> Source:
    """The source without what was stored at or after `hours`. Raises UserError if the database tells no times of storage."""
    if not getattr(source, "tells_storage", False):
        raise UserError(
            f"data.lab_time=storetime: {source.name} does not tell when a laboratory's value was stored (MIMIC-IV does). "
            "Set data.lab_time=charttime."
        )
    return KnownBy(source, hours)


@dataclass(frozen=True)
class KnownBy:
    """A `Source` of what was stored before `hours`, or at an untold time."""

    source: Source
    hours: float

    def __getattr__(self, name: str) -> object:  # name, synthetic, collect, fingerprint: the source's own
        return getattr(self.source, name)

    def stays(self) -> pl.LazyFrame:
        return self.source.stays()

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        return self.source.events(concepts).filter((pl.col("stored") < self.hours).fill_null(True))

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        return self.source.infusions(drugs)
