"""Heat map of what was measured when, and distributions by outcome, as SVG that takes its colours from the page.

Colours: one hue from light to dark for shares; blue and vermilion of Okabe & Ito (2008) for the two outcomes, which differ
in lightness and in line style too, so that nothing hangs on colour alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icu_lightning.data.concepts import Concept
from icu_lightning.description.groups import Group
from icu_lightning.description.measurement import Measured
from icu_lightning.description.small_cells import is_small
from icu_lightning.description.templates import rendered
from icu_lightning.description.words import named, number, percent

SHADES = 10  # of the heat map, each a tenth of the stays
BINS = 24  # of a distribution, before rare ones are joined
LIMITS = (1, 99)  # percentiles that a distribution's axis covers,
FENCE = 3  # but never more than so many interquartile ranges beyond the quartiles
CELL_HEIGHT, LABEL_WIDTH, MAP_WIDTH = 20, 260, 920  # pixels; the labels stand left of the map
MARGIN = 12  # right of it, for half of the last tick's label
PLOT = (300, 120)  # width and height of the area of a distribution


# ---- heat map ---------------------------------------------------------------------------------------------------------


def heat_map(table: Sequence[Measured], block: int, n_stays: int, hours: int, smallest: int) -> str:
    """Share of stays with a value: a row a variable, a column an hour (or block of hours).

    Arguments:
        table, block: of `measurement.measured`. n_stays, hours: B and T.
        smallest: cells of 1 to smallest - 1 stays have a colour of their own.
    """
    columns = len(table[0].by_block)
    width = (MAP_WIDTH - LABEL_WIDTH) / columns
    every = next(step for step in (1, 2, 3, 4, 6, 12, 24, 48, 96, 168, 10**9) if step >= 24 / width * block)
    return rendered(
        "heat_map.svg",
        width=MAP_WIDTH + MARGIN,
        height=CELL_HEIGHT * len(table) + 42,
        bottom=CELL_HEIGHT * len(table),
        left=LABEL_WIDTH,
        right=MAP_WIDTH,
        labels=[(CELL_HEIGHT * v + 14, row.concept.label) for v, row in enumerate(table)],
        ticks=[(LABEL_WIDTH + hour / block * width, hour) for hour in range(0, hours + 1, every)],
        shades=_shades(table, n_stays, smallest, width),
        hours=hours,
    )


def shade(n: int, n_stays: int, smallest: int) -> str:
    """The class of a cell: 'none', 'few' (too few stays to say), or the tenth of the stays, '1' (up to 10 %) to '10'.

    >>> [shade(n, 1000, 5) for n in (0, 4, 5, 100, 101, 1000)]
    ['none', 'few', '1', '1', '2', '10']
    """
    if n == 0:
        return "none"
    return "few" if is_small(n, smallest) else str(math.ceil(n * SHADES / n_stays))


def _shades(table: Sequence[Measured], n_stays: int, smallest: int, width: float) -> dict[str, str]:
    """Class -> path of all its cells: a path a shade keeps the page small."""
    paths: dict[str, str] = {}
    for v, row in enumerate(table):
        for column, n in enumerate(row.by_block):
            cell = f"M{LABEL_WIDTH + column * width:.1f} {v * CELL_HEIGHT}h{width:.1f}v{CELL_HEIGHT - 1}h-{width:.1f}z"
            name = shade(n, n_stays, smallest)
            paths[name] = paths.get(name, "") + cell
    return paths


# ---- distributions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distribution:
    """A drawn distribution, and a note where something could not be drawn."""

    title: str
    svg: str
    note: str


def distribution(concept: Concept, means: NDArray[np.float64], groups: Sequence[Group], smallest: int) -> Distribution:
    """Density of the stays' means, a line a group of `groups` (survivors, then the dead).

    Arguments:
        means: (B,) NaN for a stay without the variable.

    The axis is that of `limits`, rounded outwards to its ticks. Neighbouring bins are joined
    until each has `smallest` stays of the group; a group with fewer in sight is not drawn, and the note says so. Where
    all stays have one value, nothing is drawn.
    """
    title = named(concept)
    everyone = means[np.isfinite(means)]
    if len(everyone) < max(smallest, 1):
        return Distribution(
            title, "", "no stay has a value" if not len(everyone) else f"fewer than {smallest} stays have a value"
        )
    if everyone.min() == everyone.max():
        return Distribution(title, "", f"{everyone[0]:g} in every stay that has a value")
    ticks = nice_ticks(*limits(everyone))
    edges = np.linspace(ticks[0], ticks[-1], BINS + 1)
    curves, absent = [], []
    for group in groups:
        x = means[group.rows & np.isfinite(means)]
        bins = joined_bins(x, edges, smallest)
        (curves.append((group.name, bins)) if bins else absent.append(group.name))
    notes = [f"{name.lower()}: too few stays with a value to draw" for name in absent]
    beyond = int(((everyone < ticks[0]) | (everyone > ticks[-1])).sum())
    if beyond and not is_small(beyond, smallest):
        notes.append(f"{percent(beyond, len(everyone))} of stays beyond the axis")
    svg = _curves_svg(title, ticks, curves, [group.name for group in groups]) if curves else ""
    return Distribution(title, svg, "; ".join(notes))


def limits(x: NDArray[np.float64]) -> tuple[float, float]:
    """The 1st and 99th percentile, if they are within three interquartile ranges of the quartiles, else that far.

    So that a few transaminases of 5,000 leave something to see of the others.
    """
    low, first, third, high = np.percentile(x, [LIMITS[0], 25, 75, LIMITS[1]])
    reach = FENCE * (third - first)
    return (max(low, first - reach), min(high, third + reach)) if reach > 0 else (low, high)


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers at equal steps of 1, 2 or 5 times a power of ten, the first at or below `low`, the last at or above `high`.

    >>> nice_ticks(61.3, 118.2), nice_ticks(7.0, 7.0)
    ([60.0, 80.0, 100.0, 120.0], [6.0, 7.0, 8.0])
    """
    if high <= low:
        margin = max(abs(low) * 0.1, 0.5)
        return nice_ticks(low - margin, high + margin, 2)
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def joined_bins(x: NDArray[np.float64], edges: NDArray[np.float64], least: int) -> list[tuple[float, float, float]]:
    """(left, right, density) of bins that are empty or hold at least `least` of the numbers; [] if there are too few.

    Neighbours are joined from the left; what is left over at the right end joins the last bin that holds any. The densities
    integrate to the share of `x` inside the edges.

    >>> joined_bins(np.array([0.5, 0.6, 1.5, 3.5]), np.arange(5.0), least=2)
    [(0.0, 1.0, 0.5), (1.0, 4.0, 0.16666666666666666)]
    """
    counts, _ = np.histogram(x, edges)
    bins: list[list[float]] = []  # left, right, count
    open_bin = False
    for n, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if open_bin:
            bins[-1] = [bins[-1][0], right, bins[-1][2] + n]
        else:
            bins.append([left, right, n])
        open_bin = 0 < bins[-1][2] < least
    if open_bin:
        left, right, n = bins.pop()
        while bins and bins[-1][2] == 0:
            left = bins.pop()[0]
        if not bins:
            return []
        bins[-1] = [bins[-1][0], right, bins[-1][2] + n]
    if not any(n for _, _, n in bins):
        return []
    return [(left, right, n / len(x) / (right - left)) for left, right, n in bins]


def _curves_svg(
    title: str,
    ticks: Sequence[float],
    curves: Sequence[tuple[str, list[tuple[float, float, float]]]],
    names: Sequence[str],
) -> str:
    width, height = PLOT
    highest = max(density for _, bins in curves for _, _, density in bins)
    scale = width / (ticks[-1] - ticks[0])
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))

    def outline(bins: list[tuple[float, float, float]]) -> str:
        steps = [f"V{height * (1 - d / highest):.1f}H{(right - ticks[0]) * scale:.1f}" for _, right, d in bins]
        return f"M0 {height}{''.join(steps)}V{height}"

    return rendered(
        "distribution.svg",
        title=title,
        names=[name for name, _ in curves],
        limits=(number(ticks[0], digits), number(ticks[-1], digits)),
        width=width,
        height=height,
        curves=[(names.index(name), outline(bins)) for name, bins in curves],
        ticks=[((tick - ticks[0]) * scale, number(tick, digits)) for tick in ticks],
    )
