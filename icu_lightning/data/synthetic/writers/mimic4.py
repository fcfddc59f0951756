"""The tables of MIMIC-IV 2.2: folders hosp/ and icu/."""

import numpy as np
import polars as pl

from icu_lightning.data.synthetic.generate import Block
from icu_lightning.data.synthetic.people import ETHNICITY, INSURANCE, LANGUAGE, MARITAL, MINUTES_A_DAY, UNITS
from icu_lightning.data.synthetic.writers.columns import (
    TUBE,
    blank,
    clock,
    day,
    fahrenheit,
    laboratory_names,
    measurements,
    named,
    of_stay,
    of_variable,
    place,
    written,
)
from icu_lightning.data.synthetic.writers.mimic import ETHNICITIES, GCS_TEXTS, LAB_UNITS, LABS, intervals
from icu_lightning.data.synthetic.writers.mimic3 import BEDSIDE_UNITS, DRUGS_METAVISION, METAVISION

ENDING = ".csv.gz"
CARE_UNITS = (
    "Medical Intensive Care Unit (MICU)",
    "Surgical Intensive Care Unit (SICU)",
    "Coronary Care Unit (CCU)",
    "Trauma SICU (TSICU)",
)
INSURANCES = {"Medicare": "Medicare", "Medicaid": "Medicaid"}  # 2.2 calls everything else Other
OLDEST = 91  # what ages above 89 are stored as


def subject(block: Block) -> np.ndarray:
    return 10_000_000 + block.visits.patient


def admission(block: Block) -> np.ndarray:
    return 20_000_000 + 4 * block.visits.patient + block.visits.visit


def stay(block: Block) -> np.ndarray:
    return 30_000_000 + 4 * block.visits.patient + block.visits.visit


def patient_and_hospital(block: Block) -> tuple[pl.Series, pl.Series]:
    return pl.Series(subject(block)).cast(pl.String), pl.Series([None] * len(block), dtype=pl.String)


def tables(block: Block) -> dict[str, pl.DataFrame]:
    return {
        "hosp/patients": _patients(block),
        "hosp/admissions": _admissions(block),
        "icu/icustays": _icustays(block),
        "icu/chartevents": _chartevents(block),
        "hosp/labevents": _labevents(block),
        "icu/outputevents": _outputevents(block),
        "icu/inputevents": _inputevents(block),
        "hosp/microbiologyevents": _microbiologyevents(block),
        "hosp/prescriptions": _prescriptions(block),
        "hosp/diagnoses_icd": _diagnoses(block),
        "hosp/services": _services(block),
    }


def static() -> dict[str, pl.DataFrame]:
    items = pl.DataFrame(
        {"itemid": list(METAVISION.values()), "label": list(METAVISION), "abbreviation": list(METAVISION)}
    )
    labs = pl.DataFrame({"itemid": [*LABS.values(), 52033], "label": [*LABS, "Specimen Type"], "fluid": "Blood"})
    return {"icu/d_items": items, "hosp/d_labitems": labs}


def _ids(block: Block) -> dict[str, pl.Expr]:
    return {"subject_id": of_stay(subject(block)), "hadm_id": of_stay(admission(block))}


def _rows(block: Block) -> pl.DataFrame:
    return pl.DataFrame({"row": np.arange(len(block))})


def _since_epoch(block: Block, minute: pl.Expr) -> pl.Expr:
    return of_stay(block.visits.start) + minute


def _patients(block: Block) -> pl.DataFrame:
    visits = block.visits
    died = pl.DataFrame({"patient": visits.patient, "at": np.where(block.died, visits.start + block.left, -1)})
    last = died.select(pl.col("at").max().over("patient"))["at"]
    rows = _rows(block).with_columns(at=of_stay(last)).filter(pl.Series(visits.visit == 0))
    return rows.select(
        subject_id=of_stay(subject(block)),
        gender=of_stay(np.where(visits.male, "M", "F")),
        anchor_age=of_stay(np.where(visits.age > 89, OLDEST, visits.age)),
        anchor_year=day(of_stay(visits.start)).str.slice(0, 4),
        anchor_year_group=pl.lit("2011 - 2013"),
        dod=pl.when(pl.col("at") >= 0).then(day(pl.col("at").clip(0))),
    )


