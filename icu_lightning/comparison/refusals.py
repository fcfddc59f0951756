"""What may stand in one ranking: predictions of one outcome, at one time, for the very same test stays."""

from collections.abc import Callable, Sequence
from typing import Any

from icu_lightning.comparison.runs import Run
from icu_lightning.errors import UserError


def _kind(run: Run) -> str:
    return "synthetic" if run.synthetic else "real"


def _setting(name: str) -> Callable[[Run], Any]:
    return lambda run: run.config["data"].get(name)


SAME: dict[str, Callable[[Run], Any]] = {  # in the order in which a difference is told
    "synthetic or real data": _kind,
    "data": lambda run: run.data,
    "outcome": lambda run: run.facts.get("outcome"),
    "protocol": lambda run: run.config["names"].get("protocol", "clean"),
    "window of prediction (data.hours)": _setting("hours"),
    "cohort (data.cohort)": _setting("cohort"),
    "cells hidden from the models (data.held_out)": _setting("held_out"),
    "split (data.split)": _setting("split"),
    "split (data.split_seed)": _setting("split_seed"),
    "split (data.fractions)": _setting("fractions"),
}
BY_DATA = "Put them into separate tables with --by data."


def refuse_unlike(runs: Sequence[Run], purpose: str = "stand in one ranking", other_data: str = BY_DATA) -> None:
    """Raise UserError, naming two runs and their difference, if not all are predictions of one thing for the same stays.

    Arguments:
        purpose: what they cannot do.
        other_data: what to do about runs of other data.
    """
    for other in runs[1:]:
        if problem := unlike(runs[0], other, other_data):
            raise UserError(f"{runs[0].name} and {other.name} cannot {purpose}: {problem}")


def alike(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups that may stand in one ranking, in the order in which they first come."""
    groups: list[list[Run]] = []
    for run in runs:
        own = next((group for group in groups if not unlike(group[0], run)), None)
        if own is None:
            groups.append(own := [])
        own.append(run)
    return groups


def unlike(first: Run, other: Run, other_data: str = BY_DATA) -> str | None:
    """Why two runs cannot stand in one ranking, and what can be done; None if they can."""
    for name, fact in SAME.items():
        a, b = fact(first), fact(other)
        if a != b:
            way_out = other_data if name in ("synthetic or real data", "data") else "Leave one out."
            return f"{name} is {a} and {b}. {way_out}"
    return _other_stays(first, other)


def _other_stays(first: Run, other: Run) -> str | None:
    """Ids, patients and labels of the test stays; models are compared stay by stay."""
    ids, others = first.test["stay_id"], other.test["stay_id"]
    if ids.dtype != others.dtype or not ids.equals(others):
        shared = set(ids.to_list()) & set(others.to_list())
        return (
            f"their test stays differ ({len(ids):,} and {len(others):,}, {len(shared):,} in both). "
            "Run both with the same cohort, window, split and tables."
        )
    for column in ("patient_id", "label"):
        if not first.test[column].equals(other.test[column]):
            n = int((first.test[column] != other.test[column]).sum())
            return f"{n:,} of {len(ids):,} test stays have another {column}. One of them is of other tables."
    return None
