"""All figures of every kind of run: drawn, marked, the same twice, whole, and fit to stand in one page."""

import re
import xml.etree.ElementTree as ElementTree
from io import BytesIO

import matplotlib
import pytest
from matplotlib.image import imread

from icu_lightning.errors import UserError
from icu_lightning.plots import save
from icu_lightning.plots.kinds import figures_asked
from icu_lightning.plots.run import FIGURES, draw
from icu_lightning.plots.save import svg, write_png
from icu_lightning.plots.sheet import ACROSS
from tests.comparison.conftest import table
from tests.plots.conftest import CASES, evidence

SIZES = {  # inches, of the published plots
    "roc_curve": (10, 8), "precision_recall_curve": (10, 8), "probability_distribution": (12, 6), "threshold_metrics": (12, 6),
    "fbeta": (14, 8), "summary_metrics": (12, 7), "learning_curves": (16, 12),
}  # fmt: skip


def test_every_figure_of_every_case_is_drawn_with_its_facts_and_without_a_nan(case, tmp_path):
    matplotlib.use("agg")  # else it is chosen by the first figure that is drawn
    before = matplotlib.rcParams.copy()
    assert draw(case, tmp_path) == list(FIGURES)
    assert dict(matplotlib.rcParams) == dict(before), "no setting is left behind"
    for name in FIGURES:
        text = (tmp_path / f"{name}.svg").read_text()
        root = ElementTree.fromstring(text)
        said = " ".join(node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text"))
        assert f"{case.n:,} stays, {case.events:,} died in hospital" in said, name
        assert "focal_lstm on eicu" in said
        assert "SYNTHETIC" not in text
        assert not re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE), name
        assert root.get("role") == "img"
        assert f"{case.n:,} stays" in root.get("aria-label")


@pytest.mark.parametrize("name", FIGURES)
def test_synthetic_stays_are_marked_in_large(name, ordinary):
    made = FIGURES[name](evidence(CASES["ordinary"](), 2, synthetic=True))
    (mark,) = [text for text in made.texts if "SYNTHETIC" in text.get_text()]
    others = [text.get_fontsize() for text in made.texts if text is not mark]
    assert mark.get_fontsize() > max(others)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name, ordinary):
    assert tuple(FIGURES[name](ordinary).get_size_inches()) == SIZES[name]


@pytest.mark.parametrize("name", FIGURES)
def test_letters_are_readable_and_inside_of_the_sheet(name, ordinary):
    """On a screen of 360 pixels no letter is smaller than six; no text leaves the figure."""
    figure = FIGURES[name](evidence(CASES["subgroups"](), 5))
    figure.draw_without_rendering()
    width = figure.get_size_inches()[0] * 72
    for text in figure.findobj(matplotlib.text.Text):
        assert text.get_fontsize() * 360 / width >= 6, text
    for part in (*figure.axes, *figure.texts):
        box = part.get_tightbbox()
        assert min(box.x0, box.y0) >= -1, part
        assert box.x1 <= figure.bbox.x1 + 1, part
        assert box.y1 <= figure.bbox.y1 + 1, part


def test_equal_runs_give_equal_bytes_and_no_date(ordinary, tmp_path):
    for folder in ("a", "b"):
        draw(evidence(CASES["ordinary"]()), tmp_path / folder)
    for name in FIGURES:
        first, second = ((tmp_path / folder / f"{name}.svg").read_bytes() for folder in ("a", "b"))
        assert first == second
        assert b"<metadata>" not in first
        assert b"<!DOCTYPE" not in first


def test_all_figures_fit_into_one_page(ordinary, tmp_path):
    """No id is there twice, everything that is referred to is there, nothing styles or fetches anything else."""
    draw(ordinary, tmp_path)
    page = "".join(path.read_text() for path in sorted(tmp_path.glob("*.svg")))
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) == set(ids)
    assert "<style" not in page
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)
    assert len(page) < 600_000


@pytest.fixture
def three_figures(monkeypatch):
    """As if there were no others: what holds for these holds for all, and sooner."""
    few = {name: FIGURES[name] for name in ("roc_curve", "learning_curves", "subgroup_forest")}
    monkeypatch.setattr("icu_lightning.plots.run.FIGURES", few)
    return few


def test_a_name_is_no_markup(tmp_path, three_figures):
    run = evidence(CASES["subgroups"](), 2, model='<script>"&')
    draw(run, tmp_path)
    for path in tmp_path.glob("*.svg"):
        assert "<script" not in path.read_text()
        assert '<script>"&' in ElementTree.parse(path).getroot().get("aria-label")


def test_a_model_without_epochs_has_no_learning_curves_and_stale_figures_go(ordinary, tmp_path, three_figures):
    draw(ordinary, tmp_path)
    (tmp_path / "roc_curve.png").write_bytes(b"old")
    (tmp_path / "attrition.svg").write_text("another's")
    drawn = draw(evidence(CASES["ordinary"](), 2, epochs=[]), tmp_path)
    assert set(three_figures) - set(drawn) == {"learning_curves"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.svg" for name in [*drawn, "attrition"]}
    assert draw(evidence(table(n=0), 2), tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["attrition.svg"]


def test_pngs_have_300_dpi(ordinary, tmp_path, monkeypatch):
    assert save.DPI == 300
    monkeypatch.setattr(save, "DPI", 20)  # the law is the same, and eight million points fewer
    write_png(FIGURES["fbeta"](ordinary), tmp_path / "fbeta.png")
    assert imread(BytesIO((tmp_path / "fbeta.png").read_bytes())).shape[:2] == (8 * 20, 14 * 20)


def test_letters_stay_letters_with_fonts_that_are_everywhere(ordinary):
    text = svg(FIGURES["roc_curve"](ordinary), "roc_curve", "alt")
    assert "sans-serif" in text
    assert ">Sensitivity</text>" in text
    assert ACROSS == 36


@pytest.mark.parametrize(
    ("report", "kind", "expected"),
    [
        ({"write": True, "figures": "svg"}, None, "svg"),
        ({"write": False, "figures": "svg"}, None, "none"),
        ({"write": False}, "png", "png"),
        (None, None, "none"),
        ({"write": True, "figures": None}, None, "none"),
        ({"write": True, "figures": False}, None, "none"),
    ],
)
def test_which_figures_are_asked_for(report, kind, expected):
    assert figures_asked({"report": report}, kind) == expected


def test_an_unknown_kind_lists_the_known():
    with pytest.raises(UserError, match=r"Unknown kind of figures 'pdf'.*Known: none, png, svg"):
        figures_asked({"report": {"write": True, "figures": "pdf"}})
