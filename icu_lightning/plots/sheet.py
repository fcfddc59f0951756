"""One look for every figure: a sheet with a heading, the facts below it, and SYNTHETIC across the top where stays are made up.

Lengths are in em, a 36th of the sheet's width, and letters are one em or somewhat less: so a figure that is scaled to a phone's
width has letters of about ten pixels, whatever its size in inches. Colours are those of Okabe & Ito (2008), darkened until each
can be read as text on white; a dash or a mark says the same without colour. pyplot and its global state are never used.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#c44e00", "#007d5a", "#a8487e"
INK, SOFT, RULE, WARN, WARN_EDGE = "#1c2733", "#56616b", "#d5dbe1", "#fff1d6", "#b26a00"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, INK, "#8a6200", "#2c79a8", "#6d6d6d")
STROKES = ((5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (9, 2), (3, 1.5), (1, 2.5), (5, 1, 1, 1, 1, 1))
DASHES: tuple[Any, ...] = ("-", *((0, strokes) for strokes in STROKES))
MARKS = "osD^vPX*"
SURVIVED, DIED = BLUE, VERMILION  # as in the pages of `describe`
BAND = 0.18  # opacity of an interval's area
ACROSS = 36  # em, the width of every sheet
LINE = 1.3  # em between lines of text
SMALL = 0.86  # em: legends, ticks, notes
PER_LINE = 80  # small letters on a line


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What every figure states beside its title. about: model, data, split, n and events, in one sentence."""

    about: str
    synthetic: bool


class Sheet:
    """A figure with its heading, and room for panels below it.

    Arguments:
        width, height: inches.
        title: the heading.
        facts: below the heading.
    """

    def __init__(self, *, width: float, height: float, title: str, facts: Facts) -> None:
        self.figure = Figure(figsize=(width, height), facecolor="white")
        self.figure.set_label(title)
        self.width, self.title, self.facts = width, title, facts
        self.em = width * 72 / ACROSS  # points
        self.foot: list[str] = []

    @property
    def tall(self) -> float:
        """Height in em."""
        return float(self.figure.get_figheight()) * 72 / self.em

    def resize(self, tall: float) -> None:
        """Another height, in em; before any panel."""
        self.figure.set_figheight(tall * self.em / 72)

    def fit(self, panels: float, *, above: float = 0.8, below: float = 3.2) -> None:
        """The height at which the panels, with these margins, are so many em high together; before any panel, after all notes."""
        self.resize(panels + self._above(above) + self._below(below))

    def note(self, text: str) -> None:
        """A sentence at the foot; before any panel."""
        self.foot += textwrap.wrap(text, PER_LINE + 4)

    def panels(
        self,
        rows: int = 1,
        columns: int = 1,
        *,
        left: float = 4.2,
        right: float = 1.0,
        above: float = 0.8,
        below: float = 3.2,
        share: str = "",
        **how: Any,
    ) -> list[Axes]:
        """A grid below the heading and above the foot, row by row.

        Arguments:
            left, right, above, below: margins in em.
            share: "x" or "y", the axis that all have in common.
            how: as GridSpec takes it.
        """
        grid = self.figure.add_gridspec(
            rows,
            columns,
            left=left / ACROSS,
            right=1 - right / ACROSS,
            bottom=self._below(below) / self.tall,
            top=1 - self._above(above) / self.tall,
            **how,
        )
        return list(np.ravel(grid.subplots(sharex=share == "x", sharey=share == "y")))  # type: ignore[arg-type]

    def _above(self, margin: float) -> float:
        lines = textwrap.wrap(self.facts.about, PER_LINE)
        return margin + 2.4 * self.facts.synthetic + 2.1 + LINE * SMALL * len(lines)

    def _below(self, margin: float) -> float:
        return margin + LINE * SMALL * len(self.foot)

    def finish(self) -> Figure:
        """Write heading, facts and foot."""
        y = self.tall
        if self.facts.synthetic:
            y -= 2.4
            strip = Rectangle((0, y / self.tall), 1, 2.4 / self.tall, facecolor=WARN, edgecolor="none")
            self.figure.add_artist(strip)
            self._text(y + 0.72, "SYNTHETIC STAYS, NO PATIENTS", 1.45, weight="bold", color="#7a4600")
        self._text(y - 1.7, self.title, 1.2, weight="bold")
        for i, line in enumerate(textwrap.wrap(self.facts.about, PER_LINE)):
            self._text(y - 1.7 - LINE * SMALL * (i + 1) - 0.15, line, SMALL, color=SOFT)
        for i, line in enumerate(reversed(self.foot)):
            self._text(0.5 + LINE * SMALL * i, line, SMALL * 0.94, color=SOFT)
        return self.figure

    def _text(self, y: float, text: str, size: float, **how: Any) -> None:
        self.figure.text(0.7 / ACROSS, y / self.tall, text, fontsize=size * self.em, **{"color": INK, **how})


