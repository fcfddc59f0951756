"""The made-up MIMIC-IV of the extraction benchmark: a database that the package reads, of the size asked for, the same again."""

import gzip
import sys
from pathlib import Path

import polars as pl
import pytest

from icu_lightning.data.concepts import all_concepts, charted_in
from icu_lightning.data.sources.mimic4 import MIMIC4

sys.path.append(str(Path(__file__).resolve().parents[1] / "experiments" / "benchmarks"))
import mimic4_tables

ROWS, LAB_ROWS = 60_000, 9_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of tables in blocks small enough that there are several, of which each is a member of the .gz."""
    target = tmp_path_factory.mktemp("mimic4") / "tables"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mimic4_tables, "BLOCK", 10_000)
        mimic4_tables.write(target, ROWS, LAB_ROWS, seed=1)
    return target


def table(folder, name):
    return pl.read_csv(folder / f"{name}.csv.gz", infer_schema=False)


def test_every_member_is_read_and_the_rows_are_as_many_as_asked_for(folder):
    chart, labs = table(folder, "icu/chartevents"), table(folder, "hosp/labevents")
    assert (chart.height, labs.height) == (ROWS, LAB_ROWS)
    with gzip.open(folder / "icu/chartevents.csv.gz", "rt") as file:
        assert sum(1 for _ in file) == ROWS + 1
    names = "subject_id,hadm_id,stay_id,caregiver_id,charttime,storetime,itemid,value,valuenum,valueuom,warning"
    assert ",".join(chart.columns) == names


def test_chartevents_has_the_proportions_of_the_demo(folder):
    chart = table(folder, "icu/chartevents")
    assert chart["itemid"].is_in([str(item) for item in mimic4_tables.VITALS]).mean() == pytest.approx(0.13, abs=0.01)
    assert chart["valuenum"].is_null().mean() == pytest.approx(0.61, abs=0.02)
    order = chart.select("subject_id", "stay_id", "charttime").with_row_index()
    assert (
        order.group_by("stay_id", maintain_order=True)
        .agg(pl.col("charttime").is_sorted())
        .get_column("charttime")
        .all()
    )
    assert table(folder, "icu/icustays")["subject_id"].is_duplicated().any(), "several stays of one patient"


def test_the_items_of_the_vital_signs_are_those_of_the_concepts():
    charted = {
        item
        for concept in all_concepts().values()
        for place in charted_in("mimic4", [concept] if "mimic4" in concept.charted else [])
        for item in place.labels
    }
    assert {str(item) for item in (*mimic4_tables.VITALS, *mimic4_tables.LABS)} <= charted
    others = {str(item) for item in mimic4_tables._other_items()}
    assert not others & charted


def test_the_package_reads_it(folder):
    source = MIMIC4(folder)
    stays = source.collect(source.stays())
    assert stays.height == table(folder, "icu/icustays").height
    assert stays.select("los_hours", "age", "died_in_hospital").null_count().row(0) == (0, 0, 0)
    assert stays["died_in_hospital"].any()
    assert (stays["unreadable"].list.len() == 0).all()
    written = {"chartevents", "labevents"}
    places = {
        concept.name: {place.table for place in concept.charted.get("mimic4", ())}
        for concept in all_concepts().values()
    }
    concepts = [all_concepts()[name] for name, tables in places.items() if tables and tables <= written]
    events = source.collect(source.events(concepts))
    assert events.height > 0.12 * ROWS
    assert events.select("stay_id", "hours", "value").null_count().row(0) == (0, 0, 0)


def test_a_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(mimic4_tables, "BLOCK", 10_000)
    for seed in (1, 2):
        mimic4_tables.write(tmp_path / str(seed), ROWS, LAB_ROWS, seed)
    for path in folder.rglob("*.gz"):
        same = path.read_bytes() == (tmp_path / "1" / path.relative_to(folder)).read_bytes()
        assert same, path
    chart = "icu/chartevents.csv.gz"
    assert (tmp_path / "2" / chart).read_bytes() != (folder / chart).read_bytes()
