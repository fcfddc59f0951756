"""python -m icu_lightning.report run=RUN: the report of a finished run anew, from its folder alone. torch is not loaded."""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from icu_lightning.run import CONF, answer, one_line_errors


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="report")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    with one_line_errors(Path(), new=False):
        report_runs(config["run"])


def report_runs(named: object) -> None:
    """Report on each; a run that is refused stops the command."""
    from icu_lightning import runfolder
    from icu_lightning.evaluate import folders
    from icu_lightning.report.write import write_report
    from icu_lightning.terminal import say

    for folder in folders(named):
        runfolder.configuration(folder)
        with runfolder.locked(folder):
            say(f"Report: {write_report(folder)}")


if __name__ == "__main__":
    main()
