"""Finished runs in the cells of tables 1 to 6 of the MTDM paper: published, ours under the paper's protocol, ours clean.

The three are of different stays and never stand in one column. `published.csv` holds the paper's numbers, which have no interval. Of
ours a cell is one setting with one or several seeds; its interval is that of the mean over seeds, over resampled patients. All cells
see the same resamples, so that two of them can be paired: a cell is best only if the interval of its difference to every other lies
wholly on the better side of 0, and of FEWEST_EVENTS or more, and an error of FEWEST_SCORED stays or more. Where a run stands follows
from its configuration:

    model=two_stage                   predictor x imputer; of imputer=mtdm AUROC alone
    model=two_stage, kmeans           of another number of clusters than two a row of its own
    model=two_stage, mtdm + lstm      a row of its own: the LSTM that learns after the imputer
    model=mtdm, multi_siamese         the paper's Siamese network
    model=mtdm, multi                 the paper's LSTM on the MTDM's series: its own LSTM, trained jointly without the contrastive term

What the paper has no number of, such as imputer=saits or predictor=gru_d, stands in rows and columns behind the paper's.

AUROC of runs with cv is the mean of the folds', each of its own test stays. Risks of all folds together come from as many models and
calibrators, which set folds apart and cost one method more than another; what AUROC they have, own and calibrated, is told beside it.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025), tables 1 to 6.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from icu_lightning.comparison.cells import (
    HIGHER,
    Key,
    Ours,
    Result,
    differences,
    errors_at,
    measured,
    number_of,
    with_best,
    with_pooled,
)
from icu_lightning.comparison.refusals import refuse_unlike
from icu_lightning.comparison.runs import Run, identity
from icu_lightning.comparison.statistics import Estimate
from icu_lightning.errors import UserError

FACTS = Path(__file__).with_name("published.csv")
TABLES = ("table1", "table2", "table3", "table4", "table5", "table6")
PROTOCOLS = ("paper", "clean")
OF_MTDM = {"multi": "lstm", "multi_siamese": "siamese"}  # model/tasks -> row of an AUROC table
AFTER = "lstm_after"  # row of the LSTM that learns from what the MTDM filled in, after it
CLUSTERS = 2  # of predictor=kmeans, as conf has it, in the paper's row
PYPOTS = "pypots:"  # before the class, in the column of imputer=pypots
FEWEST_EVENTS = 100  # of test stays, below which nothing is ranked: Collins, Ogundimu, Altman, Stat Med 35:214 (2016)
FEWEST_SCORED = 100  # test stays whose hidden cells were filled in, below which no error is ranked. [D]
HIDDEN = ("pattern", "seed")  # of `imputation`: which cells are hidden
SCORED = ("draws", "stays")  # of `imputation`: how much of them is filled in
FOLDS = ("cv",)  # of the whole: each fold's training stays are more, the more folds there are
CAP = ("max_epochs",)  # of `trainer`
# Of `data`: what models see, and errors are measured in
SEEN = ("variables", "outliers", "before_split", "undersample")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of the paper, None where it has none, and ours where there is one."""

    published: float | None
    ours: Mapping[str, Ours | None]  # by protocol


