"""The page as a browser reads it: complete, escaped, self-contained, and synthetic data in plain sight."""

import re
from html.parser import HTMLParser
from types import MappingProxyType

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.cleaning import STATUSES
from icu_lightning.data.cohort import select_cohort
from icu_lightning.data.extract import Extract
from icu_lightning.data.infusions import UNREAD
from icu_lightning.data.worst import COMPONENTS
from icu_lightning.description.page import Origin, page
from tests.browser import opened
from tests.conftest import settings
from tests.description.conftest import VARIABLES

COHORT = [{"stay_at_least": 40}, {"outcome_known": "died_in_hospital"}]
VOID = {"meta", "br", "link"}


class Reader(HTMLParser):
    """Texts, tags and attributes; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def made_page(cohort, *, synthetic=False, database="eicu", smallest=5, tables=MappingProxyType({}), **changes) -> str:
    everyone, values = cohort
    stays, attrition = select_cohort(everyone, COHORT, "died_in_hospital")
    values = values[stays["stay_id"].to_numpy()]
    cleaning = pl.DataFrame({"variable": VARIABLES}).with_columns(
        *(pl.lit(i, dtype=pl.Int64).alias(status) for i, status in enumerate(STATUSES)), latest_hours=pl.lit(5.5)
    )
    split = pl.Series("split", (["train"] * 7 + ["val", "test", "test"]) * 12)[: stays.height]
    chosen = settings(variables=VARIABLES, hours=6, cohort=COHORT, **changes)
    origin = Origin(
        database=database, synthetic=synthetic, made={"Made": "2026-01-01 <now>", "By": f"code {'4d' * 20}"}
    )
    return page(
        origin, chosen, Extract(stays, values, attrition, cleaning, **tables), stays.with_columns(split), smallest
    )


def test_it_holds_every_part_and_nests(cohort):
    reader = Reader(made_page(cohort))
    text = " ".join(" ".join(reader.text).split())
    for part in (
        "eICU Collaborative Research Database",
        "real stays of intensive care units",
        "Who is in the cohort",
        "at least 40 h in the unit",
        "Table 1",
        "What was measured",
        "Distributions by outcome",
        "What cleaning did",
        "Splits",
        "the first 6 hours after admission",
        "data.outcome=died_in_hospital",
        "2026-01-01",
    ):
        assert part in text, part
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for tag, name, value in reader.attributes if tag == "a" and name == "href"}
    assert targets <= set(ids)


def test_nothing_is_fetched_and_nothing_runs(cohort):
    reader = Reader(made_page(cohort))
    assert not {"script", "img", "iframe"} & set(reader.tags)
    assert [pair for pair in reader.attributes if pair[0] == "link"] == [
        ("link", "rel", "icon"),
        ("link", "href", "data:,"),
    ]
    assert not [a for a in reader.attributes if a[1] in ("src", "onload", "onclick")]
    assert "url(" not in made_page(cohort)
    assert "@import" not in made_page(cohort)


def test_names_from_the_database_are_escaped(cohort):
    html = made_page(cohort)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "SICU &amp; more" in html
    assert "2026-01-01 &lt;now&gt;" in html
    assert "&lt;5" in html


def test_synthetic_stays_are_called_so_in_plain_sight(cohort):
    assert "SYNTHETIC DATA" in made_page(cohort, synthetic=True, database="synthetic")
    assert "made up by a program" in made_page(cohort, synthetic=True, database="synthetic")
    assert "SYNTHETIC" not in made_page(cohort)


def test_every_picture_has_words(cohort):
    reader = Reader(made_page(cohort))
    html = made_page(cohort)
    pictures = re.findall(r"<svg[^>]*>", html)
    assert len(pictures) == reader.tags.count("svg")
    assert all(re.search(r"aria-label=|aria-labelledby=|aria-hidden=", picture) for picture in pictures)


def test_light_dark_phone_and_print(cohort):
    html = made_page(cohort)
    for rule in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print", 'name="viewport"'):
        assert rule in html


@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(width, cohort, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(made_page(cohort))
    with opened(path, width=width, phone=width < 500) as seen:
        assert (seen.console(), seen.requests()) == ([], [])
        assert not seen.overflows()


@pytest.mark.parametrize(("smallest", "said"), [(5, "1 to 4 stays is shown as &lt;5"), (1, "Do not pass it on")])
def test_the_rule_of_small_cells_is_told(smallest, said, cohort):
    assert said in made_page(cohort, smallest=smallest)


def test_other_outcomes_and_databases_that_are_not_known_here(cohort):
    stays, values = cohort
    stays = stays.with_columns(died_in_icu=pl.col("died_in_hospital"))
    html = made_page((stays, values), database="st_elsewhere", outcome="died_in_icu")
    assert "st elsewhere: description of the cohort" in html
    assert "Died in the unit" in html


def test_stays_without_any_event(cohort):
    stays, values = cohort
    Reader(made_page((stays, np.full_like(values, np.nan))))


@pytest.mark.parametrize(("smallest", "shown"), [(1, True), (5, False)])
def test_units_and_components_are_listed_and_a_handful_of_stays_is_not_shown(smallest, shown, cohort):
    units = [("norepinephrine", "<drops>", 19, 4), ("dopamine", None, 40, 9)]
    components = [("sofa", "liver", 60, 4), ("sofa", "renal", 60, 30), ("sofa", "cns", 60, 58)]
    tables = {
        "units": pl.DataFrame(units, schema=UNREAD, orient="row"),
        "components": pl.DataFrame(components, schema=COMPONENTS, orient="row"),
    }
    text = " ".join(" ".join(Reader(made_page(cohort, smallest=smallest, tables=tables)).text).split())
    assert "a component of which nothing was measured counts 0 points" in text
    assert "dopamine no unit 40 9" in text
    assert "sofa renal 60 30 (50.0 %)" in text
    assert ("sofa cns 60 not shown" in text) is not shown, "all but a handful"
    assert ("norepinephrine <drops> 19 4" in text) is shown
    assert ("norepinephrine not shown not shown <5" in text) is not shown
    assert ("sofa liver 60 <5" in text) is not shown
    assert "counts 0 points" not in made_page(cohort)
