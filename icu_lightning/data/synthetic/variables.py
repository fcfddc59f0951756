"""The simulated body: what is normal for each variable, how it varies, and what each illness does to it.

The 15 series of METHODS A.1 with their units, normal values, spread, limits and measurement noise, and what three of the
conditions do to them (A.1, mean shift / SD multiplier). `critical` is ours: what being ill enough for intensive care does to
anybody, whatever the diagnosis, so that survivors are ill too. The rest are laboratory values that only the severity scores need.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CONDITIONS = ("none", "sepsis", "aki", "heart_failure", "respiratory", "multi_organ")


@dataclass(frozen=True)
class Variable:
    """One simulated variable.

    normal, sd: mean and within-person SD of a healthy person.
    low, high: limits of what the body can do.
    noise: SD of a measurement, as a share of its value.
    offset_sd: SD between persons.
    decimals: as charted.
    critical: shift in anybody in intensive care.
    shifts: condition -> (shift at full severity, SD multiplier).
    """

    normal: float
    sd: float
    low: float
    high: float
    noise: float
    offset_sd: float
    decimals: int
    critical: float
    shifts: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def _three(
    sepsis: tuple[float, float], aki: tuple[float, float], heart: tuple[float, float], respiratory: tuple[float, float]
) -> dict[str, tuple[float, float]]:
    """The published three, ours for respiratory failure, and multi-organ failure as sepsis and half of the kidney's."""
    both = (sepsis[0] + aki[0] / 2, max(sepsis[1], aki[1]))
    return {"sepsis": sepsis, "aki": aki, "heart_failure": heart, "respiratory": respiratory, "multi_organ": both}


NOTHING = (0.0, 1.0)

# fmt: off
VARIABLES: dict[str, Variable] = {
    # vitals: normal, sd, low, high, noise, offset_sd, decimals, critical
    "heart_rate": Variable(80.0, 6.667, 40, 200, 0.02, 5.0, 0, 3.0, _three((25, 1.5), (10, 1.2), (15, 1.3), (14, 1.2))),
    "sbp": Variable(115.0, 8.333, 60, 220, 0.03, 8.0, 0, 6.0, _three((-20, 1.3), (-10, 1.1), (-15, 1.2), (-4, 1.1))),
    "dbp": Variable(75.0, 5.0, 40, 140, 0.03, 5.0, 0, -10.0, _three((-10, 1.2), (-5, 1.1), (-8, 1.2), (-2, 1.1))),
    "respiratory_rate": Variable(16.0, 1.333, 8, 40, 0.04, 2.0, 0, 2.0, _three((6, 1.4), (2, 1.1), (4, 1.3), (8, 1.4))),
    "temperature": Variable(37.0, 0.1667, 35, 41, 0.005, 0.3, 1, 0.0, _three((1.5, 1.2), (0, 1.0), (0, 1.0), (0.3, 1.1))),
    "spo2": Variable(97.5, 0.833, 70, 100, 0.01, 2.0, 0, -0.5, _three((-5, 1.3), (-2, 1.1), (-8, 1.4), (-9, 1.5))),
    # laboratory
    "lactate": Variable(1.25, 0.25, 0.5, 20, 0.05, 0.5, 1, 0.2, _three((3.0, 2.0), (1.0, 1.3), (0.5, 1.2), (0.5, 1.2))),
    "creatinine": Variable(1.0, 0.1, 0.5, 10, 0.03, 0.2, 1, 0.1, _three((0.8, 1.5), (2.5, 2.0), (0.5, 1.3), (0.1, 1.0))),
    "wbc": Variable(7.5, 1.167, 2, 50, 0.08, 2.0, 1, 2.5, _three((8.0, 1.8), (2.0, 1.2), (1.0, 1.1), (3.0, 1.2))),
    "hemoglobin": Variable(14.0, 0.667, 6, 18, 0.02, 1.3, 1, -3.0, _three((-0.6, 1.0), (-0.8, 1.0), (-0.4, 1.0), (0, 1.0))),
    "glucose": Variable(90.0, 6.667, 40, 600, 0.04, 15.0, 0, 30.0, _three((40, 1.5), NOTHING, NOTHING, (15, 1.2))),
    "potassium": Variable(4.25, 0.25, 2.5, 7, 0.03, 0.2, 1, -0.1, _three(NOTHING, (0.8, 1.4), NOTHING, NOTHING)),
    "sodium": Variable(140.0, 1.667, 120, 160, 0.02, 2.0, 0, -1.5, _three(NOTHING, NOTHING, (-3, 1.2), NOTHING)),
    "bicarbonate": Variable(25.0, 1.0, 10, 40, 0.04, 1.5, 0, -0.5, _three((-5, 1.3), (-3, 1.2), NOTHING, (3, 1.2))),
    "bun": Variable(13.5, 2.167, 5, 150, 0.05, 3.0, 0, 6.0, _three((15, 1.6), (30, 2.0), (10, 1.4), (2, 1.1))),
    # what only the severity scores need; ours
    "bilirubin": Variable(0.7, 0.1, 0.1, 40, 0.05, 0.2, 1, 0.1, _three((1.2, 1.5), (0.2, 1.0), (0.4, 1.1), NOTHING)),
    "platelets": Variable(230.0, 12.0, 5, 900, 0.04, 55.0, 0, -20.0, _three((-80, 1.3), (-30, 1.1), (-10, 1.0), NOTHING)),
    "paco2": Variable(40.0, 2.0, 15, 120, 0.03, 2.0, 0, 0.0, _three((-4, 1.3), (-3, 1.2), (0, 1.1), (14, 1.5))),
    "ph": Variable(7.40, 0.015, 6.8, 7.7, 0.001, 0.01, 2, -0.01, _three((-0.07, 1.4), (-0.06, 1.3), (-0.02, 1.1), (-0.06, 1.3))),
    "prothrombin_time": Variable(12.8, 0.3, 9, 80, 0.02, 0.6, 1, 0.8, _three((4.0, 1.5), (0.8, 1.1), (1.5, 1.2), NOTHING)),
    "bands": Variable(2.0, 0.8, 0, 50, 0.10, 0.6, 0, 1.0, _three((10, 2.0), (1, 1.1), (0, 1.0), (2, 1.2))),
    "oxygenation": Variable(420.0, 15.0, 50, 550, 0.00, 30.0, 0, -60.0, _three((-120, 1.3), (-30, 1.0), (-110, 1.2), (-220, 1.3))),
}
# fmt: on

