"""Infusions of eICU: points in time with a free-text name, rate and unit, as in "Norepinephrine (mcg/min)", "20-40".

What cannot be read (no unit in the name, a rate that is no number) stays, with a null: it ran, at an unknown rate. "OFF" is 0.
"""

from collections.abc import Sequence

import polars as pl

from icu_lightning.data.concepts import Charted
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.base import INFUSIONS, complete
from icu_lightning.data.sources.infusions import HOLD, held
from icu_lightning.data.sources.tables import RawTables, number

BAG = r"(?i)([\d.]+)\s*(mg|units?)\b.*?([\d.]+)\s*ml"  # "STD 4 mg Dextrose 5% 250 ml", "40 Units Sodium Chloride 0.9% 100 ml"


def eicu_infusions(tables: RawTables, places: Sequence[Charted], drugs: Sequence[Drug]) -> pl.LazyFrame:
    """`sources.base.INFUSIONS` of infusionDrug; a rate holds until the next row of its drug, for at most two hours.

    The unit is what stands in parentheses at the end of the drug's name. Of rows at the same time a dose counts before a
    volume, and either before a rate without a unit.
    """
    columns = ["patientunitstayid", "infusionoffset", "drugname", "drugrate"]
    optional = ["patientweight", "drugamount", "volumeoffluid"]
    rows = tables.scan("infusionDrug", columns, optional=optional)
    drug = pl.coalesce(
        pl.when(pl.col("drugname").str.contains(p.path) & ~pl.col("drugname").str.contains(p.unless or "^$")).then(
            pl.lit(p.variable)
        )
        for p in places
        if p.path
    )
    rows = rows.with_columns(drug=drug).drop_nulls("drug")
    unit = pl.col("drugname").str.extract(r"\(([^()]*)\)\s*$").str.to_lowercase().fill_null("")
    rows = rows.with_columns(
        stay_id=number("patientunitstayid"),
        start_hours=number("infusionoffset") / 60,
        rate=pl.when(pl.col("drugrate").str.to_lowercase() == "off").then(0.0).otherwise(number("drugrate")),
        unit=unit,
        weight_kg=number("patientweight"),
        per_ml=pl.coalesce(_of_name(), _of_columns(), _usual(drugs)),
        wrong=pl.lit(False),
        typed=pl.lit(True),
    )
    known = pl.col("rate").is_not_null() & ~pl.col("unit").is_in(["", "unknown"])
    rank = pl.when(known & (pl.col("unit") != "ml/hr")).then(2).when(known).then(1).otherwise(0)
    return complete(held(rows.with_columns(rank=rank), HOLD["eicu"]), INFUSIONS)


def _of_name() -> pl.Expr:
    """Concentration of the bag that the drug's name tells, in ug (or U) a mL."""
    amount, unit, volume = (pl.col("drugname").str.extract(BAG, group) for group in (1, 2, 3))
    return _concentration(amount.cast(pl.Float64, strict=False), volume.cast(pl.Float64, strict=False), _is_units(unit))


def _of_columns() -> pl.Expr:
    """Concentration by the columns of amount (mg, of vasopressin U) and volume (mL)."""
    return _concentration(number("drugamount"), number("volumeoffluid"), pl.col("drug") == "vasopressin")


def _is_units(unit: pl.Expr) -> pl.Expr:
    return unit.str.to_lowercase().str.starts_with("unit")


def _concentration(amount: pl.Expr, volume: pl.Expr, in_units: pl.Expr) -> pl.Expr:
    per_ml = amount * pl.when(in_units).then(1.0).otherwise(1000.0) / volume
    return pl.when((amount > 0) & (volume > 0)).then(per_ml)


def _usual(drugs: Sequence[Drug]) -> pl.Expr:
    usual = {drug.name: float(drug.per_ml["eicu"]) for drug in drugs if "eicu" in drug.per_ml}
    return pl.col("drug").replace_strict(usual, default=None, return_dtype=pl.Float64)
