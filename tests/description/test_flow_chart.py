"""The flow chart says what attrition.csv says, and nothing about a handful of stays."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.cohort import FILTERS, select_cohort
from icu_lightning.description.flow_chart import flow_chart, steps
from icu_lightning.description.words import filter_words
from tests.description.conftest import stays_frame

ATTRITION = pl.DataFrame(
    [
        ("all stays", 2520, 1841, 212, 0),
        ("readable_ids", 2520, 1841, 212, 0),
        ("age_known", 2516, 1838, 211, 4),
        ("age_at_least 16", 2515, 1837, 210, 1),
        ("age_at_most 89", 2417, 1757, 190, 98),
        ("stay_at_least 24", 1562, 1275, 126, 855),
        ("in_icu_at_prediction 24", 1562, 1275, 126, 0),
    ],
    schema=["filter", "stays", "patients", "deaths", "removed_stays"],
    orient="row",
)


def words(svg: str) -> str:
    return " ".join(text.text for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("}text"))


def test_every_row_of_the_table_is_in_the_picture():
    said = words(flow_chart(ATTRITION, title="Who"))
    for row in ATTRITION.iter_rows(named=True):
        assert f"{row['stays']:,} stays" in said
        assert f"{row['patients']:,} patients, {row['deaths']:,} deaths" in said
    assert "1 stay left out (1 death) criterion: age at least 16 years" in said
    assert "98 stays left out (20 deaths) criterion: age at most 89 years" in said
    assert said.count("nobody left out") == 2
    assert "Cohort 1,562 stays" in said


def test_it_stands_alone_and_is_told_to_those_who_cannot_see_it():
    root = ElementTree.fromstring(flow_chart(ATTRITION, title="Who <is> in"))
    name = {child.tag.split("}")[1]: child.text for child in root}
    assert name["title"] == "Who <is> in"
    assert (
        "Age at most 89 years: 98 stays left out (20 deaths); left: 2,417 stays, 1,757 patients, 190 deaths."
        in name["desc"]
    )
    assert "prefers-color-scheme: dark" in name["style"]
    assert root.get("role") == "img"
    assert "href" not in ElementTree.tostring(root).decode()


def test_filters_that_took_a_few_stays_are_told_together():
    told = steps(ATTRITION, smallest=5)
    assert ("age known", "age at least 16 years") in [step.criteria for step in told]
    stays = [step.stays for step in told]
    assert all(before - after == 0 or before - after >= 5 for before, after in itertools.pairwise(stays))
    deaths = [step.deaths for step in told if step.deaths is not None]
    assert deaths == [212, 212, 190, 126, 126], "210 would tell the two deaths among five stays"
    assert told[2].deaths_out == "<5"
    assert sum(len(step.criteria) for step in told) == ATTRITION.height, "every filter is named"


@pytest.mark.parametrize("seed", range(30))
def test_no_told_number_tells_a_small_one_by_subtraction(seed):
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 9, 8) * rng.integers(0, 2, 8)
    stays, deaths = 200 - np.cumsum(out), 60 - np.cumsum(rng.integers(0, out + 1))
    table = pl.DataFrame({"filter": [f"f{i}" for i in range(8)], "stays": stays, "patients": 1, "deaths": deaths})
    told = steps(table, smallest=5)
    for numbers in ([step.stays for step in told], [step.deaths for step in told if step.deaths is not None]):
        differences = {int(a - b) for i, a in enumerate(numbers) for b in numbers[i:]}
        assert not differences & {1, 2, 3, 4}
    assert told[-1].stays == stays[-1]
    assert sum(len(step.criteria) for step in told) in (8, 7), "all are named; 'all stays' only if its number is"


def test_if_all_filters_together_took_a_few_the_whole_is_not_told():
    few = ATTRITION.head(3)
    said = words(flow_chart(few, title="Who", smallest=5))
    assert "2,520" not in said
    assert "All stays but <5" in said
    assert "2,516 stays" in said


def test_a_number_of_deaths_that_would_tell_another_is_withheld():
    deaths = [216, 210, 208, 190]
    table = pl.DataFrame(
        {"filter": ["all stays", "a", "b", "c"], "stays": [900, 800, 700, 600], "patients": 1, "deaths": deaths}
    ).with_columns(removed_stays=pl.lit(100))
    told = steps(table, smallest=5)
    assert [step.deaths for step in told] == [216, 210, None, 190]
    assert [step.deaths_out for step in told[1:]] == ["6", "<5", "not shown"], "210 - 190 - 18 = 2"


def test_it_draws_what_select_cohort_returns_and_keeps_the_boxes_apart():
    stays = stays_frame(
        50, age=[10.0 + i for i in range(50)], los_hours=[30.0] * 50, died_in_hospital=[i % 4 == 0 for i in range(50)]
    )
    _, attrition = select_cohort(stays, ["age_known", {"age_at_least": 16}], "died_in_hospital")
    svg = flow_chart(attrition.with_columns(another=pl.lit(1)), title="Who")
    assert "6 stays left out (2 deaths)" in words(svg)
    boxes = [(float(r.get("y")), float(r.get("height"))) for r in ElementTree.fromstring(svg).iter() if r.get("rx")]
    boxes.sort()
    assert all(y + height < following for (y, height), (following, _) in itertools.pairwise(boxes))


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_has_words(name):
    said = filter_words(f"{name} 24")
    assert "_" not in said
    assert not re.search(r"[{}]", said)
