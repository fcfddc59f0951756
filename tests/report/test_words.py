"""Words follow from numbers by the printed rules, the alarms add up, and perfect risks are never blamed for chance."""

import numpy as np
import pytest

from icu_lightning.evaluation.reliability import ece
from icu_lightning.report import words
from icu_lightning.report.alarms import alarms, icon_array, said
from icu_lightning.report.thirds import drawing, thirds


def cell(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("auroc", "word"),
    [
        (cell(0.95, 0.93, 0.97), "excellent"),
        (cell(0.8, 0.7, 0.9), "very good"),
        (cell(0.79, 0.7, 0.9), "good"),
        (cell(0.65, 0.51, 0.7), "moderate"),
        (cell(0.95, 0.5, 1.0), "not better than chance"),
        (cell(0.4, 0.3, 0.49), "worse than chance"),
        (cell(None), "undefined"),
        (None, "undefined"),
    ],
)
def test_discrimination(auroc, word):
    assert words.discrimination(auroc).word == word


@pytest.mark.parametrize(
    ("scaled", "ece_value", "chance", "word"),
    [
        (-0.01, 0.001, 0.5, "no better than an average"),
        (0.2, 0.02, 0.01, "good"),
        (0.2, 0.04, 0.05, "good, as far as these stays can tell"),
        (0.2, 0.04, 0.03, "fair"),
        (0.2, 0.08, 0.09, "cannot be told"),
        (0.2, 0.08, 0.05, "poor"),
        (None, 0.08, 0.05, "undefined"),
    ],
)
def test_calibration_is_judged_by_brier_score_and_ece(scaled, ece_value, chance, word):
    assert words.calibration({"scaled_brier": cell(scaled), "ece": cell(ece_value)}, chance).word == word


def test_calibration_does_not_see_the_highest_risk():
    """METHODS A.6: never by the range of the risks."""
    metrics = {"scaled_brier": cell(0.2), "ece": cell(0.08)}
    assert words.calibration(metrics | {"max_risk": cell(0.99)}, 0.05) == words.calibration(metrics, 0.05)


def test_false_alarms_are_allowed_to_a_wide_net():
    assert words.predictive_value(cell(0.32), cell(0.95)).word == "good"
    assert words.predictive_value(cell(0.32), cell(0.5)).word == "moderate"


def test_an_interval_that_reaches_another_word_is_said():
    assert words.graded("f1", cell(0.55, 0.2, 0.6)).why == "The interval reaches from low to moderate."
    assert words.graded("f1", cell(0.55, 0.51, 0.6)).why == ""


@pytest.mark.parametrize("n", [100, 2000])
def test_perfect_risks_stay_below_the_ece_of_chance_in_95_of_100(n):
    rng = np.random.default_rng(1)
    risk = rng.beta(1, 6, n)
    limit = words.chance_ece(risk, seed=0)
    drawn = [ece((rng.random(n) < risk).astype(float), risk, np.ones(n)) for _ in range(400)]
    assert 0.90 < np.mean(np.array(drawn) <= limit) < 0.99


def test_the_rules_print_every_limit():
    text = " ".join(rule for _, rule in words.rules())
    for metric, levels in words.LEVELS.items():
        for limit, word in levels[:-1]:
            assert f"{word} from {limit:g}" in text, metric


@pytest.mark.parametrize("seed", range(30))
def test_of_a_hundred_patients_everybody_is_counted_once(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(150, 2000))
    label = (rng.random(n) < rng.uniform(0.002, 0.6)).astype(float)
    flagged = rng.random(n) < rng.uniform(0, 1)
    if not label.any():
        label[0] = 1
    test = {
        "n": n,
        "events": int(label.sum()),
        "alert_rate": {"value": float(flagged.mean())},
        "sensitivity": {"value": float(flagged[label == 1].mean())},
    }
    of = alarms(test)
    assert sum(of.counts.values()) == of.of
    assert min(of.counts.values()) >= 0
    assert abs(of.deaths - of.of * label.mean()) <= 0.5
    assert abs(of.alarms - of.of * flagged.mean()) <= 2
    assert abs(of.found - of.of * (label * flagged).mean()) <= 1
    picture = icon_array(of)
    assert picture.count("icon-quiet") == of.quiet
    assert picture.count("icon-found") == of.found
    assert f'aria-label="{said(of)}"' in picture


def test_alarms_of_nobody_are_undefined():
    assert alarms({"n": 0, "events": 0}) is None
    assert alarms({"n": 5, "events": 0, "alert_rate": cell(0.1), "sensitivity": cell(None)}) is None


def test_thirds_tell_said_and_died():
    rng = np.random.default_rng(0)
    risk = rng.uniform(0.1, 0.9, 900)
    label = (rng.random(900) < risk).astype(float)
    groups = thirds(label, risk)
    assert [g.said for g in groups] == sorted(g.said for g in groups)
    assert np.mean([g.died for g in groups]) == pytest.approx(label.mean())
    assert f"{100 * groups[2].died:.1f} % died" in drawing(groups)


def test_thirds_tell_nothing_of_a_handful():
    risk = np.linspace(0.01, 0.9, 90)
    label = np.zeros(90)
    label[[1, 40, 80]] = 1
    assert thirds(label, risk) == []
    assert drawing([]) == ""
    assert thirds(np.ones(2), np.ones(2)) == []
