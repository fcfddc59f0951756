"""The trials of a search as one JSON file: what each tried, how it ended, and its AUROC on validation stays.

python experiments/teacher_student/trials.py runs/search_lstm --out lstm_search.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.errors import UserError

LEFT = (
    "job",
    "synthetic",
    "val/auroc",
    "seconds",
    "attempts",
    "where",
    "run",
)  # of jobs.csv: told by other names, or of this machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sweep", type=Path, help="the folder of a search that is over")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    content = trials(asked.sweep)
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    print(f"{len(content['trials'])} trials")


def trials(sweep: Path) -> dict[str, Any]:
    """Raises UserError for a folder that is no search."""
    path = sweep / "jobs.csv"
    if not path.exists() or not (sweep / "study.db").exists():
        raise UserError(f"{sweep} is no folder of a search (-m search=NAME): it has no jobs.csv and study.db.")
    rows = pl.read_csv(path).sort("job").to_dicts()
    commits = {
        runfolder.stored_environment(run)[0].get("git commit") for run in sorted((sweep / "runs").glob("trial-*"))
    }
    found = [
        {"trial": int(row["job"].removeprefix("trial-")), "val_auroc": row["val/auroc"]}
        | {name: value for name, value in row.items() if name not in LEFT}
        for row in rows
    ]
    return {
        "synthetic": all(row["synthetic"] in (True, "true", None) for row in rows),
        "commits": sorted(map(str, commits)),
        "trials": found,
    }


if __name__ == "__main__":
    main()
