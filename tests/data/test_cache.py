"""The cache: found again, never stale, never half written."""

import os

import numpy as np
import pytest

from icu_lightning.data import cache
from icu_lightning.data.extract import extract
from icu_lightning.data.sources.synthetic import SyntheticICU
from tests.conftest import settings


@pytest.fixture
def kept(tmp_path):
    """(build, folder, calls): build(stays=..., hours=...) goes through the cache; calls counts what was really built."""
    calls, said = [], []

    def build(stays: int = 60, **changes):
        source, chosen = SyntheticICU(stays, 0), settings(**changes).of_extract

        def really():
            calls.append(1)
            return extract(source, **chosen)

        return cache.cached(tmp_path / "cache", source, chosen, really, said.append)

    return build, tmp_path / "cache", calls, said


def same(one, other) -> bool:
    frames = all(getattr(one, name).equals(getattr(other, name)) for name in ("stays", "attrition", "cleaning"))
    return frames and np.array_equal(one.values, other.values, equal_nan=True)


def test_a_second_build_is_read_and_equal(kept):
    build, _, calls, _ = kept
    assert same(build(), build())
    assert len(calls) == 1


def test_any_setting_and_any_change_of_the_data_builds_anew(kept):
    build, _, calls, _ = kept
    for changes in (
        {},
        {"stays": 61},
        {"hours": 12},
        {"variables": ["map"]},
        {"cohort": [{"age_at_least": 50}]},
        {"outcome": "died_in_icu"},
    ):
        build(**changes)
    assert len(calls) == 6


@pytest.mark.parametrize("harm", ["truncate", "remove", "manifest", "bytes"])
def test_a_damaged_entry_is_told_and_built_again(kept, harm):
    build, folder, calls, said = kept
    first = build()
    (entry,) = folder.iterdir()
    values, manifest = entry / "values.npy", entry / "manifest.json"
    if harm == "truncate":
        values.write_bytes(values.read_bytes()[:-100])
    elif harm == "remove":
        values.unlink()
    elif harm == "manifest":
        manifest.write_text("{")
    else:
        changed = bytearray(values.read_bytes())
        changed[-1] ^= 1
        values.write_bytes(changed)
    assert same(first, build())
    assert len(calls) == 2
    assert "is damaged" in said[0]
    assert same(first, build())
    assert len(calls) == 2


def test_an_interrupted_write_leaves_no_entry(kept, monkeypatch):
    build, folder, _, _ = kept
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        build()
    assert list(folder.iterdir()) == []


def test_changed_raw_files_change_the_key(write_eicu):
    from icu_lightning.data.sources.eicu import EICU

    folder = write_eicu()
    before = cache.key(EICU(folder), {})
    assert cache.key(EICU(folder), {}) == before
    lab = folder / "lab.csv"
    stat = lab.stat()
    text = lab.read_text()
    lab.write_text(text.replace("4.1", "4.2"))
    os.utime(lab, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time of change
    assert cache.key(EICU(folder), {}) != before
