"""Cleaning: units, plausibility, and that every event is counted under exactly one status."""

from typing import Any

import polars as pl
import pytest

from icu_lightning.data.cleaning import STATUSES, clean, cleaning_table
from icu_lightning.data.concepts import all_concepts, concepts_of


def cleaned(
    variable: str,
    value: float | None,
    unit: str,
    hours: float | None = 1.0,
    stay: int | None = 1,
    wrong: bool | None = None,
    stored: float | None = None,
    **how: Any,
) -> tuple[float | None, str]:
    events = pl.LazyFrame(
        {
            "wrong": [wrong],
            "revision": [0.0],
            "stored": [stored],
            "stay_id": [stay],
            "variable": [variable],
            "hours": [hours],
            "value": [value],
            "unit": [unit],
        },
        schema_overrides={"wrong": pl.Boolean, "hours": pl.Float64, "value": pl.Float64, "stored": pl.Float64},
    )
    return clean(events, list(all_concepts().values()), hours=24, **how).select("value", "status").collect().row(0)


@pytest.mark.parametrize(
    ("value", "unit", "expected", "status"),
    [
        (36.6, "degC", 36.6, "kept"),
        (98.6, "degF", 37.0, "converted"),
        (98.6, "degC", 37.0, "repaired"),  # Fahrenheit written into the Celsius field
        (37.0, "degF", 37.0, "repaired"),
        (25.0, "degC", 25.0, "kept"),
        (45.0, "degC", 45.0, "kept"),
        (70.0, "degF", 38 / 1.8, "converted"),
        (120.0, "degF", 88 / 1.8, "converted"),
        (24.9, "degC", None, "out_of_range"),
        (60.0, "degC", None, "out_of_range"),
        (0.0, "degF", None, "out_of_range"),
    ],
)
def test_temperature_in_every_unit_and_at_every_edge(value, unit, expected, status):
    assert cleaned("temperature", value, unit) == (pytest.approx(expected), status)


@pytest.mark.parametrize(
    ("value", "status"),
    [(20.0, "kept"), (300.0, "kept"), (19.9, "out_of_range"), (10_000_000.0, "out_of_range"), (None, "non_numeric")],
)
def test_heart_rate_range(value, status):
    assert cleaned("heart_rate", value, "bpm")[1] == status


@pytest.mark.parametrize(
    ("hours", "status"),
    [(-0.01, "outside_window"), (0.0, "kept"), (23.99, "kept"), (24.0, "outside_window"), (None, "no_time")],
)
def test_the_window_is_half_open(hours, status):
    assert cleaned("heart_rate", 80.0, "bpm", hours)[1] == status


def test_an_event_of_no_stay_is_counted():
    assert cleaned("heart_rate", 80.0, "bpm", stay=None) == (None, "no_stay")


def test_a_value_revised_after_the_window_was_not_known_at_its_end():
    times = {
        "stay_id": 1,
        "variable": "glucose",
        "hours": 23.0,
        "value": 120.0,
        "unit": "mg/dL",
        "wrong": False,
        "stored": None,
    }
    events = pl.LazyFrame([times | {"revision": 23.9}, times | {"revision": 24.0}, times | {"revision": None}])
    said = (
        clean(events, list(all_concepts().values()), hours=24)
        .sort("revision", nulls_last=True)
        .select("status")
        .collect()
    )
    assert said["status"].to_list() == ["kept", "revised_later", "kept"]


@pytest.mark.parametrize(
    ("stored", "lab_time", "status"),
    [
        (30.0, "charttime", "kept"),
        (30.0, "storetime", "stored_later"),
        (24.0, "storetime", "stored_later"),
        (23.9, "storetime", "kept"),
        (None, "storetime", "kept"),
    ],
)
def test_a_value_stored_after_the_window_is_known_then_or_not_as_one_wishes(stored, lab_time, status):
    assert cleaned("glucose", 120.0, "mg/dL", 23.0, stored=stored, lab_time=lab_time)[1] == status


@pytest.mark.parametrize(
    ("los", "hours", "status"),
    [(10.0, 9.9, "kept"), (10.0, 10.0, "kept"), (10.0, 10.1, "outside_stay"), (None, 20.0, "kept")],
)
def test_a_value_charted_after_the_unit_was_left_is_counted_and_gone(los, hours, status):
    people = pl.DataFrame({"stay_id": [1], "los_hours": [los]}, schema_overrides={"los_hours": pl.Float64})
    assert cleaned("heart_rate", 80.0, "bpm", hours, stays=people)[1] == status
    assert cleaned("heart_rate", 80.0, "bpm", 30.0, stays=people)[1] == "outside_window"


def test_what_the_database_marks_as_an_error_is_counted_and_gone():
    assert cleaned("heart_rate", 80.0, "bpm", wrong=True) == (None, "entered_in_error")
    assert cleaned("heart_rate", 80.0, "bpm", wrong=False) == (80.0, "kept")


def test_a_unit_that_nobody_knows_is_not_taken_for_the_usual_one():
    assert cleaned("heart_rate", 80.0, "furlongs") == (None, "out_of_range")


def test_counts_are_by_variable_in_the_asked_order_and_zero_where_nothing_is():
    row = dict.fromkeys((*STATUSES, "used_before_stored"), 0) | {"variable": "sbp", "kept": 3, "latest_hours": 5.0}
    table = cleaning_table(pl.DataFrame([row, row | {"kept": 2, "latest_hours": 7.5}]), ["map", "sbp"])
    assert table["variable"].to_list() == ["map", "sbp"]
    assert table["kept"].to_list() == [0, 5]
    assert table["latest_hours"].to_list() == [None, 7.5]
    assert concepts_of(["map"])  # both are real variables
