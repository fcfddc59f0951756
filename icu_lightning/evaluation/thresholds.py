"""The risk at and above which a stay is flagged, chosen on validation stays and stored with the model.

A rule is a name, or {name: value}: `f1`, `youden`, {sensitivity: 0.8}, {alert_rate: 0.1}, {net_benefit: 0.2}.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from icu_lightning.errors import UserError, unknown_name

Array = NDArray[np.float64]
Rule = str | Mapping[str, float]


def f1(label: Array, risk: Array) -> float:
    """The threshold with the highest F1 = 2 TP / (2 TP + FP + FN) among all that separate the stays differently.

    Deviation: the original scans .05, .06 ... .94; calibrated risks take few values, so it stores the first grid point
    of a wide tie (its .170). We take the middle between two neighbouring risks, so that the choice is the data's.
    Without a death every threshold has F1 0: 0.5 is returned.

    >>> f1(np.array([0.0, 0, 1, 1]), np.array([0.0, 0.25, 0.5, 0.75]))
    0.375
    """
    if not label.any():
        return 0.5
    levels, hits, flagged = _flagged_at(label, risk)
    return _between(levels, int(np.argmax(2 * hits / (flagged + label.sum()))))


def youden(label: Array, risk: Array) -> float:
    """The threshold with the highest sensitivity + specificity; 0.5 with one class only (Youden, 1950)."""
    if not 0 < label.sum() < len(label):
        return 0.5
    levels, hits, flagged = _flagged_at(label, risk)
    return _between(levels, int(np.argmax(hits / label.sum() - (flagged - hits) / (1 - label).sum())))


def sensitivity(label: Array, risk: Array, at_least: float) -> float:
    """The highest threshold that flags at least this share of the deaths; 0.5 without a death.

    >>> sensitivity(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.3, 0.5, 0.9]), 1.0)
    0.2
    """
    if not label.any():
        return 0.5
    levels, hits, _ = _flagged_at(label, risk)
    return _between(levels, int(np.argmax(hits >= at_least * label.sum() - 1e-9)))


def alert_rate(label: Array, risk: Array, at_most: float) -> float:
    """The lowest threshold that flags at most this share of the stays: just above the highest risk if even that flags more."""
    levels, _, flagged = _flagged_at(label, risk)
    few = np.flatnonzero(flagged <= at_most * len(label) + 1e-9)
    return _between(levels, int(few[-1])) if few.size else float(np.nextafter(levels[0], 2))


def net_benefit(label: Array, risk: Array, worth: float) -> float:
    """The risk at which an alarm is worth its cost: `worth` itself, which is the choice that decision theory makes.

    A false alarm costs worth / (1 - worth) of what a death that is found is worth (Vickers, Elkin, 2006).
    """
    return float(worth)


RULES: dict[str, Callable[..., float]] = {f.__name__: f for f in (f1, youden, sensitivity, alert_rate, net_benefit)}


def threshold_rule(rule: Rule) -> Callable[[Array, Array], float]:
    """The rule: (label, risk) of validation stays -> threshold.

    Raises UserError for an unknown name, listing the known ones, or a value that is missing, too much, or not in (0, 1).
    """
    if isinstance(rule, str):
        name, values = rule, []
    elif isinstance(rule, Mapping) and len(rule) == 1:
        name, values = str(next(iter(rule))), list(rule.values())
    else:
        raise UserError(
            f"threshold is a rule's name, or {{name: value}} as in 'threshold={{sensitivity: 0.8}}'; it is {rule}."
        )
    if name not in RULES:
        raise unknown_name("threshold rule", name, RULES)
    wanted = list(inspect.signature(RULES[name]).parameters)[2:]
    if len(wanted) != len(values):
        says = f"a value: 'threshold={{{name}: 0.8}}'" if wanted else f"no value: 'threshold={name}'"
        raise UserError(f"The threshold rule '{name}' takes {says}.")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise UserError(
                f"The value of the threshold rule '{name}' must be a number between 0 and 1; it is {value}."
            )
    return partial(RULES[name], **dict(zip(wanted, values, strict=True)))


def _flagged_at(label: Array, risk: Array) -> tuple[Array, Array, Array]:
    """Distinct risks from the highest down, and how many deaths and stays are flagged at each."""
    levels = -np.unique(-risk)
    order = np.argsort(-risk, kind="stable")
    last = np.searchsorted(-risk[order], -levels, side="right")  # stays flagged at each
    return levels, np.cumsum(label[order])[last - 1], last.astype(float)


def _between(levels: Array, i: int) -> float:
    """The middle between a risk and the next lower one."""
    return float((levels[i] + (levels[i + 1] if i + 1 < len(levels) else 0.0)) / 2)
