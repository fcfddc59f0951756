"""What a figure shows is what an independent computation says, read back from the figure itself."""

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve as reference_calibration

from icu_lightning.evaluation.bootstrap import patient_weights
from icu_lightning.evaluation.imputation import coverage
from icu_lightning.plots import calibration, discrimination, imputation, learning, summary, thresholds
from icu_lightning.plots.discrimination import treat_all
from icu_lightning.plots.evidence import SHARES, read
from icu_lightning.plots.run import FIGURES
from tests.comparison.conftest import table
from tests.conftest import composed
from tests.plots.conftest import evidence, folds, grouped


def lines(figure, panel=0):
    """Label, or else gid, -> (x, y)."""
    return {
        (line.get_gid() or line.get_label()).split("\n")[0]: tuple(map(np.asarray, line.get_data()))
        for line in figure.axes[panel].lines
    }


def starting(found, start):
    (name,) = [name for name in found if name.startswith(start)]
    return found[name]


def band(figure, panel=0):
    """Lower and upper edge by x of the first area, as fill_between lays it out."""
    vertices = figure.axes[panel].collections[0].get_paths()[0].vertices
    n = (len(vertices) - 3) // 2
    return vertices[1 : n + 1, 0], vertices[1 : n + 1, 1], vertices[n + 2 : -1, 1][::-1]


def test_roc_and_precision_recall_are_scikit_learns(ordinary):
    label, risk = ordinary.label, ordinary.risk
    fpr, tpr, _ = reference.roc_curve(label, risk)
    x, y = starting(lines(discrimination.roc_curve(ordinary)), "AUROC")
    assert (x, y) == (pytest.approx(fpr), pytest.approx(tpr))
    assert np.trapezoid(y, x) == pytest.approx(reference.roc_auc_score(label, risk))
    x, y = starting(lines(discrimination.precision_recall_curve(ordinary)), "AUPRC")
    assert (np.diff(x) * y[1:]).sum() == pytest.approx(reference.average_precision_score(label, risk))
    level = lines(discrimination.precision_recall_curve(ordinary))["prevalence"][1]
    assert level == pytest.approx(label.mean())


def test_the_point_where_stays_are_flagged_stands_where_they_are(ordinary):
    flagged = ordinary.risk >= 0.3
    sensitivity = reference.recall_score(ordinary.label, flagged)
    x, y = lines(discrimination.roc_curve(ordinary))["threshold"]
    assert (x, y) == (
        pytest.approx(1 - reference.recall_score(ordinary.label, flagged, pos_label=0)),
        pytest.approx(sensitivity),
    )
    x, y = lines(discrimination.precision_recall_curve(ordinary))["threshold"]
    assert (x, y) == (pytest.approx(sensitivity), pytest.approx(reference.precision_score(ordinary.label, flagged)))


@pytest.mark.parametrize("name", ["decision_curve", "threshold_metrics", "fbeta", "probability_distribution"])
def test_the_threshold_is_marked_where_it_stands(name, ordinary):
    assert lines(FIGURES[name](ordinary))["threshold"][0] == pytest.approx([0.3, 0.3])


def test_bands_are_percentiles_over_resampled_patients(ordinary):
    weights = np.concatenate(list(patient_weights(ordinary.stays["patient_id"].to_numpy(), 30, 0)))
    rows = []
    for weight in weights:
        fpr, tpr, _ = reference.roc_curve(ordinary.label, ordinary.risk, sample_weight=weight)
        rows.append(np.interp(SHARES, fpr, tpr))
    x, low, high = band(discrimination.roc_curve(ordinary))
    assert x == pytest.approx(SHARES)
    assert (low, high) == tuple(pytest.approx(side) for side in np.quantile(rows, [0.025, 0.975], axis=0))


def test_decision_curve_has_the_model_everybody_and_nobody(ordinary):
    found = lines(discrimination.decision_curve(ordinary))
    t, benefit = found["flag by the model"]
    for threshold, value in list(zip(t, benefit, strict=True))[::7]:
        (_, fp), (_, tp) = reference.confusion_matrix(ordinary.label, ordinary.risk >= threshold)
        assert value == pytest.approx((tp - fp * threshold / (1 - threshold)) / ordinary.n)
    assert found["flag everybody"][1] == pytest.approx(treat_all(ordinary.label.mean(), t))
    assert treat_all(0.25, np.array([0.25])) == pytest.approx([0])
    assert (found["flag nobody"][1] == 0).all()
    _, low, high = band(discrimination.decision_curve(ordinary))
    assert ((low <= benefit) & (benefit <= high)).mean() > 0.9


