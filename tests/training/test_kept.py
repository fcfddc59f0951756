"""An imputer is fitted once for all predictors beside it; another seed, setting, split or code is another imputer."""

import dataclasses
import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest
import torch

from icu_lightning.atomic import building
from icu_lightning.build import built
from icu_lightning.errors import LATER, PUT_BACK
from icu_lightning.imputations import FILE, write_imputations
from icu_lightning.models.two_stage import digest_of as digest_of_stays
from icu_lightning.training import kept
from icu_lightning.training.kept import STATE, Kept, KeptResults, digest_of
from icu_lightning.training.stages import EpochSeed, StageTrainer, read_metrics
from tests.conftest import composed

DEVICE = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "deterministic": True, "threads": 1}


@pytest.fixture
def data(synthetic_data):
    return synthetic_data(300)


@pytest.fixture
def fit(data, tmp_path):
    """A function: predictor, further words of a run, the data, a folder to go on in -> the fitted model, and stages that it trained.

    The folder of the n-th call without one is run<n>.
    """
    runs = 0

    def fitted(predictor: str, *words: str, data=data, folder=None):
        nonlocal runs
        if folder is None:
            runs += 1
            folder = tmp_path / f"run{runs}"
            folder.mkdir()
        parts = ["model=two_stage", "imputer=brits", f"predictor={predictor}", "trainer.max_epochs=1"]
        config = composed(*parts, *words).plain
        data.settings = dataclasses.replace(data.settings, cache_dir=str(tmp_path / "cache"))
        torch.manual_seed(config["seed"])
        model = built(config["model"], shape=data.shape)
        given = {"seed": config["seed"], "max_epochs": config["trainer"]["max_epochs"], "kept": Kept.of(config, data)}
        model.fit(data, StageTrainer(folder=folder, **given, **DEVICE))
        return model, sorted(path.name for path in (folder / "checkpoints").glob("*"))

    return fitted


def test_a_job_of_a_sweep_does_not_wait_for_an_imputer_that_another_is_fitting(fit, tmp_path, capsys, monkeypatch):
    fit("kmeans")
    (entry,) = entries(tmp_path)
    shutil.rmtree(entry)
    with building(entry):
        monkeypatch.setenv(PUT_BACK, "1")
        with pytest.raises(SystemExit) as ended:
            fit("knn")
    assert ended.value.code == LATER
    assert "Another run is fitting this imputer: put back" in capsys.readouterr().out
    _, trained = fit("knn", folder=tmp_path / "run2")
    assert trained == ["imputer"], "nobody has it any more, so it is fitted here"


def entries(tmp_path: Path, cache: str = "cache") -> list[Path]:
    return sorted(path for path in (tmp_path / cache / "imputers").glob("imputer-*") if not path.name.endswith("-made"))


def test_an_imputer_is_fitted_once_for_all_predictors(fit, data, tmp_path, capsys):
    first, trained = fit("lstm")
    assert trained == ["fit", "imputer"]
    second, trained = fit("gru_d")
    assert trained == ["fit"]
    assert "The imputer was fitted before" in capsys.readouterr().out
    assert len(entries(tmp_path)) == 1
    assert torch.equal(first.impute(data.test, 1), second.impute(data.test, 1))
    again, _ = fit("lstm")
    assert torch.equal(first.predict(data.test), again.predict(data.test)), "what was kept changes no risk"


def test_the_epochs_of_a_reused_fit_are_in_the_run_and_marked(fit, tmp_path):
    fit("lstm")
    fit("logistic_regression")
    first, second = (read_metrics(tmp_path / run / "metrics.csv") for run in ("run1", "run2"))
    assert [row["stage"] for row in first] == ["imputer", "fit"]
    assert [row["stage"] for row in second] == ["imputer (reused)"]
    assert second[0]["val/loss"] == first[0]["val/loss"] != ""
    trainer = StageTrainer(folder=tmp_path / "run1", seed=0, max_epochs=1, **DEVICE)
    for run in ("run1", "run2"):  # one that went on after its own imputer, and one that went on after another's
        trainer.folder = tmp_path / run
        before = read_metrics(trainer.folder / "metrics.csv")
        trainer._reused([{**second[0], "stage": "imputer"}])
        assert read_metrics(trainer.folder / "metrics.csv") == before


