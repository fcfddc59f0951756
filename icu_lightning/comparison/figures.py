"""Overlaid ROC, precision-recall, calibration and decision curves as SVG that takes its colours from the page.

A model has one colour and one dash, all its seeds a thin line each. Colours: Okabe & Ito (2008), which colour-blind readers tell
apart; the dashes say the same without colour.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.comparison.runs import SeededModel
from icu_lightning.evaluation.curves import (
    THRESHOLDS,
    Points,
    calibration_curve,
    decision_curve,
    pr_steps,
    roc_curve,
)
from icu_lightning.templates import rendered

Array = NDArray[np.float64]
SIDE = 300  # pixels of the plotted square
MOST = 400  # points of a line
COUNTER = "train/epoch"  # logged by models whose last epoch is the best
Line = tuple[int, list[tuple[float, float]]]  # number of its model, points
STYLES = 8  # different colours and dashes in the page; a ninth model would begin again


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn figure: its heading, the SVG, and what a reader has to know."""

    title: str
    svg: str
    note: str


def figures(models: Sequence[SeededModel]) -> list[Figure]:
    """The four, without those that need both classes where there is only one."""
    label = models[0].runs[0].label
    rate = float(label.mean())
    groups = min(10, len(label))
    drawn = []
    if 0 < label.sum() < len(label):
        drawn += [
            _square("ROC", "1 − specificity", "Sensitivity", models, roc_curve, [(0, 0), (1, 1)], "Diagonal: chance."),
            _square("Precision and recall", "Sensitivity", "Positive predictive value", models, pr_steps, [(0, rate), (1, rate)],
                    f"Steps, as average precision counts them. Thin line: the death rate, {rate:.3f}."),
        ]  # fmt: skip
    note = f"Diagonal: perfect. Up to {groups} groups of equal size, so of about {len(label) // groups:,} stays and "
    note += f"{label.sum() / groups:.1f} deaths each: with few deaths a curve is noise."
    drawn.append(
        _square("Calibration", "Predicted risk", "Observed share", models, calibration_curve, [(0, 0), (1, 1)], note)
    )
    drawn.append(_decision(models, rate))
    return drawn


def _decision(models: Sequence[SeededModel], rate: float) -> Figure:
    everybody = rate - (1 - rate) * THRESHOLDS / (1 - THRESHOLDS)
    highest = max(rate, 0.01)
    step = 10.0 ** math.floor(math.log10(highest))
    step = next(s * step for s in (0.1, 0.2, 0.5, 1, 2) if highest / (s * step) <= 5)
    top, bottom = math.ceil(highest / step + 1e-9) * step, -step
    shown = everybody >= bottom
    return Figure(
        title="Decision curve",
        note="Net benefit per stay of flagging at a threshold. Thin lines: flag everybody, flag nobody.",
        svg=_svg(
            "Decision curve", "Threshold", "Net benefit", models, of_runs(models, decision_curve), x_range=(0, float(THRESHOLDS[-1])),
            y_range=(bottom, top), y_step=step, x_step=0.1,
            references=[list(zip(THRESHOLDS[shown], everybody[shown], strict=True)), [(0, 0), (float(THRESHOLDS[-1]), 0)]],
        ),
    )  # fmt: skip


def learning(models: Sequence[SeededModel]) -> list[Figure]:
    """Of every quantity that several epochs logged, its course; epochs are counted over all stages of a run."""
    found: dict[str, list[Line]] = {}
    for i, model in enumerate(models):
        for run in model.runs:
            for name, lines in courses(run.epochs).items():
                found.setdefault(name, []).extend((i, points) for points in lines)
    return [_course(name, lines, models) for name, lines in sorted(found.items())]


def courses(epochs: pl.DataFrame | None) -> dict[str, list[list[tuple[float, float]]]]:
    """`train/...` and `val/...` -> (epoch, value) of the run, or of each of its folds; without what has fewer than two values."""
    if epochs is None:
        return {}
    parts = epochs.partition_by("fold", maintain_order=True) if "fold" in epochs.columns else [epochs]
    logged = [name for name in epochs.columns if "/" in name and name != COUNTER]
    names = [name for name in logged if epochs.schema[name].is_numeric()]
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for name in names:
        lines = [list(_known(part[name])) for part in parts]
        if several := [line for line in lines if len(line) > 1]:
            found[name] = several
    return found


