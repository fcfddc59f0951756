"""Models on the same test stays: values, their spread over seeds, and paired tests of the differences.

A model with several seeds is the mean of its seeds' metrics, not the metric of their mean risk: an ensemble is another, better
model that nobody trained. Intervals resample patients and hold for these seeds; the spread over seeds stands beside them. All
models see the same resamples, so differences are paired. DeLong's test is that of the contrast of the seeds' AUROCs.

References: A simple sequentially rejective multiple test procedure (Holm, 1979); delong.py; bootstrap.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.comparison.runs import Run, SeededModel
from icu_lightning.evaluation import delong
from icu_lightning.evaluation.bootstrap import patient_weights, percentile_interval, with_intervals
from icu_lightning.evaluation.evaluate import of_flags, of_risk
from icu_lightning.evaluation.metrics import discrimination, pooled

Array = NDArray[np.float64]
FEWEST_REPLICATES, MOST_REPLICATES = 1000, 10_000
METRICS = {  # name in metrics.json -> heading, what is best
    "auroc": ("AUROC", "higher is better"),
    "auroc_own": ("AUROC, own risks", "higher is better; before calibration, of folds their mean"),
    "auprc": ("AUPRC", "higher is better"),
    "brier": ("Brier score", "lower is better"),
    "scaled_brier": ("Scaled Brier", "higher is better"),
    "log_loss": ("Log loss", "lower is better"),
    "calibration_slope": ("Calibration slope", "best near 1"),
    "calibration_in_the_large": ("Calibration in the large", "best near 0"),
    "observed_to_expected": ("O:E", "best near 1"),
    "ece": ("ECE", "lower is better"),
    "f1": ("F1", "higher is better, at its threshold"),
    "sensitivity": ("Sensitivity", "at its threshold"),
    "ppv": ("PPV", "at its threshold"),
    "accuracy": ("Accuracy", "at its threshold"),
}


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A model: of each metric the mean over seeds with its interval, and the SD over seeds (None with one seed)."""

    model: SeededModel
    metrics: Mapping[str, Estimate]
    sd: Mapping[str, float | None]
    by_run: Sequence[Mapping[str, Estimate]]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First minus second in one metric; `p` of the bootstrap and, for AUROC, DeLong's, each raw and after Holm."""

    first: str
    second: str
    metric: str
    estimate: Estimate
    p: float | None
    p_holm: float | None
    delong: Estimate | None
    p_delong: float | None
    p_delong_holm: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One ranking. n, patients, events: of the test stays, the same for every run."""

    data: str
    synthetic: bool
    outcome: str
    n: int
    patients: int
    events: int
    replicates: int
    summaries: Sequence[Summary]
    differences: Sequence[Difference]


def auroc_of_folds(test: pl.DataFrame, n_replicates: int, seed: int) -> dict[str, float | None]:
    """The mean of the folds' AUROCs of a model's own risks, with its interval over patients: {value, low, high}.

    A fold, or a resample of one, with one class only has none, and the mean is over the others.

    Arguments:
        test: of predictions.parquet, the test stays of a cross-validation.
    """
    label, score, fold = (test[name].to_numpy() for name in ("label", "risk_raw", "fold"))

    def metrics(weight: Array) -> dict[str, Any]:
        mean = mean_over_folds(label, score, fold, np.atleast_2d(weight))
        return {"auroc": mean if weight.ndim > 1 else mean[0]}

    return with_intervals(metrics, test["patient_id"].to_numpy(), n_replicates, seed)["auroc"]


def mean_over_folds(label: Array, score: Array, fold: NDArray[Any], weight: Array) -> Array:
    """(R,) of weights (R, n): the mean of the AUROCs of the folds that have both classes; NaN if none has."""
    places = [fold == i for i in np.unique(fold)]
    own = [discrimination(*pooled(label[rows], score[rows], weight[:, rows]))[0] for rows in places]
    defined = np.isfinite(own)  # (folds, R)
    n = defined.sum(0)
    return np.where(defined, own, 0.0).sum(0) / np.where(n, n, np.nan)


def own_aurocs(run: Run, n_replicates: int, seed: int) -> Array:
    """(R) what `auroc_of_folds` has its interval from: of one seed the same resamples of patients for every run on the same stays."""
    return _drawn(
        run.test["patient_id"].to_numpy(),
        lambda weight: mean_over_folds(run.label, *_own_risks(run), weight),
        n_replicates,
        seed,
    )


def risk_aurocs(run: Run, risk: str, n_replicates: int, seed: int) -> Array:
    """(R) AUROC of a column of risks over all test stays together, on the same resamples."""
    score = run.test[risk].to_numpy()
    return _drawn(
        run.test["patient_id"].to_numpy(),
        lambda weight: discrimination(*pooled(run.label, score, weight))[0],
        n_replicates,
        seed,
    )


def hidden_errors(run: Run, rate: str, n_replicates: int, seed: int) -> dict[str, Array] | None:
    """MAE and RMSE in cells hidden at that rate, (R) each, on the same resamples of patients; None where they were not read."""
    own = (run.hidden or {}).get(rate)
    if own is None:
        return None
    chunks = [own.errors(weight) for weight in patient_weights(own.patients, n_replicates, seed)]
    return {name: np.concatenate([np.empty(0), *(chunk[name] for chunk in chunks)]) for name in ("mae", "rmse")}


def _drawn(patients: NDArray[Any], metric: Callable[[Array], Array], n_replicates: int, seed: int) -> Array:
    return np.concatenate([np.empty(0), *(metric(weight) for weight in patient_weights(patients, n_replicates, seed))])


def _own_risks(run: Run) -> tuple[Array, NDArray[Any]]:
    """(n,) risks before calibration, and (n,) folds; without any all stays are of one."""
    return run.test["risk_raw"].to_numpy(), run.test["fold"].fill_null(0).to_numpy()


def compare(models: Sequence[SeededModel], n_replicates: int, seed: int) -> Comparison:
    """The comparison of models whose runs `refuse_unlike` has let pass."""
    one = models[0].runs[0]
    patients = one.test["patient_id"].to_numpy()
    risks = np.concatenate([model.risks for model in models])  # (runs, n)
    everyone = [run for model in models for run in model.runs]
    values = _metrics(everyone, np.ones((1, len(patients))))
    chunks = [_metrics(everyone, weight) for weight in patient_weights(patients, n_replicates, seed)]
    replicates = {
        name: np.concatenate([chunk[name] for chunk in chunks], axis=1) if chunks else np.empty((len(risks), 0))
        for name in METRICS
    }
    ends = np.cumsum([len(model.runs) for model in models]).tolist()
    rows = [slice(end - len(model.runs), end) for model, end in zip(models, ends, strict=True)]
    return Comparison(
        data=one.data,
        synthetic=one.synthetic,
        outcome=one.facts.get("outcome", "outcome"),
        n=len(patients),
        patients=one.test["patient_id"].n_unique(),
        events=int(one.label.sum()),
        replicates=n_replicates,
        summaries=[_summary(m, values, replicates, at) for m, at in zip(models, rows, strict=True)],
        differences=_differences(models, rows, risks, values, replicates),
    )


def _metrics(runs: Sequence[Run], weight: Array) -> dict[str, Array]:
    """name -> (runs, R)."""
    by_run = [_of_run(run, weight) for run in runs]
    return {name: np.stack([np.asarray(metrics[name]) for metrics in by_run]) for name in METRICS}


def _of_run(run: Run, weight: Array) -> dict[str, Any]:
    """name -> (R,). A threshold is of a stay, because the folds of a cross-validation have their own."""
    label, risk, threshold = run.label, run.risk, run.test["threshold"].to_numpy()
    flags = of_flags(label, (risk >= threshold).astype(float), threshold, weight)
    return of_risk(label, risk, weight) | flags | {"auroc_own": mean_over_folds(label, *_own_risks(run), weight)}


def _summary(model: SeededModel, values: dict[str, Array], replicates: dict[str, Array], at: slice) -> Summary:
    seeds = range(at.start, at.stop)
    return Summary(
        model=model,
        metrics={name: estimate(values[name][at].mean(), replicates[name][at].mean(0)) for name in METRICS},
        sd={name: _plain(values[name][at].std(ddof=1)) if len(seeds) > 1 else None for name in METRICS},
        by_run=[{name: estimate(values[name][i, 0], replicates[name][i]) for name in METRICS} for i in seeds],
    )


def _differences(
    models: Sequence[SeededModel],
    rows: Sequence[slice],
    risks: Array,
    values: dict[str, Array],
    replicates: dict[str, Array],
) -> list[Difference]:
    """Every pair in every metric. Holm's correction is over the pairs, within a metric and a test."""
    pairs = list(combinations(range(len(models)), 2))
    label, result = models[0].runs[0].label, []
    by_delong = [_delong(label, risks, rows[i], rows[j]) for i, j in pairs]
    delong_holm = holm([_plain(test.p) for test in by_delong])
    for name in METRICS:
        value = [values[name][rows[i]].mean() - values[name][rows[j]].mean() for i, j in pairs]
        drawn = [replicates[name][rows[i]].mean(0) - replicates[name][rows[j]].mean(0) for i, j in pairs]
        p = [bootstrap_p(d) if np.isfinite(v) else None for v, d in zip(value, drawn, strict=True)]
        for k, ((i, j), p_holm) in enumerate(zip(pairs, holm(p), strict=True)):
            test = by_delong[k] if name == "auroc" else None
            result.append(
                Difference(
                    first=models[i].name,
                    second=models[j].name,
                    metric=name,
                    estimate=estimate(value[k], drawn[k]),
                    p=p[k],
                    p_holm=p_holm,
                    delong=Estimate(*map(_plain, test[:3])) if test else None,
                    p_delong=_plain(test.p) if test else None,
                    p_delong_holm=delong_holm[k] if test else None,
                )
            )
    return result


