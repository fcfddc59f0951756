"""The cleaning table in words, and the splits."""

import polars as pl

from icu_lightning.data.cleaning import STATUSES
from icu_lightning.description.counts import cleaning_counts, split_rows
from icu_lightning.description.groups import groups_by_outcome
from icu_lightning.description.small_cells import WITHHELD
from icu_lightning.description.words import STATUSES as IN_WORDS
from tests.description.conftest import stays_frame


def test_every_status_of_cleaning_is_explained():
    assert {*STATUSES, "derived", "cells"} <= IN_WORDS.keys()


def test_every_count_is_shown_or_named_as_never():
    table = pl.DataFrame(
        {
            "variable": ["heart_rate", "age"],
            "kept": [10, 0],
            "non_numeric": [0, 2],
            "no_time": [0, 0],
            "winsorized": [3, 0],
            "latest_hours": [23.9996, None],
        }
    )
    counts = cleaning_counts(table)
    assert [name for name, _ in counts.columns] == ["kept", "non numeric", "winsorized"]
    assert counts.rows == (
        ("Heart rate", (10, 0, 3), "23.99"),  # never 24.00: nothing at the prediction is read
        ("age (column of a raw table)", (0, 2, 0), "–"),
    )
    assert [text.split(" (")[0] for text in counts.never] == ["no time"]


def test_splits_add_up_and_hide_a_handful_of_deaths():
    sides = ["train"] * 70 + ["val"] * 10 + ["test"] * 20
    died = [i % 5 == 0 for i in range(100)]
    stays = stays_frame(100, died_in_hospital=died).with_columns(split=pl.Series(sides))
    groups = groups_by_outcome(stays, "died_in_hospital")[1:]
    rows = split_rows(stays, groups, 1)
    assert [row[0] for row in rows] == ["training", "validation", "test"]
    assert [row[1] for row in rows] == ["70 (70.0\u00a0%)", "10 (10.0\u00a0%)", "20 (20.0\u00a0%)"]
    assert [row[2] for row in rows] == ["35", "5", "10"]
    assert [row[4] for row in rows] == ["14 (20.0\u00a0%)", "2 (20.0\u00a0%)", "4 (20.0\u00a0%)"]
    hidden = split_rows(stays, groups, 5)
    assert [row[3:] for row in hidden[1:]] == [(WITHHELD, "<5")] * 2
    assert hidden[0] == rows[0]
