"""Who comes, on the true calendar: clock, weekends, ages, conditions, and the other domain's people (METHODS A.1, A.2-12, A.2-13)."""

import dataclasses

import numpy as np
import pytest

from icu_lightning.data.synthetic.people import EPOCH, visits_of
from icu_lightning.data.synthetic.variables import CONDITIONS
from tests.data.synthetic.conftest import configured


def test_clock_and_weekend_are_those_of_the_calendar():
    visits = visits_of(configured(), 5, np.arange(300))
    at = (EPOCH + visits.start)[:, None] + np.arange(48) * np.timedelta64(60, "m")
    minutes = (at - at.astype("M8[D]")).astype(int)
    assert visits.clock(48) * 60 == pytest.approx(minutes, abs=0.01)
    assert np.array_equal(visits.weekend(48), ~np.is_busday(at.astype("M8[D]")))
    assert np.bincount(visits.clock(1)[:, 0].astype(int), minlength=24).min() > 0, "patients come at every hour"


def test_the_other_domain_is_older_leaves_earlier_and_has_more_men():
    here, there = (visits_of(configured(domain_shift=on), 5, np.arange(4000)) for on in (False, True))
    moved = there.shift > 0
    first = moved & (there.visit == 0)
    shares = [(there.shift[first] == x).mean() for x in (0.5, 1.0, 1.5)]
    assert shares == pytest.approx([0.50, 0.35, 0.15], abs=0.06)
    free = moved & (here.age < 85)
    assert np.array_equal(there.age[free] - here.age[free], np.round(5 * there.shift[free]))
    usual = moved & (here.length < 20 * 1440) & (there.length > 12 * 60)
    assert there.length[usual] / here.length[usual] == pytest.approx(1 - 0.1 * there.shift[usual], abs=2e-3)
    changed = there.male != here.male
    assert changed[first].mean() == pytest.approx(0.05 * 0.48, abs=0.02)
    assert there.male[changed].all()
    for field in ("age", "male", "length", "start", "weight"):
        assert np.array_equal(getattr(there, field)[~moved], getattr(here, field)[~moved]), field


@pytest.mark.parametrize("diversity", [False, True])
def test_conditions_follow_age_and_sex_as_published(diversity):
    """METHODS A.1: sepsis x1.8 above 70 and x.6 below 40; heart failure 1.3 in men and .7 in women, and so on."""
    visits = visits_of(configured(diversity=diversity), 5, np.arange(12_000))
    old, young, man = visits.age > 70, visits.age < 40, visits.male
    factors = {"sepsis": (1.8, 0.6, 1.1, 0.9), "aki": (2.0, 0.5, 1.2, 0.8), "heart_failure": (2.2, 0.3, 1.3, 0.7)}
    base = {"sepsis": 0.15, "aki": 0.10, "heart_failure": 0.12}
    mix = {"sepsis": 0.40, "aki": 0.20, "heart_failure": 0.25}
    for name, (more, less, of_men, of_women) in factors.items():
        has = visits.condition == CONDITIONS.index(name)
        share = 0.37 * mix[name] if diversity else base[name]
        for rows, factor in ((old & man, more * of_men), (old & ~man, more * of_women), (~old & ~young & man, of_men)):
            assert has[rows].mean() == pytest.approx(share * factor, abs=4 * (0.25 / rows.sum()) ** 0.5), name
        assert has[young].mean() == pytest.approx(share * less, abs=0.03)


def test_a_patient_is_the_same_person_at_every_visit_only_older():
    visits = visits_of(configured("icu"), 5, np.arange(3000))
    again = np.flatnonzero(visits.visit > 0)
    assert len(again) > 400
    for field in dataclasses.fields(visits):
        if field.name in ("male", "ethnicity", "height", "hospital", "shift", "chronic", "carevue", "patient"):
            values = getattr(visits, field.name)
            assert np.array_equal(values[again], values[again - 1]), field.name
    years = (EPOCH + visits.start).astype("M8[Y]").astype(int)
    assert np.abs((visits.age[again] - visits.age[again - 1]) - (years[again] - years[again - 1])).max() <= 1
    assert (visits.start[again] > visits.start[again - 1]).all()
    assert not np.array_equal(visits.condition[again], visits.condition[again - 1]), (
        "another illness may bring them back"
    )
