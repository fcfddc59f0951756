"""What are k labelled stays of another hospital worth? Recalibrators are fitted on them and judged on stays of other patients.

    intercept only: logit p' = c + logit p    slope and intercept: logit p' = c + a logit p    isotonic: a rising curve

The k stays are drawn by patient, several times over. The stays that judge are the same for every k, draw and recalibrator, and
none of their patients is ever drawn.

References: Validation and updating of predictive logistic regression models: a study on sample size and shrinkage (Steyerberg,
    Borsboom, van Houwelingen, Eijkemans, Habbema, 2004); Prediction models need appropriate internal, internal-external, and
    external validation (Steyerberg, Harrell, 2016).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import patient_weights, percentile_interval
from icu_lightning.evaluation.calibration import Calibrator, Intercept, Isotonic, Platt
from icu_lightning.evaluation.evaluate import of_risk
from icu_lightning.evaluation.metrics import THRESHOLD_METRICS, net_benefit, pooled

Array = NDArray[np.float64]
RECALIBRATORS: dict[str, Callable[[], Calibrator]] = {
    "intercept": Intercept,
    "slope and intercept": Platt,
    "isotonic": Isotonic,
}


class Stays(NamedTuple):
    """label (n,) 0 or 1; risk (n,) before recalibration; patient_id (n,) of any sortable type."""

    label: Array
    risk: Array
    patient_id: NDArray


@dataclass
class Updated:
    """One recalibrator after k stays.

    metrics: name -> {value, sd, low, high}: mean and SD over the draws, each on all the stays that judge; low and high are the
    95 % interval over resampled patients and draws together. None is what is undefined.
    unchanged: draws that had nothing to learn from (one class, or classes that the risks separate) and left every risk as it was.
    flat: draws after which everybody has one risk.
    """

    method: str
    k: int
    draws: int
    unchanged: int = 0
    flat: int = 0
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)


def judging(label: Array, patient_id: NDArray, share: float, seed: int) -> NDArray[np.bool_]:
    """(n,) True for the stays of `share` of the patients, drawn apart among those of whom a stay died and the others."""
    patients, of_stay = np.unique(patient_id, return_inverse=True)
    died = np.zeros(len(patients), dtype=bool)
    np.logical_or.at(died, of_stay, label == 1)
    rng, chosen = np.random.default_rng(seed), np.zeros(len(patients), dtype=bool)
    for stratum in (died, ~died):
        order = rng.permutation(np.flatnonzero(stratum))
        chosen[order[: round(share * len(order))]] = True
    return chosen[of_stay]


def draw(patient_id: NDArray, k: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of k stays: all stays of one patient after the other, in random order, until there are k."""
    _, of_stay = np.unique(patient_id, return_inverse=True)
    place = rng.permutation(of_stay.max(initial=-1) + 1)[of_stay]
    return np.argsort(place, kind="stable")[:k]


def sizes(asked: Sequence[int], available: int) -> tuple[list[int], list[int]]:
    """The k for which there is room, and those for which there is not; all that there is, where no k fits.

    >>> sizes([50, 100, 500], 120), sizes([50, 100], 30), sizes([50], 0)
    (([50, 100], [500]), ([30], [50, 100]), ([], [50]))
    """
    fit = sorted({k for k in asked if k <= available})
    return fit or ([available] if available else []), sorted(set(asked) - set(fit))


def risk_after(pool: Stays, judges: Stays, method: str, k: int, seed: int, i: int = 0) -> Array:
    """(n,) risks of the judging stays after the i-th draw of k stays."""
    rows = draw(pool.patient_id, k, np.random.default_rng((seed, k, i)))
    return RECALIBRATORS[method]().fit(pool.label[rows], pool.risk[rows]).transform(judges.risk)


def updated(
    pool: Stays,
    judges: Stays,
    threshold: float,
    ks: Sequence[int],
    *,
    draws: int,
    n_replicates: int,
    seed: int,
    advance: Callable[[int], object] = lambda _: None,
) -> list[Updated]:
    """Every recalibrator of RECALIBRATORS after every k.

    Arguments:
        pool, judges: stays of different patients.
        threshold: at or above which a stay is flagged, before and after.
        ks: none larger than the pool; a k that is the whole pool is drawn once.
        n_replicates: patient resamples behind an interval, shared out over the draws.
        advance: told how many draws more are done.

    Raises ValueError if a patient is on both sides.
    """
    if np.isin(pool.patient_id, judges.patient_id).any():
        raise ValueError("a patient is on both sides")
    results = []
    for k in ks:
        times = 1 if k == len(pool.label) else draws
        results += _after(pool, judges, threshold, k, times, n_replicates, seed, advance)
    return results


def _after(
    pool: Stays,
    judges: Stays,
    threshold: float,
    k: int,
    draws: int,
    n_replicates: int,
    seed: int,
    advance: Callable[[int], object],
) -> list[Updated]:
    results = {name: Updated(name, k, draws) for name in RECALIBRATORS}
    values: dict[str, list[Any]] = {name: [] for name in RECALIBRATORS}
    resampled: dict[str, list[Any]] = {name: [] for name in RECALIBRATORS}
    for i in range(draws):
        for name in RECALIBRATORS:
            risk = risk_after(pool, judges, name, k, seed, i)
            results[name].unchanged += bool(np.allclose(risk, judges.risk, rtol=0, atol=1e-12))
            results[name].flat += len(np.unique(risk)) == 1
            metrics = partial(with_flags, judges.label, risk, threshold)
            values[name].append(metrics(np.ones(len(risk))))
            resampled[name] += [metrics(weight) for weight in _weights(judges, i, draws, n_replicates, seed)]
        advance(1)
    for name, result in results.items():
        result.metrics = {metric: _cell(values[name], resampled[name], metric) for metric in values[name][0]}
    return list(results.values())


def with_flags(label: Array, risk: Array, threshold: float, weight: Array) -> dict[str, Any]:
    """Name -> (R,) of every metric of risks and of flags at the threshold, for weights (R, n) or (n,)."""
    rows = pooled(label, (risk >= threshold).astype(float), weight)
    flags = {name: metric(*rows) for name, metric in THRESHOLD_METRICS.items()}
    return of_risk(label, risk, weight) | flags | {"net_benefit": net_benefit(*rows, threshold)}


def _weights(judges: Stays, i: int, draws: int, n_replicates: int, seed: int) -> Iterator[Array]:
    """The i-th draw's part of the resamples: the same for every recalibrator and k."""
    rows = n_replicates // draws + (i < n_replicates % draws)
    own_seed = int(np.random.SeedSequence((seed, i)).generate_state(1)[0])
    return patient_weights(judges.patient_id, rows, own_seed)


def _cell(values: list[Any], resampled: list[Any], metric: str) -> dict[str, float | None]:
    found = np.array([value[metric] for value in values], float)
    found = found[np.isfinite(found)]
    replicates = np.concatenate([np.atleast_1d(chunk[metric]) for chunk in resampled]) if resampled else np.empty(0)
    low, high = percentile_interval(replicates)
    numbers = {
        "value": found.mean() if found.size else np.nan,
        "sd": found.std(ddof=1) if found.size > 1 else np.nan,
        "low": low,
        "high": high,
    }
    return {name: float(number) if np.isfinite(number) else None for name, number in numbers.items()}
