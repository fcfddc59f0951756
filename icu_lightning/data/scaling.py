"""What is fitted on the training stays and applied to all: means and SDs of the series, categories of the static features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from icu_lightning.errors import NotFittedError, UserError

CATEGORICAL = ("sex", "ethnicity")


@dataclass
class Scaler:
    """z-scores of the series: (x - mean) / sd, with mean and sd over the observed cells of the training stays.

    `mean` and `sd` are (V,) in the variables' units; None until fitted.

    Deviation: the focal LSTM's original fits on its zero placeholders too, and evaluates unscaled data whenever the test split
    is loaded alone; here only observed cells count, and an unfitted scaler refuses.
    """

    mean: np.ndarray | None = None
    sd: np.ndarray | None = None

    def fit(self, values: np.ndarray, variables: Sequence[str]) -> "Scaler":
        """Fit on (B, T, V) training values, NaN where not observed. A constant variable gets sd 1.

        Raises UserError for a variable that no training stay has.
        """
        count = np.isfinite(values).sum((0, 1))
        if never := [name for name, n in zip(variables, count, strict=True) if n == 0]:
            raise UserError(f"No training stay has a value of {', '.join(never)}: leave that out of data.variables.")
        self.mean = np.asarray(np.nanmean(values, (0, 1), dtype=np.float64))
        sd = np.asarray(np.nanstd(values, (0, 1), dtype=np.float64))
        self.sd = np.where(sd > 0, sd, 1.0)
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        """(B, T, V) in units, NaN where not observed -> z-scores, 0 where not observed. Raises NotFittedError."""
        if self.mean is None or self.sd is None:
            raise NotFittedError("the scaler has not seen training data")
        return np.nan_to_num((values - self.mean) / self.sd, nan=0.0).astype(np.float32)

    def state(self) -> dict[str, list[float]]:
        if self.mean is None or self.sd is None:
            raise NotFittedError("the scaler has not seen training data")
        return {"mean": self.mean.tolist(), "sd": self.sd.tolist()}


@dataclass
class StaticEncoder:
    """Age as a z-score (0 if unknown), sex and ethnicity one-hot; a category that training lacks counts as `unknown`."""

    age_mean: float = float("nan")
    age_sd: float = float("nan")
    categories: Mapping[str, list[str]] = field(default_factory=dict)

    def fit(self, stays: pl.DataFrame) -> "StaticEncoder":
        """Fit on the training stays (columns of `sources.base.STAYS`)."""
        age = stays["age"].drop_nulls().to_numpy()
        self.age_mean, self.age_sd = (float(age.mean()), float(age.std()) or 1.0) if age.size else (0.0, 1.0)
        self.categories = {name: [*stays[name].drop_nulls().unique().sort(), "unknown"] for name in CATEGORICAL}
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return ("age", *(f"{name}={category}" for name, known in self.categories.items() for category in known))

    def transform(self, stays: pl.DataFrame) -> np.ndarray:
        """(B, S) float32 in the order of `names`. Raises NotFittedError."""
        if not self.categories:
            raise NotFittedError("the static features' categories have not seen training data")
        age = ((stays["age"] - self.age_mean) / self.age_sd).fill_null(0.0)
        columns = [age.to_numpy()]
        for name, known in self.categories.items():
            charted = (
                stays[name]
                .replace_strict({c: c for c in known}, default="unknown", return_dtype=pl.String)
                .fill_null("unknown")
            )
            columns += [(charted == category).to_numpy() for category in known]
        return np.stack(columns, axis=1).astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {
            "age_mean": self.age_mean,
            "age_sd": self.age_sd,
            "categories": {k: list(v) for k, v in self.categories.items()},
        }
