"""Severity of illness: the points of SOFA, LODS, SAPS II, OASIS and SIRS from one table of worst values.

A score is a sum of components. A component looks its worst values up in the bands of its paper, column by column, and
the worse column counts. A component without a measured value is null and adds 0 points, as in mimic-code; a score none
of whose inputs was measured is null. `False` and a rate of 0 are measurements too: a caller gives null where nobody
could have charted otherwise. Which hours, which blood gas and which GCS make the worst value is the caller's part.

Bands, their edges and missing rules are those of METHODS C.3; `# Deviation:` marks what differs.

References:
    The SOFA (Sepsis-related Organ Failure Assessment) score to describe organ dysfunction/failure (Vincent, Moreno,
        Takala, Willatts, De Mendonça, Bruining, Reinhart, Suter, Thijs, 1996)
    The Logistic Organ Dysfunction system: a new way to assess organ dysfunction in the intensive care unit (Le Gall,
        Klar, Lemeshow, Saulnier, Alberti, Artigas, Teres, 1996)
    A new Simplified Acute Physiology Score (SAPS II) based on a European/North American multicenter study (Le Gall,
        Lemeshow, Saulnier, 1993)
    A new severity of illness scale using a subset of Acute Physiology and Chronic Health Evaluation data elements shows
        comparable predictive accuracy (Johnson, Kramer, Clifford, 2013): OASIS
    Definitions for sepsis and organ failure and guidelines for the use of innovative therapies in sepsis (Bone, Balk,
        Cerra, Dellinger, Fein, Knaus, Schein, Sibbald, 1992): SIRS
    The MIMIC Code Repository: enabling reproducibility in critical care research (Johnson, Stone, Celi, Pollard, 2018)
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import polars as pl

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)
Column = TypeVar("Column", pl.Expr, pl.Series)

SCORES = ("sofa", "lods", "saps2", "oasis", "sirs")

ADMISSION_TYPES = ("elective_surgery", "emergency_surgery", "medical")
FLAGS = ("ventilated", "aids", "haematologic_malignancy", "metastatic_cancer")  # ventilated: invasively, or CPAP
UNITS = {
    "age": "years",
    "pre_icu_hours": "h",  # from admission to the hospital to admission to the ICU
    **dict.fromkeys(("heart_rate_min", "heart_rate_max", "respiratory_rate_min", "respiratory_rate_max"), "1/min"),
    **dict.fromkeys(("sbp_min", "sbp_max", "map_min", "map_max"), "mmHg"),
    **dict.fromkeys(("temperature_min", "temperature_max"), "degC"),
    "gcs_min": "3-15",  # of an intubated patient: 15, unless known
    "urine_24h": "mL",
    "pf_ventilated_min": "mmHg",  # PaO2 / FiO2 (a fraction) of arterial blood while ventilated
    "pf_unventilated_min": "mmHg",
    "paco2_min": "mmHg",
    **dict.fromkeys(("bilirubin_max", "creatinine_max", "bun_max"), "mg/dL"),
    **dict.fromkeys(("platelets_min", "wbc_min", "wbc_max"), "1000/uL"),
    "bands_max": "%",  # immature neutrophils
    **dict.fromkeys(("potassium_min", "potassium_max", "sodium_min", "sodium_max", "bicarbonate_min"), "mmol/L"),
    **dict.fromkeys(("pt_min", "pt_max"), "s"),
    **dict.fromkeys(("dopamine_max", "dobutamine_max", "epinephrine_max", "norepinephrine_max"), "ug/kg/min"),
}
INPUTS = (*UNITS, *FLAGS, "admission_type")

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "is": operator.eq,
    "is not": operator.ne,
}
Band = tuple[str, float | bool | str, int]  # comparison, edge, points


def points(column: str, *bands: Band) -> pl.Expr:
    """Points of the first band that holds; 0 where none does, null where `column` is null.

    >>> pl.DataFrame({"gcs_min": [5.0, 6.0, 15.0, None]}).select(points("gcs_min", ("<", 6, 4), ("<", 10, 3))).rows()
    [(4,), (3,), (0,), (None,)]
    """
    value = pl.col(column)
    scored = [pl.when(COMPARISONS[how](value, edge)).then(pl.lit(n, pl.Int32)) for how, edge, n in bands]
    return pl.coalesce(*scored, pl.when(value.is_not_null()).then(pl.lit(0, pl.Int32))).alias(column)


def worst(*columns: pl.Expr) -> pl.Expr:
    """The most points of several columns; null where all of them are null."""
    return pl.max_horizontal(*columns)


def _measured(component: pl.Expr) -> list[pl.Expr]:
    return [pl.col(column).is_not_null() for column in sorted(set(component.meta.root_names()))]


def if_all_measured(component: pl.Expr) -> pl.Expr:
    """The component, null unless every one of its columns was measured."""
    return pl.when(pl.all_horizontal(_measured(component))).then(component)


def if_ventilated(component: pl.Expr) -> pl.Expr:
    """The component of a P/F under ventilation: 0 where nobody ventilated, null where no gas was taken meanwhile."""
    never = pl.col("pf_ventilated_min").is_null() & pl.col("ventilated").not_()
    return pl.when(never).then(pl.lit(0, pl.Int32)).otherwise(component)


SOFA = {
    # Whoever calls gives pf_ventilated_min under invasive ventilation alone, as METHODS and mimic-code ask; the paper says
    # "with respiratory support".
    "respiration": worst(
        points("pf_ventilated_min", ("<", 100, 4), ("<", 200, 3), ("<", 300, 2), ("<", 400, 1)),
        points("pf_unventilated_min", ("<", 300, 2), ("<", 400, 1)),
    ),
    "coagulation": points("platelets_min", ("<", 20, 4), ("<", 50, 3), ("<", 100, 2), ("<", 150, 1)),
    "liver": points("bilirubin_max", (">=", 12.0, 4), (">=", 6.0, 3), (">=", 2.0, 2), (">=", 1.2, 1)),
    # Deviation: a rate of 0 scores nothing; mimic-code's "<= 0.1" would give 3 points to a pump that stands still.
    "cardiovascular": worst(
        points("map_min", ("<", 70, 1)),
        points("dobutamine_max", (">", 0, 2)),
        points("dopamine_max", (">", 15, 4), (">", 5, 3), (">", 0, 2)),
        points("epinephrine_max", (">", 0.1, 4), (">", 0, 3)),
        points("norepinephrine_max", (">", 0.1, 4), (">", 0, 3)),
    ),
    "cns": points("gcs_min", ("<", 6, 4), ("<", 10, 3), ("<", 13, 2), ("<", 15, 1)),
    "renal": worst(
        points("creatinine_max", (">=", 5.0, 4), (">=", 3.5, 3), (">=", 2.0, 2), (">=", 1.2, 1)),
        points("urine_24h", ("<", 200, 4), ("<", 500, 3)),
    ),
}


def _lods_renal(*below_the_paper: Band) -> pl.Expr:
    """LODS renal, with further bands of BUN below the paper's own."""
    return if_all_measured(
        worst(
            points("bun_max", (">=", 56, 5), (">=", 28, 3), (">=", 17, 1), *below_the_paper),
            points("creatinine_max", (">=", 1.6, 3), (">=", 1.2, 1)),
            points("urine_24h", ("<", 500, 5), ("<", 750, 3), (">=", 10_000, 3)),
        )
    )


