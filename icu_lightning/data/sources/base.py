"""What every database gives to the rest: lazy frames of one shape, whatever its tables look like.

`stays`, one row a stay of the intensive care unit:

| column | type | meaning |
|---|---|---|
| stay_id | Int64 | unique |
| patient_id | String | the unit of every split |
| hospital_id | String | null where there is one hospital |
| stay_number | Int64 | 1 for the first of the patient's stays in the database, 2, ...; null if their order is unknown |
| los_hours | Float64 | length of stay in the unit |
| pre_icu_hours | Float64 | in hospital before admission to the unit |
| hospital_hours | Float64 | from admission to the unit to leaving the hospital, alive or dead; to be predicted, never an input |
| age | Float64 | years |
| sex | String | female, male, or null |
| ethnicity, marital_status, insurance, language | String | in the words of `sources.demographics`; null if unknown |
| unit_type | String | as charted; null if unknown |
| weight_kg | Float64 | at admission |
| died_in_hospital, died_in_icu | Boolean | null if unknown, never taken as survival |
| death_hours | Float64 | from ICU admission; null if alive or unknown |
| unreadable | List(String) | names of raw cells of this row that held no number where one was due |

`events`, one row a measurement, any order. Cultures, antibiotics, ventilation and diagnoses are coded events: concepts.yaml
says what their numbers stand for:

| column | type | meaning |
|---|---|---|
| stay_id | Int64 | |
| hours | Float64 | from ICU admission; null if the time could not be read |
| variable | String | a name of concepts.yaml |
| value | Float64 | as charted, in `unit`; null if the cell held no number |
| unit | String | as charted |
| preference | Int8 | 0 is the preferred place of charting |
| wrong | Boolean | True if the database itself marks the row as entered in error |
| revision | Float64 | hours at which the value got its present form: of one time's values the last one counts; null if untold |
| stored | Float64 | hours at which a laboratory's value was there to be read; null if untold |

`infusions`, one row a drug and time during which its rate was the same, any order; rows of one drug that overlap add up:

| column | type | meaning |
|---|---|---|
| stay_id | Int64 | |
| start_hours, end_hours | Float64 | from ICU admission; null if the time could not be read |
| drug | String | a name of drugs.yaml |
| rate | Float64 | as charted, in `unit`; null if it ran at an unknown rate |
| unit | String | as charted |
| per_ml | Float64 | ug (of vasopressin: U) in a mL of the fluid; null if untold |
| weight_kg | Float64 | charted with the infusion; null if untold |
| wrong | Boolean | True if the database itself marks the row as rewritten |
| typed | Boolean | True if a person typed the rate, whose unit may then be another; not if it was computed from amount and time |
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import polars as pl

from icu_lightning.data.concepts import Charted, Concept
from icu_lightning.data.drugs import Drug

STAYS: dict[str, Any] = {
    "stay_id": pl.Int64,
    "patient_id": pl.String,
    "hospital_id": pl.String,
    "stay_number": pl.Int64,
    "los_hours": pl.Float64,
    "pre_icu_hours": pl.Float64,
    "hospital_hours": pl.Float64,
    "age": pl.Float64,
    "sex": pl.String,
    "ethnicity": pl.String,
    "marital_status": pl.String,
    "insurance": pl.String,
    "language": pl.String,
    "unit_type": pl.String,
    "weight_kg": pl.Float64,
    "died_in_hospital": pl.Boolean,
    "died_in_icu": pl.Boolean,
    "death_hours": pl.Float64,
    "unreadable": pl.List(pl.String),
}

EVENTS: dict[str, Any] = {
    "stay_id": pl.Int64,
    "hours": pl.Float64,
    "variable": pl.String,
    "value": pl.Float64,
    "unit": pl.String,
    "preference": pl.Int8,
    "wrong": pl.Boolean,
    "revision": pl.Float64,
    "stored": pl.Float64,
}


INFUSIONS: dict[str, Any] = {
    "stay_id": pl.Int64,
    "start_hours": pl.Float64,
    "end_hours": pl.Float64,
    "drug": pl.String,
    "rate": pl.Float64,
    "unit": pl.String,
    "per_ml": pl.Float64,
    "weight_kg": pl.Float64,
    "wrong": pl.Boolean,
    "typed": pl.Boolean,
}


class Source(Protocol):
    """A database. `name` is the one in conf/data and concepts.yaml; `synthetic` marks data that are no patients'.

    `open_data` is True if everybody may see a single stay of it: it is synthetic, or known to be published for all. A source
    that does not say so has none (`disclosure.may_show_stays`).
    One that has dictionaries of its items also has `unlisted_items(places)`, see `sources.dictionary`; one whose tables may be
    of two versions also has `incomplete()`: a line that says so, or None.
    """

    name: str
    synthetic: bool

    @property
    def open_data(self) -> bool:
        """Decided by content, never by a folder's name; False unless it is certain."""

    def stays(self) -> pl.LazyFrame:
        """Every stay of the database, as `STAYS`."""

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        """Every measurement of these concepts, as `EVENTS`."""

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        """Every infusion of these drugs, as `INFUSIONS`. Raises UserError if the database charts none."""

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Run a query over these frames; raises UserError naming the file that is at fault."""

    def fingerprint(self) -> object:
        """Plain values that change whenever the data do: the cache's key."""


