"""The joint model: what each loss term reaches, stages, ablations, a loss that is no number, and the paper's constants."""

import copy
import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.errors import UserError
from icu_lightning.models.mtdm import model as mtdm
from icu_lightning.models.mtdm.predictor import mortality_loss
from icu_lightning.models.mtdm.stages import Joint, WarmUp
from icu_lightning.models.siamese import Pairs
from icu_lightning.training.snapshots import earlier_models
from icu_lightning.training.stages import StageTrainer, read_metrics
from tests.conftest import composed
from tests.models.mtdm.conftest import HOURS, conf, gaussian_stays, shape

CONF = Path(__file__).resolve().parents[3] / "conf"


def joint(model, **weights) -> Joint:
    changed = dataclasses.replace(model.weights, **weights)
    return Joint(
        rankable=True, survivor_weight=1.0, network=model.network.train(), weights=changed, optimizer=None, decay_at=[]
    )


def reached(stage) -> set[str]:
    """The network's parameters that have a gradient; rounding errors are none."""
    found = {name: p.grad.abs().max() for name, p in stage.network.named_parameters() if p.grad is not None}
    return {name for name, largest in found.items() if largest > 1e-6 * max(found.values())}


def parameters(stage, *parts: str) -> set[str]:
    return {name for name, _ in stage.network.named_parameters() if name.split(".")[0] in parts}


# Of the LSTM's what stands behind the embedding: it is taken before normalisation, and its distances ask for no logit
HEAD = {f"predictor.{layer}.{kind}" for layer in ("norm_2", "reduce", "out") for kind in ("weight", "bias")}
SHIFT = {"siamese.projection.2.bias"}  # added to both of a pair: no distance can feel it
NONE = {"imputation": 0.0, "mortality": 0.0, "contrastive": 0.0}
EVERY_ONE = ("imputer", "predictor", "siamese")
WHOLE = (
    "model.siamese.projection=4",
    "model.predictor.dropout=0",
)  # else the last has no parameters, and chance cuts units off


@pytest.mark.parametrize(
    ("weights", "parts", "never"),
    [
        ({"imputation": 1.0}, ["imputer"], set()),  # nobody reads the series
        ({"mortality": 1.0}, ["imputer", "predictor"], set()),  # the feedback; the projection is for distances alone
        ({"mortality": 1.0, "feedback": False}, ["predictor"], set()),
        ({"contrastive": 1.0}, EVERY_ONE, HEAD | SHIFT),
        ({"contrastive": 1.0, "feedback": False}, ["predictor", "siamese"], HEAD | SHIFT),
    ],
    ids=["imputation", "mortality", "mortality without feedback", "contrastive", "contrastive without feedback"],
)
def test_a_loss_term_reaches_what_it_should_and_nothing_else(make_model, weights, parts, never):
    """Parameter by parameter."""
    stage = joint(make_model(*WHOLE), **(NONE | weights))
    stage.terms(gaussian_stays(32)[0])["loss"].backward()
    assert reached(stage) == parameters(stage, *parts) - never


