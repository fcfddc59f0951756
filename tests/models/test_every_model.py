"""Laws of every model, by globbing conf/model: a new one is tested because its file exists."""

import dataclasses
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from sklearn.metrics import roc_auc_score

from icu_lightning.build import built
from icu_lightning.data.loader import TrainingData
from icu_lightning.data.scaling import Scaler
from icu_lightning.errors import NotFittedError, UserError
from icu_lightning.training.stages import StageTrainer, read_metrics, stable_seed
from tests.conftest import CONF, composed, tiny

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SIZED = {"mtdm", "teacher_student"}  # themselves; two_stage's size is that of some of its imputers
LONGER = [pytest.param(name, marks=[pytest.mark.slow] if name in SIZED else []) for name in MODELS]
QUICK = {"lightgbm", "logistic_regression", "summary_gru", "vis_logistic"}  # trained to the end in some seconds
TO_THE_END = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MODELS]
WITHOUT_EPOCHS = ("lightgbm", "logistic_regression", "vis_logistic")  # nothing of them is chosen on validation stays
REGULARISATION = {
    "dropout": 0.0,
    "gaps": 0.0,
    "input_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "l2": 0.0,
    "inverse_penalty": 1e4,
    "min_leaf": 1,
    "tasks": {"reconstruction": 0.0, "stay_length": 0.0, "contrastive": 0.0},
    "pretraining": 0,
    "hide": [0.0, 0.0],
    "decay": 0.0,
}

LONG = {"stage1": 1, "stage2": 60}  # of models that have stages
STAGES = {
    stage: {"epochs": epochs, "patience": 200, "lr": 0.01, "checkpoint": None}
    for stage, epochs in {"mae": 1, "teacher": 60, "student": 60}.items()
}
FAST = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.01}


def smallest(name: str) -> dict:
    """A model's conf, of its tiny size if it has sizes."""
    return composed(f"model={name}", *tiny(name)).plain["model"]


@pytest.mark.parametrize("name", MODELS)
def test_where_there_is_a_tiny_size_it_is_the_one_that_these_tests_train(name):
    """By Hydra's own choices: a size that they missed would cost them a quarter of an hour, and nothing else would tell."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed_with = compose("run", [f"model={name}", *tiny(name)], return_hydra_config=True)
    chosen = {group: str(option) for group, option in composed_with.hydra.runtime.choices.items()}
    assert all(chosen[group] == "tiny" for group in chosen if (CONF / group / "tiny.yaml").is_file()), chosen
    assert name not in SIZED or "tiny" in chosen.values()


def replaced(conf: dict, changes: dict) -> dict:
    """The conf with these keys changed, also within its parts."""
    inner = {key: replaced(part, changes) for key, part in conf.items() if isinstance(part, dict)}
    return conf | inner | {key: value for key, value in changes.items() if key in conf}


def fitted(name: str, data, folder: Path, seed: int = 0, max_epochs: int | None = 3, **changes):
    of_parts = {key: value for key, value in changes.items() if key in ("dropout", "gaps")}
    conf = replaced(smallest(name), of_parts)
    conf |= {key: value for key, value in changes.items() if key in conf}
    torch.manual_seed(stable_seed(seed, "initial weights"))
    model = built(conf, shape=data.shape)
    folder.mkdir(exist_ok=True)
    trainer = StageTrainer(
        folder=folder,
        seed=seed,
        max_epochs=max_epochs,
        accelerator="cpu",
        devices=1,
        precision="32-true",
        deterministic=True,
        threads=1,
    )
    model.fit(data, trainer)
    return model


@pytest.fixture(scope="module")
def ready(data_of, tmp_path_factory):
    """A function: a model's name -> (model, data), three epochs on 400 stays, fitted once for the tests that only read them."""

    def make(name: str):
        data = data_of(name, 400)
        return fitted(name, data, tmp_path_factory.mktemp(name)), data

    return cache(make)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in WITHOUT_EPOCHS])
def test_a_validation_loss_that_is_no_number_names_the_stays(name, data_of, tmp_path):
    """In the first epoch, of which there is no best one yet."""
    whole = data_of(name, 400)
    data = TrainingData.of(whole, 64, 0)
    val, nothing = (
        data.val,
        {field: torch.full_like(getattr(data.val, field), math.nan) for field in ("values", "static")},
    )
    if val.vis is not None:
        nothing["vis"] = torch.full_like(val.vis, math.nan)
    data.val = dataclasses.replace(val, **nothing)
    with pytest.raises(
        UserError, match=rf"validation loss is nan in epoch 0, in the batch of the stays {val.stay_id[0]}, "
    ) as told:
        fitted(name, data, tmp_path, max_epochs=1)
    assert f"and {len(val) - 10} more. Look at those stays' values, or try a lower learning rate" in str(told.value)
    assert "best" not in str(told.value)


def with_labels(data, change):
    """The same data module with other labels; `change(labels)` a split."""
    for name in ("train", "val", "test"):
        part = getattr(data, name)
        setattr(data, name, dataclasses.replace(part, label=change(part.label)))
    return data


