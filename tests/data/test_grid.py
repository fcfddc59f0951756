"""Events to hours: bins, preference, means and last values, whatever the order of the rows."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.cleaning import clean
from icu_lightning.data.concepts import all_concepts, concepts_of
from icu_lightning.data.grid import dense, derive, hourly_cells, preferred
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4

UNITS = {"sbp": "mmHg", "glucose": "mg/dL", "map": "mmHg", "dbp": "mmHg"}


def grid(
    rows: list[tuple[int, float, str, float, int, float | None]], variables: list[str], hours: int = 3
) -> np.ndarray:
    """Rows (stay, hours, variable, value, preference, revision) -> (B, T, V) of stays 1 and 2."""
    events = pl.LazyFrame(
        rows,
        schema={
            "stay_id": pl.Int64,
            "hours": pl.Float64,
            "variable": pl.String,
            "value": pl.Float64,
            "preference": pl.Int8,
            "revision": pl.Float64,
        },
        orient="row",
    )
    events = events.with_columns(
        unit=pl.col("variable").replace_strict(UNITS), wrong=False, stored=pl.lit(None, pl.Float64)
    )
    concepts = concepts_of(variables)
    return dense(
        preferred(hourly_cells(clean(events, concepts, hours), concepts, hours).collect(), concepts),
        [1, 2],
        variables,
        hours,
    )


def test_hours_are_half_open_and_a_stay_without_events_is_all_missing():
    values = grid(
        [(1, 0.0, "sbp", 100, 0, None), (1, 0.999, "sbp", 110, 0, None), (1, 1.0, "sbp", 120, 0, None)], ["sbp"]
    )
    assert values[0, :, 0].tolist()[:2] == [105, 120]
    assert np.isnan(values[0, 2, 0])
    assert np.isnan(values[1]).all()


def test_an_invasive_pressure_silences_the_cuff_of_its_hour_only():
    values = grid(
        [(1, 0.1, "sbp", 100, 0, None), (1, 0.2, "sbp", 140, 2, None), (1, 1.2, "sbp", 150, 2, None)], ["sbp"]
    )
    assert values[0, :2, 0].tolist() == [100, 150]


def test_an_implausible_invasive_pressure_does_not_silence_the_cuff():
    assert grid([(1, 0.1, "sbp", 999, 0, None), (1, 0.2, "sbp", 140, 2, None)], ["sbp"])[0, 0, 0] == 140


def test_a_laboratory_hour_holds_its_last_value_and_of_one_time_the_last_revision():
    rows = [
        (1, 0.5, "glucose", 90, 0, 0.9),
        (1, 0.7, "glucose", 200, 0, 0.8),
        (1, 0.7, "glucose", 180, 0, 2.9),
        (1, 0.7, "glucose", 170, 0, None),
        (1, 0.7, "glucose", 160, 0, 3.0),  # revised at the window's end: not known yet
    ]
    assert grid(rows, ["glucose"])[0, 0, 0] == 180


def test_the_order_of_rows_changes_no_bit():
    rng = np.random.default_rng(0)
    rows = [
        (1 + i % 2, float(rng.uniform(0, 3)), "sbp", round(float(rng.uniform(60, 200)), 1), int(i % 3), None)
        for i in range(3000)
    ]
    rows += [
        (1, float(rng.uniform(0, 3)), "glucose", round(float(rng.uniform(60, 200)), 1), 0, float(rng.integers(9)))
        for _ in range(500)
    ]
    first = grid(rows, ["sbp", "glucose"])
    for seed in range(3):
        shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
        assert np.array_equal(first, grid(shuffled, ["sbp", "glucose"]), equal_nan=True)


def test_mechanical_ventilation_is_an_invasive_one():
    values = np.array([[[np.nan, 2], [np.nan, 1], [np.nan, 0], [np.nan, np.nan], [1, 0]]], dtype=np.float32)
    assert derive(values, concepts_of(["mechanical_ventilation", "ventilation"])) == {"mechanical_ventilation": 3}
    assert np.array_equal(values[0, :, 0], np.array([1, 0, 0, np.nan, 1], dtype=np.float32), equal_nan=True)


def test_mean_pressure_is_derived_only_where_it_is_missing_and_both_others_are_there():
    values = np.array([[[np.nan, 120, 60], [70, 120, 60], [np.nan, 120, np.nan]]], dtype=np.float32)
    assert derive(values, concepts_of(["map", "sbp", "dbp"])) == {"map": 1}
    assert values[0, :, 0].tolist()[:2] == [pytest.approx(80), 70]
    assert np.isnan(values[0, 2, 0])


FALLBACK = 'fillcolor="0.0 0.3 1.0"];'  # how polars 2.1 draws a step that only the in-memory engine knows


def physical_plan(frame: pl.LazyFrame) -> str:
    return frame.show_graph(engine="streaming", plan_stage="physical", raw_output=True)


@pytest.mark.parametrize("database", [EICU, MIMIC3, MIMIC4], ids=lambda database: database.name)
def test_no_step_from_raw_events_to_hours_leaves_the_streaming_engine(database, real_root):
    """Or the memory of a run would grow with the rows of the raw tables. Needs the three demos."""
    source = database(real_root)
    concepts = [concept for concept in all_concepts().values() if source.name in concept.charted]
    cells = hourly_cells(clean(source.events(concepts), concepts, 24), concepts, 24)
    assert FALLBACK not in physical_plan(cells)
    assert FALLBACK in physical_plan(cells.with_columns(pl.col("variable").cast(pl.String).replace("sbp", None))), (
        "polars tells it otherwise"
    )
