"""Table 1 equals what plain Python counts, and tells nothing about a handful of stays."""

import math
import re
import statistics

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.concepts import concepts_of
from icu_lightning.description.small_cells import WITHHELD
from icu_lightning.description.table_one import categorical_difference, category_rows, numeric_difference, table_one
from tests.description.conftest import stays_frame

OUTCOME = "died_in_hospital"


def groups_of(stays):
    died = stays[OUTCOME].to_list()
    return [list(range(len(died))), [i for i, d in enumerate(died) if not d], [i for i, d in enumerate(died) if d]]


def quartile(numbers, q):
    """The linear interpolation between order statistics, by hand."""
    ordered, at = sorted(numbers), (len(numbers) - 1) * q
    low = math.floor(at)
    return ordered[low] + (at - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def row_named(rows, label):
    (found,) = [row for row in rows if row.label == label]
    return found


def test_the_columns_are_the_outcome_groups(cohort, concepts):
    stays, values = cohort
    table = table_one(stays, values, concepts, OUTCOME, smallest=1)
    assert [n for _, n in table.columns] == [len(group) for group in groups_of(stays)]
    assert [name for name, _ in table.columns] == ["All", "Left hospital alive", "Died in hospital"]


def test_numbers_are_medians_and_quartiles_of_the_known_with_the_missing_counted(cohort, concepts):
    stays, values = cohort
    row = row_named(table_one(stays, values, concepts, OUTCOME, 1).people, "Age, years")
    ages = stays["age"].to_list()
    for cell, group in zip(row.cells, groups_of(stays), strict=True):
        known = [ages[i] for i in group if ages[i] is not None]
        assert cell.text == f"{quartile(known, 0.5):.0f} [{quartile(known, 0.25):.0f}, {quartile(known, 0.75):.0f}]"
        assert cell.below == f"{len(group) - len(known)} not recorded"
    alive, died = ([ages[i] for i in group if ages[i] is not None] for group in groups_of(stays)[1:])
    spread = math.sqrt((statistics.variance(alive) + statistics.variance(died)) / 2)
    assert float(row.difference) == pytest.approx(
        abs(statistics.mean(alive) - statistics.mean(died)) / spread, abs=0.005
    )


def test_length_of_stay_is_in_days(cohort, concepts):
    stays, values = cohort
    row = row_named(table_one(stays, values, concepts, OUTCOME, 1).people, "Length of stay in the unit, days")
    assert row.cells[0].text.startswith(f"{statistics.median(stays['los_hours']) / 24:.1f} [")
    assert row.cells[0].below == "", "nothing is missing"


@pytest.mark.parametrize(
    ("column", "label"), [("sex", "Sex"), ("ethnicity", "Ethnicity"), ("unit_type", "Type of unit")]
)
def test_categories_are_counted_with_the_share_of_the_known(column, label, cohort, concepts):
    stays, values = cohort
    rows = list(table_one(stays, values, concepts, OUTCOME, 1).people)
    start = rows.index(row_named(rows, label)) + 1
    charted = stays[column].to_list()
    levels = sorted({c for c in charted if c}, key=lambda c: (-charted.count(c), c))
    assert [row.label for row in rows[start : start + len(levels) + 1]] == [*levels, "not recorded"]
    for row in rows[start : start + len(levels)]:
        for cell, group in zip(row.cells, groups_of(stays), strict=True):
            n, known = sum(charted[i] == row.label for i in group), sum(charted[i] is not None for i in group)
            assert cell.text == f"{n} ({100 * n / known:.1f}\u00a0%)"
    for cell, group in zip(rows[start + len(levels)].cells, groups_of(stays), strict=True):
        n = sum(charted[i] is None for i in group)
        assert cell.text == f"{n} ({100 * n / len(group):.1f}\u00a0%)"


def test_patients_and_hospitals_are_different_ones(cohort, concepts):
    stays, values = cohort
    people = table_one(stays, values, concepts, OUTCOME, 1).people
    for label, column in {"Patients": "patient_id", "Hospitals": "hospital_id"}.items():
        charted = stays[column].to_list()
        for cell, group in zip(row_named(people, label).cells, groups_of(stays), strict=True):
            assert cell.text == str(len({charted[i] for i in group} - {None}))


def test_a_variable_is_the_mean_of_each_stays_measured_hours(cohort, concepts):
    stays, values = cohort
    variables = table_one(stays, values, concepts, OUTCOME, 1).variables
    for row, v, digits in ((variables[0], 0, 1), (variables[1], 1, 2)):
        hourly = [[float(x) for x in values[i, :, v] if not math.isnan(x)] for i in range(len(stays))]
        for cell, group in zip(row.cells, groups_of(stays), strict=True):
            means = [statistics.fmean(hourly[i]) for i in group if hourly[i]]
            assert cell.text.startswith(f"{quartile(means, 0.5):.{digits}f} [{quartile(means, 0.25):.{digits}f}, ")
            assert cell.below == f"{len(means)} ({100 * len(means) / len(group):.1f}\u00a0%)"


def test_a_variable_that_nobody_has_is_a_dash_with_no_stay(cohort, concepts):
    stays, values = cohort
    row = table_one(stays, values, concepts, OUTCOME, 5).variables[2]
    assert row.label == "Temperature, °C"
    assert [(cell.text, cell.below) for cell in row.cells] == [("–", "0 (0.0\u00a0%)")] * 3
    assert row.difference == ""


def test_what_the_database_does_not_know_is_named_and_has_no_row(cohort, concepts):
    stays, values = cohort
    table = table_one(stays, values, concepts, OUTCOME, 5)
    assert table.unknown == ("Marital status", "Insurance", "Language", "Weight at admission, kg")
    assert not {row.label for row in table.people} & set(table.unknown)


def test_columns_that_are_not_known_here_are_not_in_the_way(cohort, concepts):
    stays, values = cohort
    more = stays.with_columns(lactate_worst=pl.lit(3)).drop("insurance")
    assert table_one(more, values, concepts, OUTCOME, 5) == table_one(stays, values, concepts, OUTCOME, 5)


@pytest.mark.parametrize("died", [True, False])
def test_one_outcome_class_only(died, concepts):
    stays = stays_frame(12, age=[50.0 + i for i in range(12)], sex=["male"] * 12, died_in_hospital=[died] * 12)
    table = table_one(stays, np.full((12, 4, 3), 80.0, np.float32), concepts, OUTCOME, 5)
    empty = 1 if died else 2
    assert [n for _, n in table.columns][empty] == 0
    for row in (*table.people, *table.variables):
        assert row.difference == ""
        if row.cells:
            assert row.cells[empty].text in ("–", "0")


def test_a_tiny_group_has_no_statistics(concepts):
    """Three deaths: nothing about them but how many they are."""
    stays = stays_frame(
        40, age=[40.0 + i for i in range(40)], sex=["male", "female"] * 20, died_in_hospital=[i < 3 for i in range(40)]
    )
    table = table_one(stays, np.full((40, 4, 3), 80.0, np.float32), concepts, OUTCOME, 5)
    assert table.columns[2] == ("Died in hospital", 3)
    for row in (*table.people, *table.variables):
        if row.cells:
            assert row.cells[2].text in ("<5", WITHHELD), row
        assert row.difference == "", row


def test_small_cells_and_what_tells_them_are_not_shown():
    """One Asian death of 20 Asians: the survivors' count would tell it, and so would the other levels' counts."""
    died = [i < 1 or 20 <= i < 40 or 100 <= i < 130 for i in range(200)]
    stays = stays_frame(200, ethnicity=["asian"] * 20 + ["black"] * 80 + ["white"] * 100, died_in_hospital=died)
    from icu_lightning.description.groups import groups_by_outcome

    groups = groups_by_outcome(stays, OUTCOME)
    heading, *levels = category_rows("Ethnicity", stays["ethnicity"], groups, 5)
    shown = {row.label: [cell.text.split(" (")[0] for cell in row.cells] for row in levels}
    assert shown == {"white": ["100", "70", "30"], "black": ["80", WITHHELD, WITHHELD], "asian": ["20", WITHHELD, "<5"]}
    assert heading.difference == "", "of few levels the difference could be solved for the cell"
    everything = category_rows("Ethnicity", stays["ethnicity"], groups, 1)
    assert [cell.text.split(" (")[0] for cell in everything[3].cells] == ["20", "19", "1"]


def test_long_lists_of_categories_end_in_all_others():
    names = [f"language {i:02}" for i in range(30) for _ in range(40 - i)]
    stays = stays_frame(len(names), language=names, died_in_hospital=[i % 3 == 0 for i in range(len(names))])
    rows = table_one(stays, np.full((len(names), 1, 1), 1.0, np.float32), concepts_of(["lactate"]), OUTCOME, 5).people
    labels = [row.label for row in rows if row.indented]
    assert labels == [*(f"language {i:02}" for i in range(9)), "all others (21 categories)"]
    last = [row for row in rows if row.indented][-1]
    assert int(last.cells[0].text.split(" (")[0]) == sum(40 - i for i in range(9, 30))


def test_categories_are_never_told_below_the_limit(cohort, concepts):
    """Every count of people that is shown is 0 or at least 5, save those of missing values."""
    stays, values = cohort
    for row in table_one(stays, values, concepts, OUTCOME, 5).people:
        for cell in row.cells:
            shown = re.fullmatch(r"(\d+) \(.*", cell.text)
            assert not shown or row.label == "not recorded" or int(shown[1]) == 0 or int(shown[1]) >= 5, row


def test_standardized_differences():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, 4000), rng.normal(0.5, 1, 4000)
    assert numeric_difference(one, other) == pytest.approx(0.5, abs=0.05)
    assert numeric_difference(one, one) == 0
    assert numeric_difference(np.ones(5), np.ones(5)) is None, "no spread"
    assert numeric_difference(np.ones(1), one) is None
    p, q = 30 / 100, 50 / 100  # two levels: Austin's formula for a proportion
    by_hand = abs(p - q) / math.sqrt((p * (1 - p) + q * (1 - q)) / 2)
    assert categorical_difference(np.array([30, 70]), np.array([50, 50])) == pytest.approx(by_hand)
    assert categorical_difference(np.array([70, 30]), np.array([50, 50])) == pytest.approx(by_hand), (
        "whatever the order"
    )
    three = categorical_difference(np.array([10, 20, 70]), np.array([30, 30, 40]))
    assert categorical_difference(np.array([70, 10, 20]), np.array([40, 30, 30])) == pytest.approx(three)
    assert categorical_difference(np.array([10, 0]), np.array([0, 10])) is None, "apart altogether"
    assert categorical_difference(np.array([10]), np.array([10])) is None
    assert categorical_difference(np.array([10, 5]), np.array([0, 0])) is None


def test_scores_have_rows_where_they_were_asked_for():
    stays = pl.DataFrame({"stay_id": range(20), "died_in_hospital": [True, False] * 10, "sofa": [4, 9] * 10})
    table = table_one(stays, np.empty((20, 1, 0), np.float32), [], "died_in_hospital", 1)
    assert [(row.label, row.cells[0].text) for row in table.people] == [("SOFA", "6 [4, 9]")]
    assert "SOFA" not in table.unknown
    assert "SAPS II" not in table_one(stays, np.empty((20, 1, 0), np.float32), [], "died_in_hospital", 1).unknown