def test_what_stands_in_gaps_is_no_part_of_the_imputation_term_to_be_learnt(make_model):
    """It is noised as if it were data: with feedback, too, the gradient is that without."""
    gradients = []
    for feedback in (True, False):
        stage = joint(make_model(*WHOLE), **(NONE | {"imputation": 1.0, "feedback": feedback}))
        stage.terms(gaussian_stays(32)[0])["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in stage.network.imputer.parameters()]))
    assert torch.allclose(*gradients, atol=1e-6)


def test_in_stage_1_the_contrastive_term_leaves_the_imputer_to_its_own(make_model):
    """There the LSTM has learnt nothing yet that the imputer could learn from."""
    expected = {"imputation": (["imputer"], set()), "contrastive": (["predictor", "siamese"], HEAD | SHIFT)}
    for term, (parts, never) in (expected | {"loss": (EVERY_ONE, HEAD | SHIFT)}).items():
        model = make_model(*WHOLE)
        stage = WarmUp(network=model.network.train(), weights=model.weights, optimizer=None, decay_at=[])
        stage.terms(gaussian_stays(32)[0])[term].backward()
        assert reached(stage) == parameters(stage, *parts) - never, term


@pytest.mark.parametrize(
    ("tasks", "completion", "calls"),
    [("single", "zero", 1), ("multi", "zero", 1), ("multi_siamese", "zero", 5), ("single", "imputed", 5)],
)
def test_stage_1_draws_a_series_only_where_something_reads_it(tasks, completion, calls, make_model):
    model = make_model(f"model/tasks={tasks}", f"model.imputer.completion={completion}", "model.fill_steps=4")
    stage = WarmUp(network=model.network.train(), weights=model.weights, optimizer=None, decay_at=[])
    asked = []
    model.network.imputer.denoiser.register_forward_hook(lambda *_: asked.append(1))
    stage.terms(gaussian_stays(8)[0])
    assert len(asked) == calls, "one for the loss, and four steps"


def test_the_contrastive_term_of_stage_1_has_a_weight_which_may_be_0(make_model):
    losses = {}
    for weight in (0.0, 0.5, 1.0):
        model = make_model(f"model.weights.contrastive_stage1={weight}")
        stage = WarmUp(network=model.network.train(), weights=model.weights, optimizer=None, decay_at=[])
        torch.manual_seed(0)
        losses[weight] = {name: float(term.detach()) for name, term in stage.terms(gaussian_stays(16)[0]).items()}
    assert "contrastive" not in losses[0.0], "imputing alone"
    for weight in (0.5, 1.0):
        of = losses[weight]
        assert of["loss"] == pytest.approx(of["imputation"] + weight * of["contrastive"], rel=1e-6)
    with pytest.raises(UserError, match="contrastive_stage1 must be 0 or more"):
        make_model("model.weights.contrastive_stage1=-1")


def test_an_hour_of_one_stay_can_be_learnt_from():
    """It has no spread of its own to be normalised by."""
    model = built(conf(), shape=shape(hours=1))
    terms = joint(model).terms(gaussian_stays(1, missing=0.0, hours=1)[0])
    assert float(terms["loss"].detach()) < math.inf


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bf16-mixed"])
def test_together_they_reach_every_parameter(make_model, mixed):
    stage = joint(make_model(*WHOLE))
    batch, _ = gaussian_stays(32)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):  # as trainer.precision=bf16-mixed
        loss = stage.terms(batch)["loss"]
    loss.backward()
    assert reached(stage) >= parameters(stage, *EVERY_ONE) - SHIFT


def test_the_joint_loss_is_the_papers_sum(make_model):
    stage = joint(make_model())
    terms = {name: float(term.detach()) for name, term in stage.terms(gaussian_stays(16)[0]).items()}
    expected = 0.4 * terms["imputation"] + 0.4 * terms["mortality"] + 0.2 * terms["contrastive"]
    assert terms["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_mortality_loss_is_bce_and_brier():
    logit, label = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    p = 1 / (1 + math.exp(-2))
    bce, brier = (math.log(2) - math.log(1 - p)) / 2, (0.25 + p**2) / 2
    assert float(mortality_loss(logit, label, 0.5, 0.5, 1.0)) == pytest.approx(0.5 * bce + 0.5 * brier, rel=1e-5)


def test_bce_and_mse_weigh_what_they_are_named_for(make_model):
    """In training and in what chooses the epoch; by default both are .5, which would hide it."""
    batch, _ = gaussian_stays(16)
    stage, logits = joint(make_model(), bce=0.9, mse=0.1), []
    stage.network.predictor.register_forward_hook(lambda _, __, out: logits.append(out[0].detach()))
    stage.log_dict = lambda *_: None
    found = [stage.terms(batch)["mortality"].detach()]
    stage.network.eval()
    found.append(stage.validation_step(batch, 0)[0].detach())
    for loss, logit in zip(found, logits, strict=True):
        brier = (logit.sigmoid() - batch.label).square().mean()
        expected = 0.9 * F.binary_cross_entropy_with_logits(logit, batch.label) + 0.1 * brier
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", [WarmUp, Joint])
def test_distances_of_pairs_are_logged_by_their_names(make_model, kind):
    model = make_model()
    told = Pairs(loss=torch.tensor(1.0), alike=torch.tensor(2.0), unlike=torch.tensor(3.0))
    model.network.siamese.forward = lambda *_: told
    settings = {"network": model.network.train(), "weights": model.weights, "optimizer": None, "decay_at": []}
    stage = kind(**settings, **({"rankable": True, "survivor_weight": 1.0} if kind is Joint else {}))
    terms = stage.terms(gaussian_stays(8)[0])
    assert [float(terms[name]) for name in ("contrastive", "alike", "unlike")] == [1, 2, 3]


def test_deaths_may_weigh_more_than_survivors(make_model):
    """A weight of 3 is as if each death were there three times, but for the number that the mean is over; the default is 1."""
    logit, label = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([1.0, 0.0, 0.0])
    thrice, repeated = torch.tensor([0, 0, 0, 1, 2]), torch.tensor(5 / 3)
    for bce, mse in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)):
        weighted = mortality_loss(logit, label, bce, mse, 3.0)
        assert torch.allclose(weighted, repeated * mortality_loss(logit[thrice], label[thrice], bce, mse, 1.0))
    assert composed("model=mtdm").plain["model"]["weights"]["death_weight"] == 1.0
    batch, _ = gaussian_stays(16)
    losses = []
    for weight in (1.0, 5.0):
        torch.manual_seed(0)
        losses.append(float(joint(make_model(), death_weight=weight).terms(batch)["mortality"].detach()))
    assert losses[0] < losses[1]
    with pytest.raises(UserError, match="death_weight must be above 0"):
        make_model("model.weights.death_weight=0")


