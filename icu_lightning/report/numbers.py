"""Numbers as they are printed in a report: a value never without its interval, undefined where it is."""

from collections.abc import Mapping
from typing import Any

from icu_lightning.description.words import number
from icu_lightning.report.blocks import Cell

UNDEFINED = "undefined"
Estimate = Mapping[str, float | None]


def estimate(cell: Estimate | None, digits: int = 3) -> str:
    """
    >>> estimate({"value": 0.8124, "low": 0.79, "high": 0.833}), estimate({"value": -0.02, "low": -0.1, "high": 0.03}, 2)
    ('0.812 (0.790–0.833)', '−0.02 (−0.10 to 0.03)')
    >>> estimate(None), estimate({"value": 0.5, "low": None, "high": None})
    ('undefined', '0.500')
    """
    if not cell or cell["value"] is None:
        return UNDEFINED
    value, low, high = (cell.get(name) for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return number(float(value or 0), digits)
    between = " to " if low < 0 else "–"
    return f"{number(value, digits)} ({number(low, digits)}{between}{number(high, digits)})"


def estimate_cell(cell: Estimate | None, digits: int = 3) -> Cell:
    return Cell(estimate(cell, digits), value_of(cell) if value_of(cell) is not None else "")


def value_of(cell: Any) -> float | None:
    """The value of a metric, None where it is undefined or not there."""
    return cell.get("value") if isinstance(cell, Mapping) else None


def count_cell(n: int) -> Cell:
    return Cell(f"{n:,}", n)


def points(share: float, digits: int = 1) -> str:
    """A difference of risks in percentage points.

    >>> points(0.0337)
    '3.4'
    """
    return number(100 * share, digits)
