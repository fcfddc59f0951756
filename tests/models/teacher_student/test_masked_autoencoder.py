"""The masked autoencoder: what is hidden does not reach the encoder, what is hidden is counted, what is told is scored."""

import dataclasses

import numpy as np
import pytest
import torch

from icu_lightning.build import built
from icu_lightning.errors import UserError
from icu_lightning.models.teacher_student.interpolation import carried_forward, interpolated
from icu_lightning.models.teacher_student.masking import CHOICES, Masking, fixed_numbers, numbers
from icu_lightning.models.teacher_student.stages import Pretraining
from tests.conftest import composed
from tests.models.teacher_student.conftest import HOURS, stays, trainer


def spoilt(batch, hours):
    """The batch with other drugs in those hours (B, T): other values, known where they were not."""
    noise = torch.randn(batch.vis.shape, generator=torch.Generator().manual_seed(9))
    at = hours.unsqueeze(2)
    return dataclasses.replace(
        batch, vis=torch.where(at, noise, batch.vis), vis_observed=batch.vis_observed ^ at.expand_as(batch.vis)
    )


def test_what_is_hidden_does_not_reach_the_encoder_or_what_is_told(make_model):
    autoencoder, batch = make_model().autoencoder.eval(), stays(16, left=True)
    uniform = fixed_numbers(batch, 0)
    made = autoencoder(batch, uniform)
    other = spoilt(batch, made.hidden)
    visible = batch.in_icu & ~made.hidden
    assert torch.equal(autoencoder.encoder(batch, visible).states, autoencoder.encoder(other, visible).states)
    assert torch.equal(autoencoder(other, uniform).told, made.told)
    shown = spoilt(batch, visible)
    assert not torch.equal(autoencoder(shown, uniform).told, made.told), "what is visible does"


def test_the_encoder_is_given_visible_hours_only(make_model):
    """Asymmetric: a quarter of the hours is a quarter of the tokens."""
    autoencoder, batch = make_model().autoencoder, stays(16)
    hidden = autoencoder.masking(batch.in_icu, numbers(batch))
    seen = autoencoder.encoder(batch, batch.in_icu & ~hidden)
    assert seen.states.shape[1] == 1 + HOURS // 4


def test_hours_outside_of_the_unit_change_nothing(make_model):
    autoencoder, batch = make_model().autoencoder.eval(), stays(16, left=True)
    uniform = fixed_numbers(batch, 0)
    made, other = autoencoder(batch, uniform), autoencoder(spoilt(batch, ~batch.in_icu), uniform)
    assert not (made.hidden & ~batch.in_icu).any()
    assert torch.equal(made.told[batch.in_icu], other.told[batch.in_icu])


