"""How good imputations are: MAE and RMSE of the point estimate, CRPS and coverage of the draws. In z-scores over all variables, which
have no other unit in common; and each variable's own in its clinical unit, an error in z-scores times its SD.

The point estimate is the median of the draws. Errors are summed over all cells and divided by their number, as CSDI does, so
that long stays count for what they hold. Of a run they are computed from imputations.parquet alone (`evaluate_imputations`).

References: CSDI (Tashiro, Song, Song, Ermon, 2021), appendix D; Strictly Proper Scoring Rules (Gneiting, Raftery, 2007), Eq. 20, 21.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import with_intervals

Array = NDArray[np.float64]

LEVELS = np.arange(1, 20) / 20  # .05, .10, ..., .95
LOW, HIGH = 0.05, 0.95  # of a 90 % band
FEWEST = 10  # patients with a cell of a variable, below whom an error in its unit would tell a patient's value


def imputation_metrics(truth: Array, draws: Array) -> dict[str, float | None]:
    """What is reported of one missing rate.

    Arguments:
        truth: (N) of the held-out cells.
        draws: (S, N) imputations of them.

    `coverage90` and `crps_19` are None with a single draw, which has no spread; everything is None without cells.
    """
    if draws.ndim != 2 or draws.shape[1:] != truth.shape:
        raise ValueError(f"draws must be (S, N) of N = {len(truth)} cells; their shape is {draws.shape}")
    names = ("mae", "rmse", "crps", "crps_19", "coverage90")
    if not len(truth):
        return dict.fromkeys(names)
    error = np.median(draws, axis=0) - truth
    several = len(draws) > 1
    values = (
        np.abs(error).mean(),
        np.sqrt(np.square(error).mean()),
        crps(truth, draws).mean(),
        quantile_crps(truth, draws) if several else None,
        coverage(truth, draws) if several else None,
    )
    return {name: None if value is None else float(value) for name, value in zip(names, values, strict=True)}


def evaluate_imputations(table: pl.DataFrame, n_replicates: int, seed: int) -> dict[str, dict[str, Any]]:
    """missing rate -> {n: cells, stays, <metric>: {value, low, high}, variables}, of what imputations.py writes, in z-scores.

    Metrics: those of `imputation_metrics`; `mae_mean` and `rmse_mean` are of the training mean in every cell, which is 0. The
    intervals are over resampled patients. A rate of which there are no cells is not in it. `variables`: see `clinical_errors`; of a
    table that older runs have written, without the variables' units, there are none.
    """
    by_rate = table.partition_by("rate", as_dict=True, maintain_order=True)
    return {f"{rate:g}": _of_rate(cells, n_replicates, seed) for (rate,), cells in by_rate.items()}


def _of_rate(cells: pl.DataFrame, n_replicates: int, seed: int) -> dict[str, Any]:
    truth, draws = cells["truth"].cast(pl.Float64).to_numpy(), cells["draws"].to_numpy().astype(np.float64).T  # (S, N)
    counts = {"n": cells.height, "stays": cells["stay_id"].n_unique()}
    error, several = np.median(draws, axis=0) - truth, len(draws) > 1
    per_cell = {"absolute": np.abs(error), "squared": error**2, "crps": crps(truth, draws), "one": np.ones_like(truth)}
    per_cell |= {"absolute_mean": np.abs(truth), "squared_mean": truth**2}
    if several:
        per_cell |= {"pinball": _pinball(truth, draws).mean(0), "covered": _covered(truth, draws).astype(float)}
    patients, columns = _by_patient(cells, per_cell)

    def metrics(weight: Array) -> dict[str, Any]:
        total = {name: weight @ column for name, column in columns.items()}
        mean = {name: total[name] / total["one"] for name in total}
        found = {
            "mae": mean["absolute"],
            "rmse": np.sqrt(mean["squared"]),
            "crps": mean["crps"],
            "mae_mean": mean["absolute_mean"],
            "rmse_mean": np.sqrt(mean["squared_mean"]),
        }
        if several:
            found |= {"crps_19": 2 * total["pinball"] / total["absolute_mean"], "coverage90": mean["covered"]}
        return found

    found = counts | with_intervals(metrics, patients, n_replicates, seed)
    return found if "sd" not in cells.columns else found | {"variables": clinical_errors(cells, n_replicates, seed)}


def _by_patient(cells: pl.DataFrame, per_cell: Mapping[str, Array]) -> tuple[NDArray[Any], dict[str, Array]]:
    """(P) patients, sorted, and of each name (P) sums over their cells.

    By bincount: a group-by of polars adds up in any order, and the last digit with it.
    """
    patients, of_cell = np.unique(cells["patient_id"].to_numpy(), return_inverse=True)
    return patients, {name: np.bincount(of_cell, x, len(patients)).astype(float) for name, x in per_cell.items()}


@dataclass(frozen=True, eq=False)
class PatientErrors:
    """Of one missing rate: (P) patients, sorted, and (P) sums of their cells' absolute and squared errors, and the number of cells."""

    patients: NDArray[Any]
    absolute: Array
    squared: Array
    cells: Array

    def errors(self, weight: Array) -> dict[str, Array]:
        """(R, P) weights -> MAE and RMSE of the point estimate, (R) each, as `evaluate_imputations` has them."""
        n = weight @ self.cells
        return {"mae": weight @ self.absolute / n, "rmse": np.sqrt(weight @ self.squared / n)}