def test_of_undersampled_training_the_best_epoch_is_chosen_at_its_prevalence(make_model):
    """Survivors that weigh a third are deaths that are there three times."""
    batch, model = gaussian_stays(24)[0], make_model()
    deaths = torch.where(batch.label == 1)[0]
    thrice = batch[torch.cat([torch.arange(24), deaths, deaths])]

    def loss(of, weight):
        settings = {"weights": model.weights, "optimizer": None, "decay_at": []}
        stage = Joint(rankable=False, survivor_weight=weight, network=model.network.eval(), **settings)
        stage.log_dict = lambda *_: None
        stage.validation_step(of, 0)
        return float(stage.val_mortality.compute())

    assert 0 < len(deaths) < 24
    assert loss(batch, 1 / 3) == pytest.approx(loss(thrice, 1.0), rel=1e-5)
    assert loss(batch, 1 / 3) != pytest.approx(loss(batch, 1.0), rel=1e-3)


def test_the_papers_numbers():
    """METHODS B.1 and B.3."""
    conf = composed("model=mtdm", "model/size=paper").plain["model"]
    assert (conf["weights"]["imputation"], conf["weights"]["mortality"], conf["weights"]["contrastive"]) == (
        0.4,
        0.4,
        0.2,
    )
    assert (conf["weights"]["bce"], conf["weights"]["mse"], conf["siamese"]["margin"]) == (0.5, 0.5, 1.0)
    assert (conf["optimizer"]["lr"], conf["predictor"]["dropout"], conf["predictor"]["embedding"]) == (1e-3, 0.2, 64)
    assert sum(conf["epochs"].values()) == 200
    denoiser = conf["imputer"]["denoiser"]
    assert [denoiser[name] for name in ("layers", "channels", "heads", "feedforward")] == [4, 64, 8, 64]
    schedule = conf["imputer"]["schedule"]
    assert [schedule[name] for name in ("kind", "steps", "beta_first", "beta_last")] == ["quad", 50, 1e-4, 0.5]
    embeddings = [denoiser[f"{of}_embedding"] for of in ("step", "time", "variable")]
    assert embeddings == [128, 128, 16]
    assert composed("model=mtdm").plain["data"]["batch_size"] == 64
    assert composed("model=mtdm").plain["model"]["imputer"]["denoiser"]["channels"] == 16, "small is the default"


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["model=mtdm"], []),
        (["model=two_stage", "imputer=mtdm"], ["imputer", "joint"]),
        (["model=two_stage", "imputer=csdi"], ["imputer"]),
    ],
    ids=["mtdm", "imputer mtdm", "imputer csdi"],
)
def test_csdis_optimisation(words, place):
    """METHODS B.2, wherever a diffusion is trained."""
    settings = composed(*words).plain["model"]
    for name in place:
        settings = settings[name]
    assert settings["optimizer"]["_target_"] == "torch.optim.Adam"
    assert settings["optimizer"]["weight_decay"] == 1e-6
    assert settings["decay_at"] == [0.75, 0.9]


