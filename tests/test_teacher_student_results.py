"""The script of experiments/teacher_student: paired differences, runs that do not belong together, and the table of attributions."""

import importlib.util

import pytest

from icu_lightning.errors import UserError
from tests.conftest import ROOT, run_in

SMALL = ("model=logistic_regression", "data.stays=400", "bootstrap=0", "data.cache_dir=null")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("results", ROOT / "experiments" / "teacher_student" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_difference_is_paired_and_of_itself_zero(script, tmp_path):
    one = run_in(tmp_path / "one", *SMALL)
    two = run_in(tmp_path / "two", *SMALL, "model.static=true")
    rows = script.compared({"one": one, "two": two}, "one", 50)["runs"]
    assert rows["one"]["auroc_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    difference = rows["two"]["auroc"]["value"] - rows["one"]["auroc"]["value"]
    assert rows["two"]["auroc_difference"]["value"] == pytest.approx(difference)
    assert difference != 0
    width = rows["two"]["auroc_difference"]["high"] - rows["two"]["auroc_difference"]["low"]
    assert width < rows["one"]["auroc"]["high"] - rows["one"]["auroc"]["low"], "the same patients are in both"
    other = run_in(tmp_path / "other", *SMALL, "data.split_seed=1")
    with pytest.raises(UserError, match="were not tested on the same stays"):
        script.compared({"one": one, "other": other}, "one", 0)


def test_what_moves_no_risk_is_not_comparable(script):
    row = {"feature": "sofa", "mean_absolute": 0.1, "low": 0.05, "high": 0.2}
    nobody = {"feature": "insurance", "mean_absolute": 0.0, "low": 0.0, "high": 0.0}
    table = script.shap_table({"features": [row, nobody], "n": 5, "risk": "raw"})
    here = {entry["feature"]: entry["here"] for entry in table["rows"]}
    assert here["sofa"] == {"mean_absolute": 0.1, "low": 0.05, "high": 0.2}
    assert here["insurance"] == here["lods"] == "not comparable"
    assert "no cause" in table["note"]
