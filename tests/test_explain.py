"""python -m icu_lightning.explain: a finished run explained anew, and what a run explains by default."""

import json

import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from icu_lightning import runfolder
from icu_lightning.batch import BatchShape
from icu_lightning.data.settings import source_and_settings
from icu_lightning.errors import UserError
from icu_lightning.explain import explain_again
from icu_lightning.explanation.game import affordable
from icu_lightning.explanation.settings import explanation_settings
from icu_lightning.pipeline import run_pipeline
from icu_lightning.run import check
from tests.conftest import CONF, composed

FEW = ("stays=6", "evaluations=200", "background=2", "single=1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run on made-up stays, with the explanation that a run has by itself, made small."""
    small = [f"report.explanation.{setting}" for setting in FEW]
    config = composed("model=logistic_regression", "data.stays=300", "bootstrap=20", *small).plain
    config["data"]["cache_dir"] = None
    names = {
        "data": "synthetic",
        "model": "logistic_regression",
        "trainer": "cpu",
        "logger": "csv",
        "calibration": "isotonic",
    }
    folder = tmp_path_factory.mktemp("run")
    run_pipeline(folder, runfolder.start(folder, {"names": names, **config}), *source_and_settings(**config["data"]))
    return folder


def explain_here(*words: str) -> None:
    """The command, without its process."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        explain_again(OmegaConf.to_container(compose("explain", list(words)), resolve=True))


def explanation(folder):
    return json.loads((folder / "explanation.json").read_text())


def test_a_run_explains_itself(finished):
    content = explanation(finished)
    assert content["adds_up"]
    assert (content["n"], content["background"], content["risk"]) == (6, 2, "raw")
    table = pl.read_parquet(finished / "attributions.parquet")
    risks = pl.read_parquet(finished / "predictions.parquet").filter(pl.col("split") == "test")
    both = table.unique("stay_id").join(risks, on="stay_id", how="left", suffix="_run")
    assert (both["risk"] - both["risk_raw"]).abs().max() < 1e-9, "what is explained is the run's own risk"
    assert (finished / "plots" / "shap_stay_1.svg").exists(), "made-up stays may be shown"


def test_the_command_gives_the_same_again_and_more_when_asked_for(finished):
    before = explanation(finished)
    explain_here(f"run={finished}", *FEW)
    assert explanation(finished) == before
    report = (finished / "report.md").read_text()
    explain_here(f"run={finished}", "stays=8", "evaluations=700", "background=2", "risk=calibrated", "seed=1")
    after = explanation(finished)
    assert (after["n"], after["risk"], after["seed"]) == (8, "calibrated", 1)
    assert after["block_hours"] < before["block_hours"]
    assert after["adds_up"]
    assert (finished / "report.md").read_text() != report, "the report tells of the new one"
    table = pl.read_parquet(finished / "attributions.parquet")
    risks = pl.read_parquet(finished / "predictions.parquet")
    both = table.unique("stay_id").join(risks, on="stay_id", how="left", suffix="_run")
    assert (both["risk"] - both["risk_run"]).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Which run"),
        (["run=nowhere"], "there is no run in that folder"),
        (["run={run}", "stays=few"], "stays must be a whole number of at least 0; it is few"),
        (["run={run}", "evaluations=0"], "evaluations must be a whole number of at least 1"),
        (["run={run}", "evaluations=10"], "10 evaluations a stay are too few"),
        (["run={run}", "risk=odds"], "Unknown risk to explain 'odds'"),
    ],
)
def test_mistakes_are_told(finished, words, message):
    with pytest.raises(UserError, match=message):
        explain_here(*(word.format(run=finished) for word in words))


def test_other_data_than_the_runs_are_refused(finished):
    path = finished / "checkpoints" / "data.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"digest": "other"}))
    with pytest.raises(UserError, match="are not what they were when the run began"):
        explain_here(f"run={finished}", *FEW)
    path.write_text(kept)


def test_a_cross_validated_run_is_explained_fold_by_fold(finished, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    runfolder.start(folder, runfolder.configuration(finished) | {"cv": 3})
    with pytest.raises(UserError, match=r"has a model for each fold; explain one of them: run=.*fold-0"):
        explain_here(f"run={folder}")


def test_the_command_line(finished, cli):
    done = cli(f"run={finished}", *FEW, module="icu_lightning.explain")
    assert done.returncode == 0, done.stderr
    assert "explanation (raw risk, 6 test stays against 2 training stays" in done.stdout
    refused = cli("run=nowhere", module="icu_lightning.explain")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: nowhere: there is no run in that folder")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("report.explanation.stays=-1", "stays must be a whole number of at least 0"),
        ("report.explanation.risk=odds", "Unknown risk to explain 'odds'"),
        ("report.explanation.drugs=alone", "Unknown way to explain drugs 'alone'"),
        ("+report.explanation.stay=4", "Unknown key of report.explanation 'stay'. Did you mean 'stays'"),
    ],
)
def test_a_wrong_setting_is_told_before_a_run_begins(override, message):
    with pytest.raises(UserError, match=message):
        check(composed(override).plain)


def test_a_run_without_a_report_or_without_stays_explains_nothing():
    assert explanation_settings(composed("report=none").plain) is None
    assert explanation_settings(composed("report.explanation.stays=0").plain) is None
    assert explanation_settings({"report": {"write": True}}) is None, "a run begun before there were explanations"
    assert explanation_settings(composed().plain).stays == 30


def test_the_command_compares_with_as_many_stays_as_the_methods_say_and_a_run_of_before_has_its_drugs_together():
    """METHODS C.5: 200; `evaluations` pays for them all, for the models that read drugs, in one block of hours at least."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        conf = OmegaConf.to_container(compose("explain"))
    shape = BatchShape(48, tuple("abcdefghijk"), tuple("0123456789"), vis=("norepinephrine", "vis"))
    assert affordable(shape, conf["evaluations"], conf["background"], conf["drugs"])[1] == conf["background"] == 200
    old = composed().plain
    del old["report"]["explanation"]["drugs"]
    assert explanation_settings(old).drugs == "together"


def test_an_expensive_model_may_bring_a_smaller_explanation(tmp_path):
    (tmp_path / "model").mkdir()
    brought = "# @package _global_\nreport: {explanation: {stays: 5, evaluations: 400}}\nmodel: {_target_: x.Y}\n"
    (tmp_path / "model" / "dear.yaml").write_text(brought)
    where = f"hydra.searchpath=[file://{tmp_path}]"
    settings = explanation_settings(composed(where, "model=dear").plain)
    assert (settings.stays, settings.evaluations, settings.background) == (5, 400, 8)
    assert explanation_settings(composed(where, "model=dear", "report.explanation.stays=9").plain).stays == 9
    assert explanation_settings(composed(where, "model=dear", "report=none").plain) is None


def test_torchs_global_generator_is_left_alone(finished):
    before = torch.get_rng_state()
    explain_here(f"run={finished}", *FEW)
    assert torch.equal(torch.get_rng_state(), before)