LODS = {
    "neurologic": points("gcs_min", ("<=", 5, 5), ("<=", 8, 3), ("<=", 13, 1)),
    "cardiovascular": worst(
        points("heart_rate_min", ("<", 30, 5)),
        points("heart_rate_max", (">=", 140, 1)),
        points("sbp_min", ("<", 40, 5), ("<", 70, 3), ("<", 90, 1)),
        points("sbp_max", (">=", 270, 3), (">=", 240, 1)),
    ),
    # Deviation: mimic-code also gives 1 point from 7.5 mg/dL of BUN, which looks like the limit in mmol/L.
    "renal": _lods_renal(),
    "pulmonary": if_ventilated(points("pf_ventilated_min", ("<", 150, 3), (">=", 150, 1))),
    "haematologic": worst(
        points("wbc_min", ("<", 1.0, 3), ("<", 2.5, 1)),
        points("wbc_max", (">=", 50, 1)),
        points("platelets_min", ("<", 50, 1)),
    ),
    # Of a standard PT of 12 s. Deviation: the paper's other limit is a prothrombin activity below 25 % of the standard;
    # METHODS and mimic-code read it as a quarter of the standard time.
    "hepatic": worst(
        points("bilirubin_max", (">=", 2.0, 1)), points("pt_max", (">", 12 + 3, 1)), points("pt_min", ("<", 12 / 4, 1))
    ),
}
# Deviation: mimic-code's edge of BUN, kept for comparison with its tables.
LODS_OF_MIMIC_CODE = LODS | {"renal": _lods_renal((">=", 7.5, 1))}