def charted_facts(places: Sequence[Charted]) -> pl.LazyFrame:
    """What each label of a long table means: label, second label `name`, variable, unit, preference."""
    return pl.LazyFrame(
        [
            {"label": label, "name": p.name, "variable": p.variable, "unit": p.unit, "preference": p.preference}
            for p in places
            for label in p.labels
        ],
        schema={"label": pl.String, "name": pl.String, "variable": pl.String, "unit": pl.String, "preference": pl.Int8},
    )


def said(places: Sequence[Charted], text: str, number: pl.Expr) -> pl.Expr:
    """The value of a row with `variable` and `preference`: `number`, or what its text stands for where the place says so.

    A text that matches no pattern of its place says nothing: NaN, for the caller to leave out.

    >>> from icu_lightning.data.concepts import Charted
    >>> device = Charted("ventilation", "code", 0, "chartevents", says=(("(?i)standby", None), ("(?i)tube", 2)))
    >>> rows = pl.DataFrame({"variable": "ventilation", "preference": 0, "text": ["ET tube", "Standby tube", "?"], "n": 7.0})
    >>> rows.select(said([device], "text", pl.col("n")))["value"].to_list()
    [2.0, nan, nan]
    """
    value = number
    for place in places:
        if place.says:
            code: pl.Expr = pl.lit(float("nan"))
            for pattern, stands_for in reversed(place.says):
                here = pl.lit(float("nan") if stands_for is None else float(stands_for))
                code = pl.when(pl.col(text).str.contains(pattern)).then(here).otherwise(code)
            own = (pl.col("variable") == place.variable) & (pl.col("preference") == place.preference)
            value = pl.when(own).then(code).otherwise(value)
    return value.alias("value")


def stay_number(patient: str, *order: pl.Expr) -> pl.Expr:
    """Which of the patient's stays each is, from 1, by the first of `order`, then the next; by all stays, whatever the cohort.

    Null for every stay of a patient of whom one of them is null: without its time, nobody knows which was first.

    >>> stays = pl.DataFrame({"patient": ["a", "b", "a", "b", "c"], "year": [2015, 2014, 2014, None, 2014]})
    >>> stays.select(stay_number("patient", pl.col("year")))["stay_number"].to_list()
    [2, None, 1, None, 1]
    """
    known = pl.all_horizontal(key.is_not_null() for key in order).all().over(patient)
    number = pl.int_range(1, pl.len() + 1).over(patient, order_by=list(order))
    return pl.when(known).then(number).alias("stay_number")


def complete(frame: pl.LazyFrame, schema: Mapping[str, Any]) -> pl.LazyFrame:
    """The frame with exactly the schema's columns, in its order and types; what the database does not know is null."""
    known = frame.collect_schema().names()
    empty = {"unreadable": pl.lit([], dtype=pl.List(pl.String))}
    return frame.select(
        (pl.col(name) if name in known else empty.get(name, pl.lit(None))).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )
