"""A stay's series and its risk as small SVG that takes its colours from the page."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icu_lightning.description.figures import nice_ticks
from icu_lightning.description.words import number
from icu_lightning.examination.cases import Band
from icu_lightning.templates import rendered

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 300, 96  # pixels of the plotted area of a series
RISK_WIDTH, RISK_HEIGHT = 420, 170
Array = NDArray[np.float64]
Scale = Callable[[float], float]


def series_svg(title: str, values: Array, usual: tuple[float, float] | None, imputed: Band | None) -> str:
    """Measured values as dots, joined where one hour follows the other; hours without one are marked below the axis.

    Arguments:
        values: (T) NaN where not measured. usual: limits of a band behind them. imputed: (T) shown in hours without a value.
    """
    missing = ~np.isfinite(values)
    shown = None if imputed is None else [np.where(missing, part, np.nan) for part in vars(imputed).values()]
    everything = np.concatenate([values, *(shown or []), np.array(usual or [])])
    ticks = nice_ticks(float(np.nanmin(everything)), float(np.nanmax(everything)), 3)
    x, y = _scales(len(values), ticks, WIDTH, HEIGHT)
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return rendered(
        FOLDER,
        "series.svg",
        title=title,
        width=WIDTH,
        height=HEIGHT,
        x_ticks=_hour_ticks(len(values), WIDTH, 5),
        y_ticks=[(y(tick), number(tick, digits)) for tick in ticks],
        usual=None if usual is None else (y(usual[1]), y(usual[0]) - y(usual[1])),
        line=_path(values, x, y),
        dots=[(x(t), y(v)) for t, v in enumerate(values.tolist()) if math.isfinite(v)],
        missing=_marks(missing),
        band="" if shown is None else _area(shown[0], shown[2], x, y),
        filled="" if shown is None else _path(shown[1], x, y),
    )


def risk_svg(title: str, risk: Array, spread: Band | None, threshold: float) -> str:
    """The risk after each hour, from 0, with the threshold and the spread of the model's draws."""
    high = [risk] if spread is None else [risk, spread.high]
    ticks = nice_ticks(0.0, min(1.0, max(float(np.max(high)), threshold) * 1.1), 4)
    x, y = _scales(len(risk), ticks, RISK_WIDTH, RISK_HEIGHT)
    digits = 0 if ticks[1] - ticks[0] >= 0.01 else 1

    def end(t: float) -> float:  # what is known after hour t is drawn where that hour ends
        return x(t) + RISK_WIDTH / len(risk) / 2

    return rendered(
        FOLDER,
        "risk.svg",
        title=title,
        width=RISK_WIDTH,
        height=RISK_HEIGHT,
        x_ticks=_hour_ticks(len(risk), RISK_WIDTH, 9),
        y_ticks=[(y(tick), f"{100 * tick:.{digits}f}%") for tick in ticks],
        threshold=y(threshold),
        band="" if spread is None else _area(spread.low, spread.high, end, y),
        line=_path(risk, end, y),
        last=(end(len(risk) - 1), y(float(risk[-1]))),
    )


def _scales(hours: int, ticks: Sequence[float], width: int, height: int) -> tuple[Scale, Scale]:
    """Hour t -> x of its middle; value -> y."""

    def x(t: float) -> float:
        return (t + 0.5) * width / hours

    def y(value: float) -> float:
        return height * (1 - (value - ticks[0]) / (ticks[-1] - ticks[0]))

    return x, y


def _hour_ticks(hours: int, width: int, most: int) -> list[tuple[float, int]]:
    every = next(step for step in (1, 2, 3, 4, 6, 12, 24, 48, 96, 168, 10**9) if hours / step < most)
    return [(hour * width / hours, hour) for hour in range(0, hours + 1, every)]


def _runs(values: Array) -> list[list[int]]:
    """Neighbouring hours with a value.

    >>> _runs(np.array([np.nan, 1.0, 2.0, np.nan, 3.0]))
    [[1, 2], [4]]
    """
    hours = np.flatnonzero(np.isfinite(values))
    return [run.tolist() for run in np.split(hours, np.flatnonzero(np.diff(hours) > 1) + 1) if run.size]


def _path(values: Array, x: Scale, y: Scale) -> str:
    """A line through each run of hours with a value."""
    return "".join("M" + "L".join(f"{x(t):.1f} {y(float(values[t])):.1f}" for t in run) for run in _runs(values))


def _area(low: Array, high: Array, x: Scale, y: Scale) -> str:
    """Between two lines, over each run of hours; half an hour wide over a single one."""
    half = (x(1) - x(0)) / 4
    areas = []
    for run in _runs(low):
        hours = run if len(run) > 1 else [run[0], run[0]]
        across = [x(t) for t in hours] if len(run) > 1 else [x(run[0]) - half, x(run[0]) + half]
        top = [(a, y(float(high[t]))) for a, t in zip(across, hours, strict=True)]
        bottom = [(a, y(float(low[t]))) for a, t in zip(across, hours, strict=True)]
        areas.append("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in (*top, *reversed(bottom))) + "Z")
    return "".join(areas)


def _marks(missing: NDArray[np.bool_]) -> str:
    """A dash below the axis for each hour without a value."""
    wide = WIDTH / len(missing)
    return "".join(f"M{(t + 0.1) * wide:.1f} {HEIGHT + 4}h{0.8 * wide:.1f}" for t in np.flatnonzero(missing))
