"""The three stages, their reuse, the guard, the ablations, and what is refused."""

import dataclasses
import json

import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score

from icu_lightning.data.settings import source_and_settings
from icu_lightning.errors import UserError
from icu_lightning.models.teacher_student.masked_autoencoder import Encoder
from icu_lightning.models.teacher_student.stages import warm_cosine
from icu_lightning.pipeline import check_model
from icu_lightning.training.stages import load_checkpoint, patient_keys, read_metrics
from tests.conftest import CONF, composed
from tests.models.teacher_student.conftest import SHAPE, Stays, stays, trainer

BASE = composed("model=teacher_student").plain["model"]
BASE_LR = composed("model=teacher_student", "model/network=tiny").plain["model"]["stages"]["mae"]["lr"]
ABLATIONS = sorted(path.stem for path in (CONF / "model" / "ablation").glob("*.yaml"))


@pytest.fixture(scope="module")
def run(make_model, tmp_path_factory):
    """A run folder of one epoch a stage, and its model."""
    folder, model = tmp_path_factory.mktemp("run"), make_model()
    model.fit(Stays(), trainer(folder))
    return folder, model


def test_each_stage_has_its_checkpoints_and_its_curve(run):
    folder, _ = run
    rows = read_metrics(folder / "metrics.csv")
    assert [row["stage"] for row in rows] == ["mae", "teacher", "student"]
    assert all((folder / "checkpoints" / row["stage"] / "best.ckpt").exists() for row in rows)
    assert all(rows[0][f"val/{name}_mse"] for name in ("vis", "carried_forward", "interpolated"))
    assert rows[1]["val/severity"]
    assert rows[2]["val/soft_labels"]


def test_the_curve_has_the_learning_rate_of_the_epoch_itself(make_model, tmp_path):
    """Lightning has stepped the schedule when an epoch's row is written."""
    epochs = {"model.stages.mae.epochs=5", "model.stages.teacher.epochs=1", "model.stages.student.epochs=1"}
    whole = trainer(tmp_path)
    whole.max_epochs = None
    make_model(*epochs, "model.stages.mae.patience=9", "model.warm_up=0.4").fit(Stays(), whole)
    rates = [float(row["lr"]) for row in read_metrics(tmp_path / "metrics.csv") if row["stage"] == "mae"]
    expected = [BASE_LR * warm_cosine(epoch, epochs=5, warm=2) for epoch in range(5)]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_the_teacher_is_at_the_end_of_a_run_what_it_was_at_the_end_of_its_own_stage(run):
    folder, model = run
    kept = torch.load(folder / "checkpoints" / "teacher" / "best.ckpt", weights_only=True)["state_dict"]
    own = model.teacher.state_dict()
    assert kept.keys() == {f"network.{name}" for name in own}
    assert all(torch.equal(kept[f"network.{name}"], weight) for name, weight in own.items())
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_a_stage_can_be_taken_from_another_run(run, make_model, tmp_path):
    folder, first = run
    model = make_model(f"model.stages.mae.checkpoint={folder}")
    model.fit(Stays(), trainer(tmp_path))
    assert [row["stage"] for row in read_metrics(tmp_path / "metrics.csv")] == ["teacher", "student"]
    same = zip(first.autoencoder.parameters(), model.autoencoder.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)
    kept = json.loads((tmp_path / "checkpoints" / "mae" / "finished.json").read_text())
    assert kept == {"reused_from": str(folder / "checkpoints" / "mae" / "best.ckpt")}
    batch = stays(20, 3)
    assert torch.equal(first.predict(batch), model.predict(batch)), "the rest is trained as it was"


def test_a_checkpoint_of_another_stage_is_refused(run, make_model, tmp_path):
    path = run[0] / "checkpoints" / "teacher" / "best.ckpt"
    with pytest.raises(UserError, match="is a checkpoint of the stage 'teacher', not of the stage 'mae'"):
        make_model(f"model.stages.mae.checkpoint={path}").fit(Stays(), trainer(tmp_path))
    assert not (tmp_path / "checkpoints").exists()


