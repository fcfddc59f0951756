"""Infusions to standard rates: units, weights and plausibility, decided from drugs.yaml alone, and counted (METHODS C.1).

An infusion whose rate cannot be read stays, with a null rate: it ran, and nobody knows how fast. Only a time in which no
infusion was charted is a rate of zero. Every infusion leaves with a status:

kept (charted in the drug's unit), converted (from another unit, with the charted weight where one was needed),
assumed_weight (the same with 80 kg, because none was charted), repaired (typed in, too high as charted, and plausible
in the drug's `misread` unit), out_of_range (above the drug's highest rate, or negative), unknown_unit, non_numeric,
not_a_rate (a bolus), no_time, no_stay, entered_in_error (rewritten), outside_window.
"""

import re
from collections.abc import Sequence

import polars as pl

from icu_lightning.data.drugs import Drug

STATUSES = (
    "kept",
    "converted",
    "assumed_weight",
    "repaired",
    "out_of_range",
    "unknown_unit",
    "non_numeric",
    "not_a_rate",
    "no_time",
    "no_stay",
    "entered_in_error",
    "outside_window",
)
UNREAD = {"drug": pl.String, "unit": pl.String, "infusions": pl.Int64, "stays": pl.Int64}  # of `unknown_units`
KNOWN = ("kept", "converted", "assumed_weight", "repaired")
RAN = (*KNOWN, "out_of_range", "unknown_unit", "non_numeric")  # it ran, if at an unknown rate
USUAL_WEIGHT = 80.0  # kg, mimic-code's
WEIGHTS = (25.0, 350.0)  # plausible kg
MILLIGRAMS = 1000.0  # ug
ROUNDING = 1 + 1e-9  # 0.1 U/min is not above 6 U/h
AMOUNTS = {"mcg": ("ug", 1.0), "ug": ("ug", 1.0), "ng": ("ug", 1e-3), "nanograms": ("ug", 1e-3), "mg": ("ug", 1e3)}
AMOUNTS |= {"g": ("ug", 1e6), "gm": ("ug", 1e6), **dict.fromkeys(("u", "unit", "units"), ("U", 1.0)), "ml": ("mL", 1.0)}
MINUTES = {"min": 1.0, "minute": 1.0, "hr": 60.0, "hour": 60.0, "h": 60.0}
UNIT = re.compile("({})/?(kg)?/?({})".format(*("|".join(sorted(t, key=len, reverse=True)) for t in (AMOUNTS, MINUTES))))


def read_unit(text: str | None) -> tuple[str, float, bool] | None:
    """(ug, U or mL; how many of it a minute one of the unit is; per kg?) of a charted unit, None if it cannot be read.

    >>> read_unit("mcg/kg/min"), read_unit("mcgkgmin"), read_unit("Units/hr"), read_unit("mg/kg/hr"), read_unit("")
    (('ug', 1.0, True), ('ug', 1.0, True), ('U', 0.016666666666666666, False), ('ug', 16.666666666666668, True), None)
    """
    found = UNIT.fullmatch(re.sub(r"\s|\.", "", (text or "").lower()).replace("µ", "u"))
    if not found:
        return None
    substance, factor = AMOUNTS[found[1]]
    return substance, factor / MINUTES[found[3]], bool(found[2])


def clean_infusions(
    charted: pl.DataFrame, drugs: Sequence[Drug], weights: pl.DataFrame, hours: float, start: float = 0.0
) -> pl.DataFrame:
    """Infusions with `rate` in the drug's unit (null unless known), their `status`, one of STATUSES, and the `unit` as charted.

    Arguments:
        charted: as `sources.base.INFUSIONS`.
        weights: stay_id and weight_kg of every stay, null where unknown.
        hours, start: infusions that end by `start`, or begin at or after `hours`, are outside; others are cut to that window.
    """
    rows = charted.join(_units(charted, drugs), on=["drug", "unit"], how="left", nulls_equal=True)
    rows = rows.join(weights.select("stay_id", stay_weight="weight_kg"), on="stay_id", how="left")
    own, of_stay = (pl.col(c).is_between(*WEIGHTS) for c in ("weight_kg", "stay_weight"))
    # A weight of 1 was entered where there was none: what says mg/kg/min is then in ug
    no_weight = (pl.col("weight_kg") == 1) & pl.col("per_kg") & (pl.col("factor") == MILLIGRAMS)
    factor = pl.when(no_weight).then(1.0).otherwise("factor")
    factor = pl.when(pl.col("volume")).then(pl.col("factor") * pl.col("per_ml")).otherwise(factor)
    rows = rows.with_columns(
        weight=pl.when(own).then("weight_kg").when(of_stay).then("stay_weight").otherwise(USUAL_WEIGHT),
        charted_weight=(own | of_stay).fill_null(False),
        amount=pl.col("rate") * factor,  # ug or U a minute, per kg or not
    )
    rows = rows.with_columns(standard=pl.when("per_kg").then("amount").otherwise(pl.col("amount") / pl.col("weight")))
    rows = rows.with_columns(limit=ROUNDING * pl.col("highest") / pl.when("limit_per_kg").then(1.0).otherwise("weight"))
    misread = pl.col("rate") * pl.col("misread_factor")
    again = misread / pl.col("weight")
    repaired = (pl.col("standard") > pl.col("limit")) & (again <= pl.col("limit"))
    repaired &= pl.col("rate").is_between("misread_low", "misread_high") & pl.col("may_be_misread")
    repaired &= pl.col("typed").fill_null(False)
    status = _status(repaired, hours, start)
    rate = pl.when(pl.col("rate") == 0).then(0.0).when(repaired).then(again).otherwise("standard")
    return rows.with_columns(status=status.cast(pl.Enum(STATUSES))).select(
        "stay_id",
        "drug",
        "status",
        rate=pl.when(pl.col("status").is_in(KNOWN)).then(rate),
        start_hours=pl.max_horizontal("start_hours", pl.lit(start)),
        end_hours=pl.min_horizontal("end_hours", pl.lit(float(hours))),
        charted_end_hours="end_hours",
        unit="unit",
    )


