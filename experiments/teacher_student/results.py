"""Put finished runs on the same test stays into one JSON file, each beside one of them, and print the table.

    python experiments/teacher_student/results.py student=runs/student vis_lstm=runs/lstm ... --against vis_lstm --out results.json

AUROC, AUPRC and Brier score of the model's own risks on test stays, with 95 % intervals over resampled patients, and the paired
difference from the run named by --against within the same resamples; with --pair of any two others, too. A run's robustness.json
comes along if it has one, and with --shap its explanation.json beside the ranking that the paper's abstract gives. Runs of
different code are refused. No stay is in the file.
"""

import argparse
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.errors import UserError
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.metrics import auprc, auroc, brier
from icu_lightning.evaluation.stored import Stored, read
from icu_lightning.explanation.summary import NOTHING
from icu_lightning.results import finished_metrics, stored_digest

SAME = ("source", "outcome", "synthetic")  # facts of predictions.parquet
METRICS = {"auroc": auroc, "auprc": auprc, "brier": brier}
PAPER = {  # feature -> what of it the abstract ranks, and its mean |SHAP|; ours is of all categories of a feature together
    "sofa": ("SOFA", 0.147),
    "lods": ("LODS", 0.033),
    "marital_status": ("single", 0.031),
    "insurance": ("Medicaid", 0.023),
    "saps2": ("SAPS II", 0.020),
}
FEWEST = 5  # stays of a category of which a number is told
NO_CAUSE = "An attribution says what the model used, not what would help a patient: it is no cause, of a score or of a person's means."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", help="NAME=FOLDER of finished runs on the same test stays")
    parser.add_argument("--against", required=True, help="the NAME that the others are set against")
    parser.add_argument("--pair", nargs=2, action="append", default=[], help="two NAMEs: the first minus the second")
    parser.add_argument("--shap", help="the NAME whose explanation.json is set beside the paper's ranking")
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (run.partition("=") for run in asked.runs)}
    content = compared(folders, asked.against, asked.bootstrap, asked.pair)
    if asked.shap:
        content["shap"] = shap_table(json.loads((folders[asked.shap] / "explanation.json").read_text()))
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    for name, row in content["runs"].items():
        print(f"{name:16} AUROC {cell(row['auroc'])}  against {asked.against} {cell(row['auroc_difference'])}")
    for name, row in content["pairs"].items():
        print(f"{name}: AUROC {cell(row['auroc'])}")


def compared(
    folders: Mapping[str, Path], against: str, bootstrap: int, pairs: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """Raises UserError if a run is not finished, or is of other code or other test stays, and for a pair of names that are none."""
    if unknown := {name for pair in pairs for name in pair} - folders.keys():
        raise UserError(f"--pair names {', '.join(sorted(unknown))}, and the runs are {', '.join(folders)}.")
    files = {name: stored(folder) for name, folder in folders.items()}
    tables = {name: test_stays(file) for name, file in files.items()}
    first, facts_of_first = tables[against], files[against].facts
    for name, table in tables.items():
        if not table.select("stay_id", "label").equals(first.select("stay_id", "label")):
            raise UserError(f"{name} and {against} were not tested on the same stays.")
        if apart := [fact for fact in SAME if files[name].facts.get(fact) != facts_of_first.get(fact)]:
            raise UserError(f"{name} and {against} differ in {', '.join(apart)}.")
    label, risks = first["label"].to_numpy(), {name: table["risk_raw"].to_numpy() for name, table in tables.items()}

    def metrics(weight: np.ndarray) -> dict[str, Any]:
        of = {(n, m): metric(label, risk, weight) for n, risk in risks.items() for m, metric in METRICS.items()}
        return (
            {f"{n} {m}": x for (n, m), x in of.items()}
            | {f"{n} {m}_difference": x - of[against, m] for (n, m), x in of.items()}
            | {f"{one} - {other} {m}": of[one, m] - of[other, m] for one, other in pairs for m in METRICS}
        )

    cells = with_intervals(metrics, first["patient_id"].to_numpy(), bootstrap, seed=0)
    kinds = [*METRICS, *(f"{m}_difference" for m in METRICS)]
    rows = {n: facts(folder) | {k: cells[f"{n} {k}"] for k in kinds} for n, folder in folders.items()}
    if len({row["commit"] for row in rows.values()}) > 1:
        said = ", ".join(f"{name} {row['commit']}" for name, row in rows.items())
        raise UserError(
            f"The runs are of different code, so a difference need not be the model's: {said}. Run them again."
        )
    counts = {"test_stays": len(label), "test_deaths": int(label.sum()), "bootstrap": bootstrap}
    beside = {f"{one} - {other}": {m: cells[f"{one} - {other} {m}"] for m in METRICS} for one, other in pairs}
    synthetic = facts_of_first["synthetic"] == "true"
    return {**counts, "against": against, "synthetic": synthetic, "runs": rows, "pairs": beside}


def stored(folder: Path) -> Stored:
    return read(folder / "predictions.parquet", stored_digest(finished_metrics(folder)))


def test_stays(stored: Stored) -> pl.DataFrame:
    return stored.table.filter(pl.col("split") == "test").sort("stay_id")


def facts(folder: Path) -> dict[str, Any]:
    """What was typed, seed, code, and the robustness if there is one."""
    environment, _ = runfolder.stored_environment(folder)
    words = [w for w in shlex.split(environment.get("command", "")) if not w.startswith("hydra.run.dir")]
    worse = folder / "robustness.json"
    return {
        "seed": runfolder.configuration(folder)["seed"],
        "overrides": [re.sub(r"=/.*/", "=runs/", word) for word in words if "=" in word and not word.startswith("/")],
        "commit": environment.get("git commit"),
        "robustness": json.loads(worse.read_text())["kinds"] if worse.exists() else None,
    }


def shap_table(explanation: Mapping[str, Any]) -> dict[str, Any]:
    """Mean |SHAP| of each feature with its interval, and the paper's.

    "not comparable" of a feature that the database does not chart, or that is none of the model's inputs.
    """
    absent = explanation["not_charted"]
    found = {row["feature"]: row for row in explanation["features"]}
    rows = []
    for name, (words, paper) in PAPER.items():
        row = found.get(name)
        here = {side: row[side] for side in ("mean_absolute", "low", "high")} if row and name not in absent else None
        rows.append(
            {"feature": name, "here": here or "not comparable", "paper": paper, "of_which_the_paper_ranks": words}
        )
        if here and (of := row.get("categories", {}).get(words.lower())):
            rows[-1]["of_stays_in_that_category"] = of if of["n"] >= FEWEST else f"fewer than {FEWEST} stays"
    ranking = {name: row["mean_absolute"] for name, row in found.items() if row["mean_absolute"] > NOTHING}
    how = {name: explanation.get(name) for name in ("background", "evaluations", "block_hours", "drugs", "risk")}
    return {"rows": rows, "ranking": ranking, "stays": explanation["n"], **how, "note": NO_CAUSE}


def cell(number: Mapping[str, Any]) -> str:
    return f"{number['value']:+.3f} ({number['low']:+.3f} to {number['high']:+.3f})"


if __name__ == "__main__":
    main()
