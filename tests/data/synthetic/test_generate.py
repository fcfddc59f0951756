"""Laws of the generator: the same seed is the same stays, whoever makes them and however many follow; and what is refused."""

import numpy as np
import pytest

from icu_lightning.data.synthetic import generate, mortality
from icu_lightning.data.synthetic.generate import PATIENTS, Block, in_blocks, simulated
from icu_lightning.data.synthetic.people import visits_of
from icu_lightning.data.synthetic.physiology import body_of
from icu_lightning.data.synthetic.settings import FEATURES, settings_of
from icu_lightning.data.synthetic.streams import PURPOSES, Streams
from icu_lightning.errors import UserError
from tests.conftest import generator_conf
from tests.data.synthetic.conftest import configured, same


def test_the_same_seed_is_the_same_stays_and_another_seed_others(population):
    settings = configured("icu")
    one = simulated(settings, 7, np.arange(40))
    assert same(one, simulated(settings, 7, np.arange(40)))
    assert not np.array_equal(one.visits.start, simulated(settings, 8, np.arange(40)).visits.start[: len(one)])


def test_more_patients_do_not_change_the_earlier_ones():
    settings = configured("icu")
    few, many = simulated(settings, 7, np.arange(40)), simulated(settings, 7, np.arange(90))
    assert same(few, many.first(len(few)))


def test_patients_made_alone_are_those_made_together():
    settings = configured("icu")
    together = simulated(settings, 7, np.arange(30))
    alone = simulated(settings, 7, np.array([17]))
    rows = together.visits.patient == 17
    assert np.array_equal(together.values[rows], alone.values, equal_nan=True)
    assert together.truth.filter(rows).equals(alone.truth)


@pytest.mark.parametrize("stays", [10, PATIENTS + 77, 2 * PATIENTS + 300])
def test_blocks_hold_exactly_the_stays_asked_for_on_any_number_of_workers(stays):
    settings = configured("icu")
    made = {}
    for workers in (1, 3):
        blocks = list(in_blocks(settings, 2, stays, lambda block: block, workers))
        assert sum(n for n, _ in blocks) == stays == sum(len(block) for _, block in blocks)
        made[workers] = np.concatenate([block.values for _, block in blocks])
    assert np.array_equal(made[1], made[3], equal_nan=True)


def test_an_error_of_a_worker_reaches_the_caller():
    def fail(block: Block) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        list(in_blocks(configured("icu"), 2, 1200, fail, 2))


def test_purposes_and_visits_have_streams_of_their_own():
    patients = np.arange(50)
    draws = [Streams(1, patients, visit).normal(purpose, 40).ravel() for purpose in PURPOSES[:4] for visit in (0, 1)]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 0.1
    assert len(set(PURPOSES)) == len(PURPOSES)


def test_nobody_comes_after_death_and_no_visits_overlap(population):
    block = population("icu", n=2500)
    visits, ended = block.visits, block.truth["died"].to_numpy() | block.died
    later = np.flatnonzero(visits.visit > 0)
    assert len(later) > 100
    assert (visits.patient[later] == visits.patient[later - 1]).all()
    assert not ended[later - 1].any()
    assert (visits.start[later] > (visits.start + block.left)[later - 1]).all()
    assert (block.left >= visits.length).all()


def test_nothing_is_charted_or_infused_after_leaving_the_unit(population):
    block = population("icu", n=2500)
    length = block.visits.length[:, None]
    bedside = np.isfinite(block.values).any(2)
    assert not (bedside & (block.bedside >= length) & (block.laboratory >= length)).any()
    assert (block.infusions["end"].to_numpy() <= block.visits.length[block.infusions["row"].to_numpy()]).all()


def test_most_deaths_are_in_the_unit_and_with_label_noise_some_are_written_down_late(population):
    blocks = [population(n=2500, label_noise=noise) for noise in (False, True)]
    for block in blocks:
        assert not block.died_in_unit[~block.died].any()
        assert (block.left == block.visits.length)[block.died_in_unit].all()
        assert (block.left >= block.visits.length + 60)[~block.died_in_unit].all()
    exact, late = (
        {(p, v): i for i, (p, v) in enumerate(zip(b.visits.patient, b.visits.visit, strict=True))} for b in blocks
    )
    dead = [
        (exact[k], late[k]) for k in exact.keys() & late.keys() if blocks[0].died[exact[k]] and blocks[1].died[late[k]]
    ]
    at, after = np.array(dead).T
    assert blocks[0].died_in_unit[at].mean() == pytest.approx(0.70, abs=0.06)
    delay = blocks[1].left[after] - blocks[0].left[at]
    assert (delay > 0).mean() == pytest.approx(0.15, abs=0.065)  # of some 530: 4 SE
    assert ((delay[delay > 0] >= 2 * 60 - 1) & (delay[delay > 0] <= 24 * 60 + 1)).all()
    assert np.array_equal(blocks[1].died_in_unit[after], blocks[0].died_in_unit[at] & (delay == 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prevalence": 0}, r"generator.prevalence must be a number above 0 and below 1; it is 0"),
        ({"prevalence": 1.0}, r"generator.prevalence must be"),
        ({"dropout": -0.1}, r"generator.dropout must be a number from 0 to 1"),
        ({"artifacts": "many"}, r"generator.artifacts must be"),
        ({"flipped": [0.1]}, r"generator.flipped must be a list of 2 numbers"),
        ({"flipped": [0.1, -0.2]}, r"generator.flipped must be a number from 0 to 1"),
        ({"mechanisms": [0.5, 0.5, 0.5]}, r"generator.mechanisms .* must sum to 1"),
        ({"censored": [0.5, 0.5, 0.5]}, r"must not sum to more than 1"),
        ({"hours": 24}, r"generator.hours must be a whole number of at least 48"),
        ({"hospitals": 0}, r"generator.hospitals must be"),
        ({"physiology_weight": -1}, r"generator.physiology_weight must be 0 or more"),
        (
            {"physiology_weight": float("nan")},
            r"generator.physiology_weight must be a finite number, 0 or more; it is nan",
        ),
        (
            {"physiology_weight": float("inf")},
            r"generator.physiology_weight must be a finite number, 0 or more; it is inf",
        ),
        ({"dropout": float("nan")}, r"generator.dropout must be a number from 0 to 1; it is nan"),
        ({"correlated": [["heart_rate", "sbp", 0.2, float("nan")]]}, r"cannot have r = 0.2 with an SD of nan"),
        ({"correlated": [["heart_rate", "sbp", 1.2, 0]]}, r"cannot have r = 1.2"),
        ({"correlated": [["heart_rate", "hr", 0.2, 0]]}, r"Unknown variable in generator.correlated 'hr'"),
        ({"correlated": [["heart_rate", "sbp"]]}, r"this is not"),
        (
            {
                "correlations": True,
                "correlated": [
                    ["heart_rate", "sbp", 0.99, 0],
                    ["heart_rate", "dbp", 0.99, 0],
                    ["sbp", "dbp", -0.99, 0],
                ],
            },
            r"generator.correlated is not positive definite",
        ),
        ({"sleep": "yes"}, r"generator.features.sleep must be true or false"),
    ],
)
def test_impossible_settings_are_refused_by_name(changes, message):
    with pytest.raises(UserError, match=message):
        configured("plain", **changes)


