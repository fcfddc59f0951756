"""What a threshold does: who is flagged, how the two outcomes' risks lie, and what any other threshold would do."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from icu_lightning.evaluation.metrics import f_beta, ppv, sensitivity
from icu_lightning.plots.evidence import Array, Evidence, interval_text
from icu_lightning.plots.sheet import (
    BLUE,
    COLOURS,
    DASHES,
    DIED,
    GREEN,
    INK,
    MARKS,
    SURVIVED,
    VERMILION,
    Sheet,
    sheet,
    threshold_marks,
)

# Deviation: the original scans .05 to .94; calibrated risks of rare deaths are often best flagged below .05
SCAN = np.arange(1, 100) / 100
BETAS = (0.5, 1.0, 2.0, 3.0)
COLUMNS = 50
SHADES = LinearSegmentedColormap.from_list("shades", ["#f2f7fb", BLUE])


@sheet(10, 8, "Who is flagged")
def confusion_matrix(page: Sheet, run: Evidence) -> None:
    ax, text = page.panels(1, 2, left=5.6, width_ratios=[1.55, 1], wspace=0.05)
    counts = flag_counts(run)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for (i, j), n in np.ndenumerate(counts):
        colour = "white" if shares[i, j] > 0.55 else INK
        ax.text(j, i - 0.06, f"{n:,}", ha="center", va="center", color=colour, fontsize=1.7 * page.em, weight="bold")
        ax.text(j, i + 0.2, f"{shares[i, j]:.0%} of row", ha="center", va="center", color=colour)
    rows = [f"survived\n{counts[0].sum():,}", f"died\n{counts[1].sum():,}"]
    columns = [f"not flagged\n{counts[:, 0].sum():,}", f"flagged\n{counts[:, 1].sum():,}"]
    ax.set_xticks([0, 1], columns)
    ax.set_yticks([0, 1], rows)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    text.set_axis_off()
    beside(text, run, page.em)


def flag_counts(run: Evidence) -> Array:
    """(2, 2) stays: survived and died, by not flagged and flagged."""
    died, flagged = run.label == 1, run.flagged
    return np.array(
        [[(~died & ~flagged).sum(), (~died & flagged).sum()], [(died & ~flagged).sum(), (died & flagged).sum()]]
    )


def beside(ax: Axes, run: Evidence, em: float) -> None:
    """The metrics of the flags, with their intervals."""
    named = {"Accuracy": "accuracy", "Precision (PPV)": "ppv", "Recall (sensitivity)": "sensitivity",
             "Specificity": "specificity", "F1": "f1"}  # fmt: skip
    low, high = run.thresholds[0], run.thresholds[-1]
    at = f"{low:.3f}" if low == high else f"{low:.3f}–{high:.3f}"
    ax.text(0.06, 0.97, f"Threshold {at}", va="top", weight="bold", fontsize=0.9 * em)
    for i, (name, metric) in enumerate(named.items()):
        value, _, between = interval_text(run.cell(metric)).partition(" ")
        ax.text(0.06, 0.83 - 0.18 * i, name, va="top")
        ax.text(0.06, 0.77 - 0.18 * i, value, va="top", weight="bold", fontsize=1.05 * em)
        ax.text(0.42, 0.765 - 0.18 * i, between, va="top", fontsize=0.75 * em)


@sheet(12, 6, "Risks of those who survived and died")
def probability_distribution(page: Sheet, run: Evidence) -> None:
    page.note("Left: share of each group in 50 bins. Right: median, quartiles, and 5 to 95 %.")
    left, right = page.panels(1, 2, left=4.6, width_ratios=[2.2, 1], wspace=0.28)
    edges = np.linspace(0, 1, COLUMNS + 1)
    groups = [(name, run.risk[run.label == died], colour) for died, name, colour in
              ((0, "survived", SURVIVED), (1, "died", DIED))]  # fmt: skip
    for name, risks, colour in groups:
        heights, _ = np.histogram(risks, edges)
        shares = heights / max(1, len(risks))
        left.stairs(shares, edges, fill=True, color=colour, alpha=0.3)
        left.stairs(shares, edges, color=colour, label=f"{name}, {len(risks):,}", linewidth=page.em * 0.1)
    threshold_marks(left, run.thresholds)
    left.set(xlabel="Predicted risk", ylabel="Share", xlim=(0, 1))
    left.locator_params(axis="y", nbins=4)
    left.legend(loc="upper right")
    drawn = right.boxplot(
        [risks for _, risks, _ in groups], tick_labels=[name for name, _, _ in groups], widths=0.6, patch_artist=True,
        showfliers=False, whis=(5, 95), medianprops={"color": INK, "linewidth": page.em * 0.14},
    )  # fmt: skip
    for box, (_, _, colour) in zip(drawn["boxes"], groups, strict=True):
        box.set(facecolor=colour, alpha=0.45)
    right.set(ylabel="Risk", ylim=(0, None))
    right.locator_params(axis="y", nbins=4)


@sheet(12, 6, "F1, recall and precision at any threshold")
def threshold_metrics(page: Sheet, run: Evidence) -> None:
    (ax,) = page.panels(above=2.2)
    flags, once = at_thresholds(run), np.ones(run.n)
    curves = (("F1", f_beta, BLUE), ("recall", sensitivity, VERMILION), ("precision", ppv, GREEN))
    for (name, metric, colour), dash in zip(curves, DASHES, strict=False):
        values = [float(metric(run.label, flagged, once)) for flagged in flags]
        ax.plot(SCAN, values, color=colour, linestyle=dash, label=name)
    threshold_marks(ax, run.thresholds)
    ax.set(xlabel="Threshold", ylabel="Value", xlim=(0, 1), ylim=(-0.02, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, columnspacing=1)


@sheet(14, 8, "F-beta at any threshold")
def fbeta(page: Sheet, run: Evidence) -> None:
    page.note(
        "A beta above 1 weighs recall more than precision. Marks: the best threshold of each, of these very stays."
    )
    (ax,) = page.panels()
    flags, once = at_thresholds(run), np.ones(run.n)
    for i, beta in enumerate(BETAS):
        values = np.array([float(f_beta(run.label, flagged, once, beta)) for flagged in flags])
        name = f"F{beta:g}"
        if np.isfinite(values).any() and run.events:
            best = int(np.nanargmax(values))
            name += f", best {values[best]:.3f} at {SCAN[best]:.2f}"
            ax.plot(SCAN[best], values[best], MARKS[i], color=COLOURS[i], gid="best", zorder=4)
        ax.plot(SCAN, values, color=COLOURS[i], linestyle=DASHES[i], label=name)
    threshold_marks(ax, run.thresholds)
    ax.set(xlabel="Threshold", ylabel="F-beta", xlim=(0, 1), ylim=(-0.02, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
    ax.legend(loc="best")


def at_thresholds(run: Evidence) -> Array:
    """(99, n) flags at each threshold of SCAN."""
    return (run.risk >= SCAN[:, None]).astype(float)
