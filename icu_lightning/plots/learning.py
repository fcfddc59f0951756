"""Learning curves from metrics.csv: loss, AUROC, AUPRC, and how far training runs ahead of validation; a set for each stage."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from icu_lightning.plots.evidence import Array, Evidence
from icu_lightning.plots.sheet import COLOURS, MARKS, Sheet, sentence, sheet

FEW = 25  # epochs up to which each has a mark
Row = Mapping[str, str]


@sheet(16, 12, "Learning curves")
def learning_curves(page: Sheet, run: Evidence) -> None:
    page.note("Solid: validation; dashed: training, in which dropout is at work and the weights still move.")
    if any(row.get("train/contrastive") for row in run.epochs):
        page.note(
            "The contrastive term, of pairs within a batch, is in the training loss alone: its distance to validation's is no gap."
        )
    axes = page.panels(2, 2, left=3.6, above=2.2, hspace=0.36, wspace=0.22)
    stages = by_stage(run.epochs)
    for ax, (title, lines) in zip(axes, PANELS.items(), strict=True):
        drawn = [draw(ax, i, name, rows, lines) for i, (name, rows) in enumerate(stages.items())]
        ax.set(title=title)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        if not any(drawn):
            sentence(ax, "Not logged by this model.")
        elif len(stages) > 1:
            ax.legend(loc="best", fontsize=page.em * 0.75)
    for ax in axes[2:]:
        ax.set_xlabel("Epoch")
    axes[3].axhline(0, color=COLOURS[4], linewidth=page.em * 0.05, zorder=0.5)


def column(name: str) -> Callable[[Sequence[Row]], Array]:
    return lambda rows: np.array([number(row.get(name)) for row in rows])


def gap(rows: Sequence[Row]) -> Array:
    """AUROC in training minus that in validation."""
    return column("train/auroc")(rows) - column("val/auroc")(rows)


Lines = tuple[tuple[Callable[[Sequence[Row]], Array], str], ...]  # values of an epoch, and the dash
PANELS: dict[str, Lines] = {
    "Loss": ((column("train/loss"), "--"), (column("val/loss"), "-")),
    "AUROC": ((column("train/auroc"), "--"), (column("val/auroc"), "-")),
    "AUPRC": ((column("train/auprc"), "--"), (column("val/auprc"), "-")),
    "AUROC gap, training − val.": ((gap, "-"),),
}


def by_stage(epochs: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each stage, or of each fold's, in the order in which they were trained."""
    stages: dict[str, list[Row]] = {}
    for row in epochs:
        fold = f"fold {int(row['fold']) + 1}, " if row.get("fold") else ""
        stages.setdefault(fold + row["stage"], []).append(row)
    return stages


def draw(ax: Axes, i: int, name: str, rows: Sequence[Row], lines: Lines) -> bool:
    """The lines of one stage; False if none of them has a value."""
    epoch, there = column("epoch")(rows), False
    mark = MARKS[i % len(MARKS)] if len(rows) <= FEW else None
    for values, dash in lines:
        y = values(rows)
        if np.isfinite(y).any():
            label = None if there and dash == "--" else name if dash == "-" else None
            ax.plot(epoch, y, linestyle=dash, color=COLOURS[i % len(COLOURS)], marker=mark, label=label)
            there = True
    return there


def number(text: str | None) -> float:
    """NaN for an epoch in which nothing was logged."""
    return float(text) if text else math.nan