def _admissions(block: Block) -> pl.DataFrame:
    visits = block.visits
    left = visits.start + block.left
    rows = _rows(block).with_columns(died=of_stay(block.died))
    insurance = [INSURANCES.get(name, "Other") for name in INSURANCE]
    return rows.select(
        **_ids(block),
        admittime=clock(of_stay(visits.start - visits.before)),
        dischtime=clock(of_stay(left)),
        deathtime=pl.when("died").then(clock(of_stay(left))),
        admission_type=of_stay(np.where(visits.elective, "SURGICAL SAME DAY ADMISSION", "EW EMER.")),
        **blank("admit_provider_id", "admission_location"),
        discharge_location=pl.when("died").then(pl.lit("DIED")),
        insurance=of_stay(named(insurance, visits.insurance)),
        language=of_stay(named(["ENGLISH" if name == "ENGLISH" else "?" for name in LANGUAGE], visits.language)),
        marital_status=of_stay(named(list(MARITAL), visits.marital)),
        race=of_stay(named([ETHNICITIES[name] for name in ETHNICITY], visits.ethnicity)),
        **blank("edregtime", "edouttime"),
        hospital_expire_flag=pl.col("died").cast(pl.Int8),
    )


def _icustays(block: Block) -> pl.DataFrame:
    visits = block.visits
    unit = of_stay(named(CARE_UNITS, visits.unit))
    return _rows(block).select(
        **_ids(block),
        stay_id=of_stay(stay(block)),
        first_careunit=unit,
        last_careunit=unit,
        intime=clock(of_stay(visits.start)),
        outtime=clock(of_stay(visits.start + visits.length)),
        los=of_stay(visits.length / MINUTES_A_DAY),
    )


def _chartevents(block: Block) -> pl.DataFrame:
    rows = measurements(block, [name for name in METAVISION if name != "urine"])
    is_ = {name: pl.col("variable") == place(name) for name in ("temperature", "fio2", "ventilation", "gcs_verbal")}
    tube = is_["gcs_verbal"] & (pl.col("value") == TUBE)
    number = (
        pl.when(is_["temperature"])
        .then(fahrenheit(pl.col("value")))
        .when(is_["fio2"])
        .then((pl.col("value") * 100).round())
        .when(is_["ventilation"])
        .then(None)
        .when(tube)
        .then(1.0)
        .otherwise("value")
    )
    device = pl.when(pl.col("value") == 0).then(pl.lit("Nasal cannula")).otherwise(pl.lit("Endotracheal tube"))
    return rows.select(
        **_ids(block),
        stay_id=of_stay(stay(block)),
        caregiver_id=20_000 + of_stay(block.visits.patient) % 97,
        charttime=clock(_since_epoch(block, pl.col("minute"))),
        storetime=clock(_since_epoch(block, pl.col("minute") + 12)),
        itemid=of_variable(METAVISION),
        value=pl.when(is_["ventilation"])
        .then(device)
        .when(tube)
        .then(pl.lit(GCS_TEXTS["tube"]))
        .otherwise(written(number)),
        valuenum=number,
        valueuom=of_variable(BEDSIDE_UNITS),
        warning=pl.lit(0),
    )


