"""Made-up stays as tensors, and models of which the right attributions are known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from icu_lightning.batch import BatchShape, StayBatch, hours_since_last
from icu_lightning.explanation.game import Players
from icu_lightning.explanation.owen import OwenExplainer

SHAPE = BatchShape(
    hours=6,
    variables=("heart_rate", "lactate", "sodium"),
    static=("age", "sex=female", "sex=male", "sex=unknown", "unit_type=MICU", "unit_type=unknown"),
    vis=("norepinephrine", "vis"),
)


def made_up(n: int, seed: int, shape: BatchShape = SHAPE, share: float = 0.5) -> StayBatch:
    """Consistent stays: values 0 where not observed, one category each, rates unknown outside the unit."""
    g = torch.Generator().manual_seed(seed)
    size = (n, shape.hours, shape.n_variables)
    observed = torch.rand(size, generator=g) < share
    in_icu = torch.arange(shape.hours) < torch.randint(3, shape.hours + 1, (n, 1), generator=g)
    known = (torch.rand(n, shape.hours, len(shape.vis), generator=g) < 0.8) & in_icu.unsqueeze(2)
    sex, unit = (torch.nn.functional.one_hot(torch.randint(0, k, (n,), generator=g), k).float() for k in (3, 2))
    return StayBatch(
        values=torch.where(observed, torch.randn(size, generator=g), 0.0),
        observed=observed,
        held_out=torch.zeros_like(observed),
        hours_since=hours_since_last(observed),
        static=torch.cat([torch.randn(n, 1, generator=g), sex, unit], 1),
        in_icu=in_icu,
        label=(torch.rand(n, generator=g) < 0.3).float(),
        died_in_hospital=torch.zeros(n),
        died_in_icu=torch.zeros(n),
        hospital_hours=torch.full((n,), torch.nan),
        stay_id=np.arange(n) + 1000 * seed,
        patient_id=np.arange(n) // 2,
        severity=torch.zeros(n, 5),
        severity_observed=torch.zeros(n, 5, dtype=torch.bool),
        vis=torch.where(known, torch.randn(known.shape, generator=g), 0.0),
        vis_observed=known,
    )


@pytest.fixture
def stays() -> StayBatch:
    return made_up(6, seed=1)


@pytest.fixture
def background() -> StayBatch:
    return made_up(4, seed=2)


@pytest.fixture
def attributed(stays, background) -> Callable:
    """A function: a risk (StayBatch -> (B) tensor), and what differs from the fixtures -> shap's Explanation and the players."""

    def explain(risk, stays=stays, background=background, block=2, seed=0, shape=SHAPE, drugs="apart"):
        players = Players(shape, block, drugs)
        explainer = OwenExplainer(
            risk=lambda batch: risk(batch).double().numpy(),
            players=players,
            stays=stays,
            background=background,
            seed=seed,
        )
        explanation = explainer(np.arange(len(stays))[:, None], silent=True)
        return explanation, players

    return explain


def of(explanation, players, kind: str | None = None, feature: str | None = None) -> np.ndarray:
    """(n) attributions summed over the players of a kind and feature."""
    chosen = [
        i for i, p in enumerate(players.all) if kind in (None, p.kind) and (feature is None or p.feature == feature)
    ]
    return explanation.values[:, chosen].sum(1)
