"""python -m icu_lightning.transfer: the run's own risks on another database, judged, and refused where they would mean nothing."""

import json

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from icu_lightning import runfolder
from icu_lightning.data.settings import source_and_settings
from icu_lightning.errors import UserError
from icu_lightning.pipeline import run_pipeline
from icu_lightning.predict import predict
from icu_lightning.transfer import applied, write
from tests.conftest import CONF, composed

NAMES = {"data": "synthetic", "model": "logistic_regression", "trainer": "cpu", "logger": "csv", "calibration": "platt"}
FAST = ("bootstrap=10", "draws=2", "k=[50,100]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run on 400 made-up stays."""
    config = composed(
        "model=logistic_regression", "data.stays=400", "calibration=platt", "bootstrap=10", "report=none"
    ).plain
    config["data"]["cache_dir"] = None
    folder = tmp_path_factory.mktemp("run")
    stored = runfolder.start(folder, {"names": NAMES, **config})
    run_pipeline(folder, stored, *source_and_settings(**config["data"]))
    return folder


def plain(config_name: str, words: tuple[str, ...]) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return {"names": NAMES} | OmegaConf.to_container(compose(config_name, list(words)), resolve=True)


def transfer_here(*words: str):
    """The command up to what it writes, without its process."""
    return applied(plain("transfer", words), words)


def test_the_command_writes_everything_and_never_twice(finished, synthetic_eicu, cli, tmp_path):
    words = (f"run={finished}", "data=eicu", f"data.root={synthetic_eicu}", *FAST, f"hydra.run.dir={tmp_path / 'out'}")
    done = cli(*words, module="icu_lightning.transfer")
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC stays throughout" in done.stdout
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    plots = {f"plots/{name}.svg" for name in ("calibration", "by_k", "funnel", "forest")}
    tables = {f"{name}.csv" for name in ("attrition", "cleaning", "variables", "transfer", "hospitals")}
    assert files == plots | tables | {"predictions.parquet", "transfer.json", "index.html"}
    facts = pl.read_parquet_metadata(tmp_path / "out" / "predictions.parquet")
    assert (facts["source"], facts["trained_on"]) == ("eicu", "synthetic (SYNTHETIC)")
    assert "SYNTHETIC stays throughout" in facts["marks"]
    stored = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert stored["hospitals"]["over"]["observed_to_expected"]["n"] == 8
    assert stored["recalibrated_on"] == [50, 100]
    again = cli(*words, module="icu_lightning.transfer")
    assert again.returncode == 1
    assert "is not empty, and nothing is overwritten" in again.stderr


def test_risks_are_those_that_predict_gives(finished, synthetic_eicu, tmp_path):
    target = ("data=eicu", f"data.root={synthetic_eicu}")
    result = transfer_here(f"run={finished / 'checkpoints' / 'model.ckpt'}", *target, *FAST)
    words = (f"checkpoint={finished}", *target, f"out={tmp_path / 'risks.parquet'}")
    predict(plain("predict", words), words)
    both = result.predictions.join(pl.read_parquet(tmp_path / "risks.parquet"), on="stay_id", suffix="_predicted")
    assert both.height == result.predictions.height > 500
    for name in ("risk", "risk_raw", "threshold"):
        assert (both[name] - both[f"{name}_predicted"]).abs().max() < 1e-6


def test_on_its_own_database_only_test_patients_judge_and_it_is_said(finished):
    result = transfer_here(f"run={finished}", "data.stays=400", *FAST)
    own = pl.read_parquet(finished / "predictions.parquet")
    assert result.kinship.word == "not external, SYNTHETIC"
    assert result.seen == own.filter(pl.col("split") != "test").height
    assert set(result.predictions["stay_id"]) == set(own.filter(split="test")["stay_id"])


def test_a_missing_label_is_no_stay_and_a_named_filter(finished, synthetic_eicu, tmp_path):
    folder = tmp_path / "eicu"
    folder.mkdir()
    for path in synthetic_eicu.iterdir():
        if path.name.startswith("patient"):
            table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
            unknown = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("")).otherwise("hospitaldischargestatus")
            table.with_columns(hospitaldischargestatus=unknown).write_csv(folder / "patient.csv")
        else:
            (folder / path.name).symlink_to(path)
    everybody = transfer_here(f"run={finished}", "data=eicu", f"data.root={synthetic_eicu}", *FAST)
    result = transfer_here(f"run={finished}", "data=eicu", f"data.root={folder}", "cohort=mtdm", *FAST)
    last = result.attrition.to_dicts()[-1]
    assert last["filter"] == "outcome_known died_in_hospital"
    assert "in_icu_at_prediction 24" in result.attrition["filter"].to_list(), "the checkpoint's time, not conf's"
    assert last["removed_stays"] > 100
    assert result.predictions.height == everybody.predictions.height - last["removed_stays"]
    assert result.predictions["label"].null_count() == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run= is missing"),
        (["run=nowhere"], "There is no run nowhere"),
        (["run={run}", "data.outcome=died_in_icu"], "data.outcome is decided by the checkpoint"),
        (["run={run}", "data.variables=[map]"], "data.variables is decided by the checkpoint"),
        (["run={run}", "k=[1]"], "k must be a whole number of at least 2"),
        (["run={run}", "draws=0"], "draws must be a whole number of at least 1"),
        (["run={run}", "judging=0"], "judging is the share of patients that judge"),
        (["run={run}", "start=score"], "Unknown start 'score'"),
        (["run={run}", "unmeasured=[lactate]"], "unmeasured names lactate, which the model does not use"),
        (["run={run}", "cv=5"], "cv is of icu_lightning.run"),
    ],
)
def test_mistakes_are_told(finished, words, message):
    with pytest.raises(UserError, match=message):
        transfer_here(*(word.format(run=finished) for word in words))


