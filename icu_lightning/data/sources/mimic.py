"""What MIMIC-III and MIMIC-IV share: times as text, measurements by item id, laboratory values without a stay."""

from collections.abc import Mapping, Sequence

import polars as pl

from icu_lightning.data.concepts import Charted
from icu_lightning.data.sources import demographics
from icu_lightning.data.sources.base import EVENTS, STAYS, charted_facts, complete, said, stay_number
from icu_lightning.data.sources.tables import RawTables, number, unreadable

BEFORE = 24  # hours before admission to the unit from which laboratory values are a stay's too: scores look back

ADMISSION = (
    "hadm_id",
    "admittime",
    "deathtime",
    "dischtime",
    "hospital_expire_flag",
    "insurance",
    "language",
    "marital_status",
)


def time(column: str) -> pl.Expr:
    """'2180-07-23 12:36:00', with a T or a zone too, or a date alone, as a time; null where it is neither.

    The times of one patient are shifted together and have no zone: one that a conversion added means nothing.
    """
    text = pl.col(column)
    second = text.str.slice(0, 19).str.replace("T", " ", literal=True)
    # Only of short texts: trying this on every time as well would take twice as long as all the rest
    day = pl.when(text.str.len_bytes() <= 10).then(text)
    return pl.coalesce(
        second.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, cache=False),
        day.str.to_datetime("%Y-%m-%d", strict=False),
    )


