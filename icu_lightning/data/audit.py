"""Leakage audit: what could let the answer into the question, checked on the very tensors and tables of this run.

Each check is computed anew from the data, not taken from the code that was meant to ensure it, and says what it saw. One
probe has no verdict: how well the pattern of what was measured, without any value, predicts the outcome.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icu_lightning.batch import StayBatch
from icu_lightning.data.loader import TrainingData
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.outliers import Outliers
from icu_lightning.data.scaling import Scaler, StaticEncoder
from icu_lightning.data.splits import LEFT_OUT, undersampled_text
from icu_lightning.data.weights import UsualWeight

IN_HOURS = ("stay_at_least", "sepsis_onset_within", "vasoactive_within", "in_icu_at_prediction")  # filters of hours


@dataclass(frozen=True)
class Check:
    """`passed` is None where the data do not allow to tell."""

    name: str
    passed: bool | None
    said: str


def audit(data: ICUDataModule) -> dict[str, Any]:
    """{passed, checks: [{name, passed, said}], missingness_auroc, held_out, undersampled, unmeasured, unknown_units,
    missing_components} of a data module.

    The last two are of the whole cohort, a row each: the units of infusions that cannot be read (`infusions.unknown_units`), and in
    how many stays nothing of a component of a score was measured (`worst.scores_and_components`).
    """
    checks = [
        patients_disjoint(data),
        events_before_prediction(data),
        outcome_after_prediction(data),
        fitted_on_train(data),
        cohort_known_at_prediction(data),
        scores_on_one_side(data),
        *([] if data.pretraining is None else [pretraining_apart(data, data.pretraining)]),
    ]
    return {
        "passed": not any(check.passed is False for check in checks),
        "checks": [asdict(check) for check in checks],
        "missingness_auroc": missingness_auroc(data.train, data.test),
        "held_out": held_out_counts(data),
        "undersampled": undersampled_counts(data),
        "unmeasured": unmeasured_stays(data),
        "unknown_units": data.extract.units.to_dicts(),
        "missing_components": data.extract.components.to_dicts(),
    }


def audit_line(result: dict[str, Any]) -> str:
    """The audit as one line."""
    words = {True: "ok", False: "FAILED", None: "unknown"}
    parts = [f"{check['name']} {words[check['passed']]} ({check['said']})" for check in result["checks"]]
    probe = result["missingness_auroc"]
    parts.append(f"missingness alone: AUROC {'undefined' if probe is None else f'{probe:.3f}'}")
    if (hidden := result["held_out"]) is not None:
        counts = ", ".join(f"{of['hidden']:,} of {of['measured']:,} in {name}" for name, of in hidden["cells"].items())
        parts.append(
            f"cells hidden on purpose ({hidden['pattern']}, rate {hidden['rate']}, seed {hidden['seed']}): {counts}"
        )
    if (left_out := result.get("undersampled")) is not None:
        parts.append(undersampled_text(left_out))
    if any((nothing := result.get("unmeasured", {})).values()):
        counts = ", ".join(f"{n:,} {name}" for name, n in nothing.items() if n)
        parts.append(f"stays without a single measurement, whose risk is that of nobody in particular: {counts}")
    if units := result.get("unknown_units"):
        parts.append(f"infusions in a unit that cannot be read, so at an unknown rate: {unknown_units_text(units)}")
    if told := components_text(result.get("missing_components", [])):
        parts.append(f"components of scores of which nothing was measured count 0 points: {told}")
    return "audit: " + "; ".join(parts)


def unknown_units_text(units: Sequence[Mapping[str, Any]]) -> str:
    """Every text, with its drug and how often."""
    return ", ".join(
        f"{of['infusions']:,} of {of['drug']} in {repr(of['unit']) if of['unit'] else 'no unit'} (stays: {of['stays']:,})"
        for of in units
    )


def components_text(components: Sequence[Mapping[str, Any]]) -> str:
    """The component of each score that is missing most often; "" where none ever is."""
    worst: dict[str, Mapping[str, Any]] = {}
    for row in components:
        if row["missing"] > worst.get(row["score"], {"missing": 0})["missing"]:
            worst[row["score"]] = row
    said = (
        f"{name} most often {of['component']}, in {of['missing']:,} of {of['scored']:,} stays"
        for name, of in worst.items()
    )
    return ", ".join(said) + (" (all in audit.json)" if worst else "")


def patients_disjoint(data: ICUDataModule) -> Check:
    """No patient has stays in two splits."""
    # Left out of training, a stay is on that side; left out before the split, on none
    stays = (
        data.stays.filter(pl.col("split") != LEFT_OUT) if "undersample" in data.settings.before_split else data.stays
    )
    sides = stays.group_by("patient_id").agg(pl.col("split").replace(LEFT_OUT, "train").n_unique())
    split = int((sides["split"] > 1).sum())
    return Check("patients disjoint", split == 0, f"{split} of {sides.height:,} on two sides")


def events_before_prediction(data: ICUDataModule) -> Check:
    """The latest measurement that reached the grid was charted before the prediction time."""
    latest, hours = data.extract.cleaning["latest_hours"].max(), data.settings.hours
    if latest is None:
        return Check("events before prediction", None, "no events")
    assert isinstance(latest, float)
    said = f"latest at {math.floor(latest * 100) / 100:.2f} h of {hours} h"
    if early := int(data.extract.cleaning["used_before_stored"].sum()):
        said += f"; {early:,} laboratory values charted before it were stored later, see data.lab_time"
    return Check("events before prediction", latest < hours, said)


def outcome_after_prediction(data: ICUDataModule) -> Check:
    """Nobody died, or left the unit, before the prediction time."""
    stays, hours = data.stays, data.settings.hours
    early = int((stays["death_hours"] <= hours).sum())
    left = int((stays["los_hours"] < hours).sum())
    unknown = int((stays["died_in_hospital"] & stays["death_hours"].is_null()).sum())
    said = f"{early} deaths and {left} departures inside the window, {unknown} deaths at an unknown hour"
    passed = None if unknown and not (early or left) else not (early or left)
    way_out = "" if passed is not False else f": add '- in_icu_at_prediction: {hours}' to data.cohort"
    return Check("outcome after prediction", passed, said + way_out)


def fitted_on_train(data: ICUDataModule) -> Check:
    """Outlier bounds, scaler and categories equal those fitted anew on the training stays, and on no others."""
    rows = data.stays["split"] == "train"
    as_charted = data.extract.values[rows.to_numpy()]
    outliers = Outliers(data.settings.outliers).fit(as_charted)
    scaler = Scaler().fit(outliers.transform(as_charted).values, data.settings.variables)
    encoder = StaticEncoder(data.settings.static).fit(data.stays.filter(rows))
    pairs: list[tuple[Any, Any]] = [(data.outliers, outliers), (data.scaler, scaler), (data.encoder, encoder)]
    if data.settings.vis is not None:
        pairs.append((data.usual_weight, UsualWeight().fit(data.stays.filter(rows))))
        pairs.append((data.vis_scaler, Scaler().fit(data.treatments(rows), data.vis_names)))
    if data.settings.severity:
        pairs.append((data.severity_scaler, Scaler().fit(data.scores(rows), data.settings.severity)))
    same = all(used.state() == anew.state() for used, anew in pairs)
    said = f"outlier bounds, scaler and categories of {int(rows.sum()):,} stays"
    if "outliers" in data.settings.before_split:
        said += ", but outlier bounds of all, as data.before_split says"
    return Check("fitted on train only", same, said)


def cohort_known_at_prediction(data: ICUDataModule) -> Check:
    """No filter asks for hours after the prediction time, and none for the outcome: neither is known at the bedside."""
    hours = data.settings.hours
    later = [
        f"{name} {argument}"
        for step in data.settings.cohort
        if not isinstance(step, str)
        for name, argument in step.items()
        if name in IN_HOURS and float(argument) > hours
    ]
    if "undersample" in data.settings.before_split:
        later.append("outcome, as data.before_split leaves survivors out of test too")
    said = f"selected by {', '.join(later)}" if later else "no filter looks beyond it"
    return Check("cohort known at prediction", not later, said)


def scores_on_one_side(data: ICUDataModule) -> Check:
    """No severity score is both a static input and a target. SAPS II as an input counts diagnoses coded at discharge."""
    both = sorted(set(data.settings.severity) & set(data.settings.static))
    if both:
        return Check("scores", False, f"{', '.join(both)} in data.static and in data.severity")
    if "saps2" in data.settings.static:
        return Check("scores", None, "saps2 in data.static counts diagnoses that were coded at discharge")
    return Check("scores", True, "none is both input and target")


def pretraining_apart(data: ICUDataModule, pretraining: TrainingData) -> Check:
    """Nobody of the pretraining cohort is a validation or test patient, nor in both of its own two splits."""
    seen, validating = (set(part.patient_id) for part in (pretraining.train, pretraining.val))
    later = {*data.val.patient_id, *data.test.patient_id}
    wrong = len((seen | validating) & later) + len(seen & validating)
    sizes = f"{len(pretraining.train):,} stays to train on, {len(pretraining.val):,} to validate on"
    return Check("pretraining apart", wrong == 0, f"{sizes}; {wrong} of their patients validated or tested on")


def held_out_counts(data: ICUDataModule) -> dict[str, Any] | None:
    """What `data.held_out` hid, by split: cells measured, and cells hidden from the models; None where it hides nothing."""
    if data.settings.held_out is None:
        return None
    splits = {"val": data.val, "test": data.test}
    cells = {
        name: {"measured": int(data.measured[name].observed.sum()), "hidden": int(part.held_out.sum())}
        for name, part in splits.items()
    }
    return {**data.settings.plain["held_out"], "cells": cells}


def undersampled_counts(data: ICUDataModule) -> dict[str, Any] | None:
    """{per_death, deaths, survivors, left_out}: before any survivor was left out; None if all are in.

    Of the training stays; of all, with `before_split` True, where that was done before there were any.
    """
    if data.settings.undersample is None:
        return None
    before = "undersample" in data.settings.before_split
    labels = torch.cat([part.label for part in ((data.train, data.val, data.test) if before else (data.train,))])
    gone, deaths = len(data.left_out), int(labels.sum())
    survivors = len(labels) - deaths + gone
    counts = {"per_death": data.settings.undersample, "deaths": deaths, "survivors": survivors, "left_out": gone}
    return counts | ({"before_split": True} if before else {})


def unmeasured_stays(data: ICUDataModule) -> dict[str, int]:
    """Split -> how many of its stays show a model no value at all."""
    splits = {"train": data.train, "val": data.val, "test": data.test}
    return {name: int((part.n_measured == 0).sum()) for name, part in splits.items()}


def missingness_auroc(train: StayBatch, test: StayBatch) -> float | None:
    """Test AUROC of a logistic regression that sees only how often, and in which hours, each variable was measured."""
    if len(test.label.unique()) < 2 or len(train.label.unique()) < 2:
        return None
    features = [np.concatenate([s.observed.sum(1).numpy(), s.observed.sum(2).numpy()], axis=1) for s in (train, test)]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    probe.fit(features[0], train.label.numpy())
    return float(roc_auc_score(test.label.numpy(), probe.predict_proba(features[1])[:, 1]))
