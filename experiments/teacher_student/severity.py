"""How well do teacher and student tell the severity scores of the first day? Mean absolute errors in points, with intervals.

    python experiments/teacher_student/severity.py runs/student --out severity.json

Of the test stays whose score is known: how far each network's score is from it, and how far the training stays' mean is, which
needs no learning; and the networks' errors less that within the same resamples of patients. No stay is in the file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.severity import SCORES
from icu_lightning.errors import UserError
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.models.teacher_student.model import RISKS, TeacherStudent
from icu_lightning.pipeline import same_data
from icu_lightning.training.checkpoint import trained

MEAN = "training mean"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="a finished run of teacher_student whose risk is the student's")
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    content = errors_of_run(asked.run, asked.bootstrap)
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    for name, of in content["scores"].items():
        print(name, {who: round(cell["value"], 2) for who, cell in of["mae"].items()})


def errors_of_run(folder: Path, bootstrap: int) -> dict[str, Any]:
    """Raises UserError for a run without both networks and scores that they were to tell, or whose data have changed."""
    model = trained(folder).model
    if not isinstance(model, TeacherStudent) or model.risk != "student" or not model.weights.severity:
        raise UserError(
            f"{folder} has no student that was to tell severity scores: it is no such run of model=teacher_student."
        )
    data = ICUDataModule(*source_and_settings(**runfolder.configuration(folder)["data"]), say=print)
    data.setup()
    same_data(folder, data)
    test, sd = data.test, data.severity_scaler.sd
    assert sd is not None
    with torch.no_grad():
        told = {name: getattr(model, name).eval()(test).severity for name in RISKS} | {MEAN: torch.zeros(len(test), 5)}
    scores = {}
    for name, of in zip(model.shape.severity, sd, strict=True):
        column = SCORES.index(name)
        known = test.severity_observed[:, column].numpy()
        off = {who: float(of) * (z - test.severity)[:, column].abs().double().numpy()[known] for who, z in told.items()}
        scores[name] = {"stays": int(known.sum()), "mae": errors(off, test.patient_id[known], bootstrap)}
    commit = runfolder.stored_environment(folder)[0].get("git commit")
    return {"synthetic": data.source.synthetic, "bootstrap": bootstrap, "commit": commit, "scores": scores}


def errors(off: dict[str, np.ndarray], patients: np.ndarray, bootstrap: int) -> dict[str, Any]:
    """Of (n) absolute errors by who told the score: each one's mean, and those of the networks less the training mean's."""

    def means(weight: np.ndarray) -> dict[str, Any]:
        of = {who: weight @ error / weight.sum(-1) for who, error in off.items()}
        return of | {f"{who} minus {MEAN}": of[who] - of[MEAN] for who in RISKS}

    return with_intervals(means, patients, bootstrap, seed=0)


if __name__ == "__main__":
    main()
