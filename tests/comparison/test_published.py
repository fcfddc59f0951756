"""Runs in the cells of the paper's tables: what stands where, what is never mixed, and what is refused. All runs are made up."""

import dataclasses
import json
import re

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from icu_lightning.compare import compare_published
from icu_lightning.comparison import cells, published
from icu_lightning.comparison.published import TABLES, facts, filled
from icu_lightning.comparison.published_text import (
    csv_rows,
    errors_in_units,
    grid,
    heading,
    latex,
    markdown,
    notes,
    rows_in_units,
    rows_of_differences,
    terminal_rows,
    three_aurocs,
    title,
)
from icu_lightning.errors import UserError
from icu_lightning.evaluation.bootstrap import patient_weights
from icu_lightning.evaluation.imputation import PatientErrors
from tests.comparison.conftest import table

RATES = ("0.1", "0.3", "0.5", "0.7", "0.9")


@pytest.fixture(autouse=True)
def enough(monkeypatch):
    """The made-up runs have 65 test stays with the outcome."""
    monkeypatch.setattr(published, "FEWEST_EVENTS", 65)
    monkeypatch.setattr(cells, "RESAMPLES", 20)


def two_stage(imputer: str, predictor: str, **more) -> dict:
    return {"names__model": "two_stage", "names__imputer": imputer, "names__predictor": predictor} | more


def mtdm(tasks: str, **more) -> dict:
    return {"names__model": "mtdm", "names__model/tasks": tasks} | more


def interval(value: float, half: float = 0.02) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def test_errors_of_each_variable_stand_in_its_unit_below_a_table_of_errors(result):
    def variables(error: float) -> dict:
        return {
            "map": {"unit": "mmHg", "mae": interval(error)},
            "ventilated": {"unit": "", "mae": interval(error / 100)},
            "lactate": {
                "unit": "mmol/L",
                "mae": {"value": None, "low": None, "high": None},
            },  # no cell of it was hidden
        }

    runs = [
        result(error=0.5, **two_stage("knn", "lstm")),
        result(error=0.7, **two_stage("mean", "lstm")),
        result(error=0.7, **two_stage("mean", "kmeans")),  # of one seed: the same errors, counted once
        result(error=0.7, **two_stage("mean", "lstm", seed=1)),
        result(error=0.9, **two_stage("zero", "lstm")),  # as older runs are
    ]
    for (_, metrics), error in zip(runs, (4.0, 8.0, 8.0, 10.0, None), strict=True):
        for i, rate in enumerate(RATES if error else ()):
            metrics["imputation"][rate]["variables"] = variables(error + i)
    found = filled("table3", runs, synthetic=False)
    ((what, heads, rows),) = errors_in_units(found)
    assert what == "MAE of each variable in its unit, 50 % hidden, ours, clean"
    assert (heads, rows) == (["", "Mean", "KNN"], [["map, mmHg", "11", "6"], ["ventilated", "0.11", "0.06"]])
    assert "| map, mmHg | 11 | 6 |" in markdown(found)
    table = rows_in_units(found)
    assert table.height == 2 * 5 * 2
    row = {
        "protocol": "clean",
        "missing_percent": 90,
        "imputer": "mean",
        "variable": "map",
        "unit": "mmHg",
        "mae": 13.0,
    }
    assert row in table.to_dicts()
    of_risks = filled("table6", runs, synthetic=False)
    assert (errors_in_units(of_risks), rows_in_units(of_risks).height) == ([], 0)


def of_patients(error: float, half: float, noise: int, n: int = 100) -> PatientErrors:
    """A cell of each patient, some hard for everybody; the error of the run apart by `half` in each."""
    hard, own = np.random.default_rng(0).uniform(-0.3, 0.3, n), np.random.default_rng(noise + 1).uniform(-half, half, n)
    absolute = error + hard - hard.mean() + own
    return PatientErrors(np.arange(n), absolute, (1.5 * absolute) ** 2, np.ones(n))


@pytest.fixture
def result(make_run):
    """A function: AUROC, or errors at every rate, and changes of the configuration -> a run with the metrics of its file."""
    made = []

    def make(
        auroc: float = 0.6,
        error: float | None = None,
        n: int = 100,
        half: float = 0.02,
        folds=None,
        predicted=None,
        **changes,
    ):
        folds = {} if folds is None else {"folds": {"auroc": folds}}
        metrics: dict = {"test": {"auroc": interval(auroc - 0.03), "raw": {"auroc": interval(auroc, half), **folds}}}
        if error is not None:
            metrics["imputation"] = {
                r: {"n": n, "mae": interval(error, half), "rmse": interval(error * 1.5, half)} for r in RATES
            }
        run = make_run(f"runs/{len(made)}", predicted, **changes)
        if predicted is not None:
            own = roc_auc_score(run.label, run.test["risk_raw"])
            metrics["test"]["raw"]["auroc"] = interval(own)
        if error is not None:
            run = dataclasses.replace(run, hidden={r: of_patients(error, half, len(made)) for r in RATES})
        made.append(run)
        return run, metrics

    return make


