"""The clinical variables: facts of concepts.yaml as objects.

A concept says what a variable is (unit, plausible range, how an hour is summarised); a `Charted` entry says where one
database keeps it. Nothing else in the package knows an item id, a label or a range.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from icu_lightning.errors import UserError, unknown_name
from icu_lightning.yaml_file import read_yaml

FILE = Path(__file__).with_name("concepts.yaml")
FIELDS = {"label", "unit", "range", "hourly", "also", "derive", "at_least"}
SAME_TABLES = {"synthetic": "mimic4"}  # the synthetic ICU writes MIMIC-IV's tables


@dataclass(frozen=True)
class Unit:
    """A unit of charting: value in the concept's unit = (charted - subtract) / divide; `low`..`high` is plausible."""

    name: str
    low: float
    high: float
    subtract: float = 0.0
    divide: float = 1.0


@dataclass(frozen=True)
class Charted:
    """One place where a database charts a variable: a column of a wide table, or labels (or item ids) of a long one.

    `preference` counts up from 0, the preferred place; `name` is a second label, for tables that have two. Item ids are labels
    too, as text. `path` and `unless` are patterns that a label matches and does not match. `says` are pairs (pattern of the
    charted text, the number it stands for or None); `specimen` is a pattern of the kind of specimen.
    """

    variable: str
    unit: str
    preference: int
    table: str
    column: str | None = None
    labels: tuple[str, ...] = ()
    name: str | None = None
    path: str | None = None
    unless: str | None = None
    says: tuple[tuple[str, float | None], ...] = ()
    specimen: str | None = None


@dataclass(frozen=True)
class Concept:
    """A clinical variable. `units[0]` is the one that every cleaned value has.

    derive: weight of every ingredient of an hour's derived value; at_least: the sum above which that is 1, and 0 below, if not None.
    """

    name: str
    label: str
    units: tuple[Unit, ...]
    hourly: str
    derive: Mapping[str, float]
    at_least: float | None
    charted: Mapping[str, tuple[Charted, ...]]

    @property
    def unit(self) -> str:
        return self.units[0].name


@cache
def all_concepts() -> dict[str, Concept]:
    """Every concept of concepts.yaml by name, in the file's order."""
    entries = read_yaml(FILE)
    return {name: _concept(name, entry) for name, entry in entries.items()}


def concepts_of(variables: Sequence[str]) -> list[Concept]:
    """The concepts of these names, in this order. Raises UserError for an unknown or repeated name, or for none."""
    known = all_concepts()
    for name in variables:
        if name not in known:
            raise unknown_name("variable in data.variables", name, known)
    if not variables or len(set(variables)) < len(variables):
        raise UserError(f"data.variables must name at least one variable, and each once; it is {list(variables)}.")
    return [known[name] for name in variables]


def derivable(concept: Concept, database: str) -> bool:
    """Whether the database charts everything that the concept is derived from."""
    return bool(concept.derive) and all(database in all_concepts()[name].charted for name in concept.derive)


def with_ingredients(database: str, concepts: Sequence[Concept]) -> list[Concept]:
    """These concepts, then those they can be derived from in this database and that are not among them."""
    names = dict.fromkeys(c.name for c in concepts)
    names.update(dict.fromkeys(name for c in concepts if derivable(c, database) for name in c.derive))
    return [all_concepts()[name] for name in names]


def charted_in(database: str, concepts: Sequence[Concept]) -> list[Charted]:
    """Where `database` charts these concepts. Raises UserError when it has no entry for one that cannot be derived."""
    for concept in concepts:
        if database not in concept.charted and not derivable(concept, database):
            raise UserError(
                f"Variable '{concept.name}' has no '{database}' entry in {FILE.name}; add one, or leave it out of data.variables."
            )
    return [entry for concept in concepts for entry in concept.charted.get(database, ())]


def _concept(name: str, entry: Mapping[str, Any]) -> Concept:
    low, high = entry["range"]
    units = [Unit(entry["unit"], low, high)]
    for unit, facts in entry.get("also", {}).items():
        units.append(Unit(unit, facts["range"][0], facts["range"][1], facts["subtract"], facts["divide"]))
    return Concept(
        name=name,
        label=entry["label"],
        units=tuple(units),
        hourly=entry["hourly"],
        derive=entry.get("derive", {}),
        at_least=entry.get("at_least"),
        charted=charted_everywhere(name, entry, FIELDS),
    )


def charted_everywhere(name: str, entry: Mapping[str, Any], fields: Collection[str]) -> dict[str, tuple[Charted, ...]]:
    """Database -> its places, of an entry of a file of facts; `fields` are the keys that are no databases."""
    charted = {
        database: tuple(charted_at(name, entry["unit"], i, place) for i, place in enumerate(places))
        for database, places in entry.items()
        if database not in fields
    }
    return charted | {other: charted[same] for other, same in SAME_TABLES.items() if same in charted}


def charted_at(variable: str, unit: str, preference: int, place: Mapping[str, Any]) -> Charted:
    labels = place.get("label", place.get("item", ()))
    return Charted(
        variable=variable,
        unit=place.get("unit", unit),
        preference=preference,
        table=place["table"],
        column=place.get("column"),
        labels=(str(labels),) if isinstance(labels, str | int) else tuple(map(str, labels)),
        name=place.get("name"),
        path=place.get("path"),
        unless=place.get("unless"),
        says=tuple(place.get("says", {}).items()),
        specimen=place.get("specimen"),
    )