def sheet(width: float, height: float, title: str) -> Callable[[Callable[[Sheet, Any], None]], Callable[[Any], Figure]]:
    """A drawing (Sheet, subject) as a function subject -> Figure, of that size in inches, in this module's look.

    A subject has `facts`.
    """

    def of(draw: Callable[[Sheet, Any], None]) -> Callable[[Any], Figure]:
        @wraps(draw)
        def drawn(subject: Any) -> Figure:
            with matplotlib.rc_context(look(width)):
                made = Sheet(width=width, height=height, title=title, facts=subject.facts)
                draw(made, subject)
                return made.finish()

        return drawn

    return of


def look(width: float) -> Any:
    """matplotlib's settings for a sheet of so many inches, by their names there."""
    em = width * 72 / ACROSS
    return {
        "font.family": ["DejaVu Sans"],  # comes with matplotlib, so letters are as wide on every machine
        "font.size": SMALL * em,
        "text.color": INK,
        "axes.labelsize": 0.95 * em,
        "axes.labelcolor": INK,
        "axes.edgecolor": SOFT,
        "axes.linewidth": 0.05 * em,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.labelpad": 0.3 * em,
        "axes.titlesize": 0.95 * em,
        "axes.titlelocation": "left",
        "axes.unicode_minus": True,
        "grid.color": RULE,
        "grid.linewidth": 0.03 * em,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.major.size": 0.2 * em,
        "ytick.major.size": 0.2 * em,
        "xtick.major.width": 0.05 * em,
        "ytick.major.width": 0.05 * em,
        "lines.linewidth": 0.14 * em,
        "lines.markersize": 0.45 * em,
        "legend.frameon": True,
        "legend.framealpha": 0.88,
        "legend.edgecolor": "none",
        "legend.fontsize": SMALL * em,
        "legend.handlelength": 1.6,
        "legend.borderaxespad": 0.2,
        "svg.fonttype": "none",
        "path.simplify": True,
    }


def sentence(ax: Axes, text: str) -> None:
    """In the place of a curve that does not exist."""
    ax.text(
        0.5, 0.5, textwrap.fill(text, 34), transform=ax.transAxes, ha="center", va="center", color=INK, gid="sentence",
        bbox={"facecolor": WARN, "edgecolor": "none", "pad": 8},
    )  # fmt: skip


def threshold_marks(ax: Axes, thresholds: Sequence[float]) -> None:
    """A line where stays are flagged, or one for each of a cross-validation's thresholds."""
    for i, threshold in enumerate(thresholds):
        several = f"thresholds of the folds, {thresholds[0]:.3f}–{thresholds[-1]:.3f}"
        name = f"threshold {threshold:.3f}" if len(thresholds) == 1 else several
        ax.axvline(threshold, color=INK, linestyle=(0, (3, 2)), label=name if i == 0 else None, gid="threshold")