def test_the_facts_are_whole():
    for name in TABLES:
        found = facts(name)
        errors = name in TABLES[:3]
        assert found.height == (7 * 5 * 2 if errors else 4 * 7 + 2)
        assert found.select("row", "imputer", "metric").is_unique().all()
        assert found["value"].is_between(0, 1.5).all()
    assert facts("table6").filter(row="siamese")["value"].to_list() == [0.93]
    assert facts("table1").filter(row="90", imputer="mtdm", metric="mae")["value"].to_list() == [0.361]


def test_a_cell_has_the_mean_over_its_seeds_and_one_seed_its_interval(result):
    seeds = [table(1.5, noise=seed) for seed in (0, 1)]
    runs = [result(predicted=own, seed=seed, **two_stage("csdi", "lstm")) for seed, own in enumerate(seeds)]
    runs += [result(0.55, **mtdm("multi")), result(0.65, **mtdm("multi_siamese"))]
    found = filled("table6", runs, synthetic=False)
    several = found.cells["lstm", "csdi", "auroc"]
    assert several.published == 0.821
    ours = several.ours["clean"]
    each = [metrics["test"]["raw"]["auroc"]["value"] for _, metrics in runs[:2]]
    assert (ours.value, ours.seeds) == (pytest.approx(np.mean(each)), 2)
    assert ours.sd == pytest.approx(np.std(each, ddof=1))
    drawn = np.mean([resampled(run) for run, _ in runs[:2]], axis=0)
    assert (ours.low, ours.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975])), "of the mean in each resample"
    assert found.cells["lstm", "mtdm", "auroc"].ours["clean"].value == 0.55
    assert found.cells["siamese", "mtdm", "auroc"].ours["clean"].value == 0.65
    assert found.cells["knn", "mtdm", "auroc"].ours == {"paper": None, "clean": None}
    others = [result(0.75, **two_stage("mtdm", "knn")), result(0.99, **two_stage("mtdm", "lstm"), seed=3)]
    found = filled("table6", [*runs, *others], synthetic=False)
    assert found.cells["knn", "mtdm", "auroc"].ours["clean"].value == 0.75
    assert found.cells["lstm", "mtdm", "auroc"].ours["clean"].value == 0.55, "of the LSTM that was trained along"
    assert found.cells["lstm_after", "mtdm", "auroc"].ours["clean"].value == 0.99
    assert found.cells["lstm_after", "mtdm", "auroc"].published is None
    assert not found.others
    row = {cells[0]: cells for cells in terminal_rows(found, "clean")[1]}
    told = f"{ours.value:.3f}\n± {ours.sd:.3f}\n{ours.low:.3f} to\n{ours.high:.3f}"
    assert row["LSTM"][1:] == ["-", "-", "-", "-", "-", told, "0.550\n0.530 to\n0.570"]
    assert row["BRITS"][1:] == ["-", *[""] * 6], "the paper has no other cell in this row"


def resampled(run) -> list[float]:
    """Brute force."""
    score, patients = run.test["risk_raw"], run.test["patient_id"].to_numpy()
    weights = np.concatenate(list(patient_weights(patients, 20, 0)))
    return [roc_auc_score(run.label, score, sample_weight=weight) for weight in weights]


def test_three_numbers_of_a_cell_stand_in_three_columns(result):
    paper = two_stage("zero", "knn", names__protocol="paper")
    found = filled("table4", [result(0.71, **paper), result(0.62, **two_stage("zero", "knn"))], synthetic=False)
    cell = csv_rows(found).filter(row="knn", imputer="zero").row(0, named=True)
    assert (cell["published"], cell["paper_value"], cell["clean_value"]) == (0.495, 0.71, 0.62)
    lines = [line.split("|")[1:-1] for line in markdown(found).split("Each AUROC")[0].splitlines() if line[:1] == "|"]
    heads, knn = lines[0], next(line for line in lines if line[0].strip() == "KNN")
    assert {len(line) for line in lines} == {1 + 3 * 7}
    cells = dict(zip((h.strip() for h in heads), (c.strip() for c in knn), strict=True))
    assert cells["Zero: published"] == "0.495"
    assert cells["Zero: ours, paper's protocol"] == "0.710 (0.690 to 0.730)"
    assert cells["Zero: ours, clean"] == "0.620 (0.600 to 0.640)"
    assert cells["CSDI: ours, clean"] == "-"
    rows = [line for line in latex(found).splitlines() if line.endswith(r" \\") and "multicolumn" not in line]
    assert {line.count("&") for line in rows} == {3 * 7}


