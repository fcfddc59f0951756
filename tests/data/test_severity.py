"""Every edge of every band of the five scores, written out again from the papers' tables, and the laws of the sums."""

from collections import defaultdict
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from icu_lightning.data import severity as module
from icu_lightning.data.severity import INPUTS, SCORES, lods, oasis, oasis_risk, saps2, saps2_risk, severity, sirs, sofa

SCORE = {"sofa": sofa, "lods": lods, "saps2": saps2, "oasis": oasis, "sirs": sirs}
HIGHEST = {"sofa": 24, "lods": 22, "saps2": 163, "oasis": 75, "sirs": 4}
MINUTE = 1 / 60  # h

# component, column, edge, and the points just below it, at it and just above it
EDGES = [
    ("sofa_respiration", "pf_ventilated_min", 100, 4, 3, 3),
    ("sofa_respiration", "pf_ventilated_min", 200, 3, 2, 2),
    ("sofa_respiration", "pf_ventilated_min", 300, 2, 1, 1),
    ("sofa_respiration", "pf_ventilated_min", 400, 1, 0, 0),
    ("sofa_respiration", "pf_unventilated_min", 300, 2, 1, 1),
    ("sofa_respiration", "pf_unventilated_min", 400, 1, 0, 0),
    ("sofa_coagulation", "platelets_min", 20, 4, 3, 3),
    ("sofa_coagulation", "platelets_min", 50, 3, 2, 2),
    ("sofa_coagulation", "platelets_min", 100, 2, 1, 1),
    ("sofa_coagulation", "platelets_min", 150, 1, 0, 0),
    ("sofa_liver", "bilirubin_max", 1.2, 0, 1, 1),
    ("sofa_liver", "bilirubin_max", 2.0, 1, 2, 2),
    ("sofa_liver", "bilirubin_max", 6.0, 2, 3, 3),
    ("sofa_liver", "bilirubin_max", 12.0, 3, 4, 4),
    ("sofa_cardiovascular", "map_min", 70, 1, 0, 0),
    ("sofa_cardiovascular", "dobutamine_max", 0, 0, 0, 2),
    ("sofa_cardiovascular", "dopamine_max", 0, 0, 0, 2),
    ("sofa_cardiovascular", "dopamine_max", 5, 2, 2, 3),
    ("sofa_cardiovascular", "dopamine_max", 15, 3, 3, 4),
    ("sofa_cardiovascular", "epinephrine_max", 0, 0, 0, 3),
    ("sofa_cardiovascular", "epinephrine_max", 0.1, 3, 3, 4),
    ("sofa_cardiovascular", "norepinephrine_max", 0, 0, 0, 3),
    ("sofa_cardiovascular", "norepinephrine_max", 0.1, 3, 3, 4),
    ("sofa_cns", "gcs_min", 6, 4, 3, 3),
    ("sofa_cns", "gcs_min", 10, 3, 2, 2),
    ("sofa_cns", "gcs_min", 13, 2, 1, 1),
    ("sofa_cns", "gcs_min", 15, 1, 0, 0),
    ("sofa_renal", "creatinine_max", 1.2, 0, 1, 1),
    ("sofa_renal", "creatinine_max", 2.0, 1, 2, 2),
    ("sofa_renal", "creatinine_max", 3.5, 2, 3, 3),
    ("sofa_renal", "creatinine_max", 5.0, 3, 4, 4),
    ("sofa_renal", "urine_24h", 200, 4, 3, 3),
    ("sofa_renal", "urine_24h", 500, 3, 0, 0),
    ("lods_neurologic", "gcs_min", 5, 5, 5, 3),
    ("lods_neurologic", "gcs_min", 8, 3, 3, 1),
    ("lods_neurologic", "gcs_min", 13, 1, 1, 0),
    ("lods_cardiovascular", "heart_rate_min", 30, 5, 0, 0),
    ("lods_cardiovascular", "heart_rate_max", 140, 0, 1, 1),
    ("lods_cardiovascular", "sbp_min", 40, 5, 3, 3),
    ("lods_cardiovascular", "sbp_min", 70, 3, 1, 1),
    ("lods_cardiovascular", "sbp_min", 90, 1, 0, 0),
    ("lods_cardiovascular", "sbp_max", 240, 0, 1, 1),
    ("lods_cardiovascular", "sbp_max", 270, 1, 3, 3),
    ("lods_renal", "bun_max", 17, 0, 1, 1),
    ("lods_renal", "bun_max", 28, 1, 3, 3),
    ("lods_renal", "bun_max", 56, 3, 5, 5),
    ("lods_renal", "creatinine_max", 1.2, 0, 1, 1),
    ("lods_renal", "creatinine_max", 1.6, 1, 3, 3),
    ("lods_renal", "urine_24h", 500, 5, 3, 3),
    ("lods_renal", "urine_24h", 750, 3, 0, 0),
    ("lods_renal", "urine_24h", 10_000, 0, 3, 3),
    ("lods_pulmonary", "pf_ventilated_min", 150, 3, 1, 1),
    ("lods_haematologic", "wbc_min", 1.0, 3, 1, 1),
    ("lods_haematologic", "wbc_min", 2.5, 1, 0, 0),
    ("lods_haematologic", "wbc_max", 50, 0, 1, 1),
    ("lods_haematologic", "platelets_min", 50, 1, 0, 0),
    ("lods_hepatic", "bilirubin_max", 2.0, 0, 1, 1),
    ("lods_hepatic", "pt_max", 15, 0, 0, 1),
    ("lods_hepatic", "pt_min", 3, 1, 0, 0),
    ("saps2_age", "age", 40, 0, 7, 7),
    ("saps2_age", "age", 60, 7, 12, 12),
    ("saps2_age", "age", 70, 12, 15, 15),
    ("saps2_age", "age", 75, 15, 16, 16),
    ("saps2_age", "age", 80, 16, 18, 18),
    ("saps2_heart_rate", "heart_rate_min", 40, 11, 2, 2),
    ("saps2_heart_rate", "heart_rate_min", 70, 2, 0, 0),
    ("saps2_heart_rate", "heart_rate_max", 120, 0, 4, 4),
    ("saps2_heart_rate", "heart_rate_max", 160, 4, 7, 7),
    ("saps2_sbp", "sbp_min", 70, 13, 5, 5),
    ("saps2_sbp", "sbp_min", 100, 5, 0, 0),
    ("saps2_sbp", "sbp_max", 200, 0, 2, 2),
    ("saps2_temperature", "temperature_max", 39.0, 0, 3, 3),
    ("saps2_respiration", "pf_ventilated_min", 100, 11, 9, 9),
    ("saps2_respiration", "pf_ventilated_min", 200, 9, 6, 6),
    ("saps2_urine", "urine_24h", 500, 11, 4, 4),
    ("saps2_urine", "urine_24h", 1000, 4, 0, 0),
    ("saps2_bun", "bun_max", 28, 0, 6, 6),
    ("saps2_bun", "bun_max", 84, 6, 10, 10),
    ("saps2_wbc", "wbc_min", 1.0, 12, 0, 0),
    ("saps2_wbc", "wbc_max", 20, 0, 3, 3),
    ("saps2_potassium", "potassium_min", 3.0, 3, 0, 0),
    ("saps2_potassium", "potassium_max", 5.0, 0, 3, 3),
    ("saps2_sodium", "sodium_min", 125, 5, 0, 0),
    ("saps2_sodium", "sodium_max", 145, 0, 1, 1),
    ("saps2_bicarbonate", "bicarbonate_min", 15, 6, 3, 3),
    ("saps2_bicarbonate", "bicarbonate_min", 20, 3, 0, 0),
    ("saps2_bilirubin", "bilirubin_max", 4.0, 0, 4, 4),
    ("saps2_bilirubin", "bilirubin_max", 6.0, 4, 9, 9),
    ("saps2_gcs", "gcs_min", 6, 26, 13, 13),
    ("saps2_gcs", "gcs_min", 9, 13, 7, 7),
    ("saps2_gcs", "gcs_min", 11, 7, 5, 5),
    ("saps2_gcs", "gcs_min", 14, 5, 0, 0),
    ("oasis_pre_icu", "pre_icu_hours", 10.2 * MINUTE, 5, 3, 3),
    ("oasis_pre_icu", "pre_icu_hours", 297 * MINUTE, 3, 0, 0),
    ("oasis_pre_icu", "pre_icu_hours", 1440 * MINUTE, 0, 2, 2),
    ("oasis_pre_icu", "pre_icu_hours", 18_708 * MINUTE, 2, 1, 1),
    ("oasis_age", "age", 24, 0, 3, 3),
    ("oasis_age", "age", 53, 3, 3, 6),
    ("oasis_age", "age", 77, 6, 6, 9),
    ("oasis_age", "age", 90, 9, 7, 7),
    ("oasis_gcs", "gcs_min", 7, 10, 10, 4),
    ("oasis_gcs", "gcs_min", 14, 4, 3, 3),
    ("oasis_gcs", "gcs_min", 15, 3, 0, 0),
    ("oasis_heart_rate", "heart_rate_min", 33, 4, 0, 0),
    ("oasis_heart_rate", "heart_rate_max", 89, 0, 1, 1),
    ("oasis_heart_rate", "heart_rate_max", 107, 1, 3, 3),
    ("oasis_heart_rate", "heart_rate_max", 125, 3, 3, 6),
    ("oasis_map", "map_min", 20.65, 4, 3, 3),
    ("oasis_map", "map_min", 51, 3, 2, 2),
    ("oasis_map", "map_min", 61.33, 2, 0, 0),
    ("oasis_map", "map_max", 143.44, 0, 0, 3),
    ("oasis_respiratory_rate", "respiratory_rate_min", 6, 10, 1, 1),
    ("oasis_respiratory_rate", "respiratory_rate_min", 13, 1, 0, 0),
    ("oasis_respiratory_rate", "respiratory_rate_max", 22, 0, 0, 1),
    ("oasis_respiratory_rate", "respiratory_rate_max", 30, 1, 1, 6),
    ("oasis_respiratory_rate", "respiratory_rate_max", 44, 6, 6, 9),
    ("oasis_temperature", "temperature_min", 33.22, 3, 4, 4),
    ("oasis_temperature", "temperature_min", 35.93, 4, 4, 2),
    ("oasis_temperature", "temperature_min", 36.39, 2, 2, 0),
    ("oasis_temperature", "temperature_max", 33.22, 0, 4, 4),
    ("oasis_temperature", "temperature_max", 35.93, 4, 4, 0),
    ("oasis_temperature", "temperature_max", 36.89, 0, 2, 2),
    ("oasis_temperature", "temperature_max", 39.88, 2, 2, 6),
    ("oasis_urine", "urine_24h", 671.09, 10, 5, 5),
    ("oasis_urine", "urine_24h", 1426.99, 5, 5, 1),
    ("oasis_urine", "urine_24h", 2544.14, 1, 1, 0),
    ("oasis_urine", "urine_24h", 6896.8, 0, 0, 8),
    ("sirs_temperature", "temperature_min", 36, 1, 0, 0),
    ("sirs_temperature", "temperature_max", 38, 0, 0, 1),
    ("sirs_heart_rate", "heart_rate_max", 90, 0, 0, 1),
    ("sirs_respiration", "respiratory_rate_max", 20, 0, 0, 1),
    ("sirs_respiration", "paco2_min", 32, 1, 0, 0),
    ("sirs_white_cells", "wbc_min", 4, 1, 0, 0),
    ("sirs_white_cells", "wbc_max", 12, 0, 0, 1),
    ("sirs_white_cells", "bands_max", 10, 0, 0, 1),
]
# component, column, points of each of its values
KINDS = [
    ("saps2_chronic_disease", "aids", {True: 17, False: 0}),
    ("saps2_chronic_disease", "haematologic_malignancy", {True: 10, False: 0}),
    ("saps2_chronic_disease", "metastatic_cancer", {True: 9, False: 0}),
    ("saps2_admission", "admission_type", {"elective_surgery": 0, "medical": 6, "emergency_surgery": 8}),
    ("oasis_ventilation", "ventilated", {True: 9, False: 0}),
    ("oasis_surgery", "admission_type", {"elective_surgery": 0, "medical": 6, "emergency_surgery": 6}),
]
KIDNEYS = {"bun_max": 10.0, "creatinine_max": 0.8, "urine_24h": 2000.0}  # LODS: all three, or the component is null
STEPS = defaultdict(list)  # (component, column) -> its edges, ascending
for _component, _column, *_edge in EDGES:
    STEPS[_component, _column].append(_edge)
