"""The scripts of experiments/teacher_student: paired differences, runs that do not belong together, attributions, inputs left out."""

import dataclasses
import importlib.util
import json
import os
import re
import shlex
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

from icu_lightning.compare import read_run
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from icu_lightning.errors import UserError
from icu_lightning.evaluation.reliability import in_the_large
from icu_lightning.run import check
from icu_lightning.runfolder import configuration
from icu_lightning.training.checkpoint import trained
from icu_lightning.training.stages import read_metrics
from tests.conftest import ROOT, composed, run_in

SMALL = ("model=logistic_regression", "data.stays=400", "bootstrap=0", "data.cache_dir=null")


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / "teacher_student" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return loaded("results")


@pytest.fixture(scope="module")
def inputs():
    return loaded("inputs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Of a model with all of four features, and of two that lack one."""
    folder = tmp_path_factory.mktemp("inputs")
    static = {
        "all": "[age,sex,marital_status,insurance]",
        "no_marital": "[age,sex,insurance]",
        "no_insurance": "[age,sex,marital_status]",
    }
    own = [f"data.static={names}" for names in static.values()]
    return [read_run(run_in(folder / n, *SMALL, "model.static=true", s)) for n, s in zip(static, own, strict=True)]


def test_a_difference_is_paired_and_of_itself_zero(script, tmp_path):
    one = run_in(tmp_path / "one", *SMALL)
    two = run_in(tmp_path / "two", *SMALL, "model.static=true")
    content = script.compared({"one": one, "two": two}, "one", 50, [("one", "two"), ("two", "one")])
    rows = content["runs"]
    assert content["synthetic"] is True
    assert rows["one"]["auroc_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    difference = rows["two"]["auroc"]["value"] - rows["one"]["auroc"]["value"]
    assert rows["two"]["auroc_difference"]["value"] == pytest.approx(difference)
    assert difference != 0
    pairs = content["pairs"]
    assert pairs["two - one"]["auroc"] == rows["two"]["auroc_difference"]
    assert pairs["one - two"]["brier"]["value"] == pytest.approx(-rows["two"]["brier_difference"]["value"])
    with pytest.raises(UserError, match="--pair names three, and the runs are one"):
        script.compared({"one": one}, "one", 0, [("one", "three")])
    width = rows["two"]["auroc_difference"]["high"] - rows["two"]["auroc_difference"]["low"]
    assert width < rows["one"]["auroc"]["high"] - rows["one"]["auroc"]["low"], "the same patients are in both"
    environment = two / "environment.txt"
    environment.write_text(re.sub(r"(?m)^git commit: .*$", "git commit: another", environment.read_text()))
    with pytest.raises(UserError, match=r"The runs are of different code.*two another"):
        script.compared({"one": one, "two": two}, "one", 0)
    other = run_in(tmp_path / "other", *SMALL, "data.split_seed=1")
    with pytest.raises(UserError, match="were not tested on the same stays"):
        script.compared({"one": one, "other": other}, "one", 0)


def test_what_the_database_does_not_chart_is_not_comparable_and_what_moves_no_risk_is_0(script):
    row = {"feature": "sofa", "mean_absolute": 0.1, "low": 0.05, "high": 0.2}
    unknown, still = ({"feature": f, "mean_absolute": 1e-21, "low": 0.0, "high": 0.0} for f in ("insurance", "saps2"))
    content = {"features": [row, unknown, still], "n": 5, "risk": "raw", "background": 200}
    table = script.shap_table(content | {"not_charted": ["insurance"]})
    assert (table["ranking"], table["background"]) == ({"sofa": 0.1}, 200)
    here = {entry["feature"]: entry["here"] for entry in table["rows"]}
    assert here["sofa"] == {"mean_absolute": 0.1, "low": 0.05, "high": 0.2}
    assert here["saps2"]["mean_absolute"] == 1e-21
    assert here["insurance"] == here["lods"] == "not comparable"
    of_category = {"n": 5, "mean": -0.01, "mean_absolute": 0.02}
    own = {
        "feature": "marital_status",
        "mean_absolute": 0.1,
        "low": 0.05,
        "high": 0.2,
        "categories": {"single": of_category},
    }
    row = script.shap_table(content | {"features": [own], "not_charted": []})["rows"][2]
    assert (row["feature"], row["of_stays_in_that_category"]) == ("marital_status", of_category)
    own["categories"]["single"] = of_category | {"n": 4}
    few = script.shap_table(content | {"features": [own], "not_charted": []})["rows"][2]
    assert few["of_stays_in_that_category"] == "fewer than 5 stays"
    assert "no cause" in table["note"]


def with_groups(run):
    """The run, its test stays in three groups, the last of which is small."""
    groups = pl.Series("marital_status", ["single", "married", "single", "married", "single", "married", None] * 100)
    return dataclasses.replace(run, test=run.test.with_columns(groups.head(run.test.height)))


def test_without_minus_with_overall_and_in_each_group_of_the_feature(inputs, runs):
    whole, lacking = with_groups(runs[0]), with_groups(runs[1])
    content = inputs.changes([lacking, whole], bootstrap=40, smallest=20)
    assert content["inputs"] == ["age", "sex", "marital_status", "insurance"]
    assert content["synthetic"] is True
    found = content["left_out"]["marital_status"]
    label, risk, other = whole.label, whole.test["risk_raw"].to_numpy(), lacking.test["risk_raw"].to_numpy()
    cells = found["overall"]["auroc"]
    assert cells["with"]["value"] == pytest.approx(roc_auc_score(label, risk))
    assert cells["without"]["value"] == pytest.approx(roc_auc_score(label, other))
    assert cells["difference"]["value"] == pytest.approx(cells["without"]["value"] - cells["with"]["value"])
    assert cells["difference"]["value"] != 0
    assert content["not_comparable"] == []
    nobody = pl.lit(None, pl.String).alias("marital_status")
    blank = [dataclasses.replace(run, test=run.test.with_columns(nobody)) for run in (whole, lacking)]
    uncharted = inputs.changes(blank, bootstrap=0, smallest=20)
    assert (uncharted["left_out"], uncharted["not_comparable"]) == ({}, ["marital_status"])
    assert "Not comparable, because they are unknown of every test stay: marital_status." in inputs.markdown(uncharted)
    width = {side: cell["high"] - cell["low"] for side, cell in cells.items()}
    assert 0 < width["difference"] < min(width["with"], width["without"]), "the same patients are in both"
    single = np.array([group == "single" for group in whole.test["marital_status"]])
    assert (found["groups"]["single"]["stays"], found["groups"]["single"]["deaths"]) == (
        single.sum(),
        label[single].sum(),
    )
    large = found["groups"]["single"]["calibration_in_the_large"]
    expected = in_the_large(label[single], other[single], np.ones(single.sum()))
    assert large["without"]["value"] == pytest.approx(float(expected))
    assert set(found["groups"]) == {"single", "married"}
    assert found["too_small"] == ["unknown"], "its name, and no count"
    given_out = inputs.changes([lacking, whole], risk="calibrated", bootstrap=0, smallest=20)["left_out"][
        "marital_status"
    ]
    brier = ((whole.test["risk"].to_numpy() - label) ** 2).mean()
    assert given_out["overall"]["brier"]["with"]["value"] == pytest.approx(brier)
    text = "\n".join(inputs.markdown(content))
    assert "SYNTHETIC" in text
    assert "| marital_status: too few | unknown |" in text


def test_an_input_that_no_risk_depends_on_changes_nothing(inputs, runs):
    """And several seeds are the mean of their metrics."""
    whole, lacking = runs[0], dataclasses.replace(runs[1], test=runs[0].test)
    found = inputs.changes([whole, lacking], bootstrap=20, smallest=10)["left_out"]["marital_status"]
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0}
    assert all(cell["difference"] == nothing for cell in found["overall"].values())
    assert found["groups"]
    assert all(own["auroc"]["difference"] == nothing for own in found["groups"].values())
    second = [dataclasses.replace(run, config=run.config | {"seed": 1}) for run in (runs[1], runs[0])]
    twice = inputs.changes([whole, second[1], lacking, second[0]], bootstrap=0, smallest=10)
    halves = inputs.changes([second[1], second[0]], bootstrap=0, smallest=10)
    both = (twice["left_out"]["marital_status"]["overall"], halves["left_out"]["marital_status"]["overall"])
    assert twice["seeds"] == [0, 1]
    assert both[0]["brier"]["difference"]["value"] == pytest.approx(both[1]["brier"]["difference"]["value"] / 2)


def test_runs_that_tell_nothing_of_an_input_are_refused(inputs, runs):
    def refused(*some):
        with pytest.raises(UserError) as error:
            inputs.changes(some, bootstrap=0, smallest=10)
        return str(error.value)

    whole, no_marital, no_insurance = runs
    assert "No run leaves a feature out" in refused(whole)
    assert "lacks one feature of those" in refused(no_marital, no_insurance)
    other = dataclasses.replace(no_marital, config=no_marital.config | {"calibration": {"_target_": "another"}})
    assert "differ in more than data.static: in calibration" in refused(whole, other)
    assert "with the seeds [0] and [1]" in refused(
        whole, dataclasses.replace(no_marital, config=no_marital.config | {"seed": 1})
    )
    assert "with the seeds [0] and [0, 0]" in refused(whole, no_marital, no_marital)
    strangers = dataclasses.replace(no_marital, test=no_marital.test.head(5))
    assert "test stays differ" in refused(whole, strangers)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A run of all three stages, of an epoch each."""
    line = ("model=teacher_student", "model/network=tiny", "trainer.max_epochs=1", "data.stays=300", "bootstrap=0")
    return run_in(tmp_path_factory.mktemp("pretrained") / "run", *line)


def test_errors_of_pretraining_are_those_that_training_logged_and_differences_are_paired(pretrained, tmp_path):
    script = loaded("pretraining")
    content = script.errors_of_runs(pretrained, {"again": pretrained}, 40)
    (epoch,) = [row for row in read_metrics(pretrained / "metrics.csv") if row["stage"] == "mae"]
    found = content["stays"]["pretraining_validation"]
    for name in ("vis_mse", "carried_forward_mse", "interpolated_mse"):
        assert found["squared_error"][name]["value"] == pytest.approx(float(epoch[f"val/{name}"]), rel=1e-4)
    cells = found["squared_error"]
    gap = cells["vis_mse minus interpolated_mse"]
    assert gap["value"] == pytest.approx(cells["vis_mse"]["value"] - cells["interpolated_mse"]["value"])
    assert gap["low"] < gap["value"] < gap["high"]
    assert cells["again"] == cells["vis_mse"]
    assert cells["vis_mse minus again"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert 0 < found["stays_with_a_drug_hidden"] <= found["stays"]
    assert content["stays"]["test"]["stays"] == read_run(pretrained).test.height
    other = run_in(tmp_path / "other", *SMALL)
    with pytest.raises(UserError, match="is no run of model=teacher_student"):
        script.errors_of_runs(other, {}, 0)


def test_errors_of_the_scores_are_in_points_beside_the_training_mean(pretrained, script, tmp_path):
    severity = loaded("severity")
    content = severity.errors_of_run(pretrained, 40)
    with torch.no_grad():
        kept, data = trained(pretrained).model, ICUDataModule(*source_and_settings(**configuration(pretrained)["data"]))
        data.setup()
        told = kept.student.eval()(data.test).severity
    points = data.test.severity[:, 0] * data.severity_scaler.sd[0] + data.severity_scaler.mean[0]
    assert points.numpy() == pytest.approx(points.numpy().round(), abs=1e-3), "SOFA is a whole number of points"
    mae = content["scores"]["sofa"]["mae"]
    error = (told[:, 0] * data.severity_scaler.sd[0] + data.severity_scaler.mean[0] - points).abs()
    assert mae["student"]["value"] == pytest.approx(float(error.mean()), rel=1e-5)
    assert mae["training mean"]["value"] == pytest.approx(
        float((points - data.severity_scaler.mean[0]).abs().mean()), rel=1e-5
    )
    gap = mae["student minus training mean"]
    assert gap["low"] < gap["value"] < gap["high"]
    assert list(content["scores"]) == list(configuration(pretrained)["data"]["severity"])
    other = run_in(tmp_path / "other", *SMALL)
    with pytest.raises(UserError, match="has no student that was to tell severity scores"):
        severity.errors_of_run(other, 0)


def test_the_trials_of_a_search_are_told_and_another_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no folder of a search"):
        loaded("trials").trials(tmp_path)
    (tmp_path / "study.db").touch()
    rows = ["job,model.width,state,synthetic,val/auroc,seconds,attempts,where,run"]
    rows += ["trial-0001,32,pruned,,,9,1,here,runs/b", "trial-0000,64,finished,true,0.7,8,1,here,runs/a"]
    (tmp_path / "jobs.csv").write_text("\n".join(rows) + "\n")
    content = loaded("trials").trials(tmp_path)
    assert content["synthetic"] is True
    assert content["trials"] == [
        {"trial": 0, "val_auroc": 0.7, "model.width": 64, "state": "finished"},
        {"trial": 1, "val_auroc": None, "model.width": 32, "state": "pruned"},
    ]


def test_times_of_stages_add_up_and_a_reused_stage_has_none(pretrained, tmp_path):
    script = loaded("stage_times")
    copy = shutil.copytree(pretrained, tmp_path / "copy")
    ends = {"data.json": 0, "mae/finished.json": 40, "teacher/finished.json": 40.4, "student/finished.json": 100}
    for name, seconds in ends.items():  # as a run would have written them: a stage of one epoch can be over in a moment
        os.utime(copy / "checkpoints" / name, (1.7e9, 1.7e9 + seconds))
    content = script.times(copy)
    assert {name: of["seconds"] for name, of in content["stages"].items()} == {
        "mae": 40,
        "teacher": 0.4,
        "student": 59.6,
    }
    assert all(of["epochs"] == 1 for of in content["stages"].values())
    assert content["seconds_of_all_stages"] == 100
    assert content["stays"] == sum(content[f"{side}_stays"] for side in ("train", "val", "test"))
    (copy / "checkpoints" / "mae" / "finished.json").write_text('{"reused_from": "runs/other"}')
    with pytest.raises(UserError, match="took its stage 'mae' from runs/other"):
        script.times(copy)


def test_the_student_is_smaller_by_the_networks_of_conf():
    conf = composed("model=teacher_student").plain["model"]
    found = loaded("speed").measured(conf)
    assert found["times_smaller"] == pytest.approx(found["teacher"]["parameters"] / found["student"]["parameters"])
    assert found["times_smaller"] > 7, "a seventh of the teacher's parameters or less"
    for how in ("stays_per_second", "predict_stays_per_second"):
        assert found["student"][how] > 2 * found["teacher"][how] > 0, (
            "five times is measured, on a machine with nothing else to do"
        )


def lines() -> dict[str, list[str]]:
    """What runs.sh says of each run, by name; those of the part with FULL=1, which are indented, have its ALL."""
    text = (ROOT / "experiments" / "teacher_student" / "runs.sh").read_text()
    full = re.search(r'^  FULL="(.*)"$', text, re.MULTILINE)[1]
    common = {
        indent: shlex.split(re.search(rf'^{indent}ALL="(.*)"$', text, re.MULTILINE)[1].replace("$FULL", full))
        for indent in ("", "  ")
    }
    found = re.findall(r"^( *)run (\w+) (.*)$", text, re.MULTILINE)
    return {name: [*common[indent], *shlex.split(own, comments=True)] for indent, name, own in found}


@pytest.mark.parametrize("name", lines())
def test_every_run_of_the_script_is_one_that_there_can_be(name):
    check(composed(*lines()[name]).plain)


@pytest.mark.parametrize("file", ["results", "ablations", "seeds", "horizons", "horizons_student", "twelve", "shap"])
def test_stored_numbers_are_of_the_runs_of_the_script(file):
    """Each with the words that it has there, and all of one commit."""
    stored = json.loads((ROOT / "experiments" / "teacher_student" / f"{file}.json").read_text())["runs"]
    said = lines()
    for name, run in stored.items():  # of runs that took a teacher before that alone meant that nothing is pretrained
        taken = any(word.startswith("model.stages.teacher.checkpoint") for word in run["overrides"])
        words = [word for word in run["overrides"] if not taken or word != "model.stages.mae.epochs=0"]
        assert words == said[name.removesuffix("_0")], name
    assert len({run["commit"] for run in stored.values()}) == 1


def test_what_stands_beside_the_timed_run_is_of_the_script_and_of_its_code():
    """The transformer's words were typed one by one, before `model/reader` was there."""
    folder = ROOT / "experiments" / "teacher_student"
    timed = json.loads((folder / "stage_times.json").read_text())
    runs, said = json.loads((folder / "full.json").read_text())["runs"], lines()
    for name in runs.keys() - {"transformer"}:
        assert sorted(runs[name]["overrides"]) == sorted(said[f"full_{name}"]), name
    beside = json.loads((folder / "full_pretraining.json").read_text())["commits"]
    assert {*beside.values(), *(run["commit"] for run in runs.values())} == {timed["commit"]}


def test_numbers_without_runs_of_their_own_are_of_one_clean_commit():
    folder = ROOT / "experiments" / "teacher_student"
    of = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("results", "severity", "speed")}
    stored = {run["commit"] for run in of["results"]["runs"].values()}
    for name in ("inputs", "inputs_calibrated", "inputs_student", "inputs_student_calibrated"):
        assert set(json.loads((folder / f"{name}.json").read_text())["commits"]) == stored
    assert set(json.loads((folder / "pretraining.json").read_text())["commits"].values()) == stored
    assert {of["severity"]["commit"]} == stored
    assert re.fullmatch("[0-9a-f]{40}", of["speed"]["commit"]), "no changes beside a commit"


def test_the_tables_of_the_readme_are_those_of_the_files():
    """`tables.py` writes them; what it would write is what is there."""
    tables = loaded("tables")
    text = (ROOT / "experiments" / "teacher_student" / "README.md").read_text()
    assert tables.filled(text) == text
    assert {mark for mark in re.findall(r"<!-- (\w+) -->", text) if mark != "end"} <= set(tables.TABLES)
