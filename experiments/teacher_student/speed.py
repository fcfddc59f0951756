"""How much smaller and faster is the student than the teacher? Parameters, and stays a second and core, on made-up tensors.

    python experiments/teacher_student/speed.py

Networks of conf's own sizes, untrained, 48 hours, seven channels, 30 static columns; 1,024 stays at once, the median of nine calls
in turn, in the processor's time of one thread.
"""

import time

import hydra
import numpy as np
import torch
from omegaconf import OmegaConf

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.build import built
from icu_lightning.run import CONF

STAYS, HOURS, CALLS = 1024, 48, 9


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        conf = OmegaConf.to_container(hydra.compose("run", ["model=teacher_student"]), resolve=True)["model"]
    drugs = (*(f"drug_{i}" for i in range(6)), "vis")
    shape = BatchShape(HOURS, ("a",), tuple(f"s{i}" for i in range(30)), vis=drugs, severity=("sofa",))
    model, batch = built(conf, shape=shape).eval(), made_up(shape)
    took: dict[str, list[float]] = {"teacher": [], "student": []}
    with torch.no_grad():
        for _ in range(CALLS + 1):  # the first call of each warms up
            for name, times in took.items():
                start = time.process_time()
                getattr(model, name)(batch)
                times.append(time.process_time() - start)
    for name, times in took.items():
        parameters = sum(p.numel() for p in getattr(model, name).parameters())
        print(f"{name}: {parameters:,} parameters, {STAYS / np.median(times[1:]):,.0f} stays/s")
    sizes = [sum(p.numel() for p in getattr(model, name).parameters()) for name in took]
    print(
        f"ratio: {sizes[0] / sizes[1]:.1f} in size, {np.median(took['teacher'][1:]) / np.median(took['student'][1:]):.1f} in speed"
    )


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
