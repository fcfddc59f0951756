"""Do risks mean what they say? Shares in ten bins with their counts, and a smooth curve with its band; before and after calibration.

References: Probable inference, the law of succession, and statistical inference (Wilson, 1927), the intervals of single bins.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import binomtest

from icu_lightning.plots.discrimination import square
from icu_lightning.plots.evidence import Array, Evidence, interval_text
from icu_lightning.plots.sheet import BAND, BLUE, DIED, SOFT, SURVIVED, VERMILION, Sheet, sheet

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
    ax, counts = page.panels(2, 1, height_ratios=[4, 1], hspace=0.12, share="x")
    axes_of_risk(ax, counts, "Stays")
    for (column, name), (colour, mark, shift) in zip(kinds(run), LOOKS, strict=False):
        bins = uniform_bins(run.label, getattr(run, column))
        error = np.clip([bins.observed - bins.low, bins.high - bins.observed], 0, None)
        ax.errorbar(bins.risk, bins.observed, error, fmt=mark, color=colour, label=name, linewidth=page.em * 0.09)
        edges = np.linspace(0, 1, BINS + 1)
        heights, _ = np.histogram(getattr(run, column), edges)
        bars = counts.bar(edges[:-1] + 0.05 + shift, heights, 0.04, color=colour)
        if column == "risk":
            counts.bar_label(bars, [f"{n:,}" if n else "" for n in heights], fontsize=page.em * 0.62, color=colour)
    counts.set_ylim(0, counts.get_ylim()[1] * 1.35)
    ax.legend(loc="upper left")


@sheet(10, 8, "Calibration, smooth")
def calibration_smooth(page: Sheet, run: Evidence) -> None:
    page.note(
        f"Loess; bands: {run.resampled}. Below: stays by calibrated risk, those who died downwards, each to its own scale."
    )
    ax, counts = page.panels(2, 1, height_ratios=[3.4, 1], hspace=0.12, share="x")
    axes_of_risk(ax, counts, "Stays")
    for (column, name), (colour, _, _) in zip(kinds(run), LOOKS, strict=False):
        curve = run.metrics["calibration_curve"][column]
        at, value, low, high = (floats(curve[side]) for side in ("at", "value", "low", "high"))
        dash = "-" if column == "risk" else (0, (5, 2))
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
    ax.legend(loc="upper left")


LOOKS = ((BLUE, "o", -0.02), (VERMILION, "s", 0.02))  # calibrated, uncalibrated: colour, mark, shift of bars


def kinds(run: Evidence) -> list[tuple[str, str]]:
    """(column, name with its numbers) of the risks to show: the raw ones only where calibration changed them."""
    after, before = summary(run, False), summary(run, True)
    if not run.calibrated:
        return [("risk", f"risk, not calibrated: {after}")]
    return [("risk", f"calibrated: {after}"), ("risk_raw", f"before: {before}")]


def summary(run: Evidence, raw: bool) -> str:
    slope, ratio = run.cell("calibration_slope", raw), run.cell("observed_to_expected", raw)
    return f"slope {interval_text(slope, 2)}\nO:E {interval_text(ratio, 2)}"


def axes_of_risk(ax: Axes, counts: Axes, name: str) -> None:
    """The square with its diagonal, and the strip below it that shares its x axis."""
    square(ax, "", "Observed share of deaths")
    ax.plot([0, 1], [0, 1], color=SOFT, linestyle=":", gid="perfect")
    ax.tick_params(labelbottom=False)
    counts.set(xlabel="Predicted risk", ylabel=name)
    counts.locator_params(axis="y", nbins=3)


def floats(points: Any) -> Array:
    return np.array([np.nan if x is None else x for x in points], float)
