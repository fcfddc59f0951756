"""Patient bootstrap: by patient, reproducible, with the width that theory gives."""

import numpy as np
import pytest

from icu_lightning.evaluation.bootstrap import patient_weights, percentile_interval, with_intervals


def all_weights(patients, n=200, seed=0):
    return np.concatenate(list(patient_weights(np.asarray(patients), n, seed)))


def test_stays_of_a_patient_are_drawn_together():
    patients = np.array(["b", "a", "b", "c", "a", "b"])
    weights = all_weights(patients)
    assert weights.shape == (200, 6)
    for patient in "ab":
        of_patient = weights[:, patients == patient]
        assert (of_patient == of_patient[:, :1]).all()
    assert (weights[:, [1, 0, 3]].sum(1) == 3).all(), "as many patients are drawn as there are"


def test_it_follows_from_the_seed_and_not_from_the_chunks(monkeypatch):
    patients = np.arange(50)
    whole = all_weights(patients)
    assert np.array_equal(whole, all_weights(patients))
    assert not np.array_equal(whole, all_weights(patients, seed=1))
    monkeypatch.setattr("icu_lightning.evaluation.bootstrap.CELLS", 350)
    assert np.array_equal(whole, all_weights(patients))


def test_the_interval_of_a_mean_is_that_of_theory():
    x = np.random.default_rng(0).normal(size=400)

    def metric(weight):
        return {"mean": weight @ x / weight.sum(-1)}

    cell = with_intervals(metric, np.arange(400), 4000, 0)["mean"]
    assert cell["value"] == pytest.approx(x.mean())
    assert (cell["high"] - cell["low"]) / 2 == pytest.approx(1.96 * x.std() / 20, rel=0.06)


def test_several_stays_a_patient_widen_it():
    x = np.repeat(np.random.default_rng(0).normal(size=100), 4)

    def metric(weight):
        return {"mean": weight @ x / weight.sum(-1)}

    wide, narrow = (
        with_intervals(metric, ids, 2000, 0)["mean"] for ids in (np.repeat(np.arange(100), 4), np.arange(400))
    )
    assert wide["high"] - wide["low"] > 1.7 * (narrow["high"] - narrow["low"])


def test_undefined_replicates_are_left_out_and_nothing_defined_is_none():
    assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    cell = with_intervals(lambda weight: {"m": np.full(weight.shape[:-1], np.nan)}, np.arange(5), 10, 0)["m"]
    assert cell == {"value": None, "low": None, "high": None}


def test_a_curve_has_an_interval_at_every_point_and_may_be_undefined_at_some():
    x = np.random.default_rng(0).normal(size=(50, 3))

    def metric(weight):
        means = weight @ x / weight.sum(-1, keepdims=True)
        return {"curve": np.where(np.arange(3) == 1, np.nan, means), "first": means[..., 0]}

    cells = with_intervals(metric, np.arange(50), 40, 0)
    assert cells["curve"]["value"] == [pytest.approx(x[:, 0].mean()), None, pytest.approx(x[:, 2].mean())]
    assert [cells["curve"][side][0] for side in ("low", "high")] == [cells["first"][side] for side in ("low", "high")]
    assert cells["curve"]["low"][1] is cells["curve"]["high"][1] is None
    alone = with_intervals(metric, np.arange(50), 0, 0)
    assert alone["curve"]["low"] == [None] * 3
    assert alone["first"] == {"value": pytest.approx(x[:, 0].mean()), "low": None, "high": None}


def test_of_nobody_there_is_no_resample():
    assert not list(patient_weights(np.array([], dtype=str), 10, 0))
    cells = with_intervals(lambda weight: {"deaths": np.nan}, np.array([], dtype=str), 10, 0)
    assert cells == {"deaths": {"value": None, "low": None, "high": None}}
