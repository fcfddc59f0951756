"""Small cells are not shown: a number about a handful of stays may point at a person, and pages are passed on.

A count of 1 to `smallest` - 1 stays is shown as "<5" (for 5), and what would give it away by one subtraction goes with it:
the other groups of its row, whose total is shown, and one more row if its own is the only one hidden of its column.
This is the primary and secondary suppression of statistical disclosure control, at row level.

References: Handbook on Statistical Disclosure Control (Hundepool et al., 2010), chapter 4.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WITHHELD = "not shown"


def is_small(count: int, smallest: int) -> bool:
    """True for a count that may point at a person; nobody is not small.

    >>> [is_small(n, 5) for n in (0, 1, 4, 5)]
    [False, True, True, False]
    """
    return 0 < count < smallest


def hidden_rows(counts: NDArray[np.int64], sensitive: Sequence[bool], smallest: int) -> NDArray[np.bool_]:
    """Which rows of a breakdown show no group's count, only their total.

    Arguments:
        counts: (L, G) stays of each level and group; the sums of rows and columns are known to the reader.
        sensitive: (L,) False for a level that says nothing about a person ("not recorded"); hidden only to protect another.

    Returns: (L,). A breakdown of one level repeats the groups' sizes, which are known: nothing is hidden.

    >>> hidden_rows(np.array([[40, 2], [90, 30], [60, 20]]), [True, True, True], 5).tolist()
    [True, False, True]
    """
    small = ((counts > 0) & (counts < smallest)).any(axis=1) & np.array(sensitive)
    if small.sum() == 1 and len(counts) > 1:
        others = np.flatnonzero(~small).tolist()
        small[min(others, key=lambda level: (not sensitive[level], counts[level].sum()))] = True
    return small if len(counts) > 1 else np.zeros_like(small)


def together(totals: dict[str, int], smallest: int, most: int) -> list[list[str]]:
    """Category names as levels: each on its own, the rare ones together in the last.

    Together are those of fewer than `smallest` stays and those beyond the `most` frequent; if they are still fewer than
    `smallest`, the next rarest joins them. A single name beyond `most` stays on its own.

    >>> together({"a": 90, "b": 40, "c": 3, "d": 1}, smallest=5, most=8)
    [['a'], ['b', 'c', 'd']]
    """
    names = sorted(totals, key=lambda name: (-totals[name], name))
    shown = [name for name in names[:most] if totals[name] >= smallest]
    rest = names[len(shown) :]
    while shown and rest and sum(totals[name] for name in rest) < smallest:
        rest = [shown.pop(), *rest]
    return [[name] for name in shown] + ([rest] if rest else [])
