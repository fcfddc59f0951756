"""The attrition table as a flow chart: who was left after each filter, and what each took away. SVG, from the very table.

After the flow diagram of STROBE (von Elm et al., 2007): boxes of those left, side boxes of those left out. Filters that took
fewer stays than may be shown are put together with their neighbours. Light or dark as the viewer is; no font from elsewhere.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

from icu_lightning.description.small_cells import WITHHELD, is_small
from icu_lightning.description.templates import rendered
from icu_lightning.description.words import filter_words

WIDTH, BOX, SIDE = 640, 270, 300  # of the chart, of a box, of a side box
LINE, PADDING, GAP = 19, 11, 22  # height of a line, space in a box, least space between boxes
LETTERS = 38  # that fit into a line of a side box


@dataclass(frozen=True)
class Step:
    """One filter, or several that are told together: their words, who they took away, and who was left.

    stays_out, deaths_out: "<5" where so few. deaths: None where it would tell a small `deaths_out` by subtraction.
    """

    criteria: tuple[str, ...]
    stays_out: str
    deaths_out: str
    stays: int
    patients: int
    deaths: int | None

    @property
    def left(self) -> str:
        deaths = f"deaths {WITHHELD}" if self.deaths is None else counted(self.deaths, "death")
        return f"{counted(self.stays, 'stay')}, {counted(self.patients, 'patient')}, {deaths}"

    @property
    def out(self) -> str:
        if self.stays_out == "0":
            return "nobody left out"
        deaths = f"deaths {WITHHELD}" if self.deaths_out == WITHHELD else plural(self.deaths_out, "death")
        return f"{plural(self.stays_out, 'stay')} left out ({deaths})"


@dataclass(frozen=True)
class Box:
    """Lines of text in a frame whose upper left corner is at (x, y)."""

    x: int
    y: int
    width: int
    lines: tuple[str, ...]

    @property
    def height(self) -> int:
        return 2 * PADDING + LINE * len(self.lines)

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def middle(self) -> int:
        return self.y + self.height // 2


def flow_chart(attrition: pl.DataFrame, title: str, smallest: int = 1) -> str:
    """The chart as SVG text.

    Arguments:
        attrition: as `cohort.select_cohort` returns it: a row for all stays, then one a filter, in order; other columns are
            not used.
        title: what the picture is called by a screen reader.
        smallest: no number of stays or deaths left out between 1 and smallest - 1 is told, nor follows by subtraction.

    A filter that takes nobody away has a side box, and no box below it.
    """
    told = steps(attrition, smallest)
    boxes, sides = _boxes(told)
    return rendered(
        "flow_chart.svg",
        title=title,
        description=described(told),
        width=WIDTH,
        height=boxes[-1].bottom + 2,
        boxes=boxes,
        sides=sides,
        arrows=list(pairwise(boxes)),
        centre=boxes[0].x + BOX // 2,
        line=LINE,
        padding=PADDING,
    )


def steps(attrition: pl.DataFrame, smallest: int) -> list[Step]:
    """What the chart says, from top to bottom; the first step is that of all stays, or of all stays but a few."""
    rows = attrition.to_dicts()
    shown = _far_apart([row["stays"] for row in rows], smallest)
    deaths_shown = {shown[i] for i in _far_apart([rows[i]["deaths"] for i in shown], smallest)}
    return [
        _step(rows[before : row + 1], before in deaths_shown, row in deaths_shown, smallest)
        for before, row in pairwise([0, *shown])
    ]


def _step(rows: list[dict[str, Any]], deaths_before: bool, deaths_after: bool, smallest: int) -> Step:
    """One step from rows of the attrition table: the row told before, then those that are told together."""
    first, last = rows[0], rows[-1]
    deaths_out = _told(first["deaths"] - last["deaths"], smallest)
    if not (deaths_before and deaths_after) and not deaths_out.startswith("<"):
        deaths_out = WITHHELD
    return Step(
        criteria=tuple(filter_words(row["filter"]) for row in rows[1:] or rows),
        stays_out=_told(first["stays"] - last["stays"], smallest),
        deaths_out=deaths_out,
        stays=last["stays"],
        patients=last["patients"],
        deaths=last["deaths"] if deaths_after else None,
    )


def described(told: Sequence[Step]) -> str:
    """The chart in a sentence a step, for those who cannot see it."""
    return " ".join(
        f"{'; '.join(step.criteria).capitalize()}: {step.left}."
        if step is told[0]
        else f"{'; '.join(step.criteria).capitalize()}: {step.out}; left: {step.left}."
        for step in told
    )


def counted(n: int, noun: str) -> str:
    return plural(f"{n:,}", noun)


def plural(number: str, noun: str) -> str:
    """
    >>> plural("1", "stay"), plural("<5", "death")
    ('1 stay', '<5 deaths')
    """
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"


def _far_apart(falling: Sequence[int], smallest: int) -> list[int]:
    """Which of falling numbers may be told, so that neighbours are equal or differ by at least `smallest`.

    The last always is, the first unless it differs from the last by less.

    >>> _far_apart([2520, 2516, 2515, 2417, 2417], 5), _far_apart([140, 137, 114, 112], 5), _far_apart([140, 137], 5)
    ([0, 2, 3, 4], [0, 3], [1])
    """
    kept = [0]
    for i in range(1, len(falling)):
        if not is_small(falling[kept[-1]] - falling[i], smallest):
            kept.append(i)
    last = len(falling) - 1
    while kept and is_small(falling[kept[-1]] - falling[last], smallest):
        kept.pop()
    return kept if kept and kept[-1] == last else [*kept, last]


def _told(n: int, smallest: int) -> str:
    return f"<{smallest}" if is_small(n, smallest) else f"{n:,}"


def _boxes(told: Sequence[Step]) -> tuple[list[Box], list[Box]]:
    """Boxes of those left, and side boxes of the filters, from top to bottom."""
    first = told[0]
    if first.stays_out == "0":
        boxes = [_left(first, 1, first.criteria[0])]
    else:
        boxes = [_left(first, 1, f"All stays but {first.stays_out}", f"without: {'; '.join(first.criteria)}")]
    sides: list[Box] = []
    y = boxes[0].bottom + GAP
    for step in told[1:]:
        side = Box(WIDTH - SIDE - 1, y, SIDE, (step.out, *_criteria_lines(step)))
        sides.append(side)
        y = side.bottom + GAP
        if step is told[-1] or step.stays_out != "0":
            boxes.append(_left(step, y, "Cohort" if step is told[-1] else "Left"))
            y = boxes[-1].bottom + GAP
    return boxes, sides


def _criteria_lines(step: Step) -> list[str]:
    word = "criterion" if len(step.criteria) == 1 else "criteria"
    return textwrap.wrap(f"{word}: {'; '.join(step.criteria)}", LETTERS)


def _left(step: Step, y: int, title: str, more: str = "") -> Box:
    stays, rest = step.left.split(", ", 1)
    return Box(1, y, BOX, (title, *textwrap.wrap(more, LETTERS - 4), stays, rest))
