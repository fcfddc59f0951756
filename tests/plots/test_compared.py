"""Figures of a comparison: each seed's curve, each model's bar, a difference with its sign, the table's numbers."""

import dataclasses
import re

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as reference

from icu_lightning.plots import compared
from icu_lightning.plots.compared import BARS, FIGURES, TABLE, Contender, Contest, change, draw
from icu_lightning.plots.sheet import COLOURS
from tests.comparison.conftest import table


def cells(label, risks, at=0.3):
    """name -> {value, low, high}; the ends are made up, around the mean of the seeds."""
    flagged = (risks >= at).astype(float)
    by_seed = {
        "auroc": [reference.roc_auc_score(label, r) if 0 < label.sum() < len(label) else np.nan for r in risks],
        "auprc": [reference.average_precision_score(label, r) if label.any() else np.nan for r in risks],
        "brier": [reference.brier_score_loss(label, r) for r in risks],
        "calibration_slope": [-0.5] * len(risks),
        "f1": [reference.f1_score(label, f, zero_division=0) for f in flagged],
        "sensitivity": [reference.recall_score(label, f, zero_division=0) for f in flagged],
        "ppv": [reference.precision_score(label, f, zero_division=0) for f in flagged],
        "accuracy": [reference.accuracy_score(label, f) for f in flagged],
    }
    means = {name: float(np.mean(values)) for name, values in by_seed.items()}
    return {
        name: {"value": m, "low": m - 0.05, "high": m + 0.05}
        if np.isfinite(m)
        else dict.fromkeys(("value", "low", "high"))
        for name, m in means.items()
    }


def contest(names=("focal_lstm", "logistic_regression", "lightgbm"), deaths=True, synthetic=False) -> Contest:
    """Two seeds of the first model, one of every other."""
    rows = [table(2 - i / 3, i, deaths=deaths).filter(pl.col("split") == "test") for i in range(len(names) + 1)]
    label = rows[0]["label"].to_numpy()
    risks = [part["risk"].to_numpy() for part in rows]
    seeds = [np.stack(risks[:2]), *(risk[None] for risk in risks[2:])]
    contenders = [Contender(name=n, risks=r, metrics=cells(label, r)) for n, r in zip(names, seeds, strict=True)]
    facts = {"data": "eicu", "outcome": "died_in_hospital", "synthetic": synthetic, "replicates": 20}
    return Contest(**facts, label=label, contenders=contenders)


def test_curves_are_scikit_learns_a_line_a_seed_and_a_colour_a_model():
    made = contest()
    drawn = [line for line in compared.roc_comparison(made).axes[0].lines if line.get_gid() != "chance"]
    expected = [reference.roc_curve(made.label, r)[:2] for c in made.contenders for r in c.risks]
    assert len(drawn) == len(expected) == 4
    for line, points in zip(drawn, expected, strict=True):
        assert line.get_xydata() == pytest.approx(np.stack(points, axis=1))
    assert [line.get_color() for line in drawn] == [COLOURS[i] for i in (0, 0, 1, 2)]
    steps = [line for line in compared.pr_comparison(made).axes[0].lines if line.get_gid() != "prevalence"]
    for line, risk in zip(steps, [r for c in made.contenders for r in c.risks], strict=True):
        x, y = line.get_data()
        assert (np.diff(x) * y[1:]).sum() == pytest.approx(reference.average_precision_score(made.label, risk))


def test_of_more_models_than_there_are_colours_curves_show_the_best_and_the_table_all(tmp_path):
    """42 runs of `experiment=table6`: their legend took all of the page, and more."""
    one = contest().contenders[1]
    names = [f"run {n}" for n in range(41)] + ["logistic_regression"]
    cells = [one.metrics | {"auroc": {"value": 0.5 + n % 40 / 100, "low": 0.4, "high": 0.95}} for n in range(42)]
    many = [dataclasses.replace(one, name=n, metrics=own) for n, own in zip(names, cells, strict=True)]
    made = dataclasses.replace(contest(), contenders=many)
    shown = compared.leading(made)
    assert [c.name for c in shown.contenders] == [*(f"run {n}" for n in range(33, 40)), "logistic_regression"]
    assert shown.facts.about.startswith("8 of 42 models, the baseline and those of highest AUROC, on eicu")
    compared.draw(made, tmp_path)
    assert "run 0" not in (tmp_path / "roc_comparison.svg").read_text()
    assert all(f"run {n}" in (tmp_path / "comparison_table.svg").read_text() for n in range(41))
    few = contest()
    assert compared.leading(few) is few


def test_bars_and_intervals_are_each_models():
    made = contest()
    ax = compared.metrics_comparison(made).axes[0]
    for bars, contender in zip(ax.containers, made.contenders, strict=True):
        assert [bar.get_height() for bar in bars] == pytest.approx([contender.metrics[m]["value"] for m in BARS])
    intervals = [tuple(line.get_ydata()) for line in ax.lines if line.get_gid() == "interval"]
    expected = [(c.metrics[m]["low"], c.metrics[m]["high"]) for c in made.contenders for m in BARS]
    assert np.array(intervals) == pytest.approx(np.array(expected))


def test_improvement_is_relative_to_the_regression_with_sign_and_colour():
    made = contest()
    assert made.baseline.name == "logistic_regression"
    assert contest(("a", "b")).baseline.name == "a"
    bars = compared.improvement(made).axes[0].patches
    others = [c for c in made.contenders if c is not made.baseline]
    expected = [change(c.metrics[m], made.baseline.metrics[m]) for m in BARS for c in others]
    assert [bar.get_width() for bar in bars] == pytest.approx(expected)
    assert len({(bar.get_facecolor(), bar.get_width() >= 0) for bar in bars}) == len({w >= 0 for w in expected})
    assert change({"value": 0.6}, {"value": 0.5}) == pytest.approx(20)
    assert change({"value": None}, {"value": 0.5}) is change({"value": 0.5}, {"value": 0.0}) is None


def test_the_table_says_every_value_with_its_interval():
    made = contest()
    said = [text.get_text() for text in compared.comparison_table(made).axes[0].texts]
    for contender in made.contenders:
        assert contender.name in said
        for metric in TABLE:
            assert f"{contender.metrics[metric]['value']:.3f}".replace("-", "−") in said


CONTESTS = {
    "three": lambda: contest(),
    "one": lambda: contest(("focal_lstm",)),
    "ten": lambda: contest(tuple(f"a model with a name that is long, number {i}" for i in range(10))),
    "nobody died": lambda: contest(deaths=False),
    "synthetic": lambda: contest(synthetic=True),
}


@pytest.mark.parametrize("name", CONTESTS)
def test_every_figure_is_drawn_and_says_its_facts(name, tmp_path):
    made = CONTESTS[name]()
    assert draw(made, tmp_path, prefix="eicu-") == [f"eicu-{figure}" for figure in FIGURES]
    page = ""
    for figure in FIGURES:
        text = (tmp_path / f"eicu-{figure}.svg").read_text()
        assert "240 stays" in re.sub(r"<[^>]*>", " ", text)
        assert ("SYNTHETIC STAYS" in text) == made.synthetic
        assert not re.search(r"\bnan\b", text)
        page += text
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_leaves_the_sheet(name):
    figure = FIGURES[name](CONTESTS["ten"]())
    figure.draw_without_rendering()
    for part in (*figure.axes, *figure.texts):
        box = part.get_tightbbox()
        assert min(box.x0, box.y0) >= -1, part
        assert box.x1 <= figure.bbox.x1 + 1, part
        assert box.y1 <= figure.bbox.y1 + 1, part