class Killed(BaseException):
    """Stands for a SIGKILL in the second epoch of a stage."""


def killed_in_the_second_epoch(self, trainer, module):
    if trainer.current_epoch == 1:
        raise Killed


def stages_in(folder: Path) -> list[str]:
    return [row["stage"] for row in read_metrics(folder / "metrics.csv")]


def test_what_another_run_has_finished_meanwhile_takes_the_place_of_the_own_half(fit, tmp_path, monkeypatch):
    """A run killed in its imputer goes on with another's: its curves are of what its model is made of, and say whose they are."""
    epochs, mine = "trainer.max_epochs=3", tmp_path / "run1"
    with monkeypatch.context() as patch:
        patch.setattr(EpochSeed, "on_train_epoch_start", killed_in_the_second_epoch)
        with pytest.raises(Killed):
            fit("lstm", epochs)
    assert stages_in(mine) == ["imputer"]
    assert (mine / "checkpoints" / "imputer" / "best.ckpt").exists()
    other, _ = fit("logistic_regression", epochs)
    resumed, trained = fit("lstm", epochs, folder=mine)
    assert trained == ["fit"], "no weights lie there that are not the model's"
    assert stages_in(mine) == ["imputer (reused)"] * 3 + ["fit"] * 3
    (whole, there) = (read_metrics(folder / "metrics.csv") for folder in (tmp_path / "run2", mine))
    assert [row["val/loss"] for row in there[:3]] == [row["val/loss"] for row in whole]
    same = zip(resumed.imputer.state_dict().values(), other.imputer.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same if isinstance(a, torch.Tensor))
    shutil.rmtree(tmp_path / "cache")  # and where it has to be trained here after all, nothing is said to be reused
    fit("lstm", epochs, folder=mine)
    assert sorted(stages_in(mine)) == ["fit"] * 3 + ["imputer"] * 3


def test_whatever_it_follows_from_makes_another_one(fit, synthetic_data, tmp_path):
    fit("logistic_regression")
    for words in (["seed=1"], ["model.imputer.hidden=8"], ["trainer.max_epochs=2"]):
        assert fit("logistic_regression", *words)[1] == ["imputer"], words
    assert fit("logistic_regression", data=synthetic_data(300, split_seed=1))[1] == ["imputer"]
    assert fit("brits")[1] == ["imputer"], "trained with labels, it is another one"
    assert len(entries(tmp_path)) == 6


def counted(model) -> list[int]:
    """From now on, the stays of each call of the imputer."""
    seen, impute = [], model.imputer.impute
    model.imputer.impute = lambda batch, n: (seen.append(len(batch)), impute(batch, n))[1]
    return seen


@pytest.mark.parametrize(("imputer", "cache"), [("brits", True), ("brits", False), ("knn", True)])
def test_a_stay_is_filled_once_in_a_run_and_once_for_all_predictors(imputer, cache, fit, data, monkeypatch, tmp_path):
    """Training, validation and test stays; not what an explanation makes of known stays, which nobody asks for again."""
    if not cache:
        monkeypatch.setattr(Kept, "of", lambda config, data: None)
    asked = f"imputer={imputer}"
    first, _ = fit("lstm", asked)
    seen = counted(first)
    risks = first.predict(data.test)
    for known in (data.train, data.val, data.test):
        first.predict(known)
    assert seen == [len(data.test)], "what was filled to fit the predictor is known"
    tried = dataclasses.replace(data.test, observed=data.test.observed & (data.test.values < 0.5))
    changed = first.predict(tried)
    assert not torch.equal(changed, risks)
    made = sorted((tmp_path / "cache" / "imputers").glob("imputer-*-made/*/made.ckpt"))
    assert len(made) == (3 if cache else 0), "of train, val and test; no part has more than 256 stays"
    with monkeypatch.context() as patched:
        if cache:
            patched.setattr(type(first.imputer), "impute", lambda *_: pytest.fail("filled again"))
        second, _ = fit("gru_d", asked)
    seen = counted(second)
    for known in (data.train, data.val, data.test):
        assert torch.equal(second.filled(known).values, first.filled(known).values)
    assert seen == ([] if cache else [len(data.test)])
    alone = built(composed("model=two_stage", asked, "predictor=lstm").plain["model"], shape=data.shape)
    alone.load_state_dict(first.state_dict())
    assert torch.equal(alone.predict(data.test), risks), "what was kept changes no risk"
    assert torch.equal(alone.predict(tried), changed)


