"""The cohort: every stay is kept or counted out by one named filter."""

import polars as pl
import pytest

from icu_lightning.data.cohort import FILTERS, select_cohort
from icu_lightning.data.sources.base import STAYS, complete
from icu_lightning.errors import UserError
from tests.conftest import composed

COHORT = composed("model=logistic_regression").plain["data"]["cohort"]
MADE_LATER = {
    "sepsis_onset_hours": pl.Float64,
    "first_vasoactive_hours": pl.Float64,
}  # columns that only some cohorts need


def people(**columns: list) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    usual = {
        "stay_id": list(range(1, n + 1)),
        "patient_id": [str(i) for i in range(n)],
        "age": [60.0] * n,
        "los_hours": [50.0] * n,
        "died_in_hospital": [i % 2 == 0 for i in range(n)],
    }
    later = {name: dtype for name, dtype in MADE_LATER.items() if name in columns}
    return complete(pl.LazyFrame(usual | columns), STAYS | later).collect()


def test_every_filter_counts_out_who_it_should_and_nobody_is_lost():
    stays = people(
        age=[None, 15.9, 16.0, 89.0, 90.0, 60.0, 60.0, 60.0, 60.0],
        los_hours=[50.0, 50, 50, 50, 50, 23.9, 50, 50, None],
        died_in_hospital=[True, True, True, False, True, True, None, True, False],
        death_hours=[None, None, None, None, None, None, None, 24.0, None],
    )
    kept, attrition = select_cohort(stays, COHORT, "died_in_hospital")
    assert kept["stay_id"].to_list() == [3, 4]
    removed = dict(zip(attrition["filter"], attrition["removed_stays"], strict=True))
    assert removed == {
        "all stays": 0, "readable_ids": 0, "age_known": 1, "age_at_least 16": 1, "age_at_most 89": 1,
        "stay_at_least 24": 2, "outcome_known died_in_hospital": 1, "in_icu_at_prediction 24": 1,
    }  # fmt: skip
    assert stays.height - sum(removed.values()) == kept.height == attrition["stays"][-1]


def kept_by(step, **columns: list) -> list[int]:
    return select_cohort(people(**columns), [step], "died_in_hospital")[0]["stay_id"].to_list()


def test_the_first_stay_is_the_first_in_the_database_even_if_another_filter_removes_it():
    columns = {"patient_id": ["a", "a", "b", "c"], "stay_number": [1, 2, 1, None], "age": [15.0, 16.0, 50.0, 50.0]}
    assert kept_by("first_stay", **columns) == [1, 3], "an unknown order is not kept"
    for steps in (["first_stay", {"age_at_least": 16}], [{"age_at_least": 16}, "first_stay"]):
        assert select_cohort(people(**columns), steps, "died_in_hospital")[0]["stay_id"].to_list() == [3]


def test_sepsis_may_begin_before_admission_and_up_to_the_hour_given():
    assert kept_by({"sepsis_onset_within": 24}, sepsis_onset_hours=[-30.0, 0.0, 24.0, 24.1, None]) == [1, 2, 3]


def test_the_first_vasoactive_hour_lies_inside_the_hours_given():
    assert kept_by({"vasoactive_within": 48}, first_vasoactive_hours=[0.0, 47.0, 48.0, None]) == [1, 2]


@pytest.mark.parametrize(
    ("step", "column"), [("sepsis_onset_within", "sepsis_onset_hours"), ("vasoactive_within", "first_vasoactive_hours")]
)
def test_a_filter_whose_column_is_not_there_is_refused(step, column):
    with pytest.raises(UserError, match=f"The filter '{step} 24' of data.cohort needs {column}"):
        kept_by({step: 24}, age=[50.0])


def test_the_48_hour_cohort_is_the_default_one_of_two_days():
    longer = composed("cohort=h48", "data.hours=24").plain["data"]["cohort"]
    assert longer == [{"stay_at_least": 48} if step == {"stay_at_least": 24} else step for step in COHORT]
    _, attrition = select_cohort(people(los_hours=[24.0, 47.9, 48.0]), longer, "died_in_hospital")
    assert attrition.filter(filter="stay_at_least 48")["removed_stays"].item() == 2


def test_the_sepsis_cohort_counts_out_by_name():
    steps = composed("cohort=sepsis").plain["data"]["cohort"]
    stays = people(
        age=[17.0, 18.0, 50.0, 50.0, 50.0, 50.0],
        stay_number=[1, 1, 2, 1, 1, 1],
        sepsis_onset_hours=[1.0, 1.0, 1.0, 30.0, 1.0, 1.0],
        first_vasoactive_hours=[0.0, 0.0, 0.0, 0.0, None, 40.0],
    )
    kept, attrition = select_cohort(stays, steps, "died_in_hospital")
    assert kept["stay_id"].to_list() == [2, 6]
    removed = dict(zip(attrition["filter"], attrition["removed_stays"], strict=True))
    assert {name for name, n in removed.items() if n == 1} == {
        "age_at_least 18", "first_stay", "sepsis_onset_within 24", "vasoactive_within 48",
    }  # fmt: skip


def test_an_unknown_outcome_is_never_survival():
    _, attrition = select_cohort(people(died_in_hospital=[None, True, False]), ["age_known"], "died_in_hospital")
    assert attrition["deaths"].to_list() == [1, 1, 1]


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_is_used_or_documented(name):
    assert FILTERS[name].__doc__ or name in {"age_known", "age_at_least", "age_at_most", "outcome_known"}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["age_atleast"], "Did you mean 'age_at_least'"),
        ([{"age_at_least": 200}], r"No stay is left.*\n(.*\n)*.*age_at_least 200"),
        ([{"age_known": 3}], "takes nothing; it was given"),
        (["age_at_least"], "takes years; it was given nothing"),
        ([{"age_at_least": "old"}], "takes years; it was given"),
        ([{"outcome_known": "died"}], "takes outcome; it was given"),
        ([5], "this is neither: 5"),
    ],
)
def test_wrong_cohorts_are_refused(steps, message):
    with pytest.raises(UserError, match=message):
        select_cohort(people(age=[50.0, 60.0]), steps, "died_in_hospital")


def test_a_stay_listed_twice_is_refused():
    with pytest.raises(UserError, match="listed more than once, the first is 7"):
        select_cohort(people(stay_id=[7, 7, 8]), [], "died_in_hospital")


def test_a_stay_without_an_id_is_counted_out():
    kept, attrition = select_cohort(people(stay_id=[None, 1, 2], patient_id=["a", None, "b"]), [], "died_in_hospital")
    assert kept["stay_id"].to_list() == [2]
    assert attrition["removed_stays"].to_list() == [0, 2]
