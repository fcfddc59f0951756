"""The tables of MIMIC-III 1.4: half of the patients charted in CareVue, half in MetaVision, as in the real one."""

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
from icu_lightning.data.synthetic.writers.mimic import (
    ETHNICITIES,
    GCS_TEXTS,
    LAB_UNITS,
    LABS,
    UNITS_OF_RATES,
    intervals,
    pump_points,
)

ENDING = ".csv.gz"
CAREVUE = {
    "heart_rate": 211,
    "sbp": 51,
    "dbp": 8368,
    "map": 52,
    "respiratory_rate": 618,
    "temperature": 678,
    "spo2": 646,
    "fio2": 3420,
    "gcs_eyes": 184,
    "gcs_verbal": 723,
    "gcs_motor": 454,
    "weight": 762,
    "ventilation": 720,
    "urine": 40055,
}
METAVISION = {
    "heart_rate": 220045,
    "sbp": 220050,
    "dbp": 220051,
    "map": 220052,
    "respiratory_rate": 220210,
    "temperature": 223761,
    "spo2": 220277,
    "fio2": 223835,
    "gcs_eyes": 220739,
    "gcs_verbal": 223900,
    "gcs_motor": 223901,
    "weight": 226512,
    "ventilation": 226732,
    "urine": 226559,
}
NO_TUBE_CAREVUE = 467  # what CareVue's patients breathe through
BEDSIDE_UNITS = {
    "heart_rate": "bpm",
    "sbp": "mmHg",
    "dbp": "mmHg",
    "map": "mmHg",
    "respiratory_rate": "insp/min",
    "temperature": "?F",
    "spo2": "%",
    "weight": "kg",
}
DRUGS_CAREVUE = {
    "norepinephrine": 30120,
    "vasopressin": 30051,
    "epinephrine": 30119,
    "dopamine": 30043,
    "dobutamine": 30042,
    "milrinone": 30125,
    "phenylephrine": 30128,
}
DRUGS_METAVISION = {
    "norepinephrine": 221906,
    "vasopressin": 222315,
    "epinephrine": 221289,
    "dopamine": 221662,
    "dobutamine": 221653,
    "milrinone": 221986,
    "phenylephrine": 221749,
}
CARE_UNITS = dict(zip(UNITS, ("MICU", "SICU", "CCU", "TSICU"), strict=True))
LANGUAGES = {"ENGLISH": "ENGL", "SPANISH": "SPAN", "CANTONESE": "CANT", "RUSSIAN": "RUSS"}
ANCIENT = 300  # years by which dates of birth of people above 89 are shifted


def subject(block: Block) -> np.ndarray:
    return 10_000 + block.visits.patient


def admission(block: Block) -> np.ndarray:
    return 100_000 + 4 * block.visits.patient + block.visits.visit


def stay(block: Block) -> np.ndarray:
    return 200_000 + 4 * block.visits.patient + block.visits.visit


def patient_and_hospital(block: Block) -> tuple[pl.Series, pl.Series]:
    """What the source calls them, for the oracle's file."""
    return pl.Series(subject(block)).cast(pl.String), pl.Series([None] * len(block), dtype=pl.String)


def tables(block: Block) -> dict[str, pl.DataFrame]:
    return {
        "PATIENTS": _patients(block),
        "ADMISSIONS": _admissions(block),
        "ICUSTAYS": _icustays(block),
        "CHARTEVENTS": _chartevents(block),
        "LABEVENTS": _labevents(block),
        "OUTPUTEVENTS": _outputevents(block),
        "INPUTEVENTS_MV": _inputevents_mv(block),
        "INPUTEVENTS_CV": _inputevents_cv(block),
        "MICROBIOLOGYEVENTS": _microbiologyevents(block),
        "PRESCRIPTIONS": _prescriptions(block),
        "DIAGNOSES_ICD": _diagnoses(block),
        "SERVICES": _services(block),
    }


