"""The narrow cache: the same numbers with and without it, never stale, never in the way."""

import gzip
import os
import shutil

import numpy as np
import polars as pl
import pytest

from icu_lightning.data import narrow
from icu_lightning.data.concepts import all_concepts, concepts_of
from icu_lightning.data.extract import extract
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.narrow import NarrowTables, narrowed
from icu_lightning.data.sources.base import EVENTS, STAYS
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.errors import UserError
from tests.conftest import settings, synthetic_icu


@pytest.fixture
def narrow_eicu(write_eicu, tmp_path):
    """(make, said, raw folder, cache folder): make() is the made-up eICU, read through the narrow cache."""
    folder, cache, said = write_eicu(), tmp_path / "cache", []
    return lambda: narrowed(EICU(folder), cache, said.append), said, folder, cache


def extracted(source, **changes):
    return extract(source, **settings(**({"cohort": ["age_known"]} | changes)).of_extract)


def assert_same(one, other):
    """To the bit."""
    assert np.array_equal(one.values.view(np.int32), other.values.view(np.int32))
    for name in ("stays", "attrition", "cleaning"):
        assert getattr(one, name).equals(getattr(other, name)), name


def rows(source, concepts):
    return source.collect(source.events(concepts)).sort(pl.all())


CHOICES = [
    {},
    {"hours": 6, "variables": ["map", "glucose"]},
    {"variables": ["heart_rate"], "cohort": [{"age_at_least": 60}]},
    {"hours": 48, "variables": ["lactate", "sodium"], "outcome": "died_in_icu"},
]


@pytest.mark.parametrize("changes", CHOICES)
def test_results_are_the_same_bit_for_bit(narrow_eicu, changes):
    make, said, folder, _ = narrow_eicu
    without = extracted(EICU(folder), **changes)
    assert np.isfinite(without.values).any()
    for _ in range(2):  # written by the first, read by the second
        source = make()
        assert isinstance(source, NarrowTables)
        assert_same(extracted(source, **changes), without)
    assert said == []


@pytest.mark.parametrize("database", [EICU, MIMIC3, MIMIC4], ids=lambda database: database.name)
def test_the_open_demos_are_the_same_bit_for_bit(database, real_root, tmp_path):
    """Needs the tables of the stays and events of the three demos."""
    raw = database(real_root)
    kept = narrowed(raw, tmp_path, print)
    charted = [concept for concept in all_concepts().values() if raw.name in concept.charted]
    assert rows(kept, charted).equals(rows(raw, charted))
    assert kept.collect(kept.stays()).sort("stay_id").equals(raw.collect(raw.stays()).sort("stay_id"))
    assert_same(extracted(kept), extracted(raw))
    assert_same(
        extracted(kept, hours=48, variables=["lactate", "map"]), extracted(raw, hours=48, variables=["lactate", "map"])
    )


def test_frames_have_the_columns_and_types_of_every_source(narrow_eicu):
    make, *_ = narrow_eicu
    source = make()
    assert source.stays().collect_schema() == pl.Schema(STAYS)
    assert source.events(concepts_of(["map"])).collect_schema() == pl.Schema(EVENTS)


def test_the_second_run_reads_no_raw_table(narrow_eicu, monkeypatch):
    make, *_ = narrow_eicu
    first = extracted(make())
    monkeypatch.setattr(pl, "scan_csv", lambda *_, **__: pytest.fail("a raw table was opened"))
    assert_same(extracted(make()), first)
    extracted(make(), hours=12, variables=["sodium", "map"], cohort=[{"age_at_least": 40}])


def test_the_data_module_keeps_one_narrow_entry_for_all_settings(write_eicu, tmp_path):
    folder, cache = write_eicu(stays=120), tmp_path / "cache"
    for hours in (12, 24):
        chosen = settings(hours=hours, cohort=["age_known"], cache_dir=str(cache))
        ICUDataModule(EICU(folder), chosen, say=pytest.fail).setup()
    assert len(list(cache.glob("eicu-narrow-*"))) == 1
    assert len(list(cache.glob("eicu-*"))) == 3, "an extract for each of the settings"


def test_without_a_folder_or_raw_tables_the_source_is_left_alone(write_eicu, tmp_path):
    for source, cache in ((EICU(write_eicu()), None), (synthetic_icu(20), tmp_path)):
        assert narrowed(source, cache, print) is source


