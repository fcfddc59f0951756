"""Loggers beside metrics.csv: told of every epoch and, at the end, of the results. Whatever becomes of them, training goes on.

W&B is Weights & Biases. A run that cannot reach it is kept offline, in the run folder; `wandb sync` sends it later.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from pytorch_lightning.loggers import Logger, WandbLogger

from icu_lightning.atomic import write_text
from icu_lightning.build import built
from icu_lightning.disclosure import may_show_stays
from icu_lightning.errors import true_or_false, unknown_name
from icu_lightning.evaluation.stored import facts_of
from icu_lightning.terminal import say
from icu_lightning.wandb_results import ARTIFACTS, logged_in, results

PATIENCE = {"WANDB_INIT_TIMEOUT": "30", "WANDB_FINISH_TIMEOUT": "300"}  # seconds without an answer


def build_loggers(folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    """The loggers of conf/logger, writing below the run folder, with the run's configuration. Raises UserError."""
    _check_artifacts(config["logger"].get("artifacts") or {})
    made = []
    for conf in config["logger"]["loggers"]:
        if conf["_target_"].endswith("WandbLogger"):
            made.append(_reached(folder, _wandb(folder, config) | conf, config))
        else:
            made.append(_begun(conf, config))
    return made


def tell_epoch(loggers: list[Logger], values: Mapping[str, float], epoch: int) -> None:
    """What was logged in an epoch, counted over all stages. A logger that fails is told of, once, and left out from then on."""
    for logger in list(loggers):
        with _never_in_the_way(logger, loggers):
            logger.log_metrics(dict(values), step=epoch)


def log_results(
    loggers: Sequence[Logger],
    folder: Path,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    predictions: pl.DataFrame,
) -> None:
    """The content of metrics.json, tables, curves and figures to every W&B logger, and of the run folder what was asked for."""
    rest = list(loggers)
    asked = [name for name, wanted in (config["logger"].get("artifacts") or {}).items() if wanted]
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            with _never_in_the_way(logger, rest):
                run = logger.experiment
                run.summary.update({name: metrics[name] for name in ("test", "val", "imputation") if name in metrics})
                facts = facts_of(folder / "predictions.parquet")
                test = predictions.filter(pl.col("split") == "test")
                run.log(results(folder, metrics, test, of_stays=may_show_stays(config, facts)))
                _send(run, folder, asked)
                run.finish()


def _send(run: Any, folder: Path, asked: Sequence[str]) -> None:
    import wandb

    for name in asked:
        if (path := folder / ARTIFACTS[name]).exists():  # a cross-validation as a whole has no model
            artifact = wandb.Artifact(f"{run.id}-{name}", type=name)
            artifact.add_file(str(path))
            run.log_artifact(artifact)


@contextmanager
def _never_in_the_way(logger: Logger, loggers: list[Logger]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of whatever kind: a dashboard is no reason to lose a training
        loggers.remove(logger)
        say(f"{type(logger).__name__} fails ({_first_line(error)}): the run goes on without it; metrics.csv has all.")


def _check_artifacts(asked: Mapping[str, Any]) -> None:
    for name, wanted in asked.items():
        if name not in ARTIFACTS:
            raise unknown_name("artifact in logger.artifacts", name, ARTIFACTS)
        true_or_false(f"logger.artifacts.{name}", wanted)


def _reached(folder: Path, conf: Mapping[str, Any], config: Mapping[str, Any]) -> Logger:
    """The logger with its run begun: at W&B, or offline if W&B does not answer or does not want us."""
    import wandb

    try:
        return _begun(conf, config)
    except (wandb.errors.Error, ConnectionError, TimeoutError) as error:
        say(f"W&B: {_first_line(error)}. This run is kept offline; send it later with {_sync(folder)}")
        wandb.teardown()  # its service still holds the id of the run that did not begin
        return _begun({**conf, "mode": "offline"}, config)


def _begun(conf: Mapping[str, Any], config: Mapping[str, Any]) -> Logger:
    logger: Logger = built(conf)
    logger.log_hyperparams(dict(config))
    return logger


def _wandb(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    names = config["names"]
    if not (os.environ.get("WANDB_MODE") or logged_in()):
        say(f"W&B: not logged in, so this run is kept offline; send it later with {_sync(folder)}")
        os.environ["WANDB_MODE"] = "offline"
    for setting, value in {"WANDB_SILENT": "true", **PATIENCE}.items():
        os.environ.setdefault(setting, value)
    experiment, sweep = names.get("experiment"), os.environ.get("ICU_SWEEP_ID")
    of_sweep = {"sweep": sweep} if sweep else {}
    return {
        "save_dir": str(folder),
        "name": _name(folder, config),
        "id": _run_id(folder, _name(folder, config)),
        "resume": "allow",
        "group": "/".join(filter(None, (experiment, names["data"], names["model"]))),
        "tags": [*filter(None, (experiment, names["data"], names["model"])), *(f"sweep:{sweep}" for _ in of_sweep)],
        "config": of_sweep,
    }


def _name(folder: Path, config: Mapping[str, Any]) -> str:
    """The folder's; a fold of a run is named after the run."""
    chosen = config["data"].get("fold")
    fold = chosen is not None and folder.name == f"fold-{chosen[0]}"
    return f"{folder.parent.name}-{folder.name}" if fold else folder.name


def _run_id(folder: Path, name: str) -> str:
    """W&B's id of this run: the same when it is resumed, another for any other folder."""
    path = folder / "wandb" / "run-id.txt"
    if not path.exists():
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
        write_text(path, f"{plain[:40]}-{secrets.token_hex(4)}\n")
    return path.read_text().strip()


def _sync(folder: Path) -> str:
    return f"`wandb sync --yes {folder / 'wandb'}/offline-run-*`."


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
