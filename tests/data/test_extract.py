"""From a database to the cohort's hours: what is read, and what is not read at all."""

import numpy as np
import pytest

from icu_lightning.data.extract import extract
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from tests.conftest import settings
from tests.data.in_memory import InMemory, stays


class Asked(InMemory):
    """Remembers the names of the concepts that it was asked for."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.asked: set[str] = set()

    def events(self, concepts):
        self.asked |= {concept.name for concept in concepts}
        return super().events(concepts)


@pytest.mark.parametrize(
    ("wanted", "weighed"),
    [({}, False), ({"weighed": True}, True), ({"scores": ["sofa"]}, True), ({"vis": "mean"}, True)],
)
def test_charted_weights_are_read_only_where_something_needs_them(wanted, weighed):
    source = Asked([(1, 1.0, "heart_rate", 80.0), (1, 2.0, "weight", 91.0)], people=stays(1, weight_kg=[None]))
    extracted = extract(source, 24, ["heart_rate"], [], "died_in_hospital", **wanted)
    assert ("weight" in source.asked) == weighed
    assert extracted.stays["weight_kg"].to_list() == [91.0 if weighed else None]


@pytest.mark.parametrize(("static", "weighed"), [(["age", "weight_kg"], True), (["age", "sex"], False)])
def test_a_weight_among_the_static_features_is_read(static, weighed):
    assert settings(static=static).of_extract["weighed"] == weighed


@pytest.mark.parametrize("make", [MIMIC3, MIMIC4, EICU], ids=lambda make: make.name)
def test_every_database_tells_who_is_ventilated(make, real_root):
    """Needs the three demos. A fifth to three quarters of the hours in which something is said are ventilated."""
    got = extract(make(real_root), 24, ["mechanical_ventilation", "heart_rate"], ["age_known"], "died_in_hospital")
    said = got.values[..., 0][np.isfinite(got.values[..., 0])]
    assert set(np.unique(said)) == {0.0, 1.0}
    assert 0.2 < said.mean() < 0.75
