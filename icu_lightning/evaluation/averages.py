"""Several models' risks of the same stays as one risk a stay, before calibration.

    rank    the mean of F_m(score), F_m being the distribution of model m's scores over *validation* stays
    logit   sigmoid(mean of logit(score))
    risk    mean of the scores

Ranks among validation stays, not among those to be scored: a stay's averaged risk depends on no other stay of its split. The
seeds of one model are averaged first, so that each model counts the same, however many seeds it has.
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from icu_lightning.evaluation.predictions import PRIOR
from icu_lightning.evaluation.reliability import logit

Array = NDArray[np.float64]
SPLITS = ("val", "test")  # that are averaged; risks of training stays are learnt by heart, each model's in its way


def rank(score: Array, val: Array) -> Array:
    """(n,) of each score the share of the validation scores (m,) below it; half of those equal to it; linear in between.

    Strictly rising, so that no two scores become one: it goes on to 0 at score 0, and to 1 at 1.

    >>> rank(np.array([0.0, 0.1, 0.2, 0.3, 1.0]), np.array([0.1, 0.3])).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    level, count = np.unique(val, return_counts=True)
    share = (np.cumsum(count) - count / 2) / len(val)
    low, high = ([0.0] if level[0] > 0 else []), ([1.0] if level[-1] < 1 else [])
    return np.interp(score, [*low, *level, *high], [*low, *share, *high])


def averaged(models: Sequence[Sequence[pl.DataFrame]], by: str) -> tuple[pl.DataFrame, Array]:
    """Predictions before calibration, as `predictions.raw_predictions` gives them, of the validation and test stays.

    Beside them (n, models) the scores that each model would give alone, or each seed where there is one model: where they differ,
    the average is less sure.

    Arguments:
        models: of each model, of each of its seeds: predictions of one split or fold; the same stays, which nobody checks here.
        by: one of WAYS.
    """
    tables = [[own.filter(pl.col("split").is_in(SPLITS)).sort("stay_id") for own in seeds] for seeds in models]
    mapped = [np.stack([WAYS[by][0](score_of(own), _val(own)) for own in seeds]) for seeds in tables]  # (seeds, n) each
    means = np.stack([scores.mean(0) for scores in mapped])  # (models, n)
    spread = means if len(means) > 1 else mapped[0]
    back = WAYS[by][1]
    first = tables[0][0].with_columns(risk_raw=pl.Series(back(means.mean(0))))
    return first.drop("risk", "risk_sd", "threshold", PRIOR, strict=False), back(spread).T


def score_of(predictions: pl.DataFrame) -> Array:
    """(n,) a model's own score; prior-corrected where its training was undersampled, so that it is on the others' scale."""
    return predictions[PRIOR if PRIOR in predictions.columns else "risk_raw"].to_numpy()


def _val(predictions: pl.DataFrame) -> Array:
    return score_of(predictions.filter(split="val"))


def _same(score: Array, _: Array) -> Array:
    return score


WAYS: dict[
    str, tuple[Callable[[Array, Array], Array], Callable[[Array], Array]]
] = {  # to the scale of the mean, and back
    "rank": (rank, lambda mean: mean),
    "logit": (lambda score, _: logit(score), expit),
    "risk": (_same, lambda mean: mean),
}
