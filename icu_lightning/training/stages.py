"""Trains one named stage of a model with Lightning: best weights kept, every epoch resumable, metrics.csv written.

Everything that an epoch depends on is in `last.ckpt`, saved when the next epoch begins, or follows from (seed, stage,
epoch): so a run that is killed at any moment and started again ends with the same numbers as one that was not.
"""

import csv
import hashlib
import io
import json
import math
import os
import pickle
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, RichProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from icu_lightning.atomic import atomic_file, write_text
from icu_lightning.errors import UserError
from icu_lightning.loggers import tell_epoch
from icu_lightning.models.base import Once, Part, anew
from icu_lightning.runfolder import REUSED
from icu_lightning.terminal import say
from icu_lightning.training.crew import Crew
from icu_lightning.training.kept import Kept
from icu_lightning.training.origins import Keys, Origin, check_patients, check_shown
from icu_lightning.training.validation import CheckedLoss

# Warnings: torch 2.13 of what Lightning 2.6 asks; of our find_unused_parameters; that Slurm is installed, and not used here
EXPECTED = ".*(LeafSpec|find_unused_parameters=True was specified|The `srun` command is available).*"


class StageTrainer:
    """Trains stages one after another into a run folder.

    Arguments:
        folder: the run folder; checkpoints/<stage>/{best,last}.ckpt and metrics.csv go there.
        seed: of everything random in training.
        max_epochs: caps every stage; None leaves each its own.
        accelerator, devices, precision, deterministic: see pytorch_lightning.Trainer. Devices are those of a node.
        nodes: machines, each with as many devices.
        threads: of torch on the CPU, in this whole process; None shares all cores out among the node's processes.
        loggers: Lightning loggers beside metrics.csv.
        progress: show a bar.
        crew: the processes that train together, of which this is one; by default it is alone.
        kept: parts that earlier runs have fitted; None fits all anew.
        apart: keys of the "validation" and "test" patients, whom no weights that are taken from another run may know.

    With several GPUs, BatchNorm is SyncBatchNorm; on CPUs, where that does not train, each process keeps its own statistics.
    """

    def __init__(
        self,
        *,
        folder: Path,
        seed: int,
        max_epochs: int | None,
        accelerator: str,
        devices: int | str,
        precision: str,
        deterministic: bool | str,
        threads: int | None,
        nodes: int = 1,
        loggers: Sequence[Logger] = (),
        progress: bool = False,
        crew: Crew | None = None,
        kept: Kept | None = None,
        apart: Keys | None = None,
    ) -> None:
        self.folder, self.seed, self.max_epochs, self.kept = folder, seed, max_epochs, kept
        self.apart, self._before = apart, cast(Origin | None, None)  # the second: of the stages that are done
        self.loggers, self.progress, self.crew = list(loggers), progress, crew or Crew()
        self._told, self._whole = False, True  # the second: the run's model is fitted, and not a part of it
        self.stages: list[str] = []  # that were asked for, in order
        device = {"accelerator": accelerator, "devices": devices, "num_nodes": nodes}
        self.settings: dict[str, Any] = device | {"precision": precision, "deterministic": deterministic}
        share = None  # of the cores: torch's own choice
        if self.crew.size > 1:
            self.settings["devices"] = self.crew.size // nodes
            share = max(1, (os.cpu_count() or 1) * nodes // self.crew.size)
        if threads or share:
            torch.set_num_threads(threads or share or 1)
        if self.crew.rank == 0 and not (folder / "metrics.csv").exists():
            write_text(folder / "metrics.csv", "stage,epoch\n")

    def fit(
        self,
        module: lightning.LightningModule,
        data: Any,
        *,
        stage: str,
        monitor: str,
        mode: str,
        max_epochs: int,
        patience: int,
        checkpoint: str | None = None,
        shown: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Train `module` until `monitor` has not improved for `patience` epochs, and leave it with its best weights, see `_device`.

        A stage with a finished.json is loaded, not trained; one with a last.ckpt goes on from there.
        Raises UserError if the loss stops being a number, or max_epochs is not positive.

        Arguments:
            checkpoint: a run folder, or a best.ckpt, whose weights of this stage are taken instead of training it; see `reuse`.
            The stages before it in this run count as learnt from, too.
            shown: plain values of what decides which numbers the networks are shown and what they learn from them, by setting; kept
                with the weights.
        """
        folder = self.folder / "checkpoints" / stage
        epochs = max_epochs if self.max_epochs is None else min(max_epochs, self.max_epochs)
        if epochs < 1:
            raise UserError(f"trainer.max_epochs must be at least 1; it is {self.max_epochs}.")
        self.crew.engage()
        self.stages.append(stage)
        last = folder / "last.ckpt"
        train, val = (patient_keys(part.patient_id) for part in (data.train, data.val))
        origin = Origin.of_stage(stage, train, val, shown).after(self._before)
        if checkpoint is not None and self.crew.rank == 0 and not (folder / "finished.json").exists():
            if self.apart is None:
                raise ValueError("a trainer that takes weights from elsewhere has to know whom it is tested on: apart")
            reuse(Path(checkpoint).expanduser(), folder, module, stage, self.apart, origin.shown)
        finished, begun = self.crew.agreed(((folder / "finished.json").exists(), last.exists()))
        if not finished:
            keeper = StageCheckpoint(folder, monitor, mode, origin.state())
            stopper = EarlyStopping(monitor, mode=mode, patience=patience, check_finite=False)
            epochs_told = EpochMetrics(self.folder / "metrics.csv", stage, self.loggers)
            callbacks = [EpochSeed(self.seed, stage), CheckedLoss(folder), epochs_told, stopper, keeper]
            trainer = self._lightning(epochs, callbacks)
            if begun:
                load_checkpoint(last)  # told by name if it is damaged, before Lightning meets it
            self._tell_of_batch_norm(module)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=EXPECTED)
                trainer.fit(module, datamodule=data, ckpt_path=last if begun else None, weights_only=True)
            if self.crew.rank == 0:
                write_text(folder / "finished.json", json.dumps(keeper.summary(trainer.current_epoch), indent=2))
            self.crew.agreed(None)  # rank 0 has written everything
        self._before = (restore(module, folder / "best.ckpt") or origin).after(self._before)
        module.to(self._device())  # Lightning has left it on the CPU

    def fit_once(self, part: Part, fit: Callable[[], None], *, name: str, beside: Mapping[str, Any]) -> Once:
        """See `Kept.fit_once`; without a cache, `fit`. As kept, `part` is moved to `_device`."""
        if self.kept is None:
            fit()
            return anew
        whole, self._whole = self._whole, False
        try:
            once = self._fit_once(part, fit, name, beside)
        finally:
            self._whole = whole
        if hasattr(part, "to"):
            part.to(self._device())  # as kept, it comes to the CPU
        return once

    def _fit_once(self, part: Part, fit: Callable[[], None], name: str, beside: Mapping[str, Any]) -> Once:
        assert self.kept is not None, "else nothing is looked for"
        before = len(self.stages)

        def epochs() -> list[dict[str, str]]:
            return self._epochs(self.stages[before:])

        return self.kept.fit_once(part, fit, name=name, beside=beside, epochs=epochs, reused=self._reused)

    def keep(self, model: Part, *, name: str, beside: Mapping[str, Any]) -> None:
        """See `models.base.StageTrainer.keep`; without a cache, nothing, and nothing of a part of the run's model."""
        if self.kept is not None and self._whole:
            self.kept.keep(model, name=name, beside=beside, epochs=self._epochs(self.stages))

    def _epochs(self, stages: Sequence[str]) -> list[dict[str, str]]:
        return [row for row in read_metrics(self.folder / "metrics.csv") if row["stage"] in stages]

    def _reused(self, epochs: Sequence[Mapping[str, str]]) -> None:
        """Put another run's epochs of stages that this run has not finished into metrics.csv, marked, before later stages'.

        Where this run was killed in such a stage, which the other has finished since, its own half goes, rows and checkpoints.
        """
        there = read_metrics(self.folder / "metrics.csv")
        rows: list[Mapping[str, str]] = []
        for stage in dict.fromkeys(row["stage"] for row in epochs):
            folder = self.folder / "checkpoints" / stage
            if (folder / "finished.json").exists():
                rows += [row for row in there if row["stage"] == stage]
            else:
                rows += [{**row, "stage": f"{stage}{REUSED}"} for row in epochs if row["stage"] == stage]
                shutil.rmtree(folder, ignore_errors=True)  # not what this run's model is made of
            there = [row for row in there if row["stage"].removesuffix(REUSED) != stage]
        if rows:
            write_metrics(self.folder / "metrics.csv", [*rows, *there])

    def _lightning(self, epochs: int, callbacks: list[lightning.Callback]) -> lightning.Trainer:
        bar: list[lightning.Callback] = [RichProgressBar(leave=True)] if self.progress else []
        several: dict[str, Any] = {}
        if self.crew.size > 1:
            # A stage may leave parts of its network alone, such as the average of weights or what a later stage trains
            several = {"strategy": DDPStrategy(find_unused_parameters=True), "sync_batchnorm": not self._on_cpu}
        try:
            return lightning.Trainer(
                **self.settings,
                **several,
                plugins=[self.crew.environment],
                max_epochs=epochs,
                logger=False,  # EpochMetrics tells them, of all stages in a row
                callbacks=[*callbacks, *bar, OwnSignals()],
                enable_progress_bar=self.progress,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
            )
        except (MisconfigurationException, ValueError) as error:  # no such device, no such precision
            raise UserError(
                f"This machine or Lightning cannot train with trainer.* = {self.settings}: {error}"
            ) from error

    def _device(self) -> torch.device:
        """Where a fitted model fills and predicts: on CUDA's GPU that is trained on, if it is here; others have no double precision.

        A run may have been trained elsewhere.
        """
        if self.settings["accelerator"] not in ("gpu", "cuda", "auto") or not torch.cuda.is_available():
            return torch.device("cpu")
        return self._lightning(1, []).strategy.root_device

    @property
    def _on_cpu(self) -> bool:
        return self.settings["accelerator"] == "cpu"

    def _tell_of_batch_norm(self, module: nn.Module) -> None:
        if self.crew.size == 1 or self.crew.rank or self._told or not self._on_cpu:
            return
        if any(map(_is_batch_norm, module.modules())):
            say("BatchNorm: each process normalises by its own share of a batch; SyncBatchNorm is for GPUs only.")
            self._told = True


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


class StageCheckpoint(Checkpoint):
    """best.ckpt by the monitored value (the first of equals), last.ckpt at the start of each epoch; epoch-<n>.ckpt beside them at
    the start of each of the module's `snapshots`, if it has any, or where training ends after n epochs.

    At its start everything of the epochs before is done, the learning rate's schedule included, which Lightning steps only
    after the hooks in which its own ModelCheckpoint saves.
    """

    def __init__(self, folder: Path, monitor: str, mode: str, origin: Mapping[str, Any]) -> None:
        self.folder, self.monitor, self.sign = folder, monitor, 1.0 if mode == "max" else -1.0
        self.origin = dict(origin)
        self.best_value, self.best_epoch = -math.inf, -1

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # Nothing is half done here; if Lightning believed otherwise, it would skip a resumed epoch's schedule step
        trainer.fit_loop.restarting = False
        save(trainer, self.folder / "last.ckpt")
        self._snapshot(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._snapshot(trainer, pl_module)  # the current epoch is the one that would be next

    def _snapshot(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch in getattr(pl_module, "snapshots", ()):
            save(trainer, self.folder / f"epoch-{trainer.current_epoch}.ckpt")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        if value > self.best_value:
            self.best_value, self.best_epoch = value, trainer.current_epoch
            save(trainer, self.folder / "best.ckpt")

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["origin"] = self.origin

    def state_dict(self) -> dict[str, Any]:
        return {"best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]

    def summary(self, epochs: int) -> dict[str, Any]:
        return {"epochs": epochs, "best_epoch": self.best_epoch, self.monitor: self.sign * self.best_value}


def save(trainer: lightning.Trainer, path: Path) -> None:
    """Called by all ranks, which wait for one another; rank 0 writes."""
    if not trainer.is_global_zero:
        return trainer.save_checkpoint(path)
    with atomic_file(path) as temporary:
        trainer.save_checkpoint(temporary)


class OwnSignals(lightning.Callback):
    """SIGTERM is answered as before the training began: Lightning's answer waits for other ranks, which need not have heard it."""

    def __init__(self) -> None:
        self.answer = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.answer)


class EpochSeed(lightning.Callback):
    """Random numbers of an epoch (dropout, noise) follow from (seed, stage, epoch, rank) alone."""

    def __init__(self, seed: int, stage: str) -> None:
        self.seed, self.stage = seed, stage

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        torch.manual_seed(stable_seed(self.seed, self.stage, trainer.current_epoch, trainer.global_rank))


class EpochMetrics(Checkpoint):
    """metrics.csv: a row an epoch with everything that was logged; on resuming, rows of repeated epochs are replaced.

    The loggers are told the same, with the epoch counted over all stages and the number of the stage, from 1.

    A Checkpoint, because Lightning calls those after the module's own end of the epoch, in which train/* are logged.
    """

    def __init__(self, path: Path, stage: str, loggers: list[Logger]) -> None:
        self.path, self.stage, self.loggers = path, stage, loggers
        self.learning_rate = math.nan

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # At its end the schedule has made the next epoch's of it
        self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch
        others = [row for row in read_metrics(self.path) if row["stage"] != f"{self.stage}{REUSED}"]
        rows = [row for row in others if row["stage"] != self.stage or int(row["epoch"]) < epoch]
        values = {name: f"{float(value):.6g}" for name, value in sorted(trainer.callback_metrics.items())}
        rows.append({"stage": self.stage, "epoch": str(epoch), "lr": f"{self.learning_rate:.6g}"} | values)
        write_metrics(self.path, rows)
        place = {"epoch": len(rows) - 1, "stage": len({row["stage"] for row in rows}), "lr": self.learning_rate}
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        tell_epoch(self.loggers, place | logged, len(rows) - 1)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv as text; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_metrics(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, as tensors and plain values only. Raises UserError naming the file if it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(
            f"Cannot read the checkpoint {path}: {str(error).splitlines()[0]}. "
            f"Delete the folder {path.parent} to train that stage again from its beginning."
        ) from error


def patient_keys(patient_id: Any) -> torch.Tensor:
    """(N) int64, sorted, one a patient: by them it is known whose stays weights were learnt from."""
    return torch.tensor(sorted({stable_seed("patient", patient) for patient in patient_id}), dtype=torch.int64)


def reuse(
    path: Path, folder: Path, module: lightning.LightningModule, stage: str, apart: Keys, shown: Mapping[str, str]
) -> None:
    """Make another run's weights of a stage this run's: best.ckpt and finished.json in `folder`.

    Arguments:
        path: a run folder, or a best.ckpt of one.
        apart, shown: see `origins.check_patients` and `origins.check_shown`.

    Raises UserError for a file that is missing or damaged, of another stage or another model, that knows patients who are validated or
    tested on here, by whichever of its stages, or that was made for other numbers than this run shows.
    """
    path = path / "checkpoints" / stage / "best.ckpt" if path.is_dir() else path
    setting = f"model.stages.{stage}.checkpoint"
    if not path.is_file():
        raise UserError(f"{setting}: there is no {path}. It names a run folder with that stage, or its best.ckpt.")
    content = load_checkpoint(path)
    if (named := content.get("origin", {}).get("stage")) != stage:
        of = "no stage that is known" if named is None else f"the stage '{named}'"
        raise UserError(
            f"{setting}: {path} is a checkpoint of {of}, not of the stage '{stage}'. Name the run folder itself."
        )
    if (origin := Origin.stored(content)) is None:
        raise UserError(
            f"{setting}: {path} does not say which patients the stages before it were trained on, as checkpoints of older versions do "
            f"not: they may be tested on here. Train that run again, or the stage here: {setting}=null."
        )
    check_patients(origin, apart, setting, path)
    check_shown(origin, shown, setting, path)
    restore(module, path)
    with atomic_file(folder / "best.ckpt") as temporary:
        shutil.copyfile(path, temporary)
    write_text(folder / "finished.json", json.dumps({"reused_from": str(path)}, indent=2))


def restore(module: lightning.LightningModule, path: Path) -> Origin | None:
    """Give a module the weights of a checkpoint, and tell what they come from. Raises UserError if they are not this model's."""
    content = load_checkpoint(path)
    try:
        module.load_state_dict(content["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise UserError(f"The checkpoint {path} is of another model: {str(error).splitlines()[0]}") from error
    return Origin.stored(content)


def stable_seed(*parts: object) -> int:
    """A 63-bit seed from anything printable; the same in every process."""
    return int.from_bytes(hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest(), "little") >> 1