def static() -> dict[str, pl.DataFrame]:
    """Dictionaries of items."""
    rows = [(item, name, "carevue") for name, item in [*CAREVUE.items(), ("oxygen device", NO_TUBE_CAREVUE)]]
    rows += [(item, name, "metavision") for name, item in METAVISION.items()]
    items = pl.DataFrame(rows, schema=["itemid", "label", "dbsource"], orient="row").with_row_index("row_id", 1)
    labs = pl.DataFrame({"itemid": [*LABS.values(), 50800], "label": [*LABS, "SPECIMEN TYPE"]})
    return {"D_ITEMS": items, "D_LABITEMS": labs.with_row_index("row_id", 1)}


def _ids(block: Block) -> dict[str, pl.Expr]:
    return {"subject_id": of_stay(subject(block)), "hadm_id": of_stay(admission(block))}


def _numbered(frame: pl.DataFrame, block: Block, name: str = "row_id") -> pl.DataFrame:
    """With a row number that depends on the stay alone: 20,000 for each."""
    first = pl.Series(stay(block)).gather(frame["row"]) * 20_000
    return frame.with_columns((first + pl.int_range(pl.len()).over("row")).alias(name))


def _rows(block: Block) -> pl.DataFrame:
    return pl.DataFrame({"row": np.arange(len(block))})


def _since_epoch(block: Block, minute: pl.Expr) -> pl.Expr:
    return of_stay(block.visits.start) + minute


