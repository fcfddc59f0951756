"""Infusions of MIMIC: MetaVision's intervals (MIMIC-IV and the later years of MIMIC-III) and CareVue's points in time."""

from collections.abc import Sequence

import polars as pl

from icu_lightning.data.concepts import Charted
from icu_lightning.data.sources.base import INFUSIONS, complete
from icu_lightning.data.sources.infusions import HOLD, cut_at_next, drug_facts, held, in_order
from icu_lightning.data.sources.mimic import hours_between, linked_by_id, time
from icu_lightning.data.sources.tables import RawTables, number


def metavision_infusions(
    tables: RawTables, table: str, stay_id: str, places: Sequence[Charted], times: pl.LazyFrame
) -> pl.LazyFrame:
    """`sources.base.INFUSIONS` of a table of intervals with rate, unit and patient weight.

    A row marked as rewritten is wrong; one without a rate and a unit of rate is a bolus, its unit "bolus".
    """
    ids = [label for place in places for label in place.labels]
    columns = [stay_id, "itemid", "starttime", "endtime", "rate", "rateuom", "orderid", "statusdescription"]
    rows = tables.scan(table, columns, optional=["patientweight"], only={"itemid": ids}).rename({stay_id: "stay_id"})
    rows = rows.join(drug_facts(places), on="itemid").with_columns(charttime=time("starttime"))
    rows = linked_by_id(rows, times).with_columns(
        start_hours="hours",
        end_hours=hours_between(pl.col("intime"), time("endtime")),
        wrong=pl.col("statusdescription").str.to_lowercase() == "rewritten",
        bolus=pl.col("rate").is_null() & pl.col("rateuom").is_null(),
        typed=pl.lit(
            False
        ),  # MetaVision computes it from amount, time and weight: a bag emptied quickly has a high rate
        rate=number("rate"),
        weight_kg=number("patientweight"),
        stay_id=number("stay_id"),
    )
    unit = pl.when("bolus").then(pl.lit("bolus")).otherwise("rateuom")
    return complete(cut_at_next(rows.with_columns(unit=unit)), INFUSIONS)


def carevue_infusions(tables: RawTables, places: Sequence[Charted], times: pl.LazyFrame) -> pl.LazyFrame:
    """`sources.base.INFUSIONS` of inputevents_cv: a rate holds until the next row of its drug, for at most four hours.

    A row without a rate (an amount was charted) goes on with the rate before it; one that says "Stopped" or "D/C'd" ends it.
    """
    ids = [label for place in places for label in place.labels]
    columns = ["icustay_id", "itemid", "charttime", "rate", "rateuom", "stopped"]
    rows = tables.scan("inputevents_cv", columns, only={"itemid": ids}).rename({"icustay_id": "stay_id"})
    rows = rows.join(drug_facts(places), on="itemid").with_columns(charttime=time("charttime"))
    stopped = pl.col("stopped").str.contains("(?i)^(stopped|d/c)").fill_null(False)
    rows = linked_by_id(rows, times).with_columns(
        start_hours="hours",
        stay_id=number("stay_id"),
        unit=pl.coalesce("rateuom", "usual_unit"),
        rank=pl.when(stopped).then(2).when(pl.col("rate").is_not_null()).then(1).otherwise(0),
        rate=pl.when(stopped).then(0.0).otherwise(number("rate")),
        said=pl.col("rate").is_not_null() | stopped,
    )
    # One struct, so that a rate that cannot be read is carried on too, with its unit
    last_said = pl.when("said").then(pl.struct("rate", "unit")).forward_fill().over("stay_id", "drug")
    rows = (
        in_order(rows)
        .with_columns(last_said=last_said)
        .with_columns(
            rate=pl.col("last_said").struct.field("rate"),
            unit=pl.coalesce(pl.col("last_said").struct.field("unit"), "unit"),
        )
    )
    rows = rows.with_columns(wrong=pl.lit(False), typed=pl.lit(True))
    return complete(held(rows, HOLD["carevue"]), INFUSIONS)
