"""What was measured when, against a count in plain Python."""

import math

import numpy as np
import pytest

from icu_lightning.description.measurement import measured


def test_counts_equal_those_of_plain_python(cohort, concepts):
    _, values = cohort
    table, block = measured(values, concepts)
    assert block == 1
    for v, row in enumerate(table):
        cells = [[not math.isnan(x) for x in stay[:, v]] for stay in values]
        assert row.concept is concepts[v]
        assert row.stays == sum(any(stay) for stay in cells)
        assert row.hours == sum(map(sum, cells))
        assert list(row.by_block) == [sum(hour) for hour in zip(*cells, strict=True)]


@pytest.mark.parametrize(("hours", "block", "columns"), [(48, 1, 48), (49, 2, 25), (96, 2, 48), (720, 15, 48)])
def test_a_long_window_is_told_in_blocks(hours, block, columns, concepts):
    values = np.full((4, hours, 3), np.nan, np.float32)
    values[0, -1, 0] = values[1, -1, 0] = values[1, -2, 0] = 80.0
    table, found = measured(values, concepts)
    assert found == block
    assert len(table[0].by_block) == columns
    assert table[0].by_block[-1] == 2, "a stay counts once a block"
    assert sum(table[1].by_block) == 0