COLUMNS = defaultdict(list)  # component -> what it is made of
for _component, _column in [*STEPS, *(kind[:2] for kind in KINDS)]:
    COLUMNS[_component].append(_column)


def stays(*measured):
    """A table of worst values: one stay for each dictionary, everything else never measured."""
    rows = [dict.fromkeys(INPUTS) | {"stay_id": i} | dict(m) for i, m in enumerate(measured)]
    return pl.DataFrame(rows, infer_schema_length=None)


def scored(component, *measured):
    """Values of a component, or of a total, of stays."""
    return SCORE[component.split("_")[0]](stays(*measured))[component].to_list()


def alone(component, column, value):
    """What is measured when one value is to speak for its component."""
    return (KIDNEYS if component == "lods_renal" else {}) | {column: value}


def from_edges(component, column, value):
    """Points by the table above: an oracle that knows neither the package's bands nor how it looks them up."""
    points = None
    for edge, below, at, above in STEPS[component, column]:
        if points is None:
            points = below
        points = points if value < edge else at if value == edge else above
    return points


def random_stays(n, seed, missing=0.3):
    """Stays on and around every edge, with holes."""
    rng = np.random.default_rng(seed)
    choices = {column: [value for kind in KINDS if kind[1] == column for value in kind[2]] for _, column, _ in KINDS}
    for column in sorted({column for _, column in STEPS}):
        edges = [edge for (_, c), steps in STEPS.items() if c == column for edge, *_ in steps]
        choices[column] = [edge + shift for edge in edges for shift in (-0.004, 0.0, 0.004)]
    return [{c: v[rng.integers(len(v))] for c, v in choices.items() if rng.random() > missing} for _ in range(n)]