def _labevents(block: Block) -> pl.DataFrame:
    rows = measurements(block, laboratory_names())
    gas = rows.filter(pl.col("variable").is_in([place(name) for name in ("pao2", "paco2", "ph")]))
    kinds = (
        gas.select("row", "minute")
        .unique()
        .with_columns(variable=pl.lit(None, pl.Int16), value=pl.lit(None, pl.Float64))
    )
    rows = pl.concat([rows, kinds.select(rows.columns)]).sort("row", "minute", "variable", nulls_last=False)
    numbered = rows.with_columns(n=pl.int_range(pl.len()).over("row"), draw=pl.col("minute").rank("dense").over("row"))
    at = clock(_since_epoch(block, pl.col("minute")))
    return numbered.select(
        labevent_id=of_stay(stay(block)) * 10_000 + pl.col("n"),
        **_ids(block),
        specimen_id=of_stay(stay(block)) * 1_000 + pl.col("draw"),
        itemid=of_variable(LABS).fill_null(52033),
        **blank("order_provider_id"),
        charttime=at,
        storetime=clock(_since_epoch(block, pl.col("minute") + 45)),
        value=written(pl.col("value")).fill_null("ART."),
        valuenum="value",
        valueuom=of_variable(LAB_UNITS),
        **blank("ref_range_lower", "ref_range_upper", "flag", "priority", "comments"),
    )


def _outputevents(block: Block) -> pl.DataFrame:
    return measurements(block, ["urine"]).select(
        **_ids(block),
        stay_id=of_stay(stay(block)),
        **blank("caregiver_id"),
        charttime=clock(_since_epoch(block, pl.col("minute"))),
        storetime=clock(_since_epoch(block, pl.col("minute") + 12)),
        itemid=pl.lit(METAVISION["urine"]),
        value="value",
        valueuom=pl.lit("ml"),
    )


def _inputevents(block: Block) -> pl.DataFrame:
    first = {**_ids(block), "stay_id": of_stay(stay(block))}
    return intervals(block.infusions, block, DRUGS_METAVISION, first, "stay_id")


def _coded(block: Block, kind: str) -> pl.DataFrame:
    rows = block.coded.filter(pl.col("kind") == kind)
    return rows.with_columns(n=pl.int_range(pl.len()).over("row"))


def _microbiologyevents(block: Block) -> pl.DataFrame:
    at = _since_epoch(block, pl.col("minute"))
    return _coded(block, "culture").select(
        microevent_id=of_stay(stay(block)) * 10 + pl.col("n"),
        **_ids(block),
        micro_specimen_id=of_stay(stay(block)) * 10 + pl.col("n"),
        **blank("order_provider_id"),
        chartdate=pl.concat_str(day(at), pl.lit(" 00:00:00")),
        charttime=clock(at),
        spec_itemid=pl.lit(70012),
        spec_type_desc="text",
        **blank(
            "test_seq", "storedate", "storetime", "test_itemid", "test_name", "org_itemid", "org_name", "isolate_num"
        ),
        **blank("quantity", "ab_itemid", "ab_name", "dilution_text", "dilution_comparison", "dilution_value"),
        **blank("interpretation", "comments"),
    )


def _prescriptions(block: Block) -> pl.DataFrame:
    return _coded(block, "antibiotic").select(
        **_ids(block),
        **blank("pharmacy_id", "poe_id", "poe_seq", "order_provider_id"),
        starttime=clock(_since_epoch(block, pl.col("minute"))),
        **blank("stoptime"),
        drug_type=pl.lit("MAIN"),
        drug="text",
        **blank("formulary_drug_cd", "gsn", "ndc", "prod_strength", "form_rx", "dose_val_rx", "dose_unit_rx"),
        **blank("form_val_disp", "form_unit_disp", "doses_per_24_hrs"),
        route=pl.lit("IV"),
    )


def _diagnoses(block: Block) -> pl.DataFrame:
    rows = _coded(block, "diagnosis")
    return rows.select(**_ids(block), seq_num=pl.col("n") + 1, icd_code="text", icd_version=pl.lit(9))


def _services(block: Block) -> pl.DataFrame:
    surgical = np.isin(block.visits.unit, [UNITS.index("surgical"), UNITS.index("trauma")])
    return _rows(block).select(
        **_ids(block),
        transfertime=clock(of_stay(block.visits.start - block.visits.before)),
        **blank("prev_service"),
        curr_service=of_stay(np.where(surgical, "SURG", "MED")),
    )
