"""The risk at and above which a stay is flagged, chosen on validation stays and stored with the model."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from icu_lightning.errors import unknown_name

Array = NDArray[np.float64]


def f1_threshold(label: Array, risk: Array) -> float:
    """The threshold with the highest F1 = 2 TP / (2 TP + FP + FN) among all that separate the stays differently.

    Deviation: the original scans .05, .06 ... .94; calibrated risks take few values, so it stores the first grid point
    of a wide tie (its .170). We take the middle between two neighbouring risks, so that the choice is the data's.
    Without a death every threshold has F1 0: 0.5 is returned.

    >>> f1_threshold(np.array([0.0, 0, 1, 1]), np.array([0.0, 0.25, 0.5, 0.75]))
    0.375
    """
    if not label.any():
        return 0.5
    risks = np.unique(-risk)  # distinct risks from the highest down
    order = np.argsort(-risk, kind="stable")
    deaths = np.cumsum(label[order])
    last = np.searchsorted(-risk[order], risks, side="right") - 1  # the last stay flagged at each
    f1 = 2 * deaths[last] / (last + 1 + label.sum())
    best = int(np.argmax(f1))
    lower = -risks[best + 1] if best + 1 < len(risks) else 0.0
    return float((-risks[best] + lower) / 2)


RULES = {"f1": f1_threshold}


def threshold_rule(name: str) -> Callable[[Array, Array], float]:
    """The rule of this name: (label, risk) of validation stays -> threshold. Raises UserError listing the known rules."""
    if name not in RULES:
        raise unknown_name("threshold rule", name, RULES)
    return RULES[name]
