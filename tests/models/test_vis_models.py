"""What models of the hourly VIS share: the horizon, and the comparators' own columns."""

import dataclasses

import numpy as np
import pytest
import torch

from icu_lightning.build import built
from icu_lightning.data.severity import SCORES
from icu_lightning.errors import UserError
from icu_lightning.models import vis as shared
from icu_lightning.models.vis import until
from icu_lightning.models.vis_logistic import OF_VIS, VISLogistic, summaries_of_vis
from icu_lightning.models.vis_recurrent import VISRecurrent
from tests.conftest import composed
from tests.models.teacher_student.conftest import HOURS, SHAPE, Stays, conf_of, stays, trainer

MODELS = ["teacher_student", "vis_gru", "vis_logistic", "vis_lstm"]


def conf(name, *overrides):
    """A model's, of its tiny network, on SHAPE's columns."""
    if name == "teacher_student":
        return dict(conf_of(*overrides))
    columns = ["model.columns=[vis_max,vis_last,vis_mean,vis_slope]"] if name == "vis_logistic" else []
    return composed(f"model={name}", *columns, *overrides).plain["model"]


def later_changed(batch, hour):
    """The batch with other drugs from that hour on, and as if the patient had left the unit."""
    over = (torch.arange(HOURS) >= hour).view(1, -1, 1)
    noise = torch.randn(batch.vis.shape, generator=torch.Generator().manual_seed(5))
    return dataclasses.replace(
        batch,
        vis=torch.where(over, noise, batch.vis),
        vis_observed=batch.vis_observed ^ over,
        in_icu=batch.in_icu & ~over[..., 0],
    )


@pytest.mark.parametrize("name", MODELS)
def test_hours_beyond_the_horizon_reach_neither_training_nor_a_risk(name, tmp_path):
    batch, risks = stays(20, 3), []
    for change in (lambda part: part, lambda part: later_changed(part, 5)):
        torch.manual_seed(0)
        model = built(conf(name, "model.horizon=5"), shape=SHAPE)
        folder = tmp_path / str(len(risks))
        folder.mkdir()
        model.fit(Stays(change(stays(48, 1)), change(stays(24, 2))), trainer(folder))
        risks.append(model.predict(change(batch)))
    assert torch.equal(*risks)


@pytest.mark.parametrize("name", MODELS)
def test_hours_before_it_do_and_without_one_all_do(name, tmp_path):
    model = built(conf(name), shape=SHAPE)
    model.fit(Stays(), trainer(tmp_path))
    batch = stays(20, 3)
    assert not torch.allclose(model.predict(batch), model.predict(later_changed(batch, 5)))
    assert torch.equal(until(batch, None).vis, batch.vis)
    short = until(batch, 5)
    assert torch.equal(short.vis[:, :5], batch.vis[:, :5])
    assert torch.equal(short.in_icu[:, :5], batch.in_icu[:, :5])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("horizon", "said"), [(0, "must be"), (13, "beyond the window of data.hours=12")])
def test_a_horizon_that_is_none_is_refused(name, horizon, said):
    with pytest.raises(UserError, match=said):
        built(conf(name, f"model.horizon={horizon}"), shape=SHAPE)


def test_scores_of_the_first_day_are_no_input_before_it_is_over():
    shape = dataclasses.replace(SHAPE, hours=48, static=("age", "sofa"), severity=())
    with pytest.raises(UserError, match=r"sofa look at the whole first day.*Take them out of data\.static"):
        built(conf("vis_lstm", "model.horizon=12"), shape=shape)
    built(conf("vis_lstm", "model.horizon=24"), shape=shape)
    with pytest.raises(UserError, match=r"sofa look at the whole first day.*Take them out of model\.columns"):
        built(conf("vis_logistic", "model.horizon=12", "model.columns=[sofa,vis_max]"), shape=shape)
    built(
        conf("vis_logistic", "model.horizon=12", "model.columns=[vis_max]"), shape=shape
    )  # the score is there, and not read
    assert shared.SCORES == SCORES


@pytest.mark.parametrize("name", MODELS)
def test_data_without_drugs_are_refused(name):
    with pytest.raises(UserError, match=rf"model={name} reads the rates of vasoactive drugs: say data\.vis=mean"):
        built(conf(name), shape=dataclasses.replace(SHAPE, vis=()))