def test_a_checkpoint_that_is_not_there_or_of_another_model_is_refused(run, make_model, tmp_path):
    with pytest.raises(UserError, match=r"model\.stages\.mae\.checkpoint: there is no"):
        make_model("model.stages.mae.checkpoint=nowhere").fit(Stays(), trainer(tmp_path))
    wider = make_model(f"model.stages.mae.checkpoint={run[0]}", "model.encoder.width=8")
    with pytest.raises(UserError, match="is of another model"):
        wider.fit(Stays(), trainer(tmp_path))


def test_pretraining_is_left_out_or_taken_and_not_both(run, make_model):
    with pytest.raises(
        UserError, match=r"model\.stages\.mae\.epochs=0 .* pretrains nothing, and .*checkpoint=.* leave one"
    ):
        make_model("model/ablation=no_pretraining", f"model.stages.mae.checkpoint={run[0]}")


def test_a_score_that_is_input_and_target_is_refused(make_model):
    both = dataclasses.replace(SHAPE, static=("age", "saps2"))
    with pytest.raises(UserError, match=r"saps2 is in data.static, so an input, and in data.severity"):
        make_model(shape=both)


def test_targets_that_are_asked_for_and_not_there_are_refused(make_model):
    with pytest.raises(UserError, match=r"data\.severity names none"):
        make_model(shape=dataclasses.replace(SHAPE, severity=()))


def test_data_without_drugs_are_refused(make_model):
    with pytest.raises(UserError, match=r"say data\.vis=mean"):
        make_model(shape=dataclasses.replace(SHAPE, vis=()))


def test_a_cohort_without_a_vasoactive_hour_is_told(make_model, tmp_path):
    batch = stays(30)
    known = torch.ones_like(batch.vis_observed)
    nothing = dataclasses.replace(batch, vis=torch.zeros_like(batch.vis), vis_observed=known)
    with pytest.raises(
        UserError, match="None of the 30 training stays has a vasoactive drug in the hours that are shown"
    ):
        make_model().fit(Stays(train=nothing), trainer(tmp_path))