def _patients(block: Block) -> pl.DataFrame:
    visits = block.visits
    first = block.visits.visit == 0
    born = _born(block)
    deaths = pl.DataFrame({"patient": visits.patient, "at": np.where(block.died, visits.start + block.left, -1)})
    last = deaths.select(pl.col("at").max().over("patient"))["at"]
    frame = _rows(block).with_columns(dod=of_stay(last))
    dod = pl.when(pl.col("dod") >= 0).then(clock(pl.col("dod").clip(0) // MINUTES_A_DAY * MINUTES_A_DAY))
    return frame.filter(pl.Series(first)).select(
        row_id=of_stay(stay(block)),
        subject_id=of_stay(subject(block)),
        gender=of_stay(np.where(visits.male, "M", "F")),
        dob=of_stay(born),
        dod=dod,
        dod_hosp=dod,
        **blank("dod_ssn"),
        expire_flag=(pl.col("dod") >= 0).cast(pl.Int8),
    )


def _born(block: Block) -> pl.Series:
    """The day before the admission's, as many years ago as the patient is old; above 89 years, 300."""
    visits = block.visits
    stays = pl.DataFrame({"at": visits.start, "age": visits.age})
    when = stays.select(day=day(pl.col("at")))["day"].str.to_date()
    years = pl.Series(np.where(visits.age > 89, ANCIENT, visits.age))
    frame = pl.DataFrame({"when": when, "years": years})
    born = pl.col("when").dt.offset_by(pl.format("-{}y", "years")).dt.offset_by("-1d")
    return frame.select(born.dt.to_string("%Y-%m-%d 00:00:00").alias("dob"))["dob"]


def _admissions(block: Block) -> pl.DataFrame:
    visits = block.visits
    left = visits.start + block.left
    frame = _rows(block).with_columns(died=of_stay(block.died))
    return frame.select(
        row_id=of_stay(stay(block)),
        **_ids(block),
        admittime=clock(of_stay(visits.start - visits.before)),
        dischtime=clock(of_stay(left)),
        deathtime=pl.when("died").then(clock(of_stay(left))),
        admission_type=of_stay(np.where(visits.elective, "ELECTIVE", "EMERGENCY")),
        **blank("admission_location"),
        discharge_location=pl.when("died").then(pl.lit("DEAD/EXPIRED")),
        insurance=of_stay(named(list(INSURANCE), visits.insurance)),
        language=of_stay(named([LANGUAGES.get(name) for name in LANGUAGE], visits.language)),
        **blank("religion"),
        marital_status=of_stay(named(list(MARITAL), visits.marital)),
        ethnicity=of_stay(named([ETHNICITIES.get(x, "UNKNOWN/NOT SPECIFIED") for x in ETHNICITY], visits.ethnicity)),
        **blank("edregtime", "edouttime"),
        diagnosis=pl.lit("SYNTHETIC"),
        hospital_expire_flag=pl.col("died").cast(pl.Int8),
        has_chartevents_data=pl.lit(1),
    )


def _icustays(block: Block) -> pl.DataFrame:
    visits = block.visits
    unit = of_stay(named(list(CARE_UNITS.values()), visits.unit))
    return _rows(block).select(
        row_id=of_stay(stay(block)),
        **_ids(block),
        icustay_id=of_stay(stay(block)),
        dbsource=of_stay(np.where(visits.carevue, "carevue", "metavision")),
        first_careunit=unit,
        last_careunit=unit,
        **blank("first_wardid", "last_wardid"),
        intime=clock(of_stay(visits.start)),
        outtime=clock(of_stay(visits.start + visits.length)),
        los=of_stay((visits.length / MINUTES_A_DAY).round(4)),
    )


def _chartevents(block: Block) -> pl.DataFrame:
    names = [name for name in CAREVUE if name != "urine"]
    rows = measurements(block, names).with_columns(carevue=of_stay(block.visits.carevue))
    item = pl.when("carevue").then(of_variable(CAREVUE)).otherwise(of_variable(METAVISION))
    free = pl.col("carevue") & (pl.col("variable") == place("ventilation")) & (pl.col("value") == 0)
    number, text = _said(pl.col("carevue"))
    at = clock(_since_epoch(block, pl.col("minute")))
    return _numbered(rows, block).select(
        "row_id",
        **_ids(block),
        icustay_id=of_stay(stay(block)),
        itemid=pl.when(free).then(NO_TUBE_CAREVUE).otherwise(item),
        charttime=at,
        storetime=clock(_since_epoch(block, pl.col("minute") + 12)),
        cgid=20_000 + pl.col("row_id") // 20_000 % 97,
        value=text,
        valuenum=number,
        valueuom=of_variable(BEDSIDE_UNITS),
        warning=pl.when(~pl.col("carevue")).then(0),
        error=pl.when(~pl.col("carevue")).then(0),
        **blank("resultstatus", "stopped"),
    )


def _said(carevue: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """(valuenum, value) of chartevents."""
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
    device = (
        pl.when(pl.col("value") == 0)
        .then(pl.when(carevue).then(pl.lit("Nasal Cannula")).otherwise(pl.lit("Nasal cannula")))
        .otherwise(pl.when(carevue).then(pl.lit("Assist Control")).otherwise(pl.lit("Endotracheal tube")))
    )
    no_speech = pl.when(carevue).then(pl.lit("1.0 ET/Trach")).otherwise(pl.lit(GCS_TEXTS["tube"]))
    return number, pl.when(is_["ventilation"]).then(device).when(tube).then(no_speech).otherwise(written(number))


def _labevents(block: Block) -> pl.DataFrame:
    rows = measurements(block, laboratory_names())
    gas = rows.filter(pl.col("variable").is_in([place(name) for name in ("pao2", "paco2", "ph")]))
    kinds = (
        gas.select("row", "minute")
        .unique()
        .with_columns(variable=pl.lit(None, pl.Int16), value=pl.lit(None, pl.Float64))
    )
    rows = pl.concat([rows, kinds.select(rows.columns)]).sort("row", "minute", "variable", nulls_last=False)
    return _numbered(rows, block).select(
        "row_id",
        **_ids(block),
        itemid=of_variable(LABS).fill_null(50800),
        charttime=clock(_since_epoch(block, pl.col("minute"))),
        value=written(pl.col("value")).fill_null("ART"),
        valuenum="value",
        valueuom=of_variable(LAB_UNITS),
        **blank("flag"),
    )


def _outputevents(block: Block) -> pl.DataFrame:
    rows = measurements(block, ["urine"])
    item = pl.when(of_stay(block.visits.carevue)).then(CAREVUE["urine"]).otherwise(METAVISION["urine"])
    return _numbered(rows, block).select(
        "row_id",
        **_ids(block),
        icustay_id=of_stay(stay(block)),
        charttime=clock(_since_epoch(block, pl.col("minute"))),
        itemid=item,
        value="value",
        valueuom=pl.lit("ml"),
        storetime=clock(_since_epoch(block, pl.col("minute") + 12)),
        **blank("cgid", "stopped", "newbottle", "iserror"),
    )


def _inputevents_mv(block: Block) -> pl.DataFrame:
    rows = block.infusions.filter(~pl.Series(block.visits.carevue).gather(block.infusions["row"]))
    first = {"row_id": pl.col("row_id"), **_ids(block), "icustay_id": of_stay(stay(block))}
    return intervals(_numbered(rows, block), block, DRUGS_METAVISION, first, "icustay_id")


def _inputevents_cv(block: Block) -> pl.DataFrame:
    rows = block.infusions.filter(pl.Series(block.visits.carevue).gather(block.infusions["row"]))
    points = pump_points(rows, every=180)
    return _numbered(points, block).select(
        "row_id",
        **_ids(block),
        icustay_id=of_stay(stay(block)),
        charttime=clock(_since_epoch(block, pl.col("minute"))),
        itemid=pl.col("drug").replace_strict(DRUGS_CAREVUE, return_dtype=pl.Int64),
        **blank("amount", "amountuom"),
        rate="rate",
        rateuom=pl.col("drug").replace_strict({"vasopressin": "Uhr"}, default="mcgkgmin"),
        storetime=clock(_since_epoch(block, pl.col("minute") + 5)),
        **blank("cgid"),
        orderid="row_id",
        linkorderid="row_id",
        stopped=pl.when(pl.col("rate").is_null()).then(pl.lit("Stopped")).otherwise(pl.lit("NotStopd")),
        **blank("newbottle", "originalamount", "originalamountuom", "originalroute"),
        **blank("originalrate", "originalrateuom", "originalsite"),
    )


def _coded(block: Block, kind: str) -> pl.DataFrame:
    return _numbered(block.coded.filter(pl.col("kind") == kind), block)


def _microbiologyevents(block: Block) -> pl.DataFrame:
    at = clock(_since_epoch(block, pl.col("minute")))
    return _coded(block, "culture").select(
        "row_id",
        **_ids(block),
        chartdate=pl.concat_str(at.str.slice(0, 10), pl.lit(" 00:00:00")),
        charttime=at,
        spec_itemid=pl.lit(70012),
        spec_type_desc="text",
        **blank("org_itemid", "org_name", "isolate_num", "ab_itemid", "ab_name", "dilution_text"),
        **blank("dilution_comparison", "dilution_value", "interpretation"),
    )


def _prescriptions(block: Block) -> pl.DataFrame:
    midnight = pl.concat_str(day(_since_epoch(block, pl.col("minute"))), pl.lit(" 00:00:00"))
    return _coded(block, "antibiotic").select(
        "row_id",
        **_ids(block),
        icustay_id=of_stay(stay(block)),
        startdate=midnight,
        **blank("enddate"),
        drug_type=pl.lit("MAIN"),
        drug="text",
        **blank("drug_name_poe", "drug_name_generic", "formulary_drug_cd", "gsn", "ndc", "prod_strength"),
        **blank("dose_val_rx", "dose_unit_rx", "form_val_disp", "form_unit_disp"),
        route=pl.lit("IV"),
    )


def _diagnoses(block: Block) -> pl.DataFrame:
    rows = _coded(block, "diagnosis")
    return rows.select("row_id", **_ids(block), seq_num=pl.col("row_id") % 20_000 + 1, icd9_code="text")


def _services(block: Block) -> pl.DataFrame:
    surgical = np.isin(block.visits.unit, [UNITS.index("surgical"), UNITS.index("trauma")])
    return _rows(block).select(
        row_id=of_stay(stay(block)),
        **_ids(block),
        transfertime=clock(of_stay(block.visits.start - block.visits.before)),
        **blank("prev_service"),
        curr_service=of_stay(np.where(surgical, "SURG", "MED")),
    )


assert set(UNITS_OF_RATES) == set(DRUGS_CAREVUE) == set(DRUGS_METAVISION)
assert len(np.unique(list(METAVISION.values()))) == len(METAVISION)