def test_the_numbers_of_vis_are_those_of_known_hours_in_the_unit():
    batch = stays(30, left=True)
    batch.vis_observed[0] = False
    got = summaries_of_vis(batch)
    for i in range(30):
        known = (batch.vis_observed[i, :, -1] & batch.in_icu[i]).numpy()
        x, hour = batch.vis[i, known, -1].double().numpy(), np.arange(HOURS)[known]
        if not known.any():
            assert all(got[name][i].isnan() for name in OF_VIS)
            continue
        slope = np.polyfit(hour, x, 1)[0] if len(hour) > 1 else 0.0
        expected = {"vis_max": x.max(), "vis_last": x[-1], "vis_mean": x.mean(), "vis_slope": slope}
        assert {name: float(got[name][i]) for name in OF_VIS} == pytest.approx(expected, abs=1e-9)


def test_a_score_alone_is_a_regression_on_one_column(tmp_path):
    shape = dataclasses.replace(SHAPE, static=("age", "sofa"), vis=())
    model = VISLogistic(shape=shape, columns=["sofa"], horizon=None, inverse_penalty=1.0)
    model.fit(Stays(), trainer(tmp_path))
    batch = stays(40, 4)
    risk = model.predict(batch)[:, 0]
    assert model.weight.shape == (1,)
    order = batch.static[:, 1].argsort(descending=bool(model.weight < 0))
    assert (risk[order].diff() >= 0).all()


@pytest.mark.parametrize(
    ("columns", "said"),
    [("sofa", "there is no sofa"), ("", "must name some columns"), ("vis_max,vis_max", "each once")],
)
def test_columns_that_are_not_there_are_refused(columns, said):
    with pytest.raises(UserError, match=said):
        built(conf("vis_logistic") | {"columns": [c for c in columns.split(",") if c]}, shape=SHAPE)


def test_the_networks_are_of_one_layer_of_64():
    """METHODS C.5; the paper's LSTM, and the student's GRU."""
    for name, gates in {"vis_lstm": 4, "vis_gru": 3}.items():
        model = built(conf(name), shape=SHAPE)
        assert isinstance(model, VISRecurrent)
        layer = model.network.reader.layer
        assert (layer.num_layers, layer.hidden_size, layer.weight_hh_l0.shape[0]) == (1, 64, 64 * gates)


def test_the_comparators_are_given_what_teacher_and_student_are():
    own = composed("model=teacher_student").plain["data"]
    scores = composed("model=teacher_student", "model/variant=paper_shap").plain["data"]["static"]
    for name, static in {"vis_lstm": own["static"], "vis_gru": own["static"], "vis_logistic": scores}.items():
        other = composed(f"model={name}").plain["data"]
        assert {key: other[key] for key in ("cohort", "hours", "vis", "variables", "fractions", "split_seed")} == {
            key: own[key] for key in ("cohort", "hours", "vis", "variables", "fractions", "split_seed")
        }
        assert other["static"] == static


class Told:
    """A trainer that trains nothing, and keeps what it was asked for, by stage."""

    def __init__(self) -> None:
        self.rules: dict[str, tuple[str, str]] = {}

    def fit(self, module, data, *, stage: str, monitor: str, mode: str, **_):
        self.rules[stage] = (monitor, mode)


def test_the_kept_epoch_is_that_of_the_least_validation_loss_of_the_labels_for_all_on_this_cohort():
    """Teacher, student, LSTM and GRU, so that none gains by its rule; logistic regression has no epochs."""
    rules = {}
    for name in ("teacher_student", *MODELS):
        trainer = Told()
        built(conf(name), shape=SHAPE).fit(Stays(), trainer)
        rules[name] = trainer.rules
    assert rules == {
        "teacher_student": {
            "mae": ("val/loss", "min"),
            "teacher": ("val/mortality", "min"),
            "student": ("val/mortality", "min"),
        },
        "vis_gru": {"fit": ("val/loss", "min")},
        "vis_lstm": {"fit": ("val/loss", "min")},
        "vis_logistic": {},
    }
    batch = stays(40, 3)
    logit = torch.randn(40, generator=torch.Generator().manual_seed(0))
    ours = torch.nn.functional.binary_cross_entropy_with_logits(logit, batch.label)
    assert built(conf("vis_gru"), shape=SHAPE).loss(logit, batch.label) == ours, "val/loss is what val/mortality is"


@pytest.mark.parametrize("name", MODELS)
def test_training_stays_without_a_drug_or_a_known_score_are_told(name, tmp_path):
    batch = stays(30)
    known = torch.ones_like(batch.vis_observed)
    nothing = dataclasses.replace(batch, vis=torch.zeros_like(batch.vis), vis_observed=known)
    unknown = dataclasses.replace(batch, vis_observed=torch.zeros_like(batch.vis_observed))
    for train, told in ((nothing, "None of the 30 training stays has a vasoactive drug"), (unknown, "score is known")):
        with pytest.raises(UserError, match=told):
            built(conf(name), shape=SHAPE).fit(Stays(train=train), trainer(tmp_path))
