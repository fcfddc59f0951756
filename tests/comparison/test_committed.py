"""experiments/mtdm/tables: what is committed of a run says what its table says, and in the run's place gives the same table."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from icu_lightning.compare import compare_published
from icu_lightning.comparison.published import AFTER, OF_MTDM
from icu_lightning.errors import UserError
from icu_lightning.results import write_metrics
from tests.comparison.conftest import table
from tests.conftest import ROOT

FOLDER = ROOT / "experiments" / "mtdm"
TABLES = {  # of errors, of AUROCs
    "tables": ("table3", "table6"),
    "tables/clusters": ("table3", "table6"),
    "tables/physionet2012": ("table1", "table4"),
    "tables/physionet2012/clusters": ("table1", "table4"),
    "tables/smoke/mimic3": ("table1", "table4"),
    "tables/smoke/mimic4": ("table2", "table5"),
}
FILES = [path for folder in TABLES for path in sorted((FOLDER / folder / "runs").glob("*.json"))]
LARGEST = 26_000  # bytes; the whole ones have eight times as many
RATES = ("0.1", "0.3", "0.5", "0.7", "0.9")
FACTS = "date: today\ncommand: /home/me/icu_lightning/run.py seed=0 hydra.run.dir=/home/me/x\ngit commit: none\n\ntorch==2\n"


@pytest.fixture(scope="module")
def script():
    """experiments/mtdm/committed.py as a module; results.py is beside it."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("committed", FOLDER / "committed.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
        module.results = sys.modules.pop("results", None)  # teacher_student has another one
    return module


