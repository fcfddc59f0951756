"""From the body to the chart: when something is measured, with what error, and what is never written down (METHODS A.2-4, 5, 7).

Vitals are charted in one round an hour, laboratory values in one draw every four to six hours; a round or a draw is early or late
as a whole. Whether a value is missing depends on nothing (MCAR), on how ill the patient is (MAR: the sicker, the fewer are
missing), or on the value itself (MNAR), and on night, hand-over and weekend.
"""

import numpy as np

from icu_lightning.data.synthetic.people import Flags, Floats, Ints, Visits
from icu_lightning.data.synthetic.physiology import Body
from icu_lightning.data.synthetic.settings import GeneratorSettings
from icu_lightning.data.synthetic.streams import Streams
from icu_lightning.data.synthetic.treatment import Care
from icu_lightning.data.synthetic.variables import (
    BEDSIDE,
    CHARTED,
    CONDITIONS,
    DECIMALS,
    LABORATORY,
    OTHER,
    SERIES,
    VARIABLES,
)

BASE = (0.08, 0.20)  # share missing under MCAR and MNAR: bedside, laboratory
LESS_WHEN_ILL = (0.5, 0.3)  # of MAR
NIGHT, HAND_OVER, WEEKEND = 1.3, 1.15, 1.2  # times as much missing
HAND_OVERS = (7, 15, 23)
LEAST, MOST = 0.01, 0.95
# Completeness and accuracy of the day (7-15), evening (15-23) and night shift, and the most there is at weekends (A.2-7)
DOCUMENTATION = (0.95, 0.97), (0.90, 0.94), (0.85, 0.90)
AT_WEEKENDS = (0.87, 0.92)
EVERY = {"gcs_eyes": 4, "gcs_verbal": 4, "gcs_motor": 4, "ventilation": 4, "fio2": 4, "urine": 2}  # hours
NOISE = {name: variable.noise for name, variable in VARIABLES.items()} | {"map": 0.02, "pao2": 0.03}
DOMAIN_NOISE, DOMAIN_MISSING, DOMAIN_FEWER = (
    0.15,
    0.2,
    0.15,
)  # more of both, fewer measurements, at intensity 1 (A.2-12)
CONDITION_POINTS = {"sepsis": 2.5, "aki": 2.0, "heart_failure": 1.5, "respiratory": 1.5, "multi_organ": 3.0}


def minutes(settings: GeneratorSettings, seed: object, visits: Visits) -> tuple[Ints, Ints]:
    """(B, T) minutes after admission of the hourly rounds, and of the hours' laboratory draws, from a visit's own minute on."""
    streams = Streams(seed, visits.patient, visits.visit)
    first = (streams.uniform("round", 1) * 50 + 5).astype(np.int64)
    plan = first + 60 * np.arange(settings.hours)
    if not settings.on("measurement"):
        return plan, plan + 2
    early_or_late = 2 * streams.uniform("jitter", settings.hours, 2) - 1
    shift = np.round(60 * early_or_late * np.array(settings.jitter_hours)).astype(np.int64)
    return np.maximum(plan + shift[..., 0], 0), np.maximum(plan + shift[..., 1] + 2, 0)


def charted(
    settings: GeneratorSettings, seed: object, visits: Visits, body: Body, care: Care, when: tuple[Ints, Ints]
) -> Floats:
    """(B, T, V) of CHARTED, NaN where nothing is written down."""
    streams = Streams(seed, visits.patient, visits.visit)
    truth = _truth(visits, body, care)
    shift = visits.shift[:, None, None]
    value = truth.copy()
    if settings.on("measurement"):
        noise = streams.normal("noise", *truth.shape[1:])
        value += noise * value * _by_name(NOISE) * (1 + DOMAIN_NOISE * shift)
        _spikes(settings, streams, value)
    kept = _planned(streams, visits, settings.hours) & _in_unit(visits, when)
    if settings.on("measurement"):
        kept &= streams.uniform("dropout", *truth.shape[1:]) >= settings.dropout
    if settings.on("missingness"):
        kept &= streams.uniform("missing", *truth.shape[1:]) >= _missing(settings, streams, visits, body, truth)
    if settings.on("documentation"):
        completeness, accuracy = documentation(visits, settings.hours)
        kept &= streams.uniform("completeness", *truth.shape[1:]) < completeness[..., None]
        inaccuracy = streams.normal("inaccuracy", *truth.shape[1:])
        value += inaccuracy * np.abs(value) * (1 - accuracy[..., None]) * 0.1 * (_by_name(NOISE) > 0)
    if settings.on("domain_shift"):
        kept &= streams.uniform("practice", *truth.shape[1:]) >= DOMAIN_FEWER * shift
    return np.where(kept, _written(value), np.nan).astype(np.float32)


