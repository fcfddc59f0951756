"""Made-up stays whose drugs rise and fall over the hours, and a tiny model of their shape."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch

from icu_lightning.batch import BatchShape, StayBatch, hours_since_last
from icu_lightning.build import built
from icu_lightning.data.loader import StayLoader
from icu_lightning.training.stages import StageTrainer, patient_keys
from tests.conftest import composed

HOURS = 12
SHAPE = BatchShape(HOURS, ("a",), ("age", "sex=male"), ("norepinephrine", "vis"), ("sofa", "saps2"))


def stays(n: int, seed: int = 0, left: bool = False) -> StayBatch:
    """n stays; who dies has more of the drug, and a higher SOFA. The z of no drug is -1. With `left`, some leave the unit early."""
    generator = torch.Generator().manual_seed(seed)
    label = (torch.arange(n) % 3 == 0).float()
    level = 1.5 * label.unsqueeze(1) + torch.randn(n, 1, generator=generator)
    walk = level + 0.5 * torch.randn(n, HOURS, generator=generator).cumsum(1)
    rate = walk.clamp(min=0) - 1.0
    last = torch.randint(1, HOURS + 1, (n, 1), generator=generator) if left else torch.full((n, 1), HOURS)
    in_icu = torch.arange(HOURS) < last
    known = (in_icu & (torch.rand(n, HOURS, generator=generator) < 0.9)).unsqueeze(2).expand(-1, -1, 2)
    vis = torch.where(known, torch.stack([rate, 0.8 * rate - 0.2], dim=2), 0.0)
    severity = torch.zeros(n, 5)
    severity[:, 0] = label + 0.3 * torch.randn(n, generator=generator)
    severity[:, 2] = label
    scored = torch.tensor([True, False, True, False, False]).expand(n, -1)
    return StayBatch(
        values=torch.zeros(n, HOURS, 1),
        observed=torch.zeros(n, HOURS, 1, dtype=torch.bool),
        held_out=torch.zeros(n, HOURS, 1, dtype=torch.bool),
        hours_since=hours_since_last(torch.zeros(n, HOURS, 1, dtype=torch.bool)),
        static=torch.randn(n, 2, generator=generator),
        in_icu=in_icu,
        label=label,
        died_in_hospital=label,
        died_in_icu=label,
        hospital_hours=torch.full((n,), 100.0),
        stay_id=np.arange(n) + 10_000 * seed,
        patient_id=np.array([f"p{i + 10_000 * seed}" for i in range(n)]),
        severity=severity,
        severity_observed=scored.clone(),
        vis=vis,
        vis_observed=known.clone(),
    )


class Stays(lightning.LightningDataModule):
    """Made-up stays as a data module."""

    shape, prior_odds = SHAPE, None

    def __init__(
        self, train: StayBatch | None = None, val: StayBatch | None = None, pretraining: "Stays | None" = None
    ) -> None:
        super().__init__()
        self.pretraining = pretraining
        self.train, self.val = stays(48, 1) if train is None else train, stays(24, 2) if val is None else val
        self.fitted: dict[str, Any] = {
            "vis_scaler": {"mean": [0.5, 0.5], "sd": [1.0, 1.0]},
            "usual_weight": {"male": 80.0},
            "static_encoder": {"features": ["age", "sex"]},
            "severity_scaler": {"mean": [5.0, 40.0], "sd": [2.0, 10.0]},
        }

    def state(self) -> dict[str, Any]:
        return self.fitted

    def train_dataloader(self) -> StayLoader:
        return StayLoader(self.train, 24, shuffle_seed=0)

    def val_dataloader(self) -> StayLoader:
        return StayLoader(self.val, 1024)


def trainer(
    folder: Any, max_epochs: int | None = 1, validation: StayBatch | None = None, test: StayBatch | None = None
) -> StageTrainer:
    """Of a run that validates and tests on these."""
    judges = {
        "validation": stays(24, 2) if validation is None else validation,
        "test": stays(24, 9) if test is None else test,
    }
    apart = {side: patient_keys(part.patient_id) for side, part in judges.items()}
    device = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "deterministic": True, "threads": 1}
    return StageTrainer(folder=folder, seed=0, max_epochs=max_epochs, apart=apart, **device)


@cache
def conf_of(*overrides: str) -> dict[str, Any]:
    return composed("model=teacher_student", "model/network=tiny", *overrides).plain["model"]


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """A function: overrides -> a fresh tiny model of SHAPE, or of another."""

    def make(*overrides: str, shape: BatchShape = SHAPE) -> Any:
        torch.manual_seed(0)
        return built(copy.deepcopy(conf_of(*overrides)), shape=shape)

    return make
