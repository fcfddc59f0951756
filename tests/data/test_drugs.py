"""drugs.yaml: every fact is there, can be read, and names tables and drugs that exist."""

import csv
import gzip
import re

import pytest
import yaml

from icu_lightning.data.drugs import FIELDS, FILE, all_drugs, vis_drugs
from icu_lightning.data.infusions import read_unit

TABLES = {"mimic3": {"inputevents_mv", "inputevents_cv"}, "mimic4": {"inputevents"}, "eicu": {"infusionDrug"}}
DRUGS = list(all_drugs().values())
PLACES = [(drug, database, place) for drug in DRUGS for database in TABLES for place in drug.charted[database]]
# Names that the databases' dictionaries give the drugs
NAMES = {
    "dopamine": "dopamine",
    "dobutamine": "dobutamine",
    "epinephrine": "epinephrine",
    "norepinephrine": "levophed|norepinephrine",
    "milrinone": "milrinone",
    "vasopressin": "vasopressin",
    "phenylephrine": "phenylephrine|neosynephrine",
}


def test_the_published_score_has_six_drugs_with_these_weights():
    """METHODS C.1 (Gaies 2010); phenylephrine x 10 is an extension, off by default."""
    assert {drug.name: drug.vis for drug in vis_drugs()} == {
        "dopamine": 1, "dobutamine": 1, "epinephrine": 100, "norepinephrine": 100, "milrinone": 10, "vasopressin": 10_000,
    }  # fmt: skip
    assert [drug.name for drug in vis_drugs(extended=True)[6:]] == ["phenylephrine"]
    assert vis_drugs(extended=True)[6].vis == 10


def test_plausible_rates_and_usual_bags():
    """METHODS C.1: the caps, and ug (U) a mL of eICU's usual bags."""
    assert {drug.name: (drug.highest, drug.limit_unit, drug.per_ml["eicu"]) for drug in DRUGS} == {
        "dopamine": (50, "ug/kg/min", 1600),
        "dobutamine": (50, "ug/kg/min", 2000),
        "epinephrine": (1.5, "ug/kg/min", 40),
        "norepinephrine": (3, "ug/kg/min", 32),
        "milrinone": (1.5, "ug/kg/min", 200),
        "vasopressin": (6, "U/h", 0.2),
        "phenylephrine": (10, "ug/kg/min", 200),
    }


@pytest.mark.parametrize("drug", DRUGS, ids=lambda drug: drug.name)
def test_facts_are_complete_and_their_units_readable(drug):
    assert drug.label
    assert drug.highest > 0
    substance = "U" if drug.name == "vasopressin" else "ug"
    assert read_unit(drug.unit) == (substance, 1.0, True)
    for unit in (drug.limit_unit, drug.misread.charted, drug.misread.unit):
        assert read_unit(unit)[0] == substance
    assert 0 <= drug.misread.low < drug.misread.high
    assert (
        drug.charted.keys() - {"synthetic"} == TABLES.keys()
    )  # the synthetic ICU reads as the database it is written as


def test_the_file_has_no_field_that_nobody_reads():
    entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for name, entry in entries.items():
        assert entry.keys() <= FIELDS | TABLES.keys(), name
        for database in TABLES:
            for place in entry[database]:
                assert place.keys() <= {"table", "item", "unit", "path", "unless"}, (name, database)


@pytest.mark.parametrize(("drug", "database", "place"), PLACES)
def test_entries_name_known_tables_and_can_be_matched(drug, database, place):
    assert place.variable == drug.name
    assert place.table in TABLES[database]
    if database == "eicu":
        assert re.search(place.path, drug.label)
        assert not re.search(place.unless, drug.label)
    else:
        assert place.labels
        assert all(label.isdigit() for label in place.labels)
        assert read_unit(place.unit)


def test_no_item_is_two_drugs_and_no_name_either():
    for database in ("mimic3", "mimic4"):
        ids = [label for _, of, place in PLACES if of == database for label in place.labels]
        assert len(ids) == len(set(ids))
    names = [
        "Norepinephrine (mcg/min)",
        "Epinephrine ()",
        "EPINEPHrine(Adrenalin)STD 4 mg",
        "Levophed",
        "DOBUTamine",
        "DOPamine",
    ]
    names += [
        "Neo Synephrine",
        "neosynsyn",
        "primacor",
        "Vasopressin 40 Units",
        "Epi drip",
        "Noradrenalin",
        "Nor-adrenaline",
    ]
    for name in names:
        assert len(eicu_drugs(name)) <= 1, name
    assert [eicu_drugs(name) for name in names[:6]] == [
        ["norepinephrine"], ["epinephrine"], ["epinephrine"], ["norepinephrine"], ["dobutamine"], ["dopamine"],
    ]  # fmt: skip
    strangers = [
        "Epidural (ml/hr)",
        "Volume (ml) Phenylephrine ()",
        "Desmopressin",
        "levothyroxine (mcg/kg/hr)",
        "Angiomax",
    ]
    assert [eicu_drugs(name) for name in strangers] == [[]] * 5


def eicu_drugs(name):
    return [
        drug.name
        for drug, database, place in PLACES
        if database == "eicu" and re.search(place.path, name) and not re.search(place.unless, name)
    ]


@pytest.mark.parametrize(
    ("database", "folder"), [("mimic3", "mimic-iii-demo-1.4"), ("mimic4", "mimic-iv-demo-2.2/icu")]
)
def test_items_are_the_drugs_that_the_dictionary_says(database, folder, real_root):
    """Needs D_ITEMS of the MIMIC demos; they list every item of the full databases."""
    path = next(p for p in (real_root / folder).iterdir() if p.name.lower() == "d_items.csv.gz")
    with gzip.open(path, "rt", newline="") as file:
        listed = {row["itemid"]: row for row in csv.DictReader(file)}
    for drug, of, place in PLACES:
        for label in place.labels if of == database else ():
            assert re.match(NAMES[drug.name], listed[label]["label"].lower()), label
            assert listed[label]["linksto"] == place.table


def test_free_text_items_have_the_unit_of_their_labels(real_root):
    """Needs D_ITEMS of the MIMIC-III demo: 42273 is "vasopressin unit/min", 42802 "VASOPRESSIN  CC/HR."."""
    with gzip.open(real_root / "mimic-iii-demo-1.4" / "D_ITEMS.csv.gz", "rt", newline="") as file:
        listed = {row["itemid"]: row["label"] for row in csv.DictReader(file)}
    units = {label: place.unit for _, of, place in PLACES if of == "mimic3" for label in place.labels}
    assert "unit/min" in listed["42273"]
    assert read_unit(units["42273"]) == read_unit("U/min")
    assert "CC/HR" in listed["42802"]
    assert read_unit(units["42802"]) == read_unit("ml/hr")
