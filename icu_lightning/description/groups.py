"""Stays by outcome: everybody, the survivors and the dead, as every table and figure of the page compares them."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.description.words import OUTCOMES, plain


@dataclass(frozen=True)
class Group:
    """name: heading of a column. rows: (B,) True for the stays of the group."""

    name: str
    rows: NDArray[np.bool_]

    @property
    def n(self) -> int:
        return int(self.rows.sum())


def groups_by_outcome(stays: pl.DataFrame, outcome: str) -> tuple[Group, Group, Group]:
    """All, survived, died; the outcome has no nulls (`prepared` sees to it). A group may be empty."""
    died = stays[outcome].to_numpy().astype(bool)
    _, survived_name, died_name = OUTCOMES.get(outcome, (outcome, f"Not {plain(outcome)}", plain(outcome)))
    return Group("All", np.ones_like(died)), Group(survived_name, ~died), Group(died_name, died)


def stay_means(values: NDArray[np.float32], variable: int) -> NDArray[np.float64]:
    """(B, T, V) -> (B,): the mean of the hours that have a value of this variable; NaN for a stay without any."""
    hourly = values[..., variable].astype(np.float64)  # (B, T), one variable at a time: never a second copy of the grid
    n = np.isfinite(hourly).sum(axis=1)
    total = np.nansum(hourly, axis=1)
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
