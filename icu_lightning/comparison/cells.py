"""What stands in a cell of a table: a number of one setting, over its seeds, and what sets it apart from another cell's.

Its interval is that of the mean over seeds, over resampled patients. All cells see the same resamples, so that two can be paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icu_lightning.comparison.runs import Run
from icu_lightning.comparison.statistics import (
    Estimate,
    auroc_of_folds,
    estimate,
    hidden_errors,
    own_aurocs,
    risk_aurocs,
)

HIGHER = ("auroc",)  # is better; of the others lower
RESAMPLES, RESAMPLING = 1000, 0  # of patients, and their seed: the same for all cells, whatever a run's own
Result = tuple[Run, Mapping[str, Any]]  # and its metrics.json
Key = tuple[str, str, str]  # row, column (the imputer), metric


@dataclass(frozen=True, kw_only=True)
class Ours:
    """Mean over seeds; `sd` over them, None of one; the interval None where there is none.

    `drawn`: (R) the mean over seeds in each resample of patients; None where a run's errors were not read.

    Of an AUROC also: `pooled` and `calibrated`, of own and of calibrated risks of all test stays together; `fold_sd`, the SD over the
    folds, averaged over seeds, None without folds.
    """

    value: float
    sd: float | None
    low: float | None
    high: float | None
    seeds: int
    best: bool = False
    drawn: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    pooled: "Ours | None" = None
    calibrated: "Ours | None" = None
    fold_sd: float | None = None


def measured(results: Sequence[Result], row: str, metric: str) -> Ours | None:
    """One setting, a run a seed: the mean over its seeds, and its interval over patients. `row`: of errors the missing rate."""
    drawn = [_drawn(run, row, metric) for run, _ in results]
    return over_seeds([number_of(result, row, metric) for result in results], drawn)


def number_of(result: Result, row: str, metric: str) -> Mapping[str, Any]:
    """{value, low, high} of one run; of folds without an interval, which `measured` has."""
    found = own_auroc(*result) if metric in HIGHER else errors_at(result, row).get(metric)
    return found or {"value": None}


def _drawn(run: Run, row: str, metric: str) -> NDArray[np.float64] | None:
    if metric in HIGHER:
        return own_aurocs(run, RESAMPLES, RESAMPLING)
    found = hidden_errors(run, f"{int(row) / 100:g}", RESAMPLES, RESAMPLING)
    return None if found is None else found[metric]


def errors_at(result: Result, percent: str) -> Mapping[str, Any]:
    """The errors at a missing rate; nothing if it was not scored."""
    return (result[1].get("imputation") or {}).get(f"{int(percent) / 100:g}", {})


def own_auroc(run: Run, metrics: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of own risks: the mean of the folds' where there are folds, else of the test split, with its interval."""
    if run.test["fold"].null_count():
        return metrics["test"]["raw"]["auroc"]
    return auroc_of_folds(run.test, 0, RESAMPLING)


def with_pooled(ours: Ours, results: Sequence[Result]) -> Ours:
    """With the AUROC of all test stays together, of own and of calibrated risks, and its SD over folds."""
    tests = [metrics["test"] for _, metrics in results]

    def together(cells: Sequence[Mapping[str, Any]], risk: str) -> Ours | None:
        several = len(results) > 1  # the interval of one is its own
        drawn = [risk_aurocs(run, risk, RESAMPLES, RESAMPLING) for run, _ in results if several]
        return over_seeds(cells, drawn)

    folds = [test["raw"].get("folds", {}).get("auroc") or {} for test in tests]
    sds = [fold["sd"] for fold in folds if fold.get("sd") is not None]
    return replace(
        ours,
        pooled=together([test["raw"]["auroc"] for test in tests], "risk_raw"),
        calibrated=together([test["auroc"] for test in tests], "risk"),
        fold_sd=float(np.mean(sds)) if len(sds) == len(tests) else None,
    )


def over_seeds(cells: Sequence[Mapping[str, Any]], drawn: Sequence[NDArray[np.float64] | None]) -> Ours | None:
    """None if no seed has a value.

    Arguments:
        cells: {value, low, high} of each seed.
        drawn: (R) of each seed, of the same resamples of patients.

    Of one seed the interval is its own, if it has one, else that of the seeds' mean in each resample; without `drawn` of each there is
    none.
    """
    known = [i for i, cell in enumerate(cells) if cell["value"] is not None]
    if not known:
        return None
    values = [cells[i]["value"] for i in known]
    own = [drawn[i] for i in known if i < len(drawn)]
    whole = [replicates for replicates in own if replicates is not None]
    mean = np.mean(whole, axis=0) if len(whole) == len(known) else None
    value, alone = float(np.mean(values)), {} if values[1:] else cells[known[0]]
    low, high = alone.get("low"), alone.get("high")
    if low is None and mean is not None:
        found = estimate(value, mean)
        low, high = found.low, found.high
    return Ours(
        value=value,
        sd=float(np.std(values, ddof=1)) if values[1:] else None,
        low=low,
        high=high,
        seeds=len(values),
        drawn=mean,
    )


def with_best(cells: Mapping[Key, Ours]) -> dict[Key, Ours]:
    """The cells, marked if best: of errors among the imputers at one rate, of AUROC in the whole table."""
    known = dict(cells)
    for contest in {(key[2], key[0] if key[2] not in HIGHER else "") for key in known}:
        keys = [key for key in known if key[2] == contest[0] and contest[1] in ("", key[0])]
        sign = 1 if contest[0] in HIGHER else -1
        first, *rest = sorted(keys, key=lambda key: -sign * known[key].value)
        if rest and all(_apart(known[first], known[other], sign) for other in rest):
            known[first] = replace(known[first], best=True)
    return known


def _apart(first: Ours, second: Ours, sign: int) -> bool:
    """Whether the interval of the first less the second is wholly on the first's better side."""
    apart = difference(first, second)
    if apart is None or apart.low is None or apart.high is None:
        return False
    return apart.low > 0 if sign > 0 else apart.high < 0


def difference(first: Ours, second: Ours) -> Estimate | None:
    """First minus second, paired on the same resamples of patients; None where a run's errors were not read."""
    if first.drawn is None or second.drawn is None:
        return None
    return estimate(first.value - second.value, first.drawn - second.drawn)


def differences(cells: Mapping[Key, Ours]) -> dict[tuple[Key, Key], Estimate]:
    """Of two cells of one metric the first less the second: of errors at one rate, of AUROC with one predictor or one imputer."""
    found = {}
    for a, b in combinations(cells, 2):
        alike = a[0] == b[0] or (a[2] in HIGHER and a[1] == b[1])
        if a[2] == b[2] and alike and (apart := difference(cells[a], cells[b])):
            found[a, b] = apart
    return found
