"""python -m icu_lightning.examine: the same files as the run's own report, from its folder alone; what has changed is refused."""

import json
import shutil

import polars as pl
import pytest
import yaml

from icu_lightning.errors import UserError
from icu_lightning.examine import examine
from tests.conftest import CONF, composed, run_in

WORDS = ("model=logistic_regression", "data.stays=300", "bootstrap=20")
REPORT = {"stay_pages": "auto", "stays": 4, "hours_observed": [6, 12, 24, 36, 48], "embedding": 500}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examine")
    return run_in(folder / "run", "report=full", *WORDS, f"data.cache_dir={folder / 'cache'}")


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def files(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("stays/*"), *folder.glob("*observed.csv")]}


def test_it_makes_what_the_run_made(copied):
    first = files(copied)
    assert {"index.html", "1.html", "hours_observed.csv"} <= first.keys()
    (copied / "hours_observed.csv").unlink()
    shutil.rmtree(copied / "stays")
    examine({"run": str(copied), "report": REPORT})
    assert files(copied) == first


@pytest.mark.slow
def test_the_command_makes_it_too(copied, cli):
    first = files(copied)
    shutil.rmtree(copied / "stays")
    done = cli(f"run={copied}", module="icu_lightning.examine")
    assert done.returncode == 0, done.stderr
    assert "Looked at more closely" in done.stdout
    assert files(copied) == first


def test_its_choices_are_those_of_the_report():
    stored = yaml.safe_load((CONF / "examine.yaml").read_text())["report"]
    assert stored == REPORT
    assert stored.items() <= composed().plain["report"].items()


def test_altered_predictions_another_model_and_no_run_are_refused(copied, tmp_path):
    with pytest.raises(UserError, match="Which run"):
        examine({"run": None, "report": REPORT})
    with pytest.raises(UserError, match="there is no run in that folder"):
        examine({"run": str(tmp_path), "report": REPORT})
    with pytest.raises(UserError, match=r"report.stays must be"):
        examine({"run": str(copied), "report": REPORT | {"stays": -1}})
    table = pl.read_parquet(copied / "predictions.parquet")
    table.with_columns(risk=pl.col("risk") / 2).write_parquet(copied / "predictions.parquet")
    with pytest.raises(UserError, match="is not the file that its run wrote"):
        examine({"run": str(copied), "report": REPORT})


def test_data_that_have_changed_are_refused(copied):
    path = copied / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["stays"] = 310
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"test stays, the data now have|gives other risks"):
        examine({"run": str(copied), "report": REPORT})


def test_a_cross_validation_names_its_folds(copied):
    path = copied / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "cv": 3}))
    with pytest.raises(UserError, match="with a model a fold"):
        examine({"run": str(copied), "report": REPORT})
    assert json.loads((copied / "metrics.json").read_text())
