"""What of another run may be taken: nothing that knows a patient who judges it, or that was made for other numbers."""

import copy
import dataclasses
import shutil

import pytest
import torch

from icu_lightning.errors import UserError
from icu_lightning.training.stages import load_checkpoint, patient_keys
from tests.models.teacher_student.conftest import SHAPE, Stays, stays, trainer

STAGES = ("mae", "teacher", "student")
OTHERWISE = {  # an ablation -> from which stage on it is another's work
    "model/ablation=mask_25": ("mae", r"model\.autoencoder\.masking\.ratio=0\.75, .*=0\.25"),
    "model/ablation=span_masks": ("mae", r"model\.autoencoder\.masking\.spans=0\.5, .*=1"),
    "model/ablation=no_line": ("mae", r"model\.autoencoder\.line=true, .*=false"),
    "model/ablation=equal_hours": ("mae", r"model\.autoencoder\.running_weight=3\.0, .*=1\.0"),
    "model/ablation=no_multitask": ("teacher", r"model\.weights\.\w*severity=[\d.]+, .*=0"),
    "model/ablation=no_teacher": ("student", r"model\.weights\.\w+=[\d.]+, .*=0"),
    "model/ablation=temperature_1": ("student", r"model\.student\.temperature=2\.0, .*=1"),
}
WIDER = stays(60, 7)  # of a pretraining cohort: 40 to train on, 20 to validate on


@pytest.fixture(scope="module")
def run(make_model, tmp_path_factory):
    """A run folder whose encoder was pretrained on a wider cohort."""
    folder = tmp_path_factory.mktemp("run")
    make_model().fit(Stays(pretraining=Stays(WIDER[:40], WIDER[40:])), trainer(folder))
    return folder


def origin(folder, stage):
    return load_checkpoint(folder / "checkpoints" / stage / "best.ckpt")["origin"]


def test_weights_know_the_patients_of_every_stage_that_they_come_from(run, make_model, tmp_path):
    """Also of those that another run has trained, and that a third takes."""
    assert [set(origin(run, stage)["patients"]) for stage in STAGES] == [set(STAGES[:n]) for n in (1, 2, 3)]
    make_model(f"model.stages.teacher.checkpoint={run}").fit(Stays(), trainer(tmp_path))
    for side, part in {"patients": WIDER[:40], "chosen_on": WIDER[40:]}.items():
        for stage in ("teacher", "student"):
            assert torch.equal(origin(tmp_path, stage)[side]["mae"], patient_keys(part.patient_id))


@pytest.mark.parametrize("stage", ["teacher", "student"])
@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_patient_of_the_pretraining_alone_may_not_judge_what_came_of_it(stage, side, run, make_model, tmp_path):
    """The stage itself never saw that patient; the encoder that it began with, or was taught by, did."""
    model = make_model(f"model.stages.{stage}.checkpoint={run}", "model.stages.mae.epochs=0")
    with pytest.raises(UserError) as refused:
        model.fit(Stays(), trainer(tmp_path, **{side: WIDER[30:40]}))
    said = f"stage 'mae' was trained on 40 patients, 10 of them {side} patients here"
    assert refused.match(rf"model\.stages\.{stage}\.checkpoint: .* knows patients .*{said}")
    assert not (tmp_path / "checkpoints" / stage / "finished.json").exists()


def test_who_chose_an_epoch_may_validate_and_not_test(run, make_model, tmp_path):
    taken = f"model.stages.mae.checkpoint={run}"
    make_model(taken).fit(Stays(), trainer(tmp_path, validation=WIDER[40:]))
    with pytest.raises(UserError, match="stage 'mae' was stopped by 20 patients, 20 of them test patients here"):
        make_model(taken).fit(Stays(), trainer(tmp_path / "other", test=WIDER[40:]))


def test_strangers_to_both_runs_sides_are_no_reason_to_refuse(run, make_model, tmp_path):
    """Those of the wider cohort are no training patients of this run, and are not judged by either."""
    make_model(f"model.stages.mae.checkpoint={run}").fit(Stays(), trainer(tmp_path))


def test_a_trainer_that_does_not_know_whom_it_tests_takes_nothing(run, make_model, tmp_path):
    blind = trainer(tmp_path)
    blind.apart = None
    with pytest.raises(ValueError, match="has to know whom it is tested on"):
        make_model(f"model.stages.mae.checkpoint={run}").fit(Stays(), blind)


OTHER = {
    "vis_scaler": ("mae", {"mean": [0.5, 0.6], "sd": [1.0, 1.0]}, "another scale of data.vis"),
    "usual_weight": ("mae", {"male": 70.0}, "another scale of data.vis"),
    "static_encoder": ("teacher", {"features": ["age"]}, "another scale of data.static"),
    "severity_scaler": ("teacher", {"mean": [5.0, 41.0], "sd": [2.0, 10.0]}, "another scale of data.severity"),
}


@pytest.mark.parametrize("part", OTHER)
def test_weights_that_were_made_for_another_scale_are_refused(part, run, make_model, tmp_path):
    stage, value, said = OTHER[part]
    data = Stays()
    data.fitted = copy.deepcopy(data.fitted) | {part: value}
    with pytest.raises(
        UserError, match=rf"model.stages.{stage}.checkpoint: .* was trained with {said}.*data.split_seed.*=null"
    ):
        make_model(f"model.stages.{stage}.checkpoint={run}").fit(data, trainer(tmp_path))


