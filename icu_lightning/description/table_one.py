"""Table 1: who the stays are, by outcome. Medians with quartiles, counts with shares, what is missing; no p-values.

Two groups are compared by the standardized mean difference, which, unlike a p-value, does not grow with the number of stays.
Numbers: |m1 - m0| / sqrt((s1^2 + s0^2) / 2) (Austin, Eq. 1). Categories: sqrt(d' S^-1 d), with d the difference of the
shares of all levels but one and S the mean of the two multinomial covariances (Yang & Dalton, Eq. 3).

References:
    Using the standardized difference to compare the prevalence of a binary variable between two groups (Austin, 2009).
    A unified approach to measuring the effect size between two groups using SAS (Yang & Dalton, 2012).
    STROBE: no significance tests in the table of baseline characteristics (Vandenbroucke et al., 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.data.concepts import Concept
from icu_lightning.data.severity import SCORES
from icu_lightning.description.groups import Group, groups_by_outcome, stay_means
from icu_lightning.description.small_cells import WITHHELD, hidden_rows, is_small, together
from icu_lightning.description.words import decimals, named, number, percent

NUMBERS = {  # column of the stays table: (divisor, decimals)
    "age": (1, 0),
    "weight_kg": (1, 1),
    "los_hours": (24, 1),
    **{name: (1, 0) for name in SCORES},
}
COUNTED = ("patient_id", "hospital_id")
PEOPLE = {  # columns of the stays table, in the order of the page
    "patient_id": "Patients",
    "hospital_id": "Hospitals",
    "age": "Age, years",
    "sex": "Sex",
    "ethnicity": "Ethnicity",
    "marital_status": "Marital status",
    "insurance": "Insurance",
    "language": "Language",
    "weight_kg": "Weight at admission, kg",
    "unit_type": "Type of unit",
    "los_hours": "Length of stay in the unit, days",
}
OF_SCORES = dict(
    zip(SCORES, ("SOFA", "LODS", "SAPS II", "OASIS", "SIRS"), strict=True)
)  # rows where they were asked for
MOST_LEVELS = 9


@dataclass(frozen=True)
class Cell:
    """What a group's cell says, and below it, smaller, how many stays that is about (may be empty)."""

    text: str
    below: str = ""


@dataclass(frozen=True)
class Row:
    """cells: one a group, or none for a heading. difference: the SMD, or "". indented: a level of the heading above."""

    label: str
    cells: tuple[Cell, ...] = ()
    difference: str = ""
    indented: bool = False


@dataclass(frozen=True)
class TableOne:
    """columns: (name, stays) of the groups. people, variables: rows. unknown: labels of what the database does not say."""

    columns: tuple[tuple[str, int], ...]
    people: tuple[Row, ...]
    variables: tuple[Row, ...]
    unknown: tuple[str, ...]


def table_one(
    stays: pl.DataFrame, values: NDArray[np.float32], concepts: Sequence[Concept], outcome: str, smallest: int
) -> TableOne:
    """Table 1 of a cohort.

    Arguments:
        stays: (B rows) as `sources.base.STAYS`; columns that are not there count as unknown, others are not used.
        values: (B, T, V) in clinical units, NaN where not measured; `concepts` are the V.
        outcome: column of `stays` without nulls.
        smallest: a number about 1 to smallest - 1 stays is not shown (`small_cells`).
    """
    groups = groups_by_outcome(stays, outcome)
    rows = (*PEOPLE, *OF_SCORES)
    known = [name for name in rows if name in stays.columns and stays[name].null_count() < len(stays)]
    means = (stay_means(values, v) for v in range(len(concepts)))
    return TableOne(
        columns=tuple((group.name, group.n) for group in groups),
        people=tuple(row for name in known for row in people_rows(name, stays[name], groups, smallest)),
        variables=tuple(_variable_row(c, m, groups, smallest) for c, m in zip(concepts, means, strict=True)),
        unknown=tuple(label for name, label in PEOPLE.items() if name not in known),
    )


def people_rows(name: str, column: pl.Series, groups: Sequence[Group], smallest: int) -> list[Row]:
    """The rows of one column of the stays table: one of a number or a count, a heading and its levels of a category."""
    if name in COUNTED:
        return [_count_row(PEOPLE[name], column, groups, smallest)]
    if name in NUMBERS:
        return [_number_row(name, column, groups, smallest)]
    return category_rows(PEOPLE[name], column, groups, smallest)


def quartiles_text(x: NDArray[np.float64], digits: int, smallest: int) -> str:
    """Median [first quartile, third quartile] of the finite numbers; "<5" if there are so few, a dash if there is none."""
    x = x[np.isfinite(x)]
    if is_small(len(x), smallest):
        return f"<{smallest}"
    if not len(x):
        return "–"
    low, middle, high = (number(q, digits) for q in np.percentile(x, [25, 50, 75]))
    return f"{middle} [{low}, {high}]"


