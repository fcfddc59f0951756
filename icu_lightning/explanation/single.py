"""One stay hour by hour: which measurements moved its predicted risk up or down, with the values in their units."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from icu_lightning.description.words import OUTCOMES, decimals, number
from icu_lightning.explanation.bars import INK
from icu_lightning.explanation.summary import NOTHING, per_stay
from icu_lightning.explanation.words import feature_words, short

MOST = 20  # rows shown
WIDEST = 16  # columns in which a number is still readable
DOWN, UP = "#0072B2", "#D55E00"  # Okabe, Ito (2008)
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


def stay_map(rows: pl.DataFrame, content: Mapping[str, Any], why: str) -> Figure:
    """Variables by hours, then whether they were measured, and each row's total as a bar; static features below.

    Arguments:
        rows: of one stay in attributions.parquet.
        why: this stay is shown.
    """
    size = rows.group_by("feature", maintain_order=True).agg(
        total=pl.col("attribution").sum(),
        moves=(pl.col("attribution").abs() > NOTHING).any(),
        series=(pl.col("kind") == "missingness").any(),
    )
    moving = size.filter("moves")
    ranked = (moving if moving.height else size).sort(
        pl.col("series"), pl.col("total").abs(), descending=True, maintain_order=True
    )
    left_out, ranked = max(0, ranked.height - MOST), ranked.head(MOST)
    features = ranked["feature"].to_list()
    figure = Figure(figsize=(9.5, 2.2 + 0.33 * len(features)), layout="constrained")
    cells, totals = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
    limit = max(float(rows["attribution"].abs().to_numpy().max()), 1e-9)
    for y, feature in enumerate(features):
        _cells(cells, y, rows.filter(pl.col("feature") == feature), content, limit)
    hours = content["hours"]
    cells.set_xlim(0, 1.18 * hours)
    cells.set_ylim(len(features) - 0.5, -0.5)
    cells.set_yticks(range(len(features)), [_heading(rows.filter(pl.col("feature") == f)) for f in features])
    edges = [first for first, _ in content["by_hour"]["hours"]]
    labelled = [*edges[:: max(1, len(edges) // 12)], hours]
    cells.set_xticks([*labelled, 1.1 * hours], [*map(str, labelled), "when\nmeasured"])
    cells.set_xlabel("hours after admission to the unit")
    cells.tick_params(length=0)
    for side in ("left", "bottom"):
        cells.spines[side].set_visible(False)
    _totals(totals, [100 * total for total in ranked["total"]])
    scale = figure.colorbar(
        ScalarMappable(Normalize(-100 * limit, 100 * limit), UP_AND_DOWN), ax=totals, shrink=0.7, pad=0.05
    )
    scale.set_label("risk down   ·   risk up\n(percentage points, per field)", fontsize=8)
    _headings(figure, cells, rows, content, why, left_out)
    return figure


def _cells(axes: Axes, y: int, rows: pl.DataFrame, content: Mapping[str, Any], limit: float) -> None:
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
        axes.add_patch(Rectangle((x, y - 0.46), width, 0.92, facecolor=colour, edgecolor="#DDDDDD", lw=0.4))
        if whole:
            text = f"{row['measured']} h"
        else:
            text = "" if row["value"] is None or blocks > WIDEST else number(row["value"], decimals(row["value"]))
        dark = abs(row["attribution"]) > 0.7 * limit
        axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=7, color="white" if dark else INK)


def _heading(rows: pl.DataFrame) -> str:
    """The row's name; of a static feature with what the stay has."""
    if rows["kind"][0] not in ("static", "in_icu"):
        return feature_words(rows["feature"][0])
    value, category = rows["value"][0], rows["category"][0]
    shown = category if category is not None else "unknown" if value is None else f"{value:.4g}"
    return (
        f"{feature_words(rows['feature'][0])}: {shown}" if category is None else f"{short(rows['feature'][0])}: {shown}"
    )


def _totals(axes: Axes, points: list[float]) -> None:
    axes.barh(range(len(points)), points, 0.7, color=[UP if p > 0 else DOWN for p in points])
    axes.axvline(0, color=INK, lw=0.8)
    reach = 1.1 * max(max(map(abs, points)), 1e-3)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("all hours together\n(percentage points)")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelleft=False)


def _headings(
    figure: Figure, axes: Axes, rows: pl.DataFrame, content: Mapping[str, Any], why: str, left_out: int
) -> None:
    risk, base = 100 * rows["risk"][0], 100 * rows["base_value"][0]
    kind = "SYNTHETIC stay, no patient · " if content["synthetic"] else ""
    lived, died = OUTCOMES.get(content["outcome"], ("", "without the outcome", "with the outcome"))[1:]
    which = "uncalibrated" if content["risk"] == "raw" else "calibrated"
    more = f" · {left_out} rows that moved less are left out" if left_out else ""
    figure.suptitle(
        f"Predicted risk {risk:.1f} % ({which}), {abs(risk - base):.1f} points {'above' if risk >= base else 'below'} "
        f"the average of {base:.1f} %",
        x=0.01, ha="left", fontweight="bold", fontsize=11,
    )  # fmt: skip
    axes.set_title(
        f"{kind}stay {rows['stay_id'][0]}: {why} · {died if rows['label'][0] == 1 else lived}{more}\n"
        "In a field: mean of what was measured in these hours; in an empty one nothing was, and the last value counts on.",
        fontsize=8, fontweight="normal", color=INK,
    )  # fmt: skip
