"""data=synthetic: tables made once and read by MIMIC-IV's code; reproducible, cached, and marked."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.drugs import all_drugs
from icu_lightning.data.sources import synthetic as module
from icu_lightning.data.sources.base import EVENTS, INFUSIONS, STAYS
from icu_lightning.data.sources.synthetic import SyntheticICU
from icu_lightning.data.synthetic.variables import CHARTED
from icu_lightning.errors import UserError
from tests.conftest import generator_conf, synthetic_icu


def test_frames_have_the_promised_shape_and_hold_every_variable():
    source = synthetic_icu(400)
    assert source.synthetic
    assert source.stays().collect_schema() == pl.Schema(STAYS)
    events = source.collect(source.events(concepts_of(CHARTED)))
    assert events.schema == pl.Schema(EVENTS)
    assert set(events["variable"]) == set(CHARTED)
    infusions = source.collect(source.infusions(list(all_drugs().values())))
    assert infusions.schema == pl.Schema(INFUSIONS)
    assert infusions["drug"].n_unique() >= 4


def test_the_same_seed_is_the_same_stays():
    one, again, other = (SyntheticICU(40, seed, generator_conf()) for seed in (1, 1, 2))
    stays = [source.collect(source.stays()).sort("stay_id") for source in (one, again, other)]
    assert stays[0].equals(stays[1])
    assert not stays[0].equals(stays[2])
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()


def test_a_setting_of_the_generator_changes_the_fingerprint():
    assert (
        SyntheticICU(40, 1, generator_conf()).fingerprint()
        != SyntheticICU(40, 1, generator_conf(sleep=False)).fingerprint()
    )


def test_tables_are_made_once_and_found_in_the_cache(tmp_path, monkeypatch):
    first = SyntheticICU(40, 1, generator_conf(), str(tmp_path))
    stays = first.collect(first.stays()).sort("stay_id")
    monkeypatch.setattr(module, "write", lambda *_, **__: pytest.fail("made again"))
    again = SyntheticICU(40, 1, generator_conf(), str(tmp_path))
    assert again.collect(again.stays()).sort("stay_id").equals(stays)
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]


def test_of_two_that_begin_side_by_side_one_makes_them(tmp_path, monkeypatch):
    """Else the second would put its own in their place while the first one reads."""
    made, real = [], module.write

    def slowly(folder, *arguments, **settings):
        made.append(folder)
        time.sleep(0.3)
        real(folder, *arguments, **settings)

    monkeypatch.setattr(module, "write", slowly)
    sources = [SyntheticICU(40, 1, generator_conf(), str(tmp_path)) for _ in range(2)]
    with ThreadPoolExecutor(2) as both:
        heights = list(both.map(lambda source: source.collect(source.stays()).height, sources))
    assert heights == [40, 40]
    assert len(made) == 1


def test_without_a_cache_nothing_stays_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = SyntheticICU(40, 1, generator_conf())
    assert source.collect(source.stays()).height == 40
    assert any(tmp_path.iterdir())
    del source
    assert not any(tmp_path.iterdir())


def test_an_unwritable_cache_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    source = SyntheticICU(40, 1, generator_conf(), str(tmp_path / "file" / "cache"))
    assert source.collect(source.stays()).height == 40


def test_the_oracle_knows_every_stay():
    source = synthetic_icu(400)
    stays = source.collect(source.stays()).select("stay_id", "died_in_hospital")
    both = stays.join(source.oracle(), on="stay_id")
    assert both.height == 400
    assert (both["died_in_hospital"] == both["recorded_death"]).all()


def test_several_stays_a_patient_and_one_first():
    stays = synthetic_icu(1000).collect(synthetic_icu(1000).stays())
    first = stays.filter(pl.col("stay_number") == 1)
    assert first.height == first["patient_id"].n_unique() == stays["patient_id"].n_unique() < 1000
    assert (stays.filter("died_in_icu")["died_in_hospital"]).all()


@pytest.mark.parametrize("stays", [0, 9, "many"])
def test_impossible_sizes_are_refused(stays):
    with pytest.raises(UserError, match="stays must be a whole number of at least 10"):
        SyntheticICU(stays, 0, generator_conf())