def category_rows(label: str, column: pl.Series, groups: Sequence[Group], smallest: int) -> list[Row]:
    """A heading and its levels, most frequent first, rare ones together; shares are of the stays whose value is known."""
    totals = dict(column.drop_nulls().value_counts().iter_rows())
    levels = together(totals, smallest, MOST_LEVELS)
    members = [column.is_in(names).fill_null(False).to_numpy() for names in levels]
    counts = np.array([[int((m & group.rows).sum()) for group in groups] for m in members])  # (L, G): all, then each
    missing = [int((column.is_null().to_numpy() & group.rows).sum()) for group in groups]
    table, sensitive = [*counts.tolist(), *([missing] if missing[0] else [])], [True] * len(levels)
    sensitive += [False] * (len(table) - len(levels))
    hidden = hidden_rows(np.array(table)[:, 1:], sensitive, smallest)
    known = counts.sum(axis=0)
    difference = "" if hidden.any() else _text(categorical_difference(counts[:, 1], counts[:, 2]))
    rows = [Row(label, difference=difference if min(known[1:]) >= smallest else "")]
    for names, row, hide in zip(levels, counts.tolist(), hidden, strict=False):
        rows.append(
            Row(_level_name(names, len(levels) == 1), _counts_cells(row, known.tolist(), hide, smallest), indented=True)
        )
    if missing[0]:
        sizes = [group.n for group in groups]
        rows.append(Row("not recorded", _counts_cells(missing, sizes, hidden[-1], 1), indented=True))
    return rows


def numeric_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """The standardized mean difference of two samples without NaN; None if one has no spread to speak of."""
    if min(len(one), len(other)) < 2:
        return None
    spread = np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / 2)
    return float(abs(one.mean() - other.mean()) / spread) if spread > 0 else None  # Austin, Eq. 1


def categorical_difference(one: NDArray[np.int64], other: NDArray[np.int64]) -> float | None:
    """The standardized difference of two (L,) counts; None for one level, an empty group or groups that are all one level."""
    present = (one + other) > 0
    if present.sum() < 2 or not one.sum() or not other.sum():
        return None
    p, q = (counts[present][1:] / counts.sum() for counts in (one, other))
    covariance = (np.diag(p) - np.outer(p, p) + np.diag(q) - np.outer(q, q)) / 2
    if np.linalg.matrix_rank(covariance) < len(covariance):
        return None
    return float(np.sqrt((p - q) @ np.linalg.solve(covariance, p - q)))  # Yang & Dalton, Eq. 3


def _count_row(label: str, column: pl.Series, groups: Sequence[Group], smallest: int) -> Row:
    """How many different patients or hospitals a group has."""
    counts = [f"{column.filter(pl.Series(group.rows)).drop_nulls().n_unique():,}" for group in groups]
    small = [is_small(group.n, smallest) for group in groups]
    return Row(label, tuple(Cell(f"<{smallest}" if few else n) for n, few in zip(counts, small, strict=True)))


def _number_row(name: str, column: pl.Series, groups: Sequence[Group], smallest: int) -> Row:
    divisor, digits = NUMBERS[name]
    x = column.cast(pl.Float64).fill_null(float("nan")).to_numpy() / divisor
    cells = []
    for group in groups:
        missing = int((~np.isfinite(x[group.rows])).sum())
        cells.append(
            Cell(quartiles_text(x[group.rows], digits, smallest), f"{missing:,} not recorded" if missing else "")
        )
    return Row({**PEOPLE, **OF_SCORES}[name], tuple(cells), _difference(x, groups, smallest))


def _variable_row(concept: Concept, means: NDArray[np.float64], groups: Sequence[Group], smallest: int) -> Row:
    measured = np.isfinite(means)
    digits = decimals(float(np.median(means[measured]))) if measured.any() else 0
    counts = [int((measured & group.rows).sum()) for group in groups]
    hide = any(is_small(n, smallest) for n in counts[1:])
    shares = _counts_cells(counts, [group.n for group in groups], hide, smallest)
    cells = tuple(
        Cell(quartiles_text(means[group.rows], digits, smallest), share.text)
        for group, share in zip(groups, shares, strict=True)
    )
    return Row(named(concept), cells, _difference(means, groups, smallest))


def _difference(x: NDArray[np.float64], groups: Sequence[Group], smallest: int) -> str:
    """The SMD of survivors and dead, if both are numerous enough to be shown."""
    survived, died = (x[group.rows & np.isfinite(x)] for group in groups[1:])
    return "" if min(len(survived), len(died)) < smallest else _text(numeric_difference(survived, died))


def _counts_cells(counts: Sequence[int], wholes: Sequence[int], hide: bool, smallest: int) -> tuple[Cell, ...]:
    """n (share) for all and each group. The groups' are withheld where `hide` says so, the total only if it is small."""
    texts = []
    for i, (n, whole) in enumerate(zip(counts, wholes, strict=True)):
        if is_small(n, smallest):
            texts.append(f"<{smallest}")
        elif hide and i > 0:
            texts.append(WITHHELD)
        else:
            texts.append(f"{n:,} ({percent(n, whole)})" if whole else "–")
    return tuple(Cell(text) for text in texts)


def _level_name(names: Sequence[str], is_only: bool) -> str:
    if len(names) == 1:
        return names[0] or "(blank)"
    return f"all {'' if is_only else 'others '}({len(names)} categories)"


def _text(difference: float | None) -> str:
    return "" if difference is None else f"{difference:.2f}"
