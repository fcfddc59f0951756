"""Several models on the same test stays: curves over one another, bars side by side, improvement, and the table as a picture.

A model with several seeds has a line a seed, in one colour and dash, and bars of its mean.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icu_lightning.evaluation import curves
from icu_lightning.plots.discrimination import square
from icu_lightning.plots.evidence import Array, interval_text
from icu_lightning.plots.save import write_png, write_svg
from icu_lightning.plots.sheet import BLUE, COLOURS, DASHES, INK, RULE, SOFT, VERMILION, Facts, Sheet, sentence, sheet
from icu_lightning.plots.summary import BARS

Cell = Mapping[str, float | None]  # value, low, high
TABLE = {"auroc": "AUROC", "auprc": "AUPRC", "brier": "Brier", "calibration_slope": "slope", "f1": "F1"}
BASELINE = "logistic_regression"
MOST = len(COLOURS)  # models that curves and bars can be told apart of
ROW = 3.7  # em of a model in the table


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model: risks (S, n) of its seeds, and metric -> {value, low, high} of their mean."""

    name: str
    risks: Array
    metrics: Mapping[str, Cell]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What was compared.

    Arguments:
        label: (n,) of the test stays, which are the same for all.
        replicates: patient resamples behind every interval.
        of: how many models there are, if these are the `leading` ones.
    """

    data: str
    outcome: str
    synthetic: bool
    label: Array
    replicates: int
    contenders: Sequence[Contender]
    of: int | None = None

    @property
    def facts(self) -> Facts:
        stays = f"{len(self.label):,} stays, {int(self.label.sum()):,} {self.outcome.replace('_', ' ')}"
        shown = f" of {self.of} models, the baseline and those of highest AUROC," if self.of else " models"
        return Facts(
            about=f"{len(self.contenders)}{shown} on {self.data}, test split: {stays}", synthetic=self.synthetic
        )

    @property
    def baseline(self) -> Contender:
        """What the others are measured by: the regression if it is there, else the first that was named."""
        return next((c for c in self.contenders if c.name.startswith(BASELINE)), self.contenders[0])


@sheet(10, 8, "ROC curves")
def roc_comparison(page: Sheet, contest: Contest) -> None:
    page.note("Dotted: chance.")
    (ax,) = page.panels()
    square(ax, "1 − specificity", "Sensitivity")
    if not 0 < contest.label.sum() < len(contest.label):
        return sentence(ax, "All stays have one outcome: there is no curve.")
    ax.plot([0, 1], [0, 1], color=SOFT, linestyle=":", gid="chance")
    overlaid(ax, contest, curves.roc_curve, "auroc")
    ax.legend(loc="lower right", title="AUROC", alignment="left")


@sheet(10, 8, "Precision and recall")
def pr_comparison(page: Sheet, contest: Contest) -> None:
    (ax,) = page.panels()
    square(ax, "Sensitivity (recall)", "Positive predictive value (precision)")
    if not contest.label.any():
        return sentence(ax, "Nobody died: there is no curve.")
    rate = float(contest.label.mean())
    overlaid(ax, contest, curves.pr_steps, "auprc")
    ax.axhline(rate, color=SOFT, linestyle=":", label=f"death rate {rate:.3f}", gid="prevalence")
    ax.legend(loc="best", title="AUPRC", alignment="left")


def overlaid(ax: Axes, contest: Contest, curve: Callable[[Array, Array], curves.Points], metric: str) -> None:
    for i, contender in enumerate(contest.contenders):
        for seed, risk in enumerate(contender.risks):
            label = f"{short(contender.name, 26)} {interval_text(contender.metrics[metric])}" if seed == 0 else None
            ax.plot(*curve(contest.label, risk), color=COLOURS[i % 8], linestyle=DASHES[i % 8], label=label)


@sheet(12, 7, "Metrics side by side")
def metrics_comparison(page: Sheet, contest: Contest) -> None:
    page.note(
        f"Lines: 95 % over {contest.replicates:,} resamples of patients. From F1 on: at each model's stored threshold."
    )
    n = len(contest.contenders)
    (ax,) = page.panels(left=2.8, above=1.0 + 1.2 * math.ceil(n / 2), below=1.8)
    width = 0.8 / n
    for i, contender in enumerate(contest.contenders):
        x = np.arange(len(BARS)) + (i - (n - 1) / 2) * width
        cells = [contender.metrics[name] for name in BARS]
        ax.bar(x, [cell["value"] or 0 for cell in cells], 0.9 * width, color=COLOURS[i % 8], label=short(contender.name, 24),
               hatch=["", "//", "..", "xx"][i % 4], edgecolor="white", linewidth=0)  # fmt: skip
        for at, cell in zip(x, cells, strict=True):
            if cell["low"] is not None and cell["high"] is not None:
                ax.plot([at, at], [cell["low"], cell["high"]], color=INK, linewidth=page.em * 0.08, gid="interval")
    ax.set(ylim=(0, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
    ax.set_xticks(range(len(BARS)), list(BARS.values()))
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.legend(loc="lower right", ncols=min(n, 2), bbox_to_anchor=(1, 1.0), columnspacing=1)


@sheet(12, 7, "Improvement")
def improvement(page: Sheet, contest: Contest) -> None:
    """Horizontal bars. Deviation: blue and vermilion with a sign, for green and red are one colour to one man in twelve."""
    base = contest.baseline
    others = [c for c in contest.contenders if c is not base]
    whose = f"Of {short(others[0].name, 40)}: relative" if len(others) == 1 else "Relative"
    page.note(f"{whose} difference to {short(base.name, 40)} in each metric; to the right is better.")
    rows = [
        (contender, metric, change(contender.metrics[metric], base.metrics[metric]))
        for metric in BARS
        for contender in others
    ]
    page.resize(max(page.tall, 11.0 + 2.4 * contest.synthetic + 0.95 * len(rows)))
    (ax,) = page.panels(left=5.6, right=1.2)
    if not any(percent is not None for *_, percent in rows):
        return sentence(ax, "One model, or nothing defined: there is nothing to set against one another.")
    for i, (contender, metric, percent) in enumerate(rows):
        first = i % len(others) == 0
        if percent is not None:
            ax.barh(i, percent, 0.72, color=BLUE if percent >= 0 else VERMILION)
        said = "undefined" if percent is None else f"{percent:+.1f} %".replace("-", "−")
        named = f"{said}  {short(contender.name, 18)}" if len(others) > 1 else said
        ax.annotate(named, (max(percent or 0, 0), i), (0.3 * page.em, 0), textcoords="offset points", va="center",
                    fontsize=page.em * (0.86 if len(rows) <= 8 else 0.7))  # fmt: skip
        if first:
            middle = i + (len(others) - 1) / 2
            ax.text(-0.03, middle, BARS[metric], transform=ax.get_yaxis_transform(), ha="right", va="center")
    percents = [percent for *_, percent in rows if percent is not None]
    low, high = min(0.0, *percents), max(0.0, *percents)
    span = max(high - low, 1.0)
    ax.set(
        ylim=(len(rows) - 0.4, -0.6),
        yticks=[],
        xlabel="Change, %",
        xlim=(low - 0.04 * span, high + (0.7 if len(others) > 1 else 0.25) * span),
    )
    ax.axvline(0, color=INK, linewidth=page.em * 0.06)
    ax.spines["left"].set_visible(False)


def change(cell: Cell, base: Cell) -> float | None:
    """Percent of the baseline's value by which this one is higher; None where either is undefined or the baseline 0."""
    value, of = cell["value"], base["value"]
    return None if value is None or not of else 100 * (value - of) / of


