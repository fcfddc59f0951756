"""The chart, in numbers: noise, jitter, artifacts, what is missing when, and another domain's habits (METHODS A.2-4, 5, 7, 12)."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from icu_lightning.data.synthetic import observation
from icu_lightning.data.synthetic.people import visits_of
from icu_lightning.data.synthetic.physiology import body_of
from icu_lightning.data.synthetic.treatment import care_of
from icu_lightning.data.synthetic.variables import BEDSIDE, CHARTED, LABORATORY, SERIES, VITALS
from tests.data.synthetic.conftest import configured

HOURLY = [CHARTED.index(name) for name in VITALS]
LABS = [CHARTED.index(name) for name in LABORATORY]
# METHODS A.1: signal noise, a share of the value
NOISE = {"heart_rate": 0.02, "sbp": 0.03, "dbp": 0.03, "respiratory_rate": 0.04, "temperature": 0.005, "spo2": 0.01}
NOISE |= {"lactate": 0.05, "creatinine": 0.03, "wbc": 0.08, "hemoglobin": 0.02, "glucose": 0.04, "potassium": 0.03}
NOISE |= {"sodium": 0.02, "bicarbonate": 0.04, "bun": 0.05}


@cache
def patients(n):
    """Visits of four days, bodies and care without any feature."""
    visits = visits_of(configured(), 5, np.arange(n))
    visits = dataclasses.replace(visits, length=np.full(len(visits), 4 * 1440))
    body = body_of(configured(), 5, visits)
    return visits, body, care_of(configured(), 5, visits, body)


@cache
def chart(settings, n=300, shift=0.0):
    """Visits, all of a domain with this shift, and (B, T, V) their charted values."""
    visits, body, care = patients(n)
    visits = dataclasses.replace(visits, shift=np.full(len(visits), shift, dtype=np.float32))
    when = observation.minutes(settings, 5, visits)
    return visits, observation.charted(settings, 5, visits, body, care, when)


def missing(settings, **arguments):
    """(B, T, V) True where what was due is not there."""
    _, due = chart(configured(), **arguments)
    visits, kept = chart(settings, **arguments)
    return visits, np.isfinite(due), np.isfinite(due) & ~np.isfinite(kept)


@pytest.mark.parametrize("name", SERIES)
def test_each_variable_has_its_noise_and_isolated_artifacts_on_both_sides(name):
    v = CHARTED.index(name)
    exact, noisy, spiked = (
        chart(configured(measurement=on, dropout=0.0, artifacts=artifacts))[1][..., v]
        for on, artifacts in ((False, 0.0), (True, 0.0), (True, 0.03))
    )
    low, high = (np.nanpercentile(exact, q) for q in (25, 75))
    middle = (exact > low) & (exact < high)  # limits cut the rest
    rounded = {"lactate": 0.03, "creatinine": 0.04, "respiratory_rate": 0.03, "spo2": 0.005}.get(name, 0.01)
    assert np.std((noisy / exact)[middle]) == pytest.approx(NOISE[name], abs=rounded)
    change = (spiked / noisy)[middle]
    spike = np.abs(change - 1) > 0.01
    if name not in ("temperature", "spo2"):  # a spike of 20 % is beyond what a thermometer or an oximeter can show
        assert spike.mean() == pytest.approx(0.03, abs=0.012)
        assert (np.abs(change[spike] - 1) > 0.10).all(), "cut at the limits, at the least"
        assert (np.abs(change[spike] - 1) < 0.6).all()
    assert spike.any()
    assert {True, False} == set((change[spike] > 1).tolist()) or name == "spo2"


def test_rounds_and_draws_are_early_or_late_by_no_more_than_planned():
    visits = visits_of(configured(), 5, np.arange(200))
    (bedside, laboratory), plan = (observation.minutes(configured(measurement=on), 5, visits) for on in (True, False))
    for minutes, planned, most in ((bedside, plan[0], 6), (laboratory, plan[1], 3)):
        late = minutes - planned
        assert set(np.abs(late).ravel()) == set(range(most + 1)), "up to .10 and .05 hours"
        assert abs(late.mean()) < 0.1


def test_under_mcar_more_is_missing_at_night_at_hand_over_and_at_weekends():
    visits, due, lost = missing(configured(missingness=True, mechanisms=[1.0, 0.0, 0.0]), n=1500)
    hour, weekend = visits.clock(48).astype(int), visits.weekend(48)
    share = lambda rows, places: lost[rows][:, places].sum() / due[rows][:, places].sum()  # noqa: E731 of cells (B, T)
    calm = ~np.isin(hour, observation.HAND_OVERS) & (hour >= 6) & (hour < 23)
    day = share(calm & ~weekend, HOURLY)
    assert day == pytest.approx(0.08, abs=0.004)
    assert share(calm & ~weekend, LABS) == pytest.approx(0.20, abs=0.015)
    night = ((hour > 23) | (hour < 6)) & ~weekend
    assert share(night, HOURLY) / day == pytest.approx(1.3, abs=0.08)
    assert share(np.isin(hour, (7, 15)) & ~weekend, HOURLY) / day == pytest.approx(1.15, abs=0.08)
    assert share(calm & weekend, HOURLY) / day == pytest.approx(1.2, abs=0.08)


def test_under_mnar_normal_values_and_those_of_the_most_severely_ill_are_left_out():
    settings = configured(missingness=True, mechanisms=[0.0, 0.0, 1.0])
    visits, due, lost = missing(settings, n=1500)
    _, exact = chart(configured(), n=1500)
    ill = observation.severity_points(visits, patients(1500)[1])
    v = CHARTED.index("heart_rate")
    fast, hour = exact[..., v] > 102, visits.clock(48).astype(int)
    day = due[..., v] & (hour >= 8) & (hour < 23) & (hour != 15)
    rate = lambda rows: lost[..., v][day & rows].mean()  # noqa: E731
    abnormal = rate(fast & (ill <= 8))
    assert rate(~fast & (exact[..., v] > 62) & (ill <= 8)) / abnormal == pytest.approx(1.5, abs=0.2)
    assert rate(fast & (ill > 8)) > 1.2 * abnormal


def test_under_mar_missingness_falls_with_severity_as_published():
    visits, due, lost = missing(configured(missingness=True, mechanisms=[0.0, 1.0, 0.0]), n=1500)
    ill = observation.severity_points(visits, patients(1500)[1])
    hour = visits.clock(48).astype(int)
    calm = (hour >= 8) & (hour < 23) & (hour != 15) & ~visits.weekend(48)
    for points in (0, 2, 5):
        rows = calm & (np.abs(ill - points) < 0.01)
        expected = 0.25 - 0.22 / (1 + np.exp(-3 * (points - 5) / 5))
        found = [lost[rows][:, places].sum() / due[rows][:, places].sum() for places in (HOURLY, LABS)]
        assert found[0] == pytest.approx(expected * (1 - 0.05 * points), rel=0.12)
        assert found[1] == pytest.approx(expected * (1 - 0.03 * points), rel=0.20)


@pytest.mark.parametrize("name", ["sbp", "sodium"])
def test_what_is_written_down_at_night_is_less_accurate(name):
    v = CHARTED.index(name)
    (visits, exact), (_, written) = (chart(configured(documentation=on), n=900) for on in (False, True))
    hour, weekend = visits.clock(48), visits.weekend(48)
    apart = written[..., v] / exact[..., v] - 1
    night, day = (hour >= 23) | (hour < 7), (hour >= 7) & (hour < 15)
    rounding = 1 / 6 / float(np.nanmedian(exact[..., v])) ** 2  # variance of two whole numbers' rounding
    for rows, accuracy in ((night, 0.90), (day & ~weekend, 0.97), (day & weekend, 0.92)):
        assert np.nanstd(apart[rows]) == pytest.approx((((1 - accuracy) * 0.1) ** 2 + rounding) ** 0.5, rel=0.06)


def test_another_domain_is_noisier_and_charts_less():
    v = CHARTED.index("glucose")
    still = {"dropout": 0.0, "artifacts": 0.0}
    noise = []
    for shift in (0.0, 1.0):
        (_, exact), (_, noisy) = (chart(configured(measurement=on, **still), shift=shift) for on in (False, True))
        noise.append(np.nanstd(noisy[..., v] / exact[..., v]))
    assert noise[1] / noise[0] == pytest.approx(1.15, abs=0.02)
    _, due, lost = missing(configured(domain_shift=True), shift=1.0)
    assert lost.sum() / due.sum() == pytest.approx(0.15, abs=0.005)
    gone = [missing(configured(missingness=True), shift=shift) for shift in (0.0, 1.0)]
    less, more = (lost.sum() / due.sum() for _, due, lost in gone)
    assert more / less == pytest.approx(1.2, abs=0.02)


def test_vital_signs_are_due_every_hour_laboratory_values_every_four_to_six():
    _, due = chart(configured())
    known = np.isfinite(due)
    assert known[..., HOURLY].all()
    draws = [np.diff(np.flatnonzero(row)) for row in known[..., CHARTED.index("sodium")]]
    assert {tuple(set(gaps)) for gaps in draws} == {(4,), (5,), (6,)}, "the step is one for the whole stay"
    assert set(BEDSIDE) | set(LABORATORY) == {name for v, name in enumerate(CHARTED) if known[..., v].any()}