def test_a_cross_validation_is_no_model(finished, tmp_path):
    (tmp_path / "fold-0").mkdir()
    with pytest.raises(UserError, match=r"a model a fold: choose one, as in run=.*fold-0"):
        transfer_here(f"run={tmp_path}")


class Lacking:
    """The made-up eICU under a name whose database charts only some variables, and knows no deaths in the unit."""

    synthetic, name = True, "lacking"

    def __init__(self, root: str) -> None:
        from icu_lightning.data.sources.eicu import EICU

        self.own = EICU(root)
        self.collect, self.fingerprint = self.own.collect, self.own.fingerprint

    def stays(self):
        return self.own.stays()

    def events(self, concepts):
        assert "sodium" not in {concept.name for concept in concepts}, "never read"
        return self.own.events(concepts)


@pytest.fixture
def lacking(monkeypatch, synthetic_eicu):
    """A database without sodium: overrides that name it."""
    from dataclasses import replace

    from icu_lightning.data import concepts

    known = {
        name: c if name == "sodium" else replace(c, charted=c.charted | {"lacking": c.charted.get("eicu", ())})
        for name, c in concepts.all_concepts().items()
    }
    monkeypatch.setattr(concepts, "all_concepts", lambda: known)
    monkeypatch.setattr("icu_lightning.data.prepared.all_concepts", lambda: known)
    monkeypatch.setattr("icu_lightning.data.derived.all_concepts", lambda: known)
    return ("data=eicu", f"data.root={synthetic_eicu}", f"data.source={__name__}.Lacking", "data.cache_dir=null")


def test_a_variable_that_the_target_lacks_is_an_error_with_a_way_out(finished, lacking, tmp_path):
    with pytest.raises(
        UserError, match=r"The model uses sodium, which lacking does not chart .*'unmeasured=\[sodium\]'"
    ):
        transfer_here(f"run={finished}", *lacking, *FAST)
    result = transfer_here(f"run={finished}", *lacking, "unmeasured=[sodium]", *FAST)
    sodium = result.variables.filter(variable="sodium").to_dicts()[0]
    assert (sodium["hours_with_a_value"], sodium["mean_z"]) == (0, None)
    assert result.variables.filter(pl.col("hours_with_a_value") > 0).height == 10
    write(result, tmp_path / "out")
    assert "sodium: fed as never measured, because you asked for it" in (tmp_path / "out" / "index.html").read_text()


def test_an_outcome_that_the_target_knows_of_nobody_is_refused(finished, monkeypatch, synthetic_eicu):
    from icu_lightning.data.sources.eicu import EICU

    everyone = EICU.stays
    unknown = pl.lit(None, pl.Boolean)
    monkeypatch.setattr(EICU, "stays", lambda self: everyone(self).with_columns(died_in_hospital=unknown))
    with pytest.raises(UserError, match="predicts died_in_hospital, which eicu knows of no stay"):
        transfer_here(f"run={finished}", "data=eicu", f"data.root={synthetic_eicu}", "data.cache_dir=null", *FAST)
