"""Who dies: the published multivariate formula on the simulated physiology, and what is recorded of it (METHODS A.2-10, A.2-11).

    logit = intercept + w mean_t physiology(x(t)) + person + N(0, .15) + N(0, .10) + N(0, .05),  t over the first 48 hours
    risk = sigmoid(logit) within [.001, .95], death ~ Bernoulli(risk)

`physiology` holds the formula's terms of vitals and laboratory values with its interactions, `person` those of age, sex and
frailty. The weight w is the configuration's; the intercept makes the expected share of *recorded* deaths in a reference population
the configuration's prevalence. Noise, censoring and ambiguity come after the death and know nothing of the body but its risk.
Deviation: the original evaluates the formula once, on fixed normal values, before there is any physiology.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icu_lightning.data.synthetic.people import Flags, Floats, Visits
from icu_lightning.data.synthetic.physiology import Body
from icu_lightning.data.synthetic.settings import LANDMARK, GeneratorSettings
from icu_lightning.data.synthetic.streams import Streams
from icu_lightning.data.synthetic.variables import SERIES
from icu_lightning.errors import UserError

Doubles = NDArray[np.float64]

LOWEST, HIGHEST = 0.001, 0.95
NOISE = (0.15, 0.10, 0.05)
REASONS = ("observed", "transfer", "against_advice", "lost")
# Scenario: share among the ambiguous, probability that the record says the opposite
AMBIGUITY = {"comfort_care": (0.35, 0.5), "withdrawal": (0.25, 0.4), "brain_death": (0.20, 0.3), "hospice": (0.20, 0.6)}


@dataclass(frozen=True)
class Outcome:
    """What happened to B visits, and what was recorded.

    risk: true risk of death. recorded_risk: risk that a death is recorded. died: truly. recorded: what the tables say.
    censored: place in REASONS. ambiguous: place in AMBIGUITY, -1 where there is none. flipped: the record is a plain mistake.
    """

    risk: Doubles
    recorded_risk: Doubles
    died: Flags
    recorded: Flags
    censored: NDArray[np.int64]
    ambiguous: NDArray[np.int64]
    flipped: Flags


def physiology_terms(series: Floats) -> Floats:
    """(..., 15) values -> (...) the formula's terms of physiology, with their interactions.

    >>> normal = np.array([[75, 120, 75, 16, 37, 97, 1, 1, 8, 13, 90, 4, 140, 25, 14]], dtype=np.float32)
    >>> shock = normal.copy()
    >>> shock[0, [0, 1, 6]] = 130, 80, 5
    >>> physiology_terms(shock) - physiology_terms(normal) > 2
    array([ True])
    """
    x = {name: series[..., v] for v, name in enumerate(SERIES)}
    hr, sbp, spo2, t, lactate = x["heart_rate"], x["sbp"], x["spo2"], x["temperature"], x["lactate"]
    creatinine, wbc, rr = x["creatinine"], x["wbc"], x["respiratory_rate"]
    total = 0.40 * (hr < 50) + 0.35 * (hr > 120) - 0.10 * ((hr >= 60) & (hr <= 80))
    total = total + 0.50 * (sbp < 90) + 0.20 * (sbp > 160) - 0.15 * ((sbp >= 110) & (sbp <= 130))
    total += 0.60 * (spo2 < 85) + 0.30 * ((spo2 >= 85) & (spo2 < 92)) - 0.10 * (spo2 > 95)
    total += 0.45 * (t < 36) + 0.25 * ((t >= 38.5) & (t <= 40)) + 0.50 * (t > 40)
    total += np.select([lactate < 2, lactate < 4], [-0.05, 0.30], 0.60)
    total += np.select([creatinine < 1.5, creatinine < 3], [-0.05, 0.25], 0.50)
    total += 0.30 * (wbc < 4) + 0.25 * ((wbc >= 15) & (wbc <= 25)) + 0.40 * (wbc > 25)
    total += _partly([sbp < 90, hr > 120, lactate > 4], 2, 0.80, 0.30)  # shock
    total += _partly([(t > 38.5) | (t < 36), wbc > 15, lactate > 4], 2, 0.70, 0.25)  # like sepsis
    total += _partly([spo2 < 92, rr > 24], 1, 0.60, 0.20)  # respiratory
    total += _partly([creatinine > 3, sbp < 90], 1, 0.55, 0.20)  # cardiorenal
    # Deviation: lactate's exponential stops at 8 mmol/L; at 20 it alone would be 60
    total += 0.15 * (np.exp(0.3 * np.minimum(lactate, 8)) - 1) - 2 / spo2
    return total.astype(np.float32)


def person_terms(visits: Visits, series: Floats) -> Doubles:
    """(B,) the formula's terms of age, sex and frailty, and of the day in the unit, which are 1 and 2 here."""
    age = visits.age.astype(np.float64)
    frail = _partly(
        [
            np.broadcast_to(age[:, None] > 75, series.shape[:2]),
            series[..., SERIES.index("creatinine")] > 1.5,
            series[..., SERIES.index("heart_rate")] > 100,
        ],
        2,
        0.50,
        0.15,
    ).mean(1)
    return 0.03 * np.maximum(age - 50, 0) + 0.0005 * age**2 + 0.15 * visits.male + frail


def _partly(signs: list[NDArray[np.bool_]], some: int, all_: float, part: float) -> Floats:
    """`all_` where every sign is there, `part` where at least `some` are."""
    count = np.sum(signs, axis=0)
    return np.where(count == len(signs), all_, np.where(count >= some, part, 0)).astype(np.float32)


