"""The thirds of the draws' spread: whom they hold, and that they tell wide from wrong."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.evaluation.spread import THIRDS, of_spread


def stays(n: int = 900, noise_in_wide: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Exact risks whose spread says nothing about them; in the third with the widest spread they may be blurred."""
    rng = np.random.default_rng(seed)
    risk, spread = rng.uniform(0.05, 0.95, n), rng.random(n)
    label = (rng.random(n) < risk).astype(float)
    wide = spread >= np.quantile(spread, 2 / 3)
    told = np.where(wide & (rng.random(n) < noise_in_wide), rng.permutation(risk), risk)
    columns = {"patient_id": np.arange(n) // 2, "label": label, "risk": told, "risk_sd": spread}
    return pl.DataFrame({"stay_id": np.arange(n), **columns})


def test_every_stay_is_in_one_third_in_the_order_of_its_spread():
    found = of_spread(stays(), 10, 0)
    assert list(found) == list(THIRDS)
    assert [of["n"] for of in found.values()] == [300, 300, 300]
    assert sorted(of["risk_sd"] for of in found.values()) == [of["risk_sd"] for of in found.values()]
    assert sum(of["events"] for of in found.values()) == int(stays()["label"].sum())


def test_the_numbers_are_those_of_the_third():
    table = stays()
    third = table.sort("risk_sd").tail(300)
    found = of_spread(table, 0, 0)["wide"]
    assert found["brier"]["value"] == pytest.approx(((third["label"] - third["risk"]) ** 2).mean())
    assert found["brier_if_exact"]["value"] == pytest.approx((third["risk"] * (1 - third["risk"])).mean())


def test_exact_risks_are_as_wrong_as_they_say_and_blurred_ones_more():
    exact, blurred = of_spread(stays(9000), 200, 0), of_spread(stays(9000, noise_in_wide=0.8), 200, 0)
    for of in exact.values():
        assert of["brier"]["value"] == pytest.approx(of["brier_if_exact"]["value"], abs=0.01)
    assert blurred["wide"]["brier"]["low"] > blurred["wide"]["brier_if_exact"]["high"]
    assert blurred["narrow"]["brier"]["value"] == pytest.approx(blurred["narrow"]["brier_if_exact"]["value"], abs=0.01)


def test_a_model_with_one_draw_has_no_thirds():
    assert of_spread(stays().with_columns(risk_sd=pl.lit(None, pl.Float64)), 10, 0) is None
    assert of_spread(stays(2), 10, 0) is None


def test_a_third_of_one_outcome_has_no_auroc_and_the_rest():
    found = of_spread(stays().with_columns(label=pl.lit(0.0)), 10, 0)
    assert found["wide"]["auroc"]["value"] is None
    assert found["wide"]["brier"]["value"] > 0