@pytest.mark.parametrize(("component", "column", "edge", "below", "at", "above"), EDGES)
def test_each_side_of_every_edge(component, column, edge, below, at, above):
    values = [edge - 1e-6, edge, edge + 1e-6]
    measured = [alone(component, column, value) for value in values]
    assert scored(component, *measured) == [below, at, above]
    assert scored(component.split("_")[0], *measured) == [below, at, above], "the others are missing and add 0"


@pytest.mark.parametrize(
    ("component", "column", "points"), KINDS, ids=lambda value: value if type(value) is str else ""
)
def test_each_kind_of_stay(component, column, points):
    assert scored(component, *({column: value} for value in points)) == list(points.values())


@pytest.mark.parametrize(("component", "column"), STEPS)
def test_between_two_edges_there_is_no_other_edge(component, column):
    steps = STEPS[component, column]
    for (low, *_, above), (high, below, *_) in pairwise(steps):
        assert low < high
        assert above == below
    lowest, highest = steps[0][0], steps[-1][0]
    values = np.linspace(lowest - abs(lowest) - 1, highest * 2 + 10, 2000).round(4)
    expected = [from_edges(component, column, value) for value in values]
    assert scored(component, *(alone(component, column, value) for value in values)) == expected


def test_the_table_of_edges_has_every_input_and_every_component():
    assert {column for columns in COLUMNS.values() for column in columns} == set(INPUTS)
    produced = {c for name in SCORES for c in SCORE[name](stays({})).columns} - {"stay_id", *SCORES}
    assert produced == set(COLUMNS)


