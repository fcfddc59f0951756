"""python -m icu_lightning.explain: what drives the risks of a finished run, again or in more detail.

A run explains a few stays when it ends (`report.explanation`); this spends more on it. The run's checkpoint and its stored
configuration say which model and which stays; the data must be what they were.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf

from icu_lightning import runfolder
from icu_lightning.errors import UserError
from icu_lightning.explanation.settings import Settings
from icu_lightning.run import CONF, answer, one_line_errors

if TYPE_CHECKING:
    from icu_lightning.data.module import ICUDataModule


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="explain")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    with one_line_errors(Path(), new=False):
        explain_again(config)


def explain_again(config: Mapping[str, Any]) -> None:
    """Load model and data of the run `config['run']`, explain, write into its folder.

    Raises UserError for a run that is not finished, or whose data have changed, and for a setting that cannot be used.
    """
    if not config["run"]:
        raise UserError("Which run? Name its folder: run=FOLDER.")
    settings = Settings(**{f.name: config[f.name] for f in fields(Settings)})
    folder = Path(str(config["run"])).expanduser()
    stored = runfolder.configuration(folder)
    if stored.get("cv"):
        raise UserError(f"{folder} has a model for each fold; explain one of them: run={folder / 'fold-0'}.")
    with runfolder.locked(folder):
        from icu_lightning.data.module import ICUDataModule
        from icu_lightning.data.settings import source_and_settings
        from icu_lightning.pipeline import same_data
        from icu_lightning.report.write import write_report
        from icu_lightning.terminal import say, steps
        from icu_lightning.training.checkpoint import trained
        from icu_lightning.trust import check_trusted

        check_trusted(stored, f"{folder / 'config.yaml'}")
        model = trained(folder).model
        with steps("Data", 4) as step:
            data = ICUDataModule(*source_and_settings(**stored["data"]), say=say, step=step)
            data.setup()
        same_data(folder, data)
        explain_run(folder, stored, data, model, settings, seed=config["seed"])
        if (folder / "report.html").exists():  # it shows the explanation that is no more
            write_report(folder)
        say(
            f"Explanation: {folder / 'explanation.json'}, {folder / 'attributions.parquet'}, {folder / 'plots'}/shap_*.svg"
        )


def explain_run(
    folder: Path, config: Mapping[str, Any], data: "ICUDataModule", model: Any, settings: Settings, *, seed: int | None
) -> None:
    """Explain a run whose checkpoint is written.

    Arguments:
        config: of the run.
        seed: of the stays that are drawn and of the orders; None: the run's own.
    """
    from icu_lightning.disclosure import may_show_stays
    from icu_lightning.evaluation.calibration import load
    from icu_lightning.explanation.explain import explain
    from icu_lightning.plots.kinds import figures_asked
    from icu_lightning.training.checkpoint import read_content

    calibrator = None
    if settings.risk == "calibrated":
        calibrator = load(read_content(folder / "checkpoints" / "model.ckpt")["calibrator"])
    explain(
        folder,
        data,
        model,
        settings,
        calibrator=calibrator,
        bootstrap=config["bootstrap"],
        seed=config["seed"] if seed is None else seed,
        show_stays=may_show_stays(config, data.source),
        png=figures_asked(config) == "png",
    )


if __name__ == "__main__":
    main()