@pytest.mark.parametrize("fed", [True, False])
@pytest.mark.parametrize("option", ["mask", "static"])
def test_mask_and_static_features_move_a_risk_where_they_are_fed_and_only_there(option, fed):
    batch, described = gaussian_stays(4)[0], BatchShape(HOURS, shape().variables, ("age", "weight"))
    torch.manual_seed(0)
    model = built(conf(f"model.predictor.{option}={fed}"), shape=described).eval()
    static = torch.arange(8.0).view(4, 2)
    other = {"mask": (~batch.observed, static), "static": (batch.observed, static + 1)}[option]
    logits = [model.network.predictor(batch.values, *own)[0] for own in ((batch.observed, static), other)]
    assert ((logits[0] - logits[1]).abs() > 1e-4).tolist() == [fed] * 4


def test_static_features_that_there_are_not_are_refused(make_model):
    with pytest.raises(
        UserError, match=r"model.predictor.static=true feeds the features of data.static, which is empty"
    ):
        make_model("model.predictor.static=true")


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_lstm_drops_out_in_training_and_only_then(make_model, share):
    """Two readings of one series; the embedding, too, is of dropped states."""
    batch, reader = gaussian_stays(16)[0], make_model(f"model.predictor.dropout={share}").network.predictor

    def same() -> list[bool]:
        one, other = (reader(batch.values, batch.observed, batch.static) for _ in range(2))
        return [torch.equal(a, b) for a, b in zip(one, other, strict=True)]

    reader.train()
    assert same() == [share == 0.0] * 2
    reader.eval()
    assert same() == [True] * 2


def test_the_lstm_reads_draws_in_parts_of_bounded_memory(monkeypatch):
    """Each with its stay's mask and static features, and what one stay after another gives."""
    batch, sizes = dataclasses.replace(gaussian_stays(7)[0], static=torch.arange(14.0).view(7, 2)), []
    torch.manual_seed(0)
    options = ("model.predictor.mask=true", "model.predictor.static=true", "model.samples=5")
    described = BatchShape(HOURS, shape().variables, ("age", "weight"))
    model = built(conf(*options), shape=described)
    model.network.predictor.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    stays = [batch[i : i + 1] for i in range(7)]
    alone = [torch.cat([of(stay) for stay in stays]) for of in (model.predict, model.embed)]
    assert len(alone[0].unique()) == 35
    for hours, expected in ((35 * HOURS, [35]), (3 * HOURS + 1, [3] * 11 + [2]), (1, [1] * 35)):
        monkeypatch.setattr(mtdm, "HOURS_AT_ONCE", hours)
        for of, one_by_one in zip((model.predict, model.embed), alone, strict=True):
            sizes.clear()
            assert torch.allclose(of(batch), one_by_one, atol=1e-7)
            assert sizes == expected


def trainer(folder, max_epochs=2) -> StageTrainer:
    device = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "deterministic": True, "threads": 1}
    return StageTrainer(folder=folder, seed=0, max_epochs=max_epochs, **device)


@pytest.fixture
def data():
    """Gaussian stays as a data module of Lightning."""
    import pytorch_lightning as lightning

    from icu_lightning.data.loader import StayLoader

    class Stays(lightning.LightningDataModule):
        train, val, shape = gaussian_stays(96, 1)[0], gaussian_stays(48, 2)[0], shape()
        prior_odds = None

        def train_dataloader(self):
            return StayLoader(self.train, 32, shuffle_seed=0)

        def val_dataloader(self):
            return StayLoader(self.val, 1024)

    return Stays()


