"""Which stays are shown, and that what is shown of them is true."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.examination.cases import KINDS, cases, chosen, usual_ranges


@pytest.fixture
def test_split():
    """Twelve stays: three flagged deaths, no missed one, four false alarms, five others."""
    kinds = [(1, 1)] * 3 + [(1, 0)] * 4 + [(0, 0)] * 5
    return pl.DataFrame(
        {"risk": [0.5 if f else 0.1 for f, _ in kinds], "threshold": [0.5] * 12, "label": [float(d) for _, d in kinds]}
    )


def kinds_of(table, positions):
    return [(row["risk"] >= row["threshold"], row["label"] == 1) for row in table[positions].to_dicts()]


def test_one_of_each_kind_in_turn_and_a_missing_kind_is_passed_over(test_split):
    there = [kind for kind in KINDS if kind != (False, True)]
    assert kinds_of(test_split, chosen(test_split, 3, 0)) == there
    assert kinds_of(test_split, chosen(test_split, 5, 0)) == [*there, *there[:2]]
    everyone = chosen(test_split, 100, 0)
    assert sorted(everyone) == list(range(12))
    assert chosen(test_split, 0, 0).size == 0


def test_drawn_by_lot_and_the_lot_by_the_seed(test_split):
    assert chosen(test_split, 6, 1).tolist() == chosen(test_split, 6, 1).tolist()
    assert len({tuple(chosen(test_split, 6, seed)) for seed in range(20)}) > 10


def test_the_risk_over_time_ends_in_the_prediction(it):
    positions = np.array([7, 2, 30])
    for case, position in zip(cases(it, positions), positions, strict=True):
        row = it.test.row(int(position), named=True)
        assert case.facts["stay_id"] == case.prediction["stay_id"] == row["stay_id"]
        assert case.risk.shape == (24,)
        assert case.risk[-1] == pytest.approx(row["risk"], abs=1e-12)  # other stays in the batch: other sums
        assert case.kind == (row["risk"] >= row["threshold"], row["label"] == 1)
        reached = np.flatnonzero(case.risk >= row["threshold"])
        assert case.first_flagged == (reached[0] + 1 if reached.size else None)
        assert case.spread is None
        assert case.imputed is None
    assert cases(it, []) == []


def test_a_stays_risk_at_an_hour_is_that_of_everybody_at_it(it):
    (case,) = cases(it, [4])
    for hours in (1, 9, 24):
        assert case.risk[hours - 1] == pytest.approx(it.risk_at(hours)[4], abs=1e-12)


def test_values_are_those_of_the_grid_and_drugs_are_in_their_units(it):
    (case,) = cases(it, [4])
    row = int(np.flatnonzero(it.rows().to_numpy())[4])
    assert np.array_equal(case.values, it.data.values[row].astype(float), equal_nan=True)
    assert np.allclose(case.treatments[:, :-1], it.data.extract.rates[row], atol=1e-6)
    assert case.treatments.shape[1] == len(it.data.vis_names)


def test_draws_have_a_spread_and_gaps_are_filled_in_clinical_units(imputing):
    (case,) = cases(imputing, [4])
    assert (case.spread.low <= case.spread.high).all()
    assert (case.spread.low < case.spread.high).any()
    mean, sd = imputing.data.scaler.mean, imputing.data.scaler.sd
    missing = ~np.isfinite(case.values)
    assert missing.any()
    for part, z in ((case.imputed.low, -0.9), (case.imputed.middle, 0.0), (case.imputed.high, 0.9)):
        assert np.allclose(part[missing], np.broadcast_to(mean + z * sd, part.shape)[missing], rtol=1e-5)
        assert np.allclose(part[~missing], case.values[~missing], rtol=1e-4), "what was measured stays"


def test_nine_in_ten_training_values_are_usual(it):
    low, high = usual_ranges(it)
    training = it.data.values[(it.data.stays["split"] == "train").to_numpy()]
    inside = ((training >= low) & (training <= high)).sum((0, 1)) / np.isfinite(training).sum((0, 1))
    assert (np.abs(inside - 0.9) < 0.06).all()
