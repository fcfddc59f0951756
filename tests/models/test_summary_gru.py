"""SummaryGRU: its copies, its tasks, what is hidden stays hidden, averaged weights, and what it reads of the hours."""

import dataclasses

import pytest
import torch

from icu_lightning.batch import BatchShape, hide
from icu_lightning.build import built
from icu_lightning.errors import UserError
from icu_lightning.models.summary_gru import (
    N_SUMMARIES,
    Rank1Linear,
    SummaryGRUNetwork,
    filled,
    hide_some,
    log_hours,
    mean_logit,
    wide_summaries,
)
from icu_lightning.training.stages import stable_seed
from tests.conftest import composed
from tests.models.test_every_model import FAST, fitted


def test_a_copy_is_a_linear_layer_of_its_own():
    layer, x = Rank1Linear(5, 3, 4), torch.randn(7, 4, 5)
    for k in range(4):
        weight = layer.s[k][:, None] * layer.shared.weight * layer.r[k]
        assert torch.allclose(layer(x)[:, k], x[:, k] @ weight.T + layer.b[k], atol=1e-6)


def made(shape: BatchShape, **changes) -> SummaryGRUNetwork:
    torch.manual_seed(0)
    return SummaryGRUNetwork(
        shape=shape, **({"hidden": 4, "step": 1, "wide": 8, "head": 8, "copies": 3, "dropout": 0.0} | changes)
    )


def test_copies_differ_from_the_beginning_and_a_single_one_is_allowed(synthetic_data):
    data = synthetic_data(400)
    learnt = made(data.shape).learn(data.val)
    assert learnt.logits.shape == learnt.length.shape == (len(data.val), 3)
    assert (learnt.logits.std(dim=1) > 1e-4).all()
    assert made(data.shape, copies=1).learn(data.val).logits.shape == (len(data.val), 1)


