"""Item ids that a database does not know: one line when a variable has none that it knows, nothing otherwise."""

import polars as pl
import pytest

from icu_lightning.data.concepts import all_concepts, concepts_of
from icu_lightning.data.drugs import all_drugs
from icu_lightning.data.prepared import prepared
from icu_lightning.data.sources.dictionary import unlisted_items
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.data.sources.tables import RawTables
from tests.conftest import settings


def tables_with(folder, **listed):
    for name, ids in (listed or {"x": [1]}).items():
        pl.DataFrame({"itemid": ids}).write_csv(folder / f"{name}.csv")
    return RawTables(folder, "MIMIC-III", markers=(), access="")


def places(*variables):
    return [place for concept in concepts_of(variables) for place in concept.charted["mimic3"]]


WHERE = {"chartevents": "d_items", "labevents": "d_labitems"}


def test_one_listed_item_of_a_variable_is_enough(tmp_path):
    tables = tables_with(tmp_path, d_items=[220045, 51], d_labitems=[50931])
    assert unlisted_items(tables, WHERE, places("heart_rate", "sbp", "glucose")) is None


def test_a_variable_without_a_listed_item_is_named_with_its_table_and_items(tmp_path):
    tables = tables_with(tmp_path, d_items=[220045, 51], d_labitems=[1])
    line = unlisted_items(tables, WHERE, places("heart_rate", "sbp", "glucose", "respiratory_rate"))
    assert "\n" not in line
    assert (
        "all of respiratory_rate in chartevents (615, 618, 220210, 224690)" in line
        or "glucose in labevents (50931, 50809)" in line
    )
    assert "respiratory_rate in chartevents (615, 618, 220210, 224690)" in line
    assert "glucose in labevents (50931, 50809)" in line
    assert "heart_rate" not in line
    assert "13 of 15 item ids are not in d_items or d_labitems of" in line
    assert str(tmp_path) in line


def test_without_dictionaries_nothing_is_said(tmp_path):
    assert unlisted_items(tables_with(tmp_path), WHERE, places("heart_rate", "glucose")) is None
    only_labs = tables_with(tmp_path, d_labitems=[50931])
    assert unlisted_items(only_labs, WHERE, places("heart_rate", "glucose")) is None


@pytest.mark.parametrize("database", [MIMIC3, MIMIC4], ids=lambda database: database.name)
def test_the_demos_know_an_item_of_everything(database, real_root):
    """Needs d_items and d_labitems; ids of both MIMICs stand in one list, so some of MIMIC-III's are of its other system."""
    source = database(real_root)
    everything = [*all_concepts().values(), *all_drugs().values()]
    assert source.unlisted_items([place for of in everything for place in of.charted.get(source.name, ())]) is None


@pytest.mark.parametrize("database", [MIMIC3, MIMIC4], ids=lambda database: database.name)
def test_the_demos_know_every_item(database, real_root):
    """Needs d_items and d_labitems."""
    source = database(real_root)
    dictionaries = [name for name in source.tables.files if name.split("/")[-1] in ("d_items", "d_labitems")]
    assert len(dictionaries) == 2
    listed = {i for name in dictionaries for i in source.tables.scan(name, ["itemid"]).collect()["itemid"]}
    everything = [*all_concepts().values(), *all_drugs().values()]
    ours = {label for of in everything for place in of.charted.get(source.name, ()) for label in place.labels}
    assert not ours - listed


def test_a_run_says_it_once_and_goes_on(real_root, tmp_path):
    """Needs the MIMIC-IV demo; its d_items is replaced by one that lacks the heart rate and norepinephrine."""
    source = MIMIC4(real_root)
    ids = source.tables.scan("icu/d_items", ["itemid"]).collect()
    path = tmp_path / "d_items.csv"
    ids.filter(~pl.col("itemid").is_in(["220045", "221906"])).write_csv(path)
    source.tables.files["icu/d_items"] = path
    said = []
    chosen = settings(variables=["heart_rate", "spo2"], vis="mean")
    extract, _ = prepared(source, chosen, said.append)
    assert extract.values.shape[2] == 2
    (line,) = said
    assert "heart_rate in chartevents (220045); norepinephrine in inputevents (221906)" in line
    path.write_text("")
    said.clear()
    prepared(source, chosen, said.append)
    (line,) = said
    assert line.startswith(f"The item ids are not compared with the database's own: Cannot read {path}")
