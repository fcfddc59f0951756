"""An ablation: which rows there are, what each is compared with, and what is refused. All runs are made up."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from icu_lightning.compare import compare_published
from icu_lightning.comparison import cells
from icu_lightning.comparison.ablation import filled
from icu_lightning.comparison.ablation_text import (
    csv_rows,
    latex,
    markdown,
    notes,
    of_designs,
    rows_of_differences,
    tables,
    terminal_tables,
)
from icu_lightning.comparison.statistics import auroc_of_folds
from icu_lightning.errors import UserError
from icu_lightning.evaluation.bootstrap import patient_weights
from tests.comparison.conftest import table

RATES = ("0.1", "0.3", "0.5", "0.7", "0.9")
FULL = {"names__model": "mtdm", "names__model/tasks": "multi_siamese", "model__weights": {"contrastive": 0.2}}
MULTI = FULL | {"names__model/tasks": "multi", "model__weights": {"contrastive": 0.0}}
SINGLE = FULL | {
    "names__model/tasks": "single",
    "model__weights": {"imputation": 0.0, "contrastive": 0.0, "mortality": 1.0},
}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(cells, "RESAMPLES", 20)


@pytest.fixture
def result(make_run):
    """A function: quality and noise of the risks, an error, and changes of the configuration -> a run with its metrics."""
    made = []

    def make(quality=1.0, noise=0, error=0.5, half=0.02, **changes):
        run = make_run(f"runs/{len(made)}", predicted=table(quality, noise), **changes)
        auroc = float(roc_auc_score(run.label, run.test["risk_raw"]))
        cell = {"value": error, "low": error - half, "high": error + half}
        errors = {r: {"n": 100, "mae": cell, "rmse": cell} for r in RATES}
        own = {"value": auroc, "low": auroc - half, "high": auroc + half}
        made.append(run)
        return run, {"test": {"auroc": own, "raw": {"auroc": own}}, "imputation": errors}

    return make


def test_rows_are_the_three_designs_and_then_what_changes_one_setting(result):
    """However the runs are sorted."""
    runs = [
        result(**FULL, trainer__clip=9),
        result(**FULL, model__hidden=32),
        result(**MULTI),
        result(**FULL),
        result(**SINGLE),
    ]
    for order in (runs, runs[::-1]):
        found = filled(order, synthetic=False)
        settings = [row.setting for row in found.rows]
        assert settings[:3] == ["single", "multi", "multi_siamese"]
        assert sorted(settings[3:]) == ["multi_siamese, model.hidden=32", "multi_siamese, trainer.clip=9"]
        assert [row.published for row in found.rows] == [0.821, 0.839, 0.93, None, None]
        assert [row.reference for row in found.rows] == [False, False, True, False, False]
        assert [row.less_reference is None for row in found.rows] == [row.reference for row in found.rows]
    assert [row.setting for row in filled(runs[2:3], synthetic=False).rows] == ["multi"]


def test_the_reference_is_what_most_runs_are_and_not_what_comes_first(result):
    changed = result(**FULL, model__hidden=32)
    found = filled([changed, *(result(**FULL, seed=seed) for seed in range(5))], synthetic=False)
    assert [(row.setting, row.reference) for row in found.rows] == [
        ("multi_siamese", True),
        ("multi_siamese, model.hidden=32", False),
    ]
    confounded = filled([result(**FULL), result(**FULL, seed=1), result(**MULTI, model__hidden=32)], synthetic=False)
    assert confounded.rows[0].setting == "multi, model.hidden=32"
    assert confounded.rows[0].published is None
    weight = FULL | {"model__weights": {"contrastive": 0.4}}
    found = filled(
        [result(**weight), *(result(**FULL, seed=seed) for seed in range(2)), result(**MULTI)], synthetic=False
    )
    assert [row.setting for row in found.rows] == [
        "multi",
        "multi_siamese",
        "multi_siamese, model.weights.contrastive=0.4",
    ]


def test_where_as_many_runs_have_one_value_as_another_there_is_no_reference(result):
    found = filled(
        [result(**FULL), result(**FULL, model__hidden=32), result(**MULTI, model__hidden=16)], synthetic=False
    )
    assert not any(row.reference for row in found.rows)
    assert [row.setting.split(", ")[-1] for row in found.rows] == [
        "model.hidden=16",
        "model.hidden=64",
        "model.hidden=32",
    ]
    assert {row[4] for row in next(tables(found))[2]} == {"-"}


def test_a_difference_is_of_the_seeds_that_both_have(result):
    """Paired: of the same stays, seed by seed; the reference's other seeds do not move it."""
    base = [result(1.0, noise=seed, seed=seed, **FULL) for seed in (0, 1, 2)]
    other = [result(0.6, noise=seed, seed=seed, **MULTI) for seed in (0, 1)]
    found = filled([*base, *other], synthetic=False)
    multi, full = found.rows
    apart = np.mean([m["test"]["raw"]["auroc"]["value"] for _, m in other]) - np.mean(
        [m["test"]["raw"]["auroc"]["value"] for _, m in base[:2]]
    )
    assert multi.less_reference.value == pytest.approx(apart)
    assert multi.less_reference.low < apart < multi.less_reference.high
    assert (multi.auroc.seeds, full.auroc.seeds) == (2, 3)
    assert multi.auroc.sd == pytest.approx(np.std([m["test"]["raw"]["auroc"]["value"] for _, m in other], ddof=1))
    alone = filled([base[2], *other], synthetic=False)
    assert alone.rows[0].less_reference is None
    assert next(tables(alone))[2][0][4] == "-"


