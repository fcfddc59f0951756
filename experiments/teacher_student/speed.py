"""How much smaller and faster is the student than the teacher? Parameters, and stays a second and core, on made-up tensors.

    python experiments/teacher_student/speed.py --out speed.json

Networks of conf's own sizes, untrained, 48 hours, seven channels, 30 static columns; 1,024 stays at once, the median of nine calls
in turn, in the processor's time of one thread: of the networks, and of the model's `predict`, which is what a run and
`icu_lightning.predict` call and is in double precision.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from omegaconf import OmegaConf

from icu_lightning.atomic import write_text
from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.build import built
from icu_lightning.models.teacher_student.model import RISKS
from icu_lightning.run import CONF
from icu_lightning.runfolder import git_commit

STAYS, HOURS, CALLS = 1024, 48, 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        conf = OmegaConf.to_container(hydra.compose("run", ["model=teacher_student"]), resolve=True)["model"]
    content = measured(conf)
    write_text(asked.out, json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


def measured(conf: dict[str, Any]) -> dict[str, Any]:
    """Parameters and stays a second of both networks, and how many times smaller and faster the student is."""
    drugs = (*(f"drug_{i}" for i in range(6)), "vis")
    shape = BatchShape(HOURS, ("a",), tuple(f"s{i}" for i in range(30)), vis=drugs, severity=("sofa",))
    model, batch = built(conf, shape=shape).eval(), made_up(shape)
    took: dict[tuple[str, str], list[float]] = {(name, how): [] for name in RISKS for how in ("network", "predict")}
    with torch.no_grad():
        for _ in range(CALLS + 1):  # the first call of each warms up
            for (name, how), times in took.items():
                model.risk = name
                start = time.process_time()
                (getattr(model, name) if how == "network" else model.predict)(batch)
                times.append(time.process_time() - start)
    found: dict[str, Any] = {
        name: {
            "parameters": sum(p.numel() for p in getattr(model, name).parameters()),
            "stays_per_second": STAYS / float(np.median(took[name, "network"][1:])),
            "predict_stays_per_second": STAYS / float(np.median(took[name, "predict"][1:])),
        }
        for name in RISKS
    }
    teacher, student = found["teacher"], found["student"]
    return found | {
        "times_smaller": teacher["parameters"] / student["parameters"],
        "times_faster": student["stays_per_second"] / teacher["stays_per_second"],
        "times_faster_predict": student["predict_stays_per_second"] / teacher["predict_stays_per_second"],
        "commit": git_commit(),
        "machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}, one thread",
    }


def made_up(shape: BatchShape) -> StayBatch:
    nothing = torch.zeros(STAYS, HOURS, 1)
    unseen, number = nothing.bool(), torch.zeros(STAYS)
    return StayBatch(
        values=nothing,
        observed=unseen,
        held_out=unseen,
        hours_since=nothing,
        static=torch.randn(STAYS, shape.n_static),
        in_icu=torch.ones(STAYS, HOURS, dtype=torch.bool),
        label=number,
        died_in_hospital=number,
        died_in_icu=number,
        hospital_hours=number,
        stay_id=np.arange(STAYS),
        patient_id=np.arange(STAYS),
        severity=torch.zeros(STAYS, 5),
        severity_observed=torch.zeros(STAYS, 5, dtype=torch.bool),
        vis=torch.randn(STAYS, HOURS, len(shape.vis)),
        vis_observed=torch.ones(STAYS, HOURS, len(shape.vis), dtype=torch.bool),
    )


if __name__ == "__main__":
    main()
