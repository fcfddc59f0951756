"""Tables and page: escaped, complete, self-contained; in a browser they sort, by keyboard too, without a console error."""

import html
import re
from dataclasses import replace

import polars as pl
import pytest

from icu_lightning.comparison.figures import MOST, courses, thinned
from icu_lightning.comparison.page import page
from icu_lightning.comparison.runs import models
from icu_lightning.comparison.statistics import METRICS, compare
from icu_lightning.comparison.tables import difference_table, escaped, interval, latex, run_table, summary_table
from tests.browser import opened
from tests.comparison.conftest import table

NASTY = "<script>alert(1)</script> 50 % & a_b"


@pytest.fixture
def comparison(make_run):
    runs = [make_run(f"runs/{i}", table(1.5, i), seed=i) for i in range(2)]
    runs += [
        make_run("runs/x", table(0.2, 5), names__model=NASTY),
        make_run("runs/y", table(1.0, 6), names__model="middle"),
    ]
    return compare(models(runs), 30, 0)


@pytest.fixture
def text(comparison):
    return page([comparison], {"Made": "today <now>"})


def test_latex_is_escaped_and_has_booktabs(comparison):
    source = latex([comparison])
    assert r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{} 50 \% \& a\_b" in source
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrrrrrr}", r"focal\_lstm & 2 & $0."):
        assert word in source
    body = source[source.index(r"\toprule") : source.index(r"\bottomrule")]
    assert not re.search(r"(?<!\\)[_%#]", body)
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}, "as many cells as columns"


def test_every_letter_that_latex_takes_for_a_command_is_escaped():
    assert escaped("\\ ^ ~ { } $ # é") == r"\textbackslash{} \textasciicircum{} \textasciitilde{} \{ \} \$ \# é"


def test_csv_tables_hold_every_number(comparison):
    assert summary_table([comparison]).height == 3 * len(METRICS)
    assert run_table([comparison]).height == 4 * len(METRICS)
    assert difference_table([comparison]).height == 3 * len(METRICS)
    assert set(summary_table([comparison])["stays"]) == {240}
    assert summary_table([comparison]).filter(model="focal_lstm")["sd_over_seeds"].null_count() == 0
    assert difference_table([comparison])["p_delong"].count() == 3
    assert difference_table([]).columns == difference_table([comparison]).columns


def test_an_interval_stands_beside_every_value(comparison):
    for summary in comparison.summaries:
        for estimate in summary.metrics.values():
            assert re.fullmatch(r"−?\d+\.\d{3} \(−?\d+\.\d{3}(–| to −?)\d+\.\d{3}\)", interval(estimate))


def test_the_page_is_self_contained_and_escaped(text):
    assert "<script>alert" not in text
    assert html.escape(NASTY) in text
    assert "today &lt;now&gt;" in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"""(src|href)=["'](?!data:,)""", text)
    assert "url(" not in text
    assert "@import" not in text
    assert text.count("<svg xmlns") == 4
    assert text.count('role="img" aria-label=') == 4
    assert text.count('class="line line-') == 4 * 4 + 3, "a line a run in four figures, and a key"
    assert "nan" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.DOTALL).lower()


def test_synthetic_stays_and_few_deaths_are_said_in_plain_sight(make_run):
    made = page([compare(models([make_run(synthetic="true")]), 5, 0)], {})
    assert "SYNTHETIC DATA" in made
    assert "fewer than 100 stays of either outcome" in made
    assert "SYNTHETIC" not in page([compare(models([make_run()]), 5, 0)], {})


def test_a_page_without_test_deaths(make_run):
    runs = [make_run("a", table(1, 1, deaths=False)), make_run("b", table(1, 2, deaths=False), names__model="b")]
    result = compare(models(runs), 10, 0)
    made = page([result], {})
    assert "All test stays have the same outcome" in made
    assert "undefined" in made
    assert made.count("<svg xmlns") == 2, "calibration and decision curve need no second class"
    assert "undefined" in latex([result])


def test_a_ninth_model_shares_a_line_and_the_page_says_so(make_run):
    runs = [make_run(str(i), table(1, i, n=60), names__model=f"m{i}") for i in range(9)]
    assert "colours and dashes begin again" in page([compare(models(runs), 5, 0)], {})


def test_lines_are_thinned_and_keep_their_ends():
    import numpy as np

    x = np.linspace(0, 1, 5000)
    points = thinned(x, x**2)
    assert len(points) == MOST
    assert (points[0], points[-1]) == ((0, 0), (1, 1))


def test_learning_curves_are_of_every_quantity_that_epochs_logged(make_run):
    """Stages follow one another, folds are lines of their own, and one epoch is no curve."""
    logged = {"stage": ["a", "a", "b"], "epoch": [0, 1, 0], "lr": [0.1, 0.1, 0.1], "train/loss": [3.0, 2.0, None]}
    epochs = pl.DataFrame({**logged, "val/auroc": [0.5, 0.6, 0.7], "val/late": [None, None, 1.0]})
    assert courses(epochs) == {"train/loss": [[(0, 3), (1, 2)]], "val/auroc": [[(0, 0.5), (1, 0.6), (2, 0.7)]]}
    folds = pl.concat([epochs.with_columns(fold=pl.lit(i)) for i in range(2)])
    assert len(courses(folds)["val/auroc"]) == 2
    assert courses(None) == {}
    runs = [replace(make_run(str(i), table(1, i, n=60), names__model=f"m{i}"), epochs=epochs) for i in range(2)]
    made = page([compare(models(runs), 5, 0)], {})
    assert "auroc, validation" in made
    assert "loss, training" in made
    assert "Learning curves" not in page([compare(models([make_run("x", table(n=60))]), 5, 0)], {})


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 390])
def test_in_a_browser_it_sorts_fits_and_fetches_nothing(width, text, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(text)
    with opened(path, width=width, phone=width < 500) as page:
        assert page.unsorted() == []
        assert page.not_drawn() == []
        assert not page.overflows()
        assert page.requests() == []
        assert page.console() == []
