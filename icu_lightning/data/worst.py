"""From events to the worst values that the severity scores look up: which hours, which blood gas, which coma scale.

Windows (METHODS C.3, mimic-code): 6 hours before admission to 24 hours after it, for SAPS II the 24 hours alone; hourly SOFA
looks back 24 hours from the end of every hour. Never beyond the prediction time. A PaO2 is divided by the latest FiO2 of at
most 4 hours before; ventilation lasts from one charting to the next, at most 14 hours; a component of the coma scale
holds for 6 hours, one never charted is normal, and a patient with a tube scores 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import polars as pl

from icu_lightning.data.cleaning import USABLE, clean
from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.infusions import clean_infusions
from icu_lightning.data.severity import lods, oasis, saps2, sirs, sofa
from icu_lightning.data.sources.base import Source
from icu_lightning.data.vis import hourly_cells
from icu_lightning.errors import UserError

DAY = 24  # hours of the first day
LOOK_BACK = 6  # hours before admission that count for the first day
CARRY = {"fio2": 4.0, "ventilation": 14.0, "gcs": 6.0}  # hours
BEFORE = max(CARRY.values())  # hours before a window in which something may be charted that still holds in it
ROUNDING = 1e-6  # hours: 4.3 - 0.3 is 4
CHUNK = 5000  # stays whose hours are in memory at the same time
URINE_COVERED = 22  # hours of stay without which a day's urine is unknown

EXTREMES = {  # column: variable, worst side
    **{f"{v}_{side}": (v, side) for v in ("heart_rate", "sbp", "map", "respiratory_rate", "temperature") for side in ("min", "max")},
    **{f"{v}_{side}": (v, side) for v in ("wbc", "potassium", "sodium") for side in ("min", "max")},
    **{f"{v}_max": (v, "max") for v in ("bilirubin", "creatinine", "bun", "bands")},
    **{f"{v}_min": (v, "min") for v in ("platelets", "bicarbonate", "paco2")},
    "pt_min": ("prothrombin_time", "min"),
    "pt_max": ("prothrombin_time", "max"),
}  # fmt: skip
GCS = {"gcs_eyes": 4, "gcs_verbal": 5, "gcs_motor": 6}  # normal values
MOMENTS = ("pao2", "fio2", "ventilation", "gcs", *GCS, "gcs_tube")  # must be set beside one another in time
HISTORY = ("surgical", "elective", "aids", "haematologic_malignancy", "metastatic_cancer")
SOFA_EXTREMES = ("map_min", "platelets_min", "bilirubin_max", "creatinine_max")
SOFA_DRUGS = ("dopamine", "dobutamine", "epinephrine", "norepinephrine")
COMPONENTS = {"score": pl.String, "component": pl.String, "scored": pl.Int64, "missing": pl.Int64}
SCORES = (*dict.fromkeys(variable for variable, _ in EXTREMES.values()), *MOMENTS, "urine", *HISTORY)


def charted(source: Source, variables: Sequence[str]) -> list[str]:
    """Those of the variables that the database charts at all."""
    return [c.name for c in concepts_of(variables) if source.name in c.charted]


def severity_scores(source: Source, stays: pl.DataFrame, hours: int) -> pl.DataFrame:
    """The five scores of the first day of every stay: stay_id, sofa, lods, saps2, oasis, sirs; null where nothing is known.

    Arguments:
        stays: as `sources.base.STAYS`, in any order.
        hours: the prediction time; a first day that it cuts short ends there.
    """
    return scores_and_components(source, stays, hours)[0]


def scores_and_components(source: Source, stays: pl.DataFrame, hours: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same, and a row a component: score, component, of how many stays the score is known (`scored`), and in how many of them
    nothing of this component was measured, so that it counted 0 points (`missing`).

    Deviation: SOFA's 3 and 4 points of respiration and OASIS' ventilation want invasive ventilation, the other scores
    CPAP too, as METHODS says.
    """
    day = FirstDay.read(source, stays, min(DAY, hours))
    frame, without_before = day.worst(-LOOK_BACK), day.worst(0)
    points = [sofa(_invasive(frame)), lods(frame), saps2(without_before), oasis(_invasive(frame)), sirs(frame)]
    scored = {table.columns[-1]: _where_charted(table, frame) for table in points}
    totals = [table.select("stay_id", name) for name, table in scored.items()]
    return (
        reduce(lambda a, b: a.join(b, on="stay_id", how="left", maintain_order="left"), totals),
        pl.concat([_missing(name, table) for name, table in scored.items()]),
    )


