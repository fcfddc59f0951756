"""The question of extraction.py answered with pandas and with duckdb, as well as their users would: only the columns that are
needed, types given, times parsed of the kept rows alone. What is known of a variable comes from concepts.yaml.

The question: of every stay and each of its first hours, the value of each variable from the preferred place where it was
charted in that hour, the mean of the vital signs and the last laboratory value; in the concept's unit, numbers that are
plausible only in its other unit taken for that one, other implausible ones left out. Mean pressure is derived where missing.
Unlike the package, the two neither fall back on `value` where `valuenum` is empty nor count what they leave out.
"""

import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icu_lightning.data.concepts import Concept, Unit, charted_in, concepts_of
from icu_lightning.data.grid import derive

PANDAS_CHUNK = 1_000_000  # rows
CELL = ["stay_id", "hour", "v", "preference", "is_last"]
TIME = "%Y-%m-%d %H:%M:%S"
CHART, LABS, STAYS = "icu/chartevents.csv.gz", "hosp/labevents.csv.gz", "icu/icustays.csv.gz"


def facts(variables: Sequence[str]) -> list[dict[str, Any]]:
    """One row an item: variable's column `v`, preference, its unit as read and, for repair, the concept's other unit."""
    rows = []
    for v, concept in enumerate(concepts_of(variables)):
        for place in charted_in("mimic4", [concept]):
            units = [_numbers(unit, name) for unit, name in _said_and_other(concept, place.unit)]
            of_place = {"v": v, "preference": place.preference, "is_last": concept.hourly == "last"}
            rows += [{"itemid": int(i), **of_place, **units[0], **units[1]} for i in place.labels]
    return rows


def _said_and_other(concept: Concept, said: str) -> list[tuple[Unit, str]]:
    """The unit of charting, and the one other of the concept, or again the same."""
    named = {unit.name: unit for unit in concept.units}
    others = [unit for unit in concept.units if unit.name != said] or [named[said]]
    if len(others) > 1:
        raise NotImplementedError(
            f"{concept.name} has more than two units, and the peers know how to choose among two only"
        )
    return [(named[said], ""), (others[0], "_other")]


def _numbers(unit: Unit, suffix: str) -> dict[str, float]:
    return {f"{name}{suffix}": float(getattr(unit, name)) for name in ("low", "high", "subtract", "divide")}


def grid(cells: Any, stay_ids: np.ndarray, variables: Sequence[str], hours: int) -> np.ndarray:
    """(stays, hours, variables), float32, from arrays stay_id, hour, v, value of the cells."""
    values = np.full((len(stay_ids), hours, len(variables)), np.nan, dtype=np.float32)
    stay, hour, v, value = cells
    values[np.searchsorted(stay_ids, stay), hour, v] = value
    derive(values, concepts_of(variables))
    return values


# pandas


def pandas(folder: Path, variables: Sequence[str], hours: int) -> Callable[[], np.ndarray]:
    import pandas as pd

    known = pd.DataFrame(facts(variables)).set_index("itemid")

    def work() -> np.ndarray:
        times = ["intime", "outtime"]
        stays = pd.read_csv(folder / STAYS, usecols=["stay_id", "subject_id", *times], parse_dates=times)
        of_chart = _chunks(folder / CHART, "stay_id", known, stays.drop(columns="subject_id"))
        of_labs = _chunks(folder / LABS, "subject_id", known, stays)
        inside = (rows[rows["charttime"].between(rows["intime"], rows["outtime"])] for rows in of_labs)
        cells = [_summed(_cleaned(rows, hours)) for part in (of_chart, inside) for rows in part]
        stay, hour, v, value = _preferred(pd.concat(cells))
        return grid((stay, hour, v, value), np.sort(stays["stay_id"].to_numpy()), variables, hours)

    return work


def _chunks(path: Path, on: str, known: Any, stays: Any) -> Iterator[Any]:
    """The table's rows of the known items, with their facts and their stay, chunk by chunk."""
    import pandas as pd

    types = {on: "int64", "itemid": "int32", "valuenum": "float64", "charttime": "str"}
    for chunk in pd.read_csv(path, usecols=list(types), dtype=types, chunksize=PANDAS_CHUNK):
        rows = chunk[chunk["itemid"].isin(known.index)].dropna()
        rows = rows.assign(charttime=pd.to_datetime(rows["charttime"], format=TIME))
        yield rows.merge(known, left_on="itemid", right_index=True).merge(stays, on=on)