@pytest.mark.parametrize("column", ["risk", "risk_raw"])
def test_ten_bins_are_scikit_learns_with_every_stay_in_one(column, ordinary):
    risk = getattr(ordinary, column)
    observed, predicted = reference_calibration(ordinary.label, risk, n_bins=10, strategy="uniform")
    bins = calibration.uniform_bins(ordinary.label, risk)
    assert (bins.observed, bins.risk) == (pytest.approx(observed), pytest.approx(predicted))
    assert bins.n.sum() == ordinary.n
    assert ((bins.low <= bins.observed) & (bins.observed <= bins.high)).all()
    figure = calibration.calibration_curve(ordinary)
    drawn = figure.axes[0].containers[["risk", "risk_raw"].index(column)].lines[0]
    assert drawn.get_xydata() == pytest.approx(np.stack([predicted, observed], axis=1))
    heights = [bar.get_height() for bar in figure.axes[1].containers[["risk", "risk_raw"].index(column)]]
    assert sum(heights) == ordinary.n


def test_the_smooth_curve_is_that_of_metrics_json(ordinary):
    figure = calibration.calibration_smooth(ordinary)
    for start, column in (("calibrated", "risk"), ("before", "risk_raw")):
        x, y = starting(lines(figure), start)
        curve = ordinary.metrics["calibration_curve"][column]
        assert (x, y) == (pytest.approx(curve["at"]), pytest.approx(curve["value"]))
    counts = figure.axes[1].containers
    assert [max(abs(bar.get_height()) for bar in bars) for bars in counts] == [1, 1]


def test_the_matrix_counts_every_stay_once_and_agrees_with_metrics_json(case):
    counts = thresholds.flag_counts(case)
    flagged = case.risk >= case.stays["threshold"].to_numpy()
    assert (counts == reference.confusion_matrix(case.label, flagged, labels=[0, 1])).all()
    assert counts.sum() == case.metrics["n"]
    assert counts[1].sum() == case.metrics["events"]
    shown = [text.get_text() for text in thresholds.confusion_matrix(case).axes[0].texts]
    assert shown[::2] == [f"{n:,}" for n in counts.ravel()]
    accuracy = case.metrics["accuracy"]["value"]
    assert accuracy == pytest.approx(np.trace(counts) / counts.sum())


def test_threshold_curves_are_scikit_learns_and_their_best_points_are_marked(ordinary):
    found, by_beta = lines(thresholds.threshold_metrics(ordinary)), lines(thresholds.fbeta(ordinary))
    best = [line.get_xydata()[0] for line in thresholds.fbeta(ordinary).axes[0].lines if line.get_gid() == "best"]
    flags = [ordinary.risk >= t for t in thresholds.SCAN]
    for name, score in (("F1", reference.f1_score), ("recall", reference.recall_score)):
        assert found[name][1] == pytest.approx([score(ordinary.label, flagged) for flagged in flags])
    precision = [reference.precision_score(ordinary.label, f) if f.any() else np.nan for f in flags]
    assert found["precision"][1] == pytest.approx(precision, nan_ok=True)
    for beta, (x, y) in zip(thresholds.BETAS, best, strict=True):
        expected = [reference.fbeta_score(ordinary.label, flagged, beta=beta) for flagged in flags]
        assert starting(by_beta, f"F{beta:g}")[1] == pytest.approx(expected)
        assert (x, y) == (pytest.approx(thresholds.SCAN[np.argmax(expected)]), pytest.approx(max(expected)))


def test_histograms_hold_every_stay_and_boxes_their_quartiles(ordinary):
    figure = thresholds.probability_distribution(ordinary)
    outlines = [patch for patch in figure.axes[0].patches if not patch.get_fill()]
    assert [outline.get_data().values.sum() for outline in outlines] == pytest.approx([1, 1])
    medians = [line.get_ydata()[0] for line in figure.axes[1].lines if line.get_color() == "#1c2733"]
    assert medians == pytest.approx([np.median(ordinary.risk[ordinary.label == died]) for died in (0, 1)])