def test_an_auroc_that_is_undefined_is_not_told_as_missing(result):
    (run, metrics), other = result(**FULL), result(**MULTI)
    for each in (run, other[0]):
        object.__setattr__(each, "test", each.test.with_columns(label=pl.lit(0.0)))
    for _, own in ((run, metrics), other):
        own["test"]["raw"]["auroc"] = {"value": None, "low": None, "high": None}
    found = filled([(run, metrics), other], synthetic=False)
    assert found.rows[0].less_reference.value is None
    assert next(tables(found))[2][0][4] == "undefined"


def test_the_same_risks_differ_by_nothing_and_like_ones_by_less_than_unpaired_ones(result):
    same, shifted, like = result(1.0, **FULL), result(1.0, **FULL, model__hidden=32), result(0.9, **MULTI)
    found = filled([same, like, shifted], synthetic=False).rows
    apart = found[2].less_reference
    assert (apart.value, apart.low, apart.high) == (0, 0, 0)
    paired, widths = found[0].less_reference, []
    for run, _ in (same, like):
        own = auroc_of_folds(run.test.with_columns(fold=0), run.config["bootstrap"], 0)
        widths.append(own["high"] - own["low"])
    assert paired.high - paired.low < np.hypot(*widths) / 2


def test_each_two_designs_have_their_difference_paired_on_seeds_and_patients(result):
    """By brute force; a design with another setting is in none."""
    runs = {
        (tasks["names__model/tasks"], seed): result(quality, noise=seed, error=0.4 + quality / 10, seed=seed, **tasks)
        for tasks, quality in ((SINGLE, 1.4), (MULTI, 0.8), (FULL, 1.0))
        for seed in ((0, 1, 2) if tasks is FULL else (0, 1))
    }
    found = filled([*runs.values(), result(2.0, **FULL, model__hidden=32)], synthetic=False)
    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    assert list(pairs) == [("single", "multi"), ("single", "multi_siamese"), ("multi", "multi_siamese")]
    pair = pairs["single", "multi_siamese"]
    assert pair.seeds == [0, 1], "the third has no partner"

    def auroc(tasks: str, seed: int, weight=None) -> float:
        run = runs[tasks, seed][0]
        return roc_auc_score(run.label, run.test["risk_raw"], sample_weight=weight)

    each = [auroc("single", seed) - auroc("multi_siamese", seed) for seed in (0, 1)]
    assert pair.by_seed == pytest.approx(each)
    assert pair.auroc.value == pytest.approx(np.mean(each))
    run = runs["single", 0][0]
    weights = np.concatenate(list(patient_weights(run.test["patient_id"].to_numpy(), 20, 0)))
    drawn = [np.mean([auroc("single", s, w) - auroc("multi_siamese", s, w) for s in (0, 1)]) for w in weights]
    assert (pair.auroc.low, pair.auroc.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    assert pair.errors["50", "mae"] is None, "the patients' errors were not read"
    heads, rows = of_designs(found, "clean")
    assert rows[1][heads.index("designs")] == "single less multi_siamese"
    assert rows[1][heads.index("AUROC, seed by seed")] == ", ".join(f"{one:+.3f}" for one in each)
    assert of_designs(found, "paper") is None
    assert rows_of_differences(found).height == 3 * (1 + 2 * 5)


def test_the_text_has_each_protocol_apart_and_every_error(result):
    clean = [result(error=0.4 + seed / 100, seed=seed, **FULL) for seed in (0, 1)]
    paper = result(error=0.7, **MULTI, names__protocol="paper")
    other = result(names__model="two_stage", names__imputer="knn", names__predictor="lstm")
    found = filled([paper, *clean, other], synthetic=False)
    assert [protocol for protocol, _, _ in tables(found)] == ["paper", "clean"]
    _, heads, rows = list(tables(found))[1]
    cells = dict(zip(heads, rows[0], strict=True))
    assert cells["setting"] == "multi_siamese"
    assert cells["seeds"] == "0, 1"
    assert cells["MAE at 10 %"] == "0.405 ± 0.007"
    assert len(next(terminal_tables(found))[1]) == 6
    rows = csv_rows(found)
    assert rows.height == 2 * (1 + 2 * 5)
    assert rows.filter(protocol="paper", metric="mae", missing_percent="90")["value"].to_list() == [0.7]
    assert rows.filter(protocol="clean", metric="auroc")["published"].to_list() == [0.93]
    assert any(other[0].name in note for note in notes(found))
    assert r"multi\_siamese" in latex(found)
    assert latex(found).count(r"\toprule") == 2


@pytest.mark.parametrize("cap", [None, 20])
def test_budgets_are_told_and_a_cap_that_makes_two_settings_one(result, cap):
    def given(stage2: int) -> dict:
        return FULL | {
            "model__epochs": {"stage1": 5, "stage2": stage2},
            "model__patience": 15,
            "trainer__max_epochs": cap,
        }

    runs = [result(**given(25)), result(**given(25), seed=1), result(**given(50))]
    single = given(25) | SINGLE | {"names__model/size": "lean", "model__samples": 10}
    alone = " ".join(notes(filled([result(**single)], synthetic=False)))
    trained = (
        "at most 30 epochs of the imputer, then 25" if cap is None else "at most 20 epochs of the imputer, then 20"
    )
    assert f"{trained} of the LSTM, patience 15, model/size=lean, 10 draws: single" in alone
    told = notes(filled(runs, synthetic=False))
    (budgets,) = [note for note in told if note.startswith("Budgets")]
    both = ["multi_siamese (clean)", "multi_siamese, model.epochs.stage2=50 (clean)"]
    if cap is None:
        assert f"at most 30 epochs, patience 15: {both[0]}; at most 55 epochs, patience 15: {both[1]}." in budgets
    else:
        assert f"at most 25 epochs, patience 15: {both[0]}, {both[1]}." in budgets
    assert any("settings of model.epochs above it are one" in note for note in told) == (cap is not None)


def test_what_cannot_stand_in_one_ablation_is_refused(result, make_run):
    with pytest.raises(UserError, match=r"-m experiment=ablation"):
        filled([result(names__model="two_stage")], synthetic=False)
    with pytest.raises(UserError, match=r"same configuration and seed 0"):
        filled([result(**FULL), result(**FULL)], synthetic=False)
    with pytest.raises(UserError, match=r"cv is 5 and 10"):
        filled([result(**FULL, cv=5), result(**MULTI, cv=10)], synthetic=False)
    with pytest.raises(UserError, match=r"max_epochs is 4 and 8"):
        filled([result(**FULL), result(**MULTI, trainer__max_epochs=8)], synthetic=False)
    made_up = make_run("runs/x", synthetic="true", **FULL), result(**FULL)[1]
    with pytest.raises(UserError, match=r"--synthetic"):
        filled([made_up], synthetic=False)
    assert "SYNTHETIC STAYS" in markdown(filled([made_up], synthetic=True))


def test_the_command_writes_three_forms(make_folder, tmp_path, capsys):
    for tasks in (FULL, MULTI):
        make_folder(tasks["names__model/tasks"], **tasks)
    compare_published([str(tmp_path / "runs")], tmp_path / "out", "ablation", by=None, synthetic=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "ablation.csv",
        "ablation.md",
        "ablation.tex",
        "ablation_differences.csv",
    ]
    assert "multi_siamese" in (tmp_path / "out" / "ablation.md").read_text()
    assert "| - |" in (tmp_path / "out" / "ablation.md").read_text(), "errors of hidden cells were not measured"
    assert "ablation.md" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"abl"):
        compare_published([str(tmp_path / "runs")], tmp_path / "other", "abltion", by=None, synthetic=False)
