"""A finished run on made-up stays, its data, and a model that fills in and draws several risks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from icu_lightning import runfolder
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from icu_lightning.evaluation.stored import read
from icu_lightning.examination.examined import Examined, examined
from icu_lightning.training.checkpoint import trained
from tests.conftest import run_in

SMALL = (
    "model=logistic_regression",
    "data.stays=400",
    "data.vis=mean",
    "data.static=[age,sex,sofa]",
    "model.static=true",
)


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A finished run, without a report."""
    return run_in(tmp_path_factory.mktemp("examination") / "run", *SMALL, "bootstrap=50", "data.cache_dir=null")


@pytest.fixture(scope="session")
def _loaded(run):
    model, config = trained(run), runfolder.configuration(run)
    data = ICUDataModule(*source_and_settings(**config["data"]), say=lambda _: None)
    data.setup()
    return data, model, read(run / "predictions.parquet", None).table


@pytest.fixture
def it(_loaded) -> Examined:
    data, model, table = _loaded
    return examined(data, model.model, model.calibrator, table)


class Imputer:
    """Another model's first draw and two around it; fills in the training mean, give or take one SD."""

    def __init__(self, model) -> None:
        self.model = model

    def predict(self, batch):
        risk = self.model.predict(batch)
        return torch.cat([risk * 0.8, risk, (risk * 1.2).clamp(max=1.0)], dim=1)

    def impute(self, batch, n_samples):
        z = torch.linspace(-1, 1, n_samples).view(1, -1, 1, 1)  # as evenly spread as its band is said to be
        return torch.where(
            batch.observed.unsqueeze(1), batch.values.unsqueeze(1), z.expand(len(batch), -1, *batch.values.shape[1:])
        )


@pytest.fixture
def imputing(it) -> Examined:
    model = Imputer(it.model)
    raw = np.asarray(model.predict(it.data.test).mean(1))
    import polars as pl

    return Examined(
        data=it.data, model=model, calibrator=it.calibrator, test=it.test.with_columns(risk_raw=pl.Series(raw))
    )