@dataclass(frozen=True, kw_only=True)
class InUnit:
    """The mean absolute error of a variable in its unit; mean over seeds."""

    unit: str
    mae: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the paper.

    Arguments:
        data: that the paper's numbers are of.
        cells: (row, column, metric) -> cell, in the paper's order, then those that it does not have. A row is a missing rate in per
            cent, or a predictor.
        differences: by protocol, of two cells the first less the second, as `differences` has them.
        scored: by protocol, how many test stays' hidden cells were filled in, of the run and rate with fewest; none of AUROCs.
        in_units: by protocol, (row, column, variable) -> ours, of errors that have them.
        runs: by protocol, those that stand in it.
        others: names of runs that are in no cell.
    """

    name: str
    data: str
    cells: Mapping[Key, Cell]
    differences: Mapping[str, Mapping[tuple[Key, Key], Estimate]]
    scored: Mapping[str, int]
    in_units: Mapping[str, Mapping[Key, InUnit]]
    runs: Mapping[str, Sequence[Run]]
    others: Sequence[str]

    @property
    def synthetic(self) -> bool:
        return any(run.synthetic for runs in self.runs.values() for run in runs)


def facts(name: str) -> pl.DataFrame:
    """The rows of a table in published.csv: data, row, imputer, metric, value."""
    table = pl.read_csv(FACTS).filter(pl.col("table") == name)
    return table.with_columns(row=pl.coalesce(pl.col("missing_percent").cast(pl.String), "predictor"))


def filled(name: str, results: Sequence[Result], *, synthetic: bool) -> Table:
    """The table of that name with these runs in it.

    Arguments:
        synthetic: whether synthetic stays may stand in it, under a title that says so.

    Raises UserError for synthetic stays otherwise, for runs of several databases, numbers of folds or caps on epochs, of one protocol
    and other stays, for two settings of one cell, and if no run is in any cell. Other budgets that differ are the notes' (budgets.py).
    """
    rows = facts(name)
    metrics = rows["metric"].unique(maintain_order=True).to_list()
    published: dict[Key, float] = {
        (row["row"], row["imputer"], row["metric"]): row["value"] for row in rows.iter_rows(named=True)
    }
    of_errors = "auroc" not in metrics
    keys = [*published, *_more(results, published, of_errors=of_errors)]
    places = _placed(results, keys, of_errors=of_errors)
    placed = {id(run) for found in places.values() for run, _ in found}
    used = [result for result in results if id(result[0]) in placed]
    if not used:
        raise UserError(
            f"None of the {len(results)} runs is in a cell of {name}: python -m icu_lightning.run -m experiment={name}"
        )
    by_protocol = of_one_table(used, synthetic=synthetic, hidden=of_errors)
    scored = {p: n for p, found in by_protocol.items() if (n := _scored(found))} if of_errors else {}
    ours, apart = {}, {}
    for p, of_protocol in by_protocol.items():
        cells = {key: _ours(key, [r for r in found if protocol(r[0]) == p]) for key, found in places.items()}
        known = {key: cell for key, cell in cells.items() if cell}
        small = too_few([run for run, _ in of_protocol]) or scored.get(p, FEWEST_SCORED) < FEWEST_SCORED
        ours[p] = known if small else with_best(known)
        apart[p] = differences(known)
    return Table(
        name=name,
        data=str(rows["data"][0]),
        cells={k: Cell(published=published.get(k), ours={p: ours[p].get(k) for p in PROTOCOLS}) for k in keys},
        differences=apart,
        scored=scored,
        in_units={p: _in_units(places, p) for p in PROTOCOLS} if of_errors else {},
        runs={p: [run for run, _ in found] for p, found in by_protocol.items()},
        others=[run.name for run, _ in results if id(run) not in placed],
    )


def protocol(run: Run) -> str:
    """Paper or clean. Raises UserError for a run that is called clean and is not."""
    name = str(run.config["names"].get("protocol", "clean"))
    early = run.config["data"].get("before_split")
    if name == "clean" and early:
        raise UserError(
            f"{run.name} is of protocol=clean with data.before_split={early}, so of neither column. Leave it out."
        )
    return name


def predictor_and_imputer(run: Run) -> tuple[str, str] | None:
    """Of a run the row and column of an AUROC table that it would be in; None if it would be in none."""
    names = run.config["names"]
    if names["model"] == "two_stage":
        found = str(names["predictor"]), str(names["imputer"])
        if found[1] == "pypots":
            return found[0], f"{PYPOTS}{run.config['model']['imputer']['name']}"
        clusters = (run.config["model"].get("predictor") or {}).get("clusters", CLUSTERS)
        if found[0] == "kmeans" and clusters != CLUSTERS:
            return f"kmeans_{clusters}", found[1]
        return (AFTER, "mtdm") if found == ("lstm", "mtdm") else found
    row = OF_MTDM.get(names.get("model/tasks")) if names["model"] == "mtdm" else None
    return (row, "mtdm") if row else None


def _more(results: Sequence[Result], published: Mapping[Key, float], *, of_errors: bool) -> list[Key]:
    """The cells that these runs are in and the paper does not have: its rows in their order, then others."""
    found = set()
    for result in results:
        row, column = predictor_and_imputer(result[0]) or ("", "")
        if of_errors and column:
            rates = {(rate, metric) for rate, _, metric in published if errors_at(result, rate)}
            found |= {(rate, column, metric) for rate, metric in rates}
        elif column:
            found.add((row, column, "auroc"))
    place = {row: i for i, row in enumerate(dict.fromkeys(row for row, _, _ in published))}
    return sorted(found - published.keys(), key=lambda key: (place.get(key[0], len(place)), *key))


def _placed(results: Sequence[Result], keys: Sequence[Key], *, of_errors: bool) -> dict[Key, list[Result]]:
    """The runs of each cell.

    An imputer's errors are the same whatever predictor follows, but for BRITS when it was trained along with its own head: such runs
    are in a table of errors only where there are no others. Of the MTDM only the whole one is, as a model.
    """
    found: dict[Key, list[Result]] = {}
    for result in results:
        row, column = predictor_and_imputer(result[0]) or ("", "")
        for key in keys:
            whole = column != "mtdm" or row == "siamese"
            scored = whole and bool(errors_at(result, key[0])) if of_errors else row == key[0]
            if column == key[1] and scored:
                found.setdefault(key, []).append(result)
    if not of_errors:
        return found
    return {
        key: [r for r in runs if r[0].config["names"].get("predictor") != "brits"] or runs
        for key, runs in found.items()
    }


def of_one_table(used: Sequence[Result], *, synthetic: bool, hidden: bool) -> dict[str, list[Result]]:
    """The runs of each protocol. `hidden`: whether errors of hidden cells are in the table.

    Raises UserError, as `filled` does, for what cannot stand in one table.
    """
    by_protocol = {p: [result for result in used if protocol(result[0]) == p] for p in PROTOCOLS}
    first = used[0][0]
    for other, _ in used:
        if (first.synthetic, first.data) != (other.synthetic, other.data):
            raise UserError(
                f"{first.name} is of {first.data} and {other.name} of {other.data}: a table is of one database."
            )
    if first.synthetic and not synthetic:
        raise UserError(
            f"{first.name} is of synthetic stays, which say nothing beside published numbers of patients. --synthetic prints "
            "them, under a title that says so."
        )
    for run, _ in used:
        _refuse_other_settings(first, run, None, FOLDS, place="table")
        _refuse_other_settings(first, run, "trainer", CAP, place="table")
        if hidden:
            _refuse_other_settings(first, run, "imputation", SCORED, place="table")
    for results in by_protocol.values():
        runs = [run for run, _ in results]
        refuse_unlike(runs, purpose="stand in one column", other_data="Leave one out.")
        for run, metrics in results:
            _refuse_other_settings(runs[0], run, "data", SEEN)
            if hidden:
                _refuse_other_cells(results[0], (run, metrics))
    return by_protocol


def _refuse_other_settings(
    first: Run, other: Run, part: str | None, names: Sequence[str], place: str = "column"
) -> None:
    """Raise UserError if a setting of a part of the configuration differs; None: of the whole."""
    for name in names:
        a, b = (((run.config.get(part) or {}) if part else run.config).get(name) for run in (first, other))
        if a != b:
            told = f"{part}.{name}" if part else name
            raise UserError(
                f"{first.name} and {other.name} cannot stand in one {place}: {told} is {a} and {b}. Leave one out, or run it "
                "again with the other's."
            )


def _refuse_other_cells(first: Result, other: Result) -> None:
    """Raise UserError if the errors are of other cells."""
    _refuse_other_settings(first[0], other[0], "imputation", HIDDEN)
    errors, others = (metrics.get("imputation") or {} for _, metrics in (first, other))
    for rate in sorted(errors.keys() & others.keys()):
        a, b = errors[rate]["n"], others[rate]["n"]
        if a != b:
            raise UserError(
                f"{first[0].name} and {other[0].name} hid {a:,} and {b:,} cells at {rate}: they are not the same cells. Leave one out."
            )
    mine, theirs = (run.hidden or {} for run, _ in (first, other))
    for rate in sorted(mine.keys() & theirs.keys()):
        a, b = mine[rate], theirs[rate]
        if not (np.array_equal(a.patients, b.patients) and np.array_equal(a.cells, b.cells)):
            raise UserError(
                f"{first[0].name} and {other[0].name} hid cells of other patients at {rate}. Leave one out."
            )


def _ours(key: Key, results: Sequence[Result]) -> Ours | None:
    """Mean over seeds. Raises UserError for two settings, or two results of one seed, in one cell."""
    row, _, metric = key
    of_errors = metric not in HIGHER
    by_seed: dict[int, tuple[Result, Mapping[str, Any]]] = {}
    for result in results:
        run, cell = result[0], number_of(result, row, metric)
        if results[0][0] is not run:
            _refuse_two_settings(results[0][0], run, of_errors=of_errors)
        (twin, _), own = by_seed.setdefault(run.seed, (result, cell))
        if twin is not run and not (of_errors and _same(own["value"], cell["value"])):
            raise UserError(
                f"{twin.name} and {run.name} are both seed {run.seed} of one cell ({', '.join(key)}). Leave one out."
            )
    seeds = [result for result, _ in by_seed.values()]
    ours = measured(seeds, row, metric)
    return ours if of_errors or ours is None else with_pooled(ours, seeds)


def _scored(results: Sequence[Result]) -> int | None:
    """The fewest test stays whose hidden cells were filled in; None where no run tells."""
    each = [of.get("stays") for _, metrics in results for of in (metrics.get("imputation") or {}).values()]
    return min((n for n in each if n is not None), default=None)


def _in_units(places: Mapping[Key, Sequence[Result]], of: str) -> dict[Key, InUnit]:
    """By row, column and variable, of one protocol."""
    found: dict[Key, InUnit] = {}
    for (row, column, metric), results in places.items():
        if metric != "mae":
            continue
        # A seed's are the same whatever predictor follows; of few stays no cell of a variable may be hidden
        seeds = {r[0].seed: errors_at(r, row).get("variables") or {} for r in results if protocol(r[0]) == of}
        each: dict[str, list[Mapping[str, Any]]] = {}
        for variables in seeds.values():
            for name, variable in variables.items():
                if variable["mae"]["value"] is not None:
                    each.setdefault(name, []).append(variable)
        for name, of_seeds in each.items():
            error = float(np.mean([variable["mae"]["value"] for variable in of_seeds]))
            found[row, column, name] = InUnit(unit=of_seeds[0]["unit"], mae=error)
    return found


def _same(a: float | None, b: float | None) -> bool:
    """As one imputer's errors are in front of two predictors, but for the last digits."""
    return a == b or (a is not None and b is not None and bool(np.isclose(a, b, rtol=1e-6)))


def _refuse_two_settings(first: Run, other: Run, *, of_errors: bool) -> None:
    """Raise UserError if the two differ in more than the seed; of errors, in more than seed and predictor."""
    a, b = identity(first), identity(other)
    apart = [
        name
        for name in sorted(a.keys() | b.keys())
        if json.dumps(a.get(name), default=str) != json.dumps(b.get(name), default=str)
        and not (of_errors and name.startswith(("names.predictor", "model.predictor")))
    ]
    if apart:
        told = ", ".join(f"{name} is {a.get(name)} and {b.get(name)}" for name in apart[:3])
        raise UserError(f"{first.name} and {other.name} are two settings of one cell: {told}. Leave one out.")


def events(runs: Sequence[Run]) -> int:
    """How many test stays have the outcome."""
    return min((int(run.test["label"].sum()) for run in runs), default=0)


def too_few(runs: Sequence[Run]) -> bool:
    """Whether these runs, of one protocol, are of too few events to rank anything."""
    return bool(runs) and events(runs) < FEWEST_EVENTS
