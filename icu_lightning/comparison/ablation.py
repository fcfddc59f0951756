"""Runs of the MTDM that differ in one setting at a time, a row a setting: what `experiment=ablation` gives.

Its rows are those of METHODS B.3, single task (the imputer alone, then the LSTM), multi-task, and with the contrastive term, and
below them each other setting. A row has the mean over its seeds, and of AUROC also the difference to the reference, over the seeds
that both have and the same resamples of patients; of the three designs each two have theirs, of the errors too. The reference is
multi_siamese with the settings that most runs have; a row is named by what differs from those. Where as many runs have one value as
another, neither is usual, and there may be no reference.

The paper has no table of its ablation: its prose names percentages that do not agree with one another (METHODS B.5), and no number
for the other settings. Of the three designs its tables 4, 5 and 6 imply an AUROC, which stands in `published`: the LSTM on the series
of CSDI, that on the MTDM's, and the Siamese network's.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025), section 6.4, tables 4 to 6.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from icu_lightning.comparison.budgets import cap_of, of_commits, of_imputer
from icu_lightning.comparison.cells import Ours, Result, difference, measured
from icu_lightning.comparison.published import facts, of_one_table
from icu_lightning.comparison.runs import Run, SeededModel, identity, models
from icu_lightning.comparison.statistics import Estimate
from icu_lightning.errors import UserError

NAME = "ablation"
IMPLIED = {  # model/tasks -> row and imputer of tables 4 to 6
    "single": ("lstm", "csdi"),
    "multi": ("lstm", "mtdm"),
    "multi_siamese": ("siamese", "mtdm"),
}
REFERENCE = "multi_siamese"
OF_TASKS = ("names.model/tasks", "model.weights.")  # settings that the three designs differ in
AUROCS = {"mimic3": "table4", "mimic4": "table5", "eicu": "table6"}  # of the paper; other data has none
RATES = ("10", "30", "50", "70", "90")  # per cent hidden
ERRORS = ("mae", "rmse")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting under one protocol.

    Arguments:
        model: its runs, by seed.
        published: the AUROC that the paper's tables imply, None where they do not.
        auroc: of own risks, with cv the mean of the folds'.
        reference: whether it is the one that the others are compared with.
        less_reference: AUROC minus the reference's; None of the reference, where there is none, and where they share no seed.
        errors: (rate in per cent, metric) -> error in hidden cells, in SDs.
    """

    protocol: str
    setting: str
    model: SeededModel
    published: float | None
    auroc: Ours | None
    reference: bool
    less_reference: Estimate | None
    errors: Mapping[tuple[str, str], Ours | None]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two designs with the usual settings, over the seeds that both have: the first less the second, paired on the patients.

    Arguments:
        auroc: None where a seed's is undefined. by_seed: of each seed.
        errors: (rate in per cent, metric) -> difference; None of those that were not read.
    """

    protocol: str
    first: str
    second: str
    seeds: Sequence[int]
    auroc: Estimate | None
    by_seed: Sequence[float]
    errors: Mapping[tuple[str, str], Estimate | None]


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Rows in the order of IMPLIED, the reference before what changes one of its settings; `others`: names of runs in none."""

    rows: Sequence[Row]
    pairs: Sequence[Pair]
    others: Sequence[str]

    @property
    def runs(self) -> list[Run]:
        return [run for row in self.rows for run in row.model.runs]


def filled(results: Sequence[Result], *, synthetic: bool) -> Ablation:
    """The ablation with these runs in it.

    Raises UserError as published.filled does, for two runs of one setting and seed, and if no run is of the MTDM.
    """
    used = [result for result in results if _tasks(result[0]) in IMPLIED]
    if not used:
        raise UserError(
            f"None of the {len(results)} runs is of model=mtdm with model/tasks: python -m icu_lightning.run -m experiment={NAME}"
        )
    by_protocol = of_one_table(used, synthetic=synthetic, hidden=True)
    kept = {id(run) for run, _ in used}
    rows = {p: _rows(p, found) for p, found in by_protocol.items()}
    return Ablation(
        rows=[row for found in rows.values() for row in found],
        pairs=[pair for p, found in by_protocol.items() for pair in _pairs(p, found, rows[p])],
        others=[run.name for run, _ in results if id(run) not in kept],
    )


def _tasks(run: Run) -> str | None:
    names = run.config["names"]
    return names.get("model/tasks") if names["model"] == "mtdm" else None


def _rows(protocol: str, results: Sequence[Result]) -> list[Row]:
    metrics = {id(run): found for run, found in results}
    order = list(IMPLIED)
    runs = [run for run, _ in results]
    of_all, of_tasks = usual(runs), {tasks: usual([run for run in runs if _tasks(run) == tasks]) for tasks in order}
    found = []
    for model in models(runs):
        own = of_tasks[str(_tasks(model.runs[0]))]  # what `model/tasks` sets is usual among those of the same tasks
        found.append((model, changes(model, of_all | {name: own[name] for name in own if name.startswith(OF_TASKS)})))
    found.sort(key=lambda each: (order.index(str(_tasks(each[0].runs[0]))), bool(each[1])))
    reference = next((m for m, apart in found if _tasks(m.runs[0]) == REFERENCE and not apart), None)
    return [_row(protocol, model, apart, reference, metrics) for model, apart in found]


