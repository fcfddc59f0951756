"""Outliers by the interquartile range: hourly cells far from what the training stays show, each replaced by its neighbour.

    low = Q1 - 1.5 (Q3 - Q1),  high = Q3 + 1.5 (Q3 - Q1)

over the observed hourly cells of a variable in the training stays. A cell outside takes the value of the nearest cell in
time, before or after, of the same stay and variable that is inside; where there is none, it becomes missing. The rule
takes true extremes for errors (a systolic pressure of 50 in shock), so plausible ranges alone are the default.

References: Robust ICU Mortality Prediction with Multi-Task Diffusion and Contrastive Learning Frameworks (MTDM;
Buranaburustam et al., APSIPA Trans. SIP 14(1) e15, 2025); METHODS B.1 and B.3. The paper's quartiles are those of all its
data; here they are of the training stays alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.errors import NotFittedError

RULES = ("range", "iqr")
REACH = 1.5  # interquartile ranges beyond the quartiles


class Repaired(NamedTuple):
    """values: (B, T, V) as given, but for the flagged cells. copied: (B, T, V) True where another hour's value stands for an outlier.

    replaced, removed: (V,) how many cells of each variable.
    """

    values: NDArray[np.float32]
    copied: NDArray[np.bool_]
    replaced: NDArray[np.int64]
    removed: NDArray[np.int64]


@dataclass
class Outliers:
    """Bounds of every variable, in its unit, and what is done with cells beyond them.

    Arguments:
        rule: "range" has no bounds but those that cleaning has applied already (concepts.yaml), and so changes nothing; "iqr"
            is the paper's rule.
        low, high: (V,) the last values that are no outliers; None until fitted, infinite where nothing is one.
    """

    rule: str
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None

    def fit(self, values: NDArray[np.float32]) -> "Outliers":
        """Fit on (B, T, V) training values, NaN where not observed.

        A variable that no training stay has gets no bounds, nor does one whose quartiles are equal.
        Deviation: by the paper's formula equal quartiles (a ventilator's 0 or 1, a value charted as 37.0 more often than not)
        would make an outlier of everything else; they tell no spread, so nothing is called one.
        """
        n_variables = values.shape[2]
        self.low, self.high = np.full(n_variables, -np.inf), np.full(n_variables, np.inf)
        for v in range(n_variables if self.rule == "iqr" else 0):
            observed = values[..., v][np.isfinite(values[..., v])]
            if not observed.size:
                continue
            first, third = np.quantile(observed.astype(np.float64), [0.25, 0.75])
            if third > first:
                self.low[v], self.high[v] = first - REACH * (third - first), third + REACH * (third - first)
        return self

    def transform(self, values: NDArray[np.float32]) -> Repaired:
        """Repair (B, T, V) values, NaN where not observed; what is missing stays missing. The values given are not changed.

        Raises NotFittedError.
        """
        if self.low is None or self.high is None:
            raise NotFittedError("the outlier bounds have not seen training data")
        flagged = (values < self.low) | (values > self.high)  # NaN is neither
        repaired = values.copy() if flagged.any() else values
        stay, variable = np.nonzero(flagged.any(axis=1))  # (N) series with an outlier: few, so only they are looked at
        series = values[stay, :, variable]  # (N, T)
        wrong = flagged[stay, :, variable]
        repaired[stay, :, variable] = np.where(wrong, nearest_valid(series, ~wrong & np.isfinite(series)), series)
        missing = flagged & np.isnan(repaired)
        copied = flagged & ~missing
        return Repaired(repaired, copied, copied.sum((0, 1)), missing.sum((0, 1)))

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Outliers":
        """The bounds of a `state()`."""
        return cls(state["rule"], *(np.asarray(state[side], dtype=np.float64) for side in ("low", "high")))

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint. Raises NotFittedError."""
        if self.low is None or self.high is None:
            raise NotFittedError("the outlier bounds have not seen training data")
        return {"rule": self.rule, "low": self.low.tolist(), "high": self.high.tolist()}


def nearest_valid(series: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(N, T) at each hour, the value of the nearest valid hour of the same row; of two as near, the earlier. NaN if none.

    >>> import numpy as np
    >>> series = np.array([[1, 99, 3, 99, 99, 99], [99] * 6], dtype=np.float32)
    >>> nearest_valid(series, series < 99).tolist()
    [[1.0, 1.0, 3.0, 3.0, 3.0, 3.0], [nan, nan, nan, nan, nan, nan]]
    """
    n_hours = series.shape[1]
    hour = np.arange(n_hours)
    before = np.maximum.accumulate(np.where(valid, hour, -2 * n_hours), axis=1)
    after = np.minimum.accumulate(np.where(valid, hour, 3 * n_hours)[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(hour - before <= after - hour, before, after)
    found = np.take_along_axis(series, nearest.clip(0, n_hours - 1), axis=1)
    return np.where(valid.any(1, keepdims=True), found, np.float32(np.nan))


def counted(cleaning: pl.DataFrame, variables: Sequence[str], repaired: Repaired) -> pl.DataFrame:
    """The cleaning table with `outlier_replaced` and `outlier_removed`, 0 in its other rows; `cells` loses the removed ones.

    Arguments:
        cleaning: as `extract.Extract.cleaning`, with a row for each of the variables.
        variables: (V,) names of the repaired values' last axis.
    """
    columns = {"outlier_replaced": repaired.replaced, "outlier_removed": repaired.removed}
    counts = {
        name: pl.col("variable").replace_strict(
            dict(zip(variables, of_variable.tolist(), strict=True)), default=0, return_dtype=pl.Int64
        )
        for name, of_variable in columns.items()
    }
    table = cleaning.with_columns(**counts).with_columns(cells=pl.col("cells") - pl.col("outlier_removed"))
    return table.select(pl.exclude("cells", "latest_hours"), "cells", "latest_hours")
