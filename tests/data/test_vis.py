"""The score and the hourly rates behind it: METHODS' vectors, laws, and equality with a loop over every piece of every hour."""

import math
from fractions import Fraction

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.infusions import KNOWN, RAN, STATUSES
from icu_lightning.data.vis import HOURLY, RESOLUTION, hourly_cells, hourly_rates, vis

SIX = vis_drugs()
NAMES = [drug.name for drug in SIX]
NAN = float("nan")


def rates_of(hours=4, how="mean", stays=(1,), **infusions):
    """(B, T, D) of drug=[(start, end, rate), ...] of stay 1."""
    rows = [(1, drug, *interval) for drug, intervals in infusions.items() for interval in intervals]
    return hourly_rates(frame(rows), SIX, pl.Series(list(stays)), hours, how)


def frame(rows):
    """(stay, drug, start, end, rate or None[, status]) -> as `clean_infusions` gives it."""
    full = [(*row, "unknown_unit" if row[4] is None else "kept") if len(row) == 5 else row for row in rows]
    schema = {"stay_id": pl.Int64, "drug": pl.String, "start_hours": pl.Float64, "end_hours": pl.Float64}
    return pl.DataFrame(full, schema=schema | {"rate": pl.Float64, "status": pl.Enum(STATUSES)}, orient="row")


def hours_of(drug, **arguments):
    return rates_of(**arguments)[0, :, NAMES.index(drug)].tolist()


@pytest.mark.parametrize(
    ("rates", "score"),
    [
        ({"dopamine": 5, "epinephrine": 0.1, "milrinone": 0.5, "vasopressin": 0.0003, "norepinephrine": 0.1}, 33),
        ({"vasopressin": 2.4 / 60 / 80}, 5),  # 2.4 U/h at 80 kg
        ({}, 0),
        ({"norepinephrine": 8 / 80}, 10),  # 8 ug/min at 80 kg
        ({"dobutamine": 7}, 7),
        ({"dopamine": 50, "dobutamine": 50, "epinephrine": 1.5, "norepinephrine": 3}, 550),  # no cap
    ],
)
def test_vectors_of_methods(rates, score):
    assert vis(np.array([rates.get(name, 0.0) for name in NAMES]), SIX) == pytest.approx(score, abs=1e-9)


def test_phenylephrine_counts_only_in_the_extension():
    assert vis(np.array([0, 0, 0, 0, 0, 0, 2.0]), vis_drugs(extended=True)) == 20


def test_an_unknown_rate_makes_the_score_unknown():
    assert np.isnan(vis(np.array([5, 0, NAN, 0, 0, 0]), SIX))


def test_the_mean_is_time_weighted_and_a_part_of_an_hour_counts_as_a_part():
    assert hours_of("dopamine", dopamine=[(0.25, 1.5, 8.0)]) == [6.0, 4.0, 0.0, 0.0]
    assert hours_of("dopamine", dopamine=[(0.0, 0.5, 4.0), (0.5, 0.75, 8.0)]) == [4.0, 0.0, 0.0, 0.0]
    minute = hours_of("milrinone", milrinone=[(2 + 1 / 60, 2 + 2 / 60, 0.6)])
    assert minute == [0, 0, pytest.approx(0.01, rel=1e-9), 0]


def test_whole_hours_end_where_the_next_begins():
    for how in HOURLY:
        assert hours_of("dopamine", how=how, dopamine=[(1.0, 3.0, 5.0)]) == [0.0, 5.0, 5.0, 0.0]


def test_max_and_last():
    steps = [(0.0, 0.1, 9.0), (0.1, 1.0, 3.0), (1.2, 1.9, 7.0), (2.5, 4.0, 2.0)]
    assert hours_of("dopamine", how="max", dopamine=steps) == [9.0, 7.0, 2.0, 2.0]
    assert hours_of("dopamine", how="last", dopamine=steps) == [3.0, 0.0, 2.0, 2.0]


def test_overlaps_add_up_and_for_max_only_where_they_meet():
    two = [(0.0, 0.5, 4.0), (0.25, 1.0, 2.0)]
    assert hours_of("dopamine", dopamine=two)[0] == 4 * 0.5 + 2 * 0.75
    assert hours_of("dopamine", how="max", dopamine=two)[0] == 6.0
    assert hours_of("dopamine", how="max", dopamine=[(0.0, 0.5, 4.0), (0.5, 1.0, 2.0)])[0] == 4.0
    assert hours_of("dopamine", how="last", dopamine=[*two, (0.9, 2.0, 1.0)])[:2] == [3.0, 1.0]
    assert hours_of("dopamine", how="max", dopamine=[(0.0, 1.0, 4.0)] * 2)[0] == 8.0, "two orders of one rate"


def test_drugs_and_stays_are_apart():
    rows = [(1, "dopamine", 0.0, 1.0, 5.0), (2, "dopamine", 0.0, 1.0, 7.0), (2, "vasopressin", 0.0, 2.0, 0.0003)]
    got = hourly_rates(frame(rows), SIX, pl.Series([2, 3, 1]), 2)
    assert got[:, 0, 0].tolist() == [7.0, 0.0, 5.0]
    assert got[0, 1, NAMES.index("vasopressin")] == pytest.approx(0.0003, rel=1e-8)
    assert got.sum() == pytest.approx(12 + 2 * 0.0003)


