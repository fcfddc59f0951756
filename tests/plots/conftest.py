"""Evidence made of arrays: no run, no model."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.evaluation.evaluate import evaluate
from icu_lightning.evaluation.imputation import evaluate_imputations
from icu_lightning.plots.evidence import Evidence
from tests.comparison.conftest import table

EPOCHS = [
    {"stage": stage, "epoch": str(e), "lr": "0.001", "train/loss": f"{1 / (e + 1):.4f}", "val/loss": f"{1.2 / (e + 1):.4f}",
     "train/auroc": f"{0.6 + e / 20:.3f}", "val/auroc": f"{0.58 + e / 30:.3f}", "val/auprc": "" if e == 0 else "0.3"}
    for stage in ("pretrain", "fit") for e in range(4)
]  # fmt: skip


def hidden_cells(draws: int = 9) -> pl.DataFrame:
    """What imputations.parquet holds, of three rates, with errors that rise."""
    rng = np.random.default_rng(0)
    parts = []
    for rate in (0.1, 0.5, 0.9):
        truth = rng.normal(size=300)
        drawn = truth[:, None] * (1 - rate) + rng.normal(size=(300, draws)) * rate
        people = np.arange(300) // 10
        draws_of = pl.Series(drawn, dtype=pl.Array(pl.Float64, draws))
        cell = {
            "rate": rate,
            "hour": 3,
            "variable": "map",
            "unit": "mmHg",
            "sd": 15.0,
            "truth": truth,
            "draws": draws_of,
        }
        parts.append(pl.DataFrame({"stay_id": people, "patient_id": people, **cell}))
    return pl.concat(parts)


def evidence(predicted: pl.DataFrame, replicates: int = 30, **changes) -> Evidence:
    """Of the test rows of predictions, with the metrics that a run would have."""
    rows = predicted.filter(pl.col("split") == "test")
    facts = {"model": "focal_lstm", "data": "eicu", "outcome": "died_in_hospital", "synthetic": False, "epochs": EPOCHS}
    metrics = evaluate(predicted, replicates, seed=0)["test"]
    return Evidence(**{**facts, "stays": rows, "metrics": metrics, "replicates": replicates, "seed": 0,
                       "imputation": evaluate_imputations(hidden_cells(), 20, 0), "draws": 9, **changes})  # fmt: skip


def one_class(dead: bool) -> pl.DataFrame:
    return table().with_columns(label=pl.lit(float(dead)))


def folds() -> pl.DataFrame:
    """Five folds, each with a threshold of its own."""
    return table(1.5).with_columns(
        fold=pl.Series(np.arange(280) % 5, dtype=pl.Int32), threshold=0.2 + pl.int_range(pl.len()) % 5 / 50
    )


def grouped() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    rows = table(1.5, n=400)
    return rows.with_columns(
        sex=pl.Series(rng.choice(["female", "male"], rows.height)),
        ethnicity=pl.Series(rng.choice(["<white & other>", "a name that is rather long for a label", "rare"], rows.height,
                                       p=[0.6, 0.38, 0.02])),
        age=pl.Series(rng.uniform(18, 95, rows.height)),
    )  # fmt: skip


CASES = {
    "ordinary": lambda: table(1.5),
    "ties": lambda: table(1.5).with_columns(pl.col("risk").round(1)),
    "survivors only": lambda: one_class(False),
    "deaths only": lambda: one_class(True),
    "constant risks": lambda: table().with_columns(risk=pl.lit(0.1), risk_raw=pl.lit(0.4)),
    "risks of 0 and 1": lambda: table().with_columns(risk=pl.col("risk").round(0)),
    "one stay": lambda: table(n=1),
    "nobody flagged": lambda: table().with_columns(threshold=pl.lit(2.0)),
    "not calibrated": lambda: table().with_columns(risk_raw=pl.col("risk")),
    "folds": folds,
    "undersampled": lambda: table(1.5).with_columns(risk_prior=pl.col("risk_raw") / 2),
    "undersampled, not calibrated": lambda: table(1.5).with_columns(risk_prior=pl.col("risk")),
    "subgroups": grouped,
}


@pytest.fixture(scope="session", params=CASES)
def case(request) -> Evidence:
    return evidence(CASES[request.param]())


@pytest.fixture(scope="session")
def ordinary() -> Evidence:
    return evidence(CASES["ordinary"]())
