"""Made-up cohorts, small enough to be counted by hand or by plain Python."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.sources.base import STAYS

VARIABLES = ["heart_rate", "lactate", "temperature"]


def stays_frame(n: int, **columns) -> pl.DataFrame:
    """`n` stays with the columns of `sources.base.STAYS`, null unless given."""
    known = {"stay_id": list(range(n)), "patient_id": [f"p{i // 2}" for i in range(n)]} | columns
    return pl.DataFrame(
        {name: pl.Series(name, known.get(name, [None] * n), dtype=dtype) for name, dtype in STAYS.items()}
    )


@pytest.fixture
def concepts():
    return concepts_of(VARIABLES)


@pytest.fixture
def cohort():
    """120 stays and their values (B, 6, 3): nulls in every column, lactate rare, temperature never measured, stay 0 without events."""
    rng = np.random.default_rng(7)
    n = 120

    def some(values, share=0.9):
        return [v if rng.random() < share else None for v in values]

    stays = stays_frame(
        n,
        hospital_id=some([str(i % 3) for i in range(n)]),
        age=some(rng.normal(60, 15, n).tolist()),
        sex=some(rng.choice(["female", "male"], n).tolist()),
        ethnicity=some(rng.choice(["white", "black", "<script>alert(1)</script>"], n, p=[0.6, 0.25, 0.15]).tolist()),
        unit_type=some(rng.choice(["MICU", "SICU & more", "rare"], n, p=[0.5, 0.4, 0.1]).tolist()),
        los_hours=rng.uniform(24, 400, n).tolist(),
        died_in_hospital=(rng.random(n) < 0.3).tolist(),
    )
    values = rng.normal([80, 2, 37], [10, 1, 0.5], (n, 6, 3)).astype(np.float32)
    values[rng.random((n, 6, 3)) < 0.4] = np.nan
    values[rng.random(n) < 0.5, :, 1] = np.nan
    values[..., 2] = np.nan
    values[0] = np.nan
    return stays, values
