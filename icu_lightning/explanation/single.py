"""One stay hour by hour: which measurements moved its predicted risk up or down, with the values in their units."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from icu_lightning.description.words import decimals, number
from icu_lightning.explanation.bars import ROOM, name_rows
from icu_lightning.explanation.subjects import One
from icu_lightning.explanation.summary import NOTHING, per_stay
from icu_lightning.explanation.words import feature_words, short
from icu_lightning.plots.sheet import BLUE, INK, RULE, VERMILION, Sheet, sheet

MOST = 20  # rows shown
WIDEST = 16  # columns in which a number is still readable
ROW = 2.3  # em
KEY, GAP = 0.7, 3.4  # em: height of the colours' key, and between it and the fields
DOWN, UP = BLUE, VERMILION
UP_AND_DOWN = LinearSegmentedColormap.from_list("up and down", [DOWN, "#FFFFFF", UP])


@dataclass(frozen=True, kw_only=True)
class Chosen:
    stay_id: Any
    why: str


def single_stays(table: pl.DataFrame, n: int) -> list[Chosen]:
    """Up to n stays that teach something: the death seen best, the survivor feared for most, the death seen least, then by risk."""
    stays = per_stay(table).sort("risk", descending=True, maintain_order=True)
    died, lived = (stays.filter(pl.col("label") == label)["stay_id"].to_list() for label in (1.0, 0.0))
    wanted = [
        *((i, "the highest risk among the explained who died") for i in died[:1]),
        *((i, "the highest risk among the explained who lived") for i in lived[:1]),
        *((i, "the lowest risk among the explained who died") for i in died[-1:]),
        *((i, "among the highest risks explained") for i in stays["stay_id"].to_list()),
    ]
    chosen: dict[Any, Chosen] = {}
    for stay, why in wanted:
        chosen.setdefault(stay, Chosen(stay_id=stay, why=why))
    return list(chosen.values())[:n]


@sheet(11, 8, "")
def stay_map(page: Sheet, it: One) -> None:
    """Variables by hours, then whether they were measured, and each row's total as a bar; static features below."""
    ranked, left_out = _ranked(it.rows)
    features, hours = ranked["feature"].to_list(), it.content["hours"]
    page.title = it.title
    page.figure.set_label(it.title)
    page.note(
        "In a field: mean of what was measured in these hours; in an empty one nothing was, and the last value counts on."
    )
    page.note(
        "Last column: hours with a value; its colour is what it did that they were measured, and not other hours."
    )
    if left_out:
        page.note(f"{left_out} rows that moved less are left out.")
    tall = ROW * len(features)
    page.fit(tall + GAP + KEY, below=3.4)
    how: Any = {"height_ratios": [tall, KEY], "hspace": 2 * GAP / (tall + KEY), "width_ratios": [4, 1], "wspace": 0.12}
    cells, totals, key, empty = page.panels(2, 2, left=ROOM, below=3.4, **how)
    empty.remove()
    limit = max(float(it.rows["attribution"].abs().to_numpy().max()), 1e-9)
    for y, feature in enumerate(features):
        _cells(cells, y, it.rows.filter(pl.col("feature") == feature), it.content, limit, page.em)
    name_rows(cells, [_heading(it.rows.filter(pl.col("feature") == feature)) for feature in features])
    edges = [first for first, _ in it.content["by_hour"]["hours"]]
    labelled = [*edges[:: max(1, len(edges) // 12)], hours]
    cells.set_xlim(0, 1.18 * hours)
    cells.set_xticks(labelled)
    cells.set_xlabel("hours after admission")
    cells.tick_params(length=0)
    cells.grid(False)
    for side in ("left", "bottom"):
        cells.spines[side].set_visible(False)
    _totals(totals, [100 * total for total in ranked["total"]], page.em)
    _key(page, key, 100 * limit)


def _ranked(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Features with their totals, series first, then by size, at most MOST; and how many that move something are left out."""
    size = rows.group_by("feature", maintain_order=True).agg(
        total=pl.col("attribution").sum(),
        moves=(pl.col("attribution").abs() > NOTHING).any(),
        series=(pl.col("kind") == "missingness").any(),
    )
    moving = size.filter("moves")
    ranked = (moving if moving.height else size).sort(
        pl.col("series"), pl.col("total").abs(), descending=True, maintain_order=True
    )
    return ranked.head(MOST), max(0, ranked.height - MOST)


def _cells(axes: Axes, y: int, rows: pl.DataFrame, content: Mapping[str, Any], limit: float, em: float) -> None:
    """The fields of one row. A static feature has none: its bar says it all."""
    blocks = len(content["by_hour"]["hours"])
    for row in rows.filter(pl.col("kind").is_in(["value", "missingness"])).iter_rows(named=True):
        whole = row["kind"] == "missingness"
        x, width = (
            (1.02 * content["hours"], 0.16 * content["hours"])
            if whole
            else (row["first_hour"], row["end_hour"] - row["first_hour"])
        )
        colour = UP_AND_DOWN(0.5 + row["attribution"] / limit / 2)
        axes.add_patch(Rectangle((x, y - 0.46), width, 0.92, facecolor=colour, edgecolor=RULE, linewidth=0.03 * em))
        if whole:
            text = f"{row['measured']} h"
        else:
            text = "" if row["value"] is None or blocks > WIDEST else number(row["value"], decimals(row["value"]))
        dark = abs(row["attribution"]) > 0.7 * limit
        axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=0.66 * em, color="white" if dark else INK)


def _heading(rows: pl.DataFrame) -> str:
    """The row's name; of a static feature with what the stay has."""
    if rows["kind"][0] not in ("static", "in_icu"):
        return feature_words(rows["feature"][0])
    value, category = rows["value"][0], rows["category"][0]
    shown = category if category is not None else "unknown" if value is None else f"{value:.4g}"
    return (
        f"{feature_words(rows['feature'][0])}: {shown}" if category is None else f"{short(rows['feature'][0])}: {shown}"
    )


def _totals(axes: Axes, points: list[float], em: float) -> None:
    axes.barh(range(len(points)), points, 0.7, color=[UP if p > 0 else DOWN for p in points])
    axes.axvline(0, color=INK, linewidth=0.08 * em)
    reach = 1.1 * max(max(map(abs, points)), 1e-3)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("together")
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=3)
    axes.tick_params(axis="x", labelsize=0.66 * em)
    axes.spines["left"].set_visible(False)


def _key(page: Sheet, axes: Axes, limit: float) -> None:
    """What the colours mean; limit: percentage points of the darkest."""
    scale = ScalarMappable(Normalize(-limit, limit), UP_AND_DOWN)
    key = page.figure.colorbar(scale, cax=axes, orientation="horizontal")
    key.set_label("← risk down   percentage points   risk up →")
    key.locator = MaxNLocator(5)
    key.outline.set_visible(False)