def infusion_table(infusions: pl.DataFrame, drugs: Sequence[str]) -> pl.DataFrame:
    """One row a drug, named as a variable: a count a status, and the latest hour at which one that ran began."""
    ran = pl.col("start_hours").filter(pl.col("status").cast(pl.String).is_in(RAN))
    counts = infusions.group_by(variable="drug").agg(
        *((pl.col("status") == status).sum().cast(pl.Int64).alias(status) for status in STATUSES),
        latest_hours=ran.max(),
    )
    table = pl.DataFrame({"variable": list(drugs)}).join(counts, on="variable", how="left", maintain_order="left")
    return table.with_columns(pl.col(STATUSES).fill_null(0))


def unknown_units(infusions: pl.DataFrame) -> pl.DataFrame:
    """Every text of a unit that could not be read, a row a drug and text: drug, unit, and of how many infusions and stays.

    >>> said = {"stay_id": 1, "drug": "dopamine", "status": ["kept", "unknown_unit", "unknown_unit"]}
    >>> unknown_units(pl.DataFrame(said | {"unit": ["mcg/kg/min", "vials", "vials"]})).rows()
    [('dopamine', 'vials', 2, 1)]
    """
    unread = infusions.filter(pl.col("status").cast(pl.String) == "unknown_unit")
    counts = unread.group_by("drug", "unit").agg(infusions=pl.len(), stays=pl.col("stay_id").n_unique())
    return counts.select(pl.col(name).cast(dtype) for name, dtype in UNREAD.items()).sort("drug", "unit")


def _status(repaired: pl.Expr, hours: float, start: float) -> pl.Expr:
    converted = pl.when("charted_weight").then(pl.lit("converted")).otherwise(pl.lit("assumed_weight"))
    return (
        pl.when(pl.col("stay_id").is_null())
        .then(pl.lit("no_stay"))
        .when(~(pl.col("end_hours") >= pl.col("start_hours")).fill_null(False))
        .then(pl.lit("no_time"))
        .when((pl.col("end_hours") <= start) | (pl.col("start_hours") >= hours))
        .then(pl.lit("outside_window"))
        .when(pl.col("wrong"))
        .then(pl.lit("entered_in_error"))
        .when(pl.col("unit") == "bolus")
        .then(pl.lit("not_a_rate"))
        .when(pl.col("rate").is_null())
        .then(pl.lit("non_numeric"))
        .when(pl.col("rate") < 0)
        .then(pl.lit("out_of_range"))
        .when(pl.col("rate") == 0)
        .then(pl.lit("kept"))  # nothing ran, in any unit
        .when(pl.col("amount").is_null())
        .then(pl.lit("unknown_unit"))
        .when(repaired)
        .then(pl.lit("repaired"))
        .when(pl.col("standard") > pl.col("limit"))
        .then(pl.lit("out_of_range"))
        .when(pl.col("per_kg") & (pl.col("factor") == 1))
        .then(pl.lit("kept"))
        .when(pl.col("per_kg"))
        .then(pl.lit("converted"))
        .otherwise(converted)
    )


def _units(charted: pl.DataFrame, drugs: Sequence[Drug]) -> pl.DataFrame:
    """What each charted unit of each drug means: factor to (ug or U) a minute, per kg, volume, and the drug's limits."""
    of = {drug.name: drug for drug in drugs}
    facts = []
    for drug, unit in charted.select("drug", "unit").unique().rows():
        substance, factor, per_kg = read_unit(unit) or (None, None, None)
        wanted = of[drug].unit.split("/")[0]
        limit, misread = read_unit(of[drug].limit_unit), read_unit(of[drug].misread.unit)
        if limit is None or misread is None:
            raise ValueError(f"drugs.yaml: the units of {drug} cannot be read")
        readable = substance in (wanted, "mL")
        facts.append(
            {
                "drug": drug,
                "unit": unit,
                "factor": factor if readable else None,
                "per_kg": per_kg if readable else None,
                "volume": substance == "mL",
                "highest": of[drug].highest * limit[1],
                "limit_per_kg": limit[2],
                "may_be_misread": read_unit(unit) == read_unit(of[drug].misread.charted),
                "misread_factor": misread[1],
                "misread_low": of[drug].misread.low,
                "misread_high": of[drug].misread.high,
            }
        )
    schema = {"drug": pl.String, "unit": pl.String, "factor": pl.Float64, "per_kg": pl.Boolean, "volume": pl.Boolean}
    floats = ("highest", "misread_factor", "misread_low", "misread_high")
    flags = ("limit_per_kg", "may_be_misread")
    return pl.DataFrame(facts, schema=schema | dict.fromkeys(floats, pl.Float64) | dict.fromkeys(flags, pl.Boolean))