@pytest.mark.parametrize("step", [1, 4, 5, 24, 30])
def test_hours_are_read_a_few_at_a_time_and_all_are_told(step, synthetic_data):
    """Also where the step does not divide the window, which then begins with empty hours: the last hour ends a step."""
    data = synthetic_data(400)
    part, network = data.val[:5], made(data.shape, step=step)
    states = network.states(part)
    assert states.shape == (5, -(-24 // step), 8)
    assert network.learn(part).told.shape == part.values.shape
    whole = torch.zeros_like(part.observed)
    whole[:, -1] = True  # the last hour
    hidden = hide(part, whole & part.observed)
    changed = (network.states(hidden) - states).abs().amax((0, 2))
    assert changed[-1] > 0


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
    learnt, again = model.network.eval().learn(seen), model.network.learn(other)
    for field in dataclasses.fields(learnt):
        assert torch.equal(getattr(learnt, field.name), getattr(again, field.name)), field.name


def test_reconstruction_is_learnt_and_can_be_switched_off(synthetic_data, tmp_path):
    """After some epochs hidden values are told better than by the mean, whose squared error is 1; without the task they are not."""
    data = synthetic_data(800)

    def error(**changes) -> float:
        model = fitted("summary_gru", data, tmp_path / str(len(changes)), max_epochs=8, pretraining=0, **changes)
        torch.manual_seed(1)
        seen, hidden = hide_some(data.val, (0.4, 0.4))
        with torch.no_grad():
            told = model.scoring_network.eval().learn(seen).told
        return float(((told - data.val.values)[hidden] ** 2).mean() / (data.val.values[hidden] ** 2).mean())

    assert error() < 0.9 < error(tasks=NO_TASKS)


def test_risks_come_from_the_averaged_weights_of_the_last_epoch(synthetic_data, tmp_path):
    data = synthetic_data(400)
    model = fitted("summary_gru", data, tmp_path, max_epochs=3)
    own, averaged = (next(net.first.parameters()) for net in (model.network, model.averaged.module))
    assert not torch.equal(own, averaged)
    summary = (tmp_path / "checkpoints" / "fit" / "finished.json").read_text()
    assert '"best_epoch": 2' in summary, "the last of three"
    risk = model.predict(data.val)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
    assert torch.equal(model.predict(data.val), risk)


def test_impossible_shares_are_refused(synthetic_data, tmp_path):
    with pytest.raises(UserError, match="hide must be"):
        fitted("summary_gru", synthetic_data(400), tmp_path, hide=[0.5, 0.3])


NO_TASKS = {"reconstruction": 0.0, "stay_length": 0.0, "contrastive": 0.0}


def test_every_parameter_is_reached_by_the_loss(synthetic_data, tmp_path):
    data = synthetic_data(400)
    tasks = {"reconstruction": 0.3, "stay_length": 0.2, "contrastive": 0.2}
    model = fitted("summary_gru", data, tmp_path, max_epochs=1, tasks=tasks, siamese=siamese(projection=8))
    model.train().seen = []
    model.training_step(data.train[:64], 0).backward()
    trained = [*model.network.parameters(), *model.siamese.parameters()]
    assert len(trained) > 15
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


def siamese(**changes) -> dict:
    return composed("model=summary_gru").plain["model"]["siamese"] | changes


def test_the_length_of_stay_is_learnt_where_it_is_known(synthetic_data, tmp_path):
    """Made to follow from the heart rate; half of the training stays do not tell it, and are no target."""
    data = synthetic_data(800)
    for name in ("train", "test"):
        part = getattr(data, name)
        heart = part.values[..., 0].sum(1) / part.observed[..., 0].sum(1).clamp(min=1)
        setattr(data, name, dataclasses.replace(part, hospital_hours=(5 + heart).exp()))
    half = torch.arange(len(data.train)) % 2 == 0
    known = torch.where(half, data.train.hospital_hours, torch.nan)
    data.train = dataclasses.replace(data.train, hospital_hours=known)
    model = fitted("summary_gru", data, tmp_path, max_epochs=8, pretraining=0)
    assert model.notes == []
    truth = log_hours(data.train)[half]
    assert model.length.tolist() == pytest.approx([float(truth.mean()), float(truth.std(correction=0))], rel=1e-4)
    with torch.no_grad():
        told = model.scoring_network.eval().learn(data.test).length.mean(1)
    assert torch.corrcoef(torch.stack([told, log_hours(data.test)]))[0, 1] > 0.5


def test_where_no_length_is_known_the_task_is_off_and_says_so_and_another_loss_would_have_differed(
    synthetic_data, tmp_path
):
    data, risks = synthetic_data(400), {}
    without = dataclasses.replace(data.train, hospital_hours=torch.full_like(data.train.hospital_hours, torch.nan))
    for name, train, weight in (("off", data.train, 0.0), ("unknown", without, 0.2), ("on", data.train, 0.2)):
        data.train = train
        tasks = {"reconstruction": 0.3, "stay_length": weight, "contrastive": 0.0}
        model = fitted("summary_gru", data, tmp_path / name, max_epochs=2, tasks=tasks)
        assert bool(model.notes) == (name == "unknown")
        risks[name] = model.predict(data.val)
    assert torch.equal(risks["off"], risks["unknown"])
    assert not torch.equal(risks["off"], risks["on"])


def test_pretraining_is_a_stage_of_its_own_and_begins_the_next_from_its_weights(synthetic_data, tmp_path):
    data = synthetic_data(400)
    fitted("summary_gru", data, tmp_path, max_epochs=2, pretraining=2)
    before = torch.load(tmp_path / "checkpoints" / "pretraining" / "best.ckpt", weights_only=True)["state_dict"]
    first = torch.load(tmp_path / "checkpoints" / "fit" / "last.ckpt", weights_only=True)["state_dict"]
    summary = (tmp_path / "checkpoints" / "pretraining" / "finished.json").read_text()
    assert '"best_epoch": 1' in summary, "the last of two"
    fresh = made_state(data)
    head = "network.second.shared.weight"
    assert torch.equal(before[head], fresh[head]), "mortality's head is not touched"
    moved = (before["network.gru.weight_hh_l0"] - fresh["network.gru.weight_hh_l0"]).norm()
    since = (first["network.gru.weight_hh_l0"] - before["network.gru.weight_hh_l0"]).norm()
    assert moved > 0
    assert since < (first["network.gru.weight_hh_l0"] - fresh["network.gru.weight_hh_l0"]).norm()


@pytest.mark.parametrize("pretraining", [0, 1], ids=["fit", "pretraining"])
def test_a_loss_that_is_no_number_names_the_stays(pretraining, synthetic_data, tmp_path):
    data = synthetic_data(400)
    broken = torch.where(data.train.observed, torch.inf, data.train.values)
    data.train = dataclasses.replace(data.train, values=broken)
    with pytest.raises(
        UserError, match=r"The training loss is (nan|inf) in epoch 0.*in the batch of the stays .*last\.ckpt"
    ):
        fitted("summary_gru", data, tmp_path, max_epochs=2, pretraining=pretraining)
    stage = "pretraining" if pretraining else "fit"
    assert (tmp_path / "checkpoints" / stage / "last.ckpt").exists()


def made_state(data) -> dict:
    """The state of a summary_gru that was never trained, of the seed that `fitted` has."""
    torch.manual_seed(stable_seed(0, "initial weights"))
    return built(composed("model=summary_gru").plain["model"], shape=data.shape).state_dict()


def test_the_contrastive_task_is_learnt(synthetic_data, tmp_path):
    """Weighted heavily, its loss is lower than without it, on stays that were not trained on."""
    data = synthetic_data(400)

    def pairs_loss(weight: float) -> float:
        tasks = NO_TASKS | {"contrastive": weight}
        quick = {"tasks": tasks, "pretraining": 0, "decay": 0.0, "optimizer": FAST}
        model = fitted("summary_gru", data, tmp_path / str(weight), max_epochs=4, **quick)
        torch.manual_seed(0)
        embedding = model.embed(data.val)
        assert embedding.shape == (len(data.val), model.network.embedding_width)
        return float(model.siamese(embedding, data.val.label).loss)

    assert pairs_loss(5.0) < 0.8 * pairs_loss(0.0)
