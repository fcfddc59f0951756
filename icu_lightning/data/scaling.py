"""What is fitted on the training stays and applied to all: means and SDs of the series, categories of the static features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from icu_lightning.data.severity import SCORES
from icu_lightning.errors import NotFittedError, UserError

NUMERIC = ("age", "weight_kg", *SCORES)
CATEGORICAL = ("sex", "ethnicity", "marital_status", "insurance", "language", "unit_type")


@dataclass
class Scaler:
    """z-scores of the series: (x - mean) / sd, with mean and sd over the observed cells of the training stays.

    `mean` and `sd` are (V,) in the variables' units; None until fitted.

    Deviation: the focal LSTM's original fits on its zero placeholders too, and evaluates unscaled data whenever the test split
    is loaded alone; here only observed cells count, and an unfitted scaler refuses.
    """

    mean: np.ndarray | None = None
    sd: np.ndarray | None = None

    def fit(self, values: np.ndarray, variables: Sequence[str], setting: str = "data.variables") -> "Scaler":
        """Fit on (B, T, V) training values, NaN where not observed. A constant variable gets sd 1.

        Raises UserError for a variable that no training stay has, to be left out of `setting`.
        """
        count = np.isfinite(values).sum((0, 1))
        if never := [name for name, n in zip(variables, count, strict=True) if n == 0]:
            raise UserError(
                f"No training stay has a value of {', '.join(never)}: leave that out of {setting}{_or_drop(setting)}."
            )
        self.mean = np.asarray(np.nanmean(values, (0, 1), dtype=np.float64))
        sd = np.asarray(np.nanstd(values, (0, 1), dtype=np.float64))
        self.sd = np.where(sd > 0, sd, 1.0)
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        """(B, T, V) in units, NaN where not observed -> z-scores, 0 where not observed. Raises NotFittedError."""
        if self.mean is None or self.sd is None:
            raise NotFittedError("the scaler has not seen training data")
        return np.nan_to_num((values - self.mean) / self.sd, nan=0.0).astype(np.float32)

    @classmethod
    def restored(cls, state: Mapping[str, Sequence[float]]) -> "Scaler":
        """The scaler of a `state()`."""
        return cls(np.asarray(state["mean"], dtype=np.float64), np.asarray(state["sd"], dtype=np.float64))

    def state(self) -> dict[str, list[float]]:
        if self.mean is None or self.sd is None:
            raise NotFittedError("the scaler has not seen training data")
        return {"mean": self.mean.tolist(), "sd": self.sd.tolist()}


def _or_drop(setting: str) -> str:
    return ", or say data.never_measured=drop" if setting == "data.variables" else ""


@dataclass
class StaticEncoder:
    """What is known of a person at admission: numbers as z-scores (0, the mean, if unknown), words one-hot.

    The categories are those of the training stays and `unknown`, which also takes what training lacks. A feature that the
    database does not chart (no insurance in eICU) is `unknown` for everybody, a number 0.

    Arguments:
        features: of NUMERIC and CATEGORICAL, in the order of the columns.
        mean, sd: by numeric feature, in its unit; empty until fitted.
        categories: by categorical feature; empty until fitted.
    """

    features: Sequence[str]
    mean: Mapping[str, float] = field(default_factory=dict)
    sd: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, list[str]] = field(default_factory=dict)

    def fit(self, stays: pl.DataFrame) -> "StaticEncoder":
        """Fit on the training stays (columns of `sources.base.STAYS`). A number nobody has gets mean 0; a constant one, sd 1."""
        known = {name: stays[name].drop_nulls() for name in self.features}
        numbers = {name: column.to_numpy() for name, column in known.items() if name in NUMERIC}
        self.mean = {name: float(x.mean()) if x.size else 0.0 for name, x in numbers.items()}
        self.sd = {name: (float(x.std()) if x.size else 0.0) or 1.0 for name, x in numbers.items()}
        self.categories = {
            name: [*sorted(set(words) - {"unknown"}), "unknown"] for name, words in known.items() if name in CATEGORICAL
        }
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """(S) names of the columns: a numeric feature's own, and FEATURE=CATEGORY."""
        self._check_fitted()
        return tuple(column for name in self.features for column in self._names(name))

    def transform(self, stays: pl.DataFrame) -> np.ndarray:
        """(B, S) float32 in the order of `names`. Raises NotFittedError."""
        self._check_fitted()
        columns = [column for name in self.features for column in self._columns(name, stays[name])]
        return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((stays.height, 0), np.float32)

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint. Raises NotFittedError."""
        self._check_fitted()
        parts = {"mean": self.mean, "sd": self.sd, "categories": self.categories}
        return {"features": list(self.features), **{name: dict(part) for name, part in parts.items()}}

    def _check_fitted(self) -> None:
        if set(self.features) - self.mean.keys() - self.categories.keys():
            raise NotFittedError("the static features have not seen training data")

    def _names(self, feature: str) -> list[str]:
        return [feature] if feature in self.mean else [f"{feature}={word}" for word in self.categories[feature]]

    def _columns(self, feature: str, charted: pl.Series) -> list[np.ndarray]:
        if feature in self.mean:
            return [((charted - self.mean[feature]) / self.sd[feature]).fill_null(0.0).to_numpy()]
        known = self.categories[feature]
        word = charted.replace_strict({c: c for c in known}, default="unknown", return_dtype=pl.String)
        word = word.fill_null("unknown")
        return [(word == category).to_numpy() for category in known]
