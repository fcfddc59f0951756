"""The loader: every stay once, an order that follows from seed and epoch."""

import pytest
import torch

from icu_lightning.data.loader import StayLoader


def ids(loader: StayLoader) -> list[int]:
    return [int(stay) for batch in loader for stay in batch.stay_id]


@pytest.mark.parametrize("batch_size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("shuffle_seed", [None, 0])
def test_no_stay_is_left_out_and_none_is_seen_twice(synthetic_data, batch_size, shuffle_seed):
    train = synthetic_data().train
    loader = StayLoader(train, batch_size, shuffle_seed)
    assert sorted(ids(loader)) == sorted(train.stay_id.tolist())
    assert len(loader) == len(list(loader))


def test_the_order_depends_on_seed_and_epoch_alone(synthetic_data):
    train = synthetic_data().train
    first, again, other = StayLoader(train, 8, 1), StayLoader(train, 8, 1), StayLoader(train, 8, 2)
    torch.manual_seed(123)
    order = ids(first)
    torch.manual_seed(321)
    assert order == ids(again) != ids(other)
    again.set_epoch(1)
    assert order != ids(again)


def test_the_epoch_may_be_told_after_the_iterator_was_made(synthetic_data):
    """Lightning does so when it resumes."""
    train = synthetic_data().train
    late, early = StayLoader(train, 8, 1), StayLoader(train, 8, 1)
    iterator = iter(late)
    late.set_epoch(5)
    early.set_epoch(5)
    assert next(iterator).stay_id.tolist() == next(iter(early)).stay_id.tolist()
