"""The synthetic ICU as a source: raw tables of MIMIC-IV's schema, made once, read by the code that reads the real ones.

Nothing here is known about the stays but what the tables say; what is true of them lies beside the tables, where no source looks.
"""

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning import __version__
from icu_lightning.atomic import building
from icu_lightning.data import synthetic
from icu_lightning.data.concepts import Concept
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.data.synthetic.settings import check_stays, settings_of
from icu_lightning.data.synthetic.writers.columns import MARKER, ORACLE
from icu_lightning.data.synthetic.writers.write import write
from icu_lightning.errors import whole_number


class SyntheticICU:
    """Made-up stays as a `Source`; the same stays for the same arguments.

    Arguments:
        stays: how many, at least 10 and at least one a hospital.
        generator_seed: of everything that is drawn.
        generator: conf/generator.
        cache_dir: where the tables are kept for the next run; None keeps them while this object lives.

    Raises UserError for what cannot be meant.
    """

    name = "synthetic"
    synthetic = open_data = True

    def __init__(
        self, stays: int, generator_seed: int, generator: Mapping[str, Any], cache_dir: str | None = None
    ) -> None:
        self.settings = settings_of(generator)
        self.n = check_stays(stays, self.settings)
        self.seed = whole_number("data.generator_seed", generator_seed, 0)
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else None

    def fingerprint(self) -> object:
        """Known without making the tables: they follow from it."""
        return [self.n, self.seed, self.settings.key, _code(), __version__]

    def stays(self) -> pl.LazyFrame:
        return self._read.stays()

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        return self._read.events(concepts)

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        return self._read.infusions(drugs)

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        return self._read.collect(frame)

    def oracle(self) -> pl.DataFrame:
        """What is true of every stay, for judging models, never for training them: stay_id, true_risk, ..."""
        return pl.read_ipc(self.folder / ORACLE)

    @cached_property
    def folder(self) -> Path:
        """Where the tables lie; made on first use."""
        digest = hashlib.blake2b(json.dumps(self.fingerprint()).encode(), digest_size=12).hexdigest()
        if self.cache_dir is not None:
            folder = self.cache_dir / f"synthetic-tables-{digest}"
            if (folder / MARKER).exists():
                return folder
            try:
                with building(folder):
                    if not (folder / MARKER).exists():  # else by another process, meanwhile, which is reading them
                        write(folder, "mimic4", self.settings, self.n, self.seed, replace=True)
                return folder
            except OSError:
                self.cache_dir = None  # a cache that cannot be written is done without
        folder = Path(tempfile.mkdtemp(prefix="icu_lightning-synthetic-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        write(folder / "tables", "mimic4", self.settings, self.n, self.seed)
        return folder / "tables"

    @cached_property
    def _read(self) -> MIMIC4:
        return _Tables(self.folder)


class _Tables(MIMIC4):
    """MIMIC-IV's tables under the name that concepts.yaml's entries have for made-up ones."""

    name = "synthetic"


def _code() -> str:
    """Digest of the generator's code: another generator makes other stays of the same seed."""
    folder = Path(synthetic.__file__).parent
    parts = [hashlib.blake2b(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.py"))]
    return hashlib.blake2b("".join(parts).encode(), digest_size=12).hexdigest()
