"""Summaries of a stay's hours, by hand."""

import torch

from icu_lightning.models.summaries import first_value, summaries


def test_summaries_by_hand():
    values = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [4.0, 0.0], [-2.0, 0.0], [9.0, 0.0]]])
    observed = torch.tensor([[[True, False], [False, False], [True, False], [True, False], [False, False]]])
    last, mean, low, high, count = summaries(values, observed).view(5, 2).unbind(0)
    assert [last[0], mean[0], low[0], high[0], count[0]] == [-2.0, 1.0, -2.0, 4.0, 3.0]
    assert count[1] == 0
    assert torch.stack([last[1], mean[1], low[1], high[1]]).isnan().all()
    first = first_value(values, observed)
    assert first[0, 0] == 1.0
    assert first[0, 1].isnan()


def test_what_was_not_observed_does_not_count():
    generator = torch.Generator().manual_seed(0)
    values, observed = torch.randn(50, 12, 3, generator=generator), torch.rand(50, 12, 3, generator=generator) < 0.3
    other = torch.where(observed, values, 99.0)
    for of in (summaries, first_value):
        assert torch.equal(of(values, observed).nan_to_num(7.0), of(other, observed).nan_to_num(7.0))
