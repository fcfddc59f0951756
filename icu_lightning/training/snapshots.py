"""Models as they were at some epochs of their training, from the checkpoints that a stage's `snapshots` ask for."""

import copy
from pathlib import Path
from typing import Any

from icu_lightning.training.stages import load_checkpoint, read_metrics


def earlier_models(folder: Path, model: Any) -> list[tuple[int, Any]]:
    """(epoch, counted over all stages; the model with its weights after as many epochs) of a run folder, in order.

    A stage's checkpoint names its weights as the model does. Empty for a model that kept none.
    """
    found, before = [], 0
    rows = read_metrics(folder / "metrics.csv")
    for stage in dict.fromkeys(row["stage"] for row in rows):
        kept = {int(path.stem.split("-")[1]): path for path in (folder / "checkpoints" / stage).glob("epoch-*.ckpt")}
        for epoch, path in sorted(kept.items()):
            then, state = copy.deepcopy(model), load_checkpoint(path)["state_dict"]
            then.load_state_dict({name: state[name] for name in then.state_dict()})
            found.append((before + epoch, then))
        before += sum(row["stage"] == stage for row in rows)
    return found