ASKED = {"rates": [0.3, 0.9], "pattern": "mcar", "seed": 0, "draws": 2, "stays": 20}
CSDI = ("imputer=csdi", "model/size=tiny")


def scored(model, data, folder, **changes) -> tuple[pl.DataFrame, int]:
    """The errors of hidden cells, and how often the imputer was asked for them."""
    seen = counted(model)
    write_imputations(folder, {"imputation": ASKED | changes}, data, model)
    return pl.read_parquet(folder / FILE), len(seen)


def test_hidden_cells_are_filled_once_for_all_predictors(fit, data, monkeypatch, tmp_path):
    """Before another predictor an imputer's draws are the same, kept or not; other cells, or more draws, are others."""
    with monkeypatch.context() as patched:
        patched.setattr(Kept, "of", lambda config, data: None)
        alone, filled = scored(fit("kmeans", *CSDI)[0], data, tmp_path)
    assert filled == 2, "a rate each"
    first, filled = scored(fit("kmeans", *CSDI)[0], data, tmp_path)
    model, _ = fit("knn", *CSDI)
    again, anew = scored(model, data, tmp_path)
    assert (filled, anew) == (2, 0)
    assert first.equals(alone)
    assert again.equals(alone)
    for other in ({"seed": 1}, {"rates": [0.5]}, {"stays": 10}, {"draws": 3}, {"pattern": "block"}):
        made, anew = scored(model, data, tmp_path, **other)
        assert anew == len(made["rate"].unique()), other


def test_what_is_made_of_stays_is_named_by_all_that_can_be_seen_of_them(data):
    stays = data.test[:5]
    nothing = torch.zeros_like(stays.observed)
    other = stays.observed.nonzero()[0].tolist()
    values = stays.values.clone()
    values[tuple(other)] += 1
    seen = stays.observed.clone()
    seen[tuple(other)] = False
    hidden = nothing.clone()
    hidden[tuple(other)] = True
    changed = [
        dataclasses.replace(stays, values=values),
        dataclasses.replace(stays, observed=seen),
        dataclasses.replace(stays, held_out=hidden),
        data.test[1:6],
    ]
    names = {digest_of_stays(part, "x") for part in (stays, *changed)} | {digest_of_stays(stays, "y")}
    assert len(names) == 6
    unseen = torch.where(stays.observed, stays.values, 7.0)
    assert digest_of_stays(dataclasses.replace(stays, values=unseen), "x") == digest_of_stays(stays, "x")


def test_what_another_run_is_making_is_left_to_it_until_all_else_is_made(tmp_path):
    """So two jobs with one imputer share the work, and neither holds its place for nothing."""
    results, order = KeptResults(tmp_path), []

    def make(key: str, then=lambda: None):
        def made() -> torch.Tensor:
            order.append(key)
            then()
            return torch.full((), float(len(order)))

        return made

    with ExitStack() as others:
        others.enter_context(building(tmp_path / "a"))

        def other_ends():
            kept._write(tmp_path / "a", kept.MADE, torch.tensor(-1.0), {"key": "a"})
            others.close()

        made = results({"a": make("a"), "b": make("b"), "c": make("c", other_ends)})
    assert order == ["b", "c"]
    assert {key: value.item() for key, value in made.items()} == {"b": 1.0, "c": 2.0, "a": -1.0}
    assert results({"c": make("c"), "d": make("d")}) == {"c": torch.tensor(2.0), "d": torch.tensor(3.0)}

    def blocked():
        raise BlockingIOError("a full pipe")

    with pytest.raises(BlockingIOError, match="a full pipe"):
        results({"e": blocked})


