"""Do risks mean what they say? Shares in ten bins with their counts, and a smooth curve with its band.

Before and after calibration, and in between after the prior correction of undersampled training.

References: Probable inference, the law of succession, and statistical inference (Wilson, 1927), the intervals of single bins.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import binomtest

from icu_lightning.plots.discrimination import square
from icu_lightning.plots.evidence import Array, Evidence, interval_text
from icu_lightning.plots.sheet import BAND, BLUE, DIED, GREEN, LINE, SMALL, SOFT, SURVIVED, VERMILION, Sheet, sheet

BINS = 10
COLUMNS = 50  # of the histogram of risks


class Bins(NamedTuple):
    """Of the bins of equal width that hold any stay: mean risk, share of deaths with its interval, stays."""

    risk: Array
    observed: Array
    low: Array
    high: Array
    n: NDArray[np.intp]


def uniform_bins(label: Array, risk: Array) -> Bins:
    """BINS bins of equal width; a risk on an edge belongs to the lower one, as in scikit-learn's `calibration_curve`."""
    of_stay = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], risk)
    n = np.bincount(of_stay, minlength=BINS)
    some = n > 0
    deaths = np.bincount(of_stay, weights=label, minlength=BINS)[some]
    ends = [binomtest(int(k), int(m)).proportion_ci(method="wilson") for k, m in zip(deaths, n[some], strict=True)]
    low, high = np.array([end.low for end in ends]), np.array([end.high for end in ends])
    mean = np.bincount(of_stay, weights=risk, minlength=BINS)[some] / n[some]
    return Bins(mean, deaths / n[some], low, high, n[some])


@sheet(10, 8, "Calibration in ten bins")
def calibration_curve(page: Sheet, run: Evidence) -> None:
    page.note("Ten bins of equal width; numbers: stays in each. Bars: 95 % (Wilson), each stay taken for independent.")
    shown = kinds(run)
    ax, counts = page.panels(2, 1, above=key_height(shown), height_ratios=[4, 1], hspace=0.12, share="x")
    axes_of_risk(ax, counts, "Stays")
    wide = 0.08 / max(2, len(shown))  # of a bar
    for i, (column, name) in enumerate(shown.items()):
        (colour, mark, _), shift = LOOKS[column], wide * (i - (max(2, len(shown)) - 1) / 2)
        bins = uniform_bins(run.label, getattr(run, column))
        error = np.clip([bins.observed - bins.low, bins.high - bins.observed], 0, None)
        ax.errorbar(bins.risk, bins.observed, error, fmt=mark, color=colour, label=name, linewidth=page.em * 0.09)
        edges = np.linspace(0, 1, BINS + 1)
        heights, _ = np.histogram(getattr(run, column), edges)
        bars = counts.bar(edges[:-1] + 0.05 + shift, heights, wide, color=colour)
        if column == "risk":
            counts.bar_label(bars, [f"{n:,}" if n else "" for n in heights], fontsize=page.em * 0.62, color=colour)
    counts.set_ylim(0, counts.get_ylim()[1] * 1.35)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0))


@sheet(10, 8, "Calibration, smooth")
def calibration_smooth(page: Sheet, run: Evidence) -> None:
    page.note(
        f"Loess; bands: {run.resampled}. Below: stays by calibrated risk, those who died downwards, each to its own scale."
    )
    shown = kinds(run)
    ax, counts = page.panels(2, 1, above=key_height(shown), height_ratios=[3.4, 1], hspace=0.12, share="x")
    axes_of_risk(ax, counts, "Stays")
    for column, name in shown.items():
        colour, _, dash = LOOKS[column]
        curve = run.metrics["calibration_curve"][column]
        at, value, low, high = (floats(curve[side]) for side in ("at", "value", "low", "high"))
        alone = "o" if np.isfinite(value).sum() < 3 else None
        ax.fill_between(at, low, high, color=colour, alpha=BAND, linewidth=0)
        ax.plot(at, value, color=colour, linestyle=dash, marker=alone, label=name)
    edges = np.linspace(0, 1, COLUMNS + 1)
    for died, colour, sign in ((0, SURVIVED, 1), (1, DIED, -1)):
        heights, _ = np.histogram(run.risk[run.label == died], edges)
        counts.bar(edges[:-1], sign * heights / max(1, heights.max()), 1 / COLUMNS, align="edge", color=colour)
    counts.set(yticks=[-0.5, 0.5], ylim=(-1.1, 1.1))
    counts.set_yticklabels(["died", "survived"])
    counts.set_ylabel("")
    counts.axhline(0, color=SOFT, linewidth=page.em * 0.05)
    counts.grid(False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0))


BLOCKS = {"risk": None, "risk_prior": "prior", "risk_raw": "raw"}  # of metrics.json
LOOKS: dict[str, tuple[str, str, Any]] = {  # colour, mark, dash
    "risk": (BLUE, "o", "-"),
    "risk_prior": (GREEN, "^", (0, (1.5, 1.5))),
    "risk_raw": (VERMILION, "s", (0, (5, 2))),
}


def kinds(run: Evidence) -> dict[str, str]:
    """Column -> name with its numbers, of the risks to show: those before a step only where that step changed them."""
    shown = {"risk": "calibrated"}
    if run.risk_prior is not None:
        shown = (
            shown | {"risk_prior": "prior-corrected"} if run.calibrated else {"risk": "prior-corrected, not calibrated"}
        )
    elif not run.calibrated:
        shown = {"risk": "risk, not calibrated"}
    if run.calibrated or run.risk_prior is not None:
        shown |= {"risk_raw": "before"}
    return {column: f"{name}: {summary(run, BLOCKS[column])}" for column, name in shown.items()}


def summary(run: Evidence, block: str | None) -> str:
    slope, ratio = run.cell("calibration_slope", block), run.cell("observed_to_expected", block)
    return f"slope {interval_text(slope, 2)}, O:E {interval_text(ratio, 2)}"


def key_height(shown: Mapping[str, str]) -> float:
    """em above the square for the key, a line each: inside it would lie on the curves."""
    return 1.0 + LINE * SMALL * len(shown)


def axes_of_risk(ax: Axes, counts: Axes, name: str) -> None:
    """The square with its diagonal, and the strip below it that shares its x axis."""
    square(ax, "", "Observed share of deaths")
    ax.plot([0, 1], [0, 1], color=SOFT, linestyle=":", gid="perfect")
    ax.tick_params(labelbottom=False)
    counts.set(xlabel="Predicted risk", ylabel=name)
    counts.locator_params(axis="y", nbins=3)


def floats(points: Any) -> Array:
    return np.array([np.nan if x is None else x for x in points], float)
