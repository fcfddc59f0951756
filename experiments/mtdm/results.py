"""Put the finished cross-validations of a comparison, and averages of them, into one JSON file and print its table.

    python experiments/mtdm/results.py runs/lightgbm-0 runs/summary_gru-0 ... --out results.json

Of each: the mean over folds and each fold's AUROC and AUPRC of the model's own risks, the pooled numbers of the calibrated ones with
their intervals over resampled patients, the errors of its imputations, seeds, members, command and code. No stay is in it.
"""

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.compare import read_run
from icu_lightning.comparison.runs import MEMBERS, models
from icu_lightning.errors import UserError, unknown_name
from icu_lightning.results import finished_metrics

METRICS = ("auroc", "auprc")
POOLED = (*METRICS, "brier", "calibration_slope", "observed_to_expected", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="finished folders of cv=5, and averages of such")
    parser.add_argument(
        "--against", default="lightgbm", help="the model whose mean over seeds the others' folds are set against"
    )
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    rows = named([of_run(folder) for folder in asked.runs], asked.runs)
    content = {"runs": rows, "against": asked.against, "models": of_models(rows, asked.against)}
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    for name, row in content["models"].items():
        cells = [
            f"{row[m]['mean']:.4f} ({row[m]['difference']:+.4f}, {row[m]['folds_above']} of {row['folds']})"
            for m in METRICS
        ]
        print(f"{name:50} {row['runs']} runs  AUROC {cells[0]}  AUPRC {cells[1]}")


def of_run(folder: Path) -> dict[str, Any]:
    """What one folder says. Raises UserError if it is not a finished cross-validation."""
    config, metrics = runfolder.configuration(folder), finished_metrics(folder)
    if metrics is None or "folds" not in metrics["test"]:
        raise UserError(f"{folder} is not a finished run of cv=5.")
    environment, _ = runfolder.stored_environment(folder)
    members = [{k: v for k, v in member.items() if k != "folder"} for member in config.get(MEMBERS, [])]
    return {
        "name": config["names"]["model"],
        "seed": None if members else config["seed"],
        "command": typed(environment.get("command", "")),
        "commit": environment.get("git commit"),
        "members": members,
        "n": metrics["test"]["n"],
        "events": metrics["test"]["events"],
        "folds": {name: metrics["test"]["raw"]["folds"][name] for name in METRICS},
        "pooled": {name: metrics["test"][name] for name in POOLED},
        "pooled_raw": {name: metrics["test"]["raw"][name] for name in METRICS},
        "balanced": metrics["test"].get("balanced"),
        "spread": metrics["test"].get("spread"),
        "imputation": metrics.get("imputation"),
    }


def named(rows: list[dict[str, Any]], folders: list[Path]) -> list[dict[str, Any]]:
    """Models of one name and several settings, told apart as `compare` does: `summary_gru (model.tasks.contrastive=0.2)`."""
    alone = [i for i, row in enumerate(rows) if not row["members"]]
    settings = {run.name: model.name for model in models([read_run(folders[i]) for i in alone]) for run in model.runs}
    return [row | {"name": settings.get(str(folder), row["name"])} for row, folder in zip(rows, folders, strict=True)]


def typed(command: str) -> str:
    """As anybody would type it: the module's name, and no folder of the machine that it ran on."""
    program, *words = shlex.split(command)
    shown = [re.sub(r"(?<![^=])/\S*/", "runs/", word) for word in words]
    return " ".join(["python -m icu_lightning." + Path(program).stem, *map(shlex.quote, shown)])


def of_models(rows: list[dict[str, Any]], against: str) -> dict[str, Any]:
    """By name, averages of more members apart: each fold's mean over the seeds, its mean and SD over folds, and the paired
    difference from `against`. Raises UserError if no run has that name."""
    same: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        same.setdefault(f"{row['name']} ({n} members)" if (n := len(row["members"])) else row["name"], []).append(row)

    if against not in same:
        raise unknown_name("model in --against", against, same)

    def folds(name: str, metric: str) -> np.ndarray:
        return np.mean([row["folds"][metric]["values"] for row in same[name]], axis=0)

    result: dict[str, Any] = {}
    for name, runs in same.items():
        own: dict[str, Any] = {"runs": len(runs), "folds": len(folds(name, "auroc"))}
        for metric in METRICS:
            values = folds(name, metric)
            difference = values - folds(against, metric)
            own[metric] = {
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)),
                "difference": float(difference.mean()),
                "difference_sd": float(difference.std(ddof=1)),
                "folds_above": int((difference > 0).sum()),
            }
        for metric in POOLED:
            seeds = [row["pooled"][metric]["value"] for row in runs]
            own[f"pooled_{metric}"] = {
                "mean": float(np.mean(seeds)),
                "sd": float(np.std(seeds, ddof=1)) if seeds[1:] else None,
            }
        result[name] = own
    return result


if __name__ == "__main__":
    main()