def _by_name(facts: dict[str, float]) -> Floats:
    return np.array([facts.get(name, 0.0) for name in CHARTED], dtype=np.float32)


def _truth(visits: Visits, body: Body, care: Care) -> Floats:
    """(B, T, V) what a perfect measurement would find; urine is that of the hours since it was last emptied."""
    b, t, _ = body.series.shape
    truth = np.empty((b, t, len(CHARTED)), dtype=np.float32)
    for v, name in enumerate(CHARTED):
        if name in SERIES:
            truth[..., v] = body.series[..., SERIES.index(name)]
        elif name in OTHER:
            truth[..., v] = body.other[..., OTHER.index(name)]
        elif name == "weight":
            truth[..., v] = visits.weight[:, None]
        elif name == "urine":
            made = care.hourly[name]
            truth[..., v] = made
            truth[:, 1:, v] += made[:, :-1]
        else:
            truth[..., v] = care.hourly[name]
    return truth


def _spikes(settings: GeneratorSettings, streams: Streams, value: Floats) -> None:
    """Isolated artifacts: 20 to 50 % too high or too low, in place; never in what is counted or read off a device."""
    at = (streams.uniform("artifact", *value.shape[1:]) < settings.artifacts) & (_by_name(NOISE) > 0)
    at[..., CHARTED.index("ph")] = False  # a pH 20 % off is no pH
    size = 2 * streams.uniform("artifact size", *value.shape[1:]) - 1
    value[at] *= (1 + np.sign(size) * (0.2 + 0.3 * np.abs(size)))[at]