def test_an_auroc_of_folds_is_their_mean_and_the_pooled_ones_stand_beside_it(result):
    """Folds whose scores are on other scales: each ranks its own stays as before, all stays together are ranked worse."""
    run, metrics = result(0.60, folds={"mean": 0.61, "sd": 0.05, "values": []}, **two_stage("knn", "lstm"))
    fold = pl.int_range(pl.len()) % 2
    test = run.test.with_columns(fold=fold, risk_raw=pl.col("risk_raw") / 10 + fold)
    run = dataclasses.replace(run, test=test)
    of_folds = [roc_auc_score(own["label"], own["risk_raw"]) for own in test.partition_by("fold")]
    assert np.mean(of_folds) > roc_auc_score(test["label"], test["risk_raw"]) + 0.02
    found = filled("table6", [(run, metrics), result(0.7, **two_stage("zero", "kmeans"))], synthetic=False)
    ours = found.cells["lstm", "knn", "auroc"].ours["clean"]
    assert ours.value == pytest.approx(np.mean(of_folds))
    assert ours.low < ours.value < ours.high
    assert (ours.pooled.value, ours.calibrated.value, ours.fold_sd) == (0.60, pytest.approx(0.57), 0.05)
    alone = ["0.700 (0.680 to 0.720)", "-", "0.700 (0.680 to 0.720)", "0.670 (0.650 to 0.690)"]
    assert ["K-means", "Zero", "clean", *alone] in three_aurocs(found)[1]
    cell = csv_rows(found).filter(row="lstm", imputer="knn").row(0, named=True)
    assert (cell["clean_value"], cell["clean_pooled_value"], cell["clean_fold_sd"]) == (ours.value, 0.60, 0.05)
    assert any("the mean of the folds'" in note for note in notes(found))
    assert " | 0.050 | 0.600 (0.580 to 0.620) | 0.570 (0.550 to 0.590) |" in markdown(found)
    assert three_aurocs(filled("table3", [result(error=0.5, **A)], synthetic=False)) is None


def test_what_the_paper_does_not_have_stands_behind_its_rows_and_columns(result):
    own = (("saits", "lstm"), ("locf", "gru_d"), ("locf", "lightgbm"), ("locf", "lstm"), ("zero", "lstm"))
    found = filled("table6", [result(**two_stage(*names)) for names in own], synthetic=False)
    assert not found.others
    columns, rows = terminal_rows(found, "clean")
    assert columns == ["", "BRITS", "Zero", "Mean", "KNN", "ReMasker", "CSDI", "MTDM", "LOCF", "SAITS"]
    assert [row[0] for row in rows][-3:] == ["Siamese network", "GRU-D", "LightGBM"]
    published = {row[0]: row for row in terminal_rows(found, "published")[1]}
    assert published["LSTM"][-2:] == ["", ""]
    assert published["GRU-D"][1:] == [""] * 9
    assert any("the paper does not have" in note for note in notes(found))
    errors = filled("table3", [result(error=0.5, **two_stage("saits", "kmeans"))], synthetic=False)
    assert errors.cells["10", "saits", "rmse"].ours["clean"].value == 0.75
    assert [row[0] for row in terminal_rows(errors, "clean")[1]] == [heading(r, m) for r, m in grid(errors)[0]]
    assert len(grid(errors)[0]) == 10


@pytest.mark.parametrize(("fewest", "few"), [(65, False), (66, True)])
def test_of_too_few_events_nothing_is_best_and_the_title_says_smoke(result, monkeypatch, fewest, few):
    """As the open demos of MIMIC-III and MIMIC-IV, of 30 and 14."""
    assert published.FEWEST_EVENTS == 65 == int(table().filter(split="test")["label"].sum())
    monkeypatch.setattr(published, "FEWEST_EVENTS", fewest)
    runs = [
        result(predicted=table(2.0), **two_stage("knn", "lstm")),
        result(predicted=table(0.5), **two_stage("zero", "lstm")),
    ]
    found = filled("table6", runs, synthetic=False)
    ours = found.cells["lstm", "knn", "auroc"].ours["clean"]
    assert ours.best == (not few)
    assert (f"**{ours.value:.3f}" in markdown(found)) == (not few)
    assert title(found).startswith("SMOKE, too few to rank anything (65 test stays with the outcome): table6") == few
    assert csv_rows(found)["too_few_events"].unique().to_list() == [few]