@pytest.mark.parametrize("name", TO_THE_END)
def test_a_planted_signal_is_found(name, data_of, tmp_path):
    data = data_of(name, 1200)
    model = fitted(name, data, tmp_path, max_epochs=None)
    risk = model.predict(data.test).mean(1)
    assert roc_auc_score(data.test.label, risk) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_with_permuted_labels_nothing_is_found(name, data_of, tmp_path):
    """Trained hard and without regularisation, so that a leak would be found if there were one; only the test split is scored.

    Few training stays are soon known by heart; the epoch is chosen on some of them: on others chance would choose an early one.
    """
    generator = torch.Generator().manual_seed(0)
    data = with_labels(data_of(name, 3000), lambda label: label[torch.randperm(len(label), generator=generator)])
    data.train, data.val = data.train[torch.arange(512)], data.train[torch.arange(128)]
    model = fitted(
        name, data, tmp_path, max_epochs=40, optimizer=FAST, patience=40, epochs=LONG, stages=STAGES, **REGULARISATION
    )
    seen = roc_auc_score(data.train.label, model.predict(data.train).mean(1))
    assert seen > 0.55, "it has learnt something, by heart"
    assert roc_auc_score(data.test.label, model.predict(data.test).mean(1)) == pytest.approx(0.5, abs=0.09)  # SD .035


@pytest.mark.parametrize("name", LONGER)
def test_it_can_overfit_eight_stays(name, data_of, tmp_path):
    data = data_of(name, 400)
    died, lived = (torch.nonzero(data.train.label == y).flatten()[:4] for y in (1.0, 0.0))
    eight = data.train[torch.cat([died, lived])]
    data.train = data.val = eight
    model = fitted(
        name,
        data,
        tmp_path,
        max_epochs=None,
        optimizer=FAST,
        patience=200,
        epochs=LONG,
        stages=STAGES,
        **REGULARISATION,
    )
    assert roc_auc_score(eight.label, model.predict(eight).mean(1)) == 1.0


@pytest.mark.parametrize("name", MODELS)
def test_a_risk_does_not_depend_on_the_batch(name, ready):
    model, data = ready(name)
    together = model.predict(data.test)
    order = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))
    alone = torch.cat([model.predict(data.test[i : i + 1]) for i in order])
    assert together.shape[0] == len(data.test)
    assert together.ndim == 2
    assert ((together >= 0) & (together <= 1)).all()
    assert torch.allclose(together[order], alone, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_an_embedding_is_a_row_of_numbers_a_stay_whatever_the_batch(name, ready):
    model, data = ready(name)
    if not hasattr(model, "embed"):
        pytest.skip("it has none")
    whole = model.embed(data.test)
    assert whole.dim() == 2
    assert torch.isfinite(whole).all()
    assert torch.allclose(whole[3:5], model.embed(data.test[3:5]), atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_its_state_is_plain_and_restores_it(name, ready, tmp_path):
    model, data = ready(name)
    torch.save(dict(model.state_dict()), tmp_path / "state.ckpt")
    other = built(smallest(name), shape=data.shape)
    other.load_state_dict(torch.load(tmp_path / "state.ckpt", weights_only=True))
    assert torch.equal(model.predict(data.test), other.predict(data.test))


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_risks_and_the_test_split_is_never_seen(name, ready, data_of, tmp_path):
    first, _ = ready(name)
    data = data_of(name, 400)
    val = data.val
    del data.test  # whoever touches it while fitting fails
    second = fitted(name, data, tmp_path)
    assert torch.equal(first.predict(val), second.predict(val))


@pytest.mark.parametrize("name", MODELS)
def test_labels_and_ids_are_no_features(name, ready):
    model, data = ready(name)
    other = dataclasses.replace(
        data.test,
        label=1 - data.test.label,
        died_in_hospital=1 - data.test.died_in_hospital,
        died_in_icu=1 - data.test.died_in_icu,
        hospital_hours=torch.full_like(data.test.hospital_hours, 1.0),
        patient_id=np.flip(data.test.patient_id),
    )
    first = model.predict(data.test)
    assert torch.equal(first, model.predict(other))
    renamed = model.predict(dataclasses.replace(data.test, stay_id=np.flip(data.test.stay_id)))
    if first.shape[1] == 1:
        assert torch.equal(first, renamed)
    else:  # the number of a stay chooses the noise of its draws, and nothing else: a step in all stays' ranks would be a feature
        assert torch.corrcoef(torch.stack([first.mean(1), renamed.mean(1)]))[0, 1] > 0.9


@pytest.mark.parametrize("name", [name for name in MODELS if name not in WITHOUT_EPOCHS])
def test_of_undersampled_training_validation_is_weighed_as_training_is(name, data_of, tmp_path):
    """Survivors that weigh a third are deaths that are there three times: by such losses the best epoch and the learning rate go."""
    whole = data_of(name, 300)
    deaths = torch.where(whole.val.label == 1)[0]
    thrice = whole.val[torch.cat([torch.arange(len(whole.val)), deaths, deaths])]
    told = {}
    for case, (val, odds) in {
        "third": (whole.val, 1 / 3),
        "thrice": (thrice, None),
        "plain": (whole.val, None),
    }.items():
        data = TrainingData.of(whole, 32, 0)
        data.val, data.prior_odds = val, odds
        fitted(name, data, tmp_path / case, max_epochs=1)
        rows = read_metrics(tmp_path / case / "metrics.csv")
        of_labels = "val/mortality" if "val/mortality" in rows[-1] else "val/loss"
        told[case] = [float(row[of_labels]) for row in rows if row["val/auroc"]]
    assert len(deaths) > 0
    assert told["third"] == pytest.approx(told["thrice"], rel=1e-4)
    assert all(
        third != pytest.approx(plain, rel=1e-3) for third, plain in zip(told["third"], told["plain"], strict=True)
    )
    assert told["third"]


def test_an_unfitted_scaler_cannot_reach_a_model():
    with pytest.raises(NotFittedError):
        Scaler().transform(np.zeros((1, 2, 3)))
