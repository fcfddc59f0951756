"""mimic4_tables.py's database, and beside it every other table that the pipeline with scores, drugs and sepsis reads, in
MIMIC-IV 2.2's proportions: outputs, inputs, services, diagnoses, prescriptions, cultures; a few items of chartevents and
labevents that nothing reads become those of the coma scale, of oxygen, ventilation, blood gases, liver and clotting.

`python mimic4_all_tables.py FOLDER --rows 20000000`
"""

from collections.abc import Callable
from functools import partial

import mimic4_tables as base
import numpy as np
import polars as pl

FULL = 313_645_063  # rows of chartevents, to which the numbers of rows below belong
OTHER_LAB = 56_000  # the first laboratory item that nothing reads

# item: what it is taken from, its charted pairs (value, valuenum)
Words = tuple[tuple[str, str | None], ...]
SCORED: dict[int, tuple[int, Words]] = {
    220739: (240_000, (("Spontaneously", "4"), ("To Speech", "3"), ("To Pain", "2"), ("None", "1"))),
    223900: (240_007, (("Oriented", "5"), ("Confused", "4"), ("No Response-ETT", "1"), ("Oriented", "5"))),
    223901: (240_014, (("Obeys Commands", "6"), ("Localizes Pain", "5"), ("Flex-withdraws", "4"), ("No response", "1"))),
    223835: (240_021, (("40", "40"), ("50", "50"), ("60", "60"), ("100", "100"))),
    224639: (240_028, (("71.5", "71.5"), ("80", "80"), ("92.3", "92.3"), ("105", "105"))),
    226732: (240_420, (("Nasal cannula", None), ("Endotracheal tube", None), ("None", None), ("Bipap mask ", None))),
}  # fmt: skip
LABS = {
    51265: (OTHER_LAB, (("201", "201"), ("88", "88"), ("140", "140"), ("___", None))),
    50885: (OTHER_LAB + 1, (("0.6", "0.6"), ("1.4", "1.4"), ("3.1", "3.1"), ("<0.2", None))),
    51274: (OTHER_LAB + 2, (("12.1", "12.1"), ("14.8", "14.8"), ("22.0", "22"), ("13", "13"))),
    50821: (OTHER_LAB + 3, (("92", "92"), ("71", "71"), ("120", "120"), ("203", "203"))),
    50818: (OTHER_LAB + 4, (("41", "41"), ("36", "36"), ("55", "55"), ("38", "38"))),
    52033: (OTHER_LAB + 5, (("ART.", None), ("VEN.", None), ("ART.", None), ("ART.", None))),
}
Table = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


def scored(
    block: Table, items: dict[int, tuple[int, Words]], stays: pl.DataFrame, rng: np.random.Generator
) -> pl.DataFrame:
    """The block's rows with some items replaced by others and their words."""
    rows = block(stays, rng)
    word = pl.lit(pl.Series(rng.integers(0, 4, rows.height)))
    value, number = pl.col("value"), pl.col("valuenum")
    for taken, words in items.values():
        texts, numbers = zip(*words, strict=True)
        here = pl.col("itemid") == taken
        value = pl.when(here).then(base._one_of(texts, word)).otherwise(value)
        number = pl.when(here).then(pl.lit(pl.Series(numbers, dtype=pl.String)).gather(word)).otherwise(number)
    itemid = pl.col("itemid").replace({taken: item for item, (taken, _) in items.items()})
    return rows.with_columns(value=value, valuenum=number, itemid=itemid)


