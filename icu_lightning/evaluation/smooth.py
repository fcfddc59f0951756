"""A calibration curve without groups: the share of deaths as a smooth function of the risk, for thousands of weightings at once.

Loess of degree one: at each of POINTS risks a line is fitted to the SPAN of the stays that are nearest, with tricube weights
(1 - |d / h|^3)^3 that fall to nothing at the farthest of them, and its value there is the curve, kept within [0, 1]. Which
stays are nearest is a matter of the stays as given; a bootstrap replicate only weighs them otherwise.

References: Robust locally weighted regression and smoothing scatterplots (Cleveland, 1979); Graphical assessment of internal
    and external calibration of logistic regression models by using loess smoothers (Austin, Steyerberg, 2014), its span.
"""

import numpy as np
from numpy.typing import NDArray

from icu_lightning.evaluation.metrics import in_order, sorted_by

Array = NDArray[np.float64]

SPAN = 0.75
POINTS = 41


def risks_of_curve(risk: Array) -> Array:
    """(G,) where the curve is drawn: POINTS equal steps from the lowest risk to the highest, or the one risk that there is."""
    low, high = float(risk.min()), float(risk.max())
    return np.linspace(low, high, POINTS) if high > low else np.array([low])


def smooth_calibration(label: Array, risk: Array, weight: Array, at: Array) -> Array:
    """Observed share of deaths at the risks `at` (G,): (G,), or (R, G) for weights (R, n).

    NaN where no stay has a weight: between few risks, if those at the edge of the reach are all there are. Where
    all weight near a point lies on one risk there is no line, and the curve is the share of deaths there.
    """
    order, ranked = sorted_by(risk)
    weight, died = in_order(weight, order), label[order] == 1
    starts = np.flatnonzero(np.diff(ranked, prepend=-np.inf))  # where a new risk begins
    nearest = max(1, int(SPAN * len(risk) + 1e-10))
    reach = np.array([np.partition(np.abs(risk - x), nearest - 1)[nearest - 1] for x in at])
    scaled = np.clip((ranked[starts, None] - at) / np.maximum(reach, np.finfo(float).tiny), -1, 1)  # (K, G)
    kernel = (1 - np.abs(scaled) ** 3) ** 3
    moments = np.concatenate([kernel, kernel * scaled, kernel * scaled**2], axis=1)  # (K, 3 G)
    s0, s1, s2 = np.split(_at_levels(weight, starts) @ moments, 3, axis=-1)
    of_deaths = np.repeat(moments[:, : 2 * len(at)], np.diff(np.append(starts, len(risk))), axis=0)[died]
    t0, t1 = np.split(weight[..., died] @ of_deaths, 2, axis=-1)
    determinant = s0 * s2 - s1**2
    line = determinant > 1e-10 * s0**2
    top, bottom = np.where(line, s2 * t0 - s1 * t1, t0), np.where(line, determinant, s0)
    return np.clip(np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0), 0, 1)


def _at_levels(weight: Array, starts: NDArray[np.intp]) -> Array:
    """Weights (..., n) added up over the stays of each risk: (..., K)."""
    return weight if len(starts) == weight.shape[-1] else np.add.reduceat(weight, starts, axis=-1)
