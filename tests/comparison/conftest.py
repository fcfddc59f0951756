"""Runs made of arrays, and a run folder made of them, without training anything."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from icu_lightning.comparison.runs import Run
from icu_lightning.evaluation import predictions
from icu_lightning.evaluation.stored import digest
from icu_lightning.results import evaluated, write_metrics

CONFIG = {
    "names": {"data": "eicu", "model": "focal_lstm", "trainer": "cpu", "logger": "csv", "calibration": "isotonic"},
    "data": {"source": "x.Y", "root": "/a", "cache_dir": None, "hours": 48, "cohort": [{"age_at_least": 16}], "split": "patient",
             "split_seed": 0, "fractions": [0.7, 0.1, 0.2]},
    "model": {"hidden": 64},
    "trainer": {"max_epochs": 4},
    "logger": {},
    "calibration": {"_target_": "x.Isotonic"},
    "seed": 0,
    "threshold": "f1",
    "bootstrap": 20,
}  # fmt: skip
N = 240


def table(quality: float = 1.0, noise: int = 0, deaths: bool = True, n: int = N) -> pl.DataFrame:
    """Predictions of n test stays of n / 2 patients (and 40 validation stays); `quality` 0 is chance."""
    world, own = np.random.default_rng(0), np.random.default_rng(noise)
    size = n + 40
    label = (world.random(size) < 0.3).astype(float) * deaths
    z = quality * (label - 0.3) + own.normal(size=size) - 1
    risk = (1 / (1 + np.exp(-z))).round(3)
    none = [None] * size
    return pl.DataFrame(
        {
            "stay_id": range(size),
            "patient_id": [str(i // 2) for i in range(size)],
            "hospital_id": none,
            "split": ["test"] * n + ["val"] * 40,
            "fold": none,
            "label": label,
            "risk_raw": risk**2,
            "risk": risk,
            "risk_sd": none,
            "threshold": [0.3] * size,
            **dict.fromkeys(predictions.SUBGROUPS, none),
        },
        schema_overrides={name: pl.String for name in ("hospital_id", *predictions.SUBGROUPS)}
        | {"risk_sd": pl.Float64},
    ).with_columns(pl.col("age").cast(pl.Float64))


def changed(**changes) -> dict:
    """CONFIG with changes; a name with two underscores is a setting inside of another: data__hours=24."""
    config = json.loads(json.dumps(CONFIG))
    for name, value in changes.items():
        *path, last = name.split("__")
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return config


@pytest.fixture
def make_run():
    """A function: name, predictions, facts and changes of the configuration -> a Run."""

    def make(name="a", predicted=None, outcome="died_in_hospital", source="eicu", synthetic="false", **changes) -> Run:
        test = (table() if predicted is None else predicted).filter(pl.col("split") == "test").sort("stay_id")
        facts = {"outcome": outcome, "source": source, "synthetic": synthetic}
        return Run(name=name, config=changed(**changes), test=test, facts=facts)

    return make


@pytest.fixture
def make_folder(tmp_path):
    """A function: name, predictions, facts and changes -> a finished run folder."""

    def make(name: str, predicted=None, source="eicu", synthetic=False, **changes) -> Path:
        folder, config = tmp_path / "runs" / name, changed(**changes)
        rows = table() if predicted is None else predicted
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        path = folder / "predictions.parquet"
        predictions.write(rows, path, outcome="died_in_hospital", source=source, synthetic=synthetic)
        write_metrics(folder, evaluated(rows, digest(path), bootstrap=2, seed=0))
        return folder

    return make
