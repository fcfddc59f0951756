"""Do risks mean what they say? Calibration in the large, intercept, slope, O:E and ECE, for thousands of weightings at once.

    logit P(death) = a + b logit(risk)

`slope` is b and `intercept` a of that regression: 1 and 0 for perfect risks, a slope below 1 for risks that are too extreme.
`in_the_large` is a with b held at 1: above 0, more die than was said. Arguments are those of metrics.py; risks are kept
within [EDGE, 1 - EDGE] where a logit is taken, because an isotonic calibrator says 0 and 1.

References: Calibration of risk prediction models: impact on decision-analytic performance (Van Calster, Vickers, 2015); A
    calibration hierarchy for risk models was defined (Van Calster et al., 2016).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EDGE = 1e-6
BINS = 10
LONGEST = 2.0  # step of Newton's method
STEPS = 40  # of Newton's method; a regression that has not settled by then has no finite answer
SETTLED = 1e-9


def in_the_large(label: Array, risk: Array, weight: Array) -> Array:
    """Calibration in the large: the logit by which all risks would have to be raised."""
    return _regression(label, risk, weight, free_slope=False)[0]


def slope(label: Array, risk: Array, weight: Array) -> Array:
    """Calibration slope; NaN where the risks separate the classes, or are all the same."""
    return _regression(label, risk, weight, free_slope=True)[1]


def intercept(label: Array, risk: Array, weight: Array) -> Array:
    """Calibration intercept, beside the slope."""
    return _regression(label, risk, weight, free_slope=True)[0]


def slope_and_intercept(label: Array, risk: Array, weight: Array) -> tuple[Array, Array]:
    """Both from one regression."""
    a, b = _regression(label, risk, weight, free_slope=True)
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
    order, starts = _equal_mass(risk)
    weight, difference = weight[..., order], (risk - label)[order]
    total = np.asarray(weight.sum(-1), float)
    gap = np.abs(np.add.reduceat(weight * difference, starts, axis=-1)).sum(-1)
    return np.divide(gap, total, out=np.full_like(total, np.nan), where=total > 0)


def _equal_mass(risk: Array, bins: int = BINS) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The stays in rising order of risk, and where in it each group begins; a group ends with the last stay of its risk."""
    order = np.argsort(risk, kind="stable")
    ranked = risk[order]
    cuts = np.searchsorted(ranked, ranked[np.arange(1, bins) * len(risk) // bins], side="left")
    return order, np.unique(np.concatenate([[0], cuts]))


def logit(risk: Array) -> Array:
    inside = np.clip(risk, EDGE, 1 - EDGE)
    return np.log(inside) - np.log1p(-inside)


def _regression(label: Array, risk: Array, weight: Array, *, free_slope: bool) -> tuple[Array, Array]:
    """a and b (R,) of the recalibration, by Newton's method; NaN where there is no finite answer.

    It begins at risks that are all alike (or, with b held, at those given), for several weightings at the answer for all of them
    together, which is near; no step is longer than LONGEST, because a full one can overshoot.
    """
    weights = np.atleast_2d(weight)
    x = logit(risk)
    # Stays of one risk and outcome are one row: a calibrated model has few different risks
    x, label, weights = _pooled(x, label, weights)
    a, b = np.zeros(len(weights)), np.full(len(weights), 0.0 if free_slope else 1.0)
    if len(weights) > 1:
        together = _regression_of(x, label, weights.mean(0, keepdims=True), a[:1].copy(), b[:1].copy(), free_slope)
        if np.isfinite(together).all():
            a[:], b[:] = together
    a, b = _regression_of(x, label, weights, a, b, free_slope)
    return (a[0], b[0]) if np.ndim(weight) == 1 else (a, b)


def _regression_of(x: Array, label: Array, weights: Array, a: Array, b: Array, free_slope: bool) -> tuple[Array, Array]:
    """a and b after Newton's steps from the given ones, which are changed."""
    active = np.arange(len(weights))
    for _ in range(STEPS):
        rows = weights if len(active) == len(weights) else weights[active]
        step = _newton_step(x, label, rows, a[active], b[active], free_slope)
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


def _pooled(x: Array, label: Array, weights: Array) -> tuple[Array, Array, Array]:
    order = np.lexsort((label, x))
    x, label = x[order], label[order]
    starts = np.flatnonzero(np.diff(x, prepend=-np.inf) + np.diff(label, prepend=-1.0) * 2**-20)
    return x[starts], label[starts], np.add.reduceat(weights[:, order], starts, axis=1)


def _newton_step(x: Array, label: Array, weights: Array, a: Array, b: Array, free_slope: bool) -> Array:
    """(2, R) what to add to a and b."""
    p = np.multiply.outer(b, x)
    p += a[:, None]
    np.negative(p, out=p)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        np.exp(p, out=p)
        p += 1
        np.reciprocal(p, out=p)
        residual = weights * (label - p)
        curvature = weights * p * (1 - p)
        g0, h00 = residual.sum(1), curvature.sum(1)
        if not free_slope:
            return np.stack([g0 / h00, np.zeros_like(g0)])
        g1, h01, h11 = residual @ x, curvature @ x, curvature @ x**2
        determinant = h00 * h11 - h01**2
        determinant[determinant <= 1e-12 * h00 * h11] = np.nan
        return np.stack([(h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant])
