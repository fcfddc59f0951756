"""The small synthetic ICU: reproducible, complete, with a signal that is planted and does not leak."""

import polars as pl
import pytest

from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.sources.base import EVENTS, STAYS
from icu_lightning.data.sources.synthetic import PHYSIOLOGY, SyntheticICU
from icu_lightning.errors import UserError


def test_frames_have_the_promised_shape_and_simulate_every_variable():
    source = SyntheticICU(50, 0)
    assert source.stays().collect_schema() == pl.Schema(STAYS)
    events = source.events(concepts_of(PHYSIOLOGY)).collect()
    assert events.schema == pl.Schema(EVENTS)
    assert set(events["variable"]) == set(PHYSIOLOGY)


def test_the_same_seed_is_the_same_stays():
    concepts = concepts_of(PHYSIOLOGY)
    one, again, other = (SyntheticICU(80, seed) for seed in (1, 1, 2))
    assert one.stays().collect().equals(again.stays().collect())
    assert one.events(concepts).collect().equals(again.events(concepts).collect())
    assert not one.stays().collect().equals(other.stays().collect())
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()


def test_one_first_stay_a_patient():
    stays = SyntheticICU(500, 0).stays().collect()
    first = stays.filter(pl.col("stay_number") == 1)
    assert first.height == first["patient_id"].n_unique() == stays["patient_id"].n_unique() < 500


def test_prevalence_and_several_stays_a_patient():
    stays = SyntheticICU(20_000, 0).stays().collect()
    assert stays["died_in_hospital"].mean() == pytest.approx(0.18, abs=0.01)
    assert stays["patient_id"].n_unique() < stays.height
    assert (stays.filter("died_in_icu")["died_in_hospital"]).all()


@pytest.mark.parametrize("stays", [0, 9, "many"])
def test_impossible_sizes_are_refused(stays):
    with pytest.raises(UserError, match=r"data\.stays"):
        SyntheticICU(stays, 0)