def test_unknown_and_missing_settings_are_refused():
    conf = generator_conf()
    with pytest.raises(UserError, match=r"Unknown setting 'generator.prevalance'. Did you mean 'generator.prevalence'"):
        settings_of(conf | {"prevalance": 0.1})
    with pytest.raises(UserError, match=r"Unknown feature in generator.features 'slep'. Did you mean 'sleep'"):
        settings_of(conf | {"features": conf["features"] | {"slep": True}})
    with pytest.raises(UserError, match=r"generator.dropout is missing"):
        settings_of({name: value for name, value in conf.items() if name != "dropout"})


def test_plain_switches_every_feature_off_and_icu_on_and_they_differ_in_nothing_else():
    plain, icu = generator_conf("plain"), generator_conf("icu")
    assert plain["features"] == dict.fromkeys(FEATURES, False)
    assert icu["features"] == dict.fromkeys(FEATURES, True)
    assert plain | {"features": None} == icu | {"features": None}


def test_an_intercept_of_few_patients_is_not_taken_for_that_of_all(monkeypatch):
    settings = configured("plain", mortality=True)
    exact = generate.intercept(settings)
    monkeypatch.setattr(generate, "REFERENCE", 300)
    assert generate.intercept(settings) != exact
    monkeypatch.undo()
    assert generate.intercept(settings) == exact


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prevalence": 0.99}, r"generator.prevalence=0.99 cannot be reached: .* 0.1% to 95.0% of stays"),
        ({"prevalence": 0.0005}, r"generator.prevalence=0.0005 cannot be reached"),
        ({"label_noise": True, "prevalence": 0.005}, r"prevalence=0.005 cannot be reached: .* 1.7% to"),
        ({"label_noise": True, "censored": [0.6, 0.3, 0.1]}, r"cannot be reached: .* 0.0% to 0.0% of stays"),
    ],
)
def test_a_prevalence_that_label_noise_and_the_limits_of_a_risk_rule_out_is_refused(changes, message, monkeypatch):
    monkeypatch.setattr(generate, "REFERENCE", 300)
    with pytest.raises(UserError, match=message):
        generate.intercept(configured("plain", mortality=True, **changes))


@pytest.mark.parametrize("prevalence", [0.05, 0.208, 0.6])
def test_the_expected_share_of_recorded_deaths_is_the_prevalence(prevalence):
    """Of the reference population itself, to the last digit that bisection gives."""
    settings = configured("icu", prevalence=prevalence)
    visits = visits_of(settings, "reference", np.arange(300))
    logit = mortality.logits(settings, "reference", visits, body_of(settings, "reference", visits))
    solved = mortality.solved_intercept(settings, logit, visits.visit == 0)
    u, risk = np.random.default_rng(0).random((4000, len(logit))), mortality.risk_of(logit, solved)
    came = np.ones(4000, dtype=bool)
    deaths = stays = 0.0
    chance, again = mortality.recorded_risk(settings, risk), mortality.comes_again(settings, risk)
    for i, first in enumerate(visits.visit == 0):
        came = np.ones(4000, dtype=bool) if first else came & (u[:, i - 1] < again[i - 1])
        deaths, stays = deaths + came.sum() * chance[i], stays + came.sum()
    assert deaths / stays == pytest.approx(prevalence, abs=0.001)


@pytest.mark.slow
def test_at_full_size_mortality_is_that_of_the_configuration():
    """24,327 stays: 20.8 +- 0.5 % recorded deaths (METHODS A.5)."""
    recorded = [block.died for _, block in in_blocks(configured("icu"), 1, 24_327, lambda block: block)]
    assert np.concatenate(recorded).mean() == pytest.approx(0.208, abs=0.005)