def _cleaned(rows: Any, hours: int) -> Any:
    """Rows of the window with a plausible value, `value` in the concept's unit, with `hour` and time `at` in hours."""
    at, number = (rows["charttime"] - rows["intime"]).dt.total_seconds() / 3600, rows["valuenum"]
    said, other = (number.between(rows[f"low{u}"], rows[f"high{u}"]) for u in ("", "_other"))
    as_said, as_other = ((number - rows[f"subtract{u}"]) / rows[f"divide{u}"] for u in ("", "_other"))
    rows = rows.assign(value=as_said.where(said, as_other), at=at, hour=np.floor(at).astype("int64"))
    return rows[(said | other) & (at >= 0) & (at < hours)]


def _summed(rows: Any) -> Any:
    """Cells of a chunk: total, number, and the last value with its time."""
    rows = rows.sort_values(["at", "value"])
    last = {"last": ("value", "last"), "at": ("at", "last")}
    return rows.groupby(CELL, as_index=False).agg(total=("value", "sum"), n=("value", "size"), **last)


def _preferred(cells: Any) -> tuple[np.ndarray, ...]:
    """stay_id, hour, v, value of every cell, the chunks put together."""
    cells = cells.sort_values(["at", "last"])
    last = {"last": ("last", "last")}
    cells = cells.groupby(CELL, as_index=False).agg(total=("total", "sum"), n=("n", "sum"), **last)
    cells = cells.sort_values("preference").drop_duplicates(["stay_id", "hour", "v"])
    value = np.where(cells["is_last"], cells["last"], cells["total"] / cells["n"])
    return (*(cells[name].to_numpy() for name in ("stay_id", "hour", "v")), value)


# duckdb

QUERY = """
with charted as (
    select s.stay_id, s.intime, f.*, valuenum, charttime
    from read_csv($chart, header = true, auto_detect = false, columns = {chart_columns}) c
    join facts f on f.itemid = c.itemid join stays s on s.stay_id = c.stay_id
    union all
    select s.stay_id, s.intime, f.*, valuenum, charttime
    from read_csv($labs, header = true, auto_detect = false, columns = {labs_columns}) c
    join facts f on f.itemid = c.itemid
    join stays s on s.subject_id = c.subject_id and strptime(charttime, $time) between intime and outtime
), timed as (
    select *, date_diff('second', intime, strptime(charttime, $time)) / 3600.0 as since from charted
), cleaned as (
    select stay_id, floor(since)::int as hour, since, v, preference, is_last, case
        when valuenum between low and high then (valuenum - subtract) / divide
        when valuenum between low_other and high_other then (valuenum - subtract_other) / divide_other end as value
    from timed where since >= 0 and since < $hours
), cells as (
    select stay_id, hour, v, preference, any_value(is_last) as is_last, avg(value) as mean,
        max_by(value, (since, value)) filter (where is_last) as last
    from cleaned where value is not null group by stay_id, hour, v, preference
)
select stay_id, hour, v, min_by(case when is_last then last else mean end, preference) as value
from cells group by stay_id, hour, v
"""
READ_AS = {"subject_id": "BIGINT", "stay_id": "BIGINT", "itemid": "INTEGER", "valuenum": "DOUBLE"}  # others stay text


def duckdb(folder: Path, variables: Sequence[str], hours: int) -> Callable[[], np.ndarray]:
    import duckdb as db

    known = facts(variables)

    def work() -> np.ndarray:
        connection = db.connect()
        connection.execute("set enable_progress_bar = false; set preserve_insertion_order = false")
        # Joins as written: left to guess the size of a .gz, duckdb keeps its rows in the hash table, and not the few stays
        connection.execute("set disabled_optimizers = 'join_order,build_side_probe_side'")
        connection.execute("create table stays as from read_csv($1)", [str(folder / STAYS)])
        types = {str: "VARCHAR", bool: "BOOLEAN", float: "DOUBLE", int: "INTEGER"}
        columns = ", ".join(f"{name} {types[type(value)]}" for name, value in known[0].items())
        connection.execute(f"create table facts ({columns})")
        connection.executemany(
            f"insert into facts values ({', '.join('?' * len(known[0]))})", [[*f.values()] for f in known]
        )
        query = QUERY.format(chart_columns=_columns(folder / CHART), labs_columns=_columns(folder / LABS))
        asked = {"chart": str(folder / CHART), "labs": str(folder / LABS), "time": TIME, "hours": hours}
        cells = connection.execute(query, asked).fetchnumpy()
        stay_ids = connection.execute("select stay_id from stays order by stay_id").fetchnumpy()["stay_id"]
        return grid([cells[name] for name in ("stay_id", "hour", "v", "value")], stay_ids, variables, hours)

    return work


def _columns(path: Path) -> dict[str, str]:
    """Every column of the file in its order, as duckdb wants them told."""
    with gzip.open(path, "rt") as file:
        return {name: READ_AS.get(name, "VARCHAR") for name in file.readline().strip().split(",")}
