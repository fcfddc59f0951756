"""Pages of single stays: self-contained, true, without an id where there must be none, readable on a phone."""

import dataclasses
import re

import numpy as np
import pytest

from icu_lightning.description.words import percent
from icu_lightning.examination.cases import KINDS, cases, chosen
from icu_lightning.examination.figures import risk_svg, series_svg
from icu_lightning.examination.pages import facts, pages
from tests.browser import opened

ABOUT = {"model": "<b>lstm</b>", "rule": "by f1", "made": "today"}


@pytest.fixture
def made(it):
    return pages(it, cases(it, chosen(it.test, 4, 0)), ABOUT, ids=True)


def test_a_page_a_stay_and_an_index(made):
    assert list(made) == ["index.html", "1.html", "2.html", "3.html", "4.html"]
    for n, (_, words) in enumerate(KINDS.values(), 1):
        assert f"<h1>Stay {n}: {words} <small>" in made[f"{n}.html"]
        assert f'<a href="{n}.html">Stay {n}</a>: {words}' in made["index.html"]
    assert "No example" not in made["index.html"]


def test_what_is_written_is_what_the_run_predicted(it, made):
    for n, position in enumerate(chosen(it.test, 4, 0), 1):
        row = it.test.row(int(position), named=True)
        text = made[f"{n}.html"]
        assert f"<strong>{percent(row['risk'], 1)}</strong>" in text
        assert f"The threshold is {percent(row['threshold'], 1)}" in text
        assert ("<strong>flagged</strong>" in text) == (row["risk"] >= row["threshold"])
        assert ("Died in hospital." in text) == (row["label"] == 1)
        assert f"<dd>{row['stay_id']}</dd>" in text


def test_pages_fetch_nothing_are_escaped_and_say_that_they_are_made_up(made):
    for text in made.values():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert not re.search(r"""(src|href)=["'](?!data:,|\d\.html|index\.html)""", text)
        assert "url(" not in text
        assert "<b>lstm</b>" not in text
        assert "&lt;b&gt;lstm" in text
        assert "SYNTHETIC DATA" in text
        assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL).lower()


def test_without_ids_no_id_is_anywhere(it):
    drawn = cases(it, chosen(it.test, 8, 0))
    made = pages(it, drawn, ABOUT, ids=False)
    for case in drawn:
        for text in made.values():
            for name in ("stay_id", "patient_id"):
                assert str(case.facts[name]) not in text
        assert not {"Stay", "Patient", "Hospital"} & facts(case, ids=False).keys()


def test_every_variable_is_drawn_or_said_to_be_missing(it, made):
    labels = len(it.data.settings.variables)
    for n in range(1, 5):
        measured, _, drugs = made[f"{n}.html"].partition("<h2>Vasoactive drugs</h2>")
        never = re.search(r"Never measured in these 24 hours:</strong>(.*?)</p>", measured)
        assert measured.count('class="series"') + (len(never[1].split(";")) if never else 0) == labels
        assert drugs


def test_old_patients_are_not_told_apart(it):
    (case,) = cases(it, [0])
    for age, said in ((89.4, "89"), (90.0, "90 or older"), (300.0, "90 or older")):
        assert facts(dataclasses.replace(case, facts=case.facts | {"age": age}), ids=False)["Age"] == said
    unknown = dict.fromkeys(case.facts)
    assert facts(dataclasses.replace(case, facts=unknown), ids=False) == {}


def test_bands_are_drawn_where_nothing_was_measured_and_draws_around_the_risk(imputing):
    (text,) = [pages(imputing, cases(imputing, [3]), ABOUT, ids=False)["1.html"]]
    assert "filled in by the model" in text
    assert "Never measured" not in text, "it fills those in too"
    assert text.count('class="filled-band" d=') == len(imputing.data.settings.variables)
    assert "of the model's draws" in text
    assert 'class="spread"' in text


def test_a_series_breaks_where_an_hour_is_missing():
    values = np.array([1.0, 2.0, np.nan, 4.0])
    svg = series_svg("x", values, None, None)
    assert svg.count("<circle") == 3
    line = re.search(r'class="line" d="([^"]*)"', svg)[1]
    assert line.count("M") == 2
    assert re.search(r'class="missing" d="([^"]*)"', svg)[1].count("M") == 1
    assert "usual" not in svg


@pytest.mark.parametrize("risk", [np.zeros(3), np.ones(3), np.full(1, 0.5)])
def test_a_flat_risk_and_a_single_hour_can_be_drawn(risk):
    svg = risk_svg("x", risk, None, 0.3)
    assert "nan" not in svg
    assert svg.count("<circle") == 1


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 390])
def test_in_a_browser_every_figure_is_drawn_and_nothing_is_wider_than_the_screen(width, imputing, tmp_path):
    for name, text in pages(imputing, cases(imputing, [3]), ABOUT, ids=True).items():
        (tmp_path / name).write_text(text)
    for name in ("index.html", "1.html"):
        with opened(tmp_path / name, width=width, phone=width < 500) as page:
            assert page.not_drawn() == []
            assert not page.overflows()
            assert page.requests() == []
            assert page.console() == []