@pytest.mark.parametrize(("scored", "few"), [(100, False), (24, True)])
def test_of_few_scored_stays_no_error_is_best_and_the_table_says_of_how_many(result, scored, few):
    runs = [result(error=error, **two_stage(name, "lstm")) for name, error in (("knn", 0.5), ("mean", 0.9))]
    for _, metrics in runs:
        for of in metrics["imputation"].values():
            of["stays"] = scored
    found = filled("table3", runs, synthetic=False)
    assert found.scored == {"clean": scored}
    assert found.cells["50", "knn", "mae"].ours["clean"].best == (not few)
    assert (f"SMOKE, too few to rank anything (hidden cells of {scored} test stays)" in title(found)) == few
    assert csv_rows(found)["too_few_scored"].unique().to_list() == [few]
    assert any(f"Errors are of hidden cells of {scored} of these stays" in note for note in notes(found))
    aurocs = filled("table6", runs, synthetic=False)
    assert not any("hidden cells" in note for note in notes(aurocs))


def test_another_number_of_clusters_is_a_row_of_its_own(result):
    model = {"imputer": {}, "predictor": {"clusters": 10}}
    runs = [result(0.6, **two_stage("knn", "kmeans")), result(0.7, **two_stage("knn", "kmeans", model=model))]
    runs.append(result(0.8, **two_stage("mean", "kmeans_10", model=model)))
    found = filled("table6", runs, synthetic=False)
    assert found.cells["kmeans", "knn", "auroc"].ours["clean"].value == 0.6
    assert found.cells["kmeans_10", "knn", "auroc"].ours["clean"].value == 0.7
    assert found.cells["kmeans_10", "mean", "auroc"].ours["clean"].value == 0.8
    assert terminal_rows(found, "clean")[1][-1][0] == "K-means of 10 clusters"


def test_cells_of_other_numbers_of_seeds_are_told(result):
    runs = [result(0.6, **two_stage("knn", "lstm", seed=i)) for i in range(2)] + [
        result(0.7, **two_stage("knn", "kmeans"))
    ]
    told = [note for note in notes(filled("table6", runs, synthetic=False)) if "seeds" in note and "WARNING" in note]
    assert [note.split(". ")[0] for note in told] == ["WARNING, unequal numbers of seeds, clean: 1: K-means; 2: LSTM"]
    assert not any("numbers of seeds" in note for note in notes(filled("table6", runs[:2], synthetic=False)))


def test_folders_of_other_machines_are_named_from_their_sweep_on(result):
    run, metrics = result(0.6, **two_stage("knn", "lstm"))
    other, more = result(0.6, **mtdm("single"))
    other = dataclasses.replace(other, name="/tmp/w1/sweeps/table6-0a/runs/model-mtdm_1")
    told = notes(filled("table6", [(run, metrics), (other, more)], synthetic=False))
    assert "In no cell of this table: table6-0a/runs/model-mtdm_1." in told


def test_without_folds_there_is_no_mean_of_them(result):
    found = filled("table6", [result(0.7, **two_stage("knn", "lstm"))], synthetic=False)
    heads, rows = three_aurocs(found)
    assert heads == ["predictor", "imputer", "protocol", "own risks", "calibrated"]
    assert rows == [["LSTM", "KNN", "clean", "0.700 (0.680 to 0.720)", "0.670 (0.650 to 0.690)"]]
    assert "mean of folds" not in markdown(found)
    assert not any("fold" in note for note in notes(found))


def test_models_of_pypots_stand_beside_each_other_each_under_its_name(result):
    runs = [
        result(value, **two_stage("pypots", "lstm", model__imputer={"name": name}))
        for name, value in (("SAITS", 0.7), ("BRITS", 0.6))
    ]
    columns, rows = terminal_rows(filled("table6", [*runs, result(0.5, **A)], synthetic=False), "clean")
    assert columns[-2:] == ["PyPOTS' BRITS", "PyPOTS' SAITS"]
    lstm = next(row for row in rows if row[0] == "LSTM")
    assert [cell.split()[0] for cell in lstm[-2:]] == ["0.600", "0.700"]