def logits(settings: GeneratorSettings, seed: object, visits: Visits, body: Body) -> Doubles:
    """(B,) without the intercept; all zero where the mortality model is switched off."""
    if not settings.on("mortality"):
        return np.zeros(len(visits))
    early = body.series[:, :LANDMARK]
    physiology = physiology_terms(early).mean(1, dtype=np.float64)
    noise = Streams(seed, visits.patient, visits.visit).normal("death", 3) @ np.array(NOISE)
    return settings.physiology_weight * physiology + person_terms(visits, early) + noise


def risk_of(logit: Doubles, intercept: float) -> Doubles:
    return np.clip(1 / (1 + np.exp(-(logit + intercept))), LOWEST, HIGHEST)


def recorded_risk(settings: GeneratorSettings, risk: Doubles) -> Doubles:
    """(B,) the probability that a death is recorded, of visits with this true risk."""
    of_dead, of_living = _recorded_given(settings, risk)
    return risk * of_dead + (1 - risk) * of_living


def comes_again(settings: GeneratorSettings, risk: Doubles) -> Doubles:
    """(B,) the probability that the patient lives and is not recorded as dead, so that there may be a later visit."""
    return (1 - risk) * (1 - _recorded_given(settings, risk)[1])


def _recorded_given(settings: GeneratorSettings, risk: Doubles) -> tuple[Doubles, Doubles]:
    """(B,) the probability of a recorded death of those who died, and of those who lived."""
    if not settings.on("label_noise"):
        return np.ones_like(risk), np.zeros_like(risk)
    opposite = _ambiguous_share(settings, risk) * sum(share * flip for share, flip in AMBIGUITY.values())
    to_death, to_survival = settings.flipped
    seen = 1 - sum(settings.censored)
    of_dead, of_living = (said * (1 - to_survival) + (1 - said) * to_death for said in (1 - opposite, opposite))
    return of_dead * seen, of_living * seen


def _ambiguous_share(settings: GeneratorSettings, risk: Doubles) -> Doubles:
    """Deviation: ambiguity is in proportion to risk, because comfort care and hospices are for the very ill; at most 1/2."""
    return np.minimum(settings.ambiguous * risk / settings.prevalence, 0.5)


def outcomes(settings: GeneratorSettings, seed: object, visits: Visits, risk: Doubles) -> Outcome:
    """Deaths, and what is recorded of them: ambiguity, plain mistakes, then censoring, which is recorded as survival."""
    n = len(visits)
    streams = Streams(seed, visits.patient, visits.visit)
    died = streams.uniform("outcome", 1)[:, 0] < risk
    if not settings.on("label_noise"):
        nothing = np.zeros(n, dtype=np.int64)
        return Outcome(risk, risk, died, died, nothing, nothing - 1, np.zeros(n, dtype=bool))
    u = streams.uniform("label noise", 6)
    ambiguous = np.where(
        u[:, 0] < _ambiguous_share(settings, risk), _place(u[:, 1], [s for s, _ in AMBIGUITY.values()]), -1
    )
    chance = np.array([flip for _, flip in AMBIGUITY.values()])[ambiguous]
    recorded = died ^ ((ambiguous >= 0) & (u[:, 2] < chance))
    flipped = u[:, 3] < np.where(recorded, settings.flipped[1], settings.flipped[0])
    recorded = recorded ^ flipped
    seen = 1 - sum(settings.censored)
    censored = _place(u[:, 4], [seen, *settings.censored])
    return Outcome(risk, recorded_risk(settings, risk), died, recorded & (censored == 0), censored, ambiguous, flipped)


def solved_intercept(settings: GeneratorSettings, logit: Doubles, first_visit: Flags) -> float:
    """The intercept with which the expected share of recorded deaths is the prevalence, by bisection.

    Arguments:
        logit: (B,) of a reference population, without an intercept; of each patient all planned visits, in order. A later
            visit counts with the probability that it takes place.
        first_visit: (B,) True for each patient's first.

    Raises UserError for a prevalence that no intercept gives, because of the label noise and of the limits of a risk.
    """
    low, high = -60.0, 60.0
    least, most = (_recorded_share(settings, risk_of(logit, end), first_visit) for end in (low, high))
    if not least <= settings.prevalence <= most:
        raise UserError(
            f"generator.prevalence={settings.prevalence} cannot be reached: with risks from {LOWEST} to {HIGHEST} and these "
            f"flipped, censored and ambiguous outcomes, {least:.1%} to {most:.1%} of stays are recorded as deaths."
        )
    for _ in range(60):
        middle = (low + high) / 2
        share = _recorded_share(settings, risk_of(logit, middle), first_visit)
        low, high = (middle, high) if share < settings.prevalence else (low, middle)
    return (low + high) / 2


def _recorded_share(settings: GeneratorSettings, risk: Doubles, first_visit: Flags) -> float:
    """Expected share of recorded deaths among the visits that take place."""
    lives = np.log(comes_again(settings, risk))
    before = np.cumsum(lives) - lives
    first = np.maximum.accumulate(np.where(first_visit, np.arange(len(risk)), 0))
    return float(np.average(recorded_risk(settings, risk), weights=np.exp(before - before[first])))


def _place(u: Floats, shares: list[float]) -> NDArray[np.int64]:
    return np.minimum(np.searchsorted(np.cumsum(shares), u, side="right"), len(shares) - 1).astype(np.int64)
