"""What the model can do: results raw and calibrated side by side, calibration, and what acting on it would be worth."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.description.words import number, percent, plain
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.curves import net_benefit_at
from icu_lightning.report import figures, words
from icu_lightning.report.blocks import Block, Cell, Section, Table, Text, row
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import UNDEFINED, count_cell, estimate, estimate_cell, points

METRICS = {  # as in metrics.json: heading, how it is read
    "auroc": ("AUROC, patients resampled", "1 is perfect, 0.5 chance"),
    "auroc_delong": ("AUROC, DeLong", "its interval takes stays for independent"),
    "auprc": ("AUPRC", "1 is perfect, the death rate chance"),
    "brier": ("Brier score", "0 is perfect"),
    "scaled_brier": ("Scaled Brier score", "1 is perfect, 0 as good as the death rate"),
    "log_loss": ("Log loss", "0 is perfect"),
    "calibration_in_the_large": ("Calibration in the large", "0 is right; above, more die than was said"),
    "calibration_intercept": ("Calibration intercept", "0 is right, beside a slope of 1"),
    "calibration_slope": ("Calibration slope", "1 is right; below, risks are too extreme"),
    "observed_to_expected": ("Observed over expected deaths", "1 is right"),
    "ece": ("Expected calibration error (ECE)", "0 is perfect; ten groups of equal size"),
    "sensitivity": ("Sensitivity", "share of deaths with an alarm"),
    "specificity": ("Specificity", "share of survivors without one"),
    "ppv": ("Positive predictive value", "share of alarms that are right"),
    "npv": ("Negative predictive value", "share of silence that is right"),
    "accuracy": ("Accuracy", "high for whoever never alarms: no measure of worth"),
    "alert_rate": ("Alert rate", "alarms per stay"),
    "f1": ("F1", "sensitivity and PPV alike"),
    "f2": ("F2", "sensitivity weighs more"),
    "min_sensitivity_ppv": ("Smaller of sensitivity and PPV", "score of the PhysioNet Challenge 2012"),
    "net_benefit": ("Net benefit", "0 is as good as no alarms"),
}
BESIDE = {
    "prior-corrected": "prior",
    "raw": "raw",
}  # scores beside the calibrated risk, and their blocks in metrics.json
AT = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # thresholds whose net benefit is told
Array = NDArray[np.float64]


def results(run: Run) -> Section:
    blocks: list[Block] = [_graded(run), *_all_metrics(run), *_balanced(run), *_folds(run), _confusion(run)]
    if spread := _risks(run):
        blocks.append(spread)
    blocks += figures.of_section(run, "results")
    return Section(name="results", title="Results on the test stays", short="Results", blocks=blocks)


def _graded(run: Run) -> Table:
    """The executive summary: a word for each, by the rules at the end of the report."""
    test = run.test
    by_chance = run.chance_ece
    statuses = [
        ("Telling deaths and survivors apart (AUROC)", "auroc", words.discrimination(test.get("auroc"))),
        ("Are the risks to be believed (ECE)", "ece", words.calibration(test, by_chance)),
        ("Deaths found (sensitivity)", "sensitivity", words.graded("sensitivity", test.get("sensitivity"))),
        ("Alarms that are right (PPV)", "ppv", words.predictive_value(test.get("ppv"), test.get("sensitivity"))),
        ("Both together (F1)", "f1", words.graded("f1", test.get("f1"))),
    ]
    rows = [
        row(question, estimate_cell(test.get(name)), status.word, status.why) for question, name, status in statuses
    ]
    columns = [("Question", ""), ("value", "95 % interval"), ("in a word", ""), ("why", "")]
    return Table(caption="In words, by the rules at the end", columns=columns, rows=rows, words=(2, 3))


def _all_metrics(run: Run) -> list[Block]:
    note = f"95 % intervals over {run.metrics.get('evaluation', {}).get('bootstrap', 0):,} resamples of patients, in brackets. "
    note += "Raw: the model's own score, before calibration; what depends on the stored threshold is of the calibrated risk."
    if "prior" in run.test:
        note += " Prior-corrected: its odds times the share of the training survivors that the model was shown, before calibration."
    blocks: list[Block] = [_metrics_table(run.test, "Every metric, calibrated and raw"), Text(text=note, tone="note")]
    val = run.metrics.get("val", {})
    if val.get("n"):
        folded = "The same on validation stays, which flatter: epoch, calibrator and threshold were chosen on them"
        blocks.append(_metrics_table(val, f"{val['n']:,} validation stays, {val['events']:,} deaths", folded))
    return blocks


def _metrics_table(split: dict[str, Any], caption: str, folded: str = "") -> Table:
    beside = {word: split[block] for word, block in BESIDE.items() if block in split}
    rows = []
    for name, (heading, reads) in METRICS.items():
        own = [estimate_cell(block[name]) if name in block else Cell("", "") for block in beside.values()]
        rows.append(row(heading, estimate_cell(split.get(name)), *own, reads))
    columns = [("Metric", ""), ("calibrated", ""), *((word, "") for word in beside), ("how to read it", "")]
    return Table(caption=caption, columns=columns, rows=rows, words=(len(columns) - 1,), folded=folded)


def _balanced(run: Run) -> list[Block]:
    """Folded, and apart from the others: it is no estimate of anything at the prevalence of the unit."""
    if (even := run.test.get("balanced")) is None:
        return []
    rows = [row(METRICS[name][0], estimate_cell(cell), METRICS[name][1]) for name, cell in even.items()]
    caption = (
        "Survivors weighing as much as deaths, as papers with a balanced test split report: not what a unit would see"
    )
    columns = [("Metric", ""), ("balanced", ""), ("how to read it", "")]
    return [Table(caption=caption, columns=columns, rows=rows, words=(2,), folded="The same test stays, balanced")]


def _folds(run: Run) -> list[Block]:
    """Only of a run's own pooled folds: what other runs, or a file that nothing vouches for, said is not printed."""
    folds = run.folds
    if folds is None:
        return []
    names = [name for name in METRICS if name in folds]
    count = len(folds["n"])
    columns = [("Metric", ""), ("mean ± SD", "of the folds"), *((f"fold {i + 1}", "") for i in range(count))]
    sizes = [
        row(
            "Stays (deaths)", "", *(Cell(f"{n:,} ({e:,})", n) for n, e in zip(folds["n"], folds["events"], strict=True))
        )
    ]
    rows = sizes + [row(METRICS[name][0], *_fold_cells(folds[name])) for name in names]
    note = f"{count} folds of patients, each tested by a model that had not seen them; this run's own, pooled in predictions.parquet "
    note += f"(SHA-256 {run.stored.sha256[:12]}…). Folds share training stays, so their SD is no standard error: "
    note += "the intervals above are of the pooled stays."
    return [Table(caption="Fold by fold", columns=columns, rows=rows), Text(text=note, tone="note")]


