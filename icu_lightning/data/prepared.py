"""A source and its settings as stays, splits and hourly values: what fitting, and looking at the data, both begin with. No torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from icu_lightning.data.cache import cached
from icu_lightning.data.concepts import all_concepts, concepts_of
from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.extract import Extract, extract
from icu_lightning.data.narrow import narrowed
from icu_lightning.data.settings import DataSettings
from icu_lightning.data.sources.base import Source
from icu_lightning.data.splits import LEFT_OUT, split_by_hospital, split_by_patient, undersampled
from icu_lightning.errors import UserError


def prepared(
    source: Source,
    settings: DataSettings,
    say: Callable[[str], object],
    step: Callable[[str], object] = lambda _: None,
) -> tuple[Extract, pl.DataFrame]:
    """The extract, built or cached, and its stays with their `split` (one of `splits.SPLITS`, or LEFT_OUT by `data.before_split`).

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
    if line := _unlisted(source, settings):
        say(line)
    cache_dir = Path(settings.cache_dir).expanduser() if settings.cache_dir else None
    chosen = settings.of_extract

    def build() -> Extract:
        if line := _incomplete(source):
            say(line)
        return extract(narrowed(source, cache_dir, say, step), **chosen, step=step)

    data = cached(cache_dir, source, chosen, build, say)
    if without := int((~np.isfinite(data.values).any((1, 2))).sum()):
        say(
            f"{without:,} of {len(data.values):,} stays have no value of any variable: they are kept, all of them missing."
        )
    return data


def _incomplete(source: Source) -> str | None:
    """What a source says of tables that do not belong together. One that cannot be read is the business of those who need it."""
    judge = getattr(source, "incomplete", None)
    try:
        return judge() if judge else None
    except UserError:
        return None


def _unlisted(source: Source, settings: DataSettings) -> str | None:
    """What the database's dictionaries do not know of what this run reads; a dictionary that cannot be read is said too."""
    judge = getattr(source, "unlisted_items", None)
    if judge is None:
        return None
    wanted = all_concepts().values() if settings.of_extract["scores"] else concepts_of(settings.variables)
    drugs = vis_drugs(settings.vis_extended) if settings.vis is not None else []
    try:
        return judge([place for facts in (*wanted, *drugs) for place in facts.charted.get(source.name, ())])
    except UserError as error:
        return f"The item ids are not compared with the database's own: {error}"


def _split(stays: pl.DataFrame, settings: DataSettings) -> pl.Series:
    if "undersample" not in settings.before_split:
        return _sides(stays, settings)
    everyone, per_death = pl.repeat("train", stays.height, eager=True), settings.undersample
    assert per_death is not None
    kept = undersampled(stays["stay_id"], everyone, stays[settings.outcome], per_death, settings.split_seed) != LEFT_OUT
    split = np.full(stays.height, LEFT_OUT, dtype=object)
    split[kept.to_numpy()] = _sides(stays.filter(kept), settings).to_numpy()
    return pl.Series("split", split, dtype=pl.String)


def _sides(stays: pl.DataFrame, settings: DataSettings) -> pl.Series:
    chosen = settings.fractions, settings.split_seed, settings.fold
    if settings.split == "hospital":
        return split_by_hospital(stays["patient_id"], stays["hospital_id"], *chosen)
    return split_by_patient(stays["patient_id"], stays[settings.outcome], *chosen)