@pytest.mark.parametrize("seed", [0, 7])  # 7 has a stay of which nothing that SIRS asks for was measured
def test_a_component_is_its_worst_column_and_a_total_their_sum(seed):
    made_up = random_stays(1000, seed)
    kinds = {(component, column): points for component, column, points in KINDS}
    for name in SCORES:
        table = SCORE[name](stays(*made_up)).to_dicts()
        for measured, row in zip(made_up, table, strict=True):
            total = 0
            for component in (c for c in COLUMNS if c.startswith(name)):
                columns = [c for c in COLUMNS[component] if c in measured]
                value = partial(from_edges, component)
                points = [
                    kinds[component, c][measured[c]] if (component, c) in kinds else value(c, measured[c])
                    for c in columns
                ]
                expected = max(points, default=None)
                if component == "lods_renal" and len(points) < 3:
                    expected = None
                if component in ("lods_pulmonary", "saps2_respiration") and not points:
                    expected = 0 if measured.get("ventilated") is False else None
                assert row[component] == expected, (component, measured)
                total += expected or 0
            measured_at_all = any(
                c in measured for component in COLUMNS if component.startswith(name) for c in COLUMNS[component]
            )
            assert row[name] == (total if measured_at_all else None)


WORST = {
    **{"age": 85, "pre_icu_hours": 0.1, "heart_rate_min": 25, "heart_rate_max": 170, "sbp_min": 35, "sbp_max": 280},
    **{"map_min": 20, "map_max": 150, "respiratory_rate_min": 5, "respiratory_rate_max": 50},
    **{"temperature_min": 33, "temperature_max": 40, "gcs_min": 3, "urine_24h": 100, "pf_ventilated_min": 60},
    **{"pf_unventilated_min": 60, "ventilated": True, "bilirubin_max": 20, "platelets_min": 10, "creatinine_max": 6},
    **{"bun_max": 90, "wbc_min": 0.5, "wbc_max": 60, "bands_max": 20, "potassium_min": 2, "potassium_max": 7},
    **{"sodium_min": 120, "sodium_max": 160, "bicarbonate_min": 10, "pt_min": 2, "pt_max": 40, "paco2_min": 25},
    **{"dopamine_max": 20, "dobutamine_max": 10, "epinephrine_max": 1, "norepinephrine_max": 1, "aids": True},
    **{"haematologic_malignancy": True, "metastatic_cancer": True, "admission_type": "emergency_surgery"},
}
WELL = {
    **{"age": 20, "pre_icu_hours": 10, "heart_rate_min": 72, "heart_rate_max": 80, "sbp_min": 115, "sbp_max": 125},
    **{"map_min": 80, "map_max": 90, "respiratory_rate_min": 14, "respiratory_rate_max": 18},
    **{"temperature_min": 36.5, "temperature_max": 36.8, "gcs_min": 15, "urine_24h": 3000, "pf_ventilated_min": None},
    **{"pf_unventilated_min": 450, "ventilated": False, "bilirubin_max": 0.5, "platelets_min": 250},
    **{"creatinine_max": 0.8, "bun_max": 6, "wbc_min": 6, "wbc_max": 8, "bands_max": 1, "potassium_min": 3.8},
    **{"potassium_max": 4.2, "sodium_min": 138, "sodium_max": 142, "bicarbonate_min": 24, "pt_min": 11, "pt_max": 13},
    **{"paco2_min": 38, "dopamine_max": 0, "dobutamine_max": 0, "epinephrine_max": 0, "norepinephrine_max": 0},
    **{"aids": False, "haematologic_malignancy": False, "metastatic_cancer": False},
    "admission_type": "elective_surgery",
}