@pytest.mark.parametrize("tasks", ["single", "multi", "multi_siamese"])
def test_stages_of_the_ablations(make_model, data, tmp_path, tasks):
    model = make_model(f"model/tasks={tasks}", "model.weights.mortality=0.7")
    untrained = model.network.imputer.denoiser.out_2.weight.clone()
    model.fit(data, trainer(tmp_path))
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["stage"] for row in rows] == ["stage1"] * 2 + ["stage2"] * 2
    assert all(row["val/auroc"] for row in rows[2:])
    for row in rows[2:]:  # what chooses the epoch: the joint loss without its contrastive part
        parts = 0.7 * float(row["val/mortality"]) + model.weights.imputation * float(row["val/imputation"])
        assert float(row["val/loss"]) == pytest.approx(parts, rel=1e-4)
    assert ("train/alike" in rows[0]) == (tasks == "multi_siamese"), "mean distances of like and unlike pairs"
    assert not torch.equal(model.network.imputer.denoiser.out_2.weight, untrained)
    assert (tmp_path / "checkpoints" / "stage2" / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("tasks", "given"),
    [("single", {"stage1": (12, 7), "stage2": (10, 7)}), ("multi", {"stage1": (2, 2), "stage2": (10, 7)})],
)
def test_an_imputer_that_stage_1_alone_trains_has_the_budget_of_one_that_is_trained_jointly(
    make_model, data, tasks, given
):
    """As many epochs, and the same patience; a warm-up is not stopped early."""
    seen = {}

    def fit(*_, stage, max_epochs, patience, **__):
        seen[stage] = (max_epochs, patience)

    trainer = SimpleNamespace(max_epochs=None, fit=fit, keep=lambda *_, **__: None)
    make_model(f"model/tasks={tasks}", "model.patience=7").fit(data, trainer)
    assert seen == given


@pytest.mark.parametrize(("feedback", "given"), [(True, {"stage1": (2, 2)}), (False, {"stage1": (12, 7)})])
def test_an_imputer_that_the_feedback_trains_in_stage_2_is_none_that_stage_1_alone_trains(
    make_model, data, feedback, given
):
    """Though imputing has no weight there."""
    seen = {}

    def fit(*_, stage, max_epochs, patience, **__):
        seen[stage] = (max_epochs, patience)

    settings = ("model.weights.imputation=0", f"model.weights.feedback={feedback}", "model.patience=7")
    make_model(*settings).fit(data, SimpleNamespace(max_epochs=None, fit=fit, keep=lambda *_, **__: None))
    assert seen == given | {"stage2": (10, 7)}


@pytest.mark.parametrize(("best", "column"), [("joint", "val/loss"), ("mortality", "val/mortality")])
def test_the_epoch_that_is_kept_has_the_least_of_the_loss_that_was_asked(make_model, data, tmp_path, best, column):
    """Validation's labels are the others', so that their loss rises while imputing, which weighs most here, gets better."""
    data.val = dataclasses.replace(data.val, label=1 - data.val.label)
    settings = ("model.epochs.stage2=8", "model.patience=8", "model.optimizer.lr=0.03", "model.weights.imputation=50")
    model = make_model(f"model.best={best}", "model.epochs.stage1=0", *settings)
    model.fit(data, trainer(tmp_path, 8))
    rows = [row for row in read_metrics(tmp_path / "metrics.csv") if row["stage"] == "stage2"]
    least = {name: min(rows, key=lambda row: float(row[name]))["epoch"] for name in ("val/loss", "val/mortality")}
    assert least["val/loss"] != least["val/mortality"], "else this tells nothing"
    kept = torch.load(tmp_path / "checkpoints" / "stage2" / "best.ckpt", weights_only=True)
    assert int(kept["epoch"]) == int(least[column])


def test_epochs_of_snapshots_count_what_a_cap_leaves_of_stage_1(make_model, data, tmp_path):
    model = make_model("model.snapshots=[0,1,2,9]")
    assert model.epochs["stage1"] == 2
    model.fit(data, trainer(tmp_path, 1))
    assert [epoch for epoch, _ in earlier_models(tmp_path, model)] == [0, 1, 2], "the end of stage 2's only epoch"


def test_in_the_single_task_ablation_the_imputer_is_left_alone_in_stage_2(make_model, data, tmp_path):
    model = make_model("model/tasks=single")
    model.fit(data, trainer(tmp_path, 1))
    before = torch.load(tmp_path / "checkpoints" / "stage1" / "best.ckpt", weights_only=True)["state_dict"]
    named = dict(model.network.named_parameters())
    assert {name for name, p in named.items() if torch.equal(before[f"network.{name}"], p)} == {
        name for name in named if name.startswith(("imputer.", "siamese."))
    }


