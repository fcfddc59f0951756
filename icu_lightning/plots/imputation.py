"""How errors grow with what is hidden: MAE, RMSE, CRPS and coverage of imputed cells by missing rate, from metrics.json.

The ends of a 90 % band are sample quantiles of S draws, within which less than 90 % lie even of exact draws (`attainable`): coverage
is to be held to that.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from scipy.special import betaincinv, ndtr, ndtri

from icu_lightning.evaluation.imputation import HIGH, LOW
from icu_lightning.plots.evidence import Evidence
from icu_lightning.plots.sheet import BAND, BLUE, INK, SOFT, Sheet, sentence, sheet

PANELS = {  # metric -> heading, the same of the training mean, what it should be
    "mae": ("Mean absolute error (SD)", "mae_mean", None),
    "rmse": ("Root mean squared error (SD)", "rmse_mean", None),
    "crps": ("CRPS (SD)", None, None),
    "coverage90": ("Share inside the 90 % band", None, HIGH - LOW),
}
HEADROOM = 1.6  # above the lines, for the key
GRID = 200  # points a dimension of an integral, which is then right to three digits


@sheet(14, 12, "Cells hidden on purpose, and filled in")
def imputation_errors(page: Sheet, run: Evidence) -> None:
    page.note(f"Areas: {run.resampled}. An SD is that of the variable among training stays.")
    page.note(
        "Each rate hides other cells. An error that does not rise with it, where the mean's is level, points to a leak."
    )
    if draws := run.draws if any(of.get("coverage90") for of in run.imputation.values()) else None:
        _note_draws(page, draws, run.stratified)
    page.fit(19.8, above=1.4)
    axes = page.panels(2, 2, left=3.4, right=1.6, above=1.4, hspace=0.34, wspace=0.3)
    rates = np.array([float(rate) for rate in run.imputation])
    for ax, (name, (heading, of_mean, wanted)) in zip(axes, PANELS.items(), strict=True):
        ax.set(title=heading, xlim=(0, 1))
        ax.xaxis.set_major_formatter(PercentFormatter(1))
        if not _line(ax, rates, [of.get(name) for of in run.imputation.values()]):
            sentence(ax, "Not defined with a single draw.")
            continue
        if of_mean:
            means = [_number(of[of_mean]["value"]) for of in run.imputation.values()]
            ax.plot(
                rates, means, color=SOFT, linestyle=(0, (1.5, 1.5)), marker="s", label="training mean in every cell"
            )
        if wanted:
            ax.axhline(wanted, color=SOFT, linestyle=(0, (1.5, 1.5)), label=f"{_percent(wanted)}, as promised")
            if draws:
                share = attainable(draws)
                ax.axhline(share, color=INK, linestyle=(0, (3, 2)), label=f"{_percent(share)}, of {draws} exact draws")
            ax.set_ylim(0, 1)
        else:
            ax.set_ylim(0, ax.get_ylim()[1] * (HEADROOM if of_mean else 1))
        if of_mean or wanted:
            ax.legend(loc="upper left" if of_mean else "lower right")
    for ax in axes[2:]:
        ax.set_xlabel("Measured cells that were hidden")


def attainable(draws: int) -> float:
    """The share that a 90 % band of so many independent draws holds, 2 or more, if they and the truth are of one normal distribution.

    The band begins at quantile LOW of the sample, (1 - g) X_(a) + g X_(a+1) with a = 1 + floor(LOW (S - 1)) and g the remainder. As
    U_(a+1) ~ Beta(a + 1, S - a) and U_(a) / U_(a+1) ~ Beta(a, 1) of uniform draws, the truth's mean chance to lie below is a double
    integral, here by the midpoint rule. It is 1 - 2 a / (S + 1) of any distribution where g = 0, and hardly depends on it elsewhere:
    of 10 draws it is .74 of uniform ones and .76 of normal ones.
    """
    at = LOW * (draws - 1)
    a, g = 1 + int(at), at - int(at)
    middle = (np.arange(GRID) + 0.5) / GRID
    above = betaincinv(a + 1, draws - a, middle)[:, None]  # U_(a+1)
    end = (1 - g) * ndtri(above * middle ** (1 / a)) + g * ndtri(above)
    return 1 - 2 * float(ndtr(end).mean())


def _note_draws(page: Sheet, draws: int, stratified: bool) -> None:
    """What estimate and band are, and what of the latter may be expected: a line each, as lines of this length fit."""
    page.note(f"The estimate is the median of {draws} draws, the band their 5 % to 95 % quantile.")
    page.note(
        f"If exact, normal and independent, they hold {_percent(attainable(draws))} (dashed); only many hold 90 %."
    )
    if stratified:
        page.note("These are stratified: if exact, they hold somewhat more.")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _line(ax: Axes, rates: np.ndarray, cells: list[Mapping[str, Any] | None]) -> bool:
    """One metric over the rates; False if it has no value anywhere."""
    value, low, high = (
        np.array([_number((cell or {}).get(side)) for cell in cells]) for side in ("value", "low", "high")
    )
    if not np.isfinite(value).any():
        return False
    ax.plot(rates, value, color=BLUE, marker="o", label="this model")
    ax.fill_between(rates, low, high, color=BLUE, alpha=BAND, linewidth=0)
    return True


def _number(value: float | None) -> float:
    return np.nan if value is None else value
