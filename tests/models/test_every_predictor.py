"""Laws of every predictor of filled stays, by globbing conf/predictor: a new one is tested because its file exists."""

import copy
import dataclasses
import shutil
import sys
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.data.loader import TrainingData
from icu_lightning.errors import UserError
from icu_lightning.models.base import anew
from icu_lightning.models.imputers.brits import label_loss
from icu_lightning.models.imputers.trained import TrainedImputer
from icu_lightning.training.stages import StageTrainer, stable_seed
from tests.conftest import CONF, composed

PREDICTORS = sorted(path.stem for path in (CONF / "predictor").glob("*.yaml"))
OWN = {"brits": "brits"}  # predictors that are parts of an imputer


def conf_of(name: str) -> dict:
    return composed("model=two_stage", f"imputer={OWN.get(name, 'locf')}", f"predictor={name}").plain["model"]


def fitted(name: str, data, folder, max_epochs: int | None = 2, precision: str = "32-true"):
    torch.manual_seed(stable_seed(0, "initial weights"))
    model = built(conf_of(name), shape=data.shape)
    folder.mkdir(exist_ok=True)
    device = {"accelerator": "cpu", "devices": 1, "precision": precision, "deterministic": True, "threads": 1}
    model.fit(data, StageTrainer(folder=folder, seed=0, max_epochs=max_epochs, **device))
    return model


@pytest.fixture(scope="module")
def ready(synthetic_data, tmp_path_factory):
    """A function: a predictor's name -> (model, data, folder), two epochs on 400 stays, fitted once for all who read them."""

    def make(name: str):
        data, folder = synthetic_data(400), tmp_path_factory.mktemp(name)
        return fitted(name, data, folder), data, folder

    return cache(make)


@pytest.mark.slow
@pytest.mark.parametrize("name", PREDICTORS)
def test_a_planted_signal_is_found(name, synthetic_data, tmp_path):
    data = synthetic_data(1200)
    risk = fitted(name, data, tmp_path, max_epochs=12).predict(data.test).mean(1)
    blind = name.startswith("kmeans")  # labels do not shape its clusters
    assert roc_auc_score(data.test.label, risk) > (0.55 if blind else 0.68)


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_risk_does_not_depend_on_the_batch_and_labels_and_ids_are_no_features(name, ready):
    model, data, _ = ready(name)
    together = model.predict(data.test)
    assert together.shape == (len(data.test), 1)
    assert ((together >= 0) & (together <= 1)).all()
    alone = torch.cat([model.predict(data.test[i : i + 1]) for i in range(12)])
    assert torch.allclose(together[:12], alone, atol=1e-6)
    other = dataclasses.replace(
        data.test,
        label=1 - data.test.label,
        hospital_hours=torch.ones_like(data.test.hospital_hours),
        stay_id=np.flip(data.test.stay_id),
    )
    assert torch.equal(together, model.predict(other))


@pytest.mark.parametrize("name", PREDICTORS)
def test_hidden_truth_cannot_change_a_risk(name, ready):
    model, data, _ = ready(name)
    values = torch.where(data.test.observed, data.test.values, 7.0)
    assert torch.equal(model.predict(data.test), model.predict(dataclasses.replace(data.test, values=values)))


NETWORKS = [name for name in PREDICTORS if name in OWN or "optimizer" in conf_of(name)["predictor"]]


@pytest.mark.parametrize("name", NETWORKS)
def test_it_trains_in_mixed_precision(name, synthetic_data, tmp_path):
    """See the imputers' law of this name."""
    data = copy.copy(synthetic_data(400))
    data.train, data.val = data.train[:32], data.val[:32]
    model = fitted(name, data, tmp_path, max_epochs=1, precision="bf16-mixed")
    assert model.predict(data.test[:2]).isfinite().all()


@pytest.mark.parametrize("name", PREDICTORS)
def test_its_state_is_plain_and_restores_it_and_test_stays_are_never_seen(name, synthetic_data, tmp_path):
    data = synthetic_data(400)
    test = data.test
    del data.test  # whoever touches it while fitting fails
    model = fitted(name, data, tmp_path / "run")
    torch.save(dict(model.state_dict()), tmp_path / "state.ckpt")
    again = built(conf_of(name), shape=data.shape)
    again.load_state_dict(torch.load(tmp_path / "state.ckpt", weights_only=True))
    assert torch.equal(model.predict(test), again.predict(test))


def test_the_head_of_brits_weighs_the_labels_of_validation_as_undersampled_training_does(synthetic_data, tmp_path):
    """Survivors that weigh a third are deaths that are there three times; the cells to be imputed weigh as they did."""
    whole = synthetic_data(200)
    data = TrainingData.of(whole, 32, 0)
    data.prior_odds = 1 / 3
    imputer = fitted("brits", data, tmp_path, max_epochs=1).imputer
    assert imputer.survivor_weight == 1 / 3
    network, batch = imputer.network.eval(), whole.val
    deaths = torch.where(batch.label == 1)[0]
    thrice = batch[torch.cat([torch.arange(len(batch)), deaths, deaths])]
    with torch.no_grad():
        of_labels = label_loss(network.logits(network(thrice)), thrice.label)
        of_cells = TrainedImputer.validation_loss(imputer, batch)[0]
        loss = imputer.validation_loss(batch)[0]
    assert float(loss) == pytest.approx(float(of_cells + network.label_weight * of_labels), rel=1e-4)


