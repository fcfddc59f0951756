"""Transfers made of arrays, without a model or a database."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from icu_lightning.evaluation.predictions import COLUMNS
from icu_lightning.transferring.kinship import Database, Kinship
from icu_lightning.transferring.result import Settings, Transfer, assess
from icu_lightning.transferring.variables import variable_table

N = 600


def scored(n: int = N, seed: int = 0, hospitals: int = 6, shift: float = 0.8) -> pl.DataFrame:
    """Predictions of n stays of n / 2 patients in a few hospitals; more die than the risks say, by `shift` logits."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-2, 1.2, n)
    none = pl.Series([None] * n, dtype=pl.String)
    risk = expit(x)
    columns = {
        "stay_id": np.arange(n),
        "patient_id": [f"p{i // 2}" for i in range(n)],
        "hospital_id": [f"h{i % hospitals}" for i in range(n)] if hospitals else none,
        "split": ["test"] * n,
        "fold": pl.Series([None] * n, dtype=pl.Int32),
        "label": (rng.random(n) < expit(x + shift)).astype(float),
        "risk_raw": risk,
        "risk": risk,
        "risk_sd": pl.Series([None] * n, dtype=pl.Float64),
        "threshold": [0.2] * n,
        "sex": ["female", "male"] * (n // 2),
        "age": rng.uniform(20, 90, n),
        "ethnicity": none,
        "unit_type": none,
        "insurance": none,
    }
    return pl.DataFrame(columns).select(COLUMNS)


def kinship(trained: str = "mimic4", target: str = "eicu", made_up: tuple[bool, bool] = (False, False)) -> Kinship:
    return Kinship(
        trained_on=Database(name=trained, synthetic=made_up[0]), target=Database(name=target, synthetic=made_up[1])
    )


@pytest.fixture(scope="session")
def make_transfer() -> Callable[..., Transfer]:
    """A function: changed settings, or `table`, `related`, `own`, `facts` -> a Transfer."""

    def make(**changes: Any) -> Transfer:
        table, related = changes.pop("table", scored()), changes.pop("related", kinship())
        own, facts = (
            changes.pop("own", None),
            changes.pop("facts", {"Model": "focal_lstm, seed 0", "Window": "48 h x 2"}),
        )
        defaults = {
            "k": [50, 100, 5000],
            "draws": 4,
            "judging": 0.5,
            "start": "risk",
            "smallest": 20,
            "bootstrap": 40,
            "seed": 0,
        }
        z, observed = np.zeros((3, 4, 2)), np.zeros((3, 4, 2), dtype=bool)
        observed[:, :, 0] = True
        return assess(
            related,
            Settings(**(defaults | changes)),
            table,
            own,
            outcome="died_in_hospital",
            variables=variable_table(["lactate", "map"], ["mmol/L", "mmHg"], z, observed, ["map"], {}),
            attrition=pl.DataFrame({"filter": "all stays", "stays": 9, "patients": 8, "deaths": 1, "removed_stays": 0}),
            cleaning=pl.DataFrame({"variable": ["lactate"], "cells": [12]}),
            open_data=True,
            facts=facts,
        )  # fmt: skip

    return make
