"""Does the masked autoencoder tell hidden hours better than what needs no learning? Squared errors of a finished run, with intervals.

    python experiments/teacher_student/pretraining.py runs/student --beside no_line=runs/no_line --out pretraining.json

Of the hours that validation of the pretraining hides (the same of a stay whenever it is asked), those in which a drug ran: the mean
squared error of the score (z of log1p) as the autoencoder tells it, as the last value carried forward, and on the straight line
between visible hours, and as the autoencoders of other runs tell it that hid the same hours; and the differences within the same
resamples of patients. Of the stays that chose the epoch, and of the cohort's test stays, which chose nothing. No stay is in the file.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.batch import StayBatch
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from icu_lightning.errors import UserError
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.models.teacher_student.model import TeacherStudent
from icu_lightning.models.teacher_student.stages import TOLD, told_apart
from icu_lightning.pipeline import same_data
from icu_lightning.training.checkpoint import trained

AT_ONCE = 512  # stays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="a finished run of teacher_student that was pretrained")
    parser.add_argument(
        "--beside", action="append", default=[], help="NAME=FOLDER of another such run, any number of times"
    )
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    beside = {name: Path(folder) for name, _, folder in (run.partition("=") for run in asked.beside)}
    content = errors_of_runs(asked.run, beside, asked.bootstrap)
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    for name, part in content["stays"].items():
        print(name, {key: {end: round(x, 3) for end, x in cell.items()} for key, cell in part["squared_error"].items()})


def errors_of_runs(folder: Path, beside: Mapping[str, Path], bootstrap: int) -> dict[str, Any]:
    """Raises UserError for a run of another model, or whose data have changed or are not the first's."""
    model, others = pretrained(folder), {name: pretrained(other) for name, other in beside.items()}
    data = ICUDataModule(*source_and_settings(**runfolder.configuration(folder)["data"]), say=print)
    data.setup()
    for of in (folder, *beside.values()):
        same_data(of, data)
    wider: Any = data if data.pretraining is None else data.pretraining
    stays = {"pretraining_validation": wider.val, "test": data.test}
    return {
        "synthetic": data.source.synthetic,
        "commits": {
            str(of.name): runfolder.stored_environment(of)[0].get("git commit") for of in (folder, *beside.values())
        },
        "epochs_kept": {str(of.name): epoch_kept(of) for of in (folder, *beside.values())},
        "bootstrap": bootstrap,
        "stays": {name: errors(model, part, bootstrap, others) for name, part in stays.items()},
    }


def epoch_kept(folder: Path) -> str:
    """Of the pretraining, counted from 1, and of how many."""
    stage = json.loads((folder / "checkpoints" / "mae" / "finished.json").read_text())
    return f"{stage['best_epoch'] + 1} of {stage['epochs']}"


def pretrained(folder: Path) -> TeacherStudent:
    model = trained(folder).model
    if not isinstance(model, TeacherStudent):
        raise UserError(f"{folder} has no masked autoencoder: it is no run of model=teacher_student.")
    return model


def errors(
    model: TeacherStudent, stays: StayBatch, bootstrap: int, others: Mapping[str, TeacherStudent]
) -> dict[str, Any]:
    """How many stays and hours were asked for, and each mean squared error and difference with its interval over patients.

    Raises UserError for another model that hides other hours.
    """
    hours, squared = per_stay(model, stays)
    told = TOLD[0]
    for name, other in others.items():
        same, of = per_stay(other, stays)
        if not np.array_equal(same, hours):
            raise UserError(f"{name} hides other hours than the first run: they cannot be set side by side.")
        squared[name] = of[told]

    def means(weight: np.ndarray) -> dict[str, Any]:
        of = {name: weight @ total / (weight @ hours) for name, total in squared.items()}
        without = [name for name in of if name != told]
        return of | {f"{told} minus {name}": of[told] - of[name] for name in without}

    asked = int((hours > 0).sum())
    cells = with_intervals(means, stays.patient_id, bootstrap, seed=0)
    return {"stays": len(stays), "stays_with_a_drug_hidden": asked, "hours": int(hours.sum()), "squared_error": cells}


@torch.no_grad()
def per_stay(model: TeacherStudent, stays: StayBatch) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(B) hidden hours with a drug, and by TOLD the (B) sums of their squared errors."""
    autoencoder = model.autoencoder.eval()

    def parts() -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
        for i in range(0, len(stays), AT_ONCE):
            _, scored, squared = told_apart(autoencoder, stays[i : i + AT_ONCE], model.seed)
            yield scored.sum(1), [squared[name].double().sum(1) for name in TOLD]

    hours, sums = zip(*parts(), strict=True)
    squared = [torch.cat(of).numpy() for of in zip(*sums, strict=True)]
    return torch.cat(hours).double().numpy(), dict(zip(TOLD, squared, strict=True))


if __name__ == "__main__":
    main()
