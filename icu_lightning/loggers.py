"""Loggers beside metrics.csv, and what they are given at the end of a run: metrics and curves, never a patient's row."""

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from pytorch_lightning.loggers import Logger, WandbLogger

from icu_lightning.build import built
from icu_lightning.evaluation.curves import calibration_curve, pr_curve, roc_curve
from icu_lightning.terminal import say


def build_loggers(folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    """The loggers of conf/logger, writing below the run folder, with the run's configuration."""
    made = []
    for conf in config["logger"]["loggers"]:
        if conf["_target_"].endswith("WandbLogger"):
            conf = _wandb(folder, config) | conf
        logger = built(conf)
        logger.log_hyperparams(dict(config))
        made.append(logger)
    return made


def log_results(loggers: Sequence[Logger], metrics: Mapping[str, Any], predictions: pl.DataFrame) -> None:
    """Final metrics and the test split's curves, to every W&B logger."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update({"test": metrics["test"], "val": metrics["val"]})
            logger.experiment.log(_plots(predictions.filter(pl.col("split") == "test")))
            logger.experiment.finish()


def _wandb(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    names = config["names"]
    if not (os.environ.get("WANDB_MODE") or _logged_in()):
        say("W&B: not logged in, so this run is kept offline in the run folder; send it later with `wandb sync`.")
        os.environ["WANDB_MODE"] = "offline"
    os.environ.setdefault("WANDB_SILENT", "true")
    fold = config["data"].get("fold") is not None and folder.name == f"fold-{config['data']['fold'][0]}"
    name = f"{folder.parent.name}-{folder.name}" if fold else folder.name  # a fold of a run is named after the run
    run_id = name.replace(":", "-")
    return {
        "save_dir": str(folder),
        "name": name,
        "id": run_id,
        "resume": "allow",
        "group": f"{names['data']}-{names['model']}",
        "tags": [names["data"], names["model"]],
    }


def _logged_in() -> bool:
    """A key in the environment, or an entry for the W&B server in ~/.netrc, where `wandb login` puts it."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        entry = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        entry = None
    return bool(os.environ.get("WANDB_API_KEY") or entry)


def _plots(test: pl.DataFrame) -> dict[str, Any]:
    import wandb

    label, risk = test["label"].to_numpy(), test["risk"].to_numpy()
    plots = {}
    for name, (x, y, x_name, y_name) in {
        "roc": (*roc_curve(label, risk), "1 - specificity", "sensitivity"),
        "pr": (*pr_curve(label, risk), "sensitivity", "positive predictive value"),
        "calibration": (*calibration_curve(label, risk), "predicted risk", "observed share of deaths"),
    }.items():
        table = wandb.Table(
            data=[list(map(float, point)) for point in zip(x, y, strict=True)], columns=[x_name, y_name]
        )
        plots[f"test/{name}"] = wandb.plot.line(table, x_name, y_name, title=f"{name} (test)")
    return plots