def test_changed_raw_files_and_changed_code_make_a_new_entry(narrow_eicu, tmp_path, monkeypatch):
    make, _, folder, cache = narrow_eicu
    make()
    lab = folder / "lab.csv"
    stat, text = lab.stat(), lab.read_text()
    lab.write_text(text.replace("4.1", "4.2"))
    os.utime(lab, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert extracted(make(), variables=["potassium"]).values[0, 0].item() == pytest.approx(4.2)
    assert len(list(cache.iterdir())) == 2
    for i, path in enumerate(narrow.CODE):
        copy = tmp_path / f"code{i}" / path.name
        copy.parent.mkdir()
        shutil.copytree(path, copy) if path.is_dir() else shutil.copy(path, copy)
        changed = copy / "mimic.py" if path.is_dir() else copy
        changed.write_text(changed.read_text() + "\n# changed\n")
        monkeypatch.setattr(narrow, "CODE", (*narrow.CODE[:i], copy, *narrow.CODE[i + 1 :]))
        make()
        assert len(list(cache.iterdir())) == 3 + i, path


@pytest.mark.parametrize("harm", ["truncate", "remove", "manifest", "bytes"])
def test_a_damaged_entry_is_told_and_rebuilt(narrow_eicu, harm):
    make, said, folder, cache = narrow_eicu
    make()
    (entry,) = cache.iterdir()
    file = entry / ("manifest.json" if harm == "manifest" else "events.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    harmed = {"truncate": content[:-100], "manifest": b"{", "bytes": content}
    file.unlink() if harm == "remove" else file.write_bytes(harmed[harm])
    assert_same(extracted(make()), extracted(EICU(folder)))
    assert len(said) == 1
    assert "is damaged" in said[0]
    make()
    assert len(said) == 1, "rebuilt once"


def test_of_a_large_file_both_ends_are_checked(narrow_eicu, monkeypatch):
    make, said, *_, cache = narrow_eicu
    monkeypatch.setattr("icu_lightning.data.cache.WHOLE", 1000)
    make()
    (entry,) = cache.iterdir()
    make()
    assert said == []
    events = entry / "events.parquet"
    stat, content = events.stat(), bytearray(events.read_bytes())
    content[-1] ^= 1
    events.write_bytes(content)
    os.utime(events, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    make()
    assert "events.parquet is changed" in said[0]


@pytest.mark.parametrize("frame", ["stays", "events"])
def test_an_entry_that_vanishes_while_it_is_read_is_one_message(narrow_eicu, frame):
    make, *_, cache = narrow_eicu
    source = make()
    scan = source.stays() if frame == "stays" else source.events(concepts_of(["map"]))
    shutil.rmtree(cache)
    with pytest.raises(UserError, match=r"was changed or removed while it was read; run again"):
        source.collect(scan)


def test_a_cache_that_cannot_be_written_is_told_and_done_without(write_eicu, tmp_path):
    blocked, said = tmp_path / "a file", []
    blocked.write_text("no folder")
    source = EICU(write_eicu())
    assert narrowed(source, blocked, said.append) is source
    assert "goes on without it" in said[0]


def test_a_full_disk_is_told_and_leaves_nothing_behind(narrow_eicu, monkeypatch):
    make, said, _, cache = narrow_eicu

    def full(frame, path, **_):
        return frame.map_batches(lambda _: (_ for _ in ()).throw(OSError("No space left on device")))

    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", full)
    assert isinstance(make(), EICU)
    assert "No space left on device" in said[0]
    assert "goes on without it" in said[0]
    assert list(cache.iterdir()) == []


def truncate(path):
    zipped = gzip.compress(path.read_bytes() * 20)
    path.with_name(path.name + ".gz").write_bytes(zipped[: len(zipped) // 2])
    path.unlink()


def test_a_damaged_table_is_the_same_error_and_only_where_it_is_needed(narrow_eicu):
    make, said, folder, cache = narrow_eicu
    truncate(folder / "lab.csv")
    errors = []
    for source in (EICU(folder), make()):
        with pytest.raises(UserError, match=r"Cannot read .*lab.csv.gz.*damaged or cut short") as error:
            extracted(source)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert "lab.csv.gz" in said[0]
    assert list(cache.iterdir()) == []
    assert_same(extracted(make(), variables=["heart_rate"]), extracted(EICU(folder), variables=["heart_rate"]))


def test_a_missing_table_is_the_same_error_and_only_where_it_is_needed(narrow_eicu):
    make, said, folder, _ = narrow_eicu
    (folder / "lab.csv").unlink()
    source = make()
    assert isinstance(source, NarrowTables)
    assert_same(extracted(source, variables=["map"]), extracted(EICU(folder), variables=["map"]))
    with pytest.raises(UserError, match=r"Table 'lab' of eICU is missing"):
        extracted(source)
    assert said == []


def test_a_variable_that_the_database_lacks_is_the_same_error(narrow_eicu, monkeypatch):
    make, _, folder, _ = narrow_eicu
    lacking = next(c for c in all_concepts().values() if "eicu" not in c.charted and not c.derive)
    for source in (EICU(folder), make()):
        with pytest.raises(UserError, match=f"Variable '{lacking.name}' has no 'eicu' entry"):
            source.events([lacking])