def _fold_cells(of: dict[str, Any]) -> list[Cell]:
    mean, sd = of["mean"], of["sd"]
    text = UNDEFINED if mean is None else number(mean, 3) + ("" if sd is None else f" ± {number(sd, 3)}")
    values = [Cell(UNDEFINED, "") if v is None else Cell(number(v, 3), v) for v in of["values"]]
    return [Cell(text, "" if mean is None else mean), *values]


def _confusion(run: Run) -> Table:
    """Counts at the stored threshold, and both error rates."""
    stays = run.test_stays
    flagged, died = stays["risk"] >= stays["threshold"], stays["label"] == 1
    rows = []
    for title, side, error, wrong in (
        ("Died", died, "missed", ~flagged),
        ("Lived", ~died, "false alarms", flagged),
    ):
        alarms, n = int((side & flagged).sum()), int(side.sum())
        share = f"{error}: {percent(int((side & wrong).sum()), n)}"
        rows.append(row(title, count_cell(alarms), count_cell(n - alarms), count_cell(n), share))
    columns = [("Outcome", ""), ("alarm", ""), ("no alarm", ""), ("together", ""), ("error rate", "")]
    return Table(caption="Alarms at the stored threshold", columns=columns, rows=rows, words=(4,))


def _risks(run: Run) -> Table | None:
    """Where the risks of both outcomes lie; quartiles only, because the ends would be single patients."""
    stays = run.test_stays
    rows = []
    for title, outcome in (("Died", 1.0), ("Lived", 0.0)):
        own = stays.filter(pl.col("label") == outcome)
        if own.height < 5:
            return None
        quartiles = [number(float(own["risk"].quantile(q, "linear") or 0), 3) for q in (0.25, 0.5, 0.75)]
        mean = float(own["risk"].to_numpy().mean())
        rows.append(row(title, count_cell(own.height), Cell(number(mean, 3), mean), *quartiles))
    columns = [
        ("Outcome", ""),
        ("stays", ""),
        ("mean risk", ""),
        ("first quartile", ""),
        ("median", ""),
        ("third quartile", ""),
    ]
    return Table(caption="Calibrated risks by outcome", columns=columns, rows=rows)


