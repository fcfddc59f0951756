"""python -m icu_lightning.predict: the run's own risks again, on any database, and a checkpoint that is data, not code."""

import copy
import dataclasses
import json

import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from icu_lightning import runfolder
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from icu_lightning.errors import UserError
from icu_lightning.evaluate import evaluate_runs
from icu_lightning.pipeline import run_pipeline
from icu_lightning.predict import at_the_checkpoints_time, chosen, predict, refuse_uncharted
from icu_lightning.training.checkpoint import read_content, trained
from tests.conftest import CONF, composed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run on made-up stays."""
    config = composed("data.stays=300", "trainer.max_epochs=1", "bootstrap=20", "report=none").plain
    config["data"]["cache_dir"] = None
    names = {"data": "synthetic", "model": "focal_lstm", "trainer": "cpu", "logger": "csv", "calibration": "isotonic"}
    folder = tmp_path_factory.mktemp("run")
    stored = runfolder.start(folder, {"names": names, **config})
    run_pipeline(folder, stored, *source_and_settings(**config["data"]))
    return folder


def predict_here(*words: str) -> None:
    """The command, without its process."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("predict", list(words)), resolve=True)
    predict({"names": {}, **plain}, words)


def test_the_test_risks_are_those_of_the_run(finished, cli, tmp_path):
    out = tmp_path / "risks.parquet"
    done = cli(f"checkpoint={finished}", "data.stays=300", f"out={out}", module="icu_lightning.predict")
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" in done.stdout
    run, again = pl.read_parquet(finished / "predictions.parquet"), pl.read_parquet(out)
    both = run.join(again, on="stay_id", suffix="_again")
    assert both.height == run.height
    assert (both["risk_raw"] - both["risk_raw_again"]).abs().max() < 1e-9
    test = both.filter(pl.col("split") == "test")
    assert (test["risk"] - test["risk_again"]).abs().max() < 1e-6
    assert test["threshold"].equals(test["threshold_again"].rename("threshold"))


def test_the_risks_of_an_undersampled_run_are_corrected_alike_by_whoever_applies_it(run_here, tmp_path):
    folder, out = (
        run_here("model=logistic_regression", "data.stays=600", "data.undersample=1", "bootstrap=20"),
        tmp_path / "risks.parquet",
    )
    run, metrics = pl.read_parquet(folder / "predictions.parquet"), json.loads((folder / "metrics.json").read_text())
    counts = json.loads((folder / "audit.json").read_text())["undersampled"]
    split = dict(run["split"].value_counts().iter_rows())
    assert (split["train"], split["left_out"]) == (2 * counts["deaths"], counts["left_out"])
    odds = 1 - counts["left_out"] / counts["survivors"]
    raw, prior = run["risk_raw"], run["risk_prior"]
    assert (prior / (1 - prior) / (raw / (1 - raw)) - odds).abs().max() < 1e-9
    assert (
        metrics["test"]["prior"]["observed_to_expected"]["value"]
        > metrics["test"]["raw"]["observed_to_expected"]["value"]
    )
    evaluate_runs([folder], None, 50)
    assert json.loads((folder / "metrics.json").read_text()) == metrics, "from the file alone"
    predict_here(f"checkpoint={folder}", "data.stays=600", f"out={out}")
    both = run.join(pl.read_parquet(out), on="stay_id", suffix="_again").filter(pl.col("split") == "test")
    assert (both["risk"] - both["risk_again"]).abs().max() < 1e-6


def test_columns_of_the_meds_evaluation_schema_and_ours(finished, tmp_path):
    out = tmp_path / "risks.parquet"
    predict_here(f"checkpoint={finished / 'checkpoints' / 'model.ckpt'}", "data.stays=300", f"out={out}")
    table = pl.read_parquet(out)
    assert {name: str(kind) for name, kind in list(table.schema.items())[:5]} == {
        "subject_id": "Int64",
        "prediction_time": "Datetime(time_unit='us', time_zone=None)",
        "boolean_value": "Boolean",
        "predicted_boolean_value": "Boolean",
        "predicted_boolean_probability": "Float64",
    }
    assert table["predicted_boolean_probability"].equals(table["risk"].rename("predicted_boolean_probability"))
    assert table["predicted_boolean_value"].to_list() == (table["risk"] >= table["threshold"]).to_list()
    assert table["prediction_time"].unique().dt.timestamp("ms").to_list() == [48 * 3600 * 1000]


