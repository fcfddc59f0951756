"""The page's plainer tables: what cleaning did to each variable, and how many stays each split has."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from icu_lightning.data.concepts import all_concepts
from icu_lightning.data.splits import SPLITS
from icu_lightning.description.groups import Group
from icu_lightning.description.small_cells import WITHHELD, hidden_rows, is_small
from icu_lightning.description.words import STATUSES, number, percent, plain

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Cleaning:
    """The cleaning table in words.

    columns: (name, explanation) of the counts that are anywhere above 0; never: explanations of those that are not.
    rows: (variable, counts in the order of `columns`, hour of the latest usable value, cut after two decimals so that one just
        before the prediction is not rounded up to it, or a dash).
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[int, ...], str], ...]
    never: tuple[str, ...]


def cleaning_counts(cleaning: pl.DataFrame) -> Cleaning:
    """Of `Extract.cleaning`; a count that this module has no words for is shown under its own name.

    Its rows are variables, also those that others are derived from, and columns of raw tables with unreadable cells.
    """
    names = [name for name, dtype in cleaning.schema.items() if dtype.is_integer()]
    used = [name for name in names if cleaning[name].fill_null(0).sum()]
    rows = []
    for row in cleaning.iter_rows(named=True):
        latest = row.get("latest_hours")
        rows.append(
            (
                _variable_name(row["variable"]),
                tuple(row[name] or 0 for name in used),
                "–" if latest is None else number(math.floor(latest * 100) / 100, 2),
            )
        )
    return Cleaning(
        columns=tuple((plain(name), _explained(name)) for name in used),
        rows=tuple(rows),
        never=tuple(f"{plain(name)} ({_explained(name)})" for name in names if name not in used),
    )


def split_rows(stays: pl.DataFrame, groups: Sequence[Group], smallest: int) -> list[tuple[str, ...]]:
    """A row a split: name, stays with their share, patients, then the stays of each of `groups` (survived, died) with their share.

    Arguments:
        stays: with `split` and patient_id.
    """
    sides = [(stays["split"] == name).to_numpy() for name in SPLITS]
    counts = np.array([[int((side & group.rows).sum()) for group in groups] for side in sides])  # (split, group)
    hidden = hidden_rows(counts, [True] * len(sides), smallest)
    rows = []
    for name, side, by_group, hide in zip(SPLITS, sides, counts.tolist(), hidden, strict=True):
        n = int(side.sum())
        shown = [
            f"<{smallest}" if is_small(k, smallest) else WITHHELD if hide else f"{k:,} ({percent(k, n)})"
            for k in by_group
        ]
        patients = stays.filter(pl.Series(side))["patient_id"].n_unique()
        rows.append((SPLIT_NAMES[name], f"{n:,} ({percent(n, stays.height)})", f"{patients:,}", *shown))
    return rows


def _variable_name(name: str) -> str:
    known = all_concepts()
    return known[name].label if name in known else f"{name} (column of a raw table)"


def _explained(name: str) -> str:
    return STATUSES.get(name, "see the README")


def unit_row(row: Mapping[str, Any], smallest: int) -> tuple[str, ...]:
    """Drug, unit as charted, infusions, stays; of a handful of stays neither number, and not the text, which somebody typed."""
    drug, unit = plain(row["drug"]), str(row["unit"] or "no unit")
    if is_small(row["stays"], smallest):
        return drug, WITHHELD, WITHHELD, f"<{smallest}"
    return drug, unit, f"{row['infusions']:,}", f"{row['stays']:,}"


def component_row(row: Mapping[str, Any], smallest: int) -> tuple[str, ...]:
    """Score, component, stays with that score, and those of them without the component."""
    missing = f"{row['missing']:,} ({percent(row['missing'], row['scored'])})"
    if is_small(row["missing"], smallest):
        missing = f"<{smallest}"
    elif is_small(row["scored"] - row["missing"], smallest):
        missing = WITHHELD
    return plain(row["score"]), plain(row["component"]), f"{row['scored']:,}", missing
