"""The body over the hours of a stay, as a function of latent severity, condition, person and clock (METHODS A.1, A.2).

    z_i(t): mean-reverting around the stay's level (Ornstein-Uhlenbeck, sampled hourly), plus its progression pattern
    x_v(t) = normal_v + critical_v + person_iv + sensitivity_i shift_cv g(z_i(t)) + sd_cv e_iv(t), e AR(1) with correlated innovations

The outcome is drawn from this and enters nothing. Laboratory values follow severity with a delay.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icu_lightning.data.synthetic.clock import CIRCADIAN, MEAL, SLEEP, circadian, meal_strength, sleep_depth
from icu_lightning.data.synthetic.people import Visits
from icu_lightning.data.synthetic.settings import GeneratorSettings
from icu_lightning.data.synthetic.streams import Floats, Streams
from icu_lightning.data.synthetic.variables import OTHER, SERIES, VITALS, shifts, table

LEVEL = {"none": -0.3, "sepsis": -0.2, "aki": -0.1, "heart_failure": -0.1, "respiratory": 0.0, "multi_organ": 0.2}
BETWEEN, WITHIN, REVERSION = 0.4, 1.5, 0.9  # SD of stays' levels, SD around them, hourly autocorrelation
PROGRESSION_GAIN = 3.0
PATTERNS = {"exponential": 0.25, "sigmoid": 0.20, "linear": 0.25, "step": 0.15, "oscillating": 0.15}  # A.2-8
PERSISTENCE_VITALS, PERSISTENCE_LABS = 0.9, 0.93  # an hour; over a laboratory interval of 5 hours .93 becomes .7
LAB_DELAY = 0.7  # share of an hour's laboratory response that is yesterday's
TEMPERATURE, SPO2, DBP, SBP = (SERIES.index(name) for name in ("temperature", "spo2", "dbp", "sbp"))
# What the other domain changes at intensity 1 (A.2-12)
DOMAIN = {
    "heart_rate": 3.0,
    "sbp": -5.0,
    "spo2": -1.0,
    "temperature": 0.2,
    "lactate": 0.3,
    "creatinine": 0.1,
    "glucose": 5.0,
}


@dataclass(frozen=True)
class Body:
    """What is true, hour by hour, whether charted or not.

    severity: (B, T) latent. strength: (B, T) g(z) >= 0, how much of its shifts the condition shows.
    series: (B, T, 15) of SERIES. other: (B, T, V) of OTHER. pattern: (B,) place in PATTERNS, -1 where there is none.
    """

    severity: Floats
    strength: Floats
    series: Floats
    other: Floats
    pattern: NDArray[np.int64]


def body_of(settings: GeneratorSettings, seed: object, visits: Visits) -> Body:
    streams = Streams(seed, visits.patient, visits.visit)
    individual = _individuality(settings, seed, visits)
    severity = _severity(settings, streams, visits, individual)
    strength = np.minimum(np.logaddexp(0, 2 * severity) / 2, 3.5)
    delayed = _smoothed(strength, LAB_DELAY)
    noise = _innovations(settings, streams, len(visits))
    series = _values(SERIES, visits, strength, delayed, individual, noise, slice(0, len(SERIES)))
    other_noise = streams.normal("other physiology", settings.hours, len(OTHER))
    other_offset = slice(len(SERIES), len(SERIES) + len(OTHER))
    other = _values(OTHER, visits, delayed, delayed, individual, _ar1(other_noise, PERSISTENCE_LABS), other_offset)
    for name, change in DOMAIN.items():
        series[..., SERIES.index(name)] += change * visits.shift[:, None]
    _follow_clock(settings, series, visits.clock(settings.hours))
    return Body(severity, strength, _possible(SERIES, series), _possible(OTHER, other), individual.pattern)


@dataclass(frozen=True)
class _Individuals:
    """What is a person's own: offsets (B, 22) in SDs, sensitivity (B,), pattern (B,), progression (B, T)."""

    offsets: Floats
    sensitivity: Floats
    pattern: NDArray[np.int64]
    progression: Floats


def _individuality(settings: GeneratorSettings, seed: object, visits: Visits) -> _Individuals:
    """Baselines belong to the person, sensitivity and progression to the visit; nobody differs where it is switched off."""
    n, variables = len(visits), len(SERIES) + len(OTHER)
    if not settings.on("individuality"):
        still = np.zeros((n, settings.hours), dtype=np.float32)
        return _Individuals(
            np.zeros((n, variables), dtype=np.float32), np.ones(n, dtype=np.float32), np.full(n, -1), still
        )
    offsets = Streams(seed, visits.patient, 0).normal("offsets", variables)
    streams = Streams(seed, visits.patient, visits.visit)
    z, u = streams.normal("individuality", 3), streams.uniform("course", 3)
    sensitivity = np.clip(1 + 0.2 * z[:, 0], 0.4, 1.6)
    direction, rate = z[:, 1] + 0.25, np.clip(0.3 + 0.1 * z[:, 2], 0.05, 0.6)
    pattern = np.searchsorted(np.cumsum(list(PATTERNS.values()))[:-1], u[:, 0], side="right")
    course = progression(pattern, u[:, 1:], settings.hours)
    return _Individuals(offsets, sensitivity, pattern, course * (direction * rate / 0.3)[:, None])


