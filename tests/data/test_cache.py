"""The cache: found again, never stale, never half written."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from icu_lightning.data import cache
from icu_lightning.data.extract import extract
from icu_lightning.data.infusions import UNREAD
from tests.conftest import settings, synthetic_icu


@pytest.fixture
def kept(tmp_path):
    """(build, folder, calls): build(stays=..., hours=...) goes through the cache; calls counts what was really built."""
    calls, said = [], []

    def build(stays: int = 60, **changes):
        source, chosen = synthetic_icu(stays), settings(**changes).of_extract

        def really():
            calls.append(1)
            return extract(source, **chosen)

        return cache.cached(tmp_path / "cache", source, chosen, really, said.append)

    return build, tmp_path / "cache", calls, said


def same(one, other) -> bool:
    frames = all(getattr(one, name).equals(getattr(other, name)) for name in cache.FRAMES)
    return frames and np.array_equal(one.values, other.values, equal_nan=True)


def test_a_second_build_is_read_and_equal(kept):
    build, _, calls, _ = kept
    assert same(build(), build())
    assert len(calls) == 1


def test_what_could_not_be_read_is_kept_too(tmp_path):
    units = pl.DataFrame({"drug": ["dopamine"], "unit": [None], "infusions": [2], "stays": [1]}, schema=UNREAD)
    components = pl.DataFrame({"score": ["sofa"], "component": ["liver"], "scored": [9], "missing": [4]})
    made = replace(extract(synthetic_icu(60), **settings().of_extract), units=units, components=components)
    assert (made.units.height, made.components.height) == (1, 1)
    for _ in range(2):
        got = cache.cached(tmp_path, synthetic_icu(60), settings().of_extract, lambda: made, print)
        assert got.units.equals(units)
        assert got.components.equals(components)
    assert list(tmp_path.glob("*/units.parquet"))


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


def test_a_cache_that_cannot_be_written_is_told_and_done_without(kept, monkeypatch):
    build, folder, _, said = kept
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    assert build().stays.height > 0
    assert "No space left on device" in said[0]
    assert "goes on without it" in said[0]
    assert list(folder.iterdir()) == [], "nothing half written is left"


RACE = """
import sys
from pathlib import Path
import numpy as np
from icu_lightning.data import cache
from icu_lightning.data.extract import extract
from tests.conftest import synthetic_icu
folder = Path(sys.argv[1])
settings = {"hours": 6, "variables": ["map", "spo2"], "cohort": ["age_known"], "outcome": "died_in_hospital"}
source = synthetic_icu(20)
first = extract(source, **settings)
for i in range(40):
    kept = cache.cached(folder, source, settings, lambda: extract(source, **settings), print)
    assert np.array_equal(kept.values, first.values, equal_nan=True)
    if i % 3 == int(sys.argv[2]):
        for entry in folder.glob("synthetic-*/values.npy"):
            entry.unlink(missing_ok=True)
"""


def test_processes_that_build_and_damage_one_entry_at_once_never_crash_or_read_a_mixture(tmp_path):
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / "cache"), str(i)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


BESIDE = """
import sys
import time
from pathlib import Path
from icu_lightning.data import cache
from icu_lightning.data.extract import extract
from tests.conftest import synthetic_icu
folder = Path(sys.argv[1])
settings = {"hours": 6, "variables": ["map", "spo2"], "cohort": ["age_known"], "outcome": "died_in_hospital"}
source = synthetic_icu(20)
def build():
    print("built", flush=True)
    time.sleep(1)
    return extract(source, **settings)
(folder / sys.argv[2]).touch()
while len(list(folder.iterdir())) < 3:
    time.sleep(0.01)
cache.cached(folder / "cache", source, settings, build, print)
"""


def test_of_several_runs_that_begin_side_by_side_one_builds_and_the_others_wait(tmp_path):
    (tmp_path / "begun").mkdir()
    command = [sys.executable, "-c", BESIDE, str(tmp_path / "begun")]
    running = [subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True) for i in range(3)]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert "".join(said) == "built\n"


@pytest.mark.parametrize("name", ["concepts.yaml", "grid.py", "sources/mimic.py", "sources/demographics.py"])
def test_any_changed_code_or_fact_of_the_data_room_changes_the_key(name, tmp_path):
    """Helpers that two sources share once escaped the key."""
    room = tmp_path / "data"
    shutil.copytree(Path(cache.__file__).parent, room, ignore=shutil.ignore_patterns("__pycache__"))
    before = cache.code_digest(room)
    assert before == cache.code_digest(Path(cache.__file__).parent)
    (room / name).write_text((room / name).read_text() + "\n# changed\n")
    assert cache.code_digest(room) != before
