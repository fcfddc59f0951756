"""python -m icu_lightning.robustness: a finished run's AUROC when the drugs of its test stays are charted worse.

Growing gaps and irregular charting of the vasoactive drugs, see `examination.robustness`; written to robustness.json in the run
folder. Nothing is trained, and the run's metrics stay what they are.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from icu_lightning.atomic import write_text
from icu_lightning.errors import UserError, whole_number
from icu_lightning.run import CONF, answer, one_line_errors

FILE = "robustness.json"


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="robustness")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    with one_line_errors(Path(), new=False):
        write_robustness(config)


def write_robustness(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write FILE into the folder of the run `config['run']`; returns its content.

    Raises UserError for a run that is not finished, whose data have changed or that reads no drugs, and for no such amounts.
    """
    from icu_lightning import runfolder

    if not isinstance(config["run"], str):
        raise UserError("Which run? Name its folder: run=FOLDER.")
    for name in ("seed", "bootstrap"):
        whole_number(name, config[name], 0)
    folder = Path(config["run"]).expanduser()
    stored = runfolder.configuration(folder)
    if stored.get("cv"):
        raise UserError(f"{folder} has a model for each fold; name one of them: run={folder / 'fold-0'}.")
    with runfolder.locked(folder):
        return _write(folder, stored, config)


def _write(folder: Path, stored: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    from icu_lightning.data.module import ICUDataModule
    from icu_lightning.data.settings import source_and_settings
    from icu_lightning.examination.robustness import robustness
    from icu_lightning.models.vis import until
    from icu_lightning.pipeline import same_data
    from icu_lightning.terminal import say, steps
    from icu_lightning.training.checkpoint import trained
    from icu_lightning.trust import check_trusted

    check_trusted(stored, f"{folder / 'config.yaml'}")
    model = trained(folder).model
    with steps("Data", 4) as step:
        data = ICUDataModule(*source_and_settings(**stored["data"]), say=say, step=step)
        data.setup()
    same_data(folder, data)
    test = until(data.test, stored["model"].get("horizon"))  # no hour is hidden, or moved, that the model is not shown
    result = robustness(model, test, config["worse"], bootstrap=config["bootstrap"], seed=config["seed"])
    result = {"source": data.source.name, "synthetic": data.source.synthetic, **result}
    write_text(folder / FILE, json.dumps(result, indent=2) + "\n")
    _draw(folder, stored, result)
    for kind, rows in result["kinds"].items():
        say(f"AUROC, {kind}: " + ", ".join(f"{row['amount']:g}: {row['auroc']['value']:.3f}" for row in rows))
    say(f"Robustness: {folder / FILE}")
    return result


def _draw(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Figure and report, of a run that has them."""
    from icu_lightning.plots.kinds import figures_asked
    from icu_lightning.plots.robustness import Worse, robustness_figure
    from icu_lightning.plots.save import write_figure
    from icu_lightning.plots.sheet import Facts
    from icu_lightning.report.write import write_report

    asked = figures_asked(config, None)
    if asked == "none":
        return
    names, kinds = config["names"], {kind: rows for kind, rows in result["kinds"].items() if rows}
    about = f"{names['model']} on {names['data']}, {result['stays']:,} test stays, {result['deaths']:,} deaths"
    figure = robustness_figure(
        Worse(kinds=kinds, titles=result["titles"], facts=Facts(about=about, synthetic=result["synthetic"]))
    )
    alt = "AUROC of the test stays with vasoactive drugs charted worse; see robustness.json."
    write_figure(figure, folder / "plots" / "robustness.svg", alt, png=asked == "png")
    if (folder / "report.html").is_file():
        write_report(folder)


if __name__ == "__main__":
    main()
