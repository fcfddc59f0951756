"""ICUDataModule: calls source, cohort, cleaning, grid, split, outliers and scaling in order, and hands out StayBatches."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch

from icu_lightning.batch import BatchShape, StayBatch, hours_since_last
from icu_lightning.data.cohort import attrition_text
from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.loader import AT_ONCE, StayLoader, TrainingData, train_loader, val_loader
from icu_lightning.data.masking import held_out_cells, hide, shown
from icu_lightning.data.outliers import Outliers, counted
from icu_lightning.data.patterns import held_out
from icu_lightning.data.prepared import prepared, read
from icu_lightning.data.pretraining import sides_of_pretraining
from icu_lightning.data.scaling import Scaler, StaticEncoder
from icu_lightning.data.settings import DataSettings
from icu_lightning.data.severity import SCORES
from icu_lightning.data.sources.base import Source
from icu_lightning.data.splits import LEFT_OUT, SPLITS, undersampled
from icu_lightning.data.vis import vis
from icu_lightning.data.weights import UsualWeight
from icu_lightning.errors import UserError

DAY = 24  # hours that severity scores look at


class ICUDataModule(lightning.LightningDataModule):
    """The stays of one source as train, val and test.

    Arguments:
        source: the database.
        settings: hours, variables, cohort, outcome, split, outliers, batch size, cache.
        seed: of the training batches' order.
        say, step: told in words what happens, and what is being done.

    After `setup`: `train`, `val`, `test` (StayBatch, without the cells that `data.held_out` hides), `measured` (the same three by
    name, as measured: nothing is hidden, and no value of another hour stands for an outlier), `stays` (a row a stay of the cohort,
    with its `split`, which is LEFT_OUT for what `data.undersample` takes out of training), `left_out` (those as a StayBatch), `shape`,
    `outliers`, `scaler`, `encoder`, `extract` (attrition; the grid as charted), `values` (B, T, V; the grid in clinical units
    with its outliers replaced), `copied` (B, T, V; True where they were) and `cleaning` (the extract's table with the outliers
    counted).
    """

    def __init__(
        self,
        source: Source,
        settings: DataSettings,
        *,
        seed: int = 0,
        say: Callable[[str], object] = print,
        step: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__()
        self.source, self.settings, self.seed, self.say, self.step = source, settings, seed, say, step
        self.outliers, self.scaler, self.encoder = Outliers(settings.outliers), Scaler(), StaticEncoder(settings.static)
        self.vis_scaler, self.severity_scaler, self.usual_weight = Scaler(), Scaler(), UsualWeight()
        self._ready = False

    def setup(self, stage: str | None = None) -> None:
        """Extract (or read the cache), split, fit on train, build the tensors; once, whatever the stage."""
        if self._ready:
            return
        self.extract, self.stays = prepared(self.source, self.settings, self.say, self.step)
        self._undersample()
        self._fit()
        self.measured = {name: self._as_measured(self.stays["split"] == name) for name in SPLITS}
        self.train, self.val, self.test = (self._shown(name) for name in SPLITS)
        self.left_out = self._tensors(self.stays["split"] == LEFT_OUT)
        self._ready = True

    def apply(self, fitted: Mapping[str, Any], unmeasured: Collection[str] = ()) -> StayBatch:
        """Every stay of the cohort, transformed by what another run was fitted with; nothing is split or fitted here.

        Arguments:
            fitted: `state()` of that run's data module.
            unmeasured: variables that are not read, and are observed in no hour of any stay.

        Labels that are unknown are NaN; scores that the model knows and these settings do not ask for are unknown.
        Raises UserError if cells are to be hidden: that is for stays that are scored.
        """
        if self.settings.held_out is not None:
            raise UserError(
                "data.held_out hides cells of a run's validation and test stays, and none of these: leave it out."
            )
        charted = [name for name in self.settings.variables if name not in unmeasured]
        extract = read(self.source, replace(self.settings, variables=charted), self.say, self.step)
        self.extract = replace(extract, values=widened(extract.values, charted, self.settings.variables))
        unread = [name for name in fitted["static_encoder"]["features"] if name in SCORES]
        unread = [name for name in unread if name not in self.extract.stays.columns]
        self.stays = self.extract.stays.with_columns(pl.lit(None, pl.Float64).alias(name) for name in unread)
        self.outliers, self.scaler = Outliers.restored(fitted["outliers"]), Scaler.restored(fitted["scaler"])
        self.encoder = StaticEncoder(**fitted["static_encoder"])
        if self.settings.vis is not None:
            self.vis_scaler = Scaler.restored(fitted["vis_scaler"])
            self.usual_weight = UsualWeight(fitted.get("usual_weight") or {})  # older models knew 80 kg alone
        if self.settings.severity:
            self.severity_scaler = Scaler.restored(fitted["severity_scaler"])
        self.values = self.outliers.transform(self.extract.values).values
        self._ready = True
        return self._tensors(pl.Series([True] * self.stays.height, dtype=pl.Boolean))

    def state(self) -> dict[str, Any]:
        """What was fitted on the training stays, as plain values. Raises NotFittedError."""
        return {
            "outliers": self.outliers.state(),
            "scaler": self.scaler.state(),
            "static_encoder": self.encoder.state(),
            "usual_weight": self.usual_weight.state() if self.settings.vis is not None else None,
            "vis_scaler": self.vis_scaler.state() if self.settings.vis is not None else None,
            "severity_scaler": self.severity_scaler.state() if self.settings.severity else None,
        }

    def _undersample(self) -> None:
        """Of the training stays, those that `data.undersample` leaves out get LEFT_OUT for their split, before anything is fitted."""
        if self.settings.undersample is not None and "undersample" not in self.settings.before_split:
            outcome, chosen = self.stays[self.settings.outcome], (self.settings.undersample, self.settings.split_seed)
            split = undersampled(self.stays["stay_id"], self.stays["split"], outcome, *chosen)
            self.stays = self.stays.with_columns(split)

    @property
    def prior_odds(self) -> float | None:
        """The share of the training survivors that `data.undersample` left in: what the odds of a risk have to be multiplied by.

        None where nothing was asked for, or where all stays were undersampled alike: then there is no prior to go back to.
        """
        if self.settings.undersample is None or "undersample" in self.settings.before_split:
            return None
        lived = int((self.train.label == 0).sum())
        return lived / (lived + len(self.left_out))

    def _fit(self) -> None:
        """Everything that is fitted, and nothing but training stays to fit it on."""
        training = self.stays["split"] == "train"
        if (classes := self.stays.filter(training)[self.settings.outcome].unique().len()) < 2:
            n = int(training.sum())
            raise UserError(
                f"The training split has {classes} of the 2 classes of {self.settings.outcome} among {n} stays, "
                "so nothing can be learnt from it: "
                "widen data.cohort, or raise the training share in data.fractions.\n"
                f"Attrition:\n{attrition_text(self.extract.attrition)}"
            )
        train = training.to_numpy()
        if self.settings.never_measured == "drop":
            self._drop_never_measured(train)
        variables = self.settings.variables
        seen = np.ones_like(train) if "outliers" in self.settings.before_split else train
        repaired = self.outliers.fit(self.extract.values[seen]).transform(self.extract.values)
        self.values, self.copied = repaired.values, repaired.copied
        self.cleaning = counted(self.extract.cleaning, variables, repaired)
        self.scaler.fit(self.values[train], variables)
        self.encoder.fit(self.stays.filter(training))
        if self.settings.vis is not None:
            self.usual_weight.fit(self.stays.filter(training))
            self._fit_vis_scaler(training)
        if self.settings.severity:
            self.severity_scaler.fit(self.scores(training), self.settings.severity, "data.severity")

    def _fit_vis_scaler(self, training: pl.Series) -> None:
        """Raises UserError for channels of which no hour of a training stay is known."""
        treatments = self.treatments(training)
        if never := [
            name for name, there in zip(self.vis_names, np.isfinite(treatments).any((0, 1)), strict=True) if not there
        ]:
            raise UserError(
                f"Of none of the {len(treatments):,} training stays is an hour's {', '.join(never)} known: these hospitals chart "
                "no infusions (hospital_charts_infusions in data.cohort leaves them out), or at rates or in units that could not be "
                "read; with data.vis=null no drugs are read."
            )
        self.vis_scaler.fit(treatments, self.vis_names, "data.vis")

    def _drop_never_measured(self, train: np.ndarray) -> None:
        """Go on without the variables that no training stay has. With none left, the scaler will refuse."""
        there = np.isfinite(self.extract.values[train]).any((0, 1))
        if there.all() or not there.any():
            return
        names = list(zip(self.settings.variables, there.tolist(), strict=True))
        self.say(
            f"Left out, because no training stay has a value of it: {', '.join(n for n, kept in names if not kept)}."
        )
        self.settings = replace(self.settings, variables=[name for name, kept in names if kept])
        self.extract = replace(self.extract, values=self.extract.values[..., there])

    @cached_property
    def pretraining(self) -> TrainingData | None:
        """The wider cohort of `data.pretraining_cohort`, for the same window, transformed by what was fitted on this one's training
        stays; None if there is none. Its extract is read, or made, when this is first asked for. Scores are unknown in it.

        Raises UserError as `sides_of_pretraining` does.
        """
        if self._wider is None:
            return None
        everyone = self._wider.apply(self.state())
        side = sides_of_pretraining(self._wider.stays, self.stays, self.settings)
        train, val = (everyone[torch.from_numpy(np.flatnonzero(side == name))] for name in ("train", "val"))
        return TrainingData(train=train, val=val, shape=self.shape, batch_size=self.settings.batch_size, seed=self.seed)

    @cached_property
    def _wider(self) -> "ICUDataModule | None":
        if self.settings.pretraining_cohort is None:
            return None
        of_labels: dict[str, Any] = {"severity": [], "held_out": None, "pretraining_cohort": None}
        static = [
            name for name in self.settings.static if name not in SCORES
        ]  # scores would be another pass over all tables
        chosen = replace(self.settings, cohort=self.settings.pretraining_cohort, static=static, **of_labels)
        return ICUDataModule(
            self.source, chosen, seed=self.seed, say=lambda line: self.say(f"pretraining: {line}"), step=self.step
        )

    @property
    def attrition(self) -> pl.DataFrame:
        """The extract's; with a pretraining cohort, its own after it, and which of the two a row is of as `block`."""
        if self.pretraining is None or self._wider is None:
            return self.extract.attrition
        blocks = {"cohort": self.extract.attrition, "pretraining": self._wider.extract.attrition}
        return pl.concat([table.with_columns(pl.lit(name).alias("block")) for name, table in blocks.items()])

    def earlier(self, rows: pl.Series, hours: int) -> StayBatch:
        """The stays of `rows` as they stood `hours` after admission to the unit: what came later is not observed.

        The shape stays (B, T, V). Outliers are repaired from what was there, scores of the first day that are static features are
        unknown before it is over, and `in_icu` is False for later hours. Labels, and the scores to be predicted, stay. A
        laboratory value that was revised later has its later form.

        Arguments:
            rows: (N) True for the stays of `stays` that are meant. hours: 1 to T; with T it is the batch as it was.
        """
        charted = self.extract.values[rows.to_numpy()].copy()
        charted[:, hours:] = np.nan
        repaired = self.outliers.transform(charted)
        if self.settings.held_out is None:
            return self._batch(rows, repaired.values, hours)
        hidden = self._held_out(rows)
        copied = repaired.copied & self._scored(rows)
        batch = self._batch(rows, np.where(copied, np.nan, repaired.values), hours)
        return hide(batch, hidden & batch.observed)

    def _tensors(self, rows: pl.Series) -> StayBatch:
        return self._batch(rows, self.values[rows.to_numpy()], self.settings.hours)

    def _as_measured(self, rows: pl.Series) -> StayBatch:
        """Of whom cells can be hidden to be scored: a copy of one that is hidden would tell it."""
        chosen = rows.to_numpy()
        return self._batch(rows, np.where(self.copied[chosen], np.nan, self.values[chosen]), self.settings.hours)

    def _batch(self, rows: pl.Series, values: np.ndarray, hours: int) -> StayBatch:
        """Arguments: rows of `stays`. values: theirs (B, T, V), NaN where not observed. hours: that are over."""
        stays = self.stays.filter(rows)
        observed = torch.from_numpy(np.isfinite(values))
        return StayBatch(
            values=torch.from_numpy(self.scaler.transform(values)),
            observed=observed,
            held_out=torch.zeros_like(observed),
            hours_since=hours_since_last(observed),
            static=torch.from_numpy(self._static(stays, hours)),
            in_icu=torch.from_numpy(self._in_icu(stays) & (np.arange(self.settings.hours) < hours)),
            label=_flag(stays[self.settings.outcome]),
            died_in_hospital=_flag(stays["died_in_hospital"]),
            died_in_icu=_flag(stays["died_in_icu"]),
            hospital_hours=_or_nan(stays["hospital_hours"]),
            stay_id=stays["stay_id"].to_numpy(),
            patient_id=stays["patient_id"].to_numpy(),
            **self._severity(rows),
            **self._vis(rows, hours),
        )

    def _shown(self, split: str) -> StayBatch:
        """What models get to see of a split: of training stays, everything."""
        if self.settings.held_out is None or split == "train":
            return self._tensors(self.stays["split"] == split) if self.copied.any() else self.measured[split]
        return shown(self.measured[split], **held_out(self.settings.held_out))

    def _held_out(self, rows: pl.Series) -> torch.Tensor:
        """(B, T, V) True for the cells of these stays that `data.held_out` hides over the whole window."""
        cells = held_out_cells(self._as_measured(rows), **held_out(self.settings.held_out or {}))
        return cells & torch.from_numpy(self._scored(rows))

    def _scored(self, rows: pl.Series) -> np.ndarray:
        """(B, 1, 1) True for stays of which `data.held_out` hides cells: those of validation and test."""
        return self.stays.filter(rows)["split"].is_in(["val", "test"]).to_numpy()[:, None, None]

    def _static(self, stays: pl.DataFrame, hours: int) -> np.ndarray:
        """(B, S); a score of the first day is unknown until that, or a shorter window, is over."""
        if hours < min(DAY, self.settings.hours):
            scores = [name for name in SCORES if name in stays.columns]
            stays = stays.with_columns(pl.lit(None).cast(stays.schema[name]).alias(name) for name in scores)
        return self.encoder.transform(stays)

    def treatments(self, rows: pl.Series) -> np.ndarray:
        """(B, T, D + 1) log1p of the drugs' rates and of the VIS; NaN where a rate is unknown or the patient not in the unit."""
        if self.extract.rates is None:
            raise ValueError("data.vis is not set: no infusions were read")
        stays, assumed = self.stays.filter(rows), self.extract.assumed
        part = None if assumed is None else assumed[rows.to_numpy()]
        rates = self.usual_weight.corrected(self.extract.rates[rows.to_numpy()], part, stays)
        score = vis(rates, vis_drugs(self.settings.vis_extended))
        channels = np.log1p(np.concatenate([rates, score[..., None]], axis=-1))
        channels[~self._in_icu(stays)] = np.nan
        return channels

    def _in_icu(self, stays: pl.DataFrame) -> np.ndarray:
        """(B, T) True for hours that began before the patient left the unit or died; none, where the length of stay is unknown."""
        left = stays.select(
            pl.when(pl.col("los_hours").is_not_null()).then(pl.min_horizontal("los_hours", "death_hours"))
        )
        return np.arange(self.settings.hours)[None, :] < left.to_series().fill_null(0.0).to_numpy()[:, None]

    def scores(self, rows: pl.Series) -> np.ndarray:
        """(B, 1, K) the points of the scores that models are to predict, NaN where unknown."""
        points = self.stays.filter(rows).select(
            pl.col(list(self.settings.severity)).cast(pl.Float64).fill_null(float("nan"))
        )
        return points.to_numpy()[:, None, :]

    def _vis(self, rows: pl.Series, hours: int) -> dict[str, torch.Tensor]:
        if self.settings.vis is None:
            return {}
        channels = self.treatments(rows)
        channels[:, hours:] = np.nan
        return {
            "vis": torch.from_numpy(self.vis_scaler.transform(channels)),
            "vis_observed": torch.from_numpy(np.isfinite(channels)),
        }

    def _severity(self, rows: pl.Series) -> dict[str, torch.Tensor]:
        """(B, 5) of all scores, in the order of `severity.SCORES`; those that are not asked for are not observed."""
        severity = np.zeros((int(rows.sum()), len(SCORES)), dtype=np.float32)
        observed = np.zeros_like(severity, dtype=bool)
        if self.settings.severity:
            points, column = self.scores(rows), [SCORES.index(name) for name in self.settings.severity]
            severity[:, column] = self.severity_scaler.transform(points)[:, 0]
            observed[:, column] = np.isfinite(points[:, 0])
        return {"severity": torch.from_numpy(severity), "severity_observed": torch.from_numpy(observed)}

    @property
    def vis_names(self) -> tuple[str, ...]:
        return self.settings.vis_names

    @property
    def shape(self) -> BatchShape:
        chosen = self.settings
        names = {"vis": self.vis_names, "severity": tuple(chosen.severity)}
        return BatchShape(chosen.hours, tuple(chosen.variables), self.encoder.names, **names)

    def train_dataloader(self) -> StayLoader:
        return train_loader(self, self.settings.batch_size, self.seed)

    def val_dataloader(self) -> StayLoader:
        return val_loader(self)

    def test_dataloader(self) -> StayLoader:
        return StayLoader(self.test, AT_ONCE)


def widened(values: np.ndarray, charted: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """(B, T, V) with a place for each wanted variable, NaN for one that is not charted.

    >>> widened(np.ones((1, 1, 2)), ["a", "c"], ["a", "b", "c"]).tolist()
    [[[1.0, nan, 1.0]]]
    """
    if list(charted) == list(wanted):
        return values
    wide = np.full((*values.shape[:2], len(wanted)), np.nan, dtype=values.dtype)
    wide[..., [list(wanted).index(name) for name in charted]] = values
    return wide


def _flag(died: pl.Series) -> torch.Tensor:
    return _or_nan(died.cast(pl.Float32))


def _or_nan(known: pl.Series) -> torch.Tensor:
    """(B) float32, NaN for null."""
    return torch.from_numpy(known.cast(pl.Float32).fill_null(float("nan")).to_numpy(writable=True))