def test_the_sickest_and_the_healthiest_stay():
    assert set(WORST) == set(WELL) == set(INPUTS)
    assert severity(stays(WORST, WELL)).drop("stay_id").to_dicts() == [HIGHEST, dict.fromkeys(SCORES, 0)]


def test_no_component_of_a_healthy_stay_is_null():
    for name in SCORES:
        assert set(SCORE[name](stays(WELL)).drop("stay_id").row(0)) == {0}, name


@pytest.mark.parametrize("name", SCORES)
def test_no_stay_is_worse_than_the_sickest_or_better_than_the_healthiest(name):
    totals = SCORE[name](stays(*random_stays(1000, seed=1, missing=0.05)))[name]
    assert totals.is_between(0, HIGHEST[name]).all()
    assert totals.n_unique() >= (3 if name == "sirs" else 10), "the stays differ"


@pytest.mark.parametrize("name", SCORES)
def test_a_score_depends_on_its_own_columns_and_on_no_others(name):
    own = {column for component, columns in COLUMNS.items() if component.startswith(name) for column in columns}
    if name in ("lods", "saps2"):
        own |= {"ventilated"}
    made_up = random_stays(300, seed=2)
    before = SCORE[name](stays(*made_up))
    for column in INPUTS:
        others = [m.get(column) for m in random_stays(300, seed=3)]
        changed = [m | {column: value} for m, value in zip(made_up, others, strict=True)]
        assert before.equals(SCORE[name](stays(*changed))) == (column not in own), column


