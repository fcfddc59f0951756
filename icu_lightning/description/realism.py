"""What can be measured of made-up and of real hours alike: rhythm, persistence, correlation, what is missing, and how well a
classifier tells one from the other.

A classifier that cannot tell has an AUROC of .5; realism is measured, not claimed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
LAGS = 24
FEWEST = 200  # pairs or hours without which nothing is said
FOLDS = 5
MOST_HOURS = 20_000  # of each kind, for the classifier


@dataclass(frozen=True)
class Hours:
    """Hourly values of B stays.

    names: V variables of concepts.yaml. values: (B, T, V), NaN where not charted. clock: (B,) hour of the day [0, 24) at which the
    stay begins, NaN where unknown. in_unit: (B, T) whether the patient was there.
    """

    names: tuple[str, ...]
    values: Doubles
    clock: Doubles
    in_unit: NDArray[np.bool_]

    def of(self, name: str) -> Doubles:
        """(B, T) of one variable."""
        return self.values[..., self.names.index(name)]

    def hour_of_day(self) -> Doubles:
        """(B, T), NaN where unknown."""
        return np.floor((self.clock[:, None] + np.arange(self.values.shape[1])) % 24)


def by_hour_of_day(hours: Hours, name: str) -> Doubles:
    """(24,) mean deviation of the stays' values from their own mean, at each hour of the day; NaN where there are too few."""
    values, clock = hours.of(name), hours.hour_of_day()
    apart = values - _row_mean(values)
    known = np.isfinite(apart) & np.isfinite(clock)
    count = np.bincount(clock[known].astype(int), minlength=24)
    total = np.bincount(clock[known].astype(int), weights=apart[known], minlength=24)
    return np.where(count >= FEWEST, total / np.maximum(count, 1), np.nan)


def autocorrelation(hours: Hours, name: str) -> Doubles:
    """(LAGS,) correlation of values 1, 2, ... hours apart, over all stays; NaN where there are too few pairs."""
    values = hours.of(name)
    found = np.full(LAGS, np.nan)
    for lag in range(1, LAGS + 1):
        before, after = values[:, :-lag], values[:, lag:]
        both = np.isfinite(before) & np.isfinite(after)
        if both.sum() >= FEWEST:
            found[lag - 1] = np.corrcoef(before[both], after[both])[0, 1]
    return found


def correlations(hours: Hours) -> Doubles:
    """(V, V) of the values of one hour, each taken forward in time for at most the stay; NaN where there are too few."""
    filled = carried_forward(hours.values)[:, ::6].reshape(-1, len(hours.names))
    matrix = np.full((len(hours.names),) * 2, np.nan)
    for i in range(len(hours.names)):
        for j in range(i + 1):
            both = np.isfinite(filled[:, i]) & np.isfinite(filled[:, j])
            if both.sum() >= FEWEST and filled[both, i].std() > 0 and filled[both, j].std() > 0:
                matrix[i, j] = matrix[j, i] = np.corrcoef(filled[both, i], filled[both, j])[0, 1]
    return matrix


def missing_by_hour_of_day(hours: Hours, names: Sequence[str]) -> Doubles:
    """(24,) share of these variables' hourly cells in the unit that are empty, at each hour of the day."""
    places = [hours.names.index(name) for name in names]
    empty = (~np.isfinite(hours.values[..., places])).mean(axis=-1)  # (B, T) share of the variables
    clock = hours.hour_of_day()
    known = hours.in_unit & np.isfinite(clock)
    count = np.bincount(clock[known].astype(int), minlength=24)
    total = np.bincount(clock[known].astype(int), weights=np.asarray(empty)[known], minlength=24)
    return np.where(count >= FEWEST, total / np.maximum(count, 1), np.nan)


def carried_forward(values: Doubles) -> Doubles:
    """(B, T, V) with each empty cell as the last value before it; NaN before the first.

    >>> carried_forward(np.array([[[1.0], [np.nan], [3.0]]]))[0, :, 0].tolist()
    [1.0, 1.0, 3.0]
    """
    filled = values.copy()
    for t in range(1, filled.shape[1]):
        filled[:, t] = np.where(np.isfinite(filled[:, t]), filled[:, t], filled[:, t - 1])
    return filled


@dataclass(frozen=True)
class Told:
    """auroc: of the classifier. hours: of each kind that it saw. real_stays: that have such hours."""

    auroc: float
    hours: int
    real_stays: int