def test_bars_and_their_lines_are_metrics_json(ordinary):
    ax = summary.summary_metrics(ordinary).axes[0]
    cells = [ordinary.metrics[name] for name in summary.BARS]
    assert [bar.get_height() for bar in ax.containers[0]] == pytest.approx([cell["value"] for cell in cells])
    intervals = [line.get_ydata() for line in ax.lines if line.get_gid() != "reference"]
    assert np.array(intervals) == pytest.approx(np.array([[cell["low"], cell["high"]] for cell in cells]))
    assert sorted(line.get_ydata()[0] for line in ax.lines if line.get_gid() == "reference") == [0.5, 0.7, 0.9]
    assert len({summary.grade(value) for value in (0.95, 0.8, 0.6, 0.2)}) == 4


def test_the_forest_has_every_subgroup_and_names_the_others():
    run = evidence(grouped())
    figure = summary.subgroup_forest(run)
    groups = [block for by in run.metrics["subgroups"].values() for block in by.values()]
    for panel, name in ((0, "auroc"), (1, "observed_to_expected")):
        points = [line.get_xdata()[0] for line in figure.axes[panel].lines if line.get_marker() in "oD"]
        assert points == pytest.approx([block[name]["value"] for block in (run.metrics, *groups)])
    said = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(f"{block['n']:,} stays, {block['events']:,} died" in said for block in groups)
    assert "rare" not in said
    foot = " ".join(text.get_text() for text in figure.texts)
    assert "rare" in foot
    assert f"({run.metrics['too_small']['ethnicity']['rare']['n']}" not in foot, (
        "how few they are might point at a person"
    )


def test_learning_curves_are_metrics_csv_stage_by_stage(ordinary):
    figure = learning.learning_curves(ordinary)
    loss = figure.axes[0].lines
    assert [line.get_linestyle() for line in loss] == ["--", "-"] * 2
    assert loss[0].get_color() != loss[2].get_color(), "a stage has a colour"
    assert loss[1].get_ydata() == pytest.approx([1.2, 0.6, 0.4, 0.3])
    auroc = {line.get_linestyle(): line.get_ydata() for line in figure.axes[1].lines[:2]}
    assert figure.axes[3].lines[0].get_ydata() == pytest.approx(auroc["--"] - auroc["-"])
    assert np.isnan(figure.axes[2].lines[0].get_ydata()[0]), "an epoch without a value is a gap"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["pretrain", "fit"]
    of_folds = [{**row, "fold": str(i)} for i in range(2) for row in ordinary.epochs]
    assert list(learning.by_stage(of_folds)) == ["fold 1, pretrain", "fold 1, fit", "fold 2, pretrain", "fold 2, fit"]


def test_what_was_not_logged_is_said():
    only_loss = [{"stage": "fit", "epoch": "0", "train/loss": "1", "val/loss": "2"}]
    figure = learning.learning_curves(evidence(folds(), 2, epochs=only_loss))
    assert [bool(ax.texts) for ax in figure.axes] == [False, True, True, True]


def test_a_loss_that_training_alone_has_is_told():
    row = {"stage": "fit", "epoch": "0", "train/loss": "1", "val/loss": "2"}
    for more, told in (({}, False), ({"train/contrastive": "0.7"}, True)):
        figure = learning.learning_curves(evidence(folds(), 2, epochs=[row | more]))
        assert ("is in the training loss alone" in " ".join(text.get_text() for text in figure.texts)) == told


def test_thresholds_of_folds_are_all_marked_and_flags_are_each_stays_own():
    run = evidence(folds())
    assert run.thresholds == pytest.approx([0.2, 0.22, 0.24, 0.26, 0.28])
    marks = [line for line in thresholds.threshold_metrics(run).axes[0].lines if line.get_gid() == "threshold"]
    assert [line.get_xdata()[0] for line in marks] == pytest.approx(run.thresholds)
    assert (run.flagged == (run.risk >= run.stays["threshold"].to_numpy())).all()
    assert "out-of-fold predictions of 5 folds" in run.facts.about


