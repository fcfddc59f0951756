"""What does an input change when it is left out? Put runs that each lack one feature of data.static beside the run that has all.

    python -m icu_lightning.run -m experiment=sociodemographics data=synthetic data.stays=30000
    python experiments/teacher_student/inputs.py sweeps/sociodemographics --out inputs.json

Of the test stays, on the model's own risks or, with --risk calibrated, on those that it gives out: AUROC, Brier score, calibration
slope, intercept and calibration in the large, and in each group of that feature AUROC and calibration in the large; with the input,
without it, and without minus with, all within the same resamples of patients. Several seeds are the mean of their metrics. A feature
that is unknown of every stay is named as not comparable. No stay is in the file, and of a small group its name alone.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.compare import read_run, run_folders
from icu_lightning.comparison.refusals import refuse_unlike
from icu_lightning.comparison.runs import Run, identity
from icu_lightning.errors import UserError
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.evaluate import SMALLEST
from icu_lightning.evaluation.metrics import auroc, brier
from icu_lightning.evaluation.predictions import PRIOR
from icu_lightning.evaluation.reliability import in_the_large, recalibration
from icu_lightning.evaluation.subgroups import subgroups

OVERALL = ("auroc", "brier", "calibration_slope", "calibration_intercept", "calibration_in_the_large")
IN_A_GROUP = ("auroc", "calibration_in_the_large")
RISKS = ("raw", "calibrated")
SIDES = ("with", "without", "difference")
NOTE = "What an input changes in a model's risks is no cause of an outcome: a feature may stand for another that is not charted."
Array = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", help="run folders, or folders that hold them")
    parser.add_argument(
        "--risk", choices=RISKS, default="raw", help="the model's own, or calibrated on validation stays (raw)"
    )
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--smallest", type=int, default=SMALLEST, help="stays that a group must have (50)")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    runs = [read_run(folder) for folder in run_folders(asked.runs)]
    content = changes(runs, risk=asked.risk, bootstrap=asked.bootstrap, smallest=asked.smallest)
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    print("\n".join(markdown(content)))


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Runs that differ in what they are given. whole: with all features. lacking: by the feature that is left out."""

    whole: Sequence[Run]
    lacking: Mapping[str, Sequence[Run]]


def changes(runs: Sequence[Run], *, bootstrap: int, smallest: int, risk: str = "raw") -> dict[str, Any]:
    """The content of the file. Raises UserError for runs that do not belong together."""
    inputs, first = told_apart(runs), runs[0]
    absent = [feature for feature in inputs.lacking if uncharted(first.test, feature)]
    found = {
        feature: changed(inputs.whole, own, feature, bootstrap, smallest, risk)
        for feature, own in inputs.lacking.items()
        if feature not in absent
    }
    return {
        "synthetic": first.synthetic,
        "data": first.data,
        "model": first.model,
        "test_stays": first.test.height,
        "test_deaths": int(first.label.sum()),
        "smallest": smallest,
        "risk": risk,
        "bootstrap": bootstrap,
        "seeds": sorted(run.seed for run in inputs.whole),
        "commits": sorted({runfolder.stored_environment(Path(run.name))[0]["git commit"] for run in runs}),
        "inputs": features(inputs.whole[0]),
        "left_out": found,
        "not_comparable": absent,
        "note": NOTE,
    }


def told_apart(runs: Sequence[Run]) -> Inputs:
    """Which runs have all features, and which one is left out in the others.

    Raises UserError if they were not tested on the same stays, differ in more than one feature, or not in the same seeds.
    """
    refuse_unlike(runs, "be set beside one another")
    by_features: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        by_features.setdefault(tuple(features(run)), []).append(run)
    whole = max(by_features, key=len)
    lacking: dict[str, Sequence[Run]] = {}
    for own, members in by_features.items():
        if own == whole:
            continue
        if len(absent := set(whole) - set(own)) != 1 or set(own) - set(whole):
            raise UserError(
                f"{members[0].name} has data.static={list(own)} and {by_features[whole][0].name} {list(whole)}: "
                "a run here lacks one feature of those that the other has."
            )
        lacking[absent.pop()] = members
    if not lacking:
        raise UserError("No run leaves a feature out of data.static: there is nothing to compare.")
    for members in lacking.values():
        refuse_other_settings(by_features[whole], members)
    order = {feature: i for i, feature in enumerate(whole)}
    return Inputs(whole=by_features[whole], lacking=dict(sorted(lacking.items(), key=lambda pair: order[pair[0]])))


def features(run: Run) -> list[str]:
    return list(run.config["data"]["static"])


def refuse_other_settings(whole: Sequence[Run], members: Sequence[Run]) -> None:
    """Raise UserError if not all runs have the same settings but for data.static, or not the same seeds."""
    known = identity(whole[0])
    for run in (*whole[1:], *members):
        own = identity(run)
        if apart := sorted(
            name for name in known.keys() | own.keys() if name != "data.static" and known.get(name) != own.get(name)
        ):
            raise UserError(f"{whole[0].name} and {run.name} differ in more than data.static: in {', '.join(apart)}.")
    seeds = [sorted(run.seed for run in side) for side in (whole, members)]
    if seeds[0] != seeds[1] or len(set(seeds[0])) < len(seeds[0]):
        raise UserError(
            f"{whole[0].name} and {members[0].name} were run with the seeds {seeds[0]} and {seeds[1]}: each once, the same for both."
        )