@pytest.fixture
def make(make_folder):
    """A function: imputer, predictor -> a finished run folder of four folds, with errors of imputation."""

    def folder(imputer: str, predictor: str, error: float):
        names = {"names__model": "two_stage", "names__imputer": imputer, "names__predictor": predictor}
        rows = table().with_columns(fold=pl.col("stay_id").cast(pl.Int32) // 2 % 4)
        path = make_folder(f"{imputer}_{predictor}", rows, bootstrap=5, **names)
        metrics = json.loads((path / "metrics.json").read_text())
        cell = {"value": error, "low": error - 0.1, "high": error + 0.1}
        metrics["imputation"] = {
            rate: {
                "n": 9,
                "mae": cell,
                "rmse": cell,
                "variables": {"map": {"unit": "mmHg", "n": 9, "mae": cell, "rmse": cell}},
            }
            for rate in RATES
        }
        write_metrics(path, metrics)
        (path / "environment.txt").write_text(FACTS)
        (path / "audit.json").write_text('{"passed": true, "checks": []}')
        (path / "attrition.csv").write_text("filter,stays\nall stays,280\n")
        return path

    return folder


def written(folders, out) -> dict[str, bytes]:
    for name in ("table3", "table6"):
        (out / name).mkdir(parents=True)
        compare_published([str(path) for path in folders], out / name, name, by=None, synthetic=False)
    return {path.name: path.read_bytes() for path in sorted(out.glob("*/*"))}


def test_in_the_place_of_the_runs_own_it_gives_the_same_tables(script, make, tmp_path):
    folders = [make("knn", "lstm", 0.5), make("mean", "lstm", 0.7)]
    whole = written(folders, tmp_path / "whole")
    assert b"0.700" in whole["table3.md"], "else this test would not notice"
    sizes = [(path / "metrics.json").stat().st_size for path in folders]
    for path in folders:
        write_metrics(path, script.committed(path))
    assert written(folders, tmp_path / "slim") == whole
    assert all((path / "metrics.json").stat().st_size < size / 2 for path, size in zip(folders, sizes, strict=True))


def test_what_is_left_out_and_what_is_said_before(script, make):
    folder = make("knn", "lstm", 0.5)
    metrics, kept = json.loads((folder / "metrics.json").read_text()), script.committed(folder)
    run = kept.pop("run")
    assert kept.keys() == metrics.keys()
    assert not set(script.BULK) & kept["test"].keys()
    assert kept["test"].keys() == metrics["test"].keys() - set(script.BULK)
    for block, whole in ((kept["test"], metrics["test"]), (kept["test"]["raw"], metrics["test"]["raw"])):
        assert block["auroc"] == whole["auroc"]
        assert block["folds"]["auroc"] == whole["folds"]["auroc"]
        assert block["folds"]["brier"] == {name: whole["folds"]["brier"][name] for name in ("mean", "sd")}
        assert block["folds"]["n"] == [60] * 4
    assert kept["imputation"]["0.1"]["variables"] == {"map": {"unit": "mmHg", "mae": {"value": 0.5}}}
    test = table().filter(split="test").with_columns(fold=pl.col("stay_id") // 2 % 4)
    folds = [roc_auc_score(part["label"], part["risk_raw"]) for part in test.partition_by("fold")]
    assert run["auroc_of_folds"]["value"] == pytest.approx(sum(folds) / 4)
    assert run["command"] == "python -m icu_lightning.run seed=0 hydra.run.dir=runs/x"
    assert (run["commit"], run["seed"], run["audit"]["passed"]) == ("none", 0, True)
    assert run["attrition"] == {"filter": ["all stays"], "stays": [280]}
    assert "/home" not in json.dumps(run)


def test_the_epochs_of_least_losses_are_kept_of_each_fold_and_stage(script, make):
    folder = make("knn", "lstm", 0.5)
    assert script.committed(folder)["run"]["training"] == [], "nothing was trained"
    rows = [
        "fold,stage,epoch,train/loss,val/loss,val/mortality",
        "0,fit,0,2,0.9,0.3",
        "0,fit,1,1,0.7,0.4",
        "1,fit,0,2,0.8,",
    ]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    first, second = script.committed(folder)["run"]["training"]
    assert first["least val/loss"] == {"epoch": 1, "val/loss": 0.7, "val/mortality": 0.4}
    assert first["least val/mortality"] == {"epoch": 0, "val/loss": 0.9, "val/mortality": 0.3}
    assert second == {"fold": 1, "stage": "fit", "epochs": 1, "least val/loss": {"epoch": 0, "val/loss": 0.8}}


NAMES = {
    "imputer-knn_predictor-lstm.json": ({"model": "two_stage", "predictor": "lstm", "imputer": "knn"}, 0),
    "mtdm_tasks-multi_seed-2.json": ({"model": "mtdm", "model/tasks": "multi", "model/size": "small"}, 2),
    "mtdm_tasks-multi_protocol-paper.json": ({"model": "mtdm", "model/tasks": "multi", "protocol": "paper"}, 0),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_named_for_its_cell(script, name):
    names, seed = NAMES[name]
    assert script.file_name({"names": names, "seed": seed}) == name


def test_settings_of_an_ablation_are_told_apart_and_what_most_runs_are_has_the_plain_name(script, make_folder):
    names = {"names__model": "mtdm", "names__model/tasks": "multi"}
    folders = [make_folder(f"s{seed}", seed=seed, **names) for seed in (0, 1)]
    folders += [
        make_folder("a", **names, model__lr=0.003),
        make_folder("b", **names, trainer__max_epochs=9, data__batch_size=32),
    ]
    plain = ["mtdm_tasks-multi.json", "mtdm_tasks-multi_seed-1.json"]
    apart = ["mtdm_tasks-multi_lr-0.003.json", "mtdm_tasks-multi_batch_size-32_max_epochs-9.json"]
    assert script.file_names(folders) == dict(zip(plain + apart, folders, strict=True))
    assert list(script.file_names(folders[::-1])) == [*apart[::-1], *plain[::-1]], "in whatever order they come"


def test_models_of_one_name_and_several_settings_are_apart_in_results_too(script, make_folder):
    folders = [make_folder("a"), make_folder("b", seed=1), make_folder("c", model__hidden=32)]
    rows = [{"name": "focal_lstm", "members": members} for members in ([], [], [], [{"seed": 0}])]
    found = [row["name"] for row in script.results.named(rows, [*folders, Path("an average")])]
    assert found == [f"focal_lstm (model.hidden={n})" for n in (64, 64, 32)] + ["focal_lstm"]
    assert [row["name"] for row in script.results.named(rows[:2], folders[:2])] == ["focal_lstm"] * 2
    with pytest.raises(
        UserError, match=r"Unknown model in --against 'lightgbm'\. Known: focal_lstm, focal_lstm \(1 members\)"
    ):
        script.results.of_models(rows, "lightgbm")


def test_two_runs_of_one_name_are_refused(script, make, make_folder, monkeypatch, tmp_path):
    one, other = make("knn", "lstm", 0.5), make("knn", "lstm_", 0.5)
    config = (one / "config.yaml").read_text()
    (other / "config.yaml").write_text(config)
    (make("mean", "lstm", 0.7) / "metrics.json").unlink()
    monkeypatch.setattr(sys, "argv", ["committed.py", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    with pytest.raises(UserError, match=r"would both be imputer-knn_predictor-lstm\.json: leave one out"):
        script.main()
    assert not (tmp_path / "out").exists()
    (other / "metrics.json").unlink()
    (tmp_path / "out").mkdir()
    script.main()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["imputer-knn_predictor-lstm.json"]


@pytest.mark.parametrize("folder", TABLES)
def test_every_cell_of_a_committed_table_has_its_file(folder):
    """`runs/` is a name that .gitignore has: a clean checkout shows whether they are really there."""
    cells = pl.read_csv(FOLDER / folder / f"{TABLES[folder][1]}.csv")
    filled = sum(cells[f"{side}_value"].is_not_null().sum() for side in ("clean", "paper") if f"{side}_value" in cells)
    assert len(list((FOLDER / folder / "runs").glob("*.json"))) == filled >= (5 if folder.endswith("clusters") else 41)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_a_committed_file_is_small_and_its_tables_have_its_numbers(script, path):
    """The table of AUROCs of every run, that of errors of those that imputed."""
    content, folder = json.loads(path.read_text()), path.parents[1]
    errors_table, auroc_table = TABLES[str(folder.relative_to(FOLDER))]
    run = content["run"]
    assert path.stat().st_size < LARGEST
    assert not set(script.BULK) & (content["test"].keys() | content["val"].keys())
    assert path.name == script.file_name(run)
    names = run["names"]
    row = names["predictor"] if "predictor" in names else OF_MTDM[names["model/tasks"]]
    row = AFTER if (row, names.get("imputer")) == ("lstm", "mtdm") else row
    found = run.get("place") or (row, names.get("imputer", "mtdm"))  # older ones do not tell it
    place = dict(zip(("row", "imputer"), found, strict=True))
    cell = pl.read_csv(folder / f"{auroc_table}.csv").filter(**place).row(0, named=True)
    code = (folder / f"{auroc_table}.md").read_text().splitlines()
    assert any("ommit" in line and run["commit"][:7] in line for line in code)
    side = names["protocol"]
    own = run.get("auroc_of_folds") or content["test"]["raw"]["auroc"]
    assert {end: cell[f"{side}_{end}"] for end in ("value", "low", "high")} == own
    if place["row"] == "brits" or names.get("model/tasks") == "multi" or names.get("imputer") == "mtdm":
        return  # the table of errors has BRITS without labels, and the MTDM as a model, with the contrastive term
    rows = pl.read_csv(folder / f"{errors_table}.csv").filter(imputer=place["imputer"]).to_dicts()
    for row in rows if "imputation" in content else []:
        errors = content["imputation"][f"{row['row'] / 100:g}"][row["metric"]]
        assert row[f"{side}_value"] == pytest.approx(errors["value"], rel=1e-6)  # of one of the imputer's runs


ABLATIONS = [path.parent for path in sorted(FOLDER.glob("ablation/*/ablation.csv"))]


@pytest.mark.parametrize("folder", ABLATIONS, ids=lambda folder: folder.name)
def test_the_rows_of_a_committed_ablation_are_the_means_of_its_files(folder):
    rows = pl.read_csv(folder / "ablation.csv")
    used, code = set(), (folder / "ablation.md").read_text()
    for row in rows.iter_rows(named=True):
        tasks, *setting = row["setting"].split(", ")
        changed = [word.split("=") for word in setting]
        suffix = "".join(f"_{name.rsplit('.', 1)[-1]}-{value}" for name, value in changed)
        named = re.compile(rf"mtdm_tasks-{tasks}(_seed-\d)?{re.escape(suffix)}\.json")
        files = {path for path in (folder / "runs").iterdir() if named.fullmatch(path.name)}
        found = [json.loads(path.read_text()) for path in files]
        assert len(found) == row["seeds"]
        rate = row["missing_percent"] and f"{row['missing_percent'] / 100:g}"
        values = [
            run["imputation"][rate][row["metric"]]["value"]
            if rate
            else (run["run"]["auroc_of_folds"] or run["test"]["raw"]["auroc"])["value"]
            for run in found
        ]
        assert sum(values) / len(values) == pytest.approx(row["value"], rel=1e-9)
        assert all(run["run"]["commit"][:7] in code for run in found)
        used |= files
    assert used == set((folder / "runs").iterdir()) != set()


def test_ablations_are_committed():
    assert "eicu" in [folder.name for folder in ABLATIONS]