def test_without_both_outcomes_a_sentence_stands_in_the_place_of_the_curve():
    run = evidence(folds().with_columns(label=pl.lit(0.0)))
    for name in ("roc_curve", "precision_recall_curve"):
        (text,) = FIGURES[name](run).axes[0].texts
        assert text.get_text().replace("\n", " ") == "All 240 stays survived: there is no curve without both outcomes."


def test_reliability_shows_the_prior_correction_between_raw_and_calibrated():
    run = evidence(table(1.5).with_columns(risk_prior=pl.col("risk_raw") / 2))
    found = lines(calibration.calibration_smooth(run))
    for start, column in (("calibrated", "risk"), ("prior-corrected", "risk_prior"), ("before", "risk_raw")):
        curve = run.metrics["calibration_curve"][column]
        assert starting(found, start)[1] == pytest.approx(curve["value"])
    figure = calibration.calibration_curve(run)
    observed, predicted = reference_calibration(run.label, run.risk_prior, n_bins=10, strategy="uniform")
    assert figure.axes[0].containers[1].lines[0].get_xydata() == pytest.approx(np.stack([predicted, observed], axis=1))
    assert [c.get_label().split(":")[0] for c in figure.axes[0].containers] == [
        "calibrated",
        "prior-corrected",
        "before",
    ]
    same = evidence(table(1.5).with_columns(risk_prior=pl.col("risk")))
    assert list(calibration.kinds(same)) == ["risk", "risk_raw"]


@pytest.mark.parametrize("draws", [2, 10, 20, 40])
def test_the_coverage_that_so_many_draws_attain_is_that_of_exact_draws(draws):
    rng = np.random.default_rng(0)
    found = coverage(rng.normal(size=200_000), rng.normal(size=(draws, 200_000)))
    assert imputation.attainable(draws) == pytest.approx(found, abs=0.004), "SE .001"


def test_where_an_end_of_the_band_is_a_draw_the_attainable_coverage_is_that_of_ranks():
    for draws, ranks in ((21, 2), (41, 3), (101, 6)):
        assert imputation.attainable(draws) == pytest.approx(1 - 2 * ranks / (draws + 1), abs=3e-4)


@pytest.mark.parametrize("stratified", [False, True])
def test_coverage_is_held_to_what_its_draws_attain(stratified):
    run = evidence(table(1.5), stratified=stratified)
    figure = imputation.imputation_errors(run)
    found = lines(figure, 3)
    assert found["90 %, as promised"][1] == pytest.approx(0.9)
    assert found["74 %, of 9 exact draws"][1] == pytest.approx(imputation.attainable(9))
    said = " ".join(text.get_text() for text in reversed(figure.texts))
    assert "The estimate is the median of 9 draws" in said
    assert ("These are stratified" in said) == stratified


def test_without_a_number_of_draws_or_a_spread_nothing_is_said_of_draws():
    single = {rate: {**of, "coverage90": None} for rate, of in evidence(table(1.5)).imputation.items()}
    for run in (evidence(table(1.5), draws=None), evidence(table(1.5), imputation=single)):
        figure = imputation.imputation_errors(run)
        assert not any("exact draws" in name for name in lines(figure, 3))
        assert not any("median" in text.get_text() for text in figure.texts)


@pytest.mark.parametrize(
    ("words", "stratified"),
    [
        (["model=mtdm"], True),
        (["model=mtdm", "model.imputer.stratified=false"], False),
        (["model=two_stage", "imputer=csdi"], True),
        (["model=two_stage", "imputer=mtdm"], True),
        (["model=two_stage", "imputer=brits"], False),
    ],
    ids=["mtdm", "mtdm independent", "csdi", "imputer mtdm", "brits"],
)
def test_draws_and_whether_they_are_stratified_are_read_from_the_runs_configuration(words, stratified, tmp_path):
    config = {"names": {"model": "m", "data": "synthetic"}, **composed(*words).plain}
    (tmp_path / "metrics.json").write_text('{"evaluation": {"bootstrap": 1, "seed": 0}, "test": {}}')
    run = read(tmp_path, config, table(1.5), {})
    assert (run.draws, run.stratified) == (20, stratified)
