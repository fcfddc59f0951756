"""The vasoactive drugs: facts of drugs.yaml as objects, as concepts.py is for the variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from icu_lightning.data.concepts import FIELDS as CONCEPT_FIELDS
from icu_lightning.data.concepts import Charted, charted_everywhere
from icu_lightning.yaml_file import read_yaml

FILE = Path(__file__).with_name("drugs.yaml")
FIELDS = CONCEPT_FIELDS | {"vis", "extended", "highest", "of", "misread", "per_ml"}


@dataclass(frozen=True)
class Misread:
    """A rate too high in its `charted` unit is read in `unit`, if it is plausible there and within low..high."""

    charted: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class Drug:
    """A vasoactive drug. Rates have `unit` after cleaning; `highest` is the highest plausible one, in `limit_unit`."""

    name: str
    label: str
    unit: str
    vis: float
    extended: bool
    highest: float
    limit_unit: str
    misread: Misread
    per_ml: Mapping[str, float]
    charted: Mapping[str, tuple[Charted, ...]]


@cache
def all_drugs() -> dict[str, Drug]:
    """Every drug of drugs.yaml by name, in the file's order."""
    entries = read_yaml(FILE)
    return {name: _drug(name, entry) for name, entry in entries.items()}


def vis_drugs(extended: bool = False) -> list[Drug]:
    """The six drugs of the vasoactive-inotropic score, or with its extensions."""
    return [drug for drug in all_drugs().values() if extended or not drug.extended]


def _drug(name: str, entry: Mapping[str, Any]) -> Drug:
    # A rate per kg that is too high was most often charted without the weight
    usual = {"charted": entry["unit"], "unit": "ug/min", "low": 0.0, "high": float("inf")}
    return Drug(
        name=name,
        label=entry["label"],
        unit=entry["unit"],
        vis=float(entry["vis"]),
        extended=entry.get("extended", False),
        highest=float(entry["highest"]),
        limit_unit=entry.get("of", entry["unit"]),
        misread=Misread(**(usual | entry.get("misread", {}))),
        per_ml=entry.get("per_ml", {}),
        charted=charted_everywhere(name, entry, FIELDS),
    )
