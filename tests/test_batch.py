"""StayBatch: indexing is slicing every part alike, and hours_since says what it promises."""

from dataclasses import fields, replace

import numpy as np
import torch

from icu_lightning.batch import StayBatch, hours_since_last


def test_indexing_takes_the_same_stays_from_every_part(synthetic_data):
    train = synthetic_data().train
    train = replace(train, vis=train.values, vis_observed=train.observed)  # which the made-up stays do not have
    index = torch.tensor([5, 0, 3])
    part = train[index]
    assert len(part) == 3
    for f in fields(StayBatch):
        whole, taken = getattr(train, f.name), getattr(part, f.name)
        rows = index.numpy() if isinstance(whole, np.ndarray) else index
        assert np.array_equal(
            np.asarray(whole[rows]),
            np.asarray(taken),
            equal_nan=taken.dtype.kind == "f" if isinstance(taken, np.ndarray) else True,
        )


def test_hours_since_counts_from_admission_then_from_the_last_measurement():
    observed = torch.tensor([[False, False, True, False, True, False]]).unsqueeze(2)
    assert hours_since_last(observed).flatten().tolist() == [1, 2, 0, 1, 0, 1]


def test_observed_and_hours_since_and_values_agree(synthetic_data):
    batch = synthetic_data().val
    assert torch.equal(batch.hours_since == 0, batch.observed)
    assert (batch.values[~batch.observed] == 0).all()
    assert not (batch.held_out & batch.observed).any()


def test_labels_are_kept_apart(synthetic_data):
    hospital, icu = synthetic_data(), synthetic_data(outcome="died_in_icu")
    for data, own in ((hospital, "died_in_hospital"), (icu, "died_in_icu")):
        assert torch.equal(data.train.label, getattr(data.train, own))
    assert (hospital.train.died_in_icu <= hospital.train.died_in_hospital).all()
    assert hospital.train.died_in_icu.sum() < hospital.train.died_in_hospital.sum()
