"""ROC, precision-recall and decision curve, each with its band over resamples of patients and the point where stays are flagged.

References: Decision curve analysis (Vickers, Elkin, 2006).
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from icu_lightning.evaluation import curves
from icu_lightning.plots.evidence import SHARES, Array, Evidence, interval_text
from icu_lightning.plots.sheet import BAND, BLUE, GREEN, INK, SOFT, VERMILION, Sheet, sentence, sheet, threshold_marks


@sheet(10, 8, "ROC curve")
def roc_curve(page: Sheet, run: Evidence) -> None:
    page.note(f"Band: {run.resampled}, at each share of survivors flagged. Dotted: chance.")
    (ax,) = page.panels()
    square(ax, "1 − specificity", "Sensitivity")
    if missing_class(run):
        return sentence(ax, missing_class(run))
    ax.plot([0, 1], [0, 1], color=SOFT, linestyle=":", gid="chance")
    band(ax, SHARES, *run.bands["roc"])
    ax.plot(*curves.roc_curve(run.label, run.risk), color=BLUE, label=f"AUROC {interval_text(run.cell('auroc'))}")
    survivors = float(run.flagged[run.label == 0].mean())
    flagged_point(ax, survivors, float(run.flagged[run.label == 1].mean()), run)
    ax.legend(loc="lower right")


@sheet(10, 8, "Precision and recall")
def precision_recall_curve(page: Sheet, run: Evidence) -> None:
    page.note(f"Band: {run.resampled}, at each sensitivity. Steps, as average precision counts them.")
    (ax,) = page.panels()
    square(ax, "Sensitivity (recall)", "Positive predictive value (precision)")
    if not run.events:
        return sentence(ax, missing_class(run))
    rate = run.events / run.n
    ax.axhline(rate, color=SOFT, linestyle=":", label=f"death rate {rate:.3f}", gid="prevalence")
    band(ax, SHARES[1:], *run.bands["pr"])
    ax.plot(*curves.pr_steps(run.label, run.risk), color=BLUE, label=f"AUPRC {interval_text(run.cell('auprc'))}")
    if run.flagged.any():
        flagged_point(ax, float(run.flagged[run.label == 1].mean()), float(run.label[run.flagged].mean()), run)
    ax.legend(loc="best")


@sheet(10, 8, "Decision curve")
def decision_curve(page: Sheet, run: Evidence) -> None:
    page.note(
        f"Band: {run.resampled}. Net benefit: deaths flagged less survivors flagged at the odds of the threshold, per stay."
    )
    (ax,) = page.panels(left=5.2)
    thresholds, benefit = curves.decision_curve(run.label, run.risk)
    low, high = run.bands["decision"]
    rate = run.events / run.n
    band(ax, thresholds, low, high)
    ax.plot(thresholds, treat_all(rate, thresholds), color=VERMILION, linestyle=(0, (5, 2)), label="flag everybody")
    ax.plot([0, thresholds[-1]], [0, 0], color=INK, linestyle=(0, (1.5, 1.5)), label="flag nobody")
    ax.plot(thresholds, benefit, color=BLUE, label="flag by the model")
    highest = max(rate, float(np.nanmax(np.append(high, benefit), initial=0)), 0.01)
    ax.set(xlabel="Threshold", ylabel="Net benefit", xlim=(0, thresholds[-1]), ylim=(-0.3 * highest, 1.12 * highest))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    threshold_marks(ax, [t for t in run.thresholds if t <= thresholds[-1]])
    ax.legend(loc="upper right")


def treat_all(rate: float, thresholds: Array) -> Array:
    """Net benefit of flagging everybody, where `rate` of the stays die."""
    return rate - (1 - rate) * thresholds / (1 - thresholds)


def square(ax: Axes, x_name: str, y_name: str) -> None:
    """Both axes from 0 to 1."""
    ax.set(xlabel=x_name, ylabel=y_name, xlim=(-0.015, 1.015), ylim=(-0.015, 1.03))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks([0, 0.2, 0.4, 0.6, 0.8, 1])


def band(ax: Axes, x: Array, low: Array, high: Array) -> None:
    ax.fill_between(x, low, high, color=BLUE, alpha=BAND, linewidth=0)


def flagged_point(ax: Axes, x: float, y: float, run: Evidence) -> None:
    """Where the stays at or above their threshold are."""
    at = f"flagged at {run.thresholds[0]:.3f}" if len(run.thresholds) == 1 else "flagged at the folds' thresholds"
    ax.plot([x], [y], "D", color=GREEN, markeredgecolor="white", label=at, gid="threshold", zorder=4)


def missing_class(run: Evidence) -> str:
    """Why there is no curve; nothing if there is one."""
    if 0 < run.events < run.n:
        return ""
    who = "died" if run.events else "survived"
    return f"All {run.n:,} stays {who}: there is no curve without both outcomes."
