"""What a run shows beside its numbers: made from what the run folder holds, and from data and model while they are there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icu_lightning.data.module import ICUDataModule
from icu_lightning.evaluation.calibration import load
from icu_lightning.evaluation.stored import read
from icu_lightning.examination.examined import examined
from icu_lightning.examination.write import look_closer
from icu_lightning.explain import explain_run
from icu_lightning.explanation.settings import explanation_settings
from icu_lightning.models.base import Model
from icu_lightning.plots.run import draw_run
from icu_lightning.report.write import write_report
from icu_lightning.terminal import say
from icu_lightning.training.checkpoint import read_content
from icu_lightning.training.snapshots import earlier_models


def present(folder: Path, config: Mapping[str, Any], data: ICUDataModule, model: Model) -> None:
    """Everything that `report=full` promises, in order; nothing with `report=none`."""
    if not config.get("report", {}).get("write"):  # runs begun before there were reports have no such choice
        return
    draw_run(folder, config)
    if settings := explanation_settings(config):
        explain_run(folder, config, data, model, settings, seed=None)
    predictions = read(folder / "predictions.parquet", None).table
    calibrator = load(read_content(folder / "checkpoints" / "model.ckpt")["calibrator"])
    seen = examined(data, model, calibrator, predictions, earlier_models(folder, model))
    look_closer(folder, config, seen, say)
    write_report(folder)  # last: of what the others have left in the folder


def present_pooled(folder: Path, config: Mapping[str, Any]) -> None:
    """The same of a cross-validation as a whole, which has no model of its own."""
    if config.get("report", {}).get("write"):
        draw_run(folder, config)
        write_report(folder)
