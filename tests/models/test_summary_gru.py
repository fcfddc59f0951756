"""SummaryGRU: its head's copies, what is hidden stays hidden, averaged weights, and what it reads of the hours."""

import dataclasses

import pytest
import torch
from torch import nn

from icu_lightning.batch import hide
from icu_lightning.models.summary_gru import (
    N_SUMMARIES,
    HeadCopies,
    Rank1Linear,
    filled,
    hide_some,
    mean_logit,
    wide_summaries,
)
from tests.models.test_every_model import fitted


def test_a_copy_is_a_linear_layer_of_its_own():
    layer, x = Rank1Linear(5, 3, 4), torch.randn(7, 4, 5)
    for k in range(4):
        weight = layer.s[k][:, None] * layer.shared.weight * layer.r[k]
        assert torch.allclose(layer(x)[:, k], x[:, k] @ weight.T + layer.b[k], atol=1e-6)


def test_copies_differ_from_the_beginning_and_a_single_one_is_allowed():
    torch.manual_seed(0)
    logits = HeadCopies(8, 0.0, 16).built(10)(torch.randn(5, 10))
    assert logits.shape == (5, 8)
    assert (logits.std(dim=1) > 1e-4).all()
    assert HeadCopies(1, 0.0, 16).built(10)(torch.randn(5, 10)).shape == (5, 1)


def test_the_risk_is_the_mean_of_the_copies_risks():
    logits = torch.randn(6, 8, dtype=torch.float64)
    assert torch.allclose(torch.sigmoid(mean_logit(logits)), torch.sigmoid(logits).mean(1))


def test_values_are_carried_forward_and_never_backward(synthetic_data):
    part = synthetic_data(400).val
    x = filled(part)
    for b, t, v in torch.nonzero(torch.ones_like(part.observed[:3])).tolist()[::7]:
        seen = [u for u in range(t + 1) if part.observed[b, u, v]]
        assert x[b, t, v] == (part.values[b, seen[-1], v] if seen else 0.0)


def test_summaries_by_hand(synthetic_data):
    part = synthetic_data(400).val
    wide = wide_summaries(part).view(len(part), N_SUMMARIES, -1)
    b, v = 0, int(part.observed[0].sum(0).argmax())
    x = part.values[b, part.observed[b, :, v], v]
    half = part.values.shape[1] // 2
    early, late = (part.values[b, s][part.observed[b, s, v], v] for s in (slice(half), slice(half, None)))
    by_hand = [
        x[-1],
        x.mean(),
        x.min(),
        x.max(),
        torch.tensor(len(x)).log1p(),
        x[0],
        x.std(correction=0),
        early.mean(),
        late.mean(),
    ]
    assert wide[b, :, v].tolist() == pytest.approx([*map(float, by_hand), 1.0], abs=1e-5)
    empty = hide(part, part.observed)
    assert (wide_summaries(empty) == 0).all()


def test_what_is_hidden_in_training_reaches_neither_head(synthetic_data, tmp_path):
    data = synthetic_data(400)
    model = fitted("summary_gru", data, tmp_path, max_epochs=1)
    torch.manual_seed(0)
    seen, hidden = hide_some(data.val, (0.3, 0.5))
    assert 0.3 < hidden.sum() / data.val.observed.sum() < 0.5
    changed = dataclasses.replace(data.val, values=torch.where(hidden, 99.0, data.val.values))
    torch.manual_seed(0)
    other, same = hide_some(changed, (0.3, 0.5))
    assert torch.equal(hidden, same)
    for one, two in zip(model.network.eval().learn(seen), model.network.learn(other), strict=True):
        assert torch.equal(one, two)


def test_reconstruction_is_learnt_and_can_be_switched_off(synthetic_data, tmp_path):
    """After some epochs hidden values are told better than by the mean, whose squared error is 1; without the task they are not."""
    data = synthetic_data(800)

    def error(**changes) -> float:
        model = fitted("summary_gru", data, tmp_path / str(len(changes)), max_epochs=8, **changes)
        torch.manual_seed(1)
        seen, hidden = hide_some(data.val, (0.4, 0.4))
        with torch.no_grad():
            told = model.scoring_network.eval().learn(seen)[1]
        return float(((told - data.val.values)[hidden] ** 2).mean() / (data.val.values[hidden] ** 2).mean())

    assert error() < 0.9 < error(reconstruction=0.0)


def test_risks_come_from_the_averaged_weights_of_the_last_epoch(synthetic_data, tmp_path):
    data = synthetic_data(400)
    model = fitted("summary_gru", data, tmp_path, max_epochs=3)
    own, averaged = (next(net.head.parameters()) for net in (model.network, model.averaged.module))
    assert not torch.equal(own, averaged)
    summary = (tmp_path / "checkpoints" / "fit" / "finished.json").read_text()
    assert '"best_epoch": 2' in summary, "the last of three"
    risk = model.predict(data.val)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
    assert torch.equal(model.predict(data.val), risk)


def test_impossible_shares_are_refused(synthetic_data, tmp_path):
    from icu_lightning.errors import UserError

    with pytest.raises(UserError, match="hide must be"):
        fitted("summary_gru", synthetic_data(400), tmp_path, hide=[0.5, 0.3])


def test_every_parameter_is_reached_by_the_loss(synthetic_data, tmp_path):
    data = synthetic_data(400)
    model = fitted("summary_gru", data, tmp_path, max_epochs=1)
    network = model.network.train()
    seen, hidden = hide_some(data.train[:64], (0.3, 0.5))
    logits, told = network.learn(seen)
    (
        nn.functional.binary_cross_entropy_with_logits(logits.mean(1), seen.label) + told[hidden].square().mean()
    ).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