@pytest.mark.parametrize("kind", [WarmUp, Joint])
def test_a_loss_that_is_no_number_names_the_stays(make_model, data, tmp_path, kind):
    broken, model = data.train.values.clone(), make_model()
    row, hour, variable = torch.nonzero(data.train.observed)[0].tolist()
    broken[row, hour, variable] = float("inf")
    data.train = dataclasses.replace(data.train, values=broken)
    model.epochs["stage1"] = int(kind is WarmUp)
    with pytest.raises(
        UserError, match=r"The training loss is nan in epoch 0 .*in the batch of the stays .*last\.ckpt"
    ) as told:
        model.fit(data, trainer(tmp_path))
    stage = "stage1" if kind is WarmUp else "stage2"
    assert (tmp_path / "checkpoints" / stage / "last.ckpt").exists()
    assert "and 22 more" in str(told.value)
    assert "best" not in str(told.value), "there is none in the first epoch"


@pytest.mark.parametrize("kind", [WarmUp, Joint])
def test_where_weights_are_no_numbers_the_stays_are_not_blamed(make_model, data, tmp_path, kind):
    """As after a step along a gradient that was too large for its type, whose own loss was a number."""
    model = make_model()
    model.epochs["stage1"] = int(kind is WarmUp)
    with torch.no_grad():
        model.network.imputer.denoiser.out_2.weight[0] = float("nan")
    with pytest.raises(
        UserError, match=r"The training loss is nan in epoch 0 \(.*\)\. .*last\.ckpt.* no stay is to blame: try a lower"
    ) as told:
        model.fit(data, trainer(tmp_path))
    assert "the stays" not in str(told.value)


def test_stage_1_reaches_the_imputer_in_mixed_precision(make_model):
    """Though the series that its loss noises is filled without a gradient first, in the same autocast."""
    model = make_model()
    stage = WarmUp(network=model.network.train(), weights=model.weights, optimizer=None, decay_at=[])
    with torch.autocast("cpu", torch.bfloat16):
        loss = stage.terms(gaussian_stays(32)[0])["loss"]
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.network.imputer.parameters())


def test_a_run_in_mixed_precision_ends_with_finite_metrics(run_here):
    folder = run_here(
        "model=mtdm",
        "model/size=tiny",
        "trainer.precision=bf16-mixed",
        "trainer.max_epochs=2",
        "data.stays=300",
        "data.cache_dir=null",
        "bootstrap=5",
        "imputation={rates:[0.5],stays:10,draws:5}",
    )
    logged = [
        float(value)
        for row in read_metrics(folder / "metrics.csv")
        for name, value in row.items()
        if name != "stage" and value
    ]
    assert len(logged) > 20
    assert all(map(math.isfinite, logged))
    metrics = json.loads((folder / "metrics.json").read_text())
    errors = [of_rate[name] for of_rate in metrics["imputation"].values() for name in ("mae", "crps")]
    assert len(errors) == 2
    found = [metrics["test"]["auroc"], metrics["test"]["brier"], *errors]
    assert all(math.isfinite(metric["value"]) for metric in found)


def test_nothing_to_learn_imputing_from_is_told(make_model, data, tmp_path):
    data.train = dataclasses.replace(data.train, observed=torch.zeros_like(data.train.observed))
    with pytest.raises(UserError, match="No training stay has a single measurement"):
        make_model().fit(data, trainer(tmp_path))


def test_the_learning_rate_falls_at_its_shares(make_model):
    stage = joint(make_model())
    stage.make_optimizer, stage.decay_at = lambda parameters: torch.optim.SGD(parameters, lr=1.0), [0.75, 0.9]
    stage._trainer = SimpleNamespace(max_epochs=20)
    _, [scheduler] = stage.configure_optimizers()
    assert sorted(scheduler.milestones) == [15, 18]
    rates = []
    for _ in range(20):
        rates += scheduler.get_last_lr()
        scheduler.optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1.0] * 15 + [0.1] * 3 + [0.01] * 2), "METHODS B.2"


def test_an_embedding_is_the_mean_of_those_of_the_draws(make_model):
    """Of the paper's width; and a risk a draw."""
    batch, model = gaussian_stays(5)[0], make_model("model.samples=3")
    reader, risks, embeddings = copy.deepcopy(model.network.predictor).double().eval(), [], []
    for draw in model.impute(batch, 3).unbind(1):
        logit, embedding = reader(draw.double(), batch.observed, batch.static.double())
        risks.append(logit.sigmoid())
        embeddings.append(embedding)
    assert (embeddings[0] - embeddings[1]).abs().max() > 1e-3, "or the law says nothing"
    assert model.embed(batch).shape == (5, 64)
    assert torch.allclose(model.embed(batch), torch.stack(embeddings).mean(0).float(), atol=1e-6)
    assert torch.allclose(model.predict(batch), torch.stack(risks, dim=1), atol=1e-9)


