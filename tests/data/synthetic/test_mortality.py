"""The published formula term by term (METHODS A.2-10), what is recorded of a death (A.2-11), and nothing else in the risk."""

import dataclasses

import numpy as np
import pytest

from icu_lightning.data.synthetic import mortality
from icu_lightning.data.synthetic.people import visits_of
from icu_lightning.data.synthetic.physiology import body_of
from icu_lightning.data.synthetic.settings import LANDMARK
from icu_lightning.data.synthetic.variables import SERIES
from tests.data.synthetic.conftest import configured

NORMAL = {"heart_rate": 75, "sbp": 120, "dbp": 75, "respiratory_rate": 16, "temperature": 37, "spo2": 97, "lactate": 1}
NORMAL |= {
    "creatinine": 1,
    "wbc": 8,
    "hemoglobin": 13,
    "glucose": 90,
    "potassium": 4,
    "sodium": 140,
    "bicarbonate": 25,
    "bun": 14,
}


def of_lactate(x):
    return 0.15 * np.exp(0.3 * x)


# Change of a normal patient: what the logit gains; a lost bonus of being normal (-.10, -.15, -.05) counts too
TERMS = [
    ({"heart_rate": 45}, 0.40 + 0.10),
    ({"heart_rate": 90}, 0.10),
    ({"heart_rate": 130}, 0.35 + 0.10),
    ({"sbp": 80}, 0.50 + 0.15 + 0.20),  # and partly cardiorenal
    ({"sbp": 140}, 0.15),
    ({"sbp": 170}, 0.20 + 0.15),
    ({"spo2": 94}, 0.10 - 2 / 94 + 2 / 97),
    ({"spo2": 88}, 0.30 + 0.10 + 0.20 - 2 / 88 + 2 / 97),  # and partly respiratory
    ({"spo2": 80}, 0.60 + 0.10 + 0.20 - 2 / 80 + 2 / 97),
    ({"temperature": 35.5}, 0.45),
    ({"temperature": 39}, 0.25),
    ({"temperature": 40.5}, 0.50),
    ({"lactate": 3}, 0.35 + of_lactate(3) - of_lactate(1)),
    ({"lactate": 5}, 0.65 + of_lactate(5) - of_lactate(1)),
    ({"lactate": 20}, 0.65 + of_lactate(8) - of_lactate(1)),  # stops at 8
    ({"creatinine": 2}, 0.30),
    ({"creatinine": 4}, 0.55 + 0.20),
    ({"wbc": 3}, 0.30),
    ({"wbc": 20}, 0.25),
    ({"wbc": 30}, 0.40),
    ({"respiratory_rate": 30}, 0.20),
    ({"heart_rate": 130, "sbp": 80}, 0.45 + 0.85 + 0.30),  # shock in part, and whole
    ({"heart_rate": 130, "sbp": 80, "lactate": 5}, 0.45 + 0.85 + 0.65 + of_lactate(5) - of_lactate(1) + 0.80),
    ({"temperature": 39, "wbc": 20}, 0.25 + 0.25 + 0.25),  # like sepsis in part, and whole
    ({"temperature": 39, "wbc": 20, "lactate": 5}, 0.50 + 0.65 + of_lactate(5) - of_lactate(1) + 0.70),
    ({"spo2": 88, "respiratory_rate": 30}, 0.40 - 2 / 88 + 2 / 97 + 0.60),
    ({"creatinine": 4, "sbp": 80}, 0.55 + 0.65 + 0.55),
    ({"heart_rate": 50}, 0.10),  # the edges of the bands belong to the milder side, as published
    ({"heart_rate": 120}, 0.10),
    ({"heart_rate": 60}, 0.0),
    ({"heart_rate": 80}, 0.0),
    ({"sbp": 90}, 0.15),
    ({"sbp": 110}, 0.0),
    ({"sbp": 130}, 0.0),
    ({"sbp": 160}, 0.15),
    ({"spo2": 95}, 0.10 - 2 / 95 + 2 / 97),
    ({"spo2": 92}, 0.10 - 2 / 92 + 2 / 97),
    ({"spo2": 85}, 0.30 + 0.10 + 0.20 - 2 / 85 + 2 / 97),
    ({"temperature": 36}, 0.0),
    ({"temperature": 38.5}, 0.25),
    ({"temperature": 40}, 0.25),
    ({"lactate": 2}, 0.35 + of_lactate(2) - of_lactate(1)),
    ({"lactate": 4}, 0.65 + of_lactate(4) - of_lactate(1)),
    ({"creatinine": 1.5}, 0.30),
    ({"creatinine": 3}, 0.55),
    ({"wbc": 4}, 0.0),
    ({"wbc": 15}, 0.25),
    ({"wbc": 25}, 0.25),
    ({"respiratory_rate": 24}, 0.0),
    ({"glucose": 400, "sodium": 120, "hemoglobin": 6, "potassium": 7, "bicarbonate": 10, "bun": 150, "dbp": 40}, 0.0),
]