def changed(
    whole: Sequence[Run], lacking: Sequence[Run], feature: str, bootstrap: int, smallest: int, which: str
) -> dict[str, Any]:
    """Overall and by group, of `which` of RISKS: with the input, without it, and the difference, each {value, low, high}."""
    test = whole[0].test
    label, patients = test["label"].to_numpy(), test["patient_id"].to_numpy()
    risks = {"with": [risk_of(run, which) for run in whole], "without": [risk_of(run, which) for run in lacking]}
    groups, too_small = groups_of(test, feature, smallest)

    def metrics(weight: Array) -> dict[str, Array]:
        cells = sides("", {side: overall(label, some, weight) for side, some in risks.items()})
        for name, rows in groups.items():
            parts = {side: [risk[rows] for risk in some] for side, some in risks.items()}
            own = {side: within(label[rows], some, weight[..., rows]) for side, some in parts.items()}
            cells |= sides(name, own)
        return cells

    cells = with_intervals(metrics, patients, bootstrap, seed=0)
    sizes = {name: {"stays": len(rows), "deaths": int(label[rows].sum())} for name, rows in groups.items()}
    return {
        "overall": {kind: {side: cells[key("", side, kind)] for side in SIDES} for kind in OVERALL},
        "groups": {
            name: sizes[name] | {kind: {side: cells[key(name, side, kind)] for side in SIDES} for kind in IN_A_GROUP}
            for name in groups
        },
        "too_small": too_small,
    }


def uncharted(test: pl.DataFrame, feature: str) -> bool:
    """Whether the feature is unknown of every test stay: a model without it differs by another training alone."""
    return feature in test.columns and test[feature].null_count() == test.height


def risk_of(run: Run, which: str) -> Array:
    """(n,) one of RISKS; the model's own is corrected for undersampled training where there was any."""
    raw = PRIOR if PRIOR in run.test.columns else "risk_raw"
    return run.test[raw if which == "raw" else "risk"].to_numpy()


def groups_of(test: pl.DataFrame, feature: str, smallest: int) -> tuple[dict[str, NDArray[np.intp]], list[str]]:
    """Rows of each group of a feature with both classes and enough stays, and the names of the others; none of what has no groups."""
    rows: dict[str, NDArray[np.intp]] = {}
    too_small = []
    for column, group, stays in subgroups(test, test):
        if column == feature and stays.height >= smallest and stays["label"].n_unique() == 2:
            rows[group] = np.flatnonzero(np.isin(test["stay_id"].to_numpy(), stays["stay_id"].to_numpy()))
        elif column == feature:
            too_small.append(group)
    return rows, too_small


def overall(label: Array, risks: Sequence[Array], weight: Array) -> dict[str, Array]:
    """Of OVERALL, the mean over the seeds."""
    each = []
    for risk in risks:
        slope, intercept, large = recalibration(label, risk, weight)
        each.append(np.stack([auroc(label, risk, weight), brier(label, risk, weight), slope, intercept, large]))
    return dict(zip(OVERALL, np.mean(each, axis=0), strict=True))


def within(label: Array, risks: Sequence[Array], weight: Array) -> dict[str, Array]:
    """Of IN_A_GROUP, the mean over the seeds."""
    each = [np.stack([auroc(label, risk, weight), in_the_large(label, risk, weight)]) for risk in risks]
    return dict(zip(IN_A_GROUP, np.mean(each, axis=0), strict=True))


def sides(group: str, of: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Those with, those without, and without minus with."""
    cells = {key(group, side, kind): value for side, values in of.items() for kind, value in values.items()}
    differences = {key(group, "difference", kind): of["without"][kind] - value for kind, value in of["with"].items()}
    return cells | differences


def key(group: str, side: str, kind: str) -> str:
    return "|".join((group, side, kind))


def markdown(content: Mapping[str, Any]) -> list[str]:
    """Two tables: what leaving out changes, and by group."""
    kind = "SYNTHETIC stays, no patients of any hospital" if content["synthetic"] else content["data"]
    lines = [
        f"{kind}: {content['test_stays']:,} test stays, {content['test_deaths']:,} deaths. Without minus with, 95 %.",
        "",
    ]
    lines += ["| left out | AUROC | Brier score | slope | intercept | in the large |", "|---|---|---|---|---|---|"]
    for feature, found in content["left_out"].items():
        lines.append(row(feature, *(cell(found["overall"][name]["difference"]) for name in OVERALL)))
    if content["not_comparable"]:
        lines += [
            "",
            f"Not comparable, because they are unknown of every test stay: {', '.join(content['not_comparable'])}.",
        ]
    heads = [
        "group",
        "stays (deaths)",
        "AUROC with",
        "without",
        "difference",
        "in the large with",
        "without",
        "difference",
    ]
    lines += ["", row(*heads), row(*["---"] * len(heads))]
    for feature, found in content["left_out"].items():
        for group, own in found["groups"].items():
            cells = (cell(own[name][side], signed=side == "difference") for name in IN_A_GROUP for side in SIDES)
            lines.append(row(f"{feature}: {group}", f"{own['stays']} ({own['deaths']})", *cells))
        if found["too_small"]:
            lines.append(row(f"{feature}: too few", ", ".join(found["too_small"]), *[""] * (len(heads) - 2)))
    return lines


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def cell(number: Mapping[str, Any], signed: bool = True) -> str:
    if number["value"] is None:
        return "undefined"
    sign = "+" if signed else ""
    low, high = ("?" if number[end] is None else f"{number[end]:{sign}.3f}" for end in ("low", "high"))
    return f"{number['value']:{sign}.3f} ({low} to {high})"


if __name__ == "__main__":
    main()
