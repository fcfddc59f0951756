"""A finished run folder made of arrays, with everything a report reads, without training anything."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from icu_lightning.evaluation import predictions
from icu_lightning.evaluation.stored import digest, read_imputations
from icu_lightning.report.figures import known
from icu_lightning.results import evaluated, write_metrics
from tests.comparison.conftest import changed
from tests.plots.conftest import hidden_cells

NASTY = "<script>alert(1)</script> | *a* & b"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="200" viewBox="0 0 4 2"><path d="M0 0h4v2z"/></svg>'
AUDIT = {
    "passed": True,
    "checks": [
        {"name": "patients disjoint", "passed": True, "said": "0 of 758 on two sides"},
        {"name": "outcome after prediction", "passed": None, "said": "3 deaths at an unknown hour"},
    ],
    "missingness_auroc": 0.61,
}
NONE = dict.fromkeys(("values", "values_low", "values_high", "missingness", "missingness_low", "missingness_high"))


def _cell(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


ROBUSTNESS = {
    "titles": {"hours": "Single hours unknown", "shifted": "Hours too early or too late"},
    "kinds": {
        "hours": [{"amount": 0.4, "auroc": _cell(0.61, 0.5, 0.7), "change": _cell(-0.02, -0.03, -0.01)}],
        "shifted": [{"amount": 2.0, "auroc": _cell(0.6, 0.5, 0.7), "change": _cell(-0.03, -0.04, -0.02)}],
    },
}
EXPLANATION = {
    "n": 64, "events": 12, "risk": "raw", "base_value": 0.2, "background": 8, "block_hours": 8, "evaluations_spent": 37530,
    "largest_error": 1e-16, "tolerance": 1e-6, "stay_id": 990_000_008,
    "features": [
        {"feature": "lactate", "label": "Lactate, mmol/L", "kind": "series", "mean_absolute": 0.0512, "low": 0.0411, "high": 0.0613,
         "values": 0.04, "values_low": 0.03, "values_high": 0.05, "missingness": 0.02, "missingness_low": 0.01,
         "missingness_high": 0.03},
        {"feature": "sex", "label": "Sex", "kind": "static", "mean_absolute": 0.01, "low": 0.0, "high": 0.02, **NONE,
         "categories": {"male": {"n": 61, "mean": -0.004}, "other": {"n": 3, "mean": 0.0312}}},
        {"feature": "age", "label": "Age, years", "kind": "static", "mean_absolute": 1e-19, "low": 0.0, "high": 1e-19, **NONE},
    ],
}  # fmt: skip
COHORT = [{"age_at_least": 16}, {"in_icu_at_prediction": 48}]


def stays(quality: float = 1.5, n: int = 1200, rate: float = 0.2, seed: int = 0) -> pl.DataFrame:
    """Predictions of n stays, half of them test stays, of 2 n / 3 patients; quality 0 is chance. Ids are like no other number."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < rate).astype(float)
    z = quality * (label - rate) + rng.normal(size=n) - 1.6
    raw = 1 / (1 + np.exp(-z))
    return pl.DataFrame(
        {
            "stay_id": [990_000_001 + 7 * i for i in range(n)],
            "patient_id": [f"person-{880_000 + i % (2 * n // 3)}" for i in range(n)],
            "hospital_id": [f"h{i % 3}" for i in range(n)],
            "split": (["test"] * 2 + ["train", "val"]) * (n // 4),
            "fold": pl.Series([None] * n, dtype=pl.Int32),
            "label": label,
            "risk_raw": raw,
            "risk": raw,
            "risk_sd": pl.Series([None] * n, dtype=pl.Float64),
            "threshold": 0.25,
            "sex": rng.choice(["male", "female"], n),
            "age": rng.uniform(17, 89, n).round(),
            "ethnicity": rng.choice(["white", "black", "asian"], n, p=[0.83, 0.15, 0.02]),
            "unit_type": rng.choice(["MICU", NASTY], n),
            "insurance": pl.Series([None] * n, dtype=pl.String),
        }
    ).select(predictions.COLUMNS)


@pytest.fixture
def make_run(tmp_path):
    """A function: name, predictions, synthetic, whether the optional files are there, changes of the configuration -> a folder."""

    def make(name="run", table=None, *, synthetic=False, bare=False, audit=AUDIT, **changes) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        config = changed(
            data__cohort=COHORT, data__outcome="died_in_hospital", data__variables=["heart_rate", "lactate"], **changes
        )
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        rows = stays() if table is None else table
        path = folder / "predictions.parquet"
        source = "synthetic" if synthetic else "eicu"
        predictions.write(rows, path, outcome="died_in_hospital", source=source, synthetic=synthetic)
        if not bare:
            hidden_cells().write_parquet(folder / "imputations.parquet", metadata={"pattern": "mcar"})
        imputed = read_imputations(folder / "imputations.parquet", None)
        write_metrics(folder, evaluated(rows, digest(path), bootstrap=20, seed=0, imputations=imputed))
        if not bare:
            _optional(folder, rows, audit)
        return folder

    return make


def _optional(folder: Path, rows: pl.DataFrame, audit: dict) -> None:
    n, deaths = rows.height, int(rows["label"].sum())
    steps = [
        ("all stays", n + 40, deaths + 9, 0),
        ("age_at_least 16", n + 10, deaths + 8, 30),
        ("in_icu_at_prediction 48", n, deaths, 10),
    ]
    frame = pl.DataFrame(steps, schema=["filter", "stays", "deaths", "removed_stays"], orient="row")
    frame.with_columns(patients=pl.col("stays")).write_csv(folder / "attrition.csv")
    cleaning = {
        "variable": ["heart_rate"],
        "kept": [123456],
        "out_of_range": [7],
        "cells": [9876],
        "latest_hours": [47.99],
    }
    pl.DataFrame(cleaning).write_csv(folder / "cleaning.csv")
    (folder / "audit.json").write_text(json.dumps(audit))
    history = {"stage": ["fit"] * 2, "epoch": [0, 1], "train/loss": [1.5, 1.25], "val/auroc": [0.71, 0.73]}
    pl.DataFrame(history).write_csv(folder / "metrics.csv")
    hours = {"hours": [6, 12], "auroc": [0.61, 0.67], "auroc_low": [0.5, 0.58], "auroc_high": [0.7, 0.75]}
    pl.DataFrame(hours).write_csv(folder / "hours_observed.csv")
    (folder / "explanation.json").write_text(json.dumps(EXPLANATION))
    (folder / "robustness.json").write_text(json.dumps(ROBUSTNESS))
    commit = "0123456789abcdef0123456789abcdef01234567"
    typed = (
        "/home/somebody/icu_lightning/run.py data=eicu 'data.variables=[heart_rate, lactate]' hydra.run.dir=runs/mine"
    )
    facts = f"date: 2026-01-02T03:04:05\ncommand: {typed}\ngit commit: {commit}\nicu_lightning: 0.1.0\npython: 3.11"
    (folder / "environment.txt").write_text(f"{facts}\n\npolars==2.1.0\ntorch==2.13.0\n")
    (folder / "plots").mkdir()
    for name in ("attrition", "shap_stay_1", *(figure.name for figure in known())):
        (folder / "plots" / f"{name}.svg").write_text(SVG)
    (folder / "stays").mkdir()
    (folder / "stays" / "index.html").write_text("<p>stays</p>")
