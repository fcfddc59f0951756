"""Who may be shown: open and synthetic stays, and others only if asked for; decided by content, for every source."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from icu_lightning.data.narrow import NarrowTables, narrowed
from icu_lightning.data.sources import eicu, mimic3, mimic4
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.episodes import EpisodeFiles
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.data.sources.physionet2012 import PhysioNet2012
from icu_lightning.data.sources.tables import MADE_UP
from icu_lightning.data.synthetic.settings import settings_of
from icu_lightning.data.synthetic.writers.write import write
from icu_lightning.disclosure import is_open, may_show_stays, stay_pages
from icu_lightning.errors import UserError
from icu_lightning.evaluation import predictions
from icu_lightning.evaluation.stored import read
from icu_lightning.run import check
from tests.conftest import composed, generator_conf, synthetic_icu

DEMOS = {MIMIC3: (mimic3, "icustays", 100), MIMIC4: (mimic4, "icustays", 100), EICU: (eicu, "patient", 2520)}
databases = pytest.mark.parametrize("database", DEMOS, ids=lambda database: database.name)


def imitation(database: type, folder: Path, stays: int) -> Path:
    """The tables of a real database, as far as anybody can tell: the synthetic ones without their mark."""
    write(folder, database.name, settings_of(generator_conf()), stays, seed=3)
    (folder / MADE_UP).unlink()
    return folder


@databases
def test_made_up_tables_are_open_and_without_their_mark_they_are_not(database, tmp_path):
    _, _, stays = DEMOS[database]
    folder = tmp_path / "tables"
    write(folder, database.name, settings_of(generator_conf()), 60, seed=3)
    assert is_open(database(folder))
    (folder / MADE_UP).unlink()
    assert not is_open(database(folder))
    as_many = imitation(database, tmp_path / "demo-of-the-same-size", stays)
    assert not is_open(database(as_many)), "as many stays as the demo has are not yet the demo"


@databases
def test_the_demo_is_known_by_all_of_its_stays_and_no_other(database, tmp_path, monkeypatch):
    module, name, _ = DEMOS[database]
    folder = imitation(database, tmp_path / "tables", 60)
    digest = database(folder).tables.ids_digest(*ids_of(database))
    monkeypatch.setattr(module, "DEMO", digest)
    assert is_open(database(folder))
    kept = narrowed(database(folder), tmp_path / "cache", print)
    assert isinstance(kept, NarrowTables)
    assert is_open(kept), "the narrow files know what they are of"
    table = next(folder.rglob(f"*{name}.csv.gz"), None) or next(folder.rglob(f"{name.upper()}.csv.gz"))
    header, *rows = gzip.decompress(table.read_bytes()).decode().splitlines()
    stranger = rows[0].replace(stay_of(header, rows[0]), "999999999")
    for changed in (rows[1:], [*rows, stranger]):
        table.write_bytes(gzip.compress("\n".join([header, *changed]).encode()))
        assert not is_open(database(folder))


def ids_of(database):
    return {
        MIMIC3: ("icustays", "icustay_id"),
        MIMIC4: ("icu/icustays", "stay_id"),
        EICU: ("patient", "patientunitstayid"),
    }[database]


def stay_of(header, row):
    names = [name.strip('"').lower() for name in header.split(",")]
    return row.split(",")[next(names.index(c) for c in ("icustay_id", "stay_id", "patientunitstayid") if c in names)]


@databases
def test_the_open_demos_are_open(database, real_root):
    """Needs the tables of stays of the three demos."""
    assert database(real_root).open_data


def test_the_challenge_and_the_synthetic_icu_are_open(real_root):
    """Needs the Challenge 2012 sets."""
    assert is_open(synthetic_icu(40))
    assert is_open(PhysioNet2012(real_root))


def test_episodes_are_open_only_if_made_up(tmp_path):
    folder = tmp_path / "episodes"
    write(folder, "episodes", settings_of(generator_conf()), 20, seed=3)
    assert is_open(EpisodeFiles(folder))
    (folder / MADE_UP).unlink()
    assert not is_open(EpisodeFiles(folder))


def test_a_source_that_does_not_say_is_not_open():
    class Hospital:
        name = "hospital"
        synthetic = False

    assert not is_open(Hospital())
    assert not may_show_stays(composed().plain, Hospital())


@pytest.mark.parametrize("kind", [(False, False), (False, True), (True, False), (True, True)])
def test_the_choice_decides_and_auto_asks_the_data(kind, tmp_path):
    class Source:
        synthetic, open_data = kind

    table = pl.DataFrame({name: [0.5] for name in predictions.COLUMNS}).with_columns(
        stay_id=1, split=pl.lit("test"), label=pl.lit(1.0)
    )
    path = tmp_path / "predictions.parquet"
    predictions.write(table, path, outcome="o", source="s", synthetic=kind[0], open_data=kind[1])
    for about in (Source(), read(path, None).facts):
        for choice, shown in {"auto": any(kind), "always": True, "never": False}.items():
            assert may_show_stays(composed(f"report.stay_pages={choice}").plain, about) is shown
        assert may_show_stays({}, about) is any(kind), "a run begun before there was the choice"


def test_another_word_is_refused_before_anything_is_read():
    with pytest.raises(UserError, match=r"report.stay_pages 'alway'. Did you mean 'always'"):
        check(composed("report.stay_pages=alway").plain)
    assert stay_pages(composed("report=none").plain) == "auto"
