"""Extracts kept on disk under the hash of everything they depend on, so that a second run starts at once.

The key covers the raw files, the settings and the code and facts of this package that make an extract; whatever changes,
the key changes, and the old entry is simply never asked for. An entry is a folder, written under another name and then
renamed; its manifest holds the digest of each file, so that a damaged entry is noticed and rebuilt.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from icu_lightning import __version__
from icu_lightning.atomic import atomic_folder
from icu_lightning.data.extract import Extract
from icu_lightning.data.sources.base import Source


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
    extract = build()
    try:
        _write(entry, extract, settings)
    except OSError as error:
        say(
            f"The cache cannot be written ({error}); this run goes on without it. data.cache_dir chooses another folder."
        )
    return extract


def _kept(entry: Path, say: Callable[[str], object]) -> Extract | None:
    """The entry's extract; None if it is not there, is damaged, or was replaced by another process at this very moment."""
    try:
        if not (entry / "manifest.json").exists():
            return None
        if problem := damage(entry):
            say(f"The cache entry {entry} is damaged ({problem}); it is built again.")
            return None
        return _read(entry)
    except OSError:
        return None


def key(source: Source, settings: Mapping[str, object]) -> str:
    """Hash of the raw files, the settings and the code that turns one into the other."""
    code = [code_digest(Path(__file__).parent)]
    module = inspect.getsourcefile(type(source)) or sys.executable  # a source may live outside of this package
    code.append(hashlib.blake2b(Path(module).read_bytes()).hexdigest())
    facts = [__version__, pl.__version__, source.name, source.fingerprint(), dict(settings), code]
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=12).hexdigest()


def code_digest(folder: Path) -> str:
    """Of every module and fact below `folder`: a rebuilt entry costs seconds, a stale one a wrong result."""
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
        for name in ("stays", "attrition", "cleaning"):
            getattr(extract, name).write_parquet(folder / f"{name}.parquet")
        files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
        (folder / "manifest.json").write_text(json.dumps({"settings": dict(settings), "files": files}, indent=2))


def _read(entry: Path) -> Extract:
    frames = {name: pl.read_parquet(entry / f"{name}.parquet") for name in ("stays", "attrition", "cleaning")}
    return Extract(values=np.load(entry / "values.npy"), **frames)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
