"""Runs as a comparison sees them: whose predictions, on which test stays, and which of them are one model with other seeds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.errors import UserError
from icu_lightning.evaluation.imputation import PatientErrors

MEMBERS = "members"  # key of the configuration of an average: the runs that it is made of
NOT_THE_MODEL = {
    "seed",
    "bootstrap",
    "logger",
    "report",
    "resume",
    "names.logger",
    "names.experiment",
    "names.model/size",  # its values stand where they are read
    "data.root",
    "data.cache_dir",
    "trainer.nodes",
    MEMBERS,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run.

    Arguments:
        name: its folder, as typed.
        config: the stored configuration.
        test: the test rows of predictions.parquet, in the order of stay_id.
        facts: metadata of predictions.parquet: outcome, source and synthetic ("true" or "false").
        epochs: metrics.csv, a row an epoch; None for a run without any.
        commit: of the code, as environment.txt has it.
        hidden: missing rate -> each patient's errors in hidden cells; None if they were not read, and for a run without any.
    """

    name: str
    config: Mapping[str, Any]
    test: pl.DataFrame
    facts: Mapping[str, str]
    epochs: pl.DataFrame | None = None
    commit: str = "unknown"
    hidden: Mapping[str, PatientErrors] | None = None

    @property
    def model(self) -> str:
        return str(self.config["names"]["model"])

    @property
    def data(self) -> str:
        return self.facts.get("source") or str(self.config["names"]["data"])

    @property
    def synthetic(self) -> bool:
        """As the file says; an older one does not, and then it is the name of the data that tells."""
        said = self.facts.get("synthetic")
        return said == "true" if said else self.config["names"]["data"] == "synthetic"

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def label(self) -> NDArray[np.float64]:
        return self.test["label"].to_numpy()

    @property
    def risk(self) -> NDArray[np.float64]:
        return self.test["risk"].to_numpy()


@dataclass(frozen=True, kw_only=True)
class SeededModel:
    """Runs that differ in nothing but their seed."""

    name: str
    runs: Sequence[Run]

    @property
    def risks(self) -> NDArray[np.float64]:
        """(S, n) of each seed."""
        return np.stack([run.risk for run in self.runs])


def models(runs: Sequence[Run]) -> list[SeededModel]:
    """Runs grouped by configuration without the seed, in the order in which they first come.

    Two configurations of one model are told apart by the settings in which they differ: `focal_lstm (trainer.max_epochs=4)`.
    Raises UserError if two runs are one: the same configuration with the same seed, which would pass for a spread of zero.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(identity(run), sort_keys=True, default=str), []).append(run)
    for members in groups.values():
        for i, run in enumerate(members):
            twin = next((other for other in members[:i] if other.seed == run.seed), None)
            if twin is not None:
                raise UserError(
                    f"{twin.name} and {run.name} have the same configuration and seed {run.seed}: they are one result. Leave one out."
                )
    identities = [identity(members[0]) for members in groups.values()]
    return [
        SeededModel(name=_name(facts, identities), runs=sorted(members, key=lambda run: run.seed))
        for facts, members in zip(identities, groups.values(), strict=True)
    ]


def identity(run: Run) -> dict[str, Any]:
    """Setting -> value of all that makes a model what it is."""
    flat = dict(_flat(run.config, ""))
    return {
        name: value
        for name, value in flat.items()
        if name not in NOT_THE_MODEL and name.split(".")[0] not in NOT_THE_MODEL
    }


def _flat(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, node


def _name(facts: Mapping[str, Any], everyone: Sequence[Mapping[str, Any]]) -> str:
    """The model's name, with what sets it apart from others of that name."""
    namesakes = [other for other in everyone if _named(other) == _named(facts)]
    settings = sorted({name for other in namesakes for name in other if not name.startswith("names.")})
    apart = [name for name in settings if len({json.dumps(o.get(name), default=str) for o in namesakes}) > 1]
    told = ", ".join(f"{name}={facts.get(name)}" for name in apart)
    return f"{_named(facts)} ({told})" if told else _named(facts)


def _named(facts: Mapping[str, Any]) -> str:
    """The model, or its parts where it has an imputer and a predictor: `csdi + lstm`."""
    parts = [str(facts[f"names.{part}"]) for part in ("imputer", "predictor") if f"names.{part}" in facts]
    return " + ".join(parts) or str(facts["names.model"])