def hours_between(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    return (end - start).dt.total_seconds() / 3600


def items(
    tables: RawTables, table: str, columns: Sequence[str], places: Sequence[Charted], optional: Sequence[str] = ()
) -> pl.LazyFrame:
    """The rows of a long table that hold one of the places' items, with variable, unit and preference.

    The item ids are compared as text before anything else is done to a row: of chartevents' hundreds of millions, few stay.
    """
    ids = [label for place in places for label in place.labels]
    rows = tables.scan(
        table, ["itemid", "charttime", "value", *columns], only={"itemid": ids}, optional=["valuenum", *optional]
    )
    rows = rows.filter(pl.col("value").is_not_null() | pl.col("valuenum").is_not_null())
    facts = charted_facts(places).rename({"label": "itemid"})
    value = said(places, "value", pl.coalesce(number("valuenum"), number("value")))
    return _speaking(
        rows.join(facts, on="itemid").with_columns(value, charttime=time("charttime"), charted="charttime")
    )


def _speaking(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Without the rows whose text says nothing about the variable."""
    return rows.filter(~pl.col("value").is_nan() | pl.col("value").is_null())


def of_specimen(
    rows: pl.LazyFrame, tables: RawTables, table: str, places: Sequence[Charted], kind: str, key: Sequence[str]
) -> pl.LazyFrame:
    """Laboratory rows without those of variables that want another kind of specimen (venous blood is no arterial gas).

    Arguments:
        kind: item id of the row that names the specimen's kind.
        key: columns that the rows of one specimen share.
    """
    wanted = {place.variable: place.specimen for place in places if place.specimen}
    if not wanted:
        return rows
    kinds = tables.scan(table, ["value", "charttime"], optional=["subject_id", "specimen_id"], only={"itemid": [kind]})
    kinds = kinds.rename({"charttime": "charted"})
    for pattern in sorted(set(wanted.values())):
        right = (
            kinds.filter(pl.col("value").str.contains(pattern)).select(key).unique().with_columns(right=pl.lit(True))
        )
        of_pattern = pl.col("variable").is_in([name for name, said in wanted.items() if said == pattern])
        rows = rows.join(right, on=key, how="left").filter(~of_pattern | pl.col("right")).drop("right")
    return rows


def linked_by_id(rows: pl.LazyFrame, times: pl.LazyFrame) -> pl.LazyFrame:
    """Rows that name their stay, with `hours`.

    Arguments:
        rows: with stay_id and charttime.
        times: stay_id, intime of every stay.
    """
    linked = rows.join(times.select("stay_id", "intime"), on="stay_id", how="left")
    return linked.with_columns(hours=hours_between(pl.col("intime"), pl.col("charttime")))


def linked_by_time(
    rows: pl.LazyFrame, times: pl.LazyFrame, on: str, before: float = 0, after: float = 0
) -> pl.LazyFrame:
    """Rows that name a patient or an admission only, given to the stay during which they were charted, with `hours`.

    A row of no stay (from the ward) is no measurement of any and is left out; one without a readable time stays, to be counted.
    The `before` hours ahead of admission belong to the stay too.

    Arguments:
        rows: with `on` and charttime.
        times: stay_id, `on`, intime, outtime of every stay.
    """
    linked = rows.join(times.select("stay_id", on, "intime", "outtime"), on=on)
    start = pl.col("intime") - pl.duration(seconds=round(before * 3600))
    during = pl.col("charttime").is_between(start, pl.col("outtime") + pl.duration(seconds=round(after * 3600)))
    linked = linked.filter(during | pl.col("charttime").is_null())
    return linked.with_columns(hours=hours_between(pl.col("intime"), pl.col("charttime")))


def as_stays(rows: pl.LazyFrame, *, stay_id: str, ethnicity: str, age: pl.Expr, checked: Sequence[str]) -> pl.LazyFrame:
    """`sources.base.STAYS` of rows that join a stay, its admission and its patient, all as text.

    Death in the unit is a death in hospital at or before leaving the unit; without a time of death, that of discharge counts.

    Arguments:
        stay_id, ethnicity: what this database calls them.
        age: in years at admission to the unit, with `intime` as a time.
        checked: columns that hold numbers; a cell that does not is counted.
    """
    died = pl.col("hospital_expire_flag").replace_strict({"1": True, "0": False}, default=None, return_dtype=pl.Boolean)
    rows = rows.with_columns(
        time("intime"),
        time("outtime"),
        death=pl.coalesce(time("deathtime"), time("dischtime")),
        died=died,
        unreadable=unreadable("hospital_expire_flag", stay_id, *checked),
    )
    left = pl.when("died").then(pl.col("death") <= pl.col("outtime")).when(~pl.col("died")).then(pl.lit(False))
    return complete(
        rows.select(
            stay_id=number(stay_id),
            patient_id="subject_id",
            stay_number=stay_number("subject_id", pl.col("intime"), number(stay_id)),
            los_hours=hours_between(pl.col("intime"), pl.col("outtime")),
            pre_icu_hours=hours_between(time("admittime"), pl.col("intime")),
            hospital_hours=hours_between(pl.col("intime"), time("dischtime")),
            age=age,
            sex=demographics.sex("gender"),
            ethnicity=demographics.ethnicity(ethnicity),
            unit_type="first_careunit",
            insurance=demographics.insurance("insurance"),
            language=demographics.language("language"),
            marital_status=demographics.marital_status("marital_status"),
            died_in_hospital="died",
            died_in_icu=left,
            death_hours=pl.when("died").then(hours_between(pl.col("intime"), pl.col("death"))),
            unreadable="unreadable",
        ),
        STAYS,
    )


def without_rows(tables: RawTables, stays: str, others: Mapping[str, str]) -> str | None:
    """One line if stays have no row in other tables, as when files of two versions are mixed; None if they have.

    Arguments:
        stays: the table of stays.
        others: table -> the column that it shares with that of stays.

    Raises UserError for a table that cannot be read.
    """
    listed = tables.collect(tables.scan(stays, sorted(set(others.values()))))
    lacking = {}
    for table, key in others.items():
        there = tables.collect(tables.scan(table, [key]).unique())
        lacking[table] = listed.join(there, on=key, how="anti").height
    if not any(lacking.values()):
        return None
    told = " and ".join(f"{n:,} of {listed.height:,} stays have no row in {table}" for table, n in lacking.items() if n)
    return f"{told} of {tables.folder}: their age or outcome is unknown. Are the files of one version of the database?"


def as_events(parts: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """`sources.base.EVENTS` of linked rows, their stay_id as text."""
    return pl.concat(complete(part.with_columns(stay_id=number("stay_id")), EVENTS) for part in parts)