def labevents(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """With one specimen of blood gases an admission, so that the rows that name its kind belong to those that measure it."""
    rows = scored(base.labevents, LABS, stays, rng)
    of_gas = pl.col("itemid").is_in([50821, 50818, 52033])
    return rows.with_columns(specimen_id=pl.when(of_gas).then("hadm_id").otherwise("specimen_id"))


def _rows(stays: pl.DataFrame, rng: np.random.Generator, column: str) -> pl.DataFrame:
    """Ids of the stay, and minute `at`, of each row of a table."""
    stay = np.repeat(np.arange(stays.height), stays[column].to_numpy())
    at = stays["start"].to_numpy()[stay] + base._within(stays, stay, rng, before=0)
    ids = stays.select("subject_id", "hadm_id", "stay_id")[stay]
    return ids.with_columns(at=pl.Series(at), draw=pl.Series(rng.integers(0, 1_000_000, len(stay))))


def outputevents(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    items = (226559, 226559, 226560, 226588, 227488, 226571)  # Foley, void, chest tube, irrigant in, NG
    return _rows(stays, rng, "outputevents").select(
        "subject_id", "hadm_id", "stay_id",
        caregiver_id=pl.lit(10_001),
        charttime=base._clock(pl.col("at")),
        storetime=base._clock(pl.col("at") + 12),
        itemid=base._one_of([str(i) for i in items], pl.col("draw") % 6),
        value=(pl.col("draw") % 40) * 10,
        valueuom=pl.lit("ml"),
    )  # fmt: skip


def inputevents(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """One in ten rows is norepinephrine, one in fifty vasopressin, dobutamine or the like; the others fluids."""
    drugs = ("221906",) * 5 + ("222315", "221653", "221662", "221289", "221986") + ("225158",) * 40
    kind = pl.col("draw") % 50
    rate = pl.when(kind == 5).then(2.4).otherwise(0.02 + (pl.col("draw") % 37) / 100).round(2)
    return _rows(stays, rng, "inputevents").select(
        "subject_id", "hadm_id", "stay_id",
        caregiver_id=pl.lit(10_001),
        starttime=base._clock(pl.col("at")),
        endtime=base._clock(pl.col("at") + 20 + pl.col("draw") % 400),
        storetime=base._clock(pl.col("at") + 1),
        itemid=base._one_of(drugs, kind),
        amount=pl.lit("10"), amountuom=pl.lit("mg"),
        rate=pl.when(kind < 10).then(rate),
        rateuom=pl.when(kind == 5).then(pl.lit("units/hour")).when(kind < 10).then(pl.lit("mcg/kg/min")),
        orderid=pl.int_range(pl.len()), linkorderid=pl.int_range(pl.len()),
        ordercategoryname=pl.lit("01-Drips"),
        patientweight=60 + pl.col("draw") % 60,
        statusdescription=base._one_of(("FinishedRunning", "ChangeDose/Rate", "Stopped", "Rewritten"), pl.col("draw") % 4),
    )  # fmt: skip


def services(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return _rows(stays, rng, "services").select(
        "subject_id", "hadm_id",
        transfertime=base._clock(pl.col("at")),
        prev_service=pl.lit(None, pl.String),
        curr_service=base._one_of(("MED", "CMED", "SURG", "CSURG", "NMED", "ORTHO"), pl.col("draw") % 6),
    )  # fmt: skip


def diagnoses_icd(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    codes = ("4019", "I10", "4280", "J9601", "99592", "R6521", "1970", "C7951", "20280", "B20") + (
        "E785",
        "5849",
        "N179",
    ) * 10
    code = base._one_of(codes, pl.col("draw") % len(codes))
    rows = _rows(stays, rng, "diagnoses_icd").select("subject_id", "hadm_id", seq_num=pl.lit(1), icd_code=code)
    return rows.with_columns(icd_version=pl.when(pl.col("icd_code").str.contains("^[A-Z]")).then(10).otherwise(9))


def prescriptions(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    drugs = ("Vancomycin", "Piperacillin-Tazobactam", "CefTRIAXone", "Meropenem", "Acetaminophen", "Insulin", "Furosemide",
             "Potassium Chloride", "Heparin", "Metoprolol Tartrate", "Sodium Chloride 0.9%  Flush", "Pantoprazole")  # fmt: skip
    return _rows(stays, rng, "prescriptions").select(
        "subject_id", "hadm_id",
        pharmacy_id=pl.col("draw"),
        starttime=base._clock(pl.col("at")),
        stoptime=base._clock(pl.col("at") + 2880),
        drug_type=base._one_of(("MAIN", "MAIN", "BASE"), pl.col("draw") % 3),
        drug=base._one_of(drugs, pl.col("draw") % len(drugs)),
        prod_strength=pl.lit("1g Vial"),
        dose_val_rx=pl.lit("1000"), dose_unit_rx=pl.lit("mg"),
        route=base._one_of(("IV", "PO/NG", "IV", "SC", "BOTH EYES"), pl.col("draw") % 5),
    )  # fmt: skip


def microbiologyevents(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return _rows(stays, rng, "microbiologyevents").select(
        pl.int_range(pl.len()).alias("microevent_id"), "subject_id", "hadm_id",
        chartdate=pl.concat_str(base._day(pl.col("at")), pl.lit(" 00:00:00")),
        charttime=pl.when(pl.col("draw") % 5 > 0).then(base._clock(pl.col("at"))),
        spec_type_desc=base._one_of(("BLOOD CULTURE", "URINE", "SPUTUM", "MRSA SCREEN"), pl.col("draw") % 4),
        test_name=pl.lit("Blood Culture, Routine"),
    )  # fmt: skip


# table: rows in MIMIC-IV 2.2, how its blocks are made
TABLES: dict[str, tuple[int, Table]] = {
    "icu/outputevents": (4_234_967, outputevents),
    "icu/inputevents": (8_978_893, inputevents),
    "hosp/services": (562_892, services),
    "hosp/diagnoses_icd": (4_756_326, diagnoses_icd),
    "hosp/prescriptions": (15_416_708, prescriptions),
    "hosp/microbiologyevents": (3_228_713, microbiologyevents),
}
EVENTS: dict[str, Table] = {
    "icu/chartevents": partial(scored, base.chartevents, SCORED),
    "hosp/labevents": labevents,
}

if __name__ == "__main__":
    folder, rows, lab_rows, seed = base.parsed(__doc__)
    counted = {table: (round(full * rows / FULL), block) for table, (full, block) in TABLES.items()}
    base.write(folder, rows, lab_rows, seed, blocks=EVENTS, more=counted)
