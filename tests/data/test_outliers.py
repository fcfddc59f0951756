"""The interquartile rule: bounds from training cells, a neighbour's value for what is outside, everything counted."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.outliers import Outliers, counted
from icu_lightning.errors import NotFittedError

NAN = np.nan


def series(*hours: float) -> np.ndarray:
    """(1, T, 1) one stay's hours of one variable."""
    return np.array(hours, dtype=np.float32)[None, :, None]


@pytest.fixture
def fitted() -> Outliers:
    """Quartiles of 1, ..., 5 are 2 and 4: bounds -1 and 7."""
    return Outliers("iqr").fit(series(1, 2, 3, 4, 5))


def random_values(seed: int = 0) -> np.ndarray:
    """(60, 24, 3) heavy-tailed, a third missing, a stay with a single value."""
    rng = np.random.default_rng(seed)
    values = rng.standard_t(2, (60, 24, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.33] = NAN
    values[0] = NAN
    values[0, 5] = 1e6
    return values


def test_bounds_by_hand_and_their_edges_are_no_outliers(fitted):
    assert (fitted.low.tolist(), fitted.high.tolist()) == ([-1.0], [7.0])
    edges = series(-1, 7, NAN)
    values, copied, replaced, removed = fitted.transform(edges)
    assert np.array_equal(values, edges, equal_nan=True)
    assert not copied.any()
    assert (replaced.tolist(), removed.tolist()) == ([0], [0])


@pytest.mark.parametrize(
    ("charted", "wanted"),
    [
        ([3, 99, NAN, 4], [3, 3, NAN, 4]),  # the hour before is nearer
        ([3, NAN, 99, 4], [3, NAN, 4, 4]),  # the hour after is nearer
        ([3, 99, 4], [3, 3, 4]),  # as near: the earlier
        ([99, -99, 4], [4, 4, 4]),  # never another outlier's value
        ([99, NAN, 99], [NAN, NAN, NAN]),  # no other value of this stay
        ([NAN, NAN, 3], [NAN, NAN, 3]),  # what was missing stays missing
    ],
)
def test_an_outlier_takes_the_value_of_the_nearest_valid_hour(charted, wanted, fitted):
    given = series(*charted)
    values, copied, replaced, removed = fitted.transform(given)
    assert np.array_equal(values, series(*wanted), equal_nan=True)
    assert np.array_equal(given, series(*charted), equal_nan=True), "the charted grid itself is left alone"
    outliers = sum(abs(x) == 99 for x in charted)
    gone = outliers if np.isnan(wanted).all() else 0
    assert copied.flatten().tolist() == [abs(x) == 99 and not gone for x in charted]
    assert (replaced.tolist(), removed.tolist()) == ([outliers - gone], [gone])


def test_every_replacement_was_observed_in_the_same_stay_and_variable_as_a_slow_loop_finds_it():
    given = random_values()
    outliers = Outliers("iqr").fit(given[10:])
    values, copied, replaced, removed = outliers.transform(given)
    changes = np.zeros((2, 3), dtype=int)
    for b, t, v in np.argwhere((given < outliers.low) | (given > outliers.high)):
        of_stay = given[b, :, v]
        valid = [h for h in range(24) if outliers.low[v] <= of_stay[h] <= outliers.high[v]]
        if valid:
            nearest = min(valid, key=lambda h: (abs(h - t), h))
            assert values[b, t, v] == of_stay[nearest]
        else:
            assert np.isnan(values[b, t, v])
        changes[0 if valid else 1, v] += 1
    assert (replaced.tolist(), removed.tolist()) == (changes[0].tolist(), changes[1].tolist())
    assert copied.sum((0, 1)).tolist() == changes[0].tolist()
    assert changes[0].min() > 0
    assert changes[1].tolist() == [1, 1, 1], "the stay with one value"
    inside = (given >= outliers.low) & (given <= outliers.high)
    assert np.array_equal(values[inside], given[inside])
    assert np.isnan(values[np.isnan(given)]).all()


def test_doing_it_twice_changes_nothing_more():
    once = Outliers("iqr").fit(random_values()).transform(random_values()).values
    again = Outliers("iqr").fit(random_values()).transform(once)
    assert np.array_equal(once, again.values, equal_nan=True)
    assert again.replaced.sum() == again.removed.sum() == 0


def test_equal_quartiles_or_no_value_give_no_bounds():
    """A ventilator that is on or off, a constant, and a variable that no training stay has."""
    on_off = np.array([1, 1, 1, 1, 1, 1, 1, 0], dtype=np.float32)
    train = np.stack([on_off, np.full(8, 3.0, np.float32), np.full(8, NAN, np.float32)], axis=1)[None]
    outliers = Outliers("iqr").fit(train)
    assert outliers.low.tolist() == [-np.inf] * 3
    assert np.array_equal(outliers.transform(train).values, train, equal_nan=True)
    other = np.full((1, 1, 3), 50.0, np.float32)
    assert np.array_equal(outliers.transform(other).values, other)


def test_plausible_ranges_alone_are_the_identity():
    outliers = Outliers("range").fit(random_values())
    values, copied, replaced, removed = outliers.transform(random_values())
    assert np.array_equal(values, random_values(), equal_nan=True)
    assert copied.sum() == replaced.sum() == removed.sum() == 0


@pytest.mark.parametrize("rule", ["range", "iqr"])
def test_unfitted_bounds_are_refused(rule):
    with pytest.raises(NotFittedError):
        Outliers(rule).transform(random_values())
    with pytest.raises(NotFittedError):
        Outliers(rule).state()


def test_counts_go_to_their_variables_rows_and_no_others():
    cleaning = pl.DataFrame(
        {"variable": ["sbp", "map", "unreadable"], "cells": [10, 20, 0], "latest_hours": [23.0, 22.0, None]}
    )
    repaired = Outliers("iqr").fit(series(1, 2, 3, 4, 5)).transform(np.concatenate([series(3, 99), series(99, 99)]))
    assert counted(cleaning, ["map"], repaired).rows(named=True) == [
        {"variable": "sbp", "outlier_replaced": 0, "outlier_removed": 0, "cells": 10, "latest_hours": 23.0},
        {"variable": "map", "outlier_replaced": 1, "outlier_removed": 2, "cells": 18, "latest_hours": 22.0},
        {"variable": "unreadable", "outlier_replaced": 0, "outlier_removed": 0, "cells": 0, "latest_hours": None},
    ]
