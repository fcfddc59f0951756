"""What the writers of all schemas share: a block as long columns, times and numbers as the databases write them."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.data.synthetic.generate import Block
from icu_lightning.data.synthetic.people import EPOCH, MINUTES_A_DAY, YEARS
from icu_lightning.data.synthetic.variables import BEDSIDE, CHARTED, DECIMALS, LABORATORY

TUBE = 0.0  # gcs_verbal of a patient with a tube, who cannot be asked
MARKER = "SYNTHETIC.json"  # in every folder of made-up stays, for sources and readers
ORACLE = "oracle.arrow"  # what is true of every stay; no source reads this ending
_DAYS = pl.Series([str(day) for day in (EPOCH.astype("M8[D]") + np.arange((YEARS + 20) * 366))])
_CLOCK = pl.Series([f" {minute // 60:02}:{minute % 60:02}:00" for minute in range(MINUTES_A_DAY)])


def measurements(block: Block, names: Sequence[str]) -> pl.DataFrame:
    """Charted values of these variables in the order of stay, hour, variable: row, variable (place in CHARTED), minute, value.

    Arguments:
        names: all of them bedside, or all of the laboratory.
    """
    places = np.array([CHARTED.index(name) for name in names])
    values = block.values[..., places]
    row, hour, v = np.isfinite(values).nonzero()
    minute = block.bedside if set(names) <= set(BEDSIDE) else block.laboratory
    scale = 10.0 ** np.array([DECIMALS[name] for name in CHARTED])[places]
    exact = np.rint(values[row, hour, v].astype(np.float64) * scale[v]) / scale[v]  # 37.2, not float32's 37.200001
    return pl.DataFrame(
        {"row": row, "variable": places[v].astype(np.int16), "minute": minute[row, hour], "value": exact}
    )


def place(name: str) -> int:
    return CHARTED.index(name)


def by_variable(facts: Mapping[str, object], default: object = None) -> pl.Series:
    """One fact for each of CHARTED, to be looked up with `of_variable`."""
    return pl.Series([facts.get(name, default) for name in CHARTED])


def of_variable(facts: Mapping[str, object], default: object = None) -> pl.Expr:
    return pl.lit(by_variable(facts, default)).gather(pl.col("variable"))


def of_stay(values: NDArray[np.generic] | pl.Series) -> pl.Expr:
    """(B,) facts of the stays, one for each row."""
    return pl.lit(pl.Series(values)).gather(pl.col("row"))


def written(values: pl.Expr) -> pl.Expr:
    """Numbers as text, whole ones without a decimal point.

    >>> pl.DataFrame({"x": [80.0, 37.2, None]}).select(written(pl.col("x")))["x"].to_list()
    ['80', '37.2', None]
    """
    whole = values.cast(pl.Int64)
    return pl.when(values == whole).then(whole.cast(pl.String)).otherwise(values.cast(pl.String))


def clock(minutes: pl.Expr) -> pl.Expr:
    """Minutes since EPOCH as '2110-01-01 00:00:00': looked up, which is ten times as fast as formatting."""
    return pl.concat_str(day(minutes), pl.lit(_CLOCK).gather(minutes % MINUTES_A_DAY))


def day(minutes: pl.Expr) -> pl.Expr:
    return pl.lit(_DAYS).gather(minutes // MINUTES_A_DAY)


def named(texts: Sequence[str | None], places: NDArray[np.int64]) -> pl.Series:
    """(B,) words of a vocabulary by their places; 'unknown' is null."""
    return pl.Series([None if text == "unknown" else text for text in texts], dtype=pl.String).gather(places)


def fahrenheit(value: pl.Expr) -> pl.Expr:
    return (value * 1.8 + 32).round(1)


def laboratory_names(*without: str) -> list[str]:
    return [name for name in LABORATORY if name not in without]


def blank(*columns: str) -> dict[str, pl.Expr]:
    """Columns that the real table has and these stays leave empty."""
    return {column: pl.lit(None, pl.String) for column in columns}


def marker(facts: Mapping[str, object]) -> str:
    """Content of the file that marks a folder of tables as made up."""
    said = "These tables were made up by a program. They say nothing about patients."
    return json.dumps({"synthetic": True, "note": said, **facts}, indent=2) + "\n"