@pytest.mark.parametrize(("changes", "gain"), TERMS)
def test_every_term_of_physiology_is_the_published_one(changes, gain):
    series = np.array([[float((NORMAL | c)[name]) for name in SERIES] for c in ({}, changes)], dtype=np.float32)
    normal, changed = mortality.physiology_terms(series)
    assert changed - normal == pytest.approx(gain, abs=1e-5)


@pytest.mark.parametrize(
    ("age", "male", "creatinine", "heart_rate", "expected"),
    [
        (40, False, 1.0, 75, 0.0005 * 40**2),
        (60, True, 1.0, 75, 0.3 + 0.0005 * 60**2 + 0.15),
        (80, False, 1.0, 75, 0.9 + 0.0005 * 80**2),  # one sign of frailty is none
        (80, False, 2.0, 75, 0.9 + 0.0005 * 80**2 + 0.15),
        (80, False, 2.0, 110, 0.9 + 0.0005 * 80**2 + 0.50),
        (60, False, 2.0, 110, 0.3 + 0.0005 * 60**2 + 0.15),
    ],
)
def test_every_term_of_the_person_is_the_published_one(age, male, creatinine, heart_rate, expected):
    visits = visits_of(configured(), 5, np.arange(1))[np.arange(1)]
    visits = dataclasses.replace(visits, age=np.array([age]), male=np.array([male]))
    values = NORMAL | {"creatinine": creatinine, "heart_rate": heart_rate}
    series = np.tile(np.array([values[name] for name in SERIES], dtype=np.float32), (1, LANDMARK, 1))
    assert mortality.person_terms(visits, series) == pytest.approx([expected], abs=1e-5)


def test_the_logit_is_physiology_person_and_three_draws_of_the_published_spread():
    settings = configured(mortality=True)
    visits = visits_of(settings, 5, np.arange(1500))
    body = body_of(settings, 5, visits)
    known = 4.0 * mortality.physiology_terms(body.series).mean(1) + mortality.person_terms(visits, body.series)
    rest = mortality.logits(settings, 5, visits, body) - known
    assert rest.mean() == pytest.approx(0, abs=0.02)
    physiology, person = (
        known - mortality.person_terms(visits, body.series),
        mortality.person_terms(visits, body.series),
    )
    assert physiology.std() > 2 * person.std(), "physiology and not age carries most of the risk"
    assert rest.std() == pytest.approx((0.15**2 + 0.10**2 + 0.05**2) ** 0.5, rel=0.06)


def test_hours_after_the_landmark_have_no_part_in_the_risk():
    settings = configured(mortality=True, hours=60)
    visits = visits_of(settings, 5, np.arange(60))
    body = body_of(settings, 5, visits)
    later, last = body.series.copy(), body.series.copy()
    later[:, 48:], last[:, 47] = 60, 60
    risks = [
        mortality.logits(settings, 5, visits, dataclasses.replace(body, series=x)) for x in (body.series, later, last)
    ]
    assert np.array_equal(risks[0], risks[1])
    assert not np.array_equal(risks[0], risks[2])


@pytest.mark.parametrize("changes", [{}, {"flipped": [0.10, 0.30]}, {"censored": [0.3, 0.0, 0.1]}, {"ambiguous": 0.3}])
def test_the_recorded_risk_is_the_share_that_is_recorded(changes):
    settings = configured(label_noise=True, **changes)
    visits = visits_of(settings, 5, np.arange(9000))
    risk = np.resize([0.03, 0.2, 0.5, 0.9], len(visits)).astype(float)
    outcome = mortality.outcomes(settings, 5, visits, risk)
    for level in np.unique(risk):
        own = risk == level
        expected = outcome.recorded_risk[own][0]
        assert outcome.recorded[own].mean() == pytest.approx(expected, abs=3.5 * (0.25 / own.sum()) ** 0.5)
        assert outcome.died[own].mean() == pytest.approx(level, abs=0.03)


def test_the_very_ill_have_ambiguous_ends_and_mistakes_go_both_ways():
    settings = configured(label_noise=True)
    visits = visits_of(settings, 5, np.arange(9000))
    risk = np.resize([0.1, 0.5], len(visits)).astype(float)
    outcome = mortality.outcomes(settings, 5, visits, risk)
    shares = [(outcome.ambiguous >= 0)[risk == level].mean() for level in (0.1, 0.5)]
    assert shares == pytest.approx([0.08 * 0.1 / 0.208, 0.08 * 0.5 / 0.208], rel=0.2)
    plain = (outcome.ambiguous < 0) & (outcome.censored == 0)
    wrong = [outcome.flipped[plain & (outcome.died == died)].mean() for died in (False, True)]
    assert wrong == pytest.approx([0.01, 0.02], abs=0.006)
