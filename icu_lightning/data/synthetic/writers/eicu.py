"""The tables of eICU 2.0: minutes from admission to the unit, wide tables of vitals, and hospitals with their own practice.

A patient with a tube or a vasoactive drug has an arterial line, and pressures in vitalPeriodic; others are measured with a
cuff. Every fourth hospital charts no infusions, as many of the real ones do, and every third charts its rates by the minute and
not by the kilogram.
"""

import numpy as np
import polars as pl

from icu_lightning.data.synthetic.generate import Block
from icu_lightning.data.synthetic.people import CHRONIC, EPOCH, ETHNICITY, MINUTES_A_DAY, UNITS
from icu_lightning.data.synthetic.variables import CHARTED
from icu_lightning.data.synthetic.writers.columns import (
    TUBE,
    blank,
    laboratory_names,
    measurements,
    named,
    of_stay,
    of_variable,
    place,
    written,
)
from icu_lightning.data.synthetic.writers.mimic import LAB_UNITS, pump_points

ENDING = ".csv.gz"
WITHOUT_INFUSIONS = 4  # every so many hospitals chart none
BY_THE_MINUTE = 3  # every so many hospitals name the rates of PER_MINUTE so
PERIODIC = {"heart_rate": "heartrate", "respiratory_rate": "respiration", "spo2": "sao2"}
INVASIVE = {"sbp": "systemicsystolic", "dbp": "systemicdiastolic", "map": "systemicmean"}
CUFF = {"sbp": "noninvasivesystolic", "dbp": "noninvasivediastolic", "map": "noninvasivemean"}
LAB_NAMES = {
    "lactate": "lactate",
    "creatinine": "creatinine",
    "wbc": "WBC x 1000",
    "hemoglobin": "Hgb",
    "glucose": "glucose",
    "potassium": "potassium",
    "sodium": "sodium",
    "bicarbonate": "bicarbonate",
    "bun": "BUN",
    "bilirubin": "total bilirubin",
    "platelets": "platelets x 1000",
    "paco2": "paCO2",
    "ph": "pH",
    "prothrombin_time": "PT",
    "bands": "-bands",
    "pao2": "paO2",
}
NURSE = {
    "temperature": ("Vital Signs", "Temperature", "Temperature (C)"),
    "gcs_eyes": ("Scores", "Glasgow coma score", "Eyes"),
    "gcs_verbal": ("Scores", "Glasgow coma score", "Verbal"),
    "gcs_motor": ("Scores", "Glasgow coma score", "Motor"),
    "weight": ("Other Vital Signs and Infusions", "Bedside Weight", "Value"),
}
DRUGS = {
    "norepinephrine": "Norepinephrine (mcg/kg/min)",
    "vasopressin": "Vasopressin (units/hr)",
    "epinephrine": "Epinephrine (mcg/kg/min)",
    "dopamine": "Dopamine (mcg/kg/min)",
    "dobutamine": "Dobutamine (mcg/kg/min)",
    "milrinone": "Milrinone (mcg/kg/min)",
    "phenylephrine": "Phenylephrine (mcg/kg/min)",
}
PER_MINUTE = {
    "norepinephrine": "Norepinephrine (mcg/min)",
    "vasopressin": "Vasopressin (units/min)",
    "epinephrine": "Epinephrine (mcg/min)",
    "phenylephrine": "Phenylephrine (mcg/min)",
}
ETHNICITIES = {
    "white": "Caucasian",
    "black": "African American",
    "hispanic": "Hispanic",
    "asian": "Asian",
    "other": "Other/Unknown",
    "unknown": "Other/Unknown",
}
CARE_UNITS = dict(zip(UNITS, ("MICU", "SICU", "CCU-CTICU", "Med-Surg ICU"), strict=True))
SEPSIS_CODES = ("99592", "0389")


def stay(block: Block) -> np.ndarray:
    return 140_000 + 4 * block.visits.patient + block.visits.visit


def hospital(block: Block) -> np.ndarray:
    return 100 + block.visits.hospital


def patient_and_hospital(block: Block) -> tuple[pl.Series, pl.Series]:
    ids = pl.DataFrame({"h": hospital(block), "p": block.visits.patient})
    return ids.select(pl.format("{}-{}", "h", "p"))["h"], ids["h"].cast(pl.String)


