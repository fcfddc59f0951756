"""The page of the synthetic ICU as a browser reads it: complete, self-contained, marked; with and without real hours."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from icu_lightning.data.synthetic.settings import settings_of
from icu_lightning.description.look import Line, chart, look, matrix, real_hours
from tests.conftest import generator_conf

TITLES = [
    "Can they be told apart?",
    "Over the day",
    "Persistence",
    "Correlation",
    "What is missing",
    "The five patterns of progression",
    "Conditions",
]


@pytest.fixture(scope="module")
def page():
    return look(settings_of(generator_conf()), 300, 1, None)


def test_every_section_is_there_and_the_page_says_what_it_is(page):
    assert [t for t in re.findall(r"<h2>(.*?)</h2>", page)] == TITLES
    assert "SYNTHETIC DATA" in page
    assert "No real stays beside them" in page
    assert page.count("<svg") >= 14
    assert "nan" not in re.sub(r"<title>.*?</title>", "", page)


def test_missing_values_stand_by_severity_by_the_clock_and_by_shift(page):
    shares = [float(x) for x in re.findall(r">(?:day|evening|night), .*?<td>([\d.]+)\u00a0%</td>", page, re.DOTALL)]
    assert len(shares) == 3
    assert shares[0] < shares[2], "less is written down at night"
    assert ">Heart rate, by severity<" in page


def test_it_is_whole_in_itself(page):
    assert re.findall(r"(?:src|href)=\S+", page) == ['href="data:,">'], (
        "an empty picture, so that no browser asks for one"
    )
    assert "<script" not in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert ElementTree.fromstring(svg).attrib["aria-label"]


def test_the_same_seed_is_the_same_page(page):
    assert look(settings_of(generator_conf()), 300, 1, None) == page


def test_without_features_it_still_draws():
    plain = look(settings_of(generator_conf("plain")), 200, 1, None)
    assert [t for t in re.findall(r"<h2>(.*?)</h2>", plain)] == TITLES


def test_made_up_tables_are_not_taken_for_real_ones(synthetic_eicu):
    assert real_hours(str(synthetic_eicu)) is None


@pytest.mark.parametrize("root", [None, "/nowhere"])
def test_no_real_tables_is_no_mistake(root):
    assert real_hours(root) is None


@pytest.mark.slow
def test_the_real_demo_stands_beside_it(real_eicu):
    """Needs the eICU demo."""
    page = look(settings_of(generator_conf()), 400, 1, str(real_eicu))
    for what in ("five vital signs", "all 15 variables"):
        row = re.search(rf">{what}</th>(.*?)</tr>", page)[1]
        auroc, alike, hours, stays = (float(x.replace(",", "")) for x in re.findall(r"<td>([\d.,]+)</td>", row))
        assert 0.5 < alike < auroc < 1, "distributions are the most of it"
        assert hours > stays > 100
    assert len(re.findall(r"<td>0\.\d\d</td>", page)) >= 15, "a distance a variable"
    assert "stays of the eICU demo" in page


def test_a_curve_leaves_out_what_is_unknown():
    figure = chart(
        "A",
        "hours",
        np.arange(4),
        [Line("one", np.array([1.0, np.nan, 3.0, 2.0]), 0), Line("none", np.full(4, np.nan), 1)],
    )
    assert figure.key == [("one", 0, False)]
    path = re.search(r'class="line line-0" d="(.*?)"', figure.svg)[1]
    assert path.count("L") == 2
    assert chart("A", "hours", np.arange(2), [Line("none", np.full(2, np.nan), 0)]).svg == ""


def test_a_matrix_has_a_square_a_known_pair():
    values = np.array([[1.0, -0.5], [-0.5, np.nan]])
    svg = matrix("m", values, ["sbp", "lactate"])
    assert svg.count("<rect") == 3
    assert svg.count('class="minus"') == 2
    assert svg.count(">lactate</text>") == 2, "a name beside its row, and one below its column"
