"""The run's main numbers as bars, and subgroup by subgroup as a forest plot; every value with its interval, from metrics.json."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from icu_lightning.plots.evidence import Evidence, interval_text
from icu_lightning.plots.sheet import BLUE, INK, SOFT, WARN_EDGE, Sheet, sentence, sheet

BARS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "sensitivity": "Recall",
    "ppv": "Precision",
    "accuracy": "Accuracy",
}
# Deviation: the original's green, yellow and red say the same to one man in twelve; these are dark to light
GRADES = ((0.9, "#00446b"), (0.7, "#0072b2"), (0.5, "#7fb8d8"), (-np.inf, "#d3dbe2"))
ROW = 2.3  # em of a subgroup
Row = tuple[str, str, Mapping[str, Any]]  # column, group, its metrics
RATIOS = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # the farthest O:E shown


@sheet(12, 7, "Summary")
def summary_metrics(page: Sheet, run: Evidence) -> None:
    page.note(f"Lines: {run.resampled}. F1, recall, precision and accuracy at the stored threshold.")
    (ax,) = page.panels(left=2.6, above=2.4, below=1.8)
    values = [run.cell(name)["value"] for name in BARS]
    heights = [value or 0 for value in values]
    ax.bar(range(len(BARS)), heights, 0.62, color=[grade(height) for height in heights])
    for i, name in enumerate(BARS):
        cell = run.cell(name)
        top = whisker(ax, i, cell, page.em)
        said = "undefined" if cell["value"] is None else f"{cell['value']:.3f}"
        ax.text(i, top + 0.02, said, ha="center", va="bottom", weight="bold")
    for height in (0.5, 0.7, 0.9):
        ax.axhline(height, color=SOFT, linestyle=(0, (1.5, 1.5)), linewidth=page.em * 0.07, gid="reference", zorder=0.5)
    ax.set(ylim=(0, 1.14), yticks=[0, 0.5, 0.7, 0.9], xlim=(-0.6, len(BARS) - 0.4))
    ax.set_xticks(range(len(BARS)), list(BARS.values()))
    ax.tick_params(axis="x", length=0)
    ax.grid(False)
    key = [Patch(color=colour, label=f"≥ {least}" if least > 0 else "below") for least, colour in GRADES]
    ax.legend(handles=key, loc="upper right", ncols=4, bbox_to_anchor=(1, 1.2), columnspacing=1)


def grade(value: float) -> str:
    return next(colour for least, colour in GRADES if value >= least)


def whisker(ax: Axes, x: float, cell: Mapping[str, float | None], em: float) -> float:
    """The interval as an upright line; returns the height above which there is room."""
    value, low, high = (cell[side] for side in ("value", "low", "high"))
    if low is None or high is None:
        return value or 0.0
    ax.plot([x, x], [low, high], color=INK, linewidth=em * 0.1)
    return max(high, value or 0.0)


# ---- forest -----------------------------------------------------------------------------------------------------------


@sheet(12, 6, "Subgroups")
def subgroup_forest(page: Sheet, run: Evidence) -> None:
    rows = list(forest_rows(run))
    small = too_small(run)
    page.note(f"Lines: {run.resampled}. Dashed: all stays.")
    if small:
        page.note(f"Too few stays, or of one outcome only, to score, the smallest group first: {small}.")
    page.resize(max(14.0, 10.5 + 2.4 * run.synthetic + ROW * len(rows) + 1.2 * len(page.foot)))
    left, right = page.panels(1, 2, left=15.5, right=1.4, wspace=0.2, share="y")
    if len(rows) == 1:
        sentence(right, "No subgroup is large enough to be scored.")
    for i, (column, name, block) in enumerate(rows):
        colour, mark = (INK, "D") if i == 0 else (BLUE, "o")
        point(left, i, block.get("auroc"), colour, mark, page.em)
        point(right, i, block.get("observed_to_expected"), colour, mark, page.em)
        counts = f"{column}{block['n']:,} stays, {block['events']:,} died"
        left.text(
            -0.04,
            i - 0.2,
            name,
            transform=left.get_yaxis_transform(),
            ha="right",
            va="center",
            weight="bold" if i == 0 else None,
        )
        left.text(
            -0.04,
            i + 0.24,
            counts,
            transform=left.get_yaxis_transform(),
            ha="right",
            va="center",
            color=SOFT,
            fontsize=0.76 * page.em,
        )
    frame(left, right, rows)


def forest_rows(run: Evidence) -> Iterator[Row]:
    """All stays, then every subgroup that is scored."""
    yield "", "all stays", run.metrics
    for column, groups in run.metrics.get("subgroups", {}).items():
        for group, block in groups.items():
            yield f"{column.replace('_', ' ')}: ", textwrap.shorten(group, 28, placeholder="…"), block


def too_small(run: Evidence) -> str:
    """By name alone, the smallest first: how few they are might point at a person, and a figure is passed on."""
    named = {
        column: ", ".join(sorted(groups, key=lambda group: groups[group]["n"]))
        for column, groups in run.metrics.get("too_small", {}).items()
    }
    return "; ".join(f"{column.replace('_', ' ')} {groups}" for column, groups in named.items())


def point(ax: Axes, y: float, cell: Mapping[str, float | None] | None, colour: str, mark: str, em: float) -> None:
    """A value and its interval; a word where it is undefined."""
    if cell is None or cell["value"] is None:
        ax.text(0.5, y, "undefined", transform=ax.get_yaxis_transform(), ha="center", va="center", color=WARN_EDGE)
        return
    if cell["low"] is not None and cell["high"] is not None:
        ax.plot([cell["low"], cell["high"]], [y, y], color=colour, linewidth=em * 0.12)
    ax.plot([cell["value"]], [y], mark, color=colour, label=interval_text(cell))


def frame(left: Axes, right: Axes, rows: list[Row]) -> None:
    """Axes, headings, and the lines of no effect and of all stays."""
    everyone = rows[0][2]
    for ax, name, neutral in ((left, "auroc", 0.5), (right, "observed_to_expected", 1.0)):
        ax.axvline(neutral, color=SOFT, linewidth=1, zorder=0.5)
        value = (everyone.get(name) or {}).get("value")
        if value:
            ax.axvline(value, color=INK, linestyle=(0, (3, 2)), linewidth=1, gid="all stays", zorder=0.6)
    left.set(ylim=(len(rows) - 0.4, -0.6), yticks=[], xlabel="AUROC", xlim=(auroc_from(rows), 1.01))
    left.locator_params(axis="x", nbins=4)
    cells = [block["observed_to_expected"] for *_, block in rows if block.get("observed_to_expected")]
    ends = [x for cell in cells for x in (cell["value"], cell["low"], cell["high"]) if x]
    low = max(RATIOS[0], min([0.5, *(x / 1.1 for x in ends)]))
    high = min(RATIOS[-1], max([2.0, *(x * 1.1 for x in ends)]))
    right.set(xscale="log", xlabel="O:E deaths", xlim=(low, high))
    right.set_xticks([t for t in RATIOS if low <= t <= high])
    right.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    right.xaxis.set_minor_locator(NullLocator())
    for ax in (left, right):
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)


def auroc_from(rows: list[Row]) -> float:
    """The left end of the AUROC axis: .45, or lower where an interval is."""
    lows = [block["auroc"]["low"] for *_, block in rows if block.get("auroc") and block["auroc"]["low"] is not None]
    return min([0.45, *(low - 0.02 for low in lows)])