def tables(block: Block) -> dict[str, pl.DataFrame]:
    return {
        "patient": _patient(block),
        "vitalPeriodic": _periodic(block),
        "vitalAperiodic": _aperiodic(block),
        "nurseCharting": _nurse_charting(block),
        "lab": _lab(block),
        "infusiondrug": _infusiondrug(block),
        "intakeOutput": _intake_output(block),
        "respiratoryCharting": _respiratory_charting(block),
        "respiratoryCare": _respiratory_care(block),
        "diagnosis": _diagnosis(block),
        "admissionDx": _admission_dx(block),
        "apacheApsVar": _aps(block),
        "apachePredVar": _pred(block),
    }


def static() -> dict[str, pl.DataFrame]:
    return {}


def _rows(block: Block) -> pl.DataFrame:
    return pl.DataFrame({"row": np.arange(len(block))})


def _numbered(rows: pl.DataFrame, block: Block, name: str) -> dict[str, pl.Expr]:
    """The table's own id, which depends on the stay alone, and the stay's."""
    n = pl.int_range(pl.len()).over("row")
    return {name: of_stay(stay(block)) * 10_000 + n, "patientunitstayid": of_stay(stay(block))}


def _patient(block: Block) -> pl.DataFrame:
    visits = block.visits
    patient_id, _ = patient_and_hospital(block)
    year = (EPOCH + visits.start).astype("M8[Y]").astype(np.int64) + 1970
    at = [f"{m // 60:02}:{m % 60:02}:00" for m in range(MINUTES_A_DAY)]
    time_of = lambda minutes: of_stay(pl.Series(at).gather(minutes % MINUTES_A_DAY))  # noqa: E731 one use, one line
    unit = of_stay(named(list(CARE_UNITS.values()), visits.unit))
    return _rows(block).select(
        patientunitstayid=of_stay(stay(block)),
        patienthealthsystemstayid=of_stay(600_000 + stay(block)),
        gender=of_stay(np.where(visits.male, "Male", "Female")),
        age=pl.when(of_stay(visits.age > 89)).then(pl.lit("> 89")).otherwise(of_stay(visits.age.astype(str))),
        ethnicity=of_stay(named([ETHNICITIES[name] for name in ETHNICITY], visits.ethnicity)),
        hospitalid=of_stay(hospital(block)),
        wardid=of_stay(200 + visits.unit),
        apacheadmissiondx=pl.lit("SYNTHETIC"),
        admissionheight=of_stay(visits.height.astype(float).round(1)),
        hospitaladmittime24=time_of(visits.start - visits.before),
        hospitaladmitoffset=of_stay(-visits.before),
        **blank("hospitaladmitsource"),
        hospitaldischargeyear=of_stay(year),
        hospitaldischargetime24=time_of(visits.start + block.left),
        hospitaldischargeoffset=of_stay(block.left),
        **blank("hospitaldischargelocation"),
        hospitaldischargestatus=of_stay(np.where(block.died, "Expired", "Alive")),
        unittype=unit,
        unitadmittime24=time_of(visits.start),
        **blank("unitadmitsource"),
        unitvisitnumber=pl.lit(1),
        unitstaytype=pl.lit("admit"),
        admissionweight=of_stay(visits.weight.astype(float).round(1)),
        **blank("dischargeweight"),
        unitdischargetime24=time_of(visits.start + visits.length),
        unitdischargeoffset=of_stay(visits.length),
        **blank("unitdischargelocation"),
        unitdischargestatus=of_stay(np.where(block.died_in_unit, "Expired", "Alive")),
        uniquepid=of_stay(patient_id),
    )


def arterial_line(block: Block) -> np.ndarray:
    """(B,) True for stays with a tube or a vasoactive drug at some time."""
    line = (block.values[..., CHARTED.index("ventilation")] == 2).any(1)
    line[block.infusions["row"].unique().to_numpy()] = True
    return line


def _wide(block: Block, columns: dict[str, str], keep: np.ndarray | None = None) -> pl.DataFrame:
    """One row a round in which one of the variables was charted: row, minute, a column for each."""
    rows = measurements(block, list(columns))
    if keep is not None:
        rows = rows.filter(pl.Series(keep).gather(rows["row"]))
    of = {column: pl.col("value").filter(pl.col("variable") == place(name)).first() for name, column in columns.items()}
    wide = rows.group_by("row", "minute", maintain_order=True).agg(**of)
    return wide.with_columns(written(pl.col(column)) for column in columns.values())