def usual(runs: Sequence[Run]) -> dict[str, set[str]]:
    """Setting -> the value that most runs have, as JSON; several where as many have another."""
    identities = [identity(run) for run in runs]
    found = {}
    for name in {name for each in identities for name in each}:
        counts = Counter(_plain(each.get(name)) for each in identities)
        most = max(counts.values())
        found[name] = {value for value, n in counts.items() if n == most}
    return found


def changes(model: SeededModel, usual: Mapping[str, set[str]]) -> dict[str, Any]:
    """Setting -> value of what is not usual."""
    own = identity(model.runs[0])
    return {name: own.get(name) for name, values in sorted(usual.items()) if {_plain(own.get(name))} != values}


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _row(
    protocol: str,
    model: SeededModel,
    apart: Mapping[str, Any],
    reference: SeededModel | None,
    metrics: Mapping[int, Mapping[str, Any]],
) -> Row:
    runs, tasks = model.runs, str(_tasks(model.runs[0]))
    results = _results(model, metrics)
    told = ", ".join(f"{name}={value}" for name, value in apart.items())
    return Row(
        protocol=protocol,
        setting=f"{tasks}, {told}" if told else tasks,
        model=model,
        published=None if apart else _implied(runs[0].data, tasks),
        auroc=measured(results, "", "auroc"),
        reference=model is reference,
        less_reference=_less(results, _results(reference, metrics), "", "auroc")
        if reference and reference is not model
        else None,
        errors={(rate, metric): measured(results, rate, metric) for rate in RATES for metric in ERRORS},
    )


def _results(model: SeededModel, metrics: Mapping[int, Mapping[str, Any]]) -> list[Result]:
    return [(run, metrics[id(run)]) for run in model.runs]


def _shared(first: Sequence[Result], second: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """The runs of the seeds that both have, in the order of the seeds."""
    by_seed = [{run.seed: (run, metrics) for run, metrics in results} for results in (first, second)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    return [by_seed[0][seed] for seed in seeds], [by_seed[1][seed] for seed in seeds]


def _less(first: Sequence[Result], second: Sequence[Result], rate: str, metric: str) -> Estimate | None:
    """First minus second over the seeds that both have; None if they share none, or the errors were not read."""
    own = _shared(first, second)
    if not own[0]:
        return None
    a, b = (measured(results, rate, metric) for results in own)
    if a and b:
        return difference(a, b)
    return Estimate(None, None, None) if metric == "auroc" else None


def _pairs(protocol: str, results: Sequence[Result], rows: Sequence[Row]) -> list[Pair]:
    """Of the designs with the usual settings each two."""
    metrics = {id(run): found for run, found in results}
    own = {row.setting: _results(row.model, metrics) for row in rows if row.setting in IMPLIED}
    found = []
    for a, b in combinations(own, 2):
        seeds = [run.seed for run, _ in _shared(own[a], own[b])[0]]
        each = [_less([x], [y], "", "auroc") for x, y in zip(*_shared(own[a], own[b]), strict=True)]
        found.append(
            Pair(
                protocol=protocol,
                first=a,
                second=b,
                seeds=seeds,
                auroc=_less(own[a], own[b], "", "auroc"),
                by_seed=[one.value for one in each if one and one.value is not None],
                errors={(rate, metric): _less(own[a], own[b], rate, metric) for rate in RATES for metric in ERRORS},
            )
        )
    return [pair for pair in found if pair.seeds]


def _implied(data: str, tasks: str) -> float | None:
    if data not in AUROCS:
        return None
    row, imputer = IMPLIED[tasks]
    found = facts(AUROCS[data]).filter(pl.col("row") == row, pl.col("imputer") == imputer)
    return float(found["value"][0])


def budgets(found: Ablation) -> list[str]:
    """What each setting was given, and whether a cap on epochs makes two of them one."""
    groups: dict[str, list[str]] = {}
    for row in found.rows:
        if budget := of_imputer(row.model.runs[0], aurocs=True):
            groups.setdefault(str(budget), []).append(f"{row.setting} ({row.protocol})")
    given = "; ".join(f"{budget}: {', '.join(of)}" for budget, of in groups.items())
    told = [f"Budgets: {given}."] if given else []
    if cap := cap_of(found.runs[0]):
        told.append(
            f"WARNING, trainer.max_epochs={cap} in all runs: no stage was longer, so that settings of model.epochs above it are one."
        )
    return told


def commits(found: Ablation) -> str:
    """As budgets.commits, with the settings that are of each commit."""

    def where(part: Sequence[Run]) -> str:
        own = {id(run) for run in part}
        return ", ".join(
            f"{row.setting} ({row.protocol}, seeds {', '.join(str(run.seed) for run in there)})"
            for row in found.rows
            if (there := [run for run in row.model.runs if id(run) in own])
        )

    return of_commits(found.runs, where)