VITALS = ("heart_rate", "sbp", "dbp", "respiratory_rate", "temperature", "spo2")
LABS = ("lactate", "creatinine", "wbc", "hemoglobin", "glucose", "potassium", "sodium", "bicarbonate", "bun")
SERIES = VITALS + LABS
OTHER = tuple(
    name for name in VARIABLES if name not in SERIES
)  # "oxygenation" is PaO2 / FiO2 and is never charted itself

# What a chart may hold, in the order of the last axis of `Block.values`
BEDSIDE = (*VITALS, "map", "fio2", "gcs_eyes", "gcs_verbal", "gcs_motor", "ventilation", "urine", "weight")
LABORATORY = (*LABS, "bilirubin", "platelets", "paco2", "ph", "prothrombin_time", "bands", "pao2")
CHARTED = BEDSIDE + LABORATORY
DECIMALS = {name: variable.decimals for name, variable in VARIABLES.items()} | {
    "map": 0,
    "fio2": 2,
    "gcs_eyes": 0,
    "gcs_verbal": 0,
    "gcs_motor": 0,
    "ventilation": 0,
    "urine": 0,
    "weight": 1,
    "pao2": 0,
}


def table(names: tuple[str, ...], fact: str) -> NDArray[np.float32]:
    """(len(names),) of one fact of Variable."""
    return np.array([getattr(VARIABLES[name], fact) for name in names], dtype=np.float32)


def shifts(names: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(condition, variable) shifts at full severity and SD multipliers.

    "none" is a mild version of all: half the mean of the published three.
    """
    shift = np.zeros((len(CONDITIONS), len(names)), dtype=np.float32)
    spread = np.ones_like(shift)
    for v, name in enumerate(names):
        for c, condition in enumerate(CONDITIONS[1:], 1):
            shift[c, v], spread[c, v] = VARIABLES[name].shifts[condition]
    shift[0], spread[0] = shift[1:4].mean(0) / 2, 1 + (spread[1:4].mean(0) - 1) / 2
    return shift, spread
