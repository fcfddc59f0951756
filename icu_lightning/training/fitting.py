"""A model of conf, built and fitted: by the run itself, and by the processes that train along with it.

python -m icu_lightning.training.fitting     what rank 0 starts on each further device; never typed by a person
"""

import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers import Logger

from icu_lightning.build import built
from icu_lightning.data.loader import TrainingData
from icu_lightning.data.module import ICUDataModule
from icu_lightning.errors import UserError
from icu_lightning.models.base import Data, Model
from icu_lightning.training.crew import Crew, lost, one_of_ours
from icu_lightning.training.kept import Kept
from icu_lightning.training.origins import Keys
from icu_lightning.training.stages import StageTrainer, patient_keys, stable_seed


@dataclass(frozen=True)
class Task:
    """What the other processes need: whom to train, on what, and where the checkpoints are."""

    folder: Path
    config: Mapping[str, Any]
    data: TrainingData


def fitted(
    folder: Path,
    config: Mapping[str, Any],
    data: ICUDataModule,
    crew: Crew,
    *,
    loggers: Sequence[Logger] = (),
    progress: bool = False,
) -> Model:
    """The model of `config`, fitted by all of the crew. Raises UserError for what the model or the trainer refuses."""
    # Several processes would have to agree on what is there: they fit anew
    kept = Kept.of(config, data) if crew.size == 1 else None
    apart = {
        "validation": patient_keys(data.val.patient_id),
        "test": patient_keys(data.test.patient_id),
    }
    model, trainer = _model_and_trainer(folder, config, data, crew, loggers, progress, kept, apart)
    with crew.ready_for(lambda: Task(folder, config, TrainingData.of(data, data.settings.batch_size, data.seed))):
        model.fit(data, trainer)
    return model


def _model_and_trainer(
    folder: Path,
    config: Mapping[str, Any],
    data: Data,
    crew: Crew,
    loggers: Sequence[Logger],
    progress: bool,
    kept: Kept | None = None,
    apart: Keys | None = None,
) -> tuple[Model, StageTrainer]:
    torch.manual_seed(stable_seed(config["seed"], "initial weights"))
    model = built(config["model"], shape=data.shape)
    given: dict[str, Any] = {"folder": folder, "seed": config["seed"], "loggers": loggers, "progress": progress}
    return model, built(config["trainer"], **given, crew=crew, kept=kept, apart=apart)


def follow(crew: Crew) -> None:
    """Train along until rank 0 has no more to do. A mistake that only this process met is told, with exit code 1."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # rank 0 hears them, and decides
    try:
        while (task := crew.received()) is not None:
            crew.engaged = True
            model, trainer = _model_and_trainer(task.folder, task.config, task.data, crew, (), progress=False)
            model.fit(task.data, trainer)
    except UserError as error:
        sys.exit(f"error: {error}")
    except RuntimeError as error:
        if lost(error):
            sys.exit(f"rank {crew.rank}: rank 0 has stopped.")
        raise


if __name__ == "__main__":
    with one_of_ours() as ours:
        follow(ours)
