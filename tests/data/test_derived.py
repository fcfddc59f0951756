"""Derived facts of a stay: when the first vasoactive drug ran, whether its hospital charts infusions, its weight."""

import pytest

from icu_lightning.data.derived import DERIVED, first_vasoactive_hours, hospital_charts_infusions, with_weight
from icu_lightning.data.drugs import all_drugs
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.data.sources.physionet2012 import PhysioNet2012
from icu_lightning.errors import UserError
from tests.data.in_memory import InMemory, infusion, stays


def first(*infusions: dict, hours: int = 48) -> list[tuple]:
    table, note = first_vasoactive_hours(InMemory(infusions=infusions), stays(1, 2), hours)
    assert note is None
    return table.sort("stay_id").rows()


def test_the_first_vasoactive_hour_is_that_of_the_earliest_drug_that_ran():
    later = infusion(1, "dopamine", 5.0, 6.0, 2.0)
    assert first(
        later, infusion(1, "milrinone", 3.0, 4.0, 0.3), infusion(2, "vasopressin", 7.0, 8.0, 2.4, unit="units/hour")
    ) == [
        (1, 3.0),
        (2, 7.0),
    ]
    assert first(later, infusion(1, "norepinephrine", -3.0, 1.0, 0.1)) == [(1, 0.0)], "it ran at admission already"
    assert first(later, infusion(1, "norepinephrine", -3.0, 0.0, 0.1)) == [(1, 5.0)], "it ended at admission"


@pytest.mark.parametrize(
    ("changes", "ran"),
    [
        ({"rate": None, "unit": "mcg/kg/min"}, True),
        ({"rate": 5.0, "unit": "furlongs"}, True),
        ({"rate": 9e9}, True),
        ({"rate": 0.0}, False),
        ({"rate": None, "unit": "bolus"}, False),
        ({"wrong": True}, False),
        ({"start_hours": 48.0, "end_hours": 50.0}, False),
        ({"start_hours": 4.0, "end_hours": 4.0}, False),
        ({"start_hours": None}, False),
        ({"stay_id": None}, False),
        ({"stay_id": 3}, False),
    ],
)
def test_a_drug_ran_if_its_rate_is_unknown_but_not_if_it_is_zero_wrong_or_later(changes, ran):
    assert first(infusion(1, "dopamine", 4.0, 6.0, 2.0) | changes) == ([(1, 4.0)] if ran else [])


def test_extended_drugs_are_not_vasoactive_by_default():
    assert all_drugs()["phenylephrine"].extended
    assert first(infusion(1, "phenylephrine", 4.0, 6.0, 2.0)) == []


@pytest.mark.parametrize("name", ["first_vasoactive_hours", "hospital_charts_infusions"])
def test_a_database_without_infusions_is_refused(name, real_root):
    with pytest.raises(UserError, match="data=physionet2012 charts no infusions"):
        DERIVED[name](PhysioNet2012(real_root), stays(1), 24)


def test_a_hospital_charts_infusions_if_any_of_its_stays_has_one_in_the_cohort_or_not():
    everyone = stays(1, 2, 3, 4, 5, hospital_id=["a", "a", "b", "b", None])
    source = InMemory(infusions=[infusion(1, "dopamine", 23.0, 61.0, 0.0)], people=everyone)
    table, note = hospital_charts_infusions(source, everyone, 24)
    assert note is None
    assert table.rows() == [(1, True), (2, True), (3, False), (4, False), (5, False)]
    without_the_infused = everyone.filter(everyone["stay_id"] != 1)
    assert hospital_charts_infusions(source, without_the_infused, 24)[0].rows() == table.rows()[1:]


def test_what_begins_after_the_prediction_time_tells_nothing_of_a_hospital():
    everyone = stays(1, 2, hospital_id=["a", "b"])
    source = InMemory(infusions=[infusion(1, "dopamine", 24.0, 61.0, 5.0)], people=everyone)
    assert not hospital_charts_infusions(source, everyone, 24)[0]["hospital_charts_infusions"].any()
    assert hospital_charts_infusions(source, everyone, 25)[0]["hospital_charts_infusions"].to_list() == [True, False]


def test_where_no_hospital_is_named_there_is_one():
    everyone = stays(1, 2)
    source = InMemory(infusions=[infusion(1, "dopamine", 1.0, 2.0, 3.0)], people=everyone)
    assert hospital_charts_infusions(source, everyone, 24)[0]["hospital_charts_infusions"].to_list() == [True, True]


def test_a_missing_weight_is_the_first_one_charted_within_a_day_of_admission():
    people = stays(4, 1, 2, 3, weight_kg=[None, None, 70.0, None])
    rows = [(1, 5.0, "weight", 91.0), (1, -3.0, "weight", 90.0), (1, -25.0, "weight", 60.0), (2, 1.0, "weight", 99.0)]
    rows += [(3, 24.0, "weight", 80.0), (4, 2.0, "weight", 900.0), (4, 3.0, "weight", 77.0)]
    weighed = with_weight(InMemory(rows), people, 48)
    assert weighed.columns == people.columns
    assert weighed.select("stay_id", "weight_kg").rows() == [(4, 77.0), (1, 90.0), (2, 70.0), (3, None)]
    early = with_weight(InMemory(rows), people, 3)
    assert early["weight_kg"].to_list() == [None, 90.0, 70.0, None], (
        "what was charted at the prediction time is not known"
    )


def test_pounds_are_kilograms_and_a_database_without_weights_keeps_its_own():
    source = InMemory([(1, 1.0, "weight", 220.0)])
    source.rows = source.rows.with_columns(unit=source.rows.collect()["unit"].replace("kg", "lb"))
    assert with_weight(source, stays(1, weight_kg=None), 24)["weight_kg"].to_list() == [pytest.approx(99.79, abs=0.01)]
    assert with_weight(InMemory(name="elsewhere"), stays(1, weight_kg=None), 24)["weight_kg"].to_list() == [None]


@pytest.mark.parametrize(("make", "known"), [(MIMIC3, 0.85), (MIMIC4, 0.9)])
def test_most_stays_of_the_demos_are_weighed(make, known, real_root):
    """Needs icustays, admissions, patients, chartevents. 86 % of MIMIC-III's and 99 % of MIMIC-IV's, whose stays table has none."""
    source = make(real_root)
    people = source.collect(source.stays())
    assert people["weight_kg"].null_count() == people.height
    weighed = with_weight(source, people, 24)["weight_kg"]
    assert weighed.is_not_null().mean() > known
    assert weighed.drop_nulls().is_between(25, 350).all()


def test_hospitals_of_the_eicu_demo_that_chart_infusions(real_eicu):
    """Needs patient and infusionDrug: 92 of the 186 hospitals within two days, with 52 % of the stays, each as a whole."""
    source = EICU(real_eicu)
    people = source.collect(source.stays())
    table, _ = hospital_charts_infusions(source, people, 48)
    both = people.join(table, on="stay_id")
    of_hospital = both.group_by("hospital_id").agg(said="hospital_charts_infusions")
    assert of_hospital["said"].list.n_unique().max() == 1
    assert (of_hospital["said"].list.any().sum(), of_hospital.height) == (92, 186)
    ran, _ = first_vasoactive_hours(source, people, 48)
    assert both.join(ran, on="stay_id", how="semi")["hospital_charts_infusions"].all()
