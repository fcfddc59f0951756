"""The results of a finished run, read back from its folder and shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icu_lightning.terminal import print_table, say

SHOWN = (  # of the metrics in metrics.json
    "auroc",
    "auprc",
    "brier",
    "scaled_brier",
    "calibration_slope",
    "calibration_in_the_large",
    "observed_to_expected",
    "ece",
    "sensitivity",
    "specificity",
    "ppv",
    "alert_rate",
    "net_benefit",
)
UNCALIBRATED = ("auroc", "auprc", "brier", "calibration_slope", "observed_to_expected")


def finished_metrics(folder: Path) -> dict[str, Any] | None:
    """The content of metrics.json, which is written last; None if it is not there, or not whole."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) and {"test", "val"} <= metrics.keys() else None


def show(folder: Path, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """The metrics table, with intervals, and where everything is."""
    splits = {name: metrics[name] for name in ("test", "val")}
    rows = [["stays (deaths)", *(f"{split['n']} ({split['events']})" for split in splits.values())]]
    rows += [[name, *(cell_text(split.get(name)) for split in splits.values())] for name in SHOWN]
    rows += [
        [f"{name}, uncalibrated", *(cell_text(split.get("raw", {}).get(name)) for split in splits.values())]
        for name in UNCALIBRATED
    ]
    title = f"{config['names']['model']} on {config['names']['data']}, seed {config['seed']} (95 % patient-bootstrap interval)"
    print_table(title, ["", "test", "validation *"], rows)
    say("* calibrator, threshold and best epoch were chosen on validation stays: its numbers flatter")
    for name, split in splits.items():
        if "note" in split:
            say(f"{name}: {split['note']}")
    say(f"Run folder: {folder}")


def cell_text(cell: Mapping[str, float | None] | None) -> str:
    if not cell or cell["value"] is None:
        return "undefined"
    interval = f" ({cell['low']:.3f}-{cell['high']:.3f})" if cell["low"] is not None else ""
    return f"{cell['value']:.3f}{interval}"
