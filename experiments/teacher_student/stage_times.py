"""How long did each stage of a run take? From when its files were written, with the epochs it took and what came of it.

    python experiments/teacher_student/stage_times.py runs/full --out stage_times.json

Of a run that was neither resumed nor copied, and reused no stage: data.json is written when the data are there, finished.json when a
stage is done. Wall-clock seconds, of a machine that may have had other work.
"""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.errors import UserError
from icu_lightning.evaluation.stored import read
from icu_lightning.models.teacher_student.stages import STAGES
from icu_lightning.results import finished_metrics, stored_digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--cores", type=int, required=True, help="cores of the machine")
    parser.add_argument("--beside", required=True, help="what else the machine did, in words, or nothing")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    content = times(asked.run) | {"cores": asked.cores, "beside": asked.beside}
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


def times(folder: Path) -> dict[str, Any]:
    """Raises UserError for a run that is not finished, or that has taken a stage from another."""
    metrics, checkpoints = finished_metrics(folder), folder / "checkpoints"
    stored = read(folder / "predictions.parquet", stored_digest(metrics))
    before, stages = (checkpoints / "data.json").stat().st_mtime, {}
    for stage in STAGES:
        path = checkpoints / stage / "finished.json"
        finished = json.loads(path.read_text())
        if "reused_from" in finished:
            raise UserError(
                f"{folder} took its stage '{stage}' from {finished['reused_from']}: it says nothing of its time."
            )
        stages[stage] = {"seconds": round(path.stat().st_mtime - before, 1), **finished}
        before = path.stat().st_mtime
    sides = stored.table.group_by("split").len().rows()
    environment, _ = runfolder.stored_environment(folder)
    typed = shlex.split(environment["command"])[1:]
    return {
        "synthetic": stored.facts["synthetic"] == "true",
        "stays": stored.table.height,
        **{f"{name}_stays": n for name, n in sorted(sides)},
        "stages": stages,
        "seconds_of_all_stages": round(sum(of["seconds"] for of in stages.values()), 1),
        "overrides": [word for word in typed if not word.startswith("hydra.run.dir")],
        "seed": runfolder.configuration(folder)["seed"],
        "test_auroc": metrics["test"]["raw"]["auroc"],
        "commit": environment["git commit"],
    }


if __name__ == "__main__":
    main()