def _planned(streams: Streams, visits: Visits, hours: int) -> Flags:
    """(B, T, V) what is to be measured in which hour."""
    u = streams.uniform("plan", 2)
    t = np.arange(hours)[None, :]
    step, phase = 4 + (u[:, :1] * 3).astype(int), (u[:, 1:2] * 3).astype(int)
    draw = (t - phase) % step == 0
    draw &= t >= phase
    daily = draw & ((t - phase) // step % 5 == 0)
    gas = draw & ((visits.condition > 0)[:, None] | ((t - phase) // step % 2 == 0))
    planned = np.empty((len(visits), hours, len(CHARTED)), dtype=bool)
    for v, name in enumerate(CHARTED):
        if name in LABORATORY:
            rarely = name in ("bilirubin", "prothrombin_time", "bands")
            planned[..., v] = gas if name in ("pao2", "paco2", "ph") else daily if rarely else draw
        else:
            every = hours if name == "weight" else EVERY.get(name, 1)
            planned[..., v] = t % every == (every - 1 if name == "urine" else 0)
    return planned


def _in_unit(visits: Visits, when: tuple[Ints, Ints]) -> Flags:
    """(B, T, V) False from the moment of leaving the unit on."""
    inside = [minute < visits.length[:, None] for minute in when]
    bedside = np.array([name in BEDSIDE for name in CHARTED])
    return np.where(bedside, inside[0][..., None], inside[1][..., None])


def severity_points(visits: Visits, body: Body) -> Floats:
    """(B, T) 0 to 10: how ill the patient is to whoever writes the chart (A.2, severity score for missingness)."""
    x = {name: body.series[..., v] for v, name in enumerate(SERIES)}
    points = np.select([x["spo2"] < 90, x["spo2"] < 95], [2.0, 1.0], 0.0)
    points += np.select([x["sbp"] < 90, x["sbp"] < 100], [2.0, 1.0], 0.0)
    points += (x["heart_rate"] > 120) | (x["heart_rate"] < 50)
    points += np.select([x["creatinine"] > 3.5, x["creatinine"] > 2], [2.0, 1.0], 0.0)
    points += np.select([x["lactate"] > 4, x["lactate"] > 2], [2.0, 1.0], 0.0)
    of_condition = np.array([CONDITION_POINTS.get(name, 0.0) for name in CONDITIONS])
    return np.minimum(points + of_condition[visits.condition][:, None], 10).astype(np.float32)


def _missing(settings: GeneratorSettings, streams: Streams, visits: Visits, body: Body, truth: Floats) -> Floats:
    """(B, T, V) the probability that a cell stays empty, by the mechanism that is drawn for it."""
    ill = severity_points(visits, body)[..., None]
    laboratory = np.array([name in LABORATORY for name in CHARTED])
    base, less = np.where(laboratory, *BASE[::-1]), np.where(laboratory, *LESS_WHEN_ILL[::-1])
    mar = (0.25 - 0.22 / (1 + np.exp(-3 * (ill - 5) / 5))) * (1 - less * ill / 10)
    # Deviation: beside severity above 8, a value that is normal is left out too, because severity alone is seen by everybody
    mnar = base * np.where(_normal(truth) | (ill > 8), 1.5, 1.0)
    mechanism = streams.uniform("mechanism", *truth.shape[1:])
    mcar_share, mar_share, _ = settings.mechanisms
    p = np.where(mechanism < mcar_share, base, np.where(mechanism < mcar_share + mar_share, mar, mnar))
    p = p * _careless(visits, settings.hours)[..., None] * (1 + DOMAIN_MISSING * visits.shift)[:, None, None]
    return np.clip(p, LEAST, MOST).astype(np.float32)


def _normal(truth: Floats) -> Flags:
    """(B, T, V) True where a value is within three SDs of normal, so within the textbook's range."""
    low = np.full(len(CHARTED), np.inf, dtype=np.float32)
    high = np.full(len(CHARTED), -np.inf, dtype=np.float32)
    for v, name in enumerate(CHARTED):
        if name in VARIABLES:
            facts = VARIABLES[name]
            low[v], high[v] = facts.normal - 3 * facts.sd, facts.normal + 3 * facts.sd
    return (truth >= low) & (truth <= high)


def _careless(visits: Visits, hours: int) -> Floats:
    """(B, T) how many times as much is missing at night, in the hour of hand-over, and at weekends."""
    hour = visits.clock(hours).astype(np.int64)
    more = np.where((hour >= 23) | (hour < 6), NIGHT, 1.0)
    more = more * np.where(np.isin(hour, HAND_OVERS), HAND_OVER, 1.0)
    return (more * np.where(visits.weekend(hours), WEEKEND, 1.0)).astype(np.float32)


def documentation(visits: Visits, hours: int) -> tuple[Floats, Floats]:
    """(B, T) completeness and accuracy of the shift on duty."""
    hour = visits.clock(hours)
    shift = np.where((hour >= 7) & (hour < 15), 0, np.where((hour >= 15) & (hour < 23), 1, 2))
    of_shift = np.array(DOCUMENTATION, dtype=np.float32)[shift]  # (B, T, 2)
    capped = np.minimum(of_shift, np.array(AT_WEEKENDS, dtype=np.float32))
    both = np.where(visits.weekend(hours)[..., None], capped, of_shift)
    return both[..., 0], both[..., 1]


def _written(value: Floats) -> Floats:
    """With the decimals that are charted, within the limits of A.1: a spike beyond them is cut there."""
    for v, name in enumerate(CHARTED):
        if name in VARIABLES:
            np.clip(value[..., v], VARIABLES[name].low, VARIABLES[name].high, out=value[..., v])
    scale = 10.0 ** np.array([DECIMALS[name] for name in CHARTED])
    return (np.round(value * scale) / scale).astype(np.float32)