def _periodic(block: Block) -> pl.DataFrame:
    vitals, line = _wide(block, PERIODIC), _wide(block, INVASIVE, arterial_line(block))
    rows = vitals.join(line, on=["row", "minute"], how="full", coalesce=True).sort("row", "minute")
    return rows.select(
        **_numbered(rows, block, "vitalperiodicid"),
        observationoffset="minute",
        **blank("temperature"),
        sao2="sao2",
        heartrate="heartrate",
        respiration="respiration",
        **blank("cvp", "etco2"),
        **{column: pl.col(column) for column in INVASIVE.values()},
        **blank("pasystolic", "padiastolic", "pamean", "st1", "st2", "st3", "icp"),
    )


def _aperiodic(block: Block) -> pl.DataFrame:
    rows = _wide(block, CUFF, ~arterial_line(block))
    return rows.select(
        **_numbered(rows, block, "vitalaperiodicid"),
        observationoffset="minute",
        **{column: pl.col(column) for column in CUFF.values()},
        **blank("paop", "cardiacoutput", "cardiacinput", "svr", "svri", "pvr", "pvri"),
    )


def _nurse_charting(block: Block) -> pl.DataFrame:
    rows = measurements(block, list(NURSE))
    tube = (pl.col("variable") == place("gcs_verbal")) & (pl.col("value") == TUBE)
    value = pl.when(tube).then(1.0).otherwise("value")
    category, label, name = ({v: facts[i] for v, facts in NURSE.items()} for i in range(3))
    return rows.select(
        **_numbered(rows, block, "nursingchartid"),
        nursingchartoffset="minute",
        nursingchartentryoffset="minute",
        nursingchartcelltypecat=of_variable(category),
        nursingchartcelltypevallabel=of_variable(label),
        nursingchartcelltypevalname=of_variable(name),
        nursingchartvalue=written(value),
    )


def _lab(block: Block) -> pl.DataFrame:
    rows = measurements(block, laboratory_names())
    return rows.select(
        **_numbered(rows, block, "labid"),
        labresultoffset="minute",
        labtypeid=pl.lit(1),
        labname=of_variable(LAB_NAMES),
        labresult=written(pl.col("value")),
        labresulttext=written(pl.col("value")),
        labmeasurenamesystem=of_variable(LAB_UNITS),
        labmeasurenameinterface=of_variable(LAB_UNITS),
        labresultrevisedoffset=pl.col("minute") + 45,
    )


def charts_infusions(block: Block) -> np.ndarray:
    """(B,) whether the stay's hospital charts infusions."""
    return block.visits.hospital % WITHOUT_INFUSIONS != WITHOUT_INFUSIONS - 1


def _infusiondrug(block: Block) -> pl.DataFrame:
    infusions = block.infusions.filter(pl.Series(charts_infusions(block)).gather(block.infusions["row"]))
    rows = pump_points(infusions, every=60)
    weight = of_stay(block.visits.weight.astype(float).round(1))
    by_the_minute = of_stay(block.visits.hospital % BY_THE_MINUTE == 1) & pl.col("drug").is_in(list(PER_MINUTE))
    an_hour = pl.col("drug") == "vasopressin"  # units an hour; the others are ug/kg/min
    a_minute = pl.when(an_hour).then(pl.col("rate") / 60).otherwise(pl.col("rate") * weight).round(4)
    named_so = pl.col("drug").replace_strict(DRUGS, return_dtype=pl.String)
    return rows.select(
        **_numbered(rows, block, "infusiondrugid"),
        infusionoffset="minute",
        drugname=pl.when(by_the_minute)
        .then(pl.col("drug").replace_strict(PER_MINUTE, default=None))
        .otherwise(named_so),
        drugrate=written(pl.when(by_the_minute).then(a_minute).otherwise("rate").fill_null(0.0)),
        **blank("infusionrate", "drugamount", "volumeoffluid"),
        patientweight=weight,
    )


def _intake_output(block: Block) -> pl.DataFrame:
    rows = measurements(block, ["urine"])
    return rows.select(
        **_numbered(rows, block, "intakeoutputid"),
        intakeoutputoffset="minute",
        **blank("intaketotal", "outputtotal", "dialysistotal", "nettotal"),
        intakeoutputentryoffset="minute",
        cellpath=pl.lit("flowsheet|Flowsheet Cell Labels|I&O|Output (ml)|Urine"),
        celllabel=pl.lit("Urine"),
        cellvaluenumeric="value",
        cellvaluetext=written(pl.col("value")),
    )


