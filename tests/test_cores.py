"""How many calls a process's cores can take."""

import pytest

from icu_lightning import cores


@pytest.mark.parametrize(
    ("threads", "bound", "expected"),
    [(1, None, 8), (3, None, 2), (16, None, 1), (1, "2", 2), (2, "2", 1), (1, "64", 8), (1, "none", 8), (1, "0", 8)],
)
def test_calls_side_by_side_are_as_many_as_a_jobs_share_of_the_cores_can_take(threads, bound, expected, monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if bound is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", bound)
    assert cores.side_by_side(threads) == expected
