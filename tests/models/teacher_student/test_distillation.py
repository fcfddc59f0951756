"""Teacher and student: what each loss term reaches, what is zero for equals, and that the teacher is left alone."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from icu_lightning.models.teacher_student.masked_autoencoder import Encoder
from icu_lightning.models.teacher_student.stages import Learning, Teaching, Weights
from icu_lightning.models.teacher_student.student import Lessons, corrupted, feature_loss, soft_label_loss
from icu_lightning.models.teacher_student.teacher import MultitaskNetwork, severity_loss
from tests.models.teacher_student.conftest import SHAPE, stays

NONE = {"teacher_severity": 0.0, "labels": 0.0, "soft_labels": 0.0, "features": 0.0, "severity": 0.0}


def learning(model, batch, survivor_weight=1.0, **weights) -> Learning:
    parts = {"student": model.student, "projection": model.projection, "lessons": Lessons.of(model.teacher, [batch])}
    common = {"weights": Weights(**(NONE | weights)), "rankable": True, "optimizer": None, "warm_up": 0.1}
    common["survivor_weight"] = survivor_weight
    return Learning(**parts, **model.learning, **common)


def reached(module) -> set[str]:
    """The parts whose parameters have a gradient other than 0."""
    parts = {n: p for n, p in module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    return {name.split(".")[0 if name.startswith("projection") else 1] for name in parts}


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("labels", {"reader", "static", "mortality"}),
        ("soft_labels", {"reader", "static", "mortality"}),
        ("features", {"reader", "projection"}),
        ("severity", {"reader", "static", "severity"}),
    ],
)
def test_a_term_of_the_student_reaches_what_it_should_and_nothing_else(make_model, term, parts):
    batch = stays(24)
    stage = learning(make_model("model.student.dropout=0"), batch, **{term: 1.0})
    terms = stage.terms(batch)
    terms["loss"].backward()
    assert reached(stage) == parts
    off = {"soft_labels", "features", "severity"} - {term}
    assert not off & terms.keys(), "a term of weight 0 is not even computed"


def test_together_they_reach_every_parameter_and_sum_with_their_weights(make_model):
    batch, weights = stays(24), {"labels": 0.5, "soft_labels": 0.5, "features": 1.0, "severity": 0.25}
    stage = learning(make_model("model.student.dropout=0"), batch, **weights)
    terms = stage.terms(batch)
    terms["loss"].backward()
    assert not [n for n, p in stage.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    named = {"labels": "mortality"}
    expected = sum(w * float(terms[named.get(name, name)].detach()) for name, w in weights.items())
    assert float(terms["loss"].detach()) == pytest.approx(expected, rel=1e-5)


def test_of_undersampled_training_every_term_is_weighed_as_training_does(make_model):
    """Survivors that weigh a third are deaths that are there three times; the scores that are known are the same of all."""
    batch, weights = stays(24), {"labels": 0.5, "soft_labels": 0.5, "features": 1.0, "severity": 0.25}
    deaths = torch.where(batch.label == 1)[0]
    thrice = batch[torch.cat([torch.arange(24), deaths, deaths])]

    def means(of, survivor_weight):
        stage = learning(make_model(), batch, survivor_weight, **weights).eval()
        stage.log = stage.log_dict = lambda *_: None
        for part in (of[:7], of[7:]):
            stage.validation_step(part, 0)
        return {name: float(mean.compute()) for name, mean in stage.means.items()}

    assert means(batch, 1 / 3).keys() == {"loss", "mortality", "soft_labels", "features", "severity"}
    assert means(batch, 1 / 3) == pytest.approx(means(thrice, 1.0), rel=1e-4)
    for name, plain in means(batch, 1.0).items():
        assert means(batch, 1 / 3)[name] != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize(("weight", "extra"), [(0.5, {"severity"}), (0.0, set())])
def test_the_teachers_terms(make_model, weight, extra):
    batch, model = stays(24), make_model("model.teacher.dropout=0")
    weights = Weights(**(NONE | {"teacher_severity": weight}))
    common = {"rankable": True, "survivor_weight": 1.0, "optimizer": None, "warm_up": 0.1}
    stage = Teaching(teacher=model.teacher, weights=weights, **common)
    terms = stage.terms(batch)
    terms["loss"].backward()
    assert reached(stage) == {"reader", "static", "mortality"} | extra
    assert terms.keys() == {"loss", "mortality"} | extra


def test_the_teacher_has_no_gradient_and_does_not_change_while_the_student_learns(make_model):
    batch, model = stays(24), make_model()
    before = copy.deepcopy(model.teacher.state_dict())
    stage = learning(model, batch, labels=0.5, soft_labels=0.5, features=1.0, severity=0.25)
    assert not any(p is q for p in stage.parameters() for q in model.teacher.parameters()), "it is no part of the stage"
    optimizer = torch.optim.SGD([*stage.parameters(), *model.teacher.parameters()], lr=1.0)
    stage.terms(batch)["loss"].backward()
    optimizer.step()
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(torch.equal(before[name], p) for name, p in model.teacher.state_dict().items())


def test_at_temperature_1_an_equal_student_has_nothing_to_learn_from_the_teacher():
    """Equal readers, heads and static branch. Of states before training alone: the teacher's is normalised."""
    torch.manual_seed(0)
    encoder = Encoder(shape=SHAPE, width=16, layers=1, heads=2, feedforward=16, dropout=0.0)
    teacher = MultitaskNetwork(shape=SHAPE, reader=encoder, static=4, dropout=0.0).eval()
    student, batch = copy.deepcopy(teacher).requires_grad_(True), stays(16)
    lesson, reading = Lessons.of(teacher, [batch])(batch), student(batch)
    soft = soft_label_loss(reading.logit, lesson.logit, 1.0)
    features = feature_loss(nn.Identity()(reading.state), lesson.state)
    assert float(soft.detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(features.detach()) == pytest.approx(0.0, abs=1e-6)
    soft.backward()
    assert max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None) < 1e-6


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_labels_are_the_divergence_between_the_softened_risks(temperature):
    student, teacher = torch.tensor([0.3, -2.0, 4.0]), torch.tensor([1.0, -1.0, -3.0])
    p, q = (teacher / temperature).sigmoid(), (student / temperature).sigmoid()
    divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    expected = temperature**2 * float(divergence.mean())
    assert float(soft_label_loss(student, teacher, temperature)) == pytest.approx(expected, rel=1e-4)
    assert expected > 0


