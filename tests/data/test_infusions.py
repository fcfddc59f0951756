"""Infusions to standard rates: every unit, weight, cap and fault, each row counted once (METHODS C.1)."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.drugs import all_drugs, vis_drugs
from icu_lightning.data.infusions import KNOWN, RAN, STATUSES, clean_infusions, infusion_table, read_unit
from icu_lightning.data.sources.base import INFUSIONS

DRUGS = vis_drugs(extended=True)


def infusion(drug="norepinephrine", rate=0.1, unit="mcg/kg/min", **changes):
    said = {"stay_id": 1, "start_hours": 1.0, "end_hours": 2.0, "drug": drug, "rate": rate, "unit": unit}
    return said | {"per_ml": None, "weight_kg": None, "wrong": False, "typed": True} | changes


def cleaned(*rows, weight=80.0, hours=24, start=0.0):
    weights = pl.DataFrame(
        {"stay_id": [1], "weight_kg": [weight]}, schema={"stay_id": pl.Int64, "weight_kg": pl.Float64}
    )
    charted = pl.DataFrame(list(rows), schema=INFUSIONS).with_row_index("row")
    cleaned = clean_infusions(charted.drop("row"), DRUGS, weights, hours, start)
    assert cleaned.height == len(rows), "every row leaves with one status"
    return cleaned


def of(*arguments, weight=80.0, **changes):
    """(status, rate) of one infusion."""
    return cleaned(infusion(*arguments, **changes), weight=weight).select("status", "rate").row(0)


# Every text that METHODS C.1 or the demos have
UNITS = {
    "mcg/kg/min": ("ug", 1, True),
    "mcgkgmin": ("ug", 1, True),
    "µg/kg/min": ("ug", 1, True),
    "ug/kg/min": ("ug", 1, True),
    "mg/kg/min": ("ug", 1000, True),
    "mcg/kg/hr": ("ug", 1 / 60, True),
    "ng/kg/min": ("ug", 1 / 1000, True),
    "nanograms/kg/min": ("ug", 1 / 1000, True),
    "mcg/min": ("ug", 1, False),
    "mcgmin": ("ug", 1, False),
    "mcg/hr": ("ug", 1 / 60, False),
    "mg/min": ("ug", 1000, False),
    "mg/hr": ("ug", 1000 / 60, False),
    "units/min": ("U", 1, False),
    "Umin": ("U", 1, False),
    "Uhr": ("U", 1 / 60, False),
    "units/hour": ("U", 1 / 60, False),
    "units/hr": ("U", 1 / 60, False),
    "U/kg/min": ("U", 1, True),
    "ml/hr": ("mL", 1 / 60, False),
    "mL/kg/hr": ("mL", 1 / 60, True),
    " mcg / kg / min. ": ("ug", 1, True),
}


@pytest.mark.parametrize("text", UNITS)
def test_units_are_read(text):
    substance, factor, per_kg = read_unit(text)
    assert (substance, per_kg) == (UNITS[text][0], UNITS[text][2])
    assert factor == pytest.approx(UNITS[text][1], rel=1e-12)


@pytest.mark.parametrize(
    "text", [None, "", "unknown", "ml", "mg", "U", "mcg/kg", "bolus", "20-40", "mcg/m2/min", "%", "mmol/hr", "/min"]
)
def test_what_is_no_unit_of_a_rate_is_none(text):
    assert read_unit(text) is None


def test_vectors_of_methods():
    """Vasopressin 2.4 U/h at 80 kg is 0.0005 U/kg/min; norepinephrine 8 ug/min at 80 kg is 0.1 ug/kg/min."""
    assert of("vasopressin", 2.4, "units/hour") == ("converted", pytest.approx(0.0005, rel=1e-12))
    assert of("vasopressin", 0.04, "units/min") == ("converted", pytest.approx(0.0005, rel=1e-12))
    assert of("norepinephrine", 8, "mcg/min") == ("converted", pytest.approx(0.1, rel=1e-12))


@pytest.mark.parametrize(
    ("drug", "rate", "unit", "expected"),
    [
        ("dopamine", 5, "mcgkgmin", ("kept", 5)),
        ("milrinone", 0.5, "mcg/kg/min", ("kept", 0.5)),
        ("epinephrine", 0.0001, "mg/kg/min", ("converted", 0.1)),
        ("dopamine", 300, "mcg/kg/hr", ("converted", 5)),
        ("norepinephrine", 100, "ng/kg/min", ("converted", 0.1)),
        ("dobutamine", 24, "mg/hr", ("converted", 5)),
        ("vasopressin", 0.0003, "U/kg/min", ("kept", 0.0003)),
        ("vasopressin", 5, "mcg/min", ("unknown_unit", None)),  # no factor from ug to U
        ("norepinephrine", 5, "units/min", ("unknown_unit", None)),
        ("norepinephrine", 5, "ml/hr", ("unknown_unit", None)),  # of an unknown bag
        ("norepinephrine", 5, "ml", ("unknown_unit", None)),
        ("norepinephrine", 5, "", ("unknown_unit", None)),
        ("norepinephrine", 5, None, ("unknown_unit", None)),
        ("norepinephrine", None, "mcg/kg/min", ("non_numeric", None)),
        ("norepinephrine", None, None, ("non_numeric", None)),
        ("norepinephrine", None, "bolus", ("not_a_rate", None)),
        ("norepinephrine", 0, "mcg/kg/min", ("kept", 0)),
        ("norepinephrine", -0.1, "mcg/kg/min", ("out_of_range", None)),
        ("norepinephrine", -5, "mcg/min", ("out_of_range", None)),
    ],
)
def test_rates(drug, rate, unit, expected):
    status, value = of(drug, rate, unit)
    assert (status, value) == (expected[0], None if expected[1] is None else pytest.approx(expected[1], rel=1e-12))


@pytest.mark.parametrize("unit", ["", None, "ml/hr", "ml", "unknown"])
def test_zero_is_zero_in_any_unit(unit):
    assert of("vasopressin", 0, unit) == ("kept", 0)


def test_volumes_need_the_bag():
    """10 mL/h of 32 ug/mL at 80 kg: 320 ug/h, 5.33 ug/min, 0.0667 ug/kg/min."""
    assert of("norepinephrine", 10, "ml/hr", per_ml=32.0) == ("converted", pytest.approx(10 * 32 / 60 / 80, rel=1e-12))
    assert of("vasopressin", 12, "ml/hr", per_ml=0.2) == ("converted", pytest.approx(0.0005, rel=1e-12))
    assert of("norepinephrine", 0.125, "ml/kg/hr", per_ml=32.0)[1] == pytest.approx(0.125 * 32 / 60, rel=1e-12)
    assert of("norepinephrine", 0.1, "mcg/kg/min", per_ml=32.0) == ("kept", 0.1)


@pytest.mark.parametrize(
    ("row", "stay", "status", "used"),
    [
        (50.0, 100.0, "converted", 50),  # the row's own
        (None, 100.0, "converted", 100),  # the stay's
        (None, None, "assumed_weight", 80),
        (1.0, 100.0, "converted", 100),
        (1.0, None, "assumed_weight", 80),
        (24.9, 100.0, "converted", 100),
        (25.0, 100.0, "converted", 25),
        (350.0, 100.0, "converted", 350),
        (350.1, 100.0, "converted", 100),
        (None, 24.9, "assumed_weight", 80),
        (None, 350.0, "converted", 350),
        (None, 400.0, "assumed_weight", 80),
        (0.0, None, "assumed_weight", 80),
    ],
)
def test_weights(row, stay, status, used):
    got = of("norepinephrine", 8, "mcg/min", weight_kg=row, weight=stay)
    assert got == (status, pytest.approx(8 / used, rel=1e-12))


def test_a_rate_per_kg_needs_no_weight():
    for weight in (None, 1.0, 400.0):
        assert of("norepinephrine", 0.1, "mcg/kg/min", weight_kg=weight, weight=None) == ("kept", 0.1)


def test_a_weight_of_1_makes_mg_ug_and_nothing_else():
    """METHODS C.1: two rows of MIMIC-IV are in mg/kg/min with a weight of 1: ug; otherwise x 1000."""
    assert of("norepinephrine", 0.3, "mg/kg/min", weight_kg=1.0) == ("converted", 0.3)
    assert of("norepinephrine", 0.0003, "mg/kg/min", weight_kg=70.0) == ("converted", pytest.approx(0.3, rel=1e-12))
    assert of("norepinephrine", 0.3, "mg/kg/min", weight_kg=70.0) == ("out_of_range", None)
    assert of("norepinephrine", 0.3, "mcg/kg/min", weight_kg=1.0) == ("kept", 0.3)
    assert of("milrinone", 0.03, "mg/kg/hr", weight_kg=1.0) == ("converted", pytest.approx(0.5, rel=1e-12))


@pytest.mark.parametrize("drug", DRUGS, ids=lambda drug: drug.name)
@pytest.mark.parametrize("typed", [True, False])
def test_the_cap_itself_is_plausible_and_what_is_above_is_not(drug, typed):
    top, above = drug.highest, drug.highest * 1.001
    usual = {"weight_kg": 80.0, "typed": False}
    assert of(drug.name, top, drug.limit_unit, **usual)[0] in ("kept", "converted")
    assert of(drug.name, above, drug.limit_unit, **usual) == ("out_of_range", None)
    if drug.name == "vasopressin":
        assert of(drug.name, top / 60, "units/min", weight_kg=80.0, typed=typed)[0] == "converted", "0.1 U/min is 6 U/h"
    else:
        assert of(drug.name, top * 80, "mcg/min", weight_kg=80.0, typed=typed)[0] == "converted"
        assert of(drug.name, above * 80, "mcg/min", weight_kg=80.0, typed=typed) == ("out_of_range", None)


@pytest.mark.parametrize(
    ("drug", "rate", "unit", "expected"),
    [
        ("norepinephrine", 3.0, "mcgkgmin", ("kept", 3.0)),
        ("norepinephrine", 3.01, "mcgkgmin", ("repaired", 3.01 / 80)),
        ("norepinephrine", 240.0, "mcgkgmin", ("repaired", 3.0)),
        ("norepinephrine", 241.0, "mcgkgmin", ("out_of_range", None)),
        ("norepinephrine", 0.15, "mg/kg/min", ("out_of_range", None)),  # only a rate in ug/kg/min lacks its weight
        ("norepinephrine", 30.0, "mg/hr", ("out_of_range", None)),
        ("vasopressin", 0.1, "Umin", ("converted", 0.1 / 80)),
        ("vasopressin", 0.11, "Umin", ("out_of_range", None)),  # neither U/min nor U/h
        ("vasopressin", 0.59, "Umin", ("out_of_range", None)),
        ("vasopressin", 0.6, "Umin", ("repaired", 0.6 / 60 / 80)),
        ("vasopressin", 1.2, "Umin", ("repaired", 1.2 / 60 / 80)),
        ("vasopressin", 6.0, "Umin", ("repaired", 6.0 / 60 / 80)),
        ("vasopressin", 6.01, "Umin", ("out_of_range", None)),
        ("vasopressin", 2.4, "U/kg/min", ("out_of_range", None)),
        ("vasopressin", 6.01, "Uhr", ("out_of_range", None)),
    ],
)
def test_misread_units_are_repaired_within_their_edges(drug, rate, unit, expected):
    status, value = of(drug, rate, unit)
    assert (status, value) == (expected[0], None if expected[1] is None else pytest.approx(expected[1], rel=1e-12))
    if expected[0] == "repaired":
        assert of(drug, rate, unit, typed=False) == ("out_of_range", None), "a computed rate is not misread"
        assert of(drug, rate, unit, typed=None) == ("out_of_range", None)


def test_a_volume_is_never_a_misread_dose():
    assert of("norepinephrine", 900, "ml/hr", per_ml=32.0, weight_kg=80.0) == ("out_of_range", None)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (1.0, 2.0, ("kept", 1.0, 2.0)),
        (-3.0, 2.0, ("kept", 0.0, 2.0)),
        (20.0, 30.0, ("kept", 20.0, 24.0)),
        (-5.0, 99.0, ("kept", 0.0, 24.0)),
        (-3.0, 0.0, ("outside_window", None, None)),
        (24.0, 25.0, ("outside_window", None, None)),
        (-70_000.0, -69_999.0, ("outside_window", None, None)),  # eight years off
        (5.0, 5.0, ("kept", 5.0, 5.0)),
        (5.0, 4.9, ("no_time", None, None)),
        (None, 5.0, ("no_time", None, None)),
        (5.0, None, ("no_time", None, None)),
    ],
)
def test_windows(start, end, expected):
    got = cleaned(infusion(start_hours=start, end_hours=end)).row(0, named=True)
    assert got["status"] == expected[0]
    if expected[0] == "kept":
        assert (got["start_hours"], got["end_hours"]) == expected[1:]
        assert got["charted_end_hours"] == end
    else:
        assert got["rate"] is None


def test_a_window_may_begin_before_admission():
    got = cleaned(infusion(start_hours=-3.0), start=-2.0).row(0, named=True)
    assert (got["status"], got["start_hours"]) == ("kept", -2.0)


def test_rewritten_rows_and_rows_of_no_stay_have_no_rate():
    assert of(wrong=True) == ("entered_in_error", None)
    assert of(wrong=None) == ("kept", 0.1)
    assert of(stay_id=None) == ("no_stay", None)
    assert of(stay_id=2) == ("kept", 0.1), "a stay without a row of weights is one without a weight"


def random_rows(n, seed=0):
    rng = np.random.default_rng(seed)

    def one(*choices):
        return choices[rng.integers(len(choices))]

    return [
        infusion(
            drug=one(*(drug.name for drug in DRUGS)),
            rate=one(None, 0.0, -1.0, 0.05, 0.2, 2.0, 8.0, 400.0),
            unit=one(*UNITS, None, "", "bolus", "unknown"),
            start_hours=one(None, -5.0, 0.5, 3.0, 30.0),
            end_hours=one(None, -1.0, 4.0, 26.0, 40.0),
            per_ml=one(None, 32.0, 0.2),
            weight_kg=one(None, 1.0, 70.0, 500.0),
            stay_id=one(None, 1, 1, 1, 2),
            wrong=one(False, False, False, True),
            typed=one(True, False),
        )
        for _ in range(n)
    ]


def test_every_row_is_counted_once_and_every_rate_known_is_plausible():
    rows = random_rows(5000)
    got = cleaned(*rows)
    table = infusion_table(got, [drug.name for drug in DRUGS])
    assert table.select(pl.sum_horizontal(STATUSES).sum()).item() == len(rows)
    assert (table.select(pl.col(STATUSES).sum()).row(0) > np.zeros(len(STATUSES))).all(), "every status is seen"
    for drug in DRUGS:
        per_drug = [row for row in rows if row["drug"] == drug.name]
        assert sum(table.filter(pl.col("variable") == drug.name).select(STATUSES).row(0)) == len(per_drug)
    known = pl.col("status").cast(pl.String).is_in(KNOWN)
    assert got.filter(known)["rate"].null_count() == 0
    assert got.filter(~known)["rate"].count() == 0
    most = {drug.name: drug.highest / (60 * 25 if drug.name == "vasopressin" else 1) for drug in DRUGS}
    top = pl.col("drug").replace_strict(most, return_dtype=pl.Float64)
    assert got.filter(known).select(pl.col("rate").is_between(0, top * (1 + 1e-9)).all()).item()


def test_the_order_of_rows_changes_nothing():
    rows = random_rows(500, seed=1)
    first, other = cleaned(*rows).sort(pl.all()), cleaned(*reversed(rows)).sort(pl.all())
    assert first.equals(other)


def test_the_table_has_a_row_a_drug_and_the_latest_start_of_what_ran():
    rows = [
        infusion(start_hours=h, end_hours=h + 1, unit=u) for h, u in ((1.0, "mcg/kg/min"), (5.0, "?"), (7.0, "bolus"))
    ]
    rows[2]["rate"] = None
    table = infusion_table(cleaned(*rows), ["dopamine", "norepinephrine"])
    assert table["variable"].to_list() == ["dopamine", "norepinephrine"]
    assert table["latest_hours"].to_list() == [None, 5.0]
    assert table.select("kept", "unknown_unit", "not_a_rate").rows() == [(0, 0, 0), (1, 1, 1)]
    assert set(KNOWN) < set(RAN) < set(STATUSES)


def test_nothing_charted_is_no_row():
    empty = pl.DataFrame(schema=INFUSIONS)
    weights = pl.DataFrame(schema={"stay_id": pl.Int64, "weight_kg": pl.Float64})
    got = clean_infusions(empty, DRUGS, weights, 24)
    assert got.height == 0
    assert infusion_table(got, list(all_drugs())).select(pl.sum_horizontal(STATUSES).sum()).item() == 0
