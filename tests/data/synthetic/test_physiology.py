"""The body, number by number: what clock, person and domain do to each variable, and to no other (METHODS A.2-1 to 3, 8, 12)."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from icu_lightning.data.synthetic.clock import circadian, meal_strength, sleep_depth
from icu_lightning.data.synthetic.people import visits_of
from icu_lightning.data.synthetic.physiology import PATTERNS, body_of, own_factors, progression
from icu_lightning.data.synthetic.streams import Streams
from icu_lightning.data.synthetic.variables import CONDITIONS, SERIES, VITALS, shifts, table
from tests.data.synthetic.conftest import configured

# METHODS A.2-1, 2, 3: peak, trough and amplitude; fall in the middle of sleep; rise at a meal
RHYTHMS = {
    "heart_rate": (15, 3, 0.10),
    "sbp": (10, 2, 0.08),
    "dbp": (10, 2, 0.08),
    "temperature": (16, 4, 0.5),
    "respiratory_rate": (14, 3, 0.05),
}
ASLEEP = {"heart_rate": 0.15, "sbp": 0.12, "dbp": 0.12, "respiratory_rate": 0.08}
EATEN = {"glucose": 0.40, "heart_rate": 0.08, "lactate": 0.12}
DOMAIN = {"heart_rate": 3, "sbp": -5, "spo2": -1, "temperature": 0.2, "lactate": 0.3, "creatinine": 0.1, "glucose": 5}


@cache
def bodies(n=150, seed=5, **feature):
    """Visits, the body without the feature, with it, and where no limit of the body cuts either."""
    visits = visits_of(configured(), seed, np.arange(n))
    off, on = (body_of(configured(**f), seed, visits) for f in ({}, feature))
    low, high = table(SERIES, "low"), table(SERIES, "high")
    free = np.ones(off.series.shape, dtype=bool)
    for series in (off.series, on.series):
        free &= (series > low) & (series < high)
        free[..., SERIES.index("dbp")] &= series[..., SERIES.index("sbp")] - series[..., SERIES.index("dbp")] > 12.01
    return visits, off, on, free


@pytest.mark.parametrize("name", RHYTHMS)
def test_the_day_has_the_published_peak_trough_and_amplitude(name):
    peak, trough, amplitude = RHYTHMS[name]
    wave = circadian(np.arange(24, dtype=np.float32), name) - (name != "temperature")
    assert (wave.argmax(), wave.argmin()) == (peak, trough)
    assert (wave.max(), wave.min()) == pytest.approx((amplitude, -amplitude), abs=1e-6)


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("feature", ["circadian", "sleep", "meals"])
def test_the_clock_changes_each_variable_as_published_and_no_other(feature, name):
    visits, off, on, free = bodies(**{feature: True})
    clock, v = visits.clock(48), SERIES.index(name)
    expected = {
        "circadian": circadian(clock, name) if name in RHYTHMS else 1,
        "sleep": 1 - ASLEEP.get(name, 0) * sleep_depth(clock),
        "meals": 1 + EATEN.get(name, 0) * meal_strength(clock),
    }[feature]
    plus = feature == "circadian" and name == "temperature"
    wanted = off.series[..., v] + expected if plus else off.series[..., v] * expected
    here = free[..., v]
    assert here.mean() > 0.3
    assert on.series[..., v][here] == pytest.approx(wanted[here], rel=1e-4)


@pytest.mark.parametrize("name", SERIES)
def test_another_domain_changes_each_variable_as_published_and_no_other(name):
    visits, settings, v = visits_of(configured(), 5, np.arange(150)), configured(domain_shift=True), SERIES.index(name)
    here, there = (
        body_of(settings, 5, dataclasses.replace(visits, shift=np.full(len(visits), shift, dtype=np.float32))).series
        for shift in (0.0, 1.5)
    )
    low, high = table(SERIES, "low")[v], table(SERIES, "high")[v]
    free = (here[..., v] > low) & (there[..., v] > low) & (here[..., v] < high) & (there[..., v] < high)
    if name == "dbp":  # a lower systolic pressure presses it down
        free &= there[..., SERIES.index("sbp")] - here[..., v] > 12.01
    assert (there - here)[..., v][free] == pytest.approx(1.5 * DOMAIN.get(name, 0), abs=1e-3)


def test_progression_moves_severity_from_admission_on_in_both_directions():
    _, off, on, _ = bodies(n=600, individuality=True)
    moved = on.severity - off.severity
    assert np.abs(moved[:, 0]).max() < 1e-5, "nobody has progressed at admission"
    assert np.abs(moved[:, -1]).mean() > 0.3
    assert 0.25 < (moved[:, -1] < 0).mean() < 0.5, "most get worse, many better"
    assert off.severity.std(0).max() < 1.3 * off.severity.std(0).min(), "without it, severity is stationary"


def test_the_five_courses_have_their_shapes():
    n, u = 40, np.random.default_rng(0).random((40, 2)).astype(np.float32)
    course = {name: progression(np.full(n, i), u, 48) for i, name in enumerate(PATTERNS)}
    rate, t = u[:, :1], np.arange(48)
    assert course["exponential"] == pytest.approx(np.exp((0.05 + 0.1 * rate) * t / 48) - 1, abs=1e-5)
    assert course["linear"] == pytest.approx((0.2 + 0.2 * rate) * t / 48, abs=1e-5)
    assert course["oscillating"] - course["linear"] == pytest.approx(
        np.tile(0.1 * np.sin(2 * np.pi * t / 6), (n, 1)), abs=1e-5
    )
    steps = np.diff(course["step"], axis=1) > 0
    assert (steps.sum(1) == 1).all()
    assert (np.abs(steps.argmax(1) + 1 - (6 + 36 * rate[:, 0])) <= 1).all()
    steepest = np.diff(course["sigmoid"], axis=1).argmax(1)
    assert np.abs(steepest - (12 + 24 * rate[:, 0])).max() <= 1.5


def test_individuals_answer_to_the_same_severity_more_or_less_strongly():
    visits, *made, _ = bodies(n=1200, individuality=True)
    spread = []
    for body in made:
        slopes = []
        for i in np.flatnonzero(visits.condition == CONDITIONS.index("aki")):
            x, y = body.strength[i], body.series[i, :, SERIES.index("bun")]
            if x.std() > 0.5:
                slopes.append(np.polyfit(x, y, 1)[0])
        spread.append(np.std(slopes) / np.mean(slopes))
    assert spread[1] > 1.15 * spread[0]


@pytest.mark.parametrize("name", SERIES)
def test_each_condition_shows_in_the_variables_that_it_changes(name):
    """METHODS A.1: the sign of each shift, in the stays that are ill enough, against those of no condition."""
    visits, off, _, _ = bodies(n=1500)
    v, ill = SERIES.index(name), off.strength.mean(1) > 1
    signs = {
        "sepsis": {
            "heart_rate": 1,
            "sbp": -1,
            "temperature": 1,
            "lactate": 1,
            "wbc": 1,
            "bicarbonate": -1,
            "glucose": 1,
        },
        "aki": {"creatinine": 1, "bun": 1, "potassium": 1, "bicarbonate": -1},
        "heart_failure": {"spo2": -1, "sodium": -1, "respiratory_rate": 1, "dbp": -1},
    }
    none = off.series[ill & (visits.condition == 0), :, v].mean()
    for condition, sign in signs.items():
        if name in sign:
            here = off.series[ill & (visits.condition == CONDITIONS.index(condition)), :, v].mean()
            assert (here - none) * sign[name] > 0, condition


def test_laboratory_values_follow_severity_later_than_vital_signs():
    _, off, _, _ = bodies(n=600)
    lag = {}
    for name in ("heart_rate", "lactate"):
        x, y = np.diff(off.strength, axis=1), np.diff(off.series[..., SERIES.index(name)], axis=1)
        lag[name] = [np.corrcoef(x[:, : 47 - k].ravel(), y[:, k:].ravel())[0, 1] for k in (0, 1)]
    assert lag["heart_rate"][0] > 3 * abs(lag["heart_rate"][1])
    assert lag["lactate"][1] > 0.5 * lag["lactate"][0]


# METHODS A.2-6 and A.2-9: correlation, and its SD between patients
PUBLISHED = {
    ("heart_rate", "respiratory_rate"): (0.45, 0.10), ("heart_rate", "sbp"): (-0.30, 0.08), ("sbp", "dbp"): (0.85, 0),
    ("heart_rate", "temperature"): (0.35, 0), ("spo2", "respiratory_rate"): (-0.40, 0), ("sbp", "spo2"): (0.25, 0.08),
    ("creatinine", "bun"): (0.80, 0.10), ("lactate", "bicarbonate"): (-0.65, 0.10), ("sodium", "potassium"): (0.15, 0),
    ("hemoglobin", "wbc"): (-0.20, 0), ("glucose", "lactate"): (0.30, 0), ("heart_rate", "lactate"): (0.50, 0.12),
    ("sbp", "lactate"): (-0.55, 0.12), ("sbp", "creatinine"): (-0.35, 0), ("temperature", "wbc"): (0.40, 0),
    ("spo2", "lactate"): (-0.45, 0),
}  # fmt: skip


def places_and_scale(pair):
    across = len({name in VITALS for name in pair}) == 2
    return SERIES.index(pair[0]), SERIES.index(pair[1]), 0.3 if across else 0.7


def test_the_default_correlations_are_the_published_ones_weaker_across_than_within():
    settings = configured("icu")
    assert {(a, b): (r, sd) for a, b, r, sd in settings.correlated} == PUBLISHED
    matrix = settings.correlation_matrix()
    for pair, (r, _) in PUBLISHED.items():
        i, j, scale = places_and_scale(pair)
        assert matrix[i, j] == matrix[j, i] == pytest.approx(scale * r)
    assert np.count_nonzero(matrix) == len(SERIES) + 2 * len(PUBLISHED)


def test_own_correlations_spread_around_the_common_ones_as_published():
    settings = configured("icu")
    factors = own_factors(settings, Streams(5, np.arange(3000), 0)).astype(float)
    own = factors @ factors.transpose(0, 2, 1)
    assert np.abs(own[:, range(15), range(15)] - 1).max() < 1e-5
    for pair, (r, sd) in PUBLISHED.items():
        i, j, scale = places_and_scale(pair)
        assert own[:, i, j].mean() == pytest.approx(scale * r, abs=0.01), pair
        assert own[:, i, j].std() == pytest.approx(scale * sd, rel=0.1, abs=1e-6), pair


@pytest.mark.parametrize("name", [n for n in SERIES if n not in ("dbp", "spo2")])
def test_what_severity_does_not_explain_persists_from_hour_to_hour(name):
    """AR(1): .9 an hour in vital signs; in laboratory values .7 over the 5 hours between two draws (METHODS A.2)."""
    visits, off, _, free = bodies(n=1500)
    push, _ = shifts((name,))
    delayed = off.strength.copy()
    for t in range(1, 48):
        delayed[:, t] = 0.7 * delayed[:, t - 1] + 0.3 * off.strength[:, t]
    strength = off.strength if name in VITALS else delayed
    v = SERIES.index(name)
    rest = (off.series[..., v] - push[visits.condition] * strength)[free[..., v].all(1) & (visits.condition == 0)]
    lag, expected = (1, 0.9) if name in VITALS else (5, 0.7)
    assert len(rest) > 100
    assert np.corrcoef(rest[:, :-lag].ravel(), rest[:, lag:].ravel())[0, 1] == pytest.approx(expected, abs=0.06)
