"""A model one of whose processes fails: for tests of several processes, which have to be able to import it."""

import os
import signal

from torch import nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError
from icu_lightning.models.base import RiskModule


class FailingModel(RiskModule):
    """Linear in the first hour; in rank 1, `how` is what happens in the second step."""

    def __init__(self, *, shape: BatchShape, how: str, **training) -> None:
        super().__init__(network=First(shape.n_variables), **training)
        self.how = how

    def training_step(self, batch: StayBatch, step: int):
        if step == 1 and self.global_rank == 1:
            if self.how == "mistake":
                raise UserError("these stays are unlike any others.")
            if self.how == "bug":
                raise ValueError("nobody foresaw this")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, step)


class First(nn.Module):
    def __init__(self, n_variables: int) -> None:
        super().__init__()
        self.out = nn.Linear(n_variables, 1)

    def forward(self, batch: StayBatch):
        return self.out(batch.values[:, 0]).squeeze(1)