def progression(pattern: NDArray[np.int64], u: Floats, hours: int) -> Floats:
    """(B, T) the five published courses (A.2-8), each 0 or nearly so at admission.

    Arguments:
        pattern: (B,) place in PATTERNS.
        u: (B, 2) uniform numbers that choose rate, and time or steepness.
    """
    t = np.arange(hours, dtype=np.float32)[None, :]
    first, second = u[:, :1], u[:, 1:2]
    exponential = np.exp((0.05 + 0.10 * first) * t / 48) - 1
    inflection, steepness = 12 + 24 * first, 0.1 + 0.4 * second
    rising = 1 / (1 + np.exp(-steepness * (t - inflection)))
    sigmoid = rising - rising[:, :1]  # Deviation: 0 at admission; the published one begins at -.5
    linear = (0.2 + 0.2 * first) * t / 48
    step = np.where(t >= 6 + 36 * first, 0.2 + 0.4 * second, 0)
    oscillating = linear + 0.1 * np.sin(2 * np.pi * t / 6)
    return np.choose(pattern[:, None], [exponential, sigmoid, linear, step, oscillating]).astype(np.float32)


def _severity(settings: GeneratorSettings, streams: Streams, visits: Visits, individual: _Individuals) -> Floats:
    draws = streams.normal("severity", settings.hours + 1)
    level = np.array(list(LEVEL.values()), dtype=np.float32)[visits.condition] + BETWEEN * draws[:, 0]
    level = level + 0.006 * (visits.age - 60) + 0.15 * (visits.chronic > 0)
    wander = _ar1(draws[:, 1:, None], REVERSION)[..., 0] * WITHIN
    return (level[:, None] + wander + PROGRESSION_GAIN * individual.progression).astype(np.float32)


def _ar1(innovations: Floats, persistence: float | Floats) -> Floats:
    """Stationary AR(1) along axis 1 with unit variance, written over its own standard innovations (B, T, V)."""
    scale = np.sqrt(1 - np.square(persistence))
    for t in range(1, innovations.shape[1]):
        innovations[:, t] = persistence * innovations[:, t - 1] + scale * innovations[:, t]
    return innovations


def _innovations(settings: GeneratorSettings, streams: Streams, n: int) -> Floats:
    """(B, T, 15) AR(1) noise whose innovations are correlated, each patient's own way where that is switched on."""
    draws = streams.normal("physiology", settings.hours, len(SERIES))
    if settings.on("stochastic_correlations") and settings.on("correlations"):
        factor = own_factors(settings, streams)
        draws = draws @ factor.transpose(0, 2, 1)  # (B, T, 15) @ (B, 15, 15)
    elif settings.on("correlations"):
        draws = draws @ np.linalg.cholesky(settings.correlation_matrix()).T.astype(np.float32)
    persistence = np.where(np.isin(SERIES, VITALS), PERSISTENCE_VITALS, PERSISTENCE_LABS).astype(np.float32)
    return _ar1(np.ascontiguousarray(draws), persistence)


def own_factors(settings: GeneratorSettings, streams: Streams) -> Floats:
    """(B, 15, 15) Cholesky factors of each visit's own correlations (A.2-9): the listed ones + N(0, SD).

    One that is not positive definite is drawn towards the common matrix until it is.
    """
    pairs = settings.pairs()
    z = streams.normal("correlation", len(pairs))
    common = settings.correlation_matrix()
    matrices = np.broadcast_to(common, (len(z), *common.shape)).copy()
    for k, ((i, j), scale, (_, _, r, sd)) in enumerate(pairs):
        matrices[:, i, j] = matrices[:, j, i] = scale * np.clip(r + sd * z[:, k], -0.95, 0.95)
    for _ in range(20):
        bad = np.linalg.eigvalsh(matrices)[:, 0] < 1e-3
        if not bad.any():
            break
        matrices[bad] = (matrices[bad] + common) / 2
    return np.linalg.cholesky(matrices).astype(np.float32)


def _values(
    names: tuple[str, ...],
    visits: Visits,
    prompt: Floats,
    delayed: Floats,
    individual: _Individuals,
    noise: Floats,
    offsets: slice,
) -> Floats:
    """(B, T, V) before clock and limits; overwrites `noise`."""
    shift, spread = shifts(names)
    own = np.array(table(names, "normal") + table(names, "critical")) + individual.offsets[:, offsets] * table(
        names, "offset_sd"
    )
    push = individual.sensitivity[:, None] * shift[visits.condition]  # (B, V)
    widened = spread[visits.condition] - 1
    sd = table(names, "sd")
    for v, name in enumerate(names):
        strength = prompt if name in VITALS else delayed
        noise[..., v] *= sd[v] * (1 + widened[:, v, None] * np.minimum(strength, 1))
        noise[..., v] += own[:, v, None] + push[:, v, None] * strength
    return noise


def _smoothed(strength: Floats, share: float) -> Floats:
    """(B, T) each hour a mixture of the hour before and now."""
    out = strength.copy()
    for t in range(1, out.shape[1]):
        out[:, t] = share * out[:, t - 1] + (1 - share) * strength[:, t]
    return out


def _follow_clock(settings: GeneratorSettings, series: Floats, clock: Floats) -> None:
    if settings.on("circadian"):
        for name in CIRCADIAN:
            wave, v = circadian(clock, name), SERIES.index(name)
            series[..., v] = series[..., v] + wave if v == TEMPERATURE else series[..., v] * wave
    if settings.on("sleep"):
        depth = sleep_depth(clock)
        for name, reduction in SLEEP.items():
            series[..., SERIES.index(name)] *= 1 - reduction * depth
    if settings.on("meals"):
        eaten = meal_strength(clock)
        for name, rise in MEAL.items():
            series[..., SERIES.index(name)] *= 1 + rise * eaten


def _possible(names: tuple[str, ...], values: Floats) -> Floats:
    """Within what the body can do, in place; diastolic pressure below systolic."""
    np.clip(values, table(names, "low"), table(names, "high"), out=values)
    if names == SERIES:
        values[..., DBP] = np.minimum(values[..., DBP], values[..., SBP] - 12)
    return values