def test_a_damaged_fill_is_told_and_made_again(fit, data, tmp_path, capsys):
    first, _ = fit("logistic_regression")
    for path in (tmp_path / "cache" / "imputers").glob("imputer-*-made/*/made.ckpt"):
        path.write_bytes(b"broken")
    again, _ = fit("logistic_regression")
    assert capsys.readouterr().out.count("is damaged (made.ckpt is changed)") == 2, "of train and val, each once"
    assert torch.equal(first.predict(data.test), again.predict(data.test))


def test_a_damaged_entry_is_told_and_fitted_again(fit, tmp_path, capsys):
    fit("logistic_regression")
    (entry,) = entries(tmp_path)
    (entry / STATE).write_bytes(b"broken")
    assert fit("logistic_regression")[1] == ["imputer"]
    assert capsys.readouterr().out.count("is damaged (state.ckpt is changed)") == 1
    assert fit("logistic_regression")[1] == []


def test_without_a_cache_nothing_is_kept(data):
    data.settings = dataclasses.replace(data.settings, cache_dir=None)
    assert Kept.of(composed("model=two_stage", "imputer=brits").plain, data) is None


def test_the_digest_is_of_all_that_can_be_learnt_from(data):
    before = digest_of(data)
    assert before == digest_of(data)
    data.test = data.test[:3]
    assert digest_of(data) == before, "the test split is nothing to learn from"
    data.val = dataclasses.replace(data.val, values=data.val.values + data.val.observed * 1e-6)
    assert digest_of(data) != before


def test_a_fit_follows_from_the_code_and_the_packages_that_it_was_made_by(data, monkeypatch):
    config = composed("model=two_stage", "imputer=brits").plain

    def facts() -> str:
        return json.dumps(Kept.of(config, data).facts)

    before = facts()
    assert facts() == before
    monkeypatch.setattr(kept, "_version", lambda package: "another")
    assert facts() != before
    monkeypatch.undo()
    monkeypatch.setattr(kept, "CODE", kept.CODE[:-1])
    assert facts() != before


def test_what_the_mtdm_has_learnt_is_the_imputer_of_two_stages(data, tmp_path, capsys):
    """Bit for bit what imputer=mtdm would have learnt itself: the same settings, first weights and seeds of epochs."""

    def fitted(name, *words, cache):
        folder = tmp_path / name
        folder.mkdir()
        config = composed("model/size=tiny", "trainer.max_epochs=1", *words).plain
        data.settings = dataclasses.replace(data.settings, cache_dir=str(tmp_path / cache))
        torch.manual_seed(config["seed"])
        model = built(config["model"], shape=data.shape)
        given = {"seed": config["seed"], "max_epochs": config["trainer"]["max_epochs"], "kept": Kept.of(config, data)}
        model.fit(data, StageTrainer(folder=folder, **given, **DEVICE))
        return model

    two_stage = ("model=two_stage", "imputer=mtdm", "predictor=kmeans")
    whole = fitted("whole", "model=mtdm", cache="one")
    assert len(entries(tmp_path, "one")) == 1
    taken = fitted("taken", *two_stage, cache="one")
    assert "The imputer was fitted before" in capsys.readouterr().out
    assert not (tmp_path / "taken" / "checkpoints").exists()
    assert [row["stage"] for row in read_metrics(tmp_path / "taken" / "metrics.csv")] == [
        "stage1 (reused)",
        "stage2 (reused)",
    ]
    own = fitted("own", *two_stage, cache="other")
    assert len(entries(tmp_path, "other")) == 1, "a part of the run's model is kept as that part alone"
    for model in (taken, own):
        assert torch.equal(model.impute(data.test, 2), whole.impute(data.test, 2))
    fitted("multi", "model=mtdm", "model/tasks=multi", cache="one")
    assert len(entries(tmp_path, "one")) == 2, "other tasks are another imputer"
