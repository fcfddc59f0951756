"""How early is it right? The test stays as they stood after 6, 12, 24 ... hours, shown to the model of the whole window.

One model, trained on whole windows, is asked earlier; it is not trained anew for the shorter ones, so a model that had been
might do better, and its calibrator answers for whole windows only. After the whole window the numbers are the run's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.metrics import auroc, pooled
from icu_lightning.evaluation.reliability import observed_to_expected
from icu_lightning.examination.examined import Examined

METRICS = {"auroc": auroc, "observed_to_expected": observed_to_expected}
CAVEAT = "One model, trained on {} h, shown the first hours only: not trained anew for them"
Array = NDArray[np.float64]


def hours_observed(it: Examined, hours: Sequence[int], n_replicates: int, seed: int) -> pl.DataFrame:
    """A row for each of `hours` inside the window, and one for the whole of it: hours, n, events, each metric with low and high.

    Intervals are over the same resamples of patients in every row, and in the last row those of metrics.json. Null where the test
    split has one class only.
    """
    asked = [*sorted(h for h in set(hours) if h < it.hours), it.hours]
    risks = {h: it.risk_at(h) for h in asked}
    label, patients = it.test["label"].to_numpy(), it.test["patient_id"].to_numpy()

    def metrics(weight: Array) -> Mapping[str, Any]:
        return {
            f"{name} {h}": metric(*pooled(label, risk, weight))
            for h, risk in risks.items()
            for name, metric in METRICS.items()
        }

    cells = with_intervals(metrics, patients, n_replicates, seed)
    rows = [
        {"hours": h, "n": len(label), "events": int(label.sum())}
        | {column(name, part): cells[f"{name} {h}"][part] for name in METRICS for part in ("value", "low", "high")}
        for h in asked
    ]
    numbers = {column(name, part): pl.Float64 for name in METRICS for part in ("value", "low", "high")}
    return pl.DataFrame(rows, schema={"hours": pl.Int64, "n": pl.Int64, "events": pl.Int64, **numbers})


def column(metric: str, part: str) -> str:
    """The CSV's name of a number: auroc, auroc_low, auroc_high, ..."""
    return metric if part == "value" else f"{metric}_{part}"


def hours_figure(table: pl.DataFrame, title: str) -> Figure | None:
    """AUROC and O:E over the hours seen, with their intervals; None if the AUROC is undefined."""
    if table["auroc"].null_count():
        return None
    figure = Figure(figsize=(7, 5.6), layout="constrained")
    ranking, level = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _line(ranking, table, "auroc", "AUROC")
    ranking.axhline(0.5, color="#5b6670", lw=0.8, ls=":")
    _line(level, table, "observed_to_expected", "Deaths observed : expected")
    level.axhline(1.0, color="#5b6670", lw=0.8, ls=":")
    level.set_xlabel("Hours seen since admission to the unit")
    level.set_xticks(table["hours"].to_list())
    ranking.set_title(title, loc="left", fontsize=11)
    n, events, whole = table["n"][0], table["events"][0], table["hours"][-1]
    who = f"{n:,} test stays, {events:,} deaths, the same at every hour; 95 % interval over resampled patients."
    figure.supxlabel(f"{who}\n{CAVEAT.format(whole)}.", fontsize=8.5, color="#5b6670")
    return figure


def _line(axes: Axes, table: pl.DataFrame, name: str, label: str) -> None:
    x, y = table["hours"].to_numpy(), table[name].to_numpy()
    low, high = (table[column(name, side)].to_numpy() for side in ("low", "high"))
    axes.fill_between(x, low, high, color="#0072b2", alpha=0.18, lw=0)
    axes.plot(x, y, color="#0072b2", marker="o", ms=5)
    axes.set_ylabel(label)
    for hour, value in zip(x, y, strict=True):
        axes.annotate(f"{value:.2f}", (hour, value), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.2)
