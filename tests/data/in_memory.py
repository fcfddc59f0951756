"""A database in memory: the events and infusions that a test makes up, as a `Source`."""

from collections.abc import Iterable, Sequence

import polars as pl

from icu_lightning.data.concepts import Concept, all_concepts
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.base import EVENTS, INFUSIONS, STAYS, complete

Event = tuple[int, float | None, str, float]  # stay, hours, variable, value in the variable's unit


def stays(*ids: int, **columns: object) -> pl.DataFrame:
    """`sources.base.STAYS` of 72-hour stays of 50-year-olds of 80 kg; columns are a value for all or a list."""
    usual = {"los_hours": 72.0, "age": 50.0, "pre_icu_hours": 2.0, "weight_kg": 80.0, "died_in_hospital": False}
    values = {name: v if isinstance(v, list) else [v] * len(ids) for name, v in (usual | columns).items()}
    frame = pl.DataFrame({"stay_id": list(ids), "patient_id": [f"p{i}" for i in ids]} | values)
    return complete(frame.lazy(), STAYS).collect()


def infusion(
    stay: int, drug: str, start: float, end: float, rate: float | None, **columns: object
) -> dict[str, object]:
    """A row of `sources.base.INFUSIONS` in ug/kg/min."""
    when = {"stay_id": stay, "drug": drug, "start_hours": start, "end_hours": end}
    return when | {"rate": rate, "unit": "mcg/kg/min", "wrong": False} | columns


class InMemory:
    """These rows as the database `name`, whose entries in concepts.yaml say what it charts at all."""

    synthetic = False

    def __init__(
        self,
        events: Iterable[Event] = (),
        infusions: Sequence[dict[str, object]] = (),
        name: str = "mimic4",
        people: pl.DataFrame | None = None,
    ) -> None:
        self.name, self.people = name, people
        unit = {name: concept.unit for name, concept in all_concepts().items()}
        rows = [(stay, hours, variable, value, unit[variable], 0) for stay, hours, variable, value in events]
        names = ("stay_id", "hours", "variable", "value", "unit", "preference")
        self.rows = complete(pl.LazyFrame(rows, schema={n: EVENTS[n] for n in names}, orient="row"), EVENTS)
        self.infused = complete(pl.LazyFrame(infusions, schema_overrides={"rate": pl.Float64}), INFUSIONS)

    def stays(self) -> pl.LazyFrame:
        assert self.people is not None, "the test gives no stays"
        return self.people.lazy()

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        return self.rows.filter(pl.col("variable").is_in([concept.name for concept in concepts]))

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        return self.infused.filter(pl.col("drug").is_in([drug.name for drug in drugs]))

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        return frame.collect()

    def fingerprint(self) -> object:
        return None
