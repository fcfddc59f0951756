"""The same stays with both outcomes counting alike: what papers report that test on as many survivors as deaths.

Every survivor weighs deaths / survivors, which is the mean over all balanced subsets of the stays instead of one by lot. AUROC,
sensitivity and specificity hardly move; AUPRC, PPV, accuracy and F1 do, because they depend on how many die. Calibration is
left out: risks are calibrated for the death rate of the unit, not for one half.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.metrics import THRESHOLD_METRICS, discrimination, pooled

SHOWN = ("sensitivity", "specificity", "ppv", "accuracy", "f1")  # at the stored threshold
Array = NDArray[np.float64]


def of_balanced(
    label: Array, risk: Array, threshold: Array, patients: NDArray, n_replicates: int, seed: int
) -> dict[str, Any] | None:
    """{auroc, auprc, accuracy, ...: {value, low, high}}, intervals over resampled patients; None without both outcomes.

    Arguments: (n,) each, of one split.
    """
    if len(np.unique(label)) < 2:
        return None
    flagged = (risk >= threshold).astype(float)

    def metrics(weight: Array) -> dict[str, Any]:
        even = balanced(label, weight)
        auroc, auprc = discrimination(*pooled(label, risk, even))
        rows = pooled(label, flagged, even)
        return {"auroc": auroc, "auprc": auprc} | {name: THRESHOLD_METRICS[name](*rows) for name in SHOWN}

    return with_intervals(metrics, patients, n_replicates, seed)


def balanced(label: Array, weight: Array) -> Array:
    """(n,), (..., n) -> (..., n) the weights, survivors' scaled to the sum of deaths'; all 0 where there is no survivor."""
    died, lived = (weight @ label)[..., None], (weight @ (1 - label))[..., None]
    share = np.divide(died, lived, out=np.zeros_like(died), where=lived > 0)
    return weight * np.where(label == 1, np.where(lived > 0, 1.0, 0.0), share)
