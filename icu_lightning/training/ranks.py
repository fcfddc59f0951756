"""How many processes train this run, and which of them this one is. Read from the environment; torch is not loaded."""

import os
from collections.abc import Mapping
from typing import Any

from icu_lightning.errors import UserError, unknown_name, whole_number

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")  # Lightning's others convert the stays, too


def started() -> tuple[int, int]:
    """(rank, number) among the processes that torchrun or srun started together; (0, 1) for a process of its own."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_STEP_NUM_TASKS"])
    return 0, 1


def check_devices(trainer: Mapping[str, Any]) -> None:
    """Raise UserError for a precision in which stays are not read, for numbers of devices and nodes that cannot be, or for which too
    many or too few processes were started.
    """
    if (precision := trainer.get("precision", PRECISIONS[0])) not in PRECISIONS:
        raise unknown_name("trainer.precision", precision, PRECISIONS)
    devices, nodes = trainer.get("devices", 1), trainer.get("nodes", 1)
    if devices != "auto":
        whole_number("trainer.devices, if not auto,", devices, 1)
    whole_number("trainer.nodes", nodes, 1)
    _, processes = started()
    if processes == 1 and nodes > 1:
        raise UserError(
            f"trainer.nodes={nodes}: this command starts processes on its own machine only. "
            "Start it with srun or torchrun, a process a device (README, 'Several devices')."
        )
    if processes > 1 and devices != "auto" and processes != devices * nodes:
        raise UserError(
            f"{processes} processes were started together, but trainer.devices={devices} times trainer.nodes={nodes} is "
            f"{devices * nodes}: start as many as that, or say how many devices each node has."
        )
    if processes > 1 and devices == "auto" and processes % nodes:
        raise UserError(f"{processes} processes were started together, which trainer.nodes={nodes} does not divide.")


def quiet() -> None:
    """Before torch is loaded, where several processes train: DDP warns that a model has no unused parameters, which is no mistake."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