@pytest.mark.parametrize(
    ("column", "direction"),
    [
        *((column, -1) for column in ("gcs_min", "platelets_min", "sbp_min", "map_min", "bicarbonate_min", "wbc_min")),
        *((column, -1) for column in ("pf_ventilated_min", "pf_unventilated_min", "heart_rate_min", "sodium_min")),
        *((column, -1) for column in ("respiratory_rate_min", "potassium_min", "paco2_min", "pt_min")),
        *(
            (column, 1)
            for column in ("bilirubin_max", "creatinine_max", "bun_max", "heart_rate_max", "sbp_max", "map_max")
        ),
        *((column, 1) for column in ("wbc_max", "bands_max", "potassium_max", "sodium_max", "pt_max")),
        *((column, 1) for column in ("respiratory_rate_max", "dopamine_max", "dobutamine_max")),
        *((column, 1) for column in ("epinephrine_max", "norepinephrine_max")),
    ],
)
def test_a_worse_value_never_lowers_a_score(column, direction):
    """Left out because it does not hold: age and temperature (OASIS), urine (polyuria), time before the ICU."""
    values = np.sort(direction * np.linspace(-1, 500, 300))
    rising = []
    for others in [WELL, *random_stays(3, seed=4, missing=0.5)]:
        totals = severity(stays(*(others | {column: direction * value} for value in values))).select(SCORES).to_numpy()
        assert (np.diff(totals, axis=0) >= 0).all()
        rising.append((np.diff(totals, axis=0) > 0).any())
    assert any(rising)


def test_nothing_measured_is_no_score():
    assert severity(stays({}, {})).select(SCORES).rows() == [(None,) * 5] * 2
    for name in SCORES:
        assert set(SCORE[name](stays({})).drop("stay_id").row(0)) == {None}


@pytest.mark.parametrize("name", SCORES)
def test_one_measured_input_makes_a_score(name):
    own = {column for component, columns in COLUMNS.items() if component.startswith(name) for column in columns}
    healthy = {column: 500 if column == "pf_ventilated_min" else WELL[column] for column in own}
    totals = scored(name, *({column: value} for column, value in healthy.items()))
    assert None not in totals
    others = [{column: value} for column, value in WORST.items() if column not in own | {"ventilated"}]
    assert scored(name, *others) == [None] * len(others)


def test_not_a_number_is_not_measured():
    nan = float("nan")
    assert scored("sofa", {"gcs_min": nan}, {"gcs_min": nan, "bilirubin_max": 3.0}) == [None, 2]


def test_lods_renal_wants_bun_creatinine_and_urine():
    dire = {"bun_max": 90.0, "creatinine_max": 6.0, "urine_24h": 100.0}
    partly = [{c: v for c, v in dire.items() if c != left_out} for left_out in dire]
    assert scored("lods_renal", dire, *partly) == [5, None, None, None]
    assert scored("lods", dire, *partly) == [5, 0, 0, 0]


def test_the_low_bun_edge_of_mimic_code_is_an_option_of_lods_alone():
    buns = [7.5 - 1e-6, 7.5, 16.9, 17, 28, 56]
    table = stays(*(KIDNEYS | {"bun_max": bun} for bun in buns))
    assert lods(table)["lods_renal"].to_list() == [0, 0, 0, 1, 3, 5]
    assert lods(table, bun_of_mimic_code=True)["lods_renal"].to_list() == [0, 1, 1, 1, 3, 5]
    default, option = severity(table), severity(table, bun_of_mimic_code=True)
    assert option["lods"].to_list() == [0, 1, 1, 1, 3, 5]
    assert option.drop("lods").equals(default.drop("lods"))


def test_unventilated_lungs_score_at_most_2_in_sofa_and_nothing_elsewhere():
    unventilated = {"ventilated": False, "pf_unventilated_min": 68.0}
    assert scored("sofa_respiration", unventilated, {"pf_unventilated_min": 68.0}) == [2, 2]
    assert scored("lods_pulmonary", unventilated) == [0]
    assert scored("saps2_respiration", unventilated) == [0]


def test_ventilated_and_unventilated_gases_are_scored_apart():
    """68 mmHg before intubation and 120 mmHg after it are 3 points, not 4."""
    both = {"ventilated": True, "pf_unventilated_min": 68.0, "pf_ventilated_min": 120.0}
    assert scored("sofa_respiration", both) == [3]
    assert scored("lods_pulmonary", both) == [3]
    assert scored("saps2_respiration", both) == [9]