def patient_errors(table: pl.DataFrame) -> dict[str, PatientErrors]:
    """missing rate -> the errors behind the metrics of `evaluate_imputations`, of the same table."""
    found = {}
    for (rate,), cells in table.partition_by("rate", as_dict=True, maintain_order=True).items():
        error = (
            np.median(cells["draws"].to_numpy().astype(np.float64), axis=1) - cells["truth"].cast(pl.Float64).to_numpy()
        )
        patients, sums = _by_patient(
            cells, {"absolute": np.abs(error), "squared": error**2, "cells": np.ones_like(error)}
        )
        found[f"{rate:g}"] = PatientErrors(patients, **sums)
    return found


def clinical_errors(cells: pl.DataFrame, n_replicates: int, seed: int) -> dict[str, dict[str, Any]]:
    """variable -> {unit, n: cells, stays, mae, rmse, mae_mean: {value, low, high}}, in its unit.

    Arguments:
        cells: rows of imputations.parquet, of one rate.

    Errors in z-scores times `sd`, which in pooled folds is each fold's own. They are None where fewer than FEWEST patients have a cell
    of the variable.
    """
    sd, truth = cells["sd"].to_numpy(), cells["truth"].cast(pl.Float64).to_numpy()
    error = sd * (np.median(cells["draws"].to_numpy().astype(np.float64), axis=1) - truth)
    per_cell = {
        "absolute": np.abs(error),
        "squared": error**2,
        "absolute_mean": np.abs(sd * truth),
        "one": np.ones_like(sd),
    }
    patients, of_patient = np.unique(cells["patient_id"].to_numpy(), return_inverse=True)
    names, of_variable = np.unique(cells["variable"].to_numpy(), return_inverse=True)
    size = len(patients), len(names)
    place = of_patient * len(names) + of_variable
    sums = {name: np.bincount(place, x, size[0] * size[1]).reshape(size) for name, x in per_cell.items()}
    told = np.where((sums["one"] > 0).sum(0) >= FEWEST, 1.0, np.nan)

    def metrics(weight: Array) -> dict[str, Any]:
        total = {name: weight @ column for name, column in sums.items()}  # (R, V) or (V)
        n = np.where(total["one"] > 0, total["one"], np.nan) * told  # a resample may have no cell of a variable
        return {
            "mae": total["absolute"] / n,
            "rmse": np.sqrt(total["squared"] / n),
            "mae_mean": total["absolute_mean"] / n,
        }

    found = with_intervals(metrics, patients, n_replicates, seed)
    facts = cells.group_by("variable").agg(pl.first("unit"), n=pl.len(), stays=pl.n_unique("stay_id")).sort("variable")
    return {
        row.pop("variable"): row | {m: {side: at[i] for side, at in of.items()} for m, of in found.items()}
        for i, row in enumerate(facts.to_dicts())
    }


def crps(truth: Array, draws: Array) -> Array:
    """(N), (S, N) -> (N) the exact CRPS of the S draws as a distribution: E|X - y| - E|X - X'| / 2 (Gneiting, Raftery, Eq. 21).

    E|X - X'| follows from the sorted draws: 2 / S^2 sum_i (2 i - S - 1) x_(i).
    """
    n = len(draws)
    rank = 2 * np.arange(1, n + 1) - n - 1
    spread = (rank[:, None] * np.sort(draws, axis=0)).sum(0) / n**2  # half of E|X - X'|
    return np.abs(draws - truth).mean(0) - spread


def quantile_crps(truth: Array, draws: Array) -> float:
    """CSDI's CRPS: the mean of twice the pinball loss at 19 quantiles, over the mean of |truth|. NaN where all truth is 0."""
    size = np.abs(truth).mean()
    return float(2 * _pinball(truth, draws).mean() / size) if size > 0 else float("nan")


def _pinball(truth: Array, draws: Array) -> Array:
    """(19, N) the loss at each of LEVELS."""
    estimate = np.quantile(draws, LEVELS, axis=0)
    level = LEVELS[:, None]
    return np.maximum(level * (truth - estimate), (level - 1) * (truth - estimate))


def coverage(truth: Array, draws: Array, low: float = LOW, high: float = HIGH) -> float:
    """The share of cells within the band of the draws between these quantiles."""
    return float(_covered(truth, draws, low, high).mean())


def _covered(truth: Array, draws: Array, low: float = LOW, high: float = HIGH) -> NDArray[np.bool_]:
    bounds: Any = np.quantile(draws, [low, high], axis=0)
    return (truth >= bounds[0]) & (truth <= bounds[1])
