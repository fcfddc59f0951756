"""What a run's figures are drawn from: predictions.parquet, metrics.json and metrics.csv, and nothing else."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.curves import THRESHOLDS, net_benefit_at, ppv_at, sensitivity_at
from icu_lightning.plots.sheet import Facts

Array = NDArray[np.float64]
SHARES = np.linspace(0, 1, 101)  # where the bands of ROC and precision-recall curves are computed
SPLIT = "test"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The test stays of one run.

    Arguments:
        model, data, outcome: names, for people.
        synthetic: the stays are made up.
        stays: rows of predictions.parquet.
        metrics: what metrics.json has about them.
        epochs: rows of metrics.csv as text; none for a model without epochs.
        replicates, seed: patient resamples behind every band.
        imputation: what metrics.json has about hidden cells, by missing rate; empty for a model that does not impute.
        draws: asked for of each of these cells; None where it is not known. stratified: they share strata (models/noise.py).
    """

    model: str
    data: str
    outcome: str
    synthetic: bool
    stays: pl.DataFrame
    metrics: Mapping[str, Any]
    epochs: Sequence[Mapping[str, str]]
    replicates: int
    seed: int
    imputation: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    draws: int | None = None
    stratified: bool = False

    @cached_property
    def label(self) -> Array:
        return self.stays["label"].to_numpy()

    @cached_property
    def risk(self) -> Array:
        return self.stays["risk"].to_numpy()

    @cached_property
    def risk_raw(self) -> Array:
        return self.stays["risk_raw"].to_numpy()

    @cached_property
    def risk_prior(self) -> Array | None:
        """Of a run that undersampled its training stays."""
        return self.stays["risk_prior"].to_numpy() if "risk_prior" in self.stays.columns else None

    @cached_property
    def flagged(self) -> NDArray[np.bool_]:
        """By each stay's own threshold: the folds of a cross-validation have their own."""
        return self.risk >= self.stays["threshold"].to_numpy()

    @property
    def thresholds(self) -> list[float]:
        return sorted(self.stays["threshold"].unique().to_list())

    @property
    def n(self) -> int:
        return self.stays.height

    @property
    def events(self) -> int:
        return int(self.label.sum())

    @property
    def happened(self) -> str:
        """died_in_hospital in words."""
        return self.outcome.replace("_", " ")

    @property
    def calibrated(self) -> bool:
        before = self.risk_raw if self.risk_prior is None else self.risk_prior
        return not np.array_equal(self.risk, before)

    @property
    def facts(self) -> Facts:
        folds = self.stays["fold"].n_unique() if self.stays["fold"].null_count() == 0 else 0
        stays = f"out-of-fold predictions of {folds} folds" if folds else f"{SPLIT} split"
        about = f"{self.model} on {self.data}, {stays}: {self.n:,} stays, {self.events:,} {self.happened}"
        return Facts(about=about, synthetic=self.synthetic)

    @property
    def resampled(self) -> str:
        """What a band is."""
        return f"95 % over {self.replicates:,} resamples of patients"

    @cached_property
    def bands(self) -> dict[str, tuple[Array, Array]]:
        """roc (at SHARES), pr (at SHARES above 0), decision (at THRESHOLDS) -> lower and upper end, NaN where undefined."""

        def curves(weight: Array) -> dict[str, Array]:
            rows = np.atleast_2d(weight)
            drawn = {
                "roc": sensitivity_at(self.label, self.risk, rows, SHARES),
                "pr": ppv_at(self.label, self.risk, rows, SHARES[1:]),
                "decision": net_benefit_at(self.label, self.risk, rows, THRESHOLDS),
            }
            return {name: points if weight.ndim == 2 else points[0] for name, points in drawn.items()}

        cells = with_intervals(curves, self.stays["patient_id"].to_numpy(), self.replicates, self.seed)
        return {name: (_numbers(cell["low"]), _numbers(cell["high"])) for name, cell in cells.items()}

    def cell(self, name: str, block: str | None = None) -> Mapping[str, float | None]:
        """{value, low, high} of a metric, of the calibrated risk or in a block beside it; None throughout if it was not computed."""
        return (self.metrics if block is None else self.metrics.get(block, {})).get(name) or dict.fromkeys(
            ("value", "low", "high")
        )


def read(folder: Path, config: Mapping[str, Any], stays: pl.DataFrame, facts: Mapping[str, str]) -> Evidence:
    """The evidence of a finished run folder.

    Arguments:
        config: the run's. stays, facts: predictions.parquet, all its rows, and its metadata.
    """
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    settings = metrics["evaluation"]
    epochs: list[dict[str, str]] = []
    if (folder / "metrics.csv").exists():
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            epochs = list(csv.DictReader(file))
    synthetic = facts.get("synthetic")
    return Evidence(
        model=str(config["names"]["model"]),
        data=facts.get("source") or str(config["names"]["data"]),
        outcome=facts.get("outcome", "events"),
        synthetic=synthetic == "true" if synthetic else config["names"]["data"] == "synthetic",
        stays=stays.filter(pl.col("split") == SPLIT),
        metrics=metrics[SPLIT],
        epochs=epochs,
        replicates=settings["bootstrap"],
        seed=settings["seed"],
        imputation=metrics.get("imputation", {}),
        draws=(config.get("imputation") or {}).get("draws"),
        stratified=_stratified(config.get("model")),
    )


def _stratified(model: Any) -> bool:
    """Whether a part of a model's configuration, however deep, draws from stratified noise."""
    if not isinstance(model, Mapping):
        return False
    return model.get("stratified") is True or any(_stratified(part) for part in model.values())


def _numbers(points: Sequence[float | None]) -> Array:
    return np.array([np.nan if x is None else x for x in points])


def interval_text(cell: Mapping[str, float | None], digits: int = 3) -> str:
    """0.812 (0.790–0.833), with "to" where an end is below zero.

    >>> interval_text({"value": 0.8123, "low": 0.79, "high": 0.8333}), interval_text({"value": -0.1, "low": -0.2, "high": None})
    ('0.812 (0.790–0.833)', '−0.100')
    """
    value, low, high = (cell[side] for side in ("value", "low", "high"))
    if value is None:
        return "undefined"
    if low is None or high is None:
        return f"{value:.{digits}f}".replace("-", "−")
    between = " to " if low < 0 else "–"
    return f"{value:.{digits}f} ({low:.{digits}f}{between}{high:.{digits}f})".replace("-", "−")
