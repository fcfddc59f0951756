"""The cohort: every stay is kept or counted out by one named filter."""

import polars as pl
import pytest

from icu_lightning.data.cohort import FILTERS, select_cohort
from icu_lightning.data.sources.base import STAYS, complete
from icu_lightning.errors import UserError
from tests.conftest import composed

COHORT = composed().plain["data"]["cohort"]


def people(**columns: list) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    usual = {
        "stay_id": list(range(1, n + 1)),
        "patient_id": [str(i) for i in range(n)],
        "age": [60.0] * n,
        "los_hours": [50.0] * n,
        "died_in_hospital": [i % 2 == 0 for i in range(n)],
    }
    return complete(pl.LazyFrame(usual | columns), STAYS).collect()


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
