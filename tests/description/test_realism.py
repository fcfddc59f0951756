"""Statistics of hours: known answers for planted rhythms, persistence and gaps; and a classifier that finds what differs."""

import numpy as np
import pytest

from icu_lightning.description import realism
from icu_lightning.description.realism import Hours

STAYS, T = 300, 48
WHOLE = {"heart_rate": 0, "sbp": 0}


@pytest.fixture
def hours():
    """A function: (B, T, V) values, changes -> Hours of stays that begin at all hours of the day."""

    def make(values, names=("heart_rate", "sbp"), inside=None):
        clock = np.arange(len(values)) % 24
        inside = np.ones(values.shape[:2], dtype=bool) if inside is None else inside
        return Hours(names, values, clock.astype(float), inside)

    return make


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_a_planted_rhythm_is_found_at_its_hour(hours):
    clock = (np.arange(STAYS)[:, None] % 24 + np.arange(T)) % 24
    values = 80 + 5 * np.cos((clock - 15) / 24 * 2 * np.pi)[..., None] + 0.1 * noise(STAYS, T, 2)
    found = realism.by_hour_of_day(hours(values), "heart_rate")
    assert found.argmax() == 15
    assert found.max() == pytest.approx(5, abs=0.1)
    assert found.argmin() == 3


def test_autocorrelation_is_that_of_the_process(hours):
    values = noise(STAYS, T, 2)
    for t in range(1, T):
        values[:, t, 0] = 0.8 * values[:, t - 1, 0] + 0.6 * values[:, t, 0]
    data = hours(values)
    assert realism.autocorrelation(data, "heart_rate")[:3] == pytest.approx([0.8, 0.64, 0.512], abs=0.05)
    assert np.abs(realism.autocorrelation(data, "sbp")).max() < 0.05


def test_too_few_pairs_say_nothing(hours):
    values = np.full((STAYS, T, 2), np.nan)
    values[:3] = 1.0
    data = hours(values)
    assert np.isnan(realism.autocorrelation(data, "heart_rate")[40 % realism.LAGS :]).all()
    assert np.isnan(realism.correlations(data)).all()


def test_correlations_of_two_variables(hours):
    values = noise(STAYS, T, 2)
    values[..., 1] = -0.6 * values[..., 0] + 0.8 * values[..., 1]
    matrix = realism.correlations(hours(values))
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(-0.6, abs=0.05)
    assert matrix[0, 0] == pytest.approx(1)


def test_what_is_missing_counts_only_hours_in_the_unit(hours):
    values = noise(STAYS, T, 2)
    clock = (np.arange(STAYS)[:, None] % 24 + np.arange(T)) % 24
    values[clock == 3] = np.nan
    inside = np.ones((STAYS, T), dtype=bool)
    values[:, 40:], inside[:, 40:] = np.nan, False
    found = realism.missing_by_hour_of_day(hours(values, inside=inside), ["heart_rate", "sbp"])
    assert found[3] == 1
    assert np.delete(found, 3).max() == 0


def test_equal_hours_cannot_be_told_apart_and_others_can(hours):
    names = ["heart_rate", "sbp"]
    one, same, other = (
        hours(80 + 10 * noise(40, 24, 2)),
        hours(80 + 10 * noise(40, 24, 2, seed=1)),
        hours(95 + 10 * noise(40, 24, 2, seed=2)),
    )
    told = realism.told_apart(one, same, names, WHOLE)
    assert told.auroc == pytest.approx(0.5, abs=0.08)
    assert (told.hours, told.real_stays) == (40 * 24, 40)
    assert realism.told_apart(one, other, names, WHOLE).auroc > 0.85
    mapped = realism.told_apart(one, other, names, WHOLE, mapped=True)
    assert mapped.auroc == pytest.approx(0.5, abs=0.08), "only the distributions differed"


def test_what_is_missing_does_not_give_it_away(hours):
    full, holes = 80 + 10 * noise(40, 24, 2), 80 + 10 * noise(40, 24, 2, seed=1)
    holes[np.random.default_rng(3).random(holes.shape) < 0.3] = np.nan
    assert realism.told_apart(hours(full), hours(holes), ["heart_rate", "sbp"], WHOLE).auroc == pytest.approx(
        0.5, abs=0.08
    )


def test_too_few_hours_are_not_judged(hours):
    assert realism.told_apart(hours(noise(2, 24, 2)), hours(noise(40, 24, 2)), ["heart_rate", "sbp"], WHOLE) is None


def test_how_variables_go_together_is_found_when_each_is_distributed_alike(hours):
    apart, tied = noise(40, 24, 2), noise(40, 24, 2, seed=1)
    tied[..., 1] = 0.9 * tied[..., 0] + 0.4 * tied[..., 1]
    for mapped in (False, True):
        told = realism.told_apart(
            hours(80 + 10 * apart), hours(80 + 10 * tied), ["heart_rate", "sbp"], WHOLE, mapped=mapped
        )
        assert told.auroc > 0.7


def test_the_precision_of_charting_gives_nothing_away(hours):
    means, readings = 80 + 10 * noise(40, 24, 2), np.round(80 + 10 * noise(40, 24, 2, seed=1))
    told = [
        realism.told_apart(hours(means), hours(readings), ["heart_rate", "sbp"], {"heart_rate": d, "sbp": d}).auroc
        for d in (0, 3)
    ]
    assert told[0] == pytest.approx(0.5, abs=0.08)
    assert told[1] > 0.6
