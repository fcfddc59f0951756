"""The figures of a transfer as SVG: calibration before and after, what k stays are worth, the funnel and the forest of hospitals.

Colours: Okabe & Ito (2008), which colour-blind readers tell apart; markers and dashes say the same without colour.
"""

import io
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icu_lightning.evaluation.curves import calibration_curve
from icu_lightning.evaluation.hospitals import LEVELS, SUMMARISED, funnel_limits, readable
from icu_lightning.evaluation.updating import RECALIBRATORS, risk_after
from icu_lightning.transferring.result import JUDGES, Transfer
from icu_lightning.transferring.tables import BEFORE, METRICS, SUMMARY_NAMES, summarised

STYLE = {  # name -> colour, marker, dash
    BEFORE: ("#000000", "o", "-"),
    "intercept": ("#0072b2", "s", "--"),
    "slope and intercept": ("#d55e00", "^", "-."),
    "isotonic": ("#007d5a", "D", ":"),
}
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "icu_lightning",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
MOST = 40  # hospitals of a forest plot, the largest
OVER_K = ("brier", "calibration_slope", "calibration_in_the_large", "ece")


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure: the name of its file, its heading, the SVG, and what a reader has to know."""

    name: str
    title: str
    svg: str
    note: str


def figures(transfer: Transfer) -> list[Drawn]:
    """Those that there is something to show of."""
    with matplotlib.rc_context(SETTINGS):
        drawn = [_calibration(transfer)] if transfer.before["n"] else []
        if len(transfer.ks) > 1:
            drawn.append(_by_k(transfer))
        if transfer.hospitals is not None and summarised(transfer):
            drawn += [_funnel(transfer, transfer.hospitals), _forest(transfer, transfer.hospitals)]
    return drawn


def _drawn(figure: Figure, transfer: Transfer, name: str, title: str, note: str) -> Drawn:
    """With the marks below the figure, and the same bytes every time."""
    if marks := transfer.kinship.marks:
        figure.text(0.01, -0.05, "\n".join(marks), fontsize=7, va="top", wrap=True)
    file = io.StringIO()
    figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    return Drawn(name=name, title=title, svg=file.getvalue(), note=note)


def _calibration(transfer: Transfer) -> Drawn:
    judges, pool, k = transfer.judges, transfer.pool, transfer.ks[-1] if transfer.ks else 0
    rows = transfer.predictions.filter(pl.col("split") == JUDGES)
    curves = {BEFORE: rows["risk"].to_numpy()}
    if k:
        curves |= {name: risk_after(pool, judges, name, k, transfer.settings.seed) for name in RECALIBRATORS}
    figure = Figure(figsize=(5.2, 4.6))
    axes = figure.add_subplot()
    highest = 0.05
    bins = min(10, max(1, len(judges.label) // 20))
    for name, risk in curves.items():
        colour, marker, dash = STYLE[name]
        x, y = calibration_curve(judges.label, risk, bins)
        axes.plot(x, y, color=colour, marker=marker, ms=4, ls=dash, lw=1.5, label=name)
        highest = max(highest, x.max(), y.max())
    highest = min(1.0, 1.05 * highest)
    axes.plot([0, highest], [0, highest], color="#888888", lw=0.8, zorder=0)
    axes.set(xlim=(0, highest), ylim=(0, highest), aspect="equal")
    axes.set(xlabel="Predicted risk", ylabel="Observed share of deaths")
    axes.legend(frameon=False)
    n, deaths = len(judges.label), int(judges.label.sum())
    note = f"Up to {bins} groups of equal size by risk of the {n:,} judging stays ({deaths:,} deaths); grey: perfect."
    note += f" After: the first draw of k = {k:,} stays." if k else ""
    return _drawn(figure, transfer, "calibration", "Calibration before and after", note)


def _by_k(transfer: Transfer) -> Drawn:
    figure = Figure(figsize=(9.5, 2.9), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(OVER_K)), OVER_K, strict=True):
        before = transfer.before.get(metric)
        if before and before["value"] is not None:
            axes.axhline(before["value"], color="#000000", lw=1.2, label=BEFORE)
        for i, method in enumerate(RECALIBRATORS):
            colour, marker, dash = STYLE[method]
            points = [
                one for one in transfer.after if one.method == method and one.metrics[metric]["value"] is not None
            ]
            x = [one.k * 1.06 ** (i - 1) for one in points]  # side by side on the logarithmic axis
            y = [one.metrics[metric]["value"] for one in points]
            sd = [one.metrics[metric]["sd"] or 0.0 for one in points]
            axes.errorbar(x, y, yerr=sd, color=colour, marker=marker, ms=4, ls=dash, lw=1.3, capsize=2, label=method)
        axes.set(xscale="log", xlabel="k labelled stays", title=METRICS[metric])
        axes.set_xticks(transfer.ks, [f"{k:,}" for k in transfer.ks])
        axes.minorticks_off()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    note = f"Mean and SD over {transfer.settings.draws} draws of k stays, by patient; always judged on the same stays. "
    return _drawn(figure, transfer, "by_k", "What k labelled stays are worth", note + "Line: as it came.")


def _funnel(transfer: Transfer, hospitals: pl.DataFrame) -> Drawn:
    shown = hospitals.filter((pl.col("stays") >= transfer.settings.smallest) & (pl.col("expected") > 0))
    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.add_subplot()
    x, y = shown["expected"].to_numpy(), shown["observed_to_expected"].to_numpy()
    grid = np.geomspace(max(0.3, x.min() * 0.8), x.max() * 1.15, 200) if len(x) else np.geomspace(0.3, 10, 200)
    for level, dash in zip(LEVELS, ("--", "-"), strict=True):
        low, high = funnel_limits(grid, level)
        axes.plot(grid, low, color="#666666", lw=1, ls=dash, label=f"{100 * level:g} % by chance")
        axes.plot(grid, high, color="#666666", lw=1, ls=dash)
    outside = shown["beyond"].is_not_null().to_numpy()
    axes.axhline(1, color="#888888", lw=0.8)
    axes.scatter(x[~outside], y[~outside], s=16, color=STYLE["intercept"][0], zorder=3)
    axes.scatter(x[outside], y[outside], s=22, color=STYLE["slope and intercept"][0], marker="^", zorder=3)
    for name, at_x, at_y in zip(shown["hospital_id"].to_numpy()[outside], x[outside], y[outside], strict=True):
        axes.annotate(str(name), (at_x, at_y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    top = 1.15 * max([2.0, *y.tolist()])
    axes.set(xlim=(0, None), ylim=(0, top), xlabel="Expected deaths", ylabel="Observed / expected deaths")
    axes.legend(frameon=False)
    small = hospitals.height - shown.height
    note = (
        f"A point a hospital of at least {transfer.settings.smallest} stays ({shown.height}; {small} smaller "
        "are not drawn). Lines: between which O:E would lie by chance alone if all risks were right; triangles, with their ids, "
        "are outside. Hospitals differ by more than that: a point outside is a question, no verdict."
    )
    return _drawn(figure, transfer, "funnel", "Hospitals: observed over expected deaths", note)


def _forest(transfer: Transfer, hospitals: pl.DataFrame) -> Drawn:
    names = ("auroc", "observed_to_expected")
    parts = {name: hospitals.filter(pl.col(SUMMARISED[name][2]).is_null()).head(MOST) for name in names}
    tallest = max([1, *(part.height for part in parts.values())])
    figure = Figure(figsize=(9.5, 1.4 + 0.2 * tallest), layout="constrained")
    for axes, (name, part) in zip(figure.subplots(1, 2), parts.items(), strict=True):
        _forest_panel(axes, name, part, transfer)
    kept = {name: transfer.over_hospitals[name].n for name in names}
    note = (
        "Each hospital with its 95 % interval, largest first; diamond: mean over hospitals and its interval (random effects); "
        f"its line: where 95 % of further hospitals are expected. {kept['auroc']} and {kept['observed_to_expected']} of "
        f"{hospitals.height} hospitals are in the summaries" + (f", the {MOST} largest drawn." if max(kept.values()) > MOST else ".")
    )  # fmt: skip
    return _drawn(figure, transfer, "forest", "Hospitals: discrimination and calibration", note)


def _forest_panel(axes: Axes, name: str, part: pl.DataFrame, transfer: Transfer) -> None:
    estimate, se, _ = SUMMARISED[name]
    for i, row in enumerate(part.iter_rows(named=True)):
        middle, half = row[estimate], 1.96 * row[se]
        ends = [readable(name, middle - half), readable(name, middle + half)]
        axes.plot(ends, [-i, -i], color="#0072b2", lw=1)
        axes.plot([readable(name, middle)], [-i], marker="s", color="#0072b2", ms=4)
    bottom, summary = -part.height - 0.5, transfer.over_hospitals[name]
    labels = [f"{row['hospital_id']} ({row['stays']:,} stays)" for row in part.iter_rows(named=True)]
    at = [-float(i) for i in range(part.height)]
    if summary.n > 1:
        low, mean, high = (readable(name, x) for x in (summary.low, summary.mean, summary.high))
        if np.isfinite(summary.prediction_low):
            reach = [readable(name, summary.prediction_low), readable(name, summary.prediction_high)]
            axes.plot(reach, [bottom, bottom], color="#000000", lw=1)
        axes.fill([low, mean, high, mean], [bottom, bottom + 0.35, bottom, bottom - 0.35], color="#000000")
        labels, at = [*labels, "mean over hospitals"], [*at, bottom]
    axes.axvline(0.5 if name == "auroc" else 1.0, color="#888888", lw=0.8, zorder=0)
    if name == "observed_to_expected":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes.set_yticks(at, labels, fontsize=7)
    axes.set(xlabel=SUMMARY_NAMES[name], ylim=(bottom - 0.8, 0.8))