def told_apart(
    real: Hours,
    made_up: Hours,
    names: Sequence[str],
    decimals: Mapping[str, int],
    *,
    mapped: bool = False,
    seed: int = 0,
) -> Told | None:
    """Boosted trees that tell real from made-up hours by their values alone, cross-validated with stays kept together.

    Only hours in which all of `names` are known count, so that what is missing gives nothing away. None if there are too few.

    Arguments:
        decimals: to which the values of both kinds are rounded, or the precision of charting alone would tell.
        mapped: give each made-up variable the real one's distribution, so that only how variables go together can tell.
    """
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    (of_real, real_stay), (of_made, made_stay) = (_complete_hours(h, names, decimals, rng) for h in (real, made_up))
    n = min(len(of_real), len(of_made))
    if n < FEWEST:
        return None
    features, label = np.concatenate([of_real[:n], of_made[:n]]), np.repeat([1, 0], n)
    fold = np.concatenate([real_stay[:n], made_stay[:n]]) % FOLDS
    score = _out_of_fold(features, label, fold, rng if mapped else None)
    scored = np.isfinite(score)
    if len(set(label[scored])) < 2:
        return None
    return Told(float(roc_auc_score(label[scored], score[scored])), n, len(set(real_stay[:n].tolist())))


def _out_of_fold(
    features: Doubles, label: NDArray[np.int64], fold: NDArray[np.int64], mapping: np.random.Generator | None
) -> Doubles:
    """(n,) scores of trees that were fitted on the other folds; NaN where those, or the fold itself, have one kind only.

    Arguments:
        mapping: breaks the ties where made-up hours are to be distributed as the real ones. The fold and the others are mapped
            apart: were they mapped together, a value that is real in the fold would be made up in the others.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    score = np.full(len(label), np.nan)
    with threadpool_limits(1):  # on a busy machine, two threads that wait for each other take thirty times as long
        for k in range(FOLDS):
            sides = fold != k, fold == k
            if any(len(set(label[side])) < 2 for side in sides):
                continue
            x = [features[side] for side in sides]
            if mapping is not None:
                x = [_alike(features[side], label[side] == 1, mapping) for side in sides]
            model = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=0)
            score[sides[1]] = model.fit(x[0], label[sides[0]]).predict_proba(x[1])[:, 1]
    return score


def _alike(values: Doubles, real: NDArray[np.bool_], rng: np.random.Generator) -> Doubles:
    """(n, V) the rows that are not `real` with values drawn from the real ones', of each variable, in the order of their own."""
    mapped = values.copy()
    made = np.flatnonzero(~real)
    for v in range(values.shape[1]):
        order = np.lexsort((rng.random(len(made)), values[made, v]))  # ties in a random order
        share = np.sort(
            rng.random(len(made))
        )  # a sample: were both kinds equal to the last hour, no tree would begin to split
        mapped[made[order], v] = np.quantile(values[real, v], share, method="inverted_cdf")
    return mapped


def distance(one: Doubles, other: Doubles) -> float:
    """Largest difference of the shares below a value (Kolmogorov-Smirnov): 0 for equal distributions, 1 for apart; NaN left out.

    >>> distance(np.array([1.0, 2, np.nan]), np.array([2.0, 3]))
    0.5
    """
    from scipy.stats import ks_2samp

    return float(ks_2samp(one[np.isfinite(one)], other[np.isfinite(other)], method="asymp").statistic)


def _complete_hours(
    hours: Hours, names: Sequence[str], decimals: Mapping[str, int], rng: np.random.Generator
) -> tuple[Doubles, NDArray[np.int64]]:
    """(n, V) values of hours with all variables, in a random order and at most MOST_HOURS, and the place of each one's stay."""
    places = [hours.names.index(name) for name in names]
    filled = carried_forward(hours.values[..., places])
    known = np.isfinite(filled).all(axis=-1), np.isfinite(hours.values[..., places]).any(axis=-1)
    stay, hour = np.nonzero(known[0] & known[1])
    order = rng.permutation(len(stay))[:MOST_HOURS]
    scale = 10.0 ** np.array([decimals[name] for name in names])
    return np.round(filled[stay[order], hour[order]] * scale) / scale, stay[order]


def _row_mean(values: Doubles) -> Doubles:
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(1, keepdims=True)
    return total / np.maximum(known.sum(1, keepdims=True), 1)