def test_scores_that_are_not_known_do_not_count():
    batch = stays(8)
    told = torch.zeros(8, 5)
    other = torch.where(batch.severity_observed, told, 100.0)
    assert float(severity_loss(told, batch)) == float(severity_loss(other, batch)) > 0
    nobody = dataclasses.replace(batch, severity_observed=torch.zeros_like(batch.severity_observed))
    assert float(severity_loss(told, nobody)) == 0


def test_gaps_hide_whole_hours_of_the_student_and_no_more_than_the_share(make_model):
    batch = stays(400)
    torch.manual_seed(0)
    shown = corrupted(batch, 0.5)
    lost = batch.vis_observed & ~shown.vis_observed
    assert (shown.vis[~shown.vis_observed] == 0).all()
    assert torch.equal(shown.vis[shown.vis_observed], batch.vis[shown.vis_observed])
    assert torch.equal(lost[..., 0], lost[..., 1])
    assert float(lost.sum() / batch.vis_observed.sum()) == pytest.approx(0.25, abs=0.03)
    whole = corrupted(batch, 0.0)
    assert torch.equal(whole.vis, batch.vis)


def test_lessons_are_of_the_stay_whatever_the_batch(make_model):
    model, train, val = make_model(), stays(30, 1), stays(10, 2)
    lessons = Lessons.of(model.teacher, [train, val], size=16)
    mixed = val[torch.tensor([3, 1])]
    with torch.no_grad():
        assert torch.allclose(lessons(mixed).logit, model.teacher(mixed).logit, atol=1e-5)