def test_ventilated_without_a_gas_is_not_known():
    without = {"ventilated": True}
    assert scored("lods_pulmonary", without, {}) == [None, None]
    assert scored("saps2_respiration", without, {}) == [None, None]
    assert scored("oasis_ventilation", without, {}) == [9, None]


def test_a_stay_that_warmed_up_scores_the_worse_of_its_temperatures_in_oasis():
    cold, lukewarm = 33.0, 35.0  # 3 and 4 points
    ranges = [(cold, cold), (cold, lukewarm), (cold, 37.0), (lukewarm, 37.0), (cold, 39.9)]
    measured = [{"temperature_min": low, "temperature_max": high} for low, high in ranges]
    assert scored("oasis_temperature", *measured) == [3, 4, 3, 4, 6]


def test_one_of_several_chronic_diseases_counts():
    aids, blood, spread = "aids", "haematologic_malignancy", "metastatic_cancer"
    several = [
        {aids: True, blood: True, spread: True},
        {aids: None, blood: True, spread: True},
        {aids: False, blood: None},
    ]
    assert scored("saps2_chronic_disease", *several) == [17, 10, 0]


def test_a_converted_value_at_an_edge_is_at_the_edge():
    """PaO2 110 mmHg at FiO2 0.55, norepinephrine 4.23 ug/min in 42.3 kg, 10.2 min: a bit beside their edges as floats."""
    ratio, rate, wait = 110 / 0.55, 4.23 / 42.3, 10.2 / 60
    assert (ratio < 200, rate > 0.1, wait < 0.17) == (True, True, True)
    assert scored("sofa_respiration", {"pf_ventilated_min": ratio}) == [2]
    assert scored("sofa_cardiovascular", {"norepinephrine_max": rate}) == [3]
    assert scored("oasis_pre_icu", {"pre_icu_hours": wait}) == [3]


def test_rows_keep_their_order_and_keys_lazily_too():
    keys = [{"stay_id": stay, "hour": hour} for stay in (7, 3) for hour in (1, 0, 2)]
    table = stays(*(WORST | key for key in keys)).with_columns(pl.col("hour").cast(pl.Int32))
    for score in SCORE.values():
        eager = score(table)
        assert eager.select("stay_id", "hour").to_dicts() == keys
        assert isinstance(score(table.lazy()), pl.LazyFrame)
        assert score(table.lazy()).collect().equals(eager)
    totals = severity(table.lazy())
    assert totals.columns == ["stay_id", "hour", *SCORES]
    assert totals.equals(severity(table))
    assert set(totals.select(SCORES).dtypes) == {pl.Int32}
    for name in SCORES:
        assert totals[name].equals(SCORE[name](table)[name])


def test_a_table_needs_only_the_columns_of_its_score():
    columns = ["stay_id", *{column for component, c in COLUMNS.items() if component.startswith("sofa") for column in c}]
    assert sofa(stays(WORST).select(columns))["sofa"].to_list() == [24]
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="temperature_min"):
        sirs(stays(WORST).select(columns))


def test_an_unknown_admission_type_is_not_taken_for_a_medical_one():
    with pytest.raises(pl.exceptions.InvalidOperationError, match="URGENT"):
        oasis(stays({"admission_type": "URGENT"}))


def test_empty_tables_have_empty_scores():
    assert severity(stays(WORST).clear()).height == 0


def test_published_risks():
    """SAPS II of 40 and 52: 24.7 % and 50.7 %; OASIS: half of the stays with 6.1746 / 0.1275 points die."""
    points = pl.DataFrame({"saps2": [0, 40, 52, 163, None], "oasis": [0, 40, 48, 75, None]}, strict=False)
    saps2_risks = points.select(saps2_risk(pl.col("saps2")))["saps2"].to_list()
    assert saps2_risks[:4] == pytest.approx([0.000425, 0.2474, 0.507, 0.9997], rel=2e-3)
    assert oasis_risk(points["oasis"]).to_list()[:4] == pytest.approx([0.002077, 0.2544, 0.4864, 0.9673], rel=2e-3)
    assert saps2_risks[4] is None
    assert (np.diff(saps2_risk(pl.Series(range(164)))) > 0).all()
    assert (np.diff(oasis_risk(pl.Series(range(76)))) > 0).all()


def test_every_comparison_of_a_band_is_known():
    assert set(module.COMPARISONS) == {"<", "<=", ">", ">=", "is", "is not"}
