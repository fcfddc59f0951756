"""The command: what it writes, what it finds below a folder, and one message for what it refuses."""

import json
import re
import shutil
import subprocess
import sys

import polars as pl
import pytest

from icu_lightning.compare import run_folders
from icu_lightning.errors import UserError
from tests.comparison.conftest import make_folder, table  # noqa: F401  (a fixture)


@pytest.fixture
def compare(cli):
    return lambda *arguments: cli(*map(str, arguments), module="icu_lightning.compare")


def test_tables_page_and_terminal_from_folders_and_patterns(compare, make_folder, tmp_path):  # noqa: F811
    for seed in (0, 1):
        make_folder(f"lstm/{seed}", table(1.5, seed), seed=seed)
    make_folder("lr", table(0.5, 7), names__model="logistic_regression")
    done = compare(tmp_path / "runs" / "lstm", tmp_path / "runs" / "l?", "--bootstrap", "20", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "eicu, died_in_hospital: 240 test stays of 120 patients" in done.stdout
    assert "p DeLong" in done.stdout
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "index.html",
        "comparison.tex",
        "models.csv",
        "runs.csv",
        "differences.csv",
        "plots",
    }
    assert len(list((tmp_path / "out" / "plots").glob("*.svg"))) == 5
    models = pl.read_csv(tmp_path / "out" / "models.csv").filter(metric="auroc")
    assert dict(models.select("model", "seeds").iter_rows()) == {"focal_lstm": 2, "logistic_regression": 1}
    again = compare(tmp_path / "runs", "--bootstrap", "20", "--out", tmp_path / "out")
    assert again.returncode == 1
    assert "is not an empty folder, and nothing is overwritten: choose another --out" in again.stderr


def test_by_data_gives_a_table_each_and_without_it_data_are_not_mixed(compare, make_folder, tmp_path):  # noqa: F811
    names = [make_folder("real"), make_folder("made", source="synthetic", synthetic=True)]
    refused = compare(*names, "--bootstrap", "5")
    assert refused.returncode == 1
    assert re.search(
        r"real and .*made cannot stand in one ranking: synthetic or real data is real and synthetic.*--by data",
        refused.stderr,
    )
    assert not list((tmp_path / "work").rglob("*.html"))
    done = compare(*names, "--bootstrap", "5", "--by", "data")
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC stays (no patients of any hospital)" in done.stdout
    (made,) = (tmp_path / "work" / "comparisons").glob("*/index.html")
    assert made.read_text().count("<h3>Models</h3>") == 2
    figures = {path.name: path.read_text() for path in (made.parent / "plots").iterdir()}
    assert {"eicu-roc_comparison.svg", "synthetic-roc_comparison.svg"} <= figures.keys()
    assert all(("SYNTHETIC STAYS" in text) == name.startswith("synthetic") for name, text in figures.items())


DAMAGE = {
    "no predictions": (lambda f: (f / "predictions.parquet").unlink(), r"predictions\.parquet is missing"),
    "altered predictions": (
        lambda f: table(0.1).write_parquet(f / "predictions.parquet"),
        r"is not the file that its run wrote",
    ),
    "unfinished": (lambda f: (f / "metrics.json").unlink(), r"b is not finished .*resume="),
    "half a metrics.json": (lambda f: (f / "metrics.json").write_text("{"), r"b is not finished"),
    "no config": (lambda f: (f / "config.yaml").unlink(), r"b: there is no run in that folder"),
    "another config": (lambda f: (f / "config.yaml").write_text("a: 1"), r"is not the configuration of a run"),
    "no YAML": (lambda f: (f / "config.yaml").write_text("a: ["), r"is no valid YAML"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_folder_is_one_message(name, compare, make_folder, tmp_path):  # noqa: F811
    good, bad = make_folder("a"), make_folder("b", seed=1)
    damage, message = DAMAGE[name]
    damage(bad)
    done = compare(good, bad, "--bootstrap", "5")
    assert done.returncode == 1, done.stdout
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "work").iterdir())


def test_a_run_without_a_kept_digest_or_facts_is_still_compared(compare, make_folder):  # noqa: F811
    """As runs were before the digest was kept."""
    folder = make_folder("old")
    pl.read_parquet(folder / "predictions.parquet").write_parquet(
        folder / "predictions.parquet", metadata={"outcome": "died_in_hospital"}
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["evaluation"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    done = compare(folder, "--bootstrap", "5")
    assert done.returncode == 0, done.stderr
    assert "eicu, died_in_hospital" in done.stdout


def test_a_run_without_test_stays_is_refused(compare, make_folder):  # noqa: F811
    folder = make_folder("a", table().with_columns(split=pl.lit("val")))
    assert "has no test stays: there is nothing to compare" in compare(folder).stderr


def test_a_run_named_twice_counts_once_and_nowhere_is_refused(make_folder, tmp_path):  # noqa: F811
    folder = make_folder("deep/er/run")
    found = run_folders([str(folder), str(tmp_path / "runs"), str(tmp_path / "runs" / "deep" / "*")])
    assert found == [folder]
    with pytest.raises(UserError, match="nowhere: there is no run"):
        run_folders([str(folder), "nowhere"])
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="none below it"):
        run_folders([str(tmp_path / "runs")])


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), ([], 2), (["a", "--by", "model"], 2), (["a", "--bootstrap", "0"], 1)]
)
def test_help_and_wrong_options(arguments, code, compare):
    done = compare(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_torch_is_not_loaded(make_folder, tmp_path):  # noqa: F811
    code = (
        "import sys; from pathlib import Path; from icu_lightning.compare import compare_runs;"
        f"compare_runs([{str(make_folder('a'))!r}], Path({str(tmp_path / 'out')!r}), by_data=False, bootstrap=5, seed=0);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
