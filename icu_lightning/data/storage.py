"""When a laboratory's value was there to be read: some are charted at the time of the sample and stored hours later."""

from collections.abc import Sequence

import polars as pl

from icu_lightning.data.concepts import Concept
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


class KnownBy:
    """A `Source` of what was stored before `hours`, or at an untold time."""

    def __init__(self, source: Source, hours: float) -> None:
        self.source, self.hours = source, hours
        self.name, self.synthetic, self.open_data = source.name, source.synthetic, source.open_data
        self.stays, self.infusions = source.stays, source.infusions
        self.collect, self.fingerprint = source.collect, source.fingerprint

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        return self.source.events(concepts).filter((pl.col("stored") < self.hours).fill_null(True))