def calibration(run: Run) -> Section:
    """What calibration did, from Brier score and ECE, then the curves."""
    test, raw = run.test, run.test.get("raw", {})
    blocks: list[Block] = [Text(text=_believed("Calibrated", test, run.chance_ece))]
    if prior := test.get("prior"):
        blocks.append(
            Text(text=_believed("Prior-corrected, before calibration", prior, run.chance_ece_of("risk_prior")))
        )
    if raw:
        before = "As the model says, before any correction" if prior else "Before calibration"
        blocks.append(Text(text=_believed(before, raw, run.chance_ece_of("risk_raw"))))
    slope = (
        f"Slope {estimate(test.get('calibration_slope'))}, intercept {estimate(test.get('calibration_intercept'))}, "
    )
    slope += f"observed over expected deaths {estimate(test.get('observed_to_expected'))}."
    blocks += [Text(text=slope), Text(text=_calibrator(run), tone="note"), *figures.of_section(run, "calibration")]
    title = "Calibration: can a risk be taken at its word?"
    return Section(name="calibration", title=title, short="Calibration", blocks=blocks)


def _believed(whose: str, metrics: dict[str, Any], by_chance: float | None) -> str:
    status = words.calibration(metrics, by_chance)
    said = f"{whose}: {status.word}. Brier score {estimate(metrics.get('brier'))}, ECE {estimate(metrics.get('ece'))}. "
    return (said + status.why).strip()


def _calibrator(run: Run) -> str:
    method = plain(str(run.config["names"].get("calibration", "")))
    how = "No calibration was fitted." if method == "none" else f"Calibrator: {method}, fitted on validation stays."
    how = f"{undersampling(run)} {how}".strip()
    if run.chance_ece is not None:
        most = points(run.chance_ece)
        how += (
            f" Perfect risks would show an ECE of up to {most} percentage points on as many stays (95 of 100 samples)."
        )
    return how


def undersampling(run: Run) -> str:
    """What undersampling did to the risks, and what was done about it; nothing for a run without it."""
    if "undersample" in run.data.get("before_split", ()):
        return (
            "Survivors were left out at random before the split, as the paper has it: the test stays are a selection by outcome, "
            "and neither Brier score, predictive values nor calibration carry over to a unit."
        )
    if "prior" not in run.test:
        return ""
    asked = run.data["undersample"]
    learnt = "as many survivors as deaths" if asked == 1 else f"{asked:g} survivors for each death"
    left_out = run.predictions.filter(pl.col("split") == "left_out").height
    of_them = f"; {left_out:,} training survivors were left out at random" if left_out else ""
    return (
        f"The model has learnt from {learnt} (data.undersample={asked:g}{of_them}), which makes every risk too high. Its odds were "
        "therefore multiplied by the share of survivors that stayed."
    )


def decision(run: Run) -> Section:
    text = "Net benefit counts deaths found, minus false alarms at the odds of the threshold: who gives an alarm from a risk of "
    text += "10 % on holds a missed death to be nine times as bad as a false alarm. Acting is worth while where the model's "
    text += "column is the largest of its row."
    blocks: list[Block] = [Text(text=text), _net_benefits(run), *figures.of_section(run, "decision")]
    title = "Is acting on it worth while? Decision curve"
    return Section(name="decision", title=title, short="Decision curve", blocks=blocks)


def _net_benefits(run: Run) -> Table:
    stays, settings = run.test_stays, run.metrics.get("evaluation", {})
    label, risk = stays["label"].to_numpy(), stays["risk"].to_numpy()
    patients = stays["patient_id"].to_numpy()
    cells = with_intervals(
        partial(_benefits, label, risk), patients, settings.get("bootstrap", 0), settings.get("seed", 0)
    )
    rate = float(label.mean()) if len(label) else float("nan")
    rows = []
    for at in AT:
        everybody = rate - (1 - rate) * at / (1 - at)
        all_of_them = Cell(number(everybody, 3), everybody) if np.isfinite(everybody) else Cell(UNDEFINED, "")
        rows.append(row(Cell(f"{at:.0%}", at), estimate_cell(cells[f"{at}"]), all_of_them, Cell("0.000", 0.0)))
    columns = [
        ("Threshold", ""),
        ("the model's alarms", "95 % interval"),
        ("alarms for everybody", ""),
        ("no alarms", ""),
    ]
    return Table(caption="Net benefit per stay", columns=columns, rows=rows)


def _benefits(label: Array, risk: Array, weight: Array) -> dict[str, Any]:
    """Net benefit at each of AT."""
    values = net_benefit_at(label, risk, weight, np.array(AT))
    return {f"{at}": values[..., i] for i, at in enumerate(AT)}