@pytest.mark.parametrize("status", [name for name in RAN if name not in KNOWN])
@pytest.mark.parametrize("how", HOURLY)
def test_an_unknown_rate_makes_its_hours_unknown_never_zero(how, status):
    rows = [(1, "dopamine", 0.5, 2.5, None, status), (1, "dopamine", 0.0, 4.0, 5.0, "kept")]
    got = hourly_rates(frame(rows), SIX, pl.Series([1]), 4, how)[0]
    last = 5.0 if how == "last" else NAN
    assert np.array_equal(got[:, 0], [NAN, NAN, last, 5.0], equal_nan=True)
    assert (got[:, 1:] == 0).all(), "of the other drugs nothing ran"


@pytest.mark.parametrize("status", [name for name in STATUSES if name not in RAN])
def test_what_did_not_run_is_not_there(status):
    rows = [(1, "dopamine", 0.5, 2.5, None, status)]
    assert (hourly_rates(frame(rows), SIX, pl.Series([1]), 4) == 0).all()


def test_no_time_is_no_infusion():
    for how in HOURLY:
        rows = [(1, "dopamine", 1.0, 1.0, 5.0), (1, "dopamine", 1.5, 1.5, None), (1, "milrinone", 0.0, 0.0, None)]
        assert (hourly_rates(frame(rows), SIX, pl.Series([1]), 4, how) == 0).all()
    assert (hourly_rates(frame([]), SIX, pl.Series([1]), 4) == 0).all()


def test_an_hour_of_zero_is_zero_and_listed():
    assert hourly_cells(frame([(1, "dopamine", 0.0, 1.0, 0.0)])).rows() == [(1, "dopamine", 0, 0.0)]


def random_rows(seed, stays=8, n=600, hours=12):
    """Infusions on a grid of minutes, many of them touching, nested or unknown."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        start = int(rng.integers(0, hours * 60))
        end = min(start + int(rng.choice([0, 1, 7, 30, 60, 61, 200])), hours * 60)
        rate = None if rng.random() < 0.05 else float(rng.choice([0.0, 0.013, 0.1, 1 / 3, 5.5]))
        rows.append((int(rng.integers(1, stays + 1)), str(rng.choice(NAMES[:3])), start / 60, end / 60, rate))
    return rows


def slow_rates(rows, stays, hours, how):
    """The same by a loop over stays, drugs, hours and the moments at which something changes; exact fractions."""
    got = np.zeros((len(stays), hours, len(NAMES)))
    for b, stay in enumerate(stays):
        for d, name in enumerate(NAMES):
            own = [(Fraction(s), Fraction(e), r) for i, n, s, e, r in rows if (i, n) == (stay, name) and e > s]
            for hour in range(hours):
                inside = [(max(s, hour), min(e, hour + 1), r) for s, e, r in own if s < hour + 1 and e > hour]
                got[b, hour, d] = slow_hour(inside, hour, how)
    return got


def slow_hour(pieces, hour, how):
    if not pieces:
        return 0.0
    if how == "last":
        pieces = [piece for piece in pieces if piece[1] == hour + 1]
    if any(rate is None for *_, rate in pieces):
        return NAN
    if how == "mean":
        return math.fsum(round(rate * float(e - s) * RESOLUTION) for s, e, rate in pieces) / RESOLUTION
    if how == "last":
        return math.fsum(round(rate * RESOLUTION) for *_, rate in pieces) / RESOLUTION
    moments = sorted({s for s, *_ in pieces})
    return max(math.fsum(round(r * RESOLUTION) for s, e, r in pieces if s <= m < e) / RESOLUTION for m in moments)


@pytest.mark.parametrize("how", HOURLY)
@pytest.mark.parametrize("seed", range(3))
def test_hours_equal_those_of_a_slow_loop(how, seed):
    rows, stays = random_rows(seed), [3, 1, 2, 8, 99, 5, 4, 6, 7]
    fast = hourly_rates(frame(rows), SIX, pl.Series(stays), 12, how)
    slow = slow_rates(rows, stays, 12, how)
    assert np.isnan(slow).sum() > 10
    assert (slow > 0).sum() > 50
    assert np.array_equal(np.isnan(fast), np.isnan(slow))
    assert np.array_equal(fast == 0, slow == 0)
    # The length of a piece is a difference of floats there and of fractions here; polars divides by a reciprocal
    assert np.allclose(fast, slow, rtol=1e-14, atol=1e-11 if how == "mean" else 0, equal_nan=True)


@pytest.mark.parametrize("how", HOURLY)
def test_the_order_of_rows_changes_not_one_bit(how):
    rows, stays = random_rows(7), pl.Series(range(1, 9))
    first = hourly_rates(frame(rows), SIX, stays, 12, how)
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert np.array_equal(first, hourly_rates(frame(shuffled), SIX, stays, 12, how), equal_nan=True)


def test_an_infusion_cut_in_two_is_the_same():
    whole, halves = [(0.2, 3.7, 4.4)], [(0.2, 1.1, 4.4), (1.1, 3.7, 4.4)]
    for how in HOURLY:
        one, two = (hours_of("dopamine", how=how, dopamine=intervals) for intervals in (whole, halves))
        assert one == pytest.approx(two, abs=1e-11)
