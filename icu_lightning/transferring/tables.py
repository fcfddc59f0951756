"""A transfer as rows: for the terminal and the page, as CSV, and as JSON. Every file says how far from home the model is."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from icu_lightning.evaluation.hospitals import SUMMARISED, readable
from icu_lightning.evaluation.random_effects import Summary
from icu_lightning.evaluation.updating import RECALIBRATORS, Updated
from icu_lightning.transferring.result import JUDGES, POOL, Transfer

METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "calibration_slope": "calibration slope",
    "calibration_in_the_large": "calibration in the large",
    "observed_to_expected": "observed / expected deaths",
    "ece": "ECE",
    "net_benefit": "net benefit at the threshold",
    "sensitivity": "sensitivity",
    "ppv": "PPV",
    "alert_rate": "alert rate",
}
BY_K = ("auroc", "brier", "calibration_slope", "calibration_in_the_large", "observed_to_expected", "ece")
NARROW = {
    "calibration_slope": "slope",
    "calibration_in_the_large": "in the large",
    "observed_to_expected": "O:E",
    "ece": "ECE",
}
SUMMARY_NAMES = {
    "auroc": "AUROC",
    "observed_to_expected": "observed / expected deaths",
    "calibration_in_the_large": "calibration in the large",
}
ENDS = ("mean", "low", "high", "prediction_low", "prediction_high")
SHOWN = 10  # ids on a line of the terminal; hospitals.csv has them all
BEFORE = "as it came"


def counts(transfer: Transfer) -> str:
    """The stays, patients and deaths that judge, and what there is to recalibrate on."""
    pool = transfer.predictions.filter(pl.col("split") == POOL)
    before = transfer.before
    return (
        f"{before['n']:,} stays of {before['patients']:,} patients judge ({before['events']:,} {transfer.outcome}); "
        f"{pool.height:,} others ({int(pool['label'].sum()):,}) are there to recalibrate on"
    )


def number(cell: Mapping[str, Any] | None, spread: str = "interval") -> str:
    """0.812 (0.790 to 0.834) with spread=interval, 0.812 ± 0.012 with spread=sd."""
    if not cell or cell.get("value") is None:
        return "undefined"
    text = plain(cell["value"])
    if spread == "sd":
        return text + (f" ± {cell['sd']:.3f}" if cell.get("sd") is not None else "")
    return text + (f" ({plain(cell['low'])} to {plain(cell['high'])})" if cell.get("low") is not None else "")


def plain(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")  # no minus before 0.000


def metric_rows(transfer: Transfer) -> tuple[list[str], list[list[str]]]:
    """Heading and a row a metric: as it came, and after each recalibrator with the most stays, with intervals."""
    last = [one for one in transfer.after if one.k == transfer.ks[-1]] if transfer.ks else []
    head = ["", BEFORE, *(f"{one.method}, k = {one.k:,}" for one in last)]
    rows = [
        [label, number(transfer.before.get(name)), *(number(one.metrics.get(name)) for one in last)]
        for name, label in METRICS.items()
    ]
    return head, rows


def draw_rows(transfer: Transfer) -> tuple[list[str], list[list[str]]]:
    """Heading and a row a recalibrator and k: mean and SD over the draws."""
    head = ["recalibration", "k", *(METRICS[name] for name in BY_K), "nothing to learn", "one risk for all"]
    rows = []
    for one in by_method(transfer):
        cells = [number(one.metrics.get(name), "sd") for name in BY_K]
        rows.append([one.method, f"{one.k:,}", *cells, f"{one.unchanged} of {one.draws}", f"{one.flat} of {one.draws}"])
    return head, rows


def narrow_draw_rows(transfer: Transfer) -> tuple[list[str], list[list[str]]]:
    """`draw_rows` as wide as a screen."""
    rows = [
        [f"{one.k:,}", one.method.replace(" and ", " + "), *(_short(one.metrics.get(name)) for name in NARROW)]
        for one in by_method(transfer)
    ]
    return ["k", "recalibration", *NARROW.values()], rows


def _short(cell: Mapping[str, Any] | None) -> str:
    if not cell or cell.get("value") is None:
        return "undefined"
    sd = f" ± {cell['sd']:.2f}" if cell.get("sd") is not None else ""
    return f"{cell['value']:.2f}{sd}".replace("-", "−")


def by_method(transfer: Transfer) -> list[Updated]:
    methods = list(RECALIBRATORS)
    return sorted(transfer.after, key=lambda one: (methods.index(one.method), one.k))


def hospital_rows(transfer: Transfer) -> tuple[list[str], list[list[str]]]:
    """Heading and a row a summary over hospitals, back on the scale that people read."""
    head = ["", "hospitals", "mean (95 % interval)", "95 % of further hospitals", "tau²", "I²"]
    rows = []
    for name, summary in transfer.over_hospitals.items():
        own = {part: readable(name, getattr(summary, part)) for part in ENDS}
        i2 = f"{summary.i2:.0%}" if math.isfinite(summary.i2) else "undefined"
        further = {"value": own["prediction_low"], "low": None}
        reach = f"{number(further)} to {plain(own['prediction_high'])}"
        cells = [
            number({"value": _finite(own["mean"]), "low": _finite(own["low"]), "high": own["high"]}),
            reach if math.isfinite(own["prediction_low"]) else "undefined",
        ]
        rows.append([SUMMARY_NAMES[name], str(summary.n), *cells, plain(summary.tau2), i2])
    return head, rows


def verdict(transfer: Transfer) -> str:
    """What a hurried reader takes home: discrimination and O:E as it came, and O:E after slope and intercept."""
    before = transfer.before
    ratio = number(before.get("observed_to_expected"))
    said = f"As it came, AUROC is {number(before.get('auroc'))}, and {ratio} deaths happened for each expected one. "
    after = next((one for one in reversed(by_method(transfer)) if one.method == "slope and intercept"), None)
    if after is None:
        return said.strip()
    cell = number(after.metrics.get("observed_to_expected"))
    return (
        said
        + f"After recalibrating slope and intercept on {after.k:,} labelled stays, it is {cell} for each expected one."
    )


def remarks(transfer: Transfer) -> list[str]:
    """Sentences on what was left out, is too small, or was done to the model."""
    before, settings, variables = transfer.before, transfer.settings, transfer.variables
    said = []
    if transfer.seen:
        said.append(f"{transfer.seen:,} stays of patients in the run's training and validation are left out.")
    if min(before["events"], before["n"] - before["events"]) < 100:
        said.append("Fewer than 100 judging stays of either outcome: read the intervals, not the values.")
    if "note" in before:
        said.append(f"Judging stays: {before['note']}.")
    if transfer.no_room:
        available = transfer.predictions.filter(pl.col("split") == POOL).height
        said.append(f"No room for k = {', '.join(map(str, transfer.no_room))}: {available:,} stays to recalibrate on.")
    edge = transfer.predictions.select(((pl.col("risk") <= 0) | (pl.col("risk") >= 1)).mean()).item()
    if settings.start == "risk" and edge > 0.01:
        said.append(
            f"The run's calibrator says exactly 0 or 1 of {edge:.0%} of the stays, which bends slopes; start=risk_raw "
            "recalibrates the model's score instead."
        )
    said += [
        f"{row['variable']}: {row['remark']}{'' if row['remark'].endswith('?') else '.'}"
        for row in variables.drop_nulls("remark").to_dicts()
    ]
    return said


def left_out_lines(transfer: Transfer) -> list[str]:
    """A line a summary and reason, with the ids of the hospitals."""
    lines = []
    for name, reasons in left_out(transfer).items():
        for reason, ids in reasons.items():
            named = ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
            lines.append(f"Not in the summary of {name}, {reason}: {len(ids)} hospitals ({named})")
    if transfer.without_hospital:
        lines.append(f"{transfer.without_hospital:,} stays are of no named hospital, and in none of the summaries.")
    return lines


def left_out(transfer: Transfer) -> dict[str, dict[str, list[str]]]:
    """Summary -> reason -> the hospitals that are not in it. The two of calibration leave the same ones out."""
    result: dict[str, dict[str, list[str]]] = {}
    if transfer.hospitals is None:
        return result
    for name, words in (("auroc", "AUROC"), ("observed_to_expected", "calibration")):
        column = SUMMARISED[name][2]
        for hospital, reason in transfer.hospitals.drop_nulls(column).select("hospital_id", column).iter_rows():
            result.setdefault(words, {}).setdefault(reason, []).append(hospital)
    return result


def summarised(transfer: Transfer) -> int:
    """Hospitals in the largest of the summaries."""
    return max((summary.n for summary in transfer.over_hospitals.values()), default=0)


def transfer_table(transfer: Transfer) -> pl.DataFrame:
    """transfer.csv: a row a recalibration, k and metric. `low` and `high` are the 95 % interval, `sd` is over the draws."""
    came = Updated(method=BEFORE, k=0, draws=1, metrics={name: transfer.before.get(name) or {} for name in METRICS})
    rows = [
        {
            **_marked(transfer),
            "recalibration": one.method,
            "k": one.k,
            "draws": one.draws,
            "nothing_to_learn": one.unchanged,
            "one_risk_for_all": one.flat,
            "metric": name,
            **{part: one.metrics.get(name, {}).get(part) for part in ("value", "sd", "low", "high")},
        }
        for one in (came, *transfer.after)
        for name in METRICS
    ]
    numbers = {name: pl.Float64 for name in ("value", "sd", "low", "high")}
    return pl.DataFrame(rows, schema_overrides=numbers, infer_schema_length=None)


def hospital_table(transfer: Transfer) -> pl.DataFrame | None:
    """hospitals.csv: `hospitals.by_hospital`, with the marks."""
    if transfer.hospitals is None:
        return None
    return transfer.hospitals.with_columns(**{name: pl.lit(value) for name, value in _marked(transfer).items()})


def as_json(transfer: Transfer) -> dict[str, Any]:
    """transfer.json: everything but the stays and the hospitals one by one; null is what is undefined."""
    kinship = transfer.kinship
    return {
        "trained_on": asdict(kinship.trained_on),
        "target": asdict(kinship.target),
        "external": kinship.external,
        "kind": kinship.word,
        "marks": kinship.marks,
        "outcome": transfer.outcome,
        "facts": dict(transfer.facts),
        "settings": asdict(transfer.settings),
        "left_out_as_seen": transfer.seen,
        "recalibrated_on": transfer.ks,
        "no_room_for": transfer.no_room,
        "available_to_recalibrate": transfer.predictions.filter(pl.col("split") != JUDGES).height,
        "before": transfer.before,
        "after": [asdict(one) for one in transfer.after],
        "hospitals": {
            "over": {name: _summary(name, summary) for name, summary in transfer.over_hospitals.items()},
            "left_out": left_out(transfer),
            "stays_without": transfer.without_hospital,
        }
        if transfer.hospitals is not None
        else None,
        "variables": transfer.variables.to_dicts(),
    }


def _summary(name: str, summary: Summary) -> dict[str, Any]:
    """On the scale of the estimates (logit, log), and under `readable` on AUROC's and O:E's own."""
    own = {part: readable(name, getattr(summary, part)) for part in ENDS}
    return {key: _finite(value) for key, value in summary._asdict().items()} | {
        "readable": {key: _finite(value) for key, value in own.items()}
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _marked(transfer: Transfer) -> dict[str, str]:
    kinship = transfer.kinship
    return {"trained_on": kinship.trained_on.called, "target": kinship.target.called, "kind": kinship.word}
