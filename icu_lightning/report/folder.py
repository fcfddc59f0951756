"""A finished run folder, read: everything a report says stands in its files; neither model nor data are asked.

What a report cannot do without is refused if it is missing, and so is a file that cannot be read; the rest may be missing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning import runfolder
from icu_lightning.description.words import DATABASES, OUTCOMES, plain
from icu_lightning.errors import UserError
from icu_lightning.evaluation.stored import Stored
from icu_lightning.evaluation.stored import read as read_predictions
from icu_lightning.report.words import chance_ece
from icu_lightning.results import stored_digest, stored_metrics


@dataclass(frozen=True, kw_only=True)
class Run:
    """The files of a run. None: not there. environment: name -> text, and `packages`, a line each."""

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    stored: Stored
    environment: Mapping[str, str]
    packages: tuple[str, ...]
    audit: dict[str, Any] | None
    explanation: Any
    attrition: pl.DataFrame | None
    cleaning: pl.DataFrame | None
    history: pl.DataFrame | None
    hours_observed: pl.DataFrame | None
    robustness: Any

    @property
    def test(self) -> dict[str, Any]:
        return self.metrics["test"]

    @cached_property
    def test_stays(self) -> pl.DataFrame:
        return self.predictions.filter(pl.col("split") == "test")

    @cached_property
    def chance_ece(self) -> float | None:
        """Of the calibrated risks, see `words.chance_ece`."""
        return self.chance_ece_of("risk")

    def chance_ece_of(self, column: str) -> float | None:
        return chance_ece(self.test_stays[column].to_numpy(), self.config["seed"])

    @property
    def predictions(self) -> pl.DataFrame:
        return self.stored.table

    @property
    def data(self) -> dict[str, Any]:
        return self.config["data"]

    @property
    def hours(self) -> int:
        return self.data["hours"]

    @property
    def model(self) -> str:
        """In words, as far as its name has any."""
        return plain(str(self.config["names"]["model"]))

    @property
    def source(self) -> str:
        return self.stored.facts.get("source", self.config["names"]["data"])

    @property
    def database(self) -> str:
        return DATABASES.get(self.source, plain(self.source))

    @property
    def synthetic(self) -> bool:
        return self.stored.facts.get("synthetic") == "true"

    @property
    def outcome(self) -> str:
        """In words: "death in hospital"."""
        name = self.stored.facts.get("outcome", self.data["outcome"])
        return OUTCOMES.get(name, (plain(name),))[0]

    @property
    def folds(self) -> dict[str, Any] | None:
        """What the folds of this very run say, from the predictions whose digest was checked; None for a single split."""
        return self.test.get("folds")

    @property
    def failed_checks(self) -> list[dict[str, Any]]:
        return [check for check in (self.audit or {}).get("checks", []) if check.get("passed") is False]

    def has(self, name: str) -> bool:
        return (self.path / name).exists()


def read(path: Path) -> Run:
    """The run in a folder. Raises UserError if it is not finished, or a file of it is damaged or altered."""
    config = runfolder.configuration(path)
    metrics = stored_metrics(path)
    if metrics is None:
        raise UserError(
            f"{path} is not finished (no whole metrics.json). Continue it with python -m icu_lightning.run "
            f"{runfolder.resume_argument(path)}, then report."
        )
    environment, packages = runfolder.stored_environment(path)
    return Run(
        path=path,
        config=config,
        metrics=metrics,
        stored=read_predictions(path / "predictions.parquet", stored_digest(metrics)),
        environment=environment,
        packages=packages,
        audit=_json(path / "audit.json"),
        explanation=_json(path / "explanation.json"),
        attrition=_of_the_cohort(_csv(path / "attrition.csv")),
        cleaning=_csv(path / "cleaning.csv"),
        history=_csv(path / "metrics.csv"),
        hours_observed=_csv(path / "hours_observed.csv"),
        robustness=_json(path / "robustness.json"),
    )


def _of_the_cohort(attrition: pl.DataFrame | None) -> pl.DataFrame | None:
    """Without the rows of the cohort that a model was pretrained on, if there are any."""
    if attrition is None or "block" not in attrition.columns:
        return attrition
    return attrition.filter(pl.col("block") == "cohort").drop("block")


def _json(path: Path) -> Any:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}): put the original back, or run again.") from error


def _csv(path: Path) -> pl.DataFrame | None:
    if not path.exists():
        return None
    try:
        return pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as CSV ({str(error).splitlines()[0]}): put the original back, or run again."
        ) from error