@pytest.mark.parametrize("path", sorted((CONF / "model" / "sampler").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sampler_is_chosen_by_its_name_in_every_size(path, make_model):
    model = make_model(f"model/sampler={path.stem}")
    assert model.network.imputer.sampler.levels(model.network.imputer.schedule)
    assert model.predict(gaussian_stays(2)[0]).shape == (2, model.samples)
    assert (model.samples, model.most_draws) == ((1, 1) if path.stem == "one_step" else (2, None))


@pytest.mark.parametrize("words", [["imputer=csdi"], ["imputer=mtdm"]], ids=" ".join)
def test_of_an_imputer_in_one_step_one_draw_is_taken_too(words):
    """Others would be the same number but for traces of the noise: no spread, no bands."""
    settings = composed("model=two_stage", *words, "model/size=tiny").plain["model"]
    assert (made := built(settings, shape=shape())).most_draws is None
    assert made.samples == 2
    inner = settings["imputer"]["diffusion"] if "imputer=csdi" in words else settings["imputer"]["joint"]["imputer"]
    inner["sampler"] = {"_target_": "icu_lightning.models.mtdm.samplers.OneStep"}
    made = built(settings, shape=shape())
    assert (made.samples, made.most_draws, made.imputer.draws_differ) == (1, 1, False)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model/sampler=ddim", "model.imputer.sampler.steps=51"], r"steps \(51\) .* 50 of the schedule's 50"),
        (["model.imputer.sampler.steps=46"], r"steps \(46\) .* 45 of the schedule's 50"),
        (["model/sampler=ddpm", "model.imputer.sampler.steps=5"], "every step of the schedule"),
        (["model.imputer.sampler.start_alpha_bar=2"], r"start_alpha_bar must be in \[0, 0\.02\]; it is 2\. Sampling"),
        (["model.fill_steps=51"], r"steps \(51\)"),
        (["model.imputer.clip=-4"], "clip must be above 0"),
        (["model.siamese.margin=-1"], "margin must be above 0"),
        (["model.siamese.projection=-1"], "projection must be a whole number"),
        (["model.decay_at=[1.5]"], "shares of a stage's epochs"),
        (["model.weights.mortality=-1"], r"^model\.weights\.mortality must be 0 or more; it is -1"),
        (["model.imputer.denoiser.step_embedding=2"], "the former at least 4"),
        (["model.weights.mortality=0"], r"model\.weights\.mortality is 0: nothing would teach the LSTM a risk"),
        (["model.weights.bce=0", "model.weights.mse=0"], r"model\.weights\.bce and .*mse are both 0: nothing would"),
        (["model.siamese.margin=inf"], r"^model\.siamese\.margin must be a finite number, above 0; it is inf\.$"),
        (
            ["model.imputer.schedule.beta_last=2"],
            r"^[^\n]*the schedule's beta_last must be above 0 and below 1; it is 2\.$",
        ),
        (
            ["model.imputer.schedule.beta_first=0.6"],
            r"beta_first must be at most its beta_last; they are 0\.6 and 0\.5",
        ),
        (["model.weights.feedback=no"], r"^model\.weights\.feedback must be true or false; it is no\.$"),
        (["model.best=mortalty"], "Unknown loss in model.best 'mortalty'. Did you mean 'mortality'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused_before_any_training(overrides, told, make_model):
    with pytest.raises(UserError, match=told):
        make_model(*overrides)


def test_an_imputer_that_is_trained_alone_has_the_epochs_of_one_that_is_trained_jointly(make_model, data, tmp_path):
    """Else the ablation would be won by construction."""
    epochs = ("model.epochs.stage1=1", "model.epochs.stage2=2")
    for tasks, expected in (("single", {"stage1": 3, "stage2": 2}), ("multi", {"stage1": 1, "stage2": 2})):
        make_model(f"model/tasks={tasks}", *epochs).fit(data, trainer(tmp_path / tasks, 5))
        rows = read_metrics(tmp_path / tasks / "metrics.csv")
        assert {stage: sum(row["stage"] == stage for row in rows) for stage in expected} == expected