@pytest.mark.parametrize(("second", "told"), [(1.4, True), (1.48, False)])
def test_best_is_only_what_its_difference_sets_apart(result, second, told):
    """Of noise that the two share, so that their own intervals overlap though the difference is clear of 0."""
    paper = result(predicted=table(9.0), **two_stage("zero", "lstm", names__protocol="paper"))  # beats no clean run
    runs = [
        result(predicted=table(1.5), **two_stage("csdi", "lstm")),
        result(predicted=table(second, noise=0 if told else 3), **two_stage("knn", "lstm")),
        paper,
    ]
    found = filled("table5", runs, synthetic=False)
    first, other = (found.cells["lstm", name, "auroc"].ours["clean"] for name in ("csdi", "knn"))
    assert (first.best, other.best) == (told, False)
    assert first.low < other.high, "bold would not follow from the intervals"
    assert markdown(found).count("**") == 2 + 2 * told, "the title, and no published number"


def test_best_is_better_than_every_other_and_not_the_second_alone(result):
    runs = [
        result(predicted=table(quality, noise), **two_stage(imputer, "lstm"))
        for quality, noise, imputer in ((1.5, 0, "csdi"), (1.2, 0, "knn"), (1.4, 5, "brits"))
    ]

    def best(found) -> bool:
        return found.cells["lstm", "csdi", "auroc"].ours["clean"].best

    assert not best(filled("table5", runs, synthetic=False)), "the third may be as good"
    assert best(filled("table5", runs[:2], synthetic=False))