def _delong(label: Array, risks: Array, first: slice, second: slice) -> delong.Difference:
    contrast = np.zeros(len(risks))
    contrast[first], contrast[second] = 1 / (first.stop - first.start), -1 / (second.stop - second.start)
    used = contrast != 0
    return delong.contrast(label, risks[used], contrast[used])


def bootstrap_p(differences: Array) -> float | None:
    """Two-sided p of no difference: twice the share of replicates on the rarer side of 0, zero itself on both, one added.

    It is the level at which the percentile interval just reaches 0; with R replicates it is at least 2 / (R + 1). None if no
    replicate is defined.
    """
    defined = differences[np.isfinite(differences)]
    if not defined.size:
        return None
    rarer = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (rarer + 1) / (defined.size + 1)))


def least_p(n_replicates: int, n_pairs: int) -> float:
    """The least p that `bootstrap_p` can have with so many resamples, after Holm's correction over the pairs.

    >>> f"{least_p(1000, 28):.3f}"
    '0.056'
    """
    return min(1.0, n_pairs * 2 / (n_replicates + 1))


def enough_replicates(n_models: int) -> int:
    """FEWEST_REPLICATES, and of many models more, so that `least_p` of their pairs is .02; MOST_REPLICATES for the time they take.

    >>> enough_replicates(2), enough_replicates(8), enough_replicates(40)
    (1000, 2800, 10000)
    """
    return min(max(FEWEST_REPLICATES, 100 * n_models * (n_models - 1) // 2), MOST_REPLICATES)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values, in the order given; those that are None count for nothing and stay None.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    defined = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, i) in enumerate(defined):
        highest = max(highest, min(1.0, (len(defined) - rank) * value))
        adjusted[i] = highest
    return adjusted


def estimate(value: float, replicates: Array) -> Estimate:
    """A metric that is undefined on the stays themselves has no interval either."""
    if not np.isfinite(value):
        return Estimate(None, None, None)
    low, high = percentile_interval(replicates)
    return Estimate(float(value), _plain(low), _plain(high))


def _plain(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
