"""AUROC when the vasoactive drugs of test stays are charted worse, a panel a kind of damage; from robustness.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from icu_lightning.plots.sheet import BAND, BLUE, INK, Facts, Sheet, sheet


@dataclass(frozen=True, kw_only=True)
class Worse:
    """kinds, titles: as in robustness.json; no kind without rows."""

    kinds: Mapping[str, Any]
    titles: Mapping[str, str]
    facts: Facts


def robustness_figure(worse: Worse) -> Figure:
    """One panel for each kind that was asked for, all on one scale."""
    return two_rows(worse) if len(worse.kinds) > 2 else one_row(worse)


@sheet(14, 13, "When drugs are charted worse")
def two_rows(page: Sheet, worse: Worse) -> None:
    draw(page, worse, rows=2)


@sheet(14, 8, "When drugs are charted worse")
def one_row(page: Sheet, worse: Worse) -> None:
    draw(page, worse, rows=1)


def draw(page: Sheet, worse: Worse, rows: int) -> None:
    page.note(
        "Nothing was trained anew. Areas: 95 % intervals over resamples of patients. Line: AUROC of the stays as charted."
    )
    page.note("A line that falls slowly is a model that does not lean on every hour being charted.")
    panels = page.panels(rows, 2, left=4.2, right=1.2, above=1.4, hspace=0.75, wspace=0.14, share="y")
    for ax in panels[len(worse.kinds) :]:
        ax.remove()
    for i, (ax, (kind, found)) in enumerate(zip(panels, worse.kinds.items(), strict=False)):
        amount = np.array([row["amount"] for row in found])
        value, low, high = (np.array([row["auroc"][side] for row in found]) for side in ("value", "low", "high"))
        ax.fill_between(amount, low, high, color=BLUE, alpha=BAND, linewidth=0)
        ax.plot(amount, value, color=BLUE, marker="o")
        if len(untouched := value[amount == 0]):
            ax.axhline(untouched[0], color=INK, linewidth=0.06 * page.em, linestyle=(0, (3, 2)))
        ax.set_title(worse.titles[kind])
        ax.set_xticks(amount)
        if (amount > 1).any():
            ax.set_xlabel("Hours, at most")
        else:
            ax.set_xlabel("Share of the hours in the unit")
            ax.xaxis.set_major_formatter(PercentFormatter(1))
        if i % 2 == 0:
            ax.set_ylabel("AUROC")
