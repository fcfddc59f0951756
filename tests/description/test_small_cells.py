"""No hidden count follows from a row's or a column's sum by one subtraction."""

import numpy as np
import pytest

from icu_lightning.description.small_cells import hidden_rows, is_small, together


@pytest.mark.parametrize("seed", range(40))
def test_small_cells_are_hidden_and_never_alone(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 14, (rng.integers(2, 7), 2))
    hidden = hidden_rows(counts, [True] * len(counts), smallest=5)
    assert all(hidden[level] for level, row in enumerate(counts) if any(is_small(int(n), 5) for n in row))
    assert hidden.sum() != 1, "the only hidden row of a column is its sum less the others"


def test_what_is_not_sensitive_is_hidden_only_to_protect():
    counts = np.array([[40, 3], [5, 2]])
    assert hidden_rows(counts, [True, False], 5).tolist() == [True, True]
    assert hidden_rows(np.array([[40, 30], [5, 2]]), [True, False], 5).tolist() == [False, False]
    assert hidden_rows(np.array([[40, 3], [60, 10], [5, 2]]), [True, True, False], 5).tolist() == [True, True, False]


def test_nothing_is_hidden_where_everything_may_be_shown():
    assert not hidden_rows(np.array([[1, 1], [2, 1]]), [True, True], 1).any()


@pytest.mark.parametrize("seed", range(40))
def test_levels_keep_every_name_once_and_are_large_enough(seed):
    rng = np.random.default_rng(seed)
    totals = {f"c{i}": int(n) for i, n in enumerate(rng.integers(1, 12, rng.integers(1, 15)))}
    levels = together(totals, smallest=5, most=6)
    assert sorted(name for level in levels for name in level) == sorted(totals)
    sizes = [sum(totals[name] for name in level) for level in levels]
    assert min(sizes) >= 5 or len(levels) == 1
    assert len(levels) <= 7
