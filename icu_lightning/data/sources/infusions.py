"""What the databases' ways of charting infusions share: from rows to intervals in which a rate holds (METHODS C.1).

MetaVision (MIMIC-III after 2008, MIMIC-IV) charts intervals; CareVue (MIMIC-III before) and eICU chart points in time, and
a rate holds until the next point of that drug, but not for longer than a nurse would leave it unread.
"""

from collections.abc import Sequence

import polars as pl

from icu_lightning.data.concepts import Charted
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.base import charted_facts
from icu_lightning.errors import UserError

HOLD = {"carevue": 4.0, "eicu": 2.0}  # hours


def drug_places(database: str, drugs: Sequence[Drug]) -> list[Charted]:
    """Where the database charts these drugs; `Charted.variable` is the drug. Raises UserError if it charts none of them."""
    places = [place for drug in drugs for place in drug.charted.get(database, ())]
    if not places:
        raise UserError(
            f"data={database} charts no infusions (drugs.yaml has no '{database}' entry): set data.vis=null."
        )
    return places


def drug_facts(places: Sequence[Charted]) -> pl.LazyFrame:
    """itemid, drug and the unit that the item is charted in."""
    return charted_facts(places).select(itemid="label", drug="variable", usual_unit="unit")


def held(points: pl.LazyFrame, hours: float) -> pl.LazyFrame:
    """Points in time as intervals: each lasts until the next one of its stay and drug, and at most `hours`.

    Of points at the same time the one with the highest `rank`, then the highest rate, counts.

    >>> rows = {"stay_id": 1, "drug": "dopamine", "start_hours": [0.0, 1.0, 9.0], "rank": 0, "rate": [5.0, 4.0, 3.0]}
    >>> held(pl.LazyFrame(rows), 4).select("start_hours", "end_hours").collect().rows()
    [(0.0, 1.0), (1.0, 5.0), (9.0, 13.0)]
    """
    latest = pl.col("start_hours") + hours
    return in_order(points).with_columns(
        end_hours=pl.min_horizontal(latest, pl.col("start_hours").shift(-1).over("stay_id", "drug"))
    )


def in_order(points: pl.LazyFrame) -> pl.LazyFrame:
    return points.sort("stay_id", "drug", "start_hours", "rank", "rate", nulls_last=False)


def cut_at_next(intervals: pl.LazyFrame) -> pl.LazyFrame:
    """Intervals of one order that overlap: the earlier one ends where the later begins. Different orders run side by side.

    Rows that are `wrong`, or a bolus, cut nothing; an unreadable end stays null.
    """
    order = ["stay_id", "drug", "orderid", "wrong", "bolus"]
    following = pl.when(pl.col("orderid").is_not_null()).then(pl.col("start_hours").shift(-1).over(order))
    cut = pl.when(pl.col("end_hours").is_not_null()).then(pl.min_horizontal("end_hours", following))
    return intervals.sort(*order, "start_hours", "end_hours", "rate").with_columns(end_hours=cut)
