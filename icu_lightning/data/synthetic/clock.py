"""What the hour of the day does to the body: circadian rhythm, sleep, meals (METHODS A.2-1 to A.2-3), on the true clock.

The published curve has its maximum at the trough's hour and takes every admission for one at noon; this one does neither.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# variable: hour of the peak, hour of the trough, amplitude; a share of the value, of temperature in degC
CIRCADIAN = {
    "heart_rate": (15, 3, 0.10),
    "sbp": (10, 2, 0.08),
    "dbp": (10, 2, 0.08),
    "temperature": (16, 4, 0.5),
    "respiratory_rate": (14, 3, 0.05),
}
ASLEEP, SLEEP_HOURS = 23.0, 7.0
SLEEP = {"heart_rate": 0.15, "sbp": 0.12, "dbp": 0.12, "respiratory_rate": 0.08}
MEALS, MEAL_HOURS = (7.0, 12.0, 18.0), 1.5
MEAL = {"glucose": 0.40, "heart_rate": 0.08, "lactate": 0.12}


def circadian(clock: Floats, variable: str) -> Floats:
    """What the value is multiplied by (temperature: what is added in degC) at each clock hour; 0 effect for other variables.

    A cosine with its maximum at the peak and its minimum at the trough; where they are not 12 h apart, the day is warped.

    >>> circadian(np.array([15, 3, 9], dtype=np.float32), "heart_rate").round(2).tolist()
    [1.100000023841858, 0.8999999761581421, 1.0]
    >>> circadian(np.array([16, 4], dtype=np.float32), "temperature").tolist()
    [0.5, -0.5]
    """
    peak, trough, amplitude = CIRCADIAN[variable]
    fall = (trough - peak) % 24  # hours from peak to trough
    since = (clock - peak) % 24
    phase = np.where(since < fall, since / fall, 1 + (since - fall) / (24 - fall)) * np.pi
    wave = (amplitude * np.cos(phase)).astype(np.float32)
    return wave if variable == "temperature" else 1 + wave


def sleep_depth(clock: Floats) -> Floats:
    """0 awake, rising in a straight line to 1 in the middle of the night's sleep.

    >>> sleep_depth(np.array([12, 23, 2.5, 4.25], dtype=np.float32)).tolist()
    [0.0, 0.0, 1.0, 0.5]
    """
    since = (clock - ASLEEP) % 24
    return np.where(since < SLEEP_HOURS, 1 - np.abs(since / (SLEEP_HOURS / 2) - 1), 0).astype(np.float32)


def meal_strength(clock: Floats) -> Floats:
    """1 at each meal, falling as exp(-3 t / 1.5 h) for an hour and a half, else 0.

    >>> meal_strength(np.array([7, 13.5, 3], dtype=np.float32)).tolist()
    [1.0, 0.0, 0.0]
    """
    strength = np.zeros_like(clock)
    for meal in MEALS:
        since = (clock - meal) % 24
        strength += np.where(since < MEAL_HOURS, np.exp(-3 * since / MEAL_HOURS), 0)
    return strength
