"""Who is in the study: an ordered list of named filters, and the attrition table from the same code.

A filter is a polars expression that is True for a stay to keep; null counts as "do not keep", so an unknown age or
outcome is never taken for a known one. Every stay of the database is kept or counted out by exactly one filter.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from icu_lightning.errors import UserError, unknown_name

OUTCOMES = ("died_in_hospital", "died_in_icu")


def readable_ids() -> pl.Expr:
    """The stay and its patient have an id."""
    return pl.col("stay_id").is_not_null() & pl.col("patient_id").is_not_null()


def age_known() -> pl.Expr:
    return pl.col("age").is_not_null()


def age_at_least(years: float) -> pl.Expr:
    return pl.col("age") >= float(years)


def age_at_most(years: float) -> pl.Expr:
    return pl.col("age") <= float(years)


def stay_at_least(hours: float) -> pl.Expr:
    """Length of stay in the unit; an unknown length is not kept."""
    return pl.col("los_hours") >= float(hours)


def outcome_known(outcome: str) -> pl.Expr:
    if outcome not in OUTCOMES:
        raise ValueError(outcome)
    return pl.col(outcome).is_not_null()


def in_icu_at_prediction(hours: float) -> pl.Expr:
    """At the prediction time, `hours` after admission, the patient is alive and still in the unit."""
    alive = pl.col("death_hours").is_null() | (pl.col("death_hours") > float(hours))
    return (pl.col("los_hours") >= float(hours)) & alive


def first_stay() -> pl.Expr:
    """The patient's first stay in the database, whatever other filters say of it; where the order is unknown, not kept."""
    return pl.col("stay_number") == 1


def sepsis_onset_within(hours: float) -> pl.Expr:
    """Sepsis set in before admission or at most `hours` after it; without sepsis, or at an unknown time, not kept."""
    return pl.col("sepsis_onset_hours") <= float(hours)


def hospital_charts_infusions() -> pl.Expr:
    """The stay's hospital charts infusions at all, so that none charted means none given."""
    return pl.col("hospital_charts_infusions")


def vasoactive_within(hours: float) -> pl.Expr:
    """A vasoactive drug ran in one of the first `hours` hours in the unit: the first such hour begins before `hours`."""
    return pl.col("first_vasoactive_hours") < float(hours)


FILTERS: dict[str, Callable[..., pl.Expr]] = {
    f.__name__: f
    for f in (
        readable_ids,
        age_known,
        age_at_least,
        age_at_most,
        stay_at_least,
        first_stay,
        sepsis_onset_within,
        hospital_charts_infusions,
        vasoactive_within,
        outcome_known,
        in_icu_at_prediction,
    )
}

Step = str | Mapping[str, float | str]
# Column of a filter, stays so far -> stay_id and the column, and what the attrition table says about it
Derive = Callable[[str, pl.DataFrame], tuple[pl.DataFrame, str | None]]


def select_cohort(
    stays: pl.DataFrame, steps: Sequence[Step], outcome: str, derive: Derive | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Apply the filters in order.

    Arguments:
        stays: every stay, as `sources.base.STAYS`, and whatever other column a filter needs.
        derive: gives a column that a filter needs and the stays do not have.
        steps: names of FILTERS, or {name: argument}, in order; `readable_ids` always comes first.
        outcome: died_in_hospital or died_in_icu, counted in the table.

    Returns:
        The stays that pass all filters, sorted by stay_id, and the attrition table: a row "all stays", then a row a
        filter, with the stays, patients and deaths left and the stays removed.

    Raises UserError for an unknown filter, one whose column these stays lack, a stay listed twice, or if nobody is left.
    """
    filters = [("readable_ids", readable_ids()), *(named_filter(step) for step in steps)]
    rows = [_counts("all stays", stays, outcome, removed=0)]
    for name, keep in filters:
        for column in sorted(set(keep.meta.root_names()) - set(stays.columns)):
            if derive is None:
                raise UserError(f"The filter '{name}' of data.cohort needs {column}, which these data do not have.")
            fact, note = derive(column, stays)
            stays = stays.join(fact, on="stay_id", how="left", maintain_order="left")
            name += f" ({note})" if note else ""
        kept = stays.filter(keep)
        rows.append(_counts(name, kept, outcome, removed=stays.height - kept.height))
        stays = kept
    attrition = pl.DataFrame(rows)
    if stays.is_empty():
        raise UserError(f"No stay is left in the cohort (data.cohort):\n{attrition_text(attrition)}")
    twice = stays.filter(pl.col("stay_id").is_duplicated())["stay_id"].unique().sort()
    if twice.len():
        raise UserError(
            f"{twice.len()} stays are listed more than once, the first is {twice[0]}: "
            "does the folder hold two versions of the database?"
        )
    return stays.sort("stay_id"), attrition


def named_filter(step: Step) -> tuple[str, pl.Expr]:
    """('age_at_least 16', expression) of {'age_at_least': 16}. Raises UserError for what is no filter."""
    if isinstance(step, str):
        name, arguments = step, []
    elif isinstance(step, Mapping) and len(step) == 1:
        name, arguments = next(iter(step)), list(step.values())
    else:
        raise UserError(f"A step of data.cohort is 'NAME' or 'NAME: VALUE'; this is neither: {step}.")
    if name not in FILTERS:
        raise unknown_name("filter in data.cohort", name, FILTERS)
    try:
        return " ".join([name, *map(str, arguments)]), FILTERS[name](*arguments)
    except (TypeError, ValueError):
        taken = ", ".join(inspect.signature(FILTERS[name]).parameters) or "nothing"
        raise UserError(
            f"The filter '{name}' in data.cohort takes {taken}; it was given {arguments or 'nothing'}."
        ) from None


def attrition_text(attrition: pl.DataFrame) -> str:
    """The attrition table as aligned text."""
    rows = [list(map(str, attrition.columns)), *([str(cell) for cell in row] for row in attrition.rows())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def _counts(name: str, stays: pl.DataFrame, outcome: str, removed: int) -> dict[str, str | int]:
    return {
        "filter": name,
        "stays": stays.height,
        "patients": stays["patient_id"].n_unique(),
        "deaths": int(stays[outcome].sum()),
        "removed_stays": removed,
    }