SAPS2 = {
    "age": points("age", ("<", 40, 0), ("<", 60, 7), ("<", 70, 12), ("<", 75, 15), ("<", 80, 16), (">=", 80, 18)),
    "heart_rate": worst(
        points("heart_rate_min", ("<", 40, 11), ("<", 70, 2)), points("heart_rate_max", (">=", 160, 7), (">=", 120, 4))
    ),
    "sbp": worst(points("sbp_min", ("<", 70, 13), ("<", 100, 5)), points("sbp_max", (">=", 200, 2))),
    "temperature": points("temperature_max", (">=", 39.0, 3)),
    "respiration": if_ventilated(points("pf_ventilated_min", ("<", 100, 11), ("<", 200, 9), (">=", 200, 6))),
    "urine": points("urine_24h", ("<", 500, 11), ("<", 1000, 4)),
    "bun": points("bun_max", (">=", 84, 10), (">=", 28, 6)),
    "wbc": worst(points("wbc_min", ("<", 1.0, 12)), points("wbc_max", (">=", 20, 3))),
    "potassium": worst(points("potassium_min", ("<", 3.0, 3)), points("potassium_max", (">=", 5.0, 3))),
    "sodium": worst(points("sodium_min", ("<", 125, 5)), points("sodium_max", (">=", 145, 1))),
    "bicarbonate": points("bicarbonate_min", ("<", 15, 6), ("<", 20, 3)),
    "bilirubin": points("bilirubin_max", (">=", 6.0, 9), (">=", 4.0, 4)),
    "gcs": points("gcs_min", ("<", 6, 26), ("<", 9, 13), ("<", 11, 7), ("<", 14, 5)),
    "chronic_disease": worst(
        points("aids", ("is", True, 17)),
        points("haematologic_malignancy", ("is", True, 10)),
        points("metastatic_cancer", ("is", True, 9)),
    ),
    "admission": points("admission_type", ("is", "emergency_surgery", 8), ("is", "medical", 6)),
}

OASIS = {
    # In minutes, as METHODS has them: 10.2, 297, 1440, 18 708.
    "pre_icu": points("pre_icu_hours", ("<", 0.17, 5), ("<", 4.95, 3), ("<", 24, 0), ("<", 311.8, 2), (">=", 311.8, 1)),
    # Deviation: 9 points until the 90th birthday; mimic-code's "<= 89" gives none between 89 and 90, where MIMIC-III has ages.
    "age": points("age", ("<", 24, 0), ("<=", 53, 3), ("<=", 77, 6), ("<", 90, 9), (">=", 90, 7)),
    "gcs": points("gcs_min", ("<=", 7, 10), ("<", 14, 4), ("<", 15, 3)),
    # Deviation: 1 point also between 106 and 107, where mimic-code gives none: the bands are those of whole beats.
    "heart_rate": worst(
        points("heart_rate_min", ("<", 33, 4)), points("heart_rate_max", (">", 125, 6), (">=", 107, 3), (">=", 89, 1))
    ),
    "map": worst(
        points("map_min", ("<", 20.65, 4), ("<", 51, 3), ("<", 61.33, 2)), points("map_max", (">", 143.44, 3))
    ),
    "respiratory_rate": worst(
        points("respiratory_rate_min", ("<", 6, 10), ("<", 13, 1)),
        points("respiratory_rate_max", (">", 44, 9), (">", 30, 6), (">", 22, 1)),
    ),
    # The coldest band is worth less than the next one: a stay that warmed up from 33 to 35 degC scores 4, as in mimic-code.
    "temperature": worst(
        points("temperature_min", ("<", 33.22, 3), ("<=", 35.93, 4), ("<=", 36.39, 2)),
        points("temperature_max", (">", 39.88, 6), (">=", 36.89, 2), (">", 35.93, 0), (">=", 33.22, 4)),
    ),
    "urine": points("urine_24h", ("<", 671.09, 10), ("<=", 1426.99, 5), ("<=", 2544.14, 1), (">", 6896.8, 8)),
    "ventilation": points("ventilated", ("is", True, 9)),
    "surgery": points("admission_type", ("is not", "elective_surgery", 6)),
}

SIRS = {
    "temperature": worst(points("temperature_min", ("<", 36, 1)), points("temperature_max", (">", 38, 1))),
    "heart_rate": points("heart_rate_max", (">", 90, 1)),
    "respiration": worst(points("respiratory_rate_max", (">", 20, 1)), points("paco2_min", ("<", 32, 1))),
    "white_cells": worst(
        points("wbc_min", ("<", 4, 1)), points("wbc_max", (">", 12, 1)), points("bands_max", (">", 10, 1))
    ),
}


