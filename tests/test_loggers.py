"""What is handed to W&B at the end of a run: summaries and curves, no stay and no patient."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from pytorch_lightning.loggers import WandbLogger

from icu_lightning.evaluation.predictions import COLUMNS, write
from icu_lightning.loggers import log_results
from icu_lightning.results import evaluated


class Experiment:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self.logged: list[Any] = []
        self.finished = False

    def log(self, what: Any) -> None:
        self.logged.append(what)

    def finish(self) -> None:
        self.finished = True


class Logger(WandbLogger):
    def __init__(self) -> None:
        self.kept = Experiment()

    @property
    def experiment(self) -> Experiment:
        return self.kept


@pytest.fixture
def predictions(tmp_path):
    """Three hundred stays, whose ids and ages are numbers that are found nowhere else; kept in the run folder, too."""
    rng = np.random.default_rng(0)
    label = (rng.random(300) < 0.3).astype(float)
    risk = np.round(np.clip(0.3 + 0.3 * label + rng.normal(0, 0.2, 300), 0.01, 0.99), 2)
    table = pl.DataFrame(
        {
            "stay_id": 987_000_000 + np.arange(300),
            "patient_id": [f"patient-{i}" for i in range(300)],
            "hospital_id": [f"hospital-{i % 7}" for i in range(300)],
            "split": ["test", "val"] * 150,
            "label": label,
            "risk_raw": risk,
            "risk": risk,
            "threshold": 0.5,
            "age": 50.0,
        }
    )
    table = table.with_columns(pl.lit(None, pl.String).alias(c) for c in COLUMNS if c not in table.columns)
    write(table, tmp_path / "predictions.parquet", outcome="hospital", source="mimic3", synthetic=False)
    return table


def plain(node: Any) -> str:
    """Everything that is in it, tables of charts too."""
    if isinstance(node, dict):
        return " ".join(f"{name} {plain(below)}" for name, below in node.items())
    if isinstance(node, list | tuple):
        return " ".join(map(plain, node))
    if hasattr(node, "table"):
        return plain(node.table)
    if hasattr(node, "data") and hasattr(node, "columns"):
        return plain([node.columns, node.data])
    return json.dumps(node, default=str)


NONE_ASKED = {"logger": {"artifacts": {"model": False, "predictions": False}}}


def test_no_stay_and_no_patient_goes_there(predictions, tmp_path):
    logger = Logger()
    metrics = evaluated(predictions, "digest", bootstrap=10, seed=0)
    log_results([logger], tmp_path, NONE_ASKED, metrics, predictions)
    assert logger.kept.finished
    sent = plain([logger.kept.summary, logger.kept.logged])
    assert "auroc" in sent
    assert "predicted risk" in sent, "the curves' tables were looked into"
    assert "98700" not in sent
    assert "patient-" not in sent
    assert "hospital-" not in sent


def test_a_curve_has_no_point_a_stay_and_calibration_has_ten(predictions, tmp_path):
    """Curves are of thresholds and of groups; the tables that go there are of curves alone."""
    logger = Logger()
    metrics = evaluated(predictions, "digest", bootstrap=5, seed=0)
    log_results([logger], tmp_path, NONE_ASKED, metrics, predictions)
    (plots,) = logger.kept.logged
    assert set(plots) == {"test/roc", "test/pr", "test/calibration", "test/confusion"}
    assert len(plots["test/calibration"].table.data) <= 10
