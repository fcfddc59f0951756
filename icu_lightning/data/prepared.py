"""A source and its settings as stays, splits and hourly values: what fitting, and looking at the data, both begin with. No torch."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from icu_lightning.data.cache import cached
from icu_lightning.data.extract import Extract, extract
from icu_lightning.data.narrow import narrowed
from icu_lightning.data.settings import DataSettings
from icu_lightning.data.sources.base import Source
from icu_lightning.data.splits import split_by_hospital, split_by_patient
from icu_lightning.errors import UserError


def prepared(
    source: Source,
    settings: DataSettings,
    say: Callable[[str], object],
    step: Callable[[str], object] = lambda _: None,
) -> tuple[Extract, pl.DataFrame]:
    """The extract, built or from the cache, and its stays with their `split` (one of `splits.SPLITS`), in the same order.

    Arguments:
        say, step: told in words what happens, and what is being done.

    Raises UserError for what `extract` refuses, and for stays with an unknown outcome.
    """
    data = read(source, settings, say, step)
    if unknown := data.stays[settings.outcome].null_count():
        raise UserError(
            f"{unknown} stays of the cohort have an unknown outcome: add '- outcome_known: {settings.outcome}' to data.cohort."
        )
    return data, data.stays.with_columns(_split(data.stays, settings))


def read(
    source: Source,
    settings: DataSettings,
    say: Callable[[str], object],
    step: Callable[[str], object] = lambda _: None,
) -> Extract:
    """The extract alone, built or from the cache; outcomes may be unknown. Raises UserError for what `extract` refuses."""
    cache_dir = Path(settings.cache_dir).expanduser() if settings.cache_dir else None
    chosen = settings.of_extract
    return cached(
        cache_dir,
        source,
        chosen,
        lambda: extract(narrowed(source, cache_dir, say, step), **chosen, step=step),
        say,
    )


def _split(stays: pl.DataFrame, settings: DataSettings) -> pl.Series:
    if settings.split == "hospital":
        return split_by_hospital(stays["patient_id"], stays["hospital_id"], settings.fractions, settings.split_seed)
    return split_by_patient(stays["patient_id"], stays[settings.outcome], settings.fractions, settings.split_seed)
