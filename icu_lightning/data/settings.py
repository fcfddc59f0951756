"""The choices that make a data set out of a source, checked as soon as they are made and before torch is loaded."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from icu_lightning.data.cleaning import LAB_TIMES
from icu_lightning.data.cohort import OUTCOMES, Step, named_filter
from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.outliers import RULES as OUTLIER_RULES
from icu_lightning.data.patterns import held_out
from icu_lightning.data.scaling import CATEGORICAL, NUMERIC
from icu_lightning.data.severity import SCORES
from icu_lightning.data.sources.base import Source
from icu_lightning.data.vis import HOURLY
from icu_lightning.errors import UserError, true_or_false, unknown_name, whole_number

SPLIT_BY = ("patient", "hospital")
BEFORE_SPLIT = ("undersample", "outliers")
NEVER_MEASURED = ("refuse", "drop")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What conf's `data` says beside the source.

    hours, variables: T and V; what happens at or after `hours` is never read.
    cohort: named filters in order, see `cohort.select_cohort`.
    outcome: one of OUTCOMES, the label.
    split, fractions, split_seed: "patient" or "hospital", see `splits.split_by_patient` and `splits.split_by_hospital`.
    fold: [i, n], whose test stays are those of fold i (from 0) of n, see `splits.split_by_patient`; None for a single split.
    static: features of `scaling.NUMERIC` and `scaling.CATEGORICAL`, for models that use them.
    outliers: one of `outliers.RULES`.
    severity: scores of `severity.SCORES` that models are to predict, see `StayBatch.severity`.
    vis: one of `vis.HOURLY`, or None: no infusions are read.
    vis_extended: with the drugs that are no part of the published score.
    lab_time: one of LAB_TIMES, whether a laboratory's value is known when the sample was taken, or when it was stored.
    held_out: pattern, rate and seed of the measured cells that validation and test stays do not show, see `masking`; or None.
    undersample: survivors that are kept in the training split for each death, see `splits.undersampled`; None keeps all.
    pretraining_cohort: filters of a wider cohort, whose stays a model may learn from without labels before anything else, see
        `pretraining`; None for none.
    before_split: of BEFORE_SPLIT, what is done with all stays instead of the training stays, as some papers have it; a leak.
    never_measured: what becomes of a variable that no training stay has: refuse, an error that names it; or drop.
    batch_size: B of the training batches.
    cache_dir: where extracts are kept; None keeps none.

    Raises UserError for a value that cannot be meant.
    """

    hours: int
    variables: Sequence[str]
    cohort: Sequence[Step]
    outcome: str
    split: str
    fractions: Sequence[float]
    split_seed: int
    fold: Sequence[int] | None
    static: Sequence[str]
    outliers: str
    severity: Sequence[str]
    vis: str | None
    vis_extended: bool
    batch_size: int
    cache_dir: str | None = None
    held_out: Mapping[str, Any] | None = None
    lab_time: str = "charttime"
    undersample: float | None = None
    never_measured: str = "refuse"
    before_split: Sequence[str] = ()
    pretraining_cohort: Sequence[Step] | None = None

    def __post_init__(self) -> None:
        for name, least in {"hours": 1, "batch_size": 1, "split_seed": 0}.items():
            whole_number(f"data.{name}", getattr(self, name), least)
        for name in ("variables", "cohort", "fractions", "static", "severity"):
            if isinstance(value := getattr(self, name), str) or not isinstance(value, Sequence):
                raise UserError(f"data.{name} must be a list, as in 'data.{name}=[...]'; it is {value}.")
        if self.split not in SPLIT_BY:
            raise unknown_name("split in data.split", self.split, SPLIT_BY)
        if self.outcome not in OUTCOMES:
            raise unknown_name("outcome in data.outcome", str(self.outcome), OUTCOMES)
        if self.outliers not in OUTLIER_RULES:
            raise unknown_name("rule in data.outliers", self.outliers, OUTLIER_RULES)
        if len(self.fractions) != 3 or not _sum_to_one(self.fractions):
            raise UserError(
                f"data.fractions must be three positive shares (train, val, test) that sum to 1; they are {list(self.fractions)}."
            )
        self._check_fold()
        if self.lab_time not in LAB_TIMES:
            raise unknown_name("time in data.lab_time", str(self.lab_time), LAB_TIMES)
        self._check_before_split()
        if self.never_measured not in NEVER_MEASURED:
            raise unknown_name("choice in data.never_measured", str(self.never_measured), NEVER_MEASURED)
        if self.vis is not None and self.vis not in HOURLY:
            raise unknown_name("summary of an hour in data.vis", str(self.vis), HOURLY)
        true_or_false("data.vis_extended", self.vis_extended)
        for name in self.severity:
            if name not in SCORES:
                raise unknown_name("score in data.severity", name, SCORES)
        self._check_static()
        self._check_undersample()
        if self.held_out is not None:
            held_out(self.held_out)
        concepts_of(self.variables)
        self._check_pretraining()
        for step in (*self.cohort, *(self.pretraining_cohort or ())):
            named_filter(step)

    def _check_fold(self) -> None:
        if self.fold is None:
            return
        if not isinstance(self.fold, Sequence) or isinstance(self.fold, str) or len(self.fold) != 2:
            raise UserError(
                f"data.fold must be which fold and of how many, as in 'data.fold=[0,5]'; it is {self.fold}."
            )
        whole_number("data.fold, how many folds,", self.fold[1], 2)
        whole_number("data.fold, which fold,", self.fold[0], 0)
        if self.fold[0] >= self.fold[1]:
            raise UserError(
                f"data.fold counts from 0: of {self.fold[1]} folds the last is {self.fold[1] - 1}, not {self.fold[0]}."
            )

    def _check_before_split(self) -> None:
        if isinstance(self.before_split, str) or not isinstance(self.before_split, Sequence):
            raise UserError(
                f"data.before_split must be a list, as in 'data.before_split=[outliers]'; it is {self.before_split}."
            )
        for name in self.before_split:
            if name not in BEFORE_SPLIT:
                raise unknown_name("step in data.before_split", str(name), BEFORE_SPLIT)
        if "undersample" in self.before_split and self.undersample is None:
            raise UserError(
                "data.before_split names undersample, but data.undersample says nothing: give it a number, as in 1."
            )

    def _check_pretraining(self) -> None:
        asked = self.pretraining_cohort
        if asked is not None and (isinstance(asked, str) or not isinstance(asked, Sequence)):
            raise UserError(
                "data.pretraining_cohort is a list of filters, as in 'data.pretraining_cohort=[{age_at_least: 18}]', or null; "
                f"it is {asked}."
            )

    def _check_static(self) -> None:
        for name in self.static:
            if name not in NUMERIC + CATEGORICAL:
                raise unknown_name("feature in data.static", name, NUMERIC + CATEGORICAL)
        if len(set(self.static)) < len(self.static):
            raise UserError(f"data.static must name each feature once; it is {list(self.static)}.")

    def _check_undersample(self) -> None:
        asked = self.undersample
        if asked is None:
            return
        if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 < asked < float("inf"):
            raise UserError(
                "data.undersample is how many training survivors are kept for each death, as in data.undersample=1, or null for all; "
                f"it is {asked}."
            )

    @property
    def vis_names(self) -> tuple[str, ...]:
        """The channels of the vasoactive drugs, their score last; none where no infusions are read."""
        return () if self.vis is None else (*(drug.name for drug in vis_drugs(self.vis_extended)), "vis")

    @property
    def plain(self) -> dict[str, Any]:
        """Plain values, without the cache: what a checkpoint keeps."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "cache_dir"}
        lists = ("variables", "fractions", "static", "severity", "before_split")
        wider = None if self.pretraining_cohort is None else _plain_steps(self.pretraining_cohort)
        cohorts = {"cohort": _plain_steps(self.cohort), "pretraining_cohort": wider}
        fold = None if self.fold is None else list(self.fold)
        hidden = None if self.held_out is None else held_out(self.held_out)
        lists_of = {name: list(chosen[name]) for name in lists}
        return {**chosen, **lists_of, **cohorts, "fold": fold, "held_out": hidden}

    @property
    def of_extract(self) -> dict[str, Any]:
        """The part that an extract depends on; the rest is decided after it."""
        return {
            "hours": self.hours,
            "variables": list(self.variables),
            "cohort": list(self.cohort),
            "outcome": self.outcome,
            "scores": [name for name in SCORES if name in (*self.severity, *self.static)],
            "vis": self.vis,
            "vis_extended": self.vis_extended,
            "weighed": "weight_kg" in self.static,
            "lab_time": self.lab_time,
        }


def source_and_settings(source: str, **conf: Any) -> tuple[Source, DataSettings]:
    """Build both from conf's `data`, whose keys are flat because they are typed on the command line.

    Arguments:
        source: dotted name of a Source class.
        conf: the other keys; each goes to the one of the two that names it.

    Raises UserError for a key that neither knows, one that is missing, or a class that is not there.
    """
    make_source = _source_class(source)
    own = inspect.signature(make_source).parameters
    known = {f.name for f in fields(DataSettings)}
    if strangers := sorted(conf.keys() - own.keys() - known):
        raise unknown_name("setting", f"data.{strangers[0]}", (f"data.{name}" for name in {*own, *known}))
    needed = {f.name for f in fields(DataSettings) if f.default is MISSING and f.default_factory is MISSING}
    needed |= {name for name, parameter in own.items() if parameter.default is inspect.Parameter.empty}
    if missing := sorted(needed - conf.keys()):
        raise UserError(
            f"data.{missing[0]} is missing: this configuration was stored by another version of icu_lightning. Run anew."
        )
    settings = DataSettings(**{name: value for name, value in conf.items() if name in known})
    return make_source(**{name: value for name, value in conf.items() if name in own}), settings


def _plain_steps(steps: Sequence[Step]) -> list[Any]:
    return [step if isinstance(step, str) else dict(step) for step in steps]


def _sum_to_one(shares: Sequence[float]) -> bool:
    return all(isinstance(share, float | int) and share > 0 for share in shares) and abs(sum(shares) - 1) < 1e-9


def _source_class(name: str) -> Callable[..., Source]:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"data.source: there is no '{name}' ({error}).") from error
