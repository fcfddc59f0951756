"""The first pass over raw tables, kept: what a source gives, for every concept its database charts, as narrow parquet files.

Reading raw tables is parsing hundreds of millions of lines of text to keep a few of them. So the first run writes the few,
for all concepts at once, and whatever cohort, window or variables come next are scans of these files. The frames are the
source's own, value for value; only their order of rows, which nobody may rely on, is another.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning.atomic import atomic_folder, building
from icu_lightning.data import cache, concepts, drugs, sources
from icu_lightning.data.cache import key, settings_of, unwritable, whole, write_manifest
from icu_lightning.data.concepts import Concept, all_concepts, charted_in
from icu_lightning.data.drugs import Drug, all_drugs
from icu_lightning.data.sources.base import Source
from icu_lightning.data.sources.tables import RawTables
from icu_lightning.errors import UserError

# What the frames depend on: how they are read and what is looked for, and nothing that comes after
FACTS = (Path(concepts.__file__), concepts.FILE, Path(drugs.__file__), drugs.FILE)
CODE = (Path(sources.__file__).parent, *FACTS, Path(__file__))


def narrowed(
    source: Source,
    folder: Path | None,
    say: Callable[[str], object],
    step: Callable[[str], object] = lambda _: None,
) -> Source:
    """The source, reading from its narrow files in `folder`, which are made first if they are missing, stale or damaged.

    It is the source itself if there is no folder, if it has no raw tables that would take long to read, or if the files
    cannot be made. A table that cannot be read is no reason to stop here: this run may not need it, and fails on it if it does.

    Arguments:
        folder: of the cache; None keeps nothing.
        say: told what stands in the way.
        step: told in words what is being done, for a progress bar.
    """
    if folder is None or not isinstance(getattr(source, "tables", None), RawTables):
        return source
    entry = folder / f"{source.name}-narrow-{key(source, {}, CODE)}"
    try:
        if not whole(entry, say):
            with building(entry):
                if not whole(entry, lambda _: None):  # made by another process, meanwhile
                    step(f"{source.name}: all tables, once")
                    _write(entry, source)
        return NarrowTables(source, entry)
    except UserError as error:
        say(f"The narrow cache is not made, and this run reads the raw tables: {error}")
    except OSError as error:
        say(unwritable(error))
    return source


class NarrowTables:
    """A `Source` whose frames are scans of what was kept of another one's.

    Arguments:
        source: the one that was read.
        entry: folder of its undamaged narrow files.
    """

    def __init__(self, source: Source, entry: Path) -> None:
        self.source, self.entry = source, entry
        self.name, self.synthetic, self.fingerprint = source.name, source.synthetic, source.fingerprint
        self.tells_storage = getattr(source, "tells_storage", False)
        self.kept = frozenset(settings_of(entry)["variables"])
        self.kept_drugs = frozenset(settings_of(entry)["drugs"])

    @property
    def open_data(self) -> bool:
        return self.source.open_data

    def stays(self) -> pl.LazyFrame:
        return self._scan("stays")

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        """As the source's own, which is asked itself (and raises its UserError) for what it could not give when it was read."""
        charted_in(self.name, concepts)
        charted = [concept.name for concept in concepts if self.name in concept.charted]
        if not charted or not self.kept.issuperset(charted):
            return self.source.events(concepts)
        return self._scan("events").filter(pl.col("variable").is_in(charted))

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        """As `events`."""
        charted = [drug.name for drug in drugs if self.name in drug.charted]
        if not charted or not self.kept_drugs.issuperset(charted):
            return self.source.infusions(drugs)
        return self._scan("infusions").filter(pl.col("drug").is_in(charted))

    def _scan(self, name: str) -> pl.LazyFrame:
        return pl.scan_parquet(self.entry / f"{name}.parquet")

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """As the source's own. Raises UserError if the narrow files were changed or removed since they were found whole."""
        try:
            return frame.collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            if (self.entry / "manifest.json").exists() and not cache.damage(self.entry):
                return self.source.collect(frame)  # a frame of the source itself, which knows what its errors mean
            raise UserError(
                f"The cache entry {self.entry} was changed or removed while it was read; run again, and it is rebuilt."
            ) from error


def _write(entry: Path, source: Source) -> None:
    """One streaming pass a frame. Raises UserError for a table that is missing or damaged, OSError if nothing can be written."""
    variables, drugs = _openable(source), _infused(source)
    frames = {
        "stays": source.stays(),
        "events": source.events(variables),
        **({"infusions": source.infusions(drugs)} if drugs else {}),
    }
    with atomic_folder(entry) as folder:
        for name, frame in frames.items():
            _sink(source, frame, folder / f"{name}.parquet")
        names = {"variables": [concept.name for concept in variables], "drugs": [drug.name for drug in drugs]}
        write_manifest(folder, names)


def _sink(source: Source, frame: pl.LazyFrame, path: Path) -> None:
    try:
        source.collect(frame.sink_parquet(path, compression="zstd", lazy=True))
    except RuntimeError as error:  # every raw table was read to its end, so it is the writing: a full disk, say
        raise OSError(str(error.__cause__)) from error


def _openable(source: Source) -> list[Concept]:
    """The concepts that the database charts and whose tables are there, with the columns they need."""
    charted = [concept for concept in all_concepts().values() if source.name in concept.charted]
    if _opens(source.events, charted):
        return charted
    return [concept for concept in charted if _opens(source.events, [concept])]


def _infused(source: Source) -> list[Drug]:
    """The drugs that the database charts, if their tables are there."""
    charted = [drug for drug in all_drugs().values() if source.name in drug.charted]
    return charted if charted and _opens(source.infusions, charted) else []


def _opens(frame: Callable[[Any], pl.LazyFrame], wanted: Sequence[Concept] | Sequence[Drug]) -> bool:
    try:
        frame(wanted)
    except UserError:
        return False
    return True