def test_differences_are_paired_and_of_cells_with_a_predictor_or_an_imputer_in_common(result):
    kinds = [("csdi", "lstm", 1.5), ("knn", "lstm", 1.2), ("csdi", "transformer", 1.3), ("knn", "kmeans", 0.5)]
    runs = [result(predicted=table(quality), **two_stage(i, p)) for i, p, quality in kinds]
    rows = rows_of_differences(filled("table6", runs, synthetic=False)).to_dicts()
    pairs = {(r["first_row"], r["first_imputer"], r["second_row"], r["second_imputer"]): r for r in rows}
    assert len(pairs) == 3, "none of CSDI with a Transformer and KNN with K-means"
    ((names, row),) = [(names, r) for names, r in pairs.items() if names[0] == names[2]]
    first, second = (next(run for run, _ in runs if run.config["names"]["imputer"] == name) for name in names[1::2])
    drawn = np.subtract(resampled(first), resampled(second))
    assert (row["low"], row["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    errors = [result(error=e, **two_stage(i, "lstm")) for i, e in (("csdi", 0.4), ("knn", 0.41), ("zero", 0.7))]
    found = rows_of_differences(filled("table3", errors, synthetic=False))
    assert found.height == 3 * 5 * 2
    assert set(found["first_row"]) == {"10", "30", "50", "70", "90"}
    assert (found["first_row"] == found["second_row"]).all()


def test_without_the_errors_of_patients_there_is_no_difference_and_nothing_is_best(result):
    runs = [result(error=0.4, **two_stage("csdi", "lstm")), result(error=0.7, **two_stage("knn", "lstm"))]
    runs = [(dataclasses.replace(run, hidden=None), metrics) for run, metrics in runs]
    found = filled("table3", runs, synthetic=False)
    assert found.differences["clean"] == {}
    assert not any(cell.ours["clean"] and cell.ours["clean"].best for cell in found.cells.values())
    assert found.cells["10", "csdi", "mae"].ours["clean"].low == pytest.approx(0.38), "its own"


def test_runs_of_other_numbers_of_resamples_are_paired_on_the_tables_own(result):
    runs = [
        result(predicted=table(1.5), bootstrap=7, **two_stage("csdi", "lstm")),
        result(predicted=table(1.2), **two_stage("knn", "lstm")),
    ]
    (((first, _), apart),) = filled("table6", runs, synthetic=False).differences["clean"].items()
    in_order = runs if first[1] == "csdi" else runs[::-1]
    drawn = np.subtract(*(resampled(run) for run, _ in in_order))
    assert (apart.low, apart.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_errors_of_other_patients_are_refused(result):
    runs = [result(error=0.4, **two_stage("csdi", "lstm")), result(error=0.7, **two_stage("knn", "lstm"))]
    other = {rate: dataclasses.replace(of, patients=of.patients + 1) for rate, of in runs[1][0].hidden.items()}
    runs[1] = dataclasses.replace(runs[1][0], hidden=other), runs[1][1]
    with pytest.raises(UserError, match=r"runs/0 and runs/1 hid cells of other patients at 0\.1"):
        filled("table3", runs, synthetic=False)


def test_of_errors_the_lowest_is_best_at_its_rate(result):
    runs = [
        result(error=0.7, half=0.01, **two_stage("zero", "lstm")),
        result(error=0.4, half=0.01, **mtdm("multi_siamese")),
    ]
    found = filled("table2", runs, synthetic=False)
    best = {key for key, cell in found.cells.items() if cell.ours["clean"] and cell.ours["clean"].best}
    assert best == {(rate, "mtdm", metric) for rate in ("10", "30", "50", "70", "90") for metric in ("mae", "rmse")}
    assert found.cells["10", "zero", "rmse"].ours["clean"].value == pytest.approx(1.05)


def test_an_imputer_has_one_error_whatever_predictor_follows(result):
    alike = [result(error=0.5, **two_stage("brits", predictor)) for predictor in ("kmeans", "lstm")]
    along = result(error=0.9, **two_stage("brits", "brits"))
    cell = filled("table1", [*alike, along], synthetic=False).cells["30", "brits", "mae"]
    assert (cell.ours["clean"].value, cell.ours["clean"].seeds) == (0.5, 1)
    assert filled("table1", [along], synthetic=False).cells["30", "brits", "mae"].ours["clean"].value == 0.9
    with pytest.raises(UserError, match=r"runs/0 and runs/3 are both seed 0 of one cell \(10, brits, rmse\)"):
        filled("table1", [alike[0], result(error=0.6, **two_stage("brits", "knn"))], synthetic=False)


def test_what_is_in_no_cell_is_named(result):
    runs = [
        result(**two_stage("saits", "lstm")),  # whose imputing was not scored
        result(error=0.5, **two_stage("zero", "lstm")),
        result(error=0.4, **mtdm("single")),
        result(error=0.4, **mtdm("multi")),
        result(error=0.4, **two_stage("mtdm", "knn")),
    ]
    found = filled("table3", runs, synthetic=False)
    assert list(found.others) == ["runs/0", "runs/2", "runs/3", "runs/4"]
    assert "In no cell of this table: runs/0, runs/2, runs/3, runs/4." in notes(found)
    with pytest.raises(UserError, match=r"None of the 1 runs is in a cell of table6: .*-m experiment=table6"):
        filled("table6", [result(**mtdm("single"))], synthetic=False)


A, B = two_stage("zero", "lstm"), two_stage("knn", "lstm")
REFUSED = {
    "two settings": (A, A | {"model__hidden": 32}, {}, r"two settings of one cell: model.hidden is 64 and 32"),
    "one seed twice": (A, A, {}, r"both seed 0 of one cell"),
    "two databases": (A, B | {"source": "mimic3"}, {}, r"of eicu and .* of mimic3: a table is of one database"),
    "other stays": (A, B | {"data__split_seed": 1}, {}, r"cannot stand in one column: split \(data.split_seed\)"),
    "clean in name": (A, B | {"data__before_split": ["outliers"]}, {}, r"protocol=clean with data.before_split="),
    "synthetic": (A | {"synthetic": "true"}, B | {"synthetic": "true"}, {}, r"--synthetic prints them, under a title"),
    "other cells": (A, B | {"imputation": {"seed": 1}}, {}, r"imputation.seed is None and 1"),
    "another scale": (A, B | {"data__outliers": "iqr"}, {}, r"data.outliers is None and iqr"),
    "other inputs": (A, B | {"data__variables": ["lactate"]}, {}, r"data.variables is .* and \['lactate'\]"),
    "other training stays": (A, B | {"data__undersample": 1}, {}, r"data.undersample is None and 1"),
    "another cap": (
        A,
        B | {"trainer__max_epochs": 10},
        {},
        r"one table: trainer.max_epochs is 4 and 10. .* again with the other's",
    ),
    "another cap in another column": (
        A,
        B | {"names__protocol": "paper", "trainer__max_epochs": None},
        {},
        r"one table: trainer.max_epochs is 4 and None",
    ),
    "other draws": (A, B | {"imputation": {"draws": 5}}, {}, r"one table: imputation.draws is None and 5"),
    "other stays scored": (A, B | {"imputation": {"stays": 60}}, {}, r"one table: imputation.stays is None and 60"),
    "other counts": (A, B, {"n": 99}, r"hid 100 and 99 cells at 0\.\d"),
}


OF_ERRORS = ("other cells", "another scale", "other draws", "other stays scored", "other counts")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_stand_in_a_table_is_refused(name, result):
    first, second, more, message = REFUSED[name]
    runs = [result(error=0.5, **first), result(error=0.5, **more, **second)]
    with pytest.raises(UserError, match=message):
        filled("table1" if name in OF_ERRORS else "table4", runs, synthetic=False)


def trained(
    imputer: str, predictor: str, epochs: int, *, size: str = "long", samples: int = 10, of_predictor: int = 100
) -> dict:
    """The changes of a two-stage run whose imputer is trained for at most so many epochs."""
    own = {"max_epochs": epochs, "patience": 15}
    if imputer == "mtdm":
        own = {"joint": {"epochs": {"stage1": 20, "stage2": epochs - 20}, "patience": 15}}
    model = {"imputer": own, "predictor": {"max_epochs": of_predictor, "patience": 15}, "samples": samples}
    names = {"names__model/size": size, "imputation": {"draws": 20}}
    return two_stage(imputer, predictor, model=model, **UNCAPPED, **names)


UNCAPPED = {"trainer__max_epochs": None}
WHOLE_MTDM = mtdm("multi_siamese", imputation={"draws": 20}, **{"names__model/size": "long"}) | {
    "model": {"epochs": {"stage1": 20, "stage2": 180}, "patience": 15, "samples": 10, "imputer": {}, "predictor": {}}
}


def test_equal_budgets_are_told_in_a_line_and_the_size_of_what_has_one(result):
    runs = [result(error=0.5, **trained("brits", "lstm", 200)), result(error=0.4, **trained("csdi", "kmeans", 200))]
    runs += [result(error=0.6, **two_stage("knn", "lstm", imputation={"draws": 20}, **UNCAPPED))]
    runs += [result(error=0.3, **WHOLE_MTDM, **UNCAPPED)]
    told = notes(filled("table6", runs, synthetic=False))
    assert (
        "Budgets of imputers: at most 200 epochs, patience 15: BRITS; at most 200 epochs, patience 15, model/size=long, 10 draws: "
        "CSDI, MTDM." in told
    )
    assert "Budgets of predictors: at most 100 epochs, patience 15: LSTM, K-means." in told
    assert not any(note.startswith("trainer.max_epochs") for note in told)
    assert any("of the mean of the risks over its draws; that of a two-stage model" in note for note in told)
    told = notes(filled("table3", runs, synthetic=False))
    assert any(note.startswith("Budgets of imputers") and "20 draws: CSDI, MTDM" in note for note in told)
    assert not any("predictors" in note or "AUROC of model=mtdm" in note for note in told)


def test_a_cap_on_epochs_is_counted_of_each_stage_and_what_it_makes_unequal_is_marked(result):
    cap = {"trainer__max_epochs": 40}
    runs = [result(error=0.4, **trained("csdi", "kmeans", 200) | cap), result(error=0.3, **WHOLE_MTDM, **cap)]
    told = notes(filled("table6", runs, synthetic=False))
    assert (
        "WARNING, unequal budgets of imputers: at most 40 epochs, patience 15, model/size=long, 10 draws: CSDI; at most 60 epochs, "
        "patience 15, model/size=long, 10 draws: MTDM." in told
    )
    assert "trainer.max_epochs=40 in all runs: no stage was longer; the MTDM has two." in told


UNEQUAL = {
    "epochs": (
        (("brits", "lstm", 200, {}), ("csdi", "lstm", 100, {"size": "small"})),
        "WARNING, unequal budgets of imputers: at most 200 epochs, patience 15: BRITS; at most 100 epochs, patience 15, "
        "model/size=small, 10 draws: CSDI.",
    ),
    "draws": (
        (("csdi", "lstm", 200, {}), ("mtdm", "knn", 200, {"samples": 40})),
        "WARNING, unequal budgets of imputers: at most 200 epochs, patience 15, model/size=long, 10 draws: CSDI; at most 200 epochs, "
        "patience 15, model/size=long, 40 draws: MTDM.",
    ),
    "of one imputer": (
        (("brits", "lstm", 200, {}), ("brits", "transformer", 20, {})),
        "WARNING, unequal budgets of imputers: at most 200 epochs, patience 15: BRITS (LSTM, clean); at most 20 epochs, patience 15: "
        "BRITS (Transformer, clean).",
    ),
    "of a predictor": (
        (("brits", "lstm", 200, {}), ("csdi", "lstm", 200, {"of_predictor": 7})),
        "WARNING, unequal budgets of predictors: at most 100 epochs, patience 15: LSTM (BRITS, clean); at most 7 epochs, patience 15: "
        "LSTM (CSDI, clean).",
    ),
}


@pytest.mark.parametrize("name", UNEQUAL)
def test_budgets_that_differ_are_never_unmarked(name, result):
    runs, line = UNEQUAL[name]
    found = filled("table6", [result(**trained(*names, **more)) for *names, more in runs], synthetic=False)
    assert line in notes(found)
    assert f"- {line}" in markdown(found).splitlines()


def test_a_table_says_of_which_code_it_is_and_warns_of_several(result):
    def told(*commits: str) -> str:
        kinds = [(imputer, predictor) for imputer in ("zero", "knn") for predictor in ("lstm", "kmeans")]
        runs = [result(**two_stage(*kind)) for kind in kinds]
        runs = [(dataclasses.replace(run, commit=c), m) for (run, m), c in zip(runs, commits, strict=True)]
        return next(note for note in notes(filled("table6", runs, synthetic=False)) if "commit" in note.lower())

    one, other = "ab" * 20, "0123456" + "7" * 33
    assert told(*[one] * 4) == "Commit of all runs: abababa."
    assert told(*[f"{one} + changes"] * 4) == "WARNING, commit of all runs: abababa + changes."
    assert told(one, one, one, other) == (
        "WARNING, runs of 2 commits: abababa: Zero, KNN (LSTM, clean); 0123456: KNN (K-means, clean)."
    )


@pytest.fixture
def compare(cli):
    return lambda *arguments: cli(*map(str, arguments), module="icu_lightning.compare")


def test_the_command_prints_and_writes_and_marks_what_is_synthetic(compare, make_folder, tmp_path):
    for seed in (0, 1):
        made = make_folder(f"made/{seed}", table(1.0, seed), "synthetic", True, seed=seed, **two_stage("mean", "lstm"))
        (made / "environment.txt").write_text(f"git commit: {'0123456789' * 4}\n\ntorch==2\n")
    (make_folder("made/2", table(), "synthetic", True, **two_stage("knn", "lstm")) / "metrics.json").unlink()
    refused = compare(tmp_path / "runs", "--published", "table6")
    assert refused.returncode == 1
    assert "are of" not in refused.stdout
    assert "--synthetic prints them" in refused.stderr
    assert not list((tmp_path / "work").iterdir())
    for ignored in ("--seed=0", "--bootstrap=9", "--figures=png"):
        refused = compare(tmp_path / "runs", "--published", "table6", "--synthetic", ignored)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"{ignored.split('=')[0]} is not for --published" in refused.stderr
    done = compare(tmp_path / "runs", "--published", "table6", "--synthetic", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"SYNTHETIC STAYS, no patients, .*table6 of the MTDM paper, AUROC: published eicu, ours synthetic", done.stdout
    )
    assert re.search(r"Not finished, so not in the table: .*made/2", done.stdout)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"table6.csv", "table6.md", "table6.tex"}
    for path in (tmp_path / "out").glob("*.[mt]*"):
        assert "SYNTHETIC STAYS" in path.read_text()
        assert "Commit of all runs: 0123456." in path.read_text()
    cell = pl.read_csv(tmp_path / "out" / "table6.csv").filter(row="lstm", imputer="mean").row(0, named=True)
    tests = [json.loads((made.parent / str(seed) / "metrics.json").read_text())["test"] for seed in (0, 1)]
    aurocs = [test["raw"]["auroc"]["value"] for test in tests]
    assert cell["clean_value"] == pytest.approx(sum(aurocs) / 2)
    assert (cell["published"], cell["paper_value"], cell["synthetic"]) == (0.734, None, True)


def test_a_table_that_is_not_published_is_one_message(make_folder, tmp_path):
    folder = str(make_folder("a", **two_stage("zero", "lstm")))
    with pytest.raises(UserError, match=r"Unknown table in --published 'table7'\. Did you mean"):
        compare_published([folder], tmp_path / "out", "table7", by=None, synthetic=False)
    with pytest.raises(UserError, match="--by is not for --published"):
        compare_published([folder], tmp_path / "out", "table6", by="data", synthetic=False)
    assert not (tmp_path / "out").exists()


def test_a_title_names_both_databases(result):
    found = filled("table4", [result(source="physionet2012", **A)], synthetic=False)
    assert title(found) == "table4 of the MTDM paper, AUROC: published mimic3, ours physionet2012"
