"""python -m icu_lightning.examine: a finished run looked at more closely, from its checkpoint, its predictions and its data.

How early the model is right, what it makes of the test stays, and single stays hour by hour. Nothing is trained; the run's
metrics stay what they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from icu_lightning.errors import UserError
from icu_lightning.run import CONF, answer, one_line_errors


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="examine")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    with one_line_errors(Path(), new=False):
        examine(config)


def examine(config: Mapping[str, Any]) -> None:
    """Write into the run folder. Raises UserError for a run that is not finished, or whose tables, model or data have changed."""
    from icu_lightning import runfolder
    from icu_lightning.examination.choices import choices

    if not isinstance(config["run"], str):
        raise UserError("Which run? Name its folder: run=FOLDER.")
    choices(config)
    folder = Path(config["run"]).expanduser()
    stored = runfolder.configuration(folder)
    if stored.get("cv"):
        raise UserError(
            f"{folder} is a cross-validation, with a model a fold: name one of them, as in run={folder}/fold-0."
        )
    with runfolder.locked(folder):
        _examine(folder, {**stored, "report": {**stored.get("report", {}), **config["report"]}})


def _examine(folder: Path, config: Mapping[str, Any]) -> None:
    from icu_lightning.data.module import ICUDataModule
    from icu_lightning.data.settings import source_and_settings
    from icu_lightning.evaluation.stored import read
    from icu_lightning.examination.examined import examined
    from icu_lightning.examination.write import look_closer
    from icu_lightning.results import stored_digest, stored_metrics
    from icu_lightning.terminal import say, steps
    from icu_lightning.training.checkpoint import trained
    from icu_lightning.training.snapshots import earlier_models
    from icu_lightning.trust import check_trusted

    check_trusted(config, f"{folder / 'config.yaml'}")
    predictions = read(folder / "predictions.parquet", stored_digest(stored_metrics(folder)))
    model = trained(folder)
    source, settings = source_and_settings(**config["data"])
    with steps("Data", 4) as step:
        data = ICUDataModule(source, settings, say=say, step=step)
        data.setup()
    earlier = earlier_models(folder, model.model)
    look_closer(folder, config, examined(data, model.model, model.calibrator, predictions.table, earlier), say)
    say(f"Looked at more closely: {folder}")


if __name__ == "__main__":
    main()
