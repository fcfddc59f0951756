"""TRIPOD+AI and model card: every item and section, filled by the run or left to the authors in so many words."""

import re

import pytest

from icu_lightning.report.folder import read
from icu_lightning.report.tripod import TO_WRITE, checklist
from icu_lightning.report.write import pages
from tests.report.conftest import NASTY

SECTIONS = (  # Mitchell et al. (2019), in their order
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
)
LETTERED = {
    "3": "abc",
    "5": "ab",
    "6": "abc",
    "8": "abc",
    "9": "abc",
    "12": "abcdefg",
    "18": "abcdef",
    "20": "abc",
    "23": "ab",
    "27": "abc",
}


def test_all_items_of_the_statement_in_its_order(make_run):
    items = checklist(read(make_run()))
    expected = [f"{n}{letter}" for n in range(1, 28) for letter in LETTERED.get(str(n), [""])]
    assert [item.item for item in items] == expected
    assert len(items) == 52
    for item in items:
        assert item.filled, item.item
        assert item.applies in ("D", "E", "D;E")
        assert "{" not in item.filled


@pytest.mark.parametrize("bare", [False, True])
def test_ethics_funding_and_meaning_are_never_made_up(bare, make_run):
    by_number = {item.item: item for item in checklist(read(make_run(bare=bare)))}
    for number in ("2", "3c", "17", "18a", "18b", "18c", "18d", "19", "25"):
        assert TO_WRITE in by_number[number].filled
    assert not any(by_number[n].answer for n in ("3c", "17", "18a", "18b", "18c", "18d", "19", "25"))


def test_the_page_of_the_checklist_has_a_row_an_item(make_run):
    text = pages(read(make_run()))["tripod_ai.md"]
    assert len(re.findall(r"^\| \d+[a-z]? \|", text, re.MULTILINE)) == 52
    assert "death in hospital" in text


def test_the_model_card_has_its_sections_in_order(make_run):
    text = pages(read(make_run(names__model=NASTY)))["model_card.md"]
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == SECTIONS
    assert text.count("For the authors to write") >= 5
    assert "not a medical device" in text
    assert "<script>" not in text.replace("\\<", "")
