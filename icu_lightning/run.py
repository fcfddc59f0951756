"""python -m icu_lightning.run: configuration -> data -> fit -> predictions -> metrics -> run folder.

Nothing here asks which model it has. torch is imported only after the configuration is known to be good, so that help and
mistakes answer at once.
"""

import secrets
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from icu_lightning import runfolder
from icu_lightning.errors import UserError

PACKAGE = Path(__file__).resolve().parent
CONF = next(conf for conf in (PACKAGE.parent / "conf", PACKAGE / "conf") if (conf / "run.yaml").exists())


def run_folder(resume: str | None, data: str, model: str) -> str:
    """Where this run writes, relative to the working directory: the resumed folder, or runs/<data>-<model>/<time>-<suffix>."""
    if resume:
        return str(Path(resume).expanduser())
    return f"runs/{data}-{model}/{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(2)}"


OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    try:
        command()
    except hydra.errors.HydraException as error:  # what Hydra lets through when --help comes with a mistake
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="run")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration, once a job."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        run(folder, cfg)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if not any(folder.iterdir()):
            folder.rmdir()  # Hydra made it; nothing was done in it
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        print(f"Stopped. Continue with: python -m icu_lightning.run resume={folder}", file=sys.stderr)
        sys.exit(130)


def run(folder: Path, cfg: DictConfig) -> None:
    """One run, new or resumed, into `folder`."""
    from icu_lightning.data.settings import source_and_settings
    from icu_lightning.evaluation.thresholds import threshold_rule

    config = stored_config(folder) if cfg.resume else composed_config(cfg)
    for name in ("seed", "bootstrap"):
        if not isinstance(config[name], int) or config[name] < 0:
            raise UserError(f"{name} must be a whole number of at least 0; it is {config[name]}.")
    threshold_rule(config["threshold"])
    source, settings = source_and_settings(**config["data"])  # a missing table is told before torch is loaded
    if not cfg.resume:
        config = runfolder.start(folder, config)

    from icu_lightning.pipeline import run_pipeline

    run_pipeline(folder, config, source, settings)


def composed_config(cfg: DictConfig) -> dict[str, Any]:
    """What Hydra composed, plain and resolved, with the names of the options chosen."""
    choices = HydraConfig.get().runtime.choices
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {
        "names": {group: choices[group] for group in ("data", "model", "trainer", "logger", "calibration")},
        **plain,
    }


def stored_config(folder: Path) -> dict[str, Any]:
    """The resumed run's own configuration; what else was typed is refused."""
    return runfolder.reopen(folder, [o for o in HydraConfig.get().overrides.task if not o.startswith("resume=")])


if __name__ == "__main__":
    main()