def test_drugs_whose_rates_nobody_can_read_are_not_called_absent(make_model, tmp_path):
    """Where a drug's unit is unknown its hours are, and no drug runs in the others."""
    batch = stays(30)
    known = torch.ones_like(batch.vis_observed)
    known[:7, 3] = False
    unread = dataclasses.replace(batch, vis=torch.zeros_like(batch.vis), vis_observed=known)
    with pytest.raises(UserError, match=r"in 7 of them drugs ran at rates or in units that could not be read\. audit"):
        make_model().fit(Stays(train=unread), trainer(tmp_path))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.weights.features=-1"], r"model\.weights\.features must be 0, .* it is -1"),
        (["model.weights.labels=0", "model.weights.soft_labels=0"], "nothing would teach the student a risk"),
        (["model.student.gaps=1.5"], r"model\.student\.gaps .* from 0 to 1; it is 1\.5"),
        (["model.student.temperature=0"], r"model\.student\.temperature must be above 0; it is 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_stage(make_model, overrides, said):
    with pytest.raises(UserError, match=said):
        make_model(*overrides)


def test_what_the_model_refuses_is_told_before_a_table_is_read():
    """A score on both sides, and scores of the first day beside fewer hours."""
    for words, said in {
        ("data.static=[age,sofa]",): "sofa is in data.static, so an input, and in data.severity",
        ("model/variant=paper_shap", "model.horizon=12"): "lods, oasis, .* look at the whole first day",
    }.items():
        plain = composed("model=teacher_student", "data=synthetic", *words).plain
        _, settings = source_and_settings(**plain["data"])
        with pytest.raises(UserError, match=said):
            check_model(plain, settings)
    plain = composed("model=teacher_student", "data=synthetic").plain
    check_model(plain, source_and_settings(**plain["data"])[1])


def test_the_student_may_read_as_a_transformer(make_model, tmp_path):
    model = make_model("model/reader=transformer")
    assert isinstance(model.student.reader, Encoder)
    model.fit(Stays(), trainer(tmp_path))
    assert model.predict(stays(4)).shape == (4, 1)


def test_the_variants_share_no_score_between_inputs_and_targets():
    """METHODS C.5: A predicts all five scores, B is given them."""
    clean, paper = (composed("model=teacher_student", f"model/variant={name}") for name in ("clean", "paper_shap"))
    scores = {"sofa", "lods", "saps2", "oasis", "sirs"}
    assert set(clean.plain["data"]["severity"]) == scores <= set(paper.plain["data"]["static"])
    assert not scores & set(clean.plain["data"]["static"])
    assert paper.plain["data"]["severity"] == []
    assert {name: paper.plain["model"]["weights"][name] for name in ("severity", "teacher_severity")} == {
        "severity": 0.0,
        "teacher_severity": 0.0,
    }
    for side in (clean, paper):
        assert {"marital_status", "insurance", "language", "ethnicity"} <= set(side.plain["data"]["static"])
        assert (side.plain["data"]["hours"], side.plain["data"]["vis"]) == (48, "mean")


def test_variant_b_trains(make_model, tmp_path):
    shape = dataclasses.replace(SHAPE, static=("age", "sofa"), severity=())
    model = make_model("model/variant=paper_shap", shape=shape)
    model.fit(Stays(), trainer(tmp_path))
    assert "val/severity" not in read_metrics(tmp_path / "metrics.csv")[0]
    assert model.predict(stays(4)).shape == (4, 1)


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_takes_away_what_it_says_and_nothing_else(name):
    whole = flat(BASE)
    part = flat(yaml.safe_load((CONF / "model" / "ablation" / f"{name}.yaml").read_text()))
    changed = {key: part[key] for key in part if part[key] != whole[key]}
    expected = {
        "no_pretraining": {"stages.mae.epochs": 0},
        "no_multitask": {"weights.teacher_severity": 0.0, "weights.severity": 0.0},
        "no_teacher": {"weights.soft_labels": 0.0, "weights.features": 0.0},
        "no_gaps": {"student.gaps": 0.0},
        "random_masks": {"autoencoder.masking.spans": 0.0},
        "span_masks": {"autoencoder.masking.spans": 1.0},
        "no_line": {"autoencoder.line": False},
        "equal_hours": {"autoencoder.running_weight": 1.0},
        "temperature_1": {"student.temperature": 1.0},
        "no_static": {"teacher.static": 0, "student.static": 0},
        "none": {},
    }
    expected |= {f"no_{term}": {f"weights.{term}": 0.0} for term in ("labels", "soft_labels", "features", "severity")}
    expected |= {f"mask_{share}": {"autoencoder.masking.ratio": share / 100} for share in (25, 50, 90)}
    assert changed == expected[name]


def flat(node, prefix=""):
    if not isinstance(node, dict):
        return {prefix[:-1]: node}
    return {key: value for name, part in node.items() for key, value in flat(part, f"{prefix}{name}.").items()}


def test_without_pretraining_there_is_no_such_stage(make_model, tmp_path):
    make_model("model/ablation=no_pretraining").fit(Stays(), trainer(tmp_path))
    assert [row["stage"] for row in read_metrics(tmp_path / "metrics.csv")] == ["teacher", "student"]


def test_the_teachers_risk_needs_no_student(make_model, tmp_path):
    model = make_model("model.risk=teacher")
    model.fit(Stays(), trainer(tmp_path))
    assert [row["stage"] for row in read_metrics(tmp_path / "metrics.csv")] == ["mae", "teacher"]
    assert model.embed(stays(3)).shape == (3, 16)


def test_the_teacher_begins_with_the_pretrained_encoder(make_model, tmp_path):
    model = make_model("model.stages.teacher.lr=1e-30", "model.optimizer.weight_decay=0")
    model.fit(Stays(), trainer(tmp_path))
    same = zip(model.autoencoder.encoder.parameters(), model.teacher.reader.parameters(), strict=True)
    assert all(torch.allclose(one, other) for one, other in same)


def test_the_student_is_a_seventh_of_the_teacher_at_most():
    from icu_lightning.batch import BatchShape
    from icu_lightning.build import built

    shape = BatchShape(48, ("a",), tuple(map(str, range(30))), tuple(map(str, range(7))), ("sofa",))
    model = built(BASE, shape=shape)
    teacher, student = (sum(p.numel() for p in part.parameters()) for part in (model.teacher, model.student))
    assert teacher >= 7 * student


def test_only_what_a_layer_adds_is_dropped_so_that_a_cpu_keeps_its_fused_attention(make_model):
    blocks = make_model("model.encoder.dropout=0.3").teacher.reader.blocks
    for layer in blocks.layers:
        assert (layer.dropout1.p, layer.dropout2.p) == (0.3, 0.3)
        assert (layer.self_attn.dropout, layer.dropout.p) == (0, 0)


def test_the_methods_numbers():
    """METHODS C.5."""
    conf = BASE
    assert [conf["encoder"][name] for name in ("width", "layers", "heads", "feedforward", "dropout")] == [
        64,
        4,
        4,
        256,
        0.1,
    ]
    assert [conf["autoencoder"]["decoder"][name] for name in ("width", "layers")] == [32, 2]
    masking = conf["autoencoder"]["masking"]
    assert (masking["ratio"], masking["spans"], masking["span_hours"]) == (0.75, 0.5, [4, 8])
    assert conf["autoencoder"]["running_weight"] == 3.0
    assert conf["weights"] == {
        "teacher_severity": 0.5,
        "labels": 0.5,
        "soft_labels": 0.5,
        "features": 1.0,
        "severity": 0.25,
    }
    assert (conf["student"]["temperature"], conf["student"]["gaps"], conf["stages"]["student"]["epochs"]) == (
        2.0,
        0.5,
        200,
    )
    assert (conf["optimizer"]["weight_decay"], conf["optimizer"]["betas"], conf["warm_up"]) == (0.05, [0.9, 0.95], 0.1)


def test_eight_stays_are_learnt_by_heart(make_model, tmp_path):
    eight = stays(8, 4)
    overrides = [
        "teacher.dropout=0",
        "student.dropout=0",
        "student.gaps=0",
        "encoder.dropout=0",
        "optimizer.weight_decay=0",
    ]
    longer = [f"stages.{stage}.{name}=60" for stage in ("teacher", "student") for name in ("epochs", "patience")]
    model = make_model(*(f"model.{o}" for o in [*overrides, *longer, "stages.mae.epochs=1"]))
    model.fit(Stays(eight, eight), trainer(tmp_path, None))
    assert roc_auc_score(eight.label, model.predict(eight)[:, 0]) == 1.0


def test_pretraining_learns_from_the_wider_cohort_if_there_is_one(make_model, tmp_path):
    """Also from one that never had a drug; teacher and student learn from the cohort."""
    wider = stays(60, 7)
    never = dataclasses.replace(wider, vis=torch.full_like(wider.vis, -1.0))
    for name, part in {"wider": wider, "never": never}.items():
        (tmp_path / name).mkdir()
        make_model().fit(Stays(pretraining=Stays(part[:40], part[40:])), trainer(tmp_path / name))
        student = load_checkpoint(tmp_path / name / "checkpoints" / "student" / "best.ckpt")["origin"]
        cohort, chosen = patient_keys(stays(48, 1).patient_id), patient_keys(stays(24, 2).patient_id)
        assert torch.equal(student["patients"]["mae"], patient_keys(part[:40].patient_id))
        assert torch.equal(student["chosen_on"]["mae"], patient_keys(part[40:].patient_id))
        assert all(torch.equal(student["patients"][stage], cohort) for stage in ("teacher", "student"))
        assert all(torch.equal(student["chosen_on"][stage], chosen) for stage in ("teacher", "student"))
