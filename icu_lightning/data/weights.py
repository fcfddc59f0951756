"""The weight of those whom nobody weighed: the median of the training stays of their sex (METHODS C.1 iv), else 80 kg.

Rates a minute are divided by a weight before there is a split, by 80 kg where none was charted. What rests on those 80 kg is kept
apart, so that it is set right, in proportion, when the training stays are known.

Deviation: SOFA of the severity scores, whose drug bands need rates per kg, keeps the 80 kg; so does the judgement whether a
rate is plausible. An hour's highest rate is exact unless one drug ran both per kg and per minute within that hour.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.data.infusions import USUAL_WEIGHT, WEIGHTS
from icu_lightning.errors import NotFittedError


@dataclass
class UsualWeight:
    """medians: kg by sex, and of everybody under `unknown`; None until fitted, without the sexes of whom nobody was weighed."""

    medians: Mapping[str, float] | None = None

    def fit(self, stays: pl.DataFrame) -> "UsualWeight":
        """Fit on the training stays (columns of `sources.base.STAYS`); only plausible weights count."""
        weighed = stays.filter(pl.col("weight_kg").is_between(*WEIGHTS))
        of_sex = weighed.drop_nulls("sex").group_by("sex").agg(pl.col("weight_kg").median()).sort("sex")
        self.medians = dict(of_sex.rows()) | dict(
            weighed.select(pl.lit("unknown"), pl.col("weight_kg").median()).drop_nulls().rows()
        )
        return self

    def of(self, stays: pl.DataFrame) -> NDArray[np.float64]:
        """(B) kg that stand for an unknown weight of each stay. Raises NotFittedError."""
        if self.medians is None:
            raise NotFittedError("the usual weights have not seen training data")
        usual = self.medians.get("unknown", USUAL_WEIGHT)
        return np.array([self.medians.get(sex or "unknown", usual) for sex in stays["sex"]])

    def corrected(
        self, rates: NDArray[np.float32], assumed: NDArray[np.float32] | None, stays: pl.DataFrame
    ) -> NDArray[np.float64]:
        """(B, T, D) rates with the part that rests on 80 kg as for the usual weight. Raises NotFittedError.

        >>> import numpy as np
        >>> people = pl.DataFrame({"sex": ["female", None], "weight_kg": [64.0, None]})
        >>> rates, assumed = np.full((2, 1, 1), 0.3, np.float32), np.full((2, 1, 1), 0.1, np.float32)
        >>> UsualWeight({"female": 64.0}).corrected(rates, assumed, people).round(6).ravel().tolist()
        [0.325, 0.3]
        """
        wide = rates.astype(np.float64)
        if assumed is None:
            return wide
        factor = USUAL_WEIGHT / self.of(stays) - 1
        return wide + assumed.astype(np.float64) * factor[:, None, None]

    def state(self) -> dict[str, float]:
        """Plain values for a checkpoint. Raises NotFittedError."""
        if self.medians is None:
            raise NotFittedError("the usual weights have not seen training data")
        return dict(self.medians)