def _where_charted(points: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """A score's points, null of stays of which nothing at all was charted: their flags of False were not looked at either."""
    charted = frame.select("stay_id", "charted_anything")
    points = charted.join(points, on="stay_id", how="left", maintain_order="left")
    name = points.columns[-1]
    components = [column for column in points.columns if column.startswith(f"{name}_")]
    return points.select(
        "stay_id", *(pl.when("charted_anything").then(column).alias(column) for column in (*components, name))
    )


def _missing(name: str, points: pl.DataFrame) -> pl.DataFrame:
    """The rows of one score, in the order of its components."""
    scored = points.filter(pl.col(name).is_not_null())
    columns = scored.columns[1:-1]
    return pl.DataFrame(
        {
            "score": [name] * len(columns),
            "component": [column.removeprefix(f"{name}_") for column in columns],
            "scored": [scored.height] * len(columns),
            "missing": [scored[column].null_count() for column in columns],
        },
        schema=COMPONENTS,
    )


def _invasive(frame: pl.DataFrame) -> pl.DataFrame:
    """The same table with CPAP counted as breathing alone."""
    return frame.with_columns(
        pf_ventilated_min="pf_invasive_min", pf_unventilated_min="pf_spontaneous_min", ventilated="invasive"
    )


@dataclass(frozen=True)
class FirstDay:
    """What was charted around the first day of these stays, from LOOK_BACK hours before admission to `end`, at most a DAY.

    extremes: of every stay, before and after admission: the columns of EXTREMES, urine (mL) and n, the number of events.
    moments: stay_id, hours, variable, value, preference of MOMENTS, from BEFORE hours earlier.
    rates: stay_id, hour and the highest rates in it.
    """

    stays: pl.DataFrame
    end: float
    extremes: pl.DataFrame
    moments: pl.DataFrame
    rates: pl.DataFrame
    history: pl.DataFrame

    @classmethod
    def read(cls, source: Source, stays: pl.DataFrame, end: float) -> "FirstDay":
        """Raises UserError if the database charts nothing that a score looks at."""
        variables = charted(source, [name for name in SCORES if name not in HISTORY])
        if not variables:
            raise UserError(
                f"data={source.name} charts nothing that severity scores are made of: leave data.severity empty, and the "
                "scores out of data.static."
            )
        events = usable_events(source, variables, stays, end, -LOOK_BACK - BEFORE)
        inside = events.filter(pl.col("hours") >= -LOOK_BACK).with_columns(before=pl.col("hours") < 0)
        return cls(
            stays=stays,
            end=end,
            extremes=source.collect(_extremes(inside, ["stay_id", "before"])),
            moments=source.collect(events.filter(pl.col("variable").is_in(MOMENTS))),
            rates=highest_rates(source, stays, end),
            history=history(source, stays, end),
        )

    def worst(self, start: float) -> pl.DataFrame:
        """One row a stay with every column of `severity.INPUTS` for [start, end) hours, and `charted_anything`.

        Arguments:
            start: 0 or -LOOK_BACK.
        """
        moments = self.moments.filter(pl.col("hours") >= start)
        # What was charted before the window still holds in it, so gases and coma scale see all moments
        gas, gcs = (f.filter(pl.col("hours") >= start) for f in (gases(self.moments), coma_scale(self.moments)))
        support = moments.filter(pl.col("variable") == "ventilation").group_by("stay_id").agg(pl.col("value").max())
        parts = [
            self._worst_extremes(start),
            gcs.group_by("stay_id").agg(gcs_min=pl.col("value").min()),
            gas.group_by("stay_id").agg(**_worst_gases()),
            support.select("stay_id", ventilated=pl.col("value") >= 1, invasive=pl.col("value") == 2),
            self.rates.group_by("stay_id").agg(pl.col(f"{drug}_max").max() for drug in SOFA_DRUGS),
            self.history,
        ]
        frame = self.stays.select("stay_id", pl.col("age").floor(), "pre_icu_hours")
        for part in parts:
            frame = frame.join(part, on="stay_id", how="left", maintain_order="left")
        return frame.with_columns(pl.col("ventilated", "invasive", "charted_anything").fill_null(False))

    def _worst_extremes(self, start: float) -> pl.DataFrame:
        rows = self.extremes.filter(~pl.col("before") | (start < 0))
        worst = {name: getattr(pl.col(name), side)() for name, (_, side) in EXTREMES.items()}
        urine = pl.col("urine").filter(~pl.col("before"))
        table = rows.group_by("stay_id").agg(
            **worst,
            charted_anything=pl.col("n").sum() > 0,
            urine_24h=pl.when(urine.count() > 0).then(urine.sum().clip(0.0)),
        )
        covered = (pl.col("los_hours") >= URINE_COVERED) & (self.end >= URINE_COVERED)
        long = self.stays.filter(covered)["stay_id"]
        return table.with_columns(urine_24h=pl.when(pl.col("stay_id").is_in(long.implode())).then("urine_24h"))


def usable_events(
    source: Source, variables: Sequence[str], stays: pl.DataFrame, end: float, start: float
) -> pl.LazyFrame:
    """Cleaned events of these stays in [start, end) hours: stay_id, hours, variable, value, preference."""
    concepts = concepts_of(variables)
    events = source.events(concepts).filter(pl.col("stay_id").is_in(stays["stay_id"].implode()))
    cleaned = clean(events, concepts, end, start).filter(pl.col("status").is_in(USABLE))
    return cleaned.select("stay_id", "hours", "variable", "value", "preference")


def _extremes(events: pl.LazyFrame, key: Sequence[str], columns: Sequence[str] = tuple(EXTREMES)) -> pl.LazyFrame:
    """One row a key: these columns of EXTREMES, urine (mL) and the number of events n; null where nothing was measured."""
    wanted = {column: EXTREMES[column] for column in columns}
    of = {name: pl.col("value").filter(pl.col("variable") == variable) for name, (variable, _) in wanted.items()}
    made = (pl.col("value").filter(pl.col("variable") == "urine") * 100).round().cast(pl.Int64)
    return events.group_by(key).agg(
        **{name: getattr(of[name], side)() for name, (_, side) in wanted.items()},
        urine=pl.when(made.len() > 0).then(made.sum() / 100),
        n=pl.len(),
    )


def gases(moments: pl.DataFrame) -> pl.DataFrame:
    """Every arterial PaO2 with an FiO2: stay_id, hours, pf (mmHg), support (0 none, 1 CPAP, 2 invasive).

    >>> said = {"stay_id": 1, "hours": [0.0, 1.0, 2.0], "variable": ["fio2", "ventilation", "pao2"], "value": [0.5, 2.0, 80.0]}
    >>> gases(pl.DataFrame(said | {"preference": 0})).rows()
    [(1, 2.0, 160.0, 2.0)]
    """
    gas = _of(moments, "pao2").rename({"value": "pao2"})
    gas = _latest(gas, _of(moments, "fio2"), "fio2", CARRY["fio2"])
    # A tube says more than the mask or cannula charted beside it, whichever place it was charted in
    support = _of(moments.with_columns(preference=pl.lit(0)), "ventilation")
    gas = _latest(gas, support, "support", CARRY["ventilation"])
    return gas.drop_nulls("fio2").select(
        "stay_id", "hours", pf=pl.col("pao2") / pl.col("fio2"), support=pl.col("support").fill_null(0.0)
    )


def _worst_gases() -> dict[str, pl.Expr]:
    support = pl.col("support")
    kinds = {
        "pf_ventilated_min": support >= 1,
        "pf_unventilated_min": support < 1,
        "pf_invasive_min": support == 2,
        "pf_spontaneous_min": support < 2,
    }
    return {name: pl.col("pf").filter(kind).min() for name, kind in kinds.items()}


def coma_scale(moments: pl.DataFrame) -> pl.DataFrame:
    """Every charting of the Glasgow coma scale as a total: stay_id, hours, value.

    >>> said = {"stay_id": 1, "hours": [0.0, 1.0], "variable": ["gcs_eyes", "gcs_motor"], "value": [2.0, 5.0], "preference": 0}
    >>> coma_scale(pl.DataFrame(said)).rows()
    [(1, 0.0, 13.0), (1, 1.0, 12.0)]
    """
    times = moments.filter(pl.col("variable").is_in(list(GCS))).select("stay_id", "hours").unique()
    times = times.sort("stay_id", "hours")
    for name in (*GCS, "gcs_tube"):
        times = _latest(times, _of(moments, name), name, CARRY["gcs"])
    total = pl.sum_horizontal(pl.col(name).fill_null(normal) for name, normal in GCS.items())
    value = pl.when(pl.col("gcs_tube") == 1).then(15.0).otherwise(total)
    charted_as_total = _of(moments, "gcs").select("stay_id", "hours", "value")
    return pl.concat([times.select("stay_id", "hours", value=value), charted_as_total]).sort("stay_id", "hours")


def _of(moments: pl.DataFrame, variable: str) -> pl.DataFrame:
    """One value a time of a variable: the preferred place's, of several there the highest."""
    rows = moments.filter(pl.col("variable") == variable)
    order = pl.struct("preference", -pl.col("value"))
    return rows.group_by("stay_id", "hours").agg(pl.col("value").min_by(order)).sort("stay_id", "hours")


def _latest(rows: pl.DataFrame, values: pl.DataFrame, name: str, within: float) -> pl.DataFrame:
    """Rows with the latest value at or before their time, at most `within` hours old, as column `name`."""
    found = rows.sort("hours").join_asof(
        values.sort("hours").rename({"value": name}),
        on="hours",
        by="stay_id",
        tolerance=within + ROUNDING,
        check_sortedness=False,
    )
    return found.sort("stay_id", "hours")


def highest_rates(source: Source, stays: pl.DataFrame, hours: float) -> pl.DataFrame:
    """The highest known rates in each hour of [0, hours) in which a drug ran: stay_id, hour, dopamine_max, ..."""
    drugs = [drug for drug in vis_drugs() if drug.name in SOFA_DRUGS]
    empty = {"stay_id": pl.Int64, "hour": pl.Int64, **dict.fromkeys((f"{d}_max" for d in SOFA_DRUGS), pl.Float64)}
    if not any(source.name in drug.charted for drug in drugs):
        return pl.DataFrame(schema=empty)
    rows = source.collect(source.infusions(drugs)).join(stays.select("stay_id"), on="stay_id", how="semi")
    known = clean_infusions(rows, drugs, stays.select("stay_id", "weight_kg"), hours).drop_nulls("rate")
    cells = hourly_cells(known.filter(pl.col("end_hours") > pl.col("start_hours")), "max")
    of = {f"{drug}_max": pl.col("rate").filter(pl.col("drug") == drug).max() for drug in SOFA_DRUGS}
    return pl.concat([pl.DataFrame(schema=empty), cells.group_by("stay_id", "hour").agg(**of)])


def history(source: Source, stays: pl.DataFrame, end: float = DAY) -> pl.DataFrame:
    """stay_id, admission_type, aids, haematologic_malignancy, metastatic_cancer; null where the database does not tell.

    Surgical is who came under a surgical service at any time of the admission before `end` hours (mimic-code's OASIS; its
    SAPS II takes the first service of the admission).
    Diagnoses are those coded at discharge, as in the scores' own validation: strictly, they were not known on the first day.
    """
    variables = charted(source, HISTORY)
    frame = stays.select("stay_id", "pre_icu_hours")
    if variables:
        rows = source.collect(
            source.events(concepts_of(variables)).filter(
                pl.col("stay_id").is_in(stays["stay_id"].implode())
                & ((pl.col("variable") != "surgical") | (pl.col("hours") < end))
            )
        )
        flags = rows.group_by("stay_id").agg(
            (pl.col("value").filter(pl.col("variable") == name).max() == 1).alias(name) for name in variables
        )
        frame = frame.join(flags, on="stay_id", how="left")
    frame = frame.with_columns(pl.lit(None, pl.Boolean).alias(name) for name in HISTORY if name not in variables)
    told = pl.col("surgical").is_not_null()
    kind = pl.when(~pl.col("surgical")).then(pl.lit("medical")).when("elective").then(pl.lit("elective_surgery"))
    diagnoses = HISTORY[2:]
    return frame.select(
        "stay_id",
        *(pl.col(name).fill_null(False) if name in variables else pl.col(name) for name in diagnoses),
        admission_type=pl.when(told).then(kind.otherwise(pl.lit("emergency_surgery"))),
    )


def hourly_sofa(source: Source, stays: pl.DataFrame, hours: int) -> pl.DataFrame:
    """SOFA of the worst values of the 24 hours before the end of every hour in the unit: stay_id, hour (its end), sofa.

    Arguments:
        hours: the last hour; later ones are never read. Null where nothing was measured in the 24 hours.
    """
    variables = [*dict.fromkeys(EXTREMES[column][0] for column in SOFA_EXTREMES), *MOMENTS, "urine"]
    events = usable_events(source, charted(source, variables), stays, hours, -DAY - BEFORE)
    hour = pl.col("hours").floor().cast(pl.Int64).alias("hour")
    extremes = source.collect(_extremes(events.with_columns(hour), ["stay_id", "hour"], SOFA_EXTREMES))
    moments = source.collect(events.filter(pl.col("variable").is_in(MOMENTS)))
    gcs = coma_scale(moments).group_by("stay_id", hour).agg(gcs_min=pl.col("value").min())
    gas = gases(moments).group_by("stay_id", hour).agg(**_worst_gases())
    gas = gas.select("stay_id", "hour", pf_ventilated_min="pf_invasive_min", pf_unventilated_min="pf_spontaneous_min")
    since_admission = pl.when(pl.col("hour") >= 0).then("urine")  # a day's urine begins with the stay
    extremes = extremes.select("stay_id", "hour", *SOFA_EXTREMES, urine=since_admission)
    cells = [extremes, gcs, gas, highest_rates(source, stays, hours)]
    parts = [_trailing(cells, stays.slice(start, CHUNK), hours) for start in range(0, stays.height, CHUNK)]
    return pl.concat([pl.DataFrame(schema={"stay_id": pl.Int64, "hour": pl.Int64, "sofa": pl.Int32}), *parts])


def _trailing(cells: Sequence[pl.DataFrame], stays: pl.DataFrame, hours: int) -> pl.DataFrame:
    """SOFA of every hour from the hourly cells (stay_id, hour, columns...) of these stays."""
    columns: dict[str, np.ndarray] = {}
    for frame in cells:
        for name in frame.columns[2:]:
            windows = np.lib.stride_tricks.sliding_window_view(
                _dense(frame, name, stays["stay_id"], hours), DAY, axis=1
            )[:, 1:]  # (B, 24 + T) -> (B, T, 24)
            if name == "urine":
                columns["urine_24h"] = _day_of_urine(windows)
            else:
                columns[name] = (np.fmin if name.endswith("_min") else np.fmax).reduce(windows, axis=-1)
    keys = {
        "stay_id": np.repeat(stays["stay_id"].to_numpy(), hours),
        "hour": np.tile(np.arange(1, hours + 1), stays.height),
    }
    frame = pl.DataFrame(keys | {name: values.reshape(-1) for name, values in columns.items()}).fill_nan(None)
    scored = sofa(frame).select("stay_id", "hour", "sofa").join(stays.select("stay_id", "los_hours"), on="stay_id")
    return scored.filter(pl.col("hour") <= pl.col("los_hours").ceil()).drop("los_hours").sort("stay_id", "hour")


def _day_of_urine(windows: np.ndarray) -> np.ndarray:
    """(B, T, 24) mL an hour -> (B, T) mL a day, NaN where there is none or the stay has not lasted long enough."""
    total = np.where(np.isfinite(windows).any(-1), np.nansum(windows, -1), np.nan)
    total[:, : URINE_COVERED - 1] = np.nan
    return np.maximum(total, 0)


def _dense(cells: pl.DataFrame, name: str, stay_ids: pl.Series, hours: int) -> np.ndarray:
    """(B, 24 + T), NaN where there is nothing; column 24 is the first hour in the unit."""
    values = np.full((len(stay_ids), DAY + hours), np.nan, dtype=np.float64)
    rows = pl.DataFrame({"stay_id": stay_ids}).with_row_index("b")
    at = cells.select("stay_id", "hour", name).drop_nulls().join(rows, on="stay_id")
    at = at.filter(pl.col("hour").is_between(-DAY, hours - 1))
    values[at["b"].to_numpy(), at["hour"].to_numpy() + DAY] = at[name].to_numpy()
    return values