def _known(values: pl.Series) -> Iterator[tuple[float, float]]:
    """(epoch, value) of the epochs that logged a number."""
    for epoch, value in enumerate(values.to_list()):
        if value is not None and math.isfinite(value):
            yield float(epoch), float(value)


def _course(name: str, lines: Sequence[Line], models: Sequence[SeededModel]) -> Figure:
    split, quantity = name.split("/", 1)
    title = f"{quantity}, {'validation' if split == 'val' else 'training'}"
    epochs = [x for _, line in lines for x, _ in line]
    values = [y for _, line in lines for _, y in line]
    (left, right, x_step), (bottom, top, y_step) = _round(0.0, max(epochs)), _round(min(values), max(values))
    thin = [(i, thinned(*np.array(line).T)) for i, line in lines]
    svg = _svg(title, "Epoch", quantity, models, thin, (left, right), (bottom, top), x_step, y_step, [])
    return Figure(title=title, svg=svg, note="")


def _round(low: float, high: float) -> tuple[float, float, float]:
    """A range in round numbers that holds both, and a step that divides it into two to six."""
    width = max(high - low, abs(high) * 1e-3, 1e-6)
    unit = 10.0 ** math.floor(math.log10(width))
    step = next(s * unit for s in (0.2, 0.5, 1, 2) if width / (s * unit) <= 5)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return first * step, last * step, step


def _square(
    title: str,
    x_name: str,
    y_name: str,
    models: Sequence[SeededModel],
    curve: Callable[[Array, Array], Points],
    reference: Sequence[tuple[float, float]],
    note: str,
) -> Figure:
    svg = _svg(title, x_name, y_name, models, of_runs(models, curve), (0, 1), (0, 1), 0.2, 0.2, [reference])
    return Figure(title=title, svg=svg, note=note)


def of_runs(models: Sequence[SeededModel], curve: Callable[[Array, Array], Points]) -> list[Line]:
    """A line a run."""
    return [(i, thinned(*curve(run.label, run.risk))) for i, model in enumerate(models) for run in model.runs]


def _svg(
    title: str,
    x_name: str,
    y_name: str,
    models: Sequence[SeededModel],
    drawn: Sequence[Line],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_step: float,
    y_step: float,
    references: Sequence[Sequence[tuple[float, float]]],
) -> str:
    def path(points: Sequence[tuple[float, float]]) -> str:
        inside = [
            ((x - x_range[0]) / (x_range[1] - x_range[0]), (y - y_range[0]) / (y_range[1] - y_range[0]))
            for x, y in points
        ]
        # a curve may leave the plot below, as net benefit does: there it is drawn along the edge
        at = [f"{SIDE * min(max(x, 0), 1):.1f} {SIDE * (1 - min(max(y, 0), 1)):.1f}" for x, y in inside]
        return "M" + "L".join(at)

    lines = [(i % STYLES, path(points)) for i, points in drawn]
    return rendered(
        Path(__file__).parent,
        "curves.svg",
        title=title,
        x_name=x_name,
        y_name=y_name,
        side=SIDE,
        names=[model.name for model in models],
        lines=lines,
        references=[path(points) for points in references],
        x_ticks=_ticks(x_range, x_step),
        y_ticks=[(SIDE - at, text) for at, text in _ticks(y_range, y_step)],
    )


def thinned(x: Array, y: Array) -> list[tuple[float, float]]:
    """At most MOST of the points, the first and the last among them."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(MOST, len(x))).round().astype(int))
    return list(zip(x[keep].tolist(), y[keep].tolist(), strict=True))


def _ticks(span: tuple[float, float], step: float) -> list[tuple[float, str]]:
    """Where along SIDE, and what is printed there."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    count = round((span[1] - span[0]) / step)
    values = [span[0] + i * step for i in range(count + 1)]
    return [((v - span[0]) / (span[1] - span[0]) * SIDE, f"{v:.{digits}f}".replace("-", "−")) for v in values]
