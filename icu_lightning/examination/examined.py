"""A trained model beside the data and the predictions of its run: what looking closer begins with.

What the model would have said earlier is asked of the same model and calibrator: the stays are shown to it as they stood
then (`ICUDataModule.earlier`), and nothing is trained or fitted anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.data.module import ICUDataModule
from icu_lightning.errors import UserError
from icu_lightning.evaluation.calibration import Calibrator
from icu_lightning.models.base import Model, draws_of

SAME = 1e-6  # a risk that is asked again may differ by so much from the stored one


@dataclass(frozen=True, kw_only=True)
class Examined:
    """test: the test rows of predictions.parquet, in the order of the data's test stays.

    earlier: (epoch, the model as it was then), of a model that kept its weights on the way.
    """

    data: ICUDataModule
    model: Model
    calibrator: Calibrator
    test: pl.DataFrame
    earlier: Sequence[tuple[int, Any]] = ()

    @property
    def hours(self) -> int:
        """T of the window, at whose end the run's own predictions are made."""
        return self.data.settings.hours

    def rows(self, which: NDArray[np.intp] | None = None) -> pl.Series:
        """(N) True for the test stays among all of the cohort, or for those of them at these positions, which must rise."""
        position = np.flatnonzero((self.data.stays["split"] == "test").to_numpy())
        chosen = np.zeros(self.data.stays.height, dtype=bool)
        chosen[position if which is None else position[which]] = True
        return pl.Series(chosen)

    def raw_at(self, hours: int, which: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        """(B, S) the model's own draws for test stays of whom it has seen the first `hours`."""
        return draws_of(self.model, self.data.earlier(self.rows(which), hours))

    def risk_at(self, hours: int, which: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        """(B) calibrated, as `predictions.parquet` has it for the whole window."""
        return self.calibrator.transform(self.raw_at(hours, which).mean(axis=1))


def examined(
    data: ICUDataModule,
    model: Model,
    calibrator: Calibrator,
    predictions: pl.DataFrame,
    earlier: Sequence[tuple[int, Any]] = (),
) -> Examined:
    """All of it together. Raises UserError if the predictions are not this model's for these test stays."""
    test = predictions.filter(pl.col("split") == "test")
    stays = data.stays.filter(pl.col("split") == "test")["stay_id"]
    if test["stay_id"].to_list() != stays.to_list():
        raise UserError(
            f"predictions.parquet has {test.height} test stays, the data now have {stays.len()}, or others: tables, cohort or split "
            "have changed since the run."
        )
    it = Examined(data=data, model=model, calibrator=calibrator, test=test, earlier=earlier)
    if test.height:
        again = draws_of(model, data.test).mean(axis=1)
        if (worst := float(np.abs(again - test["risk_raw"].to_numpy()).max())) > SAME:
            raise UserError(
                f"The model gives other risks than predictions.parquet holds (by up to {worst:.2g}): that file, the checkpoint or "
                "the data are of another run."
            )
    return it
