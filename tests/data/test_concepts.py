"""concepts.yaml: complete, consistent, and every place of charting known to its source."""

import pytest

from icu_lightning.data.concepts import all_concepts, charted_in, concepts_of, with_ingredients
from icu_lightning.data.sources.eicu import LONG, OFFSET, WORDS
from icu_lightning.data.synthetic.variables import CHARTED
from icu_lightning.data.worst import SCORES
from icu_lightning.errors import UserError
from tests.conftest import MTDM, composed

FOCAL_LSTM = [
    "heart_rate",
    "sbp",
    "dbp",
    "respiratory_rate",
    "temperature",
    "spo2",
    "lactate",
    "creatinine",
    "wbc",
    "hemoglobin",
    "glucose",
    "potassium",
    "sodium",
    "bicarbonate",
    "bun",
]


@pytest.mark.parametrize("concept", all_concepts().values(), ids=lambda c: c.name)
def test_every_concept_is_complete(concept):
    assert concept.label
    assert concept.hourly in ("mean", "last", "sum")
    assert all(unit.low < unit.high and unit.divide != 0 for unit in concept.units)
    assert all(name in all_concepts() for name in concept.derive)
    for places in concept.charted.values():
        assert [place.preference for place in places] == list(range(len(places)))
        assert {place.unit for place in places} <= {unit.name for unit in concept.units}


def test_the_papers_variables_are_there():
    for database in ("eicu", "mimic3", "mimic4"):
        assert len(charted_in(database, concepts_of(FOCAL_LSTM))) >= 15
        charted_in(database, concepts_of(list(dict.fromkeys([*MTDM, *SCORES]))))
    assert {*MTDM, *FOCAL_LSTM} <= set(CHARTED), "the synthetic ICU simulates what the papers' models read"
    assert len(composed("data=physionet2012").plain["data"]["variables"]) == 37


@pytest.mark.parametrize(
    "place",
    [p for c in all_concepts().values() for p in c.charted.get("eicu", ())],
    ids=lambda p: f"{p.variable}-{p.preference}",
)
def test_every_eicu_place_names_a_column_or_labels_of_a_known_table(place):
    assert place.table in OFFSET
    assert bool(place.labels) == (place.table in LONG)
    assert bool(place.column) == (place.table not in LONG and place.table not in WORDS)


def test_ingredients_follow_the_variables_asked_for():
    assert [c.name for c in with_ingredients("eicu", concepts_of(["map", "sbp"]))] == ["map", "sbp", "dbp"]


def test_only_what_the_database_charts_is_an_ingredient():
    """PhysioNet 2012 charts the coma scale as a total, MIMIC its parts."""
    assert [c.name for c in with_ingredients("physionet2012", concepts_of(["gcs"]))] == ["gcs"]
    assert len(with_ingredients("mimic4", concepts_of(["gcs"]))) == 4
    charted_in("physionet2012", concepts_of(["gcs"]))


@pytest.mark.parametrize(
    ("names", "message"),
    [(["hart_rate"], "Did you mean 'heart_rate'"), ([], "at least one"), (["map", "map"], "each once")],
)
def test_wrong_variables_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        concepts_of(names)


def test_a_database_that_lacks_a_variable_is_told():
    with pytest.raises(UserError, match=r"'lactate' has no 'nowhere' entry in concepts\.yaml"):
        charted_in("nowhere", concepts_of(["lactate"]))