def sofa(frame: Frame) -> Frame:
    """SOFA, 0 to 24 (Vincent et al., 1996): keys, `sofa_<component>` and `sofa`, a row for each row of `frame`.

    The paper's renal urine band asks for a whole day: `urine_24h` is null where less was charted. Vasopressin,
    phenylephrine and milrinone score nothing.

    >>> nothing = dict.fromkeys(INPUTS)
    >>> stays = [{"stay_id": 1, "gcs_min": 9, "dopamine_max": 6}, {"stay_id": 2, "platelets_min": 100}, {"stay_id": 3}]
    >>> scored = sofa(pl.DataFrame([nothing | stay for stay in stays]))
    >>> scored.select("stay_id", "sofa_cns", "sofa_cardiovascular", "sofa_coagulation", "sofa").rows()
    [(1, 3, 3, None, 6), (2, None, None, 1, 1), (3, None, None, None, None)]
    """
    return _scored(frame, "sofa", SOFA)


def lods(frame: Frame, *, bun_of_mimic_code: bool = False) -> Frame:
    """LODS, 0 to 22 (Le Gall et al., 1996): keys, `lods_<component>` and `lods`, a row for each row of `frame`.

    The renal component is null, and adds 0, unless BUN, creatinine and urine were all measured.

    Arguments:
        bun_of_mimic_code: 1 point from 7.5 mg/dL of BUN, as mimic-code has it, not from the paper's 17.
    """
    return _scored(frame, "lods", LODS_OF_MIMIC_CODE if bun_of_mimic_code else LODS)


def saps2(frame: Frame) -> Frame:
    """SAPS II, 0 to 163 (Le Gall et al., 1993): keys, `saps2_<component>` and `saps2`, a row for each row of `frame`.

    Of several chronic diseases the one with most points counts.
    """
    return _scored(frame, "saps2", SAPS2)


def oasis(frame: Frame) -> Frame:
    """OASIS, 0 to 75 (Johnson et al., 2013): keys, `oasis_<component>` and `oasis`, a row for each row of `frame`."""
    return _scored(frame, "oasis", OASIS)


def sirs(frame: Frame) -> Frame:
    """SIRS criteria met, 0 to 4 (Bone et al., 1992): keys, `sirs_<component>` and `sirs`, a row for each row of `frame`."""
    return _scored(frame, "sirs", SIRS)


def severity(frame: pl.DataFrame | pl.LazyFrame, *, bun_of_mimic_code: bool = False) -> pl.DataFrame:
    """Keys and the five totals, named and ordered as SCORES, of one table of worst values; see the single scores.

    Scores with windows of their own need a table each.
    """
    components = {"sofa": SOFA, "lods": LODS, "saps2": SAPS2, "oasis": OASIS, "sirs": SIRS}
    if bun_of_mimic_code:
        components["lods"] = LODS_OF_MIMIC_CODE
    totals = {name: _total(components[name]) for name in SCORES}
    return _readable(frame.lazy()).select(*_keys(frame), **totals).collect()


def saps2_risk(points: Column) -> Column:
    """Risk of hospital death of a SAPS II, in (0, 1); null stays null (Le Gall et al., 1993)."""
    return _logistic(points * 0.0737 + points.log1p() * 0.9971 - 7.7631)


def oasis_risk(points: Column) -> Column:
    """Risk of hospital death of an OASIS, in (0, 1); null stays null (Johnson et al., 2013, as in mimic-code)."""
    return _logistic(points * 0.1275 - 6.1746)


def _logistic(logit: Column) -> Column:
    odds = logit.exp()
    return odds / (odds + 1)


def _scored(frame: Frame, name: str, components: Mapping[str, pl.Expr]) -> Frame:
    """Keys, one Int32 column a component, and the total.

    Raises ColumnNotFoundError for an input column that is not there (null throughout is fine), and
    InvalidOperationError for an admission type that is not in ADMISSION_TYPES.
    """
    named = {f"{name}_{component}": scored for component, scored in components.items()}
    return _readable(frame).select(*_keys(frame), **named, **{name: _total(components)})


def _total(components: Mapping[str, pl.Expr]) -> pl.Expr:
    """Sum of the components, null as 0; null where no column of any of them was measured."""
    measured = [column for component in components.values() for column in _measured(component)]
    return pl.when(pl.any_horizontal(measured)).then(pl.sum_horizontal(*components.values()))


def _keys(frame: pl.DataFrame | pl.LazyFrame) -> list[str]:
    return [column for column in frame.collect_schema().names() if column not in INPUTS]


def _readable(frame: Frame) -> Frame:
    """Inputs in their types, NaN as null, numbers to 1e-9: 110 mmHg at 55 % of oxygen are a P/F of 200, not a bit less."""
    there = frame.collect_schema().names()
    return frame.with_columns(
        pl.col([c for c in UNITS if c in there]).cast(pl.Float64).fill_nan(None).round(9),
        pl.col([c for c in FLAGS if c in there]).cast(pl.Boolean),
        pl.col([c for c in ("admission_type",) if c in there]).cast(pl.Enum(ADMISSION_TYPES)),
    )
