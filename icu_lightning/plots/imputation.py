"""How errors grow with what is hidden: MAE, RMSE, CRPS and coverage of imputed cells by missing rate, from metrics.json."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from icu_lightning.plots.evidence import Evidence
from icu_lightning.plots.sheet import BAND, BLUE, SOFT, Sheet, sentence, sheet

PANELS = {  # metric -> heading, the same of the training mean, what it should be
    "mae": ("Mean absolute error (SD)", "mae_mean", None),
    "rmse": ("Root mean squared error (SD)", "rmse_mean", None),
    "crps": ("CRPS (SD)", None, None),
    "coverage90": ("Share inside the 90 % band", None, 0.9),
}
HEADROOM = 1.6  # above the lines, for the key


@sheet(14, 12, "Cells hidden on purpose, and filled in")
def imputation_errors(page: Sheet, run: Evidence) -> None:
    page.note(f"Areas: {run.resampled}. An SD is that of the variable among training stays.")
    page.note("An error that does not rise with what is hidden would be a sign of leakage.")
    axes = page.panels(2, 2, left=3.4, right=1.6, above=1.4, hspace=0.34, wspace=0.22)
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
            ax.axhline(wanted, color=SOFT, linestyle=(0, (1.5, 1.5)), label="as promised")
            ax.set_ylim(0, 1)
        else:
            ax.set_ylim(0, ax.get_ylim()[1] * (HEADROOM if of_mean else 1))
        if of_mean or wanted:
            ax.legend(loc="upper left" if of_mean else "lower right")
    for ax in axes[2:]:
        ax.set_xlabel("Measured cells that were hidden")


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