@pytest.mark.parametrize("spans", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("ratio", [0.25, 0.75])
def test_the_share_that_is_hidden_is_the_ratio(ratio, spans):
    batch = stays(200, left=True)
    hidden = Masking(ratio=ratio, spans=spans, span_hours=[4, 8])(batch.in_icu, numbers(batch))
    inside = batch.in_icu.sum(1)
    assert torch.equal(hidden.sum(1), torch.minimum((ratio * inside).round().long(), inside - 1))


@pytest.mark.parametrize("spans", [0.0, 1.0])
def test_of_a_short_stay_an_hour_is_left(spans):
    """Nine tenths of four hours are four hours, which would leave nothing to tell them from."""
    in_icu = torch.arange(12) < torch.arange(6).unsqueeze(1)  # 0 to 5 hours
    uniform = torch.rand(6, 12 + CHOICES, generator=torch.Generator().manual_seed(0))
    hidden = Masking(ratio=0.9, spans=spans, span_hours=[4, 8])(in_icu, uniform)
    assert hidden.sum(1).tolist() == [0, 0, 1, 2, 3, 4]
    assert not (hidden & ~in_icu).any()


def runs(hidden: torch.Tensor) -> list[int]:
    """The lengths of what is hidden without a break."""
    lengths = []
    for row in hidden.tolist():
        length = 0
        for hour in [*row, False]:
            if not hour and length:
                lengths.append(length)
            length = length + 1 if hour else 0
    return lengths


def test_spans_are_longer_than_single_hours():
    in_icu = torch.ones(400, 48, dtype=torch.bool)
    uniform = torch.rand(400, 48 + CHOICES, generator=torch.Generator().manual_seed(0))
    spans, single = (runs(Masking(ratio=0.25, spans=share, span_hours=[4, 8])(in_icu, uniform)) for share in (1.0, 0.0))
    assert sum(single) == sum(spans) == 400 * 12
    assert sum(length >= 4 for length in spans) > 0.6 * len(spans), "the last is cut, and so are those at the ends"
    assert sum(length >= 4 for length in single) < 0.03 * len(single)


def test_the_hours_of_validation_follow_from_the_stay(make_model):
    batch = stays(8)
    alone = torch.cat([fixed_numbers(batch[i : i + 1], 3) for i in range(8)])
    assert torch.equal(alone, fixed_numbers(batch, 3))
    assert not torch.equal(alone, fixed_numbers(batch, 4))
    assert 0 <= float(alone.min()) < 0.1 < 0.9 < float(alone.max()) <= 1


def test_hours_with_a_drug_weigh_three_times(make_model):
    autoencoder, batch = make_model().autoencoder.eval(), stays(32)
    autoencoder.fit_nothing(batch)
    uniform = fixed_numbers(batch, 0)
    made = autoencoder(batch, uniform)
    error = torch.nn.functional.huber_loss(made.told, batch.vis, reduction="none")
    scored, runs_ = made.hidden.unsqueeze(2) & batch.vis_observed, autoencoder.running(batch).unsqueeze(2)
    heavy, light = scored & runs_, scored & ~runs_
    expected = (3 * error[heavy].sum() + error[light].sum()) / (3 * heavy.sum() + light.sum())
    assert float(made.loss().detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert 0 < int(heavy.sum()) < int(scored.sum())


def test_a_drug_runs_where_its_rate_is_above_nothing(make_model):
    autoencoder, batch = make_model().autoencoder, stays(64)
    autoencoder.fit_nothing(batch)
    assert autoencoder.nothing.tolist() == pytest.approx([-1.0, -1.0])
    assert torch.equal(autoencoder.running(batch), ((batch.vis[..., 0] > -1) & batch.vis_observed[..., 0]))


def test_its_loss_reaches_every_parameter(make_model):
    autoencoder, batch = make_model().autoencoder, stays(32)
    stage = Pretraining(autoencoder=autoencoder, seed=0, all_stays=False, optimizer=None, warm_up=0.1)
    stage.terms(batch)["loss"].backward()
    without = [n for n, p in stage.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


@pytest.mark.parametrize(
    ("setting", "said"),
    [("ratio=1.0", "between 0 and 1"), ("spans=2", "from 0 to 1"), ("span_hours=[8,4]", "a least and a greatest")],
)
def test_masks_that_cannot_be_meant(make_model, setting, said):
    with pytest.raises(UserError, match=said):
        make_model(f"model.autoencoder.masking.{setting}")


def test_without_a_correction_the_line_is_told(make_model):
    """Each channel between the hours in which it is itself visible and known."""
    autoencoder, batch = make_model().autoencoder.eval(), stays(16, left=True)
    torch.nn.init.zeros_(autoencoder.decoder.out.weight)
    autoencoder.fit_nothing(batch)
    made = autoencoder(batch, fixed_numbers(batch, 0))
    shown = (batch.in_icu & ~made.hidden).unsqueeze(2) & batch.vis_observed
    for channel in range(batch.vis.shape[2]):
        line = interpolated(batch.vis[..., channel], shown[..., channel], autoencoder.nothing[channel])
        assert torch.equal(made.told[..., channel], line)


def test_without_the_line_the_value_is_told(make_model):
    """`no_line`: with nothing added it tells the mean, and the decoder is not given the line in its hints either."""
    autoencoder, batch = make_model("model/ablation=no_line").autoencoder.eval(), stays(16, left=True)
    hints = []
    autoencoder.decoder.hints.register_forward_pre_hook(lambda _, given: hints.append(given[0]))
    torch.nn.init.zeros_(autoencoder.decoder.out.weight)
    made = autoencoder(batch, fixed_numbers(batch, 0))
    assert not made.told.any()
    assert not hints[0][..., : batch.vis.shape[2]].any()
    assert hints[0].any(), "how far the neighbours are is known all the same"


def validated(model, batches, all_stays=False):
    stage = Pretraining(autoencoder=model.autoencoder.eval(), seed=0, all_stays=all_stays, optimizer=None, warm_up=0.1)
    stage.log = lambda *_: None
    with torch.no_grad():
        for batch in batches:
            stage.validation_step(batch, 0)
    return float(stage.means["loss"].compute())


def test_validation_weighs_hidden_hours_however_stays_are_batched_and_leaves_out_those_without_a_drug(make_model):
    model, batch = make_model(), stays(64, left=True)
    model.autoencoder.fit_nothing(batch)
    had = model.autoencoder.running(batch).any(1)
    assert 0 < int(had.sum()) < 64
    with torch.no_grad():
        alone = float(model.autoencoder.eval()(batch[had], fixed_numbers(batch[had], 0)).loss())
        of_all = float(model.autoencoder(batch, fixed_numbers(batch, 0)).loss())
    parts = [batch[i : i + 5] for i in range(0, 64, 5)]
    assert validated(model, [batch]) == pytest.approx(alone, rel=1e-5)
    assert validated(model, parts) == pytest.approx(alone, rel=1e-5)
    assert validated(model, parts, all_stays=True) == pytest.approx(of_all, rel=1e-5)
    assert of_all != pytest.approx(alone, rel=1e-2)
    assert np.isnan(validated(model, [batch[~had]])), "no number is made up; `fit` then measures all stays"
    assert np.isfinite(validated(model, [batch[~had]], all_stays=True))


@pytest.mark.slow
def test_it_beats_the_last_value_and_the_line_on_hidden_hours_with_a_drug(synthetic_data, tmp_path):
    """METHODS E (4), on test stays of the synthetic ICU: the differences' 95 % intervals, of stays drawn anew, are above 0."""
    asked = composed("data=synthetic", "model=teacher_student", "model/ablation=no_multitask").plain
    data = synthetic_data(2000, vis=asked["data"]["vis"], hours=48)
    torch.manual_seed(0)
    model = built(asked["model"], shape=data.shape)
    model.autoencoder.fit_nothing(data.train)
    module = Pretraining(autoencoder=model.autoencoder, seed=0, all_stays=False, **model._common("mae"))
    budget = {"stage": "mae", "monitor": "val/loss", "mode": "min", "max_epochs": 12, "patience": 12}
    trainer(tmp_path, None).fit(module, data, **budget)
    batch, autoencoder = data.test, model.autoencoder.eval()
    with torch.no_grad():
        made = autoencoder(batch, fixed_numbers(batch, 1))
    vis, known = batch.vis[..., -1], batch.vis_observed[..., -1]
    shown, scored = known & batch.in_icu & ~made.hidden, made.hidden & known & autoencoder.running(batch)
    own = torch.where(scored, (made.told[..., -1] - vis).square(), 0.0).sum(1).numpy()
    rng, n = np.random.default_rng(0), len(batch)
    draws = rng.integers(0, n, (1000, n))
    hours = scored.sum(1).numpy()[draws].sum(1)
    for simple in (carried_forward, interpolated):
        told = simple(vis, shown, autoencoder.nothing[-1])
        gain = torch.where(scored, (told - vis).square(), 0.0).sum(1).numpy() - own
        assert np.quantile(gain[draws].sum(1) / hours, 0.025) > 0, simple.__name__
