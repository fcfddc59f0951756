"""Every explained stay as a point for each feature: risk up or down, coloured by what was measured (a beeswarm)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from icu_lightning.explanation.bars import ROOM, name_rows
from icu_lightning.explanation.subjects import Many
from icu_lightning.explanation.summary import NOTHING, per_stay, summed
from icu_lightning.explanation.words import feature_words, short
from icu_lightning.plots.sheet import INK, SMALL, Sheet, sheet

MOST = 20  # rows shown
ROW = 2.3  # em
KEY, GAP = 0.7, 3.4  # em: height of the colours' key, and between it and the points
PALE = "#8d979f"
BINS = 60  # of the horizontal axis; points of one bin are put above one another


@dataclass(frozen=True, kw_only=True)
class Row:
    """share: (n) attributions. reading: (n) what the points' colour means, NaN for grey."""

    title: str
    share: NDArray[np.float64]
    reading: NDArray[np.float64]


@sheet(10, 8, "What moves the predicted risk, stay by stay")
def swarm(page: Sheet, it: Many) -> None:
    """The rows with the largest mean size; a category is a row, with the stays that have it."""
    rows = sorted(_rows(it.table), key=lambda row: -float(np.abs(row.share).sum()))[:MOST]
    rows = [row for row in rows if np.abs(row.share).max() > NOTHING] or rows[:1]
    page.note(
        "A dot is a stay. Colour: its value, or hours measured, beside those of the other stays; grey: a category."
    )
    tall = ROW * len(rows)
    page.fit(tall + GAP + KEY, below=2.0)
    how: Any = {"height_ratios": [tall, KEY], "hspace": 2 * GAP / (tall + KEY)}
    axes, key = page.panels(2, 1, left=ROOM, below=2.0, **how)
    limit = 100 * max(float(np.abs(row.share).max(initial=1e-6)) for row in rows) * 1.05
    for y, row in enumerate(rows):
        _points(axes, y, row, limit, page.em)
    name_rows(axes, [row.title for row in rows])
    axes.axvline(0, color=INK, linewidth=0.08 * page.em)
    axes.set_xlim(-limit, limit)
    axes.set_xlabel("← risk down    percentage points    risk up →")
    colours = page.figure.colorbar(
        ScalarMappable(Normalize(0, 1), "cividis"), cax=key, orientation="horizontal", ticks=[0, 1]
    )
    colours.ax.set_xticklabels(["low, or few hours", "high, or many hours"], fontsize=SMALL * page.em)
    colours.ax.tick_params(length=0)
    low, high = (label for label in colours.ax.get_xticklabels())
    low.set_horizontalalignment("left")
    high.set_horizontalalignment("right")
    colours.outline.set_visible(False)


def _rows(table: pl.DataFrame) -> list[Row]:
    stays = per_stay(table)
    rows = []
    for feature, kind in table.select("feature", "kind").unique(maintain_order=True).iter_rows():
        share = summed(table, stays, feature, kind)
        cells = table.filter((pl.col("feature") == feature) & (pl.col("kind") == kind))
        if kind == "missingness":
            read = cells["measured"].cast(pl.Float64).to_numpy()
            rows.append(Row(title=f"{short(feature)}: hours measured", share=share, reading=read))
        elif cells["category"].null_count() < cells.height:
            words = cells["category"].to_numpy()
            rows += [
                Row(title=f"{short(feature)}: {word} (n={(words == word).sum()})", share=share[words == word],
                    reading=np.full((words == word).sum(), np.nan))
                for word in sorted(set(words))
            ]  # fmt: skip
        else:
            rows.append(Row(title=feature_words(feature), share=share, reading=_means(cells, stays)))
    return rows


def _means(cells: pl.DataFrame, stays: pl.DataFrame) -> NDArray[np.float64]:
    """(n) mean value of a feature over all its hours, each hour measured counting once; NaN if there is none."""
    times = pl.col("measured").fill_null(1) * pl.col("value").is_not_null()
    mean = (pl.col("value").fill_null(0.0) * times).sum() / times.sum()
    found = cells.group_by("stay_id").agg(mean=mean)
    joined = stays.select("stay_id").join(found, on="stay_id", how="left", maintain_order="left")
    return joined["mean"].fill_null(float("nan")).to_numpy()


def _points(axes: Axes, y: int, row: Row, limit: float, em: float) -> None:
    x = 100 * row.share
    known = np.isfinite(row.reading)
    height = y + heights(x, limit)
    axes.scatter(x[~known], height[~known], s=(0.4 * em) ** 2, color=PALE, lw=0)
    if known.any():
        low, high = np.quantile(row.reading[known], [0.05, 0.95])  # one extreme stay must not grey the others
        scale = Normalize(low, high if high > low else low + 1, clip=True)
        axes.scatter(
            x[known],
            height[known],
            s=(0.4 * em) ** 2,
            c=scale(row.reading[known]),
            cmap="cividis",
            vmin=0,
            vmax=1,
            lw=0,
        )


def heights(x: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Offsets within ±0.38 that keep points of one bin apart: 0, up, down, further up, ...

    >>> heights(np.array([0.0, 0.0, 0.0, 9.0]), 10.0).round(2).tolist()
    [0.0, 0.12, -0.12, 0.0]
    """
    bins = np.floor((x + limit) / (2 * limit) * BINS).astype(int)
    rank = np.array([(bins[:i] == b).sum() for i, b in enumerate(bins)])
    step = (rank + 1) // 2 * np.where(rank % 2 == 1, 1, -1)
    largest = max(1, int(np.abs(step).max(initial=0)))
    return step * min(0.12, 0.38 / largest)
