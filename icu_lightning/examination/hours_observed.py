"""How early is it right? The test stays as they stood after 6, 12, 24 ... hours, shown to the model of the whole window.

One model, trained on whole windows, is asked earlier; it is not trained anew for the shorter ones, so a model that had been
might do better, and its calibrator answers for whole windows only. After the whole window the numbers are the run's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.metrics import auroc, pooled
from icu_lightning.evaluation.reliability import observed_to_expected
from icu_lightning.examination.examined import Examined
from icu_lightning.plots.sheet import BAND, BLUE, INK, Facts, Sheet, sheet

METRICS = {"auroc": auroc, "observed_to_expected": observed_to_expected}
BAND_IS = "estimate and 95 % interval over resamples of patients"
CAVEAT = "One model, trained on windows of {} h and calibrated for them, is shown the first hours only; it is not trained anew."
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


@dataclass(frozen=True, kw_only=True)
class HoursSeen:
    """table: as `hours_observed` makes it, its AUROC defined."""

    table: pl.DataFrame
    facts: Facts


@sheet(11, 9, "How early is it right?")
def hours_figure(page: Sheet, seen: HoursSeen) -> None:
    """AUROC and O:E over the hours seen, with their intervals."""
    page.note(f"Lines and bands: {BAND_IS}, the same stays at every hour.")
    page.note(CAVEAT.format(seen.table["hours"][-1]))
    ranking, level = page.panels(2, 1, left=4.4, share="x", height_ratios=(3, 2), hspace=0.12)
    _line(ranking, seen.table, "auroc", "AUROC", 0.5, page.em)
    _line(level, seen.table, "observed_to_expected", "O:E deaths", 1.0, page.em)
    level.set_xlabel("Hours seen since admission to the unit")
    level.set_xticks(seen.table["hours"].to_list())


def _line(ax: Axes, table: pl.DataFrame, name: str, label: str, neutral: float, em: float) -> None:
    x, y = table["hours"].to_numpy(), table[name].to_numpy()
    low, high = (table[column(name, side)].to_numpy() for side in ("low", "high"))
    ax.axhline(neutral, color=INK, linewidth=0.06 * em, linestyle=(0, (3, 2)))
    ax.fill_between(x, low, high, color=BLUE, alpha=BAND, linewidth=0)
    ax.plot(x, y, color=BLUE, marker="o")
    ax.set_ylabel(label)
    for hour, value in zip(x, y, strict=True):
        ax.annotate(f"{value:.2f}", (hour, value), xytext=(0, 0.5 * em), textcoords="offset points", ha="center")
    ax.margins(x=0.06, y=0.15)