def _respiratory_charting(block: Block) -> pl.DataFrame:
    rows = measurements(block, ["fio2", "ventilation"])
    is_fio2 = pl.col("variable") == place("fio2")
    on = pl.when(pl.col("value") == 2).then(pl.lit("Continued")).otherwise(pl.lit("Off"))
    return rows.select(
        **_numbered(rows, block, "respchartid"),
        respchartoffset="minute",
        respchartentryoffset="minute",
        respcharttypecat=pl.lit("respFlowSettings"),
        respchartvaluelabel=pl.when(is_fio2).then(pl.lit("FiO2")).otherwise(pl.lit("RT Vent On/Off")),
        respchartvalue=pl.when(is_fio2).then(written((pl.col("value") * 100).round())).otherwise(on),
    )


def _respiratory_care(block: Block) -> pl.DataFrame:
    """When a tube was first seen."""
    rows = measurements(block, ["ventilation"]).filter(pl.col("value") == 2)
    rows = rows.group_by("row", maintain_order=True).agg(pl.col("minute").first())
    return rows.select(
        **_numbered(rows, block, "respcareid"),
        respcarestatusoffset="minute",
        currenthistoryseqnum=pl.lit(1),
        airwaytype=pl.lit("Oral ETT"),
        **blank("airwaysize", "airwayposition", "cuffpressure", "ventstartoffset", "ventendoffset"),
    )


def _diagnosis(block: Block) -> pl.DataFrame:
    rows = block.coded.filter(pl.col("kind") == "diagnosis")
    septic = pl.col("text").is_in(SEPSIS_CODES)
    return rows.select(
        **_numbered(rows, block, "diagnosisid"),
        activeupondischarge=pl.lit("False"),
        diagnosisoffset=pl.lit(180),
        diagnosisstring=pl.when(septic)
        .then(pl.lit("infectious diseases|systemic/other infections|sepsis"))
        .otherwise(pl.lit("general|other")),
        icd9code="text",
        diagnosispriority=pl.lit("Other"),
    )


def _admission_dx(block: Block) -> pl.DataFrame:
    surgical = np.isin(block.visits.unit, [UNITS.index("surgical"), UNITS.index("trauma")])
    rows = _rows(block)
    kind = pl.when(of_stay(surgical)).then(pl.lit("Operative")).otherwise(pl.lit("Non-operative"))
    path = pl.format("admission diagnosis|All Diagnosis|{}|Diagnosis", kind)
    return rows.select(
        **_numbered(rows, block, "admissiondxid"),
        admitdxenteredoffset=pl.lit(60),
        admitdxpath=path,
        admitdxname=pl.lit("Diagnosis"),
        admitdxtext=pl.lit("Diagnosis"),
    )


def _aps(block: Block) -> pl.DataFrame:
    """APACHE's worst of the first day; what is charted elsewhere is -1, its "not measured"."""
    first_day = block.values[:, :24, CHARTED.index("ventilation")]
    rows, vent = _rows(block), (first_day == 2).any(1).astype(int)
    nothing = (
        "eyes", "motor", "verbal", "meds", "urine", "wbc", "temperature", "respiratoryrate", "sodium", "heartrate", "meanbp",
        "ph", "hematocrit", "creatinine", "albumin", "pao2", "pco2", "bun", "glucose", "bilirubin", "fio2",
    )  # fmt: skip
    return rows.select(
        **_numbered(rows, block, "apacheapsvarid"),
        intubated=of_stay(vent),
        vent=of_stay(vent),
        dialysis=pl.lit(0),
        **{name: pl.lit(-1) for name in nothing},
    )


def _pred(block: Block) -> pl.DataFrame:
    chronic, rows = block.visits.chronic, _rows(block)
    has = {name: (chronic == list(CHRONIC).index(name)).astype(int) for name in CHRONIC}
    return rows.select(
        **_numbered(rows, block, "apachepredvarid"),
        aids=of_stay(has["aids"]),
        lymphoma=of_stay(has["haematologic_malignancy"]),
        metastaticcancer=of_stay(has["metastatic_cancer"]),
        leukemia=pl.lit(0),
        electivesurgery=of_stay(block.visits.elective.astype(int)),
    )
