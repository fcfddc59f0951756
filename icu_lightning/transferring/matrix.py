"""Transfers of each database to each as one table, one heat map and one page, from their transfer.json alone."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from icu_lightning.templates import rendered
from icu_lightning.transferring import tables
from icu_lightning.transferring.figures import SETTINGS
from icu_lightning.transferring.page import source

SHOWN = {"auroc": "AUROC", "observed_to_expected": "Observed / expected deaths"}
MENDED = "slope and intercept"  # the recalibration that the page shows beside "as it came"
FEW = 100  # stays of either outcome: below, values cannot be told apart


@dataclass(frozen=True, kw_only=True)
class Cell:
    """home, target: databases by their names in conf. stored: the content of transfer.json."""

    home: str
    target: str
    stored: Mapping[str, Any]

    @property
    def mended(self) -> Mapping[str, Any] | None:
        """Slope and intercept after the most stays."""
        own = [one for one in self.stored["after"] if one["method"] == MENDED]
        return max(own, key=lambda one: one["k"], default=None)

    @property
    def few(self) -> bool:
        before = self.stored["before"]
        return min(before["events"], before["n"] - before["events"]) < FEW

    @property
    def facts(self) -> dict[str, Any]:
        """A cell of matrix.json."""
        before, mended = self.stored["before"], self.mended
        return {
            "trained_on": self.home,
            "target": self.target,
            **{name: self.stored[name] for name in ("external", "kind", "marks", "outcome", "left_out_as_seen")},
            "model": self.stored["facts"]["Model"],
            **{name: before[name] for name in ("n", "patients", "events")},
            "before": {name: before.get(name) for name in tables.METRICS},
            "recalibrated": mended
            and {
                "method": MENDED,
                "k": mended["k"],
                "metrics": {name: mended["metrics"].get(name) for name in tables.METRICS},
            },
        }


def rows(databases: Sequence[str], cells: Sequence[Cell], metric: str) -> tuple[list[str], list[list[str]]]:
    """Heading and a row a model: the metric on each database, with its interval, and what it is if it is not external."""
    at = {(one.home, one.target): one for one in cells}
    head = ["trained on", *(f"on {name}" for name in databases)]
    body = [[home, *(_text(at[home, target], metric) for target in databases)] for home in databases]
    return head, body


def remarks(cells: Sequence[Cell]) -> list[str]:
    """Every mark once, those of the diagonal together, and how few the deaths are."""
    said = list(dict.fromkeys(mark for one in cells if one.home != one.target for mark in one.stored["marks"]))
    own = [one.home for one in cells if one.home == one.target]
    said.insert(0, f"NOT EXTERNAL: {', '.join(own)} each on itself; only stays of its own test patients judge.")
    if few := [one for one in cells if one.few]:
        said.append(
            f"In {len(few)} of {len(cells)} cells fewer than {FEW} stays of either outcome judge: too few to rank anything by."
        )
    return said


def heat_map(databases: Sequence[str], cells: Sequence[Cell]) -> str:
    """SVG: AUROC and O:E of each model (row) on each database (column); hatched is what is not external."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(2.4 + 3.4 * len(databases), 1.4 + 1.0 * len(databases)), layout="constrained")
        left, right = figure.subplots(1, 2)
        _panel(left, databases, cells, "auroc")
        _panel(right, databases, cells, "observed_to_expected")
        note = "Hatched: not external, or patients in common, or SYNTHETIC (the word is in the cell)."
        figure.supxlabel(note, fontsize=7, x=0.01, ha="left")
        file = io.StringIO()
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def page(databases: Sequence[str], cells: Sequence[Cell], drawn: str, made: Mapping[str, str]) -> str:
    """The page as HTML text."""
    return rendered(
        Path(__file__).parent,
        "matrix.html",
        databases=databases,
        cells=cells,
        metrics=tables.METRICS,
        number=tables.number,
        matrices=[(title, *rows(databases, cells, metric)) for metric, title in SHOWN.items()],
        remarks=remarks(cells),
        figure=source(drawn),
        mended=MENDED,
        made=made,
    )


def _text(one: Cell, metric: str) -> str:
    kind = "" if one.stored["external"] else f", {one.stored['kind']}"
    return tables.number(one.stored["before"].get(metric)) + kind


def _panel(axes: Axes, databases: Sequence[str], cells: Sequence[Cell], metric: str) -> None:
    """A square a cell; colours run from chance to 1 for AUROC, and from a third to three times for O:E, on a logarithm."""
    colours = matplotlib.colormaps["viridis" if metric == "auroc" else "RdBu_r"]
    for one in cells:
        x, y = databases.index(one.target), databases.index(one.home)
        value = (one.stored["before"].get(metric) or {}).get("value")
        place = _place(metric, value)
        colour = "#eeeeee" if place is None else colours(place)
        hatch = None if one.stored["external"] else "////"
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="#bbbbbb", hatch=hatch, linewidth=0.5))
        lines = tables.number(one.stored["before"].get(metric)).replace(" (", "\n(")
        words = f"{lines}\n{one.stored['before']['n']:,} stays, {one.stored['before']['events']:,} deaths"
        words += "" if one.stored["external"] else f"\n{one.stored['kind']}"
        box = {"facecolor": "#ffffff", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
        axes.text(x + 0.5, y + 0.5, words, ha="center", va="center", fontsize=7, bbox=box)
    ticks = np.arange(len(databases)) + 0.5
    axes.set_xticks(ticks, databases)
    axes.set_yticks(ticks, databases)
    axes.set(xlim=(0, len(databases)), ylim=(len(databases), 0), xlabel="applied to", ylabel="trained on")
    axes.set_title(SHOWN[metric])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _place(metric: str, value: float | None) -> float | None:
    """Where in [0, 1] of the colours a value is; None where it is undefined."""
    if value is None:
        return None
    place = (value - 0.5) / 0.5 if metric == "auroc" else 0.5 + math.log(max(value, 1e-3)) / (2 * math.log(3))
    return min(max(place, 0.0), 1.0)
