"""A tiny imputer and made-up stays whose cells are correlated, so that there is something to impute."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from icu_lightning.batch import BatchShape, StayBatch, hours_since_last
from icu_lightning.build import built
from tests.conftest import composed

HOURS, VARIABLES = 8, 3


def conf(*overrides: str) -> dict[str, Any]:
    """conf/model/mtdm.yaml of the tiny size, with overrides."""
    return composed("model=mtdm", "model/size=tiny", *overrides).plain["model"]


def shape(hours: int = HOURS, n_variables: int = VARIABLES) -> BatchShape:
    return BatchShape(hours, tuple(f"v{i}" for i in range(n_variables)), ())


def gaussian_stays(n: int, seed: int = 0, missing: float = 0.5, hours: int = HOURS) -> tuple[StayBatch, torch.Tensor]:
    """n stays of unit-variance Gaussian series, and the whole truth (n, T, V).

    Correlation rho^{|t - t'|} over the hours times .6 between variables.
    """
    generator = torch.Generator().manual_seed(seed)
    root = torch.linalg.cholesky(covariance(hours))
    truth = (torch.randn(n, hours * VARIABLES, generator=generator, dtype=torch.float64) @ root.T).float()
    truth = truth.view(n, hours, VARIABLES)
    observed = torch.rand(truth.shape, generator=generator) >= missing
    label = (truth.mean((1, 2)) > 0).float()
    return stays_of(torch.where(observed, truth, 0.0), observed, label), truth


def covariance(hours: int = HOURS) -> torch.Tensor:
    """(T V, T V) of `gaussian_stays`."""
    lag = (torch.arange(hours).unsqueeze(0) - torch.arange(hours).unsqueeze(1)).abs()
    between = 0.6 + 0.4 * torch.eye(VARIABLES, dtype=torch.float64)
    return torch.kron(0.8 ** lag.double(), between)


def stays_of(values: torch.Tensor, observed: torch.Tensor, label: torch.Tensor) -> StayBatch:
    n, hours = len(values), values.shape[1]
    return StayBatch(
        values=values,
        observed=observed,
        held_out=torch.zeros_like(observed),
        hours_since=hours_since_last(observed),
        static=torch.zeros(n, 0),
        in_icu=torch.ones(n, hours, dtype=torch.bool),
        label=label,
        died_in_hospital=label,
        died_in_icu=label,
        hospital_hours=torch.full((n,), 100.0),
        stay_id=np.arange(n),
        patient_id=np.arange(n),
        severity=torch.zeros(n, 5),
        severity_observed=torch.zeros(n, 5, dtype=torch.bool),
    )


@pytest.fixture
def make_model() -> Callable[..., Any]:
    """A function: overrides -> a fresh tiny MTDM of the made-up stays' shape, whose denoiser says something."""

    def make(*overrides: str, **changes: Any) -> Any:
        torch.manual_seed(0)
        model = built(conf(*overrides) | changes, shape=shape())
        torch.nn.init.normal_(model.network.imputer.denoiser.out_2.weight, std=0.3)
        return model

    return make
