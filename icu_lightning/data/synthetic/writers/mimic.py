"""What the tables of MIMIC-III and MIMIC-IV share: laboratory items, infusions as intervals, and as points in time."""

from collections.abc import Mapping

import polars as pl

from icu_lightning.data.synthetic.generate import Block
from icu_lightning.data.synthetic.writers.columns import blank, clock, of_stay

LABS = {
    "lactate": 50813,
    "creatinine": 50912,
    "wbc": 51301,
    "hemoglobin": 51222,
    "glucose": 50931,
    "potassium": 50971,
    "sodium": 50983,
    "bicarbonate": 50882,
    "bun": 51006,
    "bilirubin": 50885,
    "platelets": 51265,
    "paco2": 50818,
    "ph": 50820,
    "prothrombin_time": 51274,
    "bands": 51144,
    "pao2": 50821,
}
LAB_UNITS = {
    "lactate": "mmol/L",
    "creatinine": "mg/dL",
    "wbc": "K/uL",
    "hemoglobin": "g/dL",
    "glucose": "mg/dL",
    "potassium": "mEq/L",
    "sodium": "mEq/L",
    "bicarbonate": "mEq/L",
    "bun": "mg/dL",
    "bilirubin": "mg/dL",
    "platelets": "K/uL",
    "paco2": "mm Hg",
    "ph": "units",
    "prothrombin_time": "sec",
    "bands": "%",
    "pao2": "mm Hg",
}
GCS_TEXTS = {"tube": "No Response-ETT"}
UNITS_OF_RATES = dict.fromkeys(
    ("norepinephrine", "epinephrine", "dopamine", "dobutamine", "milrinone", "phenylephrine"), "mcg/kg/min"
) | {"vasopressin": "units/hour"}
ETHNICITIES = {
    "white": "WHITE",
    "black": "BLACK/AFRICAN AMERICAN",
    "hispanic": "HISPANIC/LATINO - PUERTO RICAN",
    "asian": "ASIAN - CHINESE",
    "other": "MULTI RACE ETHNICITY",
    "unknown": "UNKNOWN",
}


def intervals(
    rows: pl.DataFrame, block: Block, items: Mapping[str, int], first: Mapping[str, pl.Expr], stay_id: str
) -> pl.DataFrame:
    """MetaVision's table of infusions; every interval of a drug and stay has the order of the one before it.

    Arguments:
        rows: of Block.infusions, with row_id.
        first: the columns that the schema begins with.
    """
    start = of_stay(block.visits.start) + pl.col("start")
    end = of_stay(block.visits.start) + pl.col("end")
    item = pl.col("drug").replace_strict(items, return_dtype=pl.Int64)
    order = first[stay_id] * 10 + pl.col("drug").replace_strict({name: i for i, name in enumerate(items)})
    caregiver = {"caregiver_id": pl.lit(None, pl.String)} if stay_id == "stay_id" else {}
    cgid = {"cgid": pl.lit(None, pl.String)} if stay_id == "icustay_id" else {}
    cancelled = blank("cancelreason") if stay_id == "icustay_id" else {}
    comments = blank("comments_editedby", "comments_canceledby", "comments_date") if stay_id == "icustay_id" else {}
    middle = {"storetime": clock(end), "itemid": item} if stay_id == "stay_id" else {"itemid": item}
    after = {} if stay_id == "stay_id" else {"storetime": clock(end)}
    return rows.select(
        **first,
        **caregiver,
        starttime=clock(start),
        endtime=clock(end),
        **middle,
        **blank("amount", "amountuom"),
        rate="rate",
        rateuom=pl.col("drug").replace_strict(UNITS_OF_RATES),
        **after,
        **cgid,
        orderid=order,
        linkorderid=order,
        ordercategoryname=pl.lit("01-Drips"),
        secondaryordercategoryname=pl.lit("02-Fluids (Crystalloids)"),
        ordercomponenttypedescription=pl.lit("Main order parameter"),
        ordercategorydescription=pl.lit("Continuous Med"),
        patientweight=of_stay(block.visits.weight.astype(float).round(1)),
        **blank("totalamount", "totalamountuom"),
        isopenbag=pl.lit(0),
        continueinnextdept=pl.lit(0),
        **cancelled,
        statusdescription=pl.lit("FinishedRunning"),
        **comments,
        **blank("originalamount", "originalrate"),
    )


def pump_points(infusions: pl.DataFrame, every: int) -> pl.DataFrame:
    """Infusions as a nurse charts them who reads the pump at each change and every `every` minutes: row, drug, minute, rate.

    A null rate says that the pump was stopped.

    >>> ran = {"row": [0], "drug": ["dopamine"], "start": [10], "end": [250], "rate": [5.0]}
    >>> pump_points(pl.DataFrame(ran), every=120).select("minute", "rate").rows()
    [(10, 5.0), (130, 5.0), (250, None)]
    """
    read = infusions.with_columns(minute=pl.int_ranges("start", "end", every)).explode("minute", empty_as_null=True)
    goes_on = infusions.select("row", "drug", minute="start")
    stops = infusions.select("row", "drug", minute="end", rate=pl.lit(None, pl.Float64))
    stops = stops.join(goes_on, on=["row", "drug", "minute"], how="anti")
    points = pl.concat([read.select("row", "drug", "minute", "rate"), stops.select("row", "drug", "minute", "rate")])
    return points.sort("row", "minute", "drug")
