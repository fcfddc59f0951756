"""Do risks mean what they say? Calibration in the large, intercept, slope, O:E and ECE, for thousands of weightings at once.

    logit P(death) = a + b logit(risk)

`slope` is b and `intercept` a of that regression: 1 and 0 for perfect risks, a slope below 1 for risks that are too extreme.
`in_the_large` is a with b held at 1: above 0, more die than was said. Arguments are those of metrics.py; risks are kept
within [EDGE, 1 - EDGE] where a logit is taken, because an isotonic calibrator says 0 and 1.

References: Calibration of risk prediction models: impact on decision-analytic performance (Van Calster, Vickers, 2015); A
    calibration hierarchy for risk models was defined (Van Calster et al., 2016).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray
from scipy.special import expit

from icu_lightning.evaluation.metrics import in_order, sorted_by

Array = NDArray[np.float64]

EDGE = 1e-6
BINS = 10
LONGEST = 2.0  # step of Newton's method
STEPS = 40  # of Newton's method; a regression that has not settled by then has no finite answer
SETTLED = 1e-9
WIDER = 1.5  # than the slope of all weightings together: how far condensed stays are trusted
PRECISION = -math.log(1e-14)  # of condensed stays


def in_the_large(label: Array, risk: Array, weight: Array) -> Array:
    """Calibration in the large: the logit by which all risks would have to be raised."""
    return recalibration(label, risk, weight)[2]


def slope(label: Array, risk: Array, weight: Array) -> Array:
    """Calibration slope; NaN where the risks separate the classes, or are all the same."""
    return recalibration(label, risk, weight)[0]


def intercept(label: Array, risk: Array, weight: Array) -> Array:
    """Calibration intercept, beside the slope."""
    return recalibration(label, risk, weight)[1]


def slope_and_intercept(label: Array, risk: Array, weight: Array) -> tuple[Array, Array]:
    """Both from one regression."""
    b, a, _ = recalibration(label, risk, weight)
    return b, a


def observed_to_expected(label: Array, risk: Array, weight: Array) -> Array:
    """Deaths over the sum of the risks."""
    expected = np.asarray(weight @ risk, float)
    return np.divide(weight @ label, expected, out=np.full_like(expected, np.nan), where=expected > 0)


def ece(label: Array, risk: Array, weight: Array) -> Array:
    """Expected calibration error: |mean risk - share of deaths|, averaged over ten groups of equal size by risk.

    The groups are those of the stays as given, each counted once; stays of one risk are never parted, so that the result does
    not depend on their order. Resampled weights fill the same groups.
    """
    order, starts = equal_mass(risk)
    weight, difference = in_order(weight, order), (risk - label)[order]
    total = np.asarray(weight.sum(-1), float)
    gap = np.zeros_like(total)
    for start, end in zip(starts, [*starts[1:], len(risk)], strict=True):
        gap += np.abs(weight[..., start:end] @ difference[start:end])
    return np.divide(gap, total, out=np.full_like(total, np.nan), where=total > 0)


def equal_mass(risk: Array, bins: int = BINS) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The stays in rising order of risk, and where in it each group begins; a group ends with the last stay of its risk."""
    order, ranked = sorted_by(risk)
    cuts = np.searchsorted(ranked, ranked[np.arange(1, bins) * len(risk) // bins], side="left")
    return order, np.unique(np.concatenate([[0], cuts]))


def logit(risk: Array) -> Array:
    inside = np.clip(risk, EDGE, 1 - EDGE)
    return np.log(inside) - np.log1p(-inside)


# ---- the regression ---------------------------------------------------------------------------------------------------


class Terms(NamedTuple):
    """All that the likelihood of the recalibration depends on.

    x: (K,) logits. weight, died: (R, K) weight of all stays, and of the deaths, at each.
    """

    x: Array
    weight: Array
    died: Array

    def rows(self, which: NDArray) -> "Terms":
        whole = which.all() if which.dtype == bool else len(which) == len(self.weight)
        return self if whole else Terms(self.x, self.weight[which], self.died[which])

    def together(self) -> "Terms":
        return Terms(self.x, self.weight.mean(0, keepdims=True), self.died.mean(0, keepdims=True))


def recalibration(label: Array, risk: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Slope, intercept and calibration in the large; NaN where there is no finite answer.

    Several weightings begin at the answer for all of them together, which is near, and look at `_condensed` stays; those for
    which that is not good enough are done again with the stays themselves.
    """
    x, weights = logit(risk), np.atleast_2d(weight)
    stays = _levels(label, x, weights)
    starts = [_regression(stays.together(), (0.0, float(not free)), free) for free in (True, False)]
    if len(weights) == 1:
        return _shaped(starts, weight)
    widest = WIDER * max([1.0, *(abs(b[0]) for _, b in starts if np.isfinite(b[0]))])
    few = _condensed(stays, widest)
    died, total = stays.died.sum(1), stays.weight.sum(1)
    one_class = (died == 0) | (died == total)
    results = []
    for (a0, b0), free in zip(starts, (True, False), strict=True):
        start = (float(a0[0]), float(b0[0])) if np.isfinite(a0[0]) else (0.0, float(not free))
        a, b = _regression(few, start, free)
        again = one_class | ~(np.abs(b) <= widest)
        if few is not stays and again.any():
            a[again], b[again] = _regression(stays.rows(again), start, free)
        results.append((a, b))
    return _shaped(results, weight)


def _shaped(results: list[tuple[Array, Array]], weight: Array) -> tuple[Array, Array, Array]:
    (a, b), (large, _) = results
    return (b[0], a[0], large[0]) if np.ndim(weight) == 1 else (b, a, large)


def _levels(label: Array, x: Array, weight: Array) -> Terms:
    """One row for each different logit."""
    order, ranked = sorted_by(x)
    weight, died = in_order(weight, order), label[order] == 1
    starts = np.flatnonzero(np.diff(ranked, prepend=-np.inf))
    if len(starts) == len(x):
        return Terms(ranked, weight, weight * died)
    return Terms(
        ranked[starts], np.add.reduceat(weight, starts, axis=1), np.add.reduceat(weight * died, starts, axis=1)
    )


def _condensed(stays: Terms, widest: float) -> Terms:
    """The same likelihood from fewer rows, where there are many different logits: at Chebyshev's nodes of their range.

    The likelihood sums f(x) over stays, f being analytic but for poles of 1 / (1 + exp(-a - b x)), which are pi / |b| away from
    the real line. Its polynomial through N Chebyshev nodes is as good as f itself, to rounding, for N as below and
    |b| <= widest; so weights are moved to the nodes once, by a matrix product, and no step asks every stay again. Nodes may get
    negative weights. (Approximation Theory and Approximation Practice, Trefethen, 2013, theorem 8.2.)
    """
    middle, half = (stays.x[-1] + stays.x[0]) / 2, (stays.x[-1] - stays.x[0]) / 2
    n_nodes = math.ceil(PRECISION / math.asinh(math.pi / (widest * half))) if half > 0 else 1
    if 2 * n_nodes >= len(stays.x):
        return stays
    nodes = np.cos((np.arange(n_nodes) + 0.5) * math.pi / n_nodes)
    to_nodes = chebvander(nodes, n_nodes - 1).T * 2 / n_nodes
    to_nodes[0] /= 2
    polynomials = chebvander((stays.x - middle) / half, n_nodes - 1)  # (K, N)
    some = stays.died.any(0)  # most logits are of survivors alone
    died = stays.died[:, some] @ polynomials[some]
    return Terms(middle + half * nodes, stays.weight @ polynomials @ to_nodes, died @ to_nodes)


def _regression(terms: Terms, start: tuple[float, float], free_slope: bool) -> tuple[Array, Array]:
    """a and b (R,) by Newton's method from `start`; NaN where there is no finite answer.

    No step is longer than LONGEST, because a full one can overshoot.
    """
    a, b = (np.full(len(terms.weight), value) for value in start)
    active = np.arange(len(a))
    for _ in range(STEPS):
        step = _newton_step(terms.rows(active), a[active], b[active], free_slope)
        a[active] += np.clip(step[0], -LONGEST, LONGEST)
        b[active] += np.clip(step[1], -LONGEST, LONGEST)
        moved = np.abs(step).max(0)
        active = active[~(moved < SETTLED) & np.isfinite(moved) & (np.abs(b[active]) < 1e3)]
        if not active.size:
            break
    bad = ~np.isfinite(a) | ~np.isfinite(b) | (np.abs(b) > 1e3)
    bad[active] = True
    a[bad], b[bad] = np.nan, np.nan
    return a, b


def _newton_step(terms: Terms, a: Array, b: Array, free_slope: bool) -> Array:
    """(2, R) what to add to a and b."""
    p = np.multiply.outer(b, terms.x)
    p += a[:, None]
    expit(p, out=p)
    curvature = terms.weight * p
    residual = terms.died - curvature
    curvature *= np.subtract(1, p, out=p)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        g0, h00 = residual.sum(1), curvature.sum(1)
        if not free_slope:
            return np.stack([g0 / h00, np.zeros_like(g0)])
        g1, h01, h11 = residual @ terms.x, curvature @ terms.x, curvature @ terms.x**2
        determinant = h00 * h11 - h01**2
        determinant[determinant <= 1e-12 * h00 * h11] = np.nan
        return np.stack([(h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant])
