"""A handful of test stays to look at one by one: drawn by lot among those the model was right and wrong about, and all about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.batch import StayBatch
from icu_lightning.examination.examined import Examined

DRAWS = 100  # imputations behind a band
LEVEL = 0.9  # of bands
USUAL = (0.05, 0.95)  # quantiles of the training stays' values
KINDS = {  # flagged, died -> what it is called, and in words
    (True, True): ("true positive", "flagged, and died"),
    (False, True): ("false negative", "not flagged, but died"),
    (True, False): ("false positive", "flagged, but survived"),
    (False, False): ("true negative", "not flagged, and survived"),
}
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Band:
    """Lowest, middle and highest of draws, each (T) or (T, V)."""

    low: Array
    middle: Array
    high: Array


@dataclass(frozen=True, kw_only=True)
class Case:
    """A stay and everything its page shows.

    facts: its row of the stays table. prediction: its row of predictions.parquet.
    risk: (T) calibrated, after 1, 2, ... T hours. spread: of the model's draws, calibrated; None if it has one draw.
    values: (T, V) in clinical units, NaN where not measured, or hidden from the model.
    imputed: (T, V) in clinical units; None if the model fills nothing in.
    treatments: (T, D) rates and the VIS, NaN where unknown; None if the run read no infusions.
    """

    kind: tuple[bool, bool]
    facts: dict[str, Any]
    prediction: dict[str, Any]
    risk: Array
    spread: Band | None
    values: Array
    imputed: Band | None
    treatments: Array | None

    @property
    def first_flagged(self) -> int | None:
        """Hours after which the risk first reached the threshold; None if it never did."""
        reached = np.flatnonzero(self.risk >= self.prediction["threshold"])
        return int(reached[0]) + 1 if reached.size else None


def chosen(test: pl.DataFrame, n: int, seed: int) -> NDArray[np.intp]:
    """Positions of up to `n` test stays: one of each of KINDS in turn, by lot; a kind that runs out is passed over."""
    flagged, died = (test["risk"] >= test["threshold"]).to_numpy(), (test["label"] == 1).to_numpy()
    rng = np.random.default_rng(seed)
    queues = [rng.permutation(np.flatnonzero((flagged == f) & (died == d))).tolist() for f, d in KINDS]
    taken: list[int] = []
    while len(taken) < n and any(queues):
        taken += [queue.pop() for queue in queues if queue][: n - len(taken)]
    return np.array(taken, dtype=np.intp)


def cases(it: Examined, positions: Sequence[int] | NDArray[np.intp]) -> list[Case]:
    """All about the test stays at these positions, in their order."""
    if not len(positions):
        return []
    order = np.argsort(positions)
    which = np.asarray(positions)[order]
    made = _cases(it, which, it.rows(which))
    return [made[i] for i in np.argsort(order)]


def _cases(it: Examined, which: NDArray[np.intp], rows: pl.Series) -> list[Case]:
    """Arguments: which: rising positions. rows: of the data's stays, the same ones."""
    data = it.data
    draws = [it.raw_at(h, which) for h in range(1, it.hours + 1)]  # T times (B, S)
    risk = np.stack([it.calibrator.transform(raw.mean(axis=1)) for raw in draws], axis=1)  # (B, T)
    spread = _band(it.calibrator.transform(np.stack(draws))) if draws[0].shape[1] > 1 else None  # (T, B, S) -> (T, B)
    shown = data.earlier(rows, it.hours)
    values = np.where(shown.observed.numpy(), data.values[rows.to_numpy()].astype(np.float64), np.nan)
    imputed = _imputed(it, shown)
    treatments = np.expm1(data.treatments(rows)) if data.settings.vis is not None else None
    facts, predictions = data.stays.filter(rows).to_dicts(), it.test[which].to_dicts()
    return [
        Case(
            kind=(prediction["risk"] >= prediction["threshold"], prediction["label"] == 1),
            facts=facts[i],
            prediction=prediction,
            risk=risk[i],
            spread=None if spread is None else Band(**{k: part[:, i] for k, part in vars(spread).items()}),
            values=values[i],
            imputed=None if imputed is None else Band(**{k: part[i] for k, part in vars(imputed).items()}),
            treatments=None if treatments is None else treatments[i],
        )
        for i, prediction in enumerate(predictions)
    ]


def _imputed(it: Examined, shown: StayBatch) -> Band | None:
    """(B, T, V) in clinical units, of a model that fills in."""
    if not hasattr(it.model, "impute"):
        return None
    z = it.model.impute(shown, DRAWS).double().numpy()  # (B, S, T, V)
    band = _band(np.moveaxis(z, 1, -1))
    mean, sd = it.data.scaler.mean, it.data.scaler.sd
    return Band(**{name: part * sd + mean for name, part in vars(band).items()})


def _band(draws: Array) -> Band:
    """Quantiles over the last axis: the central LEVEL, and the median."""
    low, middle, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], axis=-1)
    return Band(low=low, middle=middle, high=high)


def usual_ranges(it: Examined) -> Array:
    """(2, V) between which nine in ten of the training stays' hourly values lie."""
    training = it.data.values[(it.data.stays["split"] == "train").to_numpy()]
    return np.nanquantile(training.reshape(-1, training.shape[-1]).astype(np.float64), USUAL, axis=0)
