"""A transfer as numbers: the target's stays, judged before and after recalibration, and over the target's hospitals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from icu_lightning.errors import UserError
from icu_lightning.evaluation.evaluate import evaluate
from icu_lightning.evaluation.hospitals import by_hospital, summaries
from icu_lightning.evaluation.predictions import COLUMNS, LATER
from icu_lightning.evaluation.random_effects import Summary
from icu_lightning.evaluation.updating import Stays, Updated, judging, sizes, updated
from icu_lightning.terminal import bar
from icu_lightning.transferring.kinship import Kinship, seen

JUDGES, POOL = (
    "test",
    "train",
)  # in the column `split` of predictions.parquet, as in a run: what judges, and what is fitted on


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices of conf/transfer_settings.yaml that numbers depend on."""

    k: list[int]
    draws: int
    judging: float
    start: str
    smallest: int
    bootstrap: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What is written and shown.

    predictions: as predictions.py describes them, `split` being JUDGES or POOL; without stays that the model has seen.
    seen: how many those are.
    ks, no_room: stays recalibrated on, and those that were asked for in vain.
    before: evaluate's numbers of the judging stays, as the model came. after: of each recalibrator and k.
    hospitals, over_hospitals: of all stays, as the model came; None where the database names fewer than two hospitals.
    without_hospital: stays of no named hospital.
    variables: as `variables.variable_table`.
    attrition, cleaning: of the target, as `data.extract.Extract`. open_data: as `disclosure.is_open` says of it.
    facts: of the model and the target, for people.
    """

    kinship: Kinship
    outcome: str
    settings: Settings
    predictions: pl.DataFrame
    seen: int
    ks: list[int]
    no_room: list[int]
    before: dict[str, Any]
    after: list[Updated]
    hospitals: pl.DataFrame | None
    over_hospitals: Mapping[str, Summary]
    without_hospital: int
    variables: pl.DataFrame
    attrition: pl.DataFrame
    cleaning: pl.DataFrame
    open_data: bool
    facts: Mapping[str, str]

    @property
    def judges(self) -> Stays:
        return stays(self.predictions, JUDGES, self.settings.start)

    @property
    def pool(self) -> Stays:
        return stays(self.predictions, POOL, self.settings.start)


def stays(predictions: pl.DataFrame, split: str, risk: str) -> Stays:
    rows = predictions.filter(pl.col("split") == split)
    return Stays(rows["label"].to_numpy(), rows[risk].to_numpy(), rows["patient_id"].cast(pl.String).to_numpy())


def assess(
    kinship: Kinship,
    settings: Settings,
    scored: pl.DataFrame,
    own: pl.DataFrame | None,
    *,
    outcome: str,
    **described: Any,
) -> Transfer:
    """Judge a model on another database's stays.

    Arguments:
        scored: the columns of predictions.py but `split`, a row a stay with a known label, in the order of stay_id.
        own: the run's own predictions, see `seen`.
        described: `variables`, `attrition`, `cleaning`, `open_data` and `facts` of a Transfer.

    Raises UserError if the model has seen all stays.
    """
    known = seen(kinship, scored, own)
    rest = scored.filter(~known)
    if rest.is_empty():
        raise UserError(
            f"All {scored.height:,} stays are of patients that the model was trained or validated on: nothing is left to judge it by."
        )
    judges = judging(rest["label"].to_numpy(), _patients(rest), settings.judging, settings.seed)
    predictions = rest.with_columns(split=pl.when(pl.Series(judges)).then(pl.lit(JUDGES)).otherwise(pl.lit(POOL)))
    predictions = predictions.select(*COLUMNS, *(name for name in LATER if name in predictions.columns))
    ks, no_room = sizes(settings.k, int((~judges).sum()))
    named = predictions.filter(pl.col("hospital_id").is_not_null())
    several = named["hospital_id"].n_unique() > 1
    hospitals = _hospitals(named, settings.smallest) if several else None
    return Transfer(
        kinship=kinship,
        outcome=outcome,
        settings=settings,
        predictions=predictions,
        seen=int(known.sum()),
        ks=ks,
        no_room=no_room,
        before=evaluate(predictions, settings.bootstrap, settings.seed)[JUDGES],
        after=_after(predictions, settings, ks),
        hospitals=hospitals,
        over_hospitals=summaries(hospitals) if hospitals is not None else {},
        without_hospital=predictions.height - named.height,
        **described,
    )


def _after(predictions: pl.DataFrame, settings: Settings, ks: list[int]) -> list[Updated]:
    pool, judges = (stays(predictions, split, settings.start) for split in (POOL, JUDGES))
    if not len(judges.label):
        return []
    with bar("Recalibration", sum(1 if k == len(pool.label) else settings.draws for k in ks)) as advance:
        return updated(
            pool,
            judges,
            float(predictions["threshold"][0]),
            ks,
            draws=settings.draws,
            n_replicates=settings.bootstrap,
            seed=settings.seed,
            advance=advance,
        )


def _hospitals(named: pl.DataFrame, smallest: int) -> pl.DataFrame:
    label, risk = named["label"].to_numpy(), named["risk"].to_numpy()
    return by_hospital(named["hospital_id"].cast(pl.String).to_numpy(), _patients(named), label, risk, smallest)


def _patients(table: pl.DataFrame) -> Any:
    return table["patient_id"].cast(pl.String).to_numpy()
