"""No number of the report tells of a handful of people, not even by a subtraction; whom it leaves out it names."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.report.folder import read
from icu_lightning.report.groups import columns, suppressed, told
from icu_lightning.report.participants import SMALLEST
from icu_lightning.report.write import pages
from tests.report.conftest import stays


def split(groups, least=50):
    """{name: (n, events)} as metrics.json has it."""
    scored, small = {}, {}
    for name, (n, events) in groups.items():
        (scored if n >= least and 0 < events < n else small)[name] = {"n": n, "events": events}
    return {"subgroups": {"unit_type": scored} if scored else {}, "too_small": {"unit_type": small} if small else {}}


@pytest.mark.parametrize("seed", range(40))
def test_nobody_is_found_by_subtraction(seed):
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.choice([1, 2, 3, 30, 60, 200, 500], rng.integers(1, 7))]
    test = split({f"g{i}": (n, int(rng.integers(0, n + 1))) for i, n in enumerate(sizes)})
    groups = suppressed("unit_type", test)
    assert len(groups.shown) + len(groups.hidden) == len(sizes)
    for metrics in groups.shown.values():
        assert metrics["n"] >= 50
        assert min(metrics["events"], metrics["n"] - metrics["events"]) >= SMALLEST
    assert not groups.shown or not 0 < groups.together[0] < SMALLEST


def test_the_hidden_are_named_the_smallest_first():
    groups = suppressed("unit_type", split({"MICU": (300, 40), "SICU": (20, 3), "CCU": (12, 0)}))
    assert (
        told(groups)
        == "By unit type, too few to be shown: CCU, SICU (together 32 stays, <5 deaths), the smallest of them CCU."
    )


def test_a_single_small_group_takes_the_next_with_it():
    groups = suppressed("unit_type", split({"MICU": (300, 40), "SICU": (80, 10), "CCU": (2, 1)}))
    assert list(groups.shown) == ["MICU"]
    assert list(groups.hidden) == ["CCU", "SICU"]


def test_that_something_is_not_known_tells_nothing_of_a_person():
    groups = suppressed("unit_type", split({"MICU": (300, 40), "SICU": (80, 10), "unknown": (2, 1)}))
    assert list(groups.shown) == ["MICU", "SICU"]
    assert told(groups) == "By unit type, too few to be shown: unknown."


def test_columns_are_those_that_are_scored_or_not():
    assert columns({"subgroups": {"sex": {}}, "too_small": {"sex": {}, "age": {}}}) == ["sex", "age"]
    assert columns({}) == []


def test_a_figure_of_groups_that_are_too_few_is_not_passed_on(make_run):
    test, nobody = pl.col("split") == "test", pl.col("unit_type") == "MICU"
    four = stays().filter(test & nobody & (pl.col("label") == 1))["stay_id"][:4]
    rare = stays().with_columns(
        label=pl.when(nobody & test).then(pl.col("stay_id").is_in(four.to_list()).cast(float)).otherwise("label")
    )
    shown, hidden = (
        pages(read(make_run(name, table=rows)))["report.html"] for name, rows in (("all", stays()), ("rare", rare))
    )
    assert "<h3>Subgroups</h3><img" in shown
    assert "<h3>Subgroups</h3><img" not in hidden
    assert "too few to be passed on" in hidden
    assert "By unit type, too few to be shown: " in hidden