@pytest.mark.parametrize("nothing", [0, 3])
def test_stays_without_a_single_measurement_are_counted_on_the_terminal(
    finished, tmp_path, capsys, monkeypatch, nothing
):
    """Of such a stay an imputer draws what it would of anybody; of none nothing is said."""
    whole = ICUDataModule.apply

    def apply(*asked):
        stays = whole(*asked)
        return dataclasses.replace(
            stays, observed=stays.observed & (torch.arange(len(stays)) >= nothing)[:, None, None]
        )

    monkeypatch.setattr(ICUDataModule, "apply", apply)
    out = tmp_path / "risks.parquet"
    predict_here(f"checkpoint={finished}", "data.stays=300", f"out={out}")
    assert (pl.read_parquet(out)["n_measured"] == 0).sum() == nothing
    told = [line for line in capsys.readouterr().out.splitlines() if "single measurement" in line]
    said = "Stays without a single measurement, whose risk is that of nobody in particular: 3 (n_measured = 0)"
    assert told == [said] * (nothing > 0)


def test_unknown_outcomes_are_predicted_and_stay_unknown(finished):
    content = read_content(finished / "checkpoints" / "model.ckpt")
    merged = chosen({"source": "x", "cohort": ["typed"]}, content, own_cohort=False)
    assert not any("outcome_known" in step for step in merged["cohort"])
    assert {"in_icu_at_prediction": 48} in merged["cohort"]
    assert chosen({"source": "x", "cohort": ["typed"]}, content, own_cohort=True)["cohort"] == ["typed"]
    assert merged["hours"] == 48


def test_stays_without_an_outcome_get_the_risks_that_they_would_get_with_one(finished, synthetic_eicu, tmp_path):
    folder = tmp_path / "eicu"
    folder.mkdir()
    for path in synthetic_eicu.iterdir():
        (folder / path.name).symlink_to(path)
    (patient,) = folder.glob("patient.*")
    table = pl.read_parquet(patient) if patient.suffix == ".parquet" else pl.read_csv(patient, infer_schema=False)
    unknown = pl.when(pl.int_range(pl.len()) % 2 == 0).then("hospitaldischargestatus")
    patient.unlink()
    table.with_columns(hospitaldischargestatus=unknown).write_csv(folder / "patient.csv")
    risks = {}
    for name, root in {"known": synthetic_eicu, "half": folder}.items():
        predict_here(f"checkpoint={finished}", "data=eicu", f"data.root={root}", f"out={tmp_path / name}.parquet")
        risks[name] = pl.read_parquet(tmp_path / f"{name}.parquet")
    assert risks["known"]["label"].null_count() == 0
    half = risks["half"]
    assert 0.4 < half["label"].null_count() / half.height < 0.6
    assert half.filter(pl.col("label").is_null())["boolean_value"].null_count() == half["label"].null_count()
    assert half["predicted_boolean_value"].null_count() == 0
    both = half.join(risks["known"], on="stay_id", suffix="_known")
    assert both.height == half.height == risks["known"].height
    assert (both["risk"] - both["risk_known"]).abs().max() < 1e-6


def test_a_cohort_by_name_is_taken_at_the_checkpoints_time(finished):
    """conf/predict's own model may have another window than the checkpoint."""
    content = read_content(finished / "checkpoints" / "model.ckpt")
    data = {
        "hours": 24,
        "outcome": "died_in_icu",
        "cohort": ["age_known", {"outcome_known": "died_in_icu"}, {"in_icu_at_prediction": 24}],
    }
    taken = at_the_checkpoints_time(data, content, ["cohort=mtdm"])["cohort"]
    assert taken == ["age_known", {"outcome_known": "died_in_hospital"}, {"in_icu_at_prediction": 48}]
    assert at_the_checkpoints_time(data, content, ["data.cohort=[...]"]) == data, "a list is what was typed"


def test_an_uncharted_variable_is_named_with_the_way_out():
    with pytest.raises(
        UserError, match=r"The model uses gcs, fio2, which nowhere does not chart .*'unmeasured=\[ph,gcs,fio2\]'"
    ):
        refuse_uncharted("nowhere", ["gcs", "fio2", "ph"], ["ph"])
    refuse_uncharted("eicu", ["sbp", "dbp", "map"], [])
    with pytest.raises(UserError, match="unmeasured names lactat, which the model does not use: map, gcs"):
        refuse_uncharted("eicu", ["map", "gcs"], ["lactat"])
    with pytest.raises(UserError, match="every variable"):
        refuse_uncharted("eicu", ["map"], ["map"])
    with pytest.raises(UserError, match="unmeasured must be a list"):
        refuse_uncharted("eicu", ["map"], "map")


