"""Extracts kept on disk under the hash of everything they depend on, so that a second run starts at once.

The key covers the raw files, the settings and the code and facts of this package that make an extract; whatever changes,
the key changes, and the old entry is simply never asked for. An entry is a folder, written under another name and then
renamed; its manifest holds the digest of each file, so that a damaged entry is noticed and rebuilt. Of several runs that begin
side by side the first builds it, and the others wait.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from icu_lightning import __version__
from icu_lightning.atomic import atomic_folder, building
from icu_lightning.data.extract import Extract
from icu_lightning.data.sources.base import Source
from icu_lightning.data.sources.tables import fingerprint

ARRAYS = ("rates", "assumed")  # that an extract may have
FRAMES = ("stays", "attrition", "cleaning", "units", "components")
WHOLE = 64 * 2**20  # bytes: larger files are checked by size, time of change and both ends


def cached(
    folder: Path | None,
    source: Source,
    settings: Mapping[str, object],
    build: Callable[[], Extract],
    say: Callable[[str], object],
) -> Extract:
    """The extract of this source under these settings: from `folder` if it is there and whole, else built and kept.

    Arguments:
        folder: of all entries; None builds without keeping.
        settings: plain values; everything beside source and code that the extract depends on.
        say: told when an entry is damaged and built again.
    """
    if folder is None:
        return build()
    entry = folder / f"{source.name}-{key(source, settings)}"
    if (kept := _kept(entry, say)) is not None:
        return kept
    with building(entry):
        if (kept := _kept(entry, lambda _: None)) is not None:  # by another process, meanwhile
            return kept
        extract = build()
        try:
            _write(entry, extract, settings)
        except OSError as error:
            say(unwritable(error))
    return extract


def _kept(entry: Path, say: Callable[[str], object]) -> Extract | None:
    """The entry's extract; None if it is not there, is damaged, or was replaced by another process at this very moment."""
    try:
        return _read(entry) if whole(entry, say) else None
    except OSError:
        return None


def whole(entry: Path, say: Callable[[str], object]) -> bool:
    """Whether an entry is there and undamaged; damage is told. Raises OSError if another process replaces it meanwhile."""
    if not (entry / "manifest.json").exists():
        return False
    if problem := damage(entry):
        say(f"The cache entry {entry} is damaged ({problem}); it is built again.")
    return not problem


def unwritable(error: Exception) -> str:
    return f"The cache cannot be written ({error}); this run goes on without it. data.cache_dir chooses another folder."


def key(source: Source, settings: Mapping[str, object], code_in: Sequence[Path] = (Path(__file__).parent,)) -> str:
    """Hash of the raw files, the settings and the code, below the folders or in the files `code_in`, between the two."""
    code = [code_digest(path) for path in code_in]
    module = inspect.getsourcefile(type(source)) or sys.executable  # a source may live outside of this package
    code.append(hashlib.blake2b(Path(module).read_bytes()).hexdigest())
    facts = [__version__, pl.__version__, source.name, source.fingerprint(), dict(settings), code]
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=12).hexdigest()


def code_digest(folder: Path) -> str:
    """Of every module and fact below `folder`, or of one file: a rebuilt entry costs seconds, a stale one a wrong result."""
    if folder.is_file():
        return hashlib.blake2b(folder.read_bytes()).hexdigest()
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".yaml"))
    parts = [f"{path.relative_to(folder)} {hashlib.blake2b(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.blake2b("\n".join(parts).encode()).hexdigest()


def damage(entry: Path) -> str | None:
    """What is wrong with an entry, or None: a file that is missing or differs from the manifest."""
    try:
        manifest = json.loads((entry / "manifest.json").read_text())["files"]
    except (ValueError, KeyError):
        return "manifest.json is unreadable"
    for name, digest in manifest.items():
        path = entry / name
        if not path.exists() or _digest(path) != digest:
            return f"{name} is {'changed' if path.exists() else 'missing'}"
    return None


def _write(entry: Path, extract: Extract, settings: Mapping[str, object]) -> None:
    if (entry / "manifest.json").exists() and not damage(entry):
        return  # another process was faster, with the same content
    with atomic_folder(entry) as folder:
        np.save(folder / "values.npy", extract.values)
        for name in ARRAYS:
            if (array := getattr(extract, name)) is not None:
                np.save(folder / f"{name}.npy", array)
        for name in FRAMES:
            getattr(extract, name).write_parquet(folder / f"{name}.parquet")
        write_manifest(folder, settings)


def write_manifest(folder: Path, settings: Mapping[str, object]) -> None:
    """Of every file in the folder, the digest; and the settings. To be written last, before the folder gets its name."""
    files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps({"settings": dict(settings), "files": files}, indent=2))


def settings_of(entry: Path) -> dict[str, Any]:
    """What the manifest of an undamaged entry says beside the files."""
    return json.loads((entry / "manifest.json").read_text())["settings"]


def _read(entry: Path) -> Extract:
    frames = {name: pl.read_parquet(entry / f"{name}.parquet") for name in FRAMES}
    rates, assumed = (np.load(path) if (path := entry / f"{name}.npy").exists() else None for name in ARRAYS)
    return Extract(values=np.load(entry / "values.npy"), rates=rates, assumed=assumed, **frames)


def _digest(path: Path) -> str | list[str | int]:
    """Of the whole content; of a file above WHOLE bytes, which would take long to read, of name, size, time and both ends."""
    if path.stat().st_size > WHOLE:
        return fingerprint(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
