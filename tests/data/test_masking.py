"""Held-out cells: measured ones, at the rate, in the pattern, the same for everybody."""

import dataclasses

import pytest
import torch

from icu_lightning.batch import hide
from icu_lightning.data.masking import held_out_cells, shown
from icu_lightning.data.patterns import BLOCK_HOURS, PATTERNS
from icu_lightning.errors import UserError


@pytest.fixture(scope="module")
def batch(synthetic_data):
    return synthetic_data(400).train


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_only_measured_cells_are_hidden_and_at_the_rate(batch, pattern, rate):
    cells = held_out_cells(batch, pattern, rate, seed=0)
    assert not (cells & ~batch.observed).any()
    wanted = (rate * batch.observed.sum((1, 2))).round()
    excess = cells.sum((1, 2)) - wanted
    group = {
        "mcar": 0,
        "mnar": 0,
        "hour": batch.values.shape[2],
        "variable": batch.values.shape[1],
        "block": BLOCK_HOURS,
    }[pattern]
    assert ((excess >= 0) & (excess <= group)).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_stays_cells_depend_on_nothing_but_seed_pattern_rate_and_stay(batch, pattern):
    whole = held_out_cells(batch, pattern, 0.3, seed=1)
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(0))[:50]
    assert torch.equal(held_out_cells(batch[order], pattern, 0.3, seed=1), whole[order])
    assert not torch.equal(held_out_cells(batch, pattern, 0.3, seed=2), whole)
    at_half = held_out_cells(batch, pattern, 0.5, seed=1)
    assert (whole & ~at_half).any(), "another rate is another draw, not more of the same cells"


def test_patterns_hide_what_they_say(batch):
    hours = held_out_cells(batch, "hour", 0.3, 0)
    assert ((hours.any(2, keepdim=True) & batch.observed) == hours).all()
    variables = held_out_cells(batch, "variable", 0.3, 0)
    assert ((variables.any(1, keepdim=True) & batch.observed) == variables).all()
    mcar, block = (held_out_cells(batch, pattern, 0.3, 0) for pattern in ("mcar", "block"))
    together = [float((cells[:, 1:] & cells[:, :-1]).sum() / cells.sum()) for cells in (mcar, block)]
    assert together[1] > 1.5 * together[0], "blocks hide neighbouring hours"


def test_value_dependent_cells_are_the_extreme_ones(batch):
    """For normal z, cells drawn in proportion to exp(|z|) have mean |z| 1.29, those drawn evenly .80: 1.61 times as much."""
    z = torch.randn(batch.values.shape, generator=torch.Generator().manual_seed(0))
    normal = dataclasses.replace(batch, values=z, observed=torch.ones_like(batch.observed))
    mean = {p: float(z[held_out_cells(normal, p, 0.02, 0)].abs().mean()) for p in ("mcar", "mnar")}
    assert mean["mcar"] == pytest.approx(0.80, rel=0.06)
    assert mean["mnar"] / mean["mcar"] == pytest.approx(1.61, rel=0.08)


def test_hidden_cells_are_as_if_never_measured(batch):
    cells = held_out_cells(batch, "mcar", 0.4, 0)
    seen = shown(batch, "mcar", 0.4, 0)
    assert torch.equal(seen.held_out, cells)
    assert not (seen.observed & cells).any()
    assert (seen.values[~seen.observed] == 0).all()
    assert torch.equal(seen.values[seen.observed], batch.values[seen.observed])
    assert torch.equal(seen.hours_since == 0, seen.observed)
    changed = batch.values + cells * 9.0  # the truth, perturbed
    again = hide(dataclasses.replace(batch, values=changed), cells)
    assert torch.equal(again.values, seen.values), "hidden truth is nowhere in what is shown"


def test_what_cannot_be_meant_is_refused(batch):
    with pytest.raises(UserError, match="Did you mean 'mcar'"):
        held_out_cells(batch, "mcr", 0.1, 0)
    with pytest.raises(UserError, match="between 0 and 1"):
        held_out_cells(batch, "mcar", 1.1, 0)
    with pytest.raises(ValueError, match="only measured"):
        hide(batch, torch.ones_like(batch.observed))


def test_a_stay_without_measurements_has_nothing_to_hide(batch):
    empty = dataclasses.replace(batch[:3], observed=torch.zeros_like(batch[:3].observed))
    assert not held_out_cells(empty, "mcar", 0.9, 0).any()
    assert torch.isfinite(hide(empty, torch.zeros_like(empty.observed)).hours_since).all()