def test_a_stays_risk_does_not_depend_on_its_batch(finished, synthetic_data):
    model = trained(finished)
    data = synthetic_data(
        300, **{k: v for k, v in chosen({}, model.content, own_cohort=False).items() if k not in ("stays",)}
    )
    everyone = data.apply(model.content)
    alone = torch.cat([model.model.predict(everyone[i : i + 1]) for i in range(20)])
    assert (model.model.predict(everyone)[:20] - alone).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out=x.parquet"], "checkpoint= is missing"),
        (["checkpoint={run}"], "out= is missing"),
        (["checkpoint={run}", "out=x.parquet", "data.hours=24"], "data.hours is decided by the checkpoint"),
        (["checkpoint=nowhere", "out=x.parquet"], "There is no checkpoint nowhere"),
        (["checkpoint={run}/config.yaml", "out=x.parquet"], "is no checkpoint of a run, or it is damaged"),
        (["checkpoint={run}", "out={run}/config.yaml"], "is there already, and nothing is overwritten"),
    ],
)
def test_mistakes_are_told(finished, words, message):
    with pytest.raises(UserError, match=message):
        predict_here(*(word.format(run=finished) for word in words))


def test_a_mistake_is_one_message_and_exit_code_1(cli):
    done = cli("checkpoint=nowhere", "out=x.parquet", module="icu_lightning.predict")
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no checkpoint nowhere")
    assert "Traceback" not in done.stderr + done.stdout


@pytest.fixture
def content(finished):
    return copy.deepcopy(read_content(finished / "checkpoints" / "model.ckpt"))


def saved(content, tmp_path):
    torch.save(content, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "icu_lightning.runfolder.subprocess.run",
        "icu_lightning.download.main",
        "torch.hub.load",
        "torch.optim.lr_scheduler.warnings.warn",
    ],
)
def test_a_configuration_that_names_other_code_is_refused_before_it_is_built(content, tmp_path, target):
    """Also by a path that begins in a trusted package and leaves it."""
    for place in (content["model"], content["model"]["optimizer"]):
        before = place["_target_"]
        place["_target_"] = target
        with pytest.raises(UserError, match="no class of this package"):
            trained(saved(content, tmp_path))
        place["_target_"] = before
    trained(saved(content, tmp_path))


def test_a_pickle_that_runs_code_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"icu_lightning": Attack()}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="no checkpoint of a run, or it is damaged"):
        trained(tmp_path / "model.ckpt")
    assert not (tmp_path / "written").exists()


def test_other_versions_and_other_variables_are_told(content, tmp_path):
    with pytest.raises(
        UserError, match=r"was written by icu_lightning 9.0, whose checkpoints this version .* does not read"
    ):
        trained(saved(content | {"icu_lightning": "9.0", "format": 99}, tmp_path))
    for part in (content["shape"], content["data"]["settings"]):
        part["variables"] = part["variables"][:-1]
    for values in content["scaler"].values():
        values.pop()
    with pytest.raises(UserError, match="do not fit the model that it describes"):
        trained(saved(content, tmp_path))


def test_parts_of_two_checkpoints_are_no_checkpoint(content, tmp_path):
    """Each would be loaded, and give numbers: the variables in another order than the model's."""
    damaged = copy.deepcopy(content)
    damaged["data"]["settings"]["variables"].reverse()
    with pytest.raises(UserError, match=r"does not fit together: its model sees variables"):
        trained(saved(damaged, tmp_path))
    damaged = copy.deepcopy(content)
    damaged["scaler"]["mean"].pop()
    with pytest.raises(UserError, match=r"does not fit together: its scaler"):
        trained(saved(damaged, tmp_path))


NO_NUMBER = {
    "another kind": ({"calibrator": {"kind": "spline"}}, "a calibrator of an unknown kind: spline"),
    "another kind inside": (
        {"calibrator": {"kind": "after_prior", "odds": 0.1, "then": {"kind": "spline"}}},
        "unknown kind: spline",
    ),
    "words for knots": ({"calibrator": {"kind": "isotonic", "x": "abc", "y": [1]}}, "a calibrator that cannot be used"),
    "no calibrator": ({"calibrator": None}, "a calibrator that cannot be used"),
    "a knot that is none": (
        {"calibrator": {"kind": "isotonic", "x": [0.0, 1.0], "y": [float("nan"), 1.0]}},
        "what is no number in",
    ),
    "odds of nothing": (
        {"calibrator": {"kind": "after_prior", "odds": -1.0, "then": {"kind": "none"}}},
        "a calibrator that cannot be used",
    ),
    "a word for a threshold": (
        {"threshold": {"rule": "f1", "value": "high"}},
        "its threshold, holds something that is no finite number",
    ),
    "no data": ({"data": None}, "does not hold what a checkpoint holds"),
}


@pytest.mark.parametrize("name", NO_NUMBER)
def test_damaged_values_are_told_before_they_become_risks(content, tmp_path, name):
    change, message = NO_NUMBER[name]
    with pytest.raises(UserError, match=message):
        trained(saved(content | change, tmp_path))


def test_a_class_that_is_not_installed_here_is_told(content, tmp_path):
    content["model"]["_target_"] = "icu_lightning.models.mine.Mine"
    with pytest.raises(UserError, match="is its model's file missing"):
        trained(saved(content, tmp_path))
