"""The public demos of MIMIC-IV and eICU: how long VIS and scores take, and what a run of all three stages on them says.

    python experiments/teacher_student/demos.py mimic4=runs/demo_mimic4 eicu=runs/demo_eicu --out demos.json

The time is of every stay of the MIMIC-IV demo, whatever its age or length: hourly VIS of 48 hours and all five scores of the first
day, from the raw tables in ICU_DATA_ROOT, once in this process and without a cache. The runs are smoke: they show that it runs on
real tables, and their few test stays rank nothing.
"""

import argparse
import json
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from stage_times import times  # of stage_times.py beside this file

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.data.extract import extract
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.severity import SCORES
from icu_lightning.data.sources.base import Source
from icu_lightning.evaluation.stored import read
from icu_lightning.results import finished_metrics, stored_digest

HOURS = 48
SMOKE = "Smoke: so few test stays rank nothing, and no number here says how good a model is."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", help="NAME=FOLDER of finished runs")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (run.partition("=") for run in asked.runs)}
    source, _ = source_and_settings(**runfolder.configuration(folders["mimic4"])["data"])
    content = {
        "vis_and_scores_of_the_mimic4_demo": vis_and_scores(source),
        "runs": {name: smoke(folder) for name, folder in folders.items()},
        "note": SMOKE,
    }
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


def vis_and_scores(source: Source) -> dict[str, Any]:
    """Seconds, by the wall's clock and the processor's, of VIS and scores of all stays, with one series read beside them; and for how
    many they are known.
    """
    wall, processor = time.perf_counter(), time.process_time()
    made = extract(source, HOURS, ["heart_rate"], [], "died_in_hospital", scores=SCORES, vis="mean")
    took = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
    rates = made.rates
    assert rates is not None
    return {
        **{name: round(of, 2) for name, of in took.items()},
        "stays": made.stays.height,
        "stays_with_a_drug": int(((rates > 0) | np.isnan(rates)).any((1, 2)).sum()),
        "stays_with_a_score": {name: int(made.stays[name].is_not_null().sum()) for name in SCORES},
        "unknown_units": made.units.height,
        "polars_threads": pl.thread_pool_size(),
    }


def smoke(folder: Path) -> dict[str, Any]:
    """Stays of each side, epochs and seconds of each stage; of so few stays no metric is told."""
    metrics = finished_metrics(folder)
    stored = read(folder / "predictions.parquet", stored_digest(metrics))
    environment, _ = runfolder.stored_environment(folder)
    words = shlex.split(environment["command"])[1:]
    return {
        "synthetic": stored.facts["synthetic"] == "true",
        "stays": dict(sorted(stored.table.group_by("split").len().rows())),
        "test_deaths": metrics["test"]["events"],
        "stages": {
            name: {"epochs": of["epochs"], "seconds": of["seconds"]} for name, of in times(folder)["stages"].items()
        },
        "overrides": [word for word in words if not word.startswith("hydra.run.dir")],
        "commit": environment["git commit"],
        "smoke": True,
    }


if __name__ == "__main__":
    main()
