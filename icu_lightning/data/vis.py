"""The vasoactive-inotropic score, hour by hour, and the drug rates that it is made of.

    VIS = dopamine + dobutamine + 100 epinephrine + 100 norepinephrine + 10 milrinone + 10,000 vasopressin

with rates in ug/kg/min, that of vasopressin in U/kg/min; a sum without a cap. An hour's rate is the time-weighted mean of what
ran in it: a true 0 where no infusion was charted, unknown where one ran at an unknown rate. Of highest rates ("max") the score is
the sum of each drug's own highest of the hour: an upper bound of the hour's highest score, if they did not run together.

References: Vasoactive-inotropic score as a predictor of morbidity and mortality in infants after cardiopulmonary bypass
(Gaies et al., 2010). Extensions (phenylephrine x 10) are off by default, because the literature disagrees about them.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from icu_lightning.data.drugs import Drug
from icu_lightning.data.infusions import RAN

HOURLY = ("mean", "max", "last")
RESOLUTION = 10**12  # integers a unit, so that sums do not depend on the order of the rows


def hourly_rates(
    infusions: pl.DataFrame, drugs: Sequence[Drug], stay_ids: pl.Series, hours: int, how: str = "mean"
) -> np.ndarray:
    """Rates (B, T, D) in the drugs' units: 0 where nothing ran, NaN where something ran at an unknown rate.

    Arguments:
        infusions: as `infusions.clean_infusions` gives them, within [0, hours).
        stay_ids: (B,) the stays, in the order of the result.
        how: an hour's rate is its time-weighted mean, its highest, or that at its end ("last"). Infusions of one drug that
            overlap add up, for "max" only where they run through the same minute.
    """
    rates = np.zeros((len(stay_ids), hours, len(drugs)))
    cells = hourly_cells(infusions.filter(pl.col("end_hours") > pl.col("start_hours")), how)
    at = cells.join(pl.DataFrame({"stay_id": stay_ids}).with_row_index("b"), on="stay_id").join(
        pl.DataFrame({"drug": [drug.name for drug in drugs]}).with_row_index("d"), on="drug"
    )
    rates[at["b"].to_numpy(), at["hour"].to_numpy(), at["d"].to_numpy()] = at["rate"].to_numpy()
    return rates


def hourly_cells(infusions: pl.DataFrame, how: str = "mean") -> pl.DataFrame:
    """One row (stay_id, drug, hour, rate) an hour in which a drug ran; rate is NaN where it is unknown.

    >>> two = {"start_hours": [0.0, 0.5], "end_hours": [0.5, 2.0], "rate": [4.0, 8.0]}
    >>> said = {"stay_id": 1, "drug": "dopamine", "status": "kept", **two}
    >>> hourly_cells(pl.DataFrame(said)).rows()
    [(1, 'dopamine', 0, 6.0), (1, 'dopamine', 1, 8.0)]
    """
    cell = ["stay_id", "drug", "hour"]
    ran = infusions.filter(pl.col("status").cast(pl.String).is_in(RAN))
    last = pl.col("end_hours").ceil().cast(pl.Int64)
    pieces = ran.with_columns(hour=pl.int_ranges(pl.col("start_hours").floor().cast(pl.Int64), last)).explode(
        "hour", empty_as_null=False
    )
    start = pl.max_horizontal("start_hours", pl.col("hour").cast(pl.Float64))
    end = pl.min_horizontal("end_hours", pl.col("hour") + 1.0)
    pieces = pieces.with_columns(start=start, end=end)
    if how == "max":
        pieces = _highest(pieces)
    weight = {
        "mean": pl.col("end") - pl.col("start"),
        "max": pl.lit(1.0),
        "last": (pl.col("end") == pl.col("hour") + 1),
    }
    ticks = (pl.col("rate") * weight[how].cast(pl.Float64) * RESOLUTION).round().cast(pl.Int64)
    unknown = pl.col("rate").is_null() & (weight[how].cast(pl.Float64) > 0)
    sums = pieces.group_by(cell).agg(rate=ticks.sum() / RESOLUTION, unknown=unknown.any()).sort(cell)
    return sums.select(*cell, rate=pl.when("unknown").then(float("nan")).otherwise("rate"))


def _highest(pieces: pl.DataFrame) -> pl.DataFrame:
    """One row a cell: the highest sum of rates over the starts of its pieces, between which no sum rises."""
    cell = ["stay_id", "drug", "hour"]
    moments = pieces.select(*cell, moment="start").unique()
    running = moments.join(pieces, on=cell).filter(pl.col("moment").is_between("start", "end", closed="left"))
    ticks = (pl.col("rate") * RESOLUTION).round().cast(pl.Int64)
    sums = running.group_by(*cell, "moment").agg(rate=ticks.sum() / RESOLUTION, unknown=pl.col("rate").is_null().any())
    sums = sums.with_columns(rate=pl.when(~pl.col("unknown")).then("rate"))
    return sums.group_by(cell).agg(
        rate=pl.when(pl.col("rate").is_null().any()).then(None).otherwise(pl.col("rate").max())
    )


def vis(rates: np.ndarray, drugs: Sequence[Drug]) -> np.ndarray:
    """(..., D) rates -> (...) score; NaN where a rate is unknown.

    >>> from icu_lightning.data.drugs import vis_drugs
    >>> [drug.name for drug in vis_drugs()]
    ['dopamine', 'dobutamine', 'epinephrine', 'norepinephrine', 'milrinone', 'vasopressin']
    >>> vis(np.array([5, 0, 0.1, 0.1, 0.5, 0.0003]), vis_drugs()).round(9)
    np.float64(33.0)
    """
    return rates @ np.array([drug.vis for drug in drugs])
