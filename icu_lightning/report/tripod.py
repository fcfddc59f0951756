"""The TRIPOD+AI checklist, filled as far as a run knows, and where it does not, left to the authors in so many words.

The items and their sentences are in tripod_ai.yaml; this module fills in the names.

References: TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use regression or machine
    learning methods (Collins et al., BMJ 2024;385:e078378).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from icu_lightning.data.concepts import all_concepts
from icu_lightning.description.words import filter_words, plain
from icu_lightning.report import limits
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import estimate
from icu_lightning.report.performance import undersampling
from icu_lightning.report.summary import rule_words
from icu_lightning.yaml_file import read_yaml

TO_WRITE = "For the authors to write"
TOLD = ("auroc", "auprc", "brier", "calibration_slope", "observed_to_expected")  # metrics that a sentence names


@dataclass(frozen=True, kw_only=True)
class Item:
    """answer: what the run knows, "" if nothing. authors: what they have to add, "" if nothing."""

    item: str
    section: str
    topic: str
    asks: str
    applies: str
    answer: str
    authors: str

    @property
    def filled(self) -> str:
        """The cell of the checklist."""
        write = f"{TO_WRITE}: {self.authors}." if self.authors else ""
        return f"{self.answer} {write}".strip()


def checklist(run: Run) -> list[Item]:
    facts = read_yaml(Path(__file__).parent / "tripod_ai.yaml")
    names = _study(run) | _methods(run) | _results(run)
    return [
        Item(
            item=fact["item"],
            section=fact["section"],
            topic=fact["topic"],
            asks=fact["asks"],
            applies=fact["for"],
            answer=fact.get("run", "").format_map(names),
            authors=fact.get("authors", ""),
        )
        for fact in facts
    ]


def variables(run: Run) -> str:
    """The measured variables in words."""
    known = all_concepts()
    return ", ".join(known[name].label if name in known else plain(name) for name in run.data["variables"])


def filters(run: Run) -> str:
    """The cohort's filters in words, in their order."""
    if run.attrition is None:
        return "not known, there is no attrition.csv"
    return "; ".join(filter_words(name) for name in run.attrition["filter"][1:]) or "no filter"


def threshold(run: Run) -> str:
    value = run.test.get("threshold")
    return "a threshold of each fold's own" if value is None else f"a risk of {value:.3f}"


def _study(run: Run) -> dict[str, str]:
    hospitals = run.predictions["hospital_id"].drop_nulls().n_unique()
    return {
        "model": run.model,
        "outcome": run.outcome,
        "Outcome": run.outcome.capitalize(),
        "hours": str(run.hours),
        "patients": limits.patients(run),
        "source": "SYNTHETIC stays, made up by a program"
        if run.synthetic
        else f"{run.database}, recorded in routine care",
        "hospitals": f"{hospitals:,} hospitals in the cohort"
        if hospitals
        else "the source does not tell hospitals apart",
        "filters": filters(run),
        "sharing": "Made up anew by the same command." if run.synthetic else f"{run.database}, from its owners.",
        "version": run.environment.get("icu_lightning", "unknown"),
        "commit": run.environment.get("git commit", "unknown"),
        "limits": " ".join(limits.limits(run)),
    }


def _methods(run: Run) -> dict[str, str]:
    data, model = run.data, run.config["model"]
    static = ", ".join(map(plain, data.get("static", []))) if model.get("static", True) else ""
    shares = " / ".join(f"{100 * share:g} %" for share in data.get("fractions", []))
    single = f"By {data.get('split')}: {shares} for training, validation and test"
    folds = f"{len(run.folds['n'])} folds of patients, each tested once, pooled" if run.folds else single
    treated = f"Vasoactive drugs as hourly rates (data.vis={data.get('vis')})."
    by_hospital = "Whole hospitals are on one side (data.split=hospital)."
    return {
        "treatments": treated if data.get("vis") else "Treatments are no predictors; what they did is in the outcome.",
        "outliers": str(data.get("outliers")),
        "variables": variables(run),
        "n_variables": str(len(data["variables"])),
        "static": f" Beside them: {static}." if static else "",
        "split": folds,
        "split_seed": str(data.get("split_seed")),
        "target": str(model.get("_target_", run.model)),
        "validation": "cross-validation" if run.folds else "internal validation on one split",
        "clusters": by_hospital
        if data.get("split") == "hospital"
        else "By size of hospital, where hospitals are told apart.",
        "bootstrap": f"{run.metrics.get('evaluation', {}).get('bootstrap', 0):,}",
        "updating": _updating(run),
        "imbalance": _imbalance(run),
        "threshold": threshold(run),
        "rule": rule_words(run.config["threshold"]),
    }


def _results(run: Run) -> dict[str, str]:
    stays, by_size = run.predictions, "hospital_size" in run.test.get("subgroups", {})
    return {
        "stays": f"{stays.height:,}",
        "events": f"{int(stays['label'].sum()):,}",
        "sizes": "; ".join(_sizes(stays)),
        "by_cluster": "Report, 'Subgroups': by size of hospital." if by_size else "Not looked at in this run.",
        "raw_brier": estimate(run.test.get("raw", {}).get("brier")),
        **{name: estimate(run.test.get(name)) for name in TOLD},
    }


def _sizes(stays: pl.DataFrame) -> Iterator[str]:
    """Of each split, and of what was left out of training, where anything was."""
    for name, words in {"train": "train", "left_out": "left out of train", "val": "val", "test": "test"}.items():
        part = stays.filter(pl.col("split") == name)
        if name != "left_out" or not part.is_empty():
            yield f"{words} {part.height:,} stays, {int(part['label'].sum()):,} events"


def _imbalance(run: Run) -> str:
    by_loss = "By the loss (model.loss)." if "loss" in run.config["model"] else ""
    return f"{by_loss} {undersampling(run)}".strip() or "Nothing was done against it."


def _updating(run: Run) -> str:
    method = run.config["names"].get("calibration")
    if method == "none":
        return "No recalibration."
    return f"Recalibration ({method}) on validation stays; before and after are reported."
