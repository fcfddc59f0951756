"""python -m icu_lightning.describe: the data of a run as a page that a clinician can read. Neither torch nor a model is loaded."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from icu_lightning import __version__
from icu_lightning.atomic import write_text
from icu_lightning.errors import UserError, whole_number
from icu_lightning.run import CONF, answer, check, composed_config, one_line_errors, time_and_suffix
from icu_lightning.runfolder import git_commit

OmegaConf.register_new_resolver(
    "description_folder", lambda data: f"descriptions/{data}-{time_and_suffix()}", use_cache=True, replace=True
)


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="describe")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration, once a job."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    with one_line_errors(folder):
        describe(folder, composed_config(cfg))


def describe(folder: Path, config: dict[str, Any]) -> None:
    """Write index.html and attrition.svg into `folder`. Raises UserError if it holds anything already."""
    from icu_lightning.data.prepared import prepared
    from icu_lightning.data.settings import source_and_settings
    from icu_lightning.description.flow_chart import flow_chart
    from icu_lightning.description.page import Origin, page
    from icu_lightning.terminal import say, steps

    if config["resume"]:
        raise UserError("resume continues a run of icu_lightning.run; a description is made anew. Leave it out.")
    if any(folder.iterdir()):
        raise UserError(f"The folder {folder} is not empty, and nothing is overwritten: choose another hydra.run.dir.")
    check(config)
    smallest = whole_number("smallest_cell", config["smallest_cell"], 1)
    source, settings = source_and_settings(**config["data"])
    if "weight_kg" not in settings.static:  # Table 1 has it, whatever a model would be shown
        settings = replace(settings, static=[*settings.static, "weight_kg"])
    with steps("Data", 4) as step:
        extract, stays = prepared(source, settings, say, step)
    made = {"Made": f"{datetime.now():%Y-%m-%d %H:%M}", "By": f"icu_lightning {__version__}, code {git_commit()}"}
    origin = Origin(database=source.name, synthetic=source.synthetic, made=made)
    html = page(origin, settings, extract, stays, smallest)
    chart = flow_chart(extract.attrition, title=f"{source.name}: who is in the cohort", smallest=smallest)
    write_text(folder / "attrition.svg", chart)
    write_text(folder / "index.html", html)
    kind = "SYNTHETIC stays (no patients of any hospital)" if source.synthetic else "stays"
    say(f"{source.name}: {stays.height:,} {kind}, {int(stays[settings.outcome].sum()):,} {settings.outcome}")
    say(f"Description: {folder / 'index.html'}")


if __name__ == "__main__":
    main()