class Told:
    """A trainer that trains nothing, and knows what it was asked for."""

    def __init__(self) -> None:
        self.rules: list[tuple[str, str, int]] = []

    def fit(self, module, data, *, monitor: str, mode: str, patience: int, **_):
        self.rules.append((monitor, mode, patience))

    def fit_once(self, part, fit, **_):
        fit()
        return anew

    def keep(self, model, **_):
        pass


def rules_of(conf: dict, data) -> list[tuple[str, str, int]]:
    """What decides about the kept epoch of each stage."""
    told = Told()
    built(conf, shape=data.shape).fit(data, told)
    return told.rules


@pytest.mark.parametrize("name", PREDICTORS)
def test_the_kept_epoch_is_that_of_the_least_validation_loss_as_of_the_mtdm(name, synthetic_data):
    """One rule and one patience for all that are trained, so that none gains by it."""
    data = synthetic_data(400)
    rules = rules_of(conf_of(name), data)
    assert all(rule == ("val/loss", "min", 15) for rule in rules)
    assert rules or "patience" not in conf_of(name)["predictor"]
    for size in ("lean", "small"):
        assert rules_of(composed("model=mtdm", f"model/size={size}").plain["model"], data)[-1] == (
            "val/loss",
            "min",
            15,
        )


def test_another_monitor_may_be_asked_for_and_none_that_is_unknown(synthetic_data):
    data, conf = synthetic_data(400), conf_of("lstm")
    conf["predictor"]["monitor"] = "val/auroc"
    assert rules_of(conf, data) == [("val/auroc", "max", 15)]
    conf["predictor"]["monitor"] = "val/aurocc"
    with pytest.raises(UserError, match=r"'val/aurocc'\. Did you mean 'val/auroc'"):
        built(conf, shape=data.shape)


@pytest.mark.parametrize("imputer", ["locf", "csdi"])
def test_the_head_of_brits_is_refused_with_another_imputer_before_any_training(imputer):
    conf = composed("model=two_stage", f"imputer={imputer}", "predictor=brits").plain["model"]
    with pytest.raises(UserError, match=r"predictor=brits is a head of imputer=brits .* choose imputer=brits"):
        built(conf, shape=BatchShape(6, ("a", "b"), ()))


MISTAKES = {  # settings of model.predictor, or of model.imputer.joint, and what is told
    "lightgbm trees=0": r"^model\.predictor\.trees must be a whole number of at least 1; it is 0",
    "lightgbm learning_rate=-1": r"^model\.predictor\.learning_rate must be above 0; it is -1",
    "lstm max_epochs=0": r"^model\.predictor\.max_epochs must be",
    "gru_d optimizer.lr=-1": r"^model\.predictor\.optimizer or model\.predictor\.scheduler has a value",
    "transformer width=7": r"^model\.predictor: width \(7\) must be even",
    "logistic_regression inverse_penalty=-1": r"^model\.predictor\.inverse_penalty must be above 0",
    "kmeans clusters=1": r"^model\.predictor\.clusters must be",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_told_when_the_model_is_built_by_the_name_that_was_typed(typed):
    """Before an imputer is trained."""
    name, setting = typed.split()
    conf = composed("model=two_stage", f"predictor={name}", f"model.predictor.{setting}").plain["model"]
    with pytest.raises(UserError, match=MISTAKES[typed]):
        built(conf, shape=BatchShape(6, ("a", "b"), ()))


def test_more_clusters_than_stays_are_told_before_an_imputer_is_trained(synthetic_data):
    conf = composed("model=two_stage", "imputer=brits", "predictor=kmeans", "model.predictor.clusters=5000").plain
    data, told = synthetic_data(400), Told()
    with pytest.raises(UserError, match=r"model\.predictor\.clusters=5000 are more than the \d+ training stays"):
        built(conf["model"], shape=data.shape).fit(data, told)
    assert not told.rules


def test_a_mistake_in_a_part_of_a_part_has_its_whole_name():
    conf = composed("model=two_stage", "imputer=mtdm", "model.imputer.joint.epochs.stage1=-1").plain["model"]
    with pytest.raises(UserError, match=r"^model\.imputer\.joint\.epochs\.stage1 must be"):
        built(conf, shape=BatchShape(6, ("a", "b"), ()))


def test_a_package_that_is_missing_is_told_when_the_model_is_built(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UserError, match=r"LightGBM needs a package more: pip install 'icu-lightning\[boosting\]'"):
        built(conf_of("lightgbm"), shape=BatchShape(6, ("a", "b"), ()))


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_run_started_again_ends_alike(name, ready, tmp_path):
    """The finished stages are loaded, the others trained: the same risks, whatever random numbers the first had drawn."""
    first, data, folder = ready(name)
    shutil.copytree(folder, tmp_path / "again")
    again = fitted(name, data, tmp_path / "again")
    assert torch.equal(first.predict(data.test), again.predict(data.test))