def test_pretraining_does_not_ask_how_static_features_are_shown(run, make_model, tmp_path):
    """So that variants, which differ in nothing else, can share it."""
    data = Stays()
    data.fitted = data.fitted | {"static_encoder": {"features": ["age"]}}
    make_model(f"model.stages.mae.checkpoint={run}").fit(data, trainer(tmp_path))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("ablation", OTHERWISE)
def test_an_ablation_is_not_voided_by_a_stage_that_was_trained_without_it(ablation, stage, run, make_model, tmp_path):
    first, said = OTHERWISE[ablation]
    model = make_model(ablation, f"model.stages.{stage}.checkpoint={run}")
    if STAGES.index(stage) < STAGES.index(first):
        return model.fit(Stays(), trainer(tmp_path))
    with pytest.raises(UserError, match=f"was trained with {said}"):
        model.fit(Stays(), trainer(tmp_path))


def test_where_the_teacher_is_taken_nothing_is_pretrained_and_that_is_said(run, make_model, tmp_path):
    model = make_model(f"model.stages.teacher.checkpoint={run}")
    model.fit(Stays(), trainer(tmp_path))
    assert not (tmp_path / "checkpoints" / "mae").exists()
    assert model.notes == [
        f"The teacher was taken from {run}, with what that run pretrained: nothing was pretrained here."
    ]
    made = load_checkpoint(run / "checkpoints" / "teacher" / "best.ckpt")["state_dict"]
    assert torch.equal(model.teacher.mortality.weight, made["network.mortality.weight"])


def test_a_teacher_without_pretraining_is_not_taken_for_one_with_it(run, make_model, tmp_path):
    make_model("model/ablation=no_pretraining").fit(Stays(), trainer(tmp_path / "without"))
    taken = f"model.stages.teacher.checkpoint={tmp_path / 'without'}"
    with pytest.raises(UserError, match=r"an encoder that is pretrained=false, and this run has .*=true"):
        make_model(taken).fit(Stays(), trainer(tmp_path / "one"))
    make_model(taken, "model/ablation=no_pretraining").fit(Stays(), trainer(tmp_path / "other"))


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_no_pretraining_is_not_voided_by_what_was_pretrained(stage, run, make_model, tmp_path):
    model = make_model("model/ablation=no_pretraining", f"model.stages.{stage}.checkpoint={run}")
    with pytest.raises(UserError, match=r"an encoder that is pretrained=true, and this run has .*=false"):
        model.fit(Stays(), trainer(tmp_path))


def test_a_checkpoint_that_does_not_say_how_it_was_trained_is_of_an_older_version(run, make_model, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(run / "checkpoints", older / "checkpoints")
    path = older / "checkpoints" / "mae" / "best.ckpt"
    content = load_checkpoint(path)
    content["origin"]["shown"] = {k: v for k, v in content["origin"]["shown"].items() if "autoencoder" not in k}
    torch.save(content, path)
    with pytest.raises(UserError, match=r"does not say with which model\.autoencoder\.line .* older versions"):
        make_model(f"model.stages.mae.checkpoint={older}").fit(Stays(), trainer(tmp_path / "new"))


NAMES = {
    "vis": (
        "mae",
        ("epinephrine", "vis"),
        r'columns of data.vis=\["norepinephrine", "vis"\].*\["epinephrine", "vis"\]',
    ),
    "static": ("teacher", ("age", "sex=female"), r'columns of data.static=\["age", "sex=male"\].*sex=female'),
    "severity": ("teacher", ("sofa", "lods"), r'data.severity=\["sofa", "saps2"\].*lods'),
}


@pytest.mark.parametrize("part", NAMES)
def test_weights_that_were_made_for_other_columns_are_refused(part, run, make_model, tmp_path):
    """As many of them, so that the weights would fit."""
    stage, names, said = NAMES[part]
    model = make_model(f"model.stages.{stage}.checkpoint={run}", shape=dataclasses.replace(SHAPE, **{part: names}))
    with pytest.raises(UserError, match=rf"was trained with {said}.*Say it as that run's config.yaml does"):
        model.fit(Stays(), trainer(tmp_path))


@pytest.mark.parametrize("stage", ["mae", "teacher"])
def test_weights_of_another_horizon_are_refused(stage, run, make_model, tmp_path):
    model = make_model(f"model.stages.{stage}.checkpoint={run}", "model.horizon=6")
    with pytest.raises(UserError, match=r"was trained with model\.horizon=12, and this run has model\.horizon=6"):
        model.fit(Stays(), trainer(tmp_path))


def test_a_checkpoint_that_does_not_say_all_that_it_knows_is_refused(run, make_model, tmp_path):
    """As those of before the stages' patients were kept."""
    shutil.copytree(run, tmp_path / "old")
    path = tmp_path / "old" / "checkpoints" / "teacher" / "best.ckpt"
    content = load_checkpoint(path)
    content["origin"] = {"stage": "teacher", "patients": patient_keys(stays(48, 1).patient_id)}
    torch.save(content, path)
    with pytest.raises(UserError, match="does not say which patients the stages before it were trained on"):
        make_model(f"model.stages.teacher.checkpoint={tmp_path / 'old'}").fit(Stays(), trainer(tmp_path))


def test_a_resumed_run_still_knows_whom_its_finished_stages_learnt_from(run, make_model, tmp_path):
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "student")
    make_model().fit(Stays(pretraining=Stays(WIDER[:40], WIDER[40:])), trainer(tmp_path))
    assert torch.equal(origin(tmp_path, "student")["patients"]["mae"], patient_keys(WIDER[:40].patient_id))
