"""A synthetic ICU on disk: every table of a schema, compressed block by block, in a folder that is whole or not there.

Beside the tables lie SYNTHETIC.json, by which sources and readers know what they have, and oracle.arrow: what is true of every
stay, first of all its risk. Its ending is one that no source reads, and its columns are in no table.
"""

import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl

from icu_lightning import __version__
from icu_lightning.atomic import atomic_folder
from icu_lightning.data.synthetic.generate import Block, in_blocks, simulated
from icu_lightning.data.synthetic.settings import GeneratorSettings, check_stays
from icu_lightning.data.synthetic.writers import eicu, mimic3, mimic4
from icu_lightning.data.synthetic.writers.columns import MARKER, ORACLE, marker
from icu_lightning.data.synthetic.writers.episodes import write_episodes
from icu_lightning.errors import UserError, unknown_name, whole_number

SCHEMAS: Mapping[str, ModuleType] = {"mimic3": mimic3, "mimic4": mimic4, "eicu": eicu}
EPISODES = "episodes"


def write(
    out: Path,
    schema: str,
    settings: GeneratorSettings,
    stays: int,
    seed: int,
    *,
    workers: int = 2,
    replace: bool = False,
    step: Callable[[int], object] = lambda _: None,
) -> None:
    """All tables of `schema`, or the benchmark's episode files, into the folder `out`, which appears when it is whole.

    Arguments:
        stays: exactly so many. seed: of everything that is drawn.
        replace: take the place of a folder that is there, as a cache does.
        step: told how many stays more are done.

    Raises UserError for an unknown schema, an impossible number, or a folder that holds anything; OSError from a full disk, with
    nothing left behind.
    """
    if schema not in (*SCHEMAS, EPISODES):
        raise unknown_name("schema", schema, (*SCHEMAS, EPISODES))
    check_stays(stays, settings)
    whole_number("seed", seed, 0)
    if not replace:
        refuse_full(out)
    if schema == EPISODES:
        return write_episodes(out, settings, stays, seed, workers=workers, step=step)
    writer = SCHEMAS[schema]
    with atomic_folder(out) as folder:
        oracle = _write_tables(folder, writer, settings, stays, seed, workers, step)
        for name, table in writer.static().items():
            (folder / f"{name}{writer.ENDING}").write_bytes(_compressed(table, header=True))
        oracle.write_ipc(folder / ORACLE)
        facts = {"schema": schema, "stays": stays, "seed": seed, "version": __version__, "generator": settings.key}
        (folder / MARKER).write_text(marker(facts), encoding="utf-8")


def refuse_full(out: Path) -> None:
    """Raise UserError if `out` is anything but a new or an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already, and nothing is overwritten: choose another folder, or remove it.")


def _write_tables(
    folder: Path,
    writer: ModuleType,
    settings: GeneratorSettings,
    stays: int,
    seed: int,
    workers: int,
    step: Callable[[int], object],
) -> pl.DataFrame:
    """Append each block's part to the tables, in order; returns the oracle."""

    def parts(block: Block) -> tuple[dict[str, bytes], pl.DataFrame]:
        made = writer.tables(block)
        return {name: _compressed(table, header=False) for name, table in made.items()}, oracle_of(writer, block)

    truth: list[pl.DataFrame] = []
    for n, (tables, oracle) in in_blocks(settings, seed, stays, parts, workers):
        if not truth:
            _write_headers(folder, writer, settings)
        for name, content in tables.items():
            with (folder / f"{name}{writer.ENDING}").open("ab") as file:
                file.write(content)
        truth.append(oracle)
        step(n)
    return pl.concat(truth)


def _write_headers(folder: Path, writer: ModuleType, settings: GeneratorSettings) -> None:
    for name, table in writer.tables(simulated(settings, 0, np.arange(2))).items():
        path = folder / f"{name}{writer.ENDING}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_compressed(table.clear(), header=True))


def oracle_of(writer: ModuleType, block: Block) -> pl.DataFrame:
    """stay_id, patient_id and hospital_id as the source gives them, and all that is true of the stay."""
    patient, hospital = writer.patient_and_hospital(block)
    return block.truth.select(
        pl.Series("stay_id", writer.stay(block)), patient.alias("patient_id"), hospital.alias("hospital_id"), pl.all()
    )


def _compressed(table: pl.DataFrame, header: bool) -> bytes:
    """One member of a .gz file: members one after the other are one file."""
    text = io.BytesIO()
    table.write_csv(text, include_header=header)
    return gzip.compress(text.getvalue(), compresslevel=1, mtime=0)
