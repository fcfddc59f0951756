"""How many calls a process's cores can take."""

import pytest

from icu_lightning import cores


@pytest.mark.parametrize(("bound", "expected"), [(None, 8), ("2", 2), ("1", 1), ("64", 8), ("none", 8), ("0", 8)])
def test_calls_side_by_side_are_as_many_as_a_jobs_share_of_the_cores_can_take(bound, expected, monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if bound is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", bound)
    assert cores.side_by_side() == expected