@sheet(14, 6, "Comparison")
def comparison_table(page: Sheet, contest: Contest) -> None:
    page.note(
        f"In brackets: 95 % over {contest.replicates:,} resamples of patients. F1 at each model's stored threshold."
    )
    rows = len(contest.contenders)
    page.resize(max(12.0, 7.4 + 2.4 * contest.synthetic + 1.6 + ROW * rows))
    (ax,) = page.panels(left=0.7, right=0.7, below=0.4)
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(1.6 + ROW * rows, 0))  # in em, downwards
    ends = [(j + 1) / len(TABLE) for j in range(len(TABLE))]
    for end, heading in zip(ends, TABLE.values(), strict=True):
        ax.text(end, 0.7, heading, weight="bold", ha="right", va="center")
    for i, contender in enumerate(contest.contenders):
        top = 1.6 + ROW * i
        ax.axhline(top, color=RULE if i else INK, linewidth=page.em * 0.06)
        ax.text(0, top + 0.8, short(contender.name, 60), va="center", weight="bold")
        for end, metric in zip(ends, TABLE, strict=True):
            value, _, between = interval_text(contender.metrics[metric]).partition(" ")
            ax.text(end, top + 1.9, value, ha="right", va="center")
            ax.text(end, top + 2.85, between, ha="right", va="center", fontsize=page.em * 0.64, color=SOFT)


def short(name: str, letters: int) -> str:
    """The name, cut where it is too long for its place."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def leading(contest: Contest) -> Contest:
    """The same with as many models as can be told apart: the baseline and those of highest AUROC, in their order."""
    if len(contest.contenders) <= MOST:
        return contest
    others = [c for c in contest.contenders if c is not contest.baseline]
    best = sorted(others, key=lambda c: -(c.metrics["auroc"]["value"] or 0.0))[: MOST - 1]
    kept = [c for c in contest.contenders if c is contest.baseline or any(c is one for one in best)]
    return replace(contest, contenders=kept, of=len(contest.contenders))


FIGURES: dict[str, Callable[[Contest], Figure]] = {
    "roc_comparison": roc_comparison,
    "pr_comparison": pr_comparison,
    "metrics_comparison": metrics_comparison,
    "improvement": improvement,
    "comparison_table": comparison_table,
}


def draw(contest: Contest, folder: Path, *, prefix: str = "", png: bool = False) -> list[str]:
    """Write <prefix><name>.svg of every figure into `folder`, and .png beside it if asked for; returns the names.

    Of more models than can be told apart the table alone shows all.
    """
    kind = "SYNTHETIC stays, no patients. " if contest.synthetic else ""
    for name, figure in FIGURES.items():
        shown = contest if figure is comparison_table else leading(contest)
        made = figure(shown)
        names = ", ".join(contender.name for contender in shown.contenders)
        write_svg(made, folder / f"{prefix}{name}.svg", f"{made.get_label()}. {kind}{shown.facts.about}: {names}.")
        if png:
            write_png(made, folder / f"{prefix}{name}.png")
    return [prefix + name for name in FIGURES]
