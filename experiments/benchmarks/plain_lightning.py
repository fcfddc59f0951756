"""The reference of the start-up benchmark: one epoch of the focal LSTM by the shortest Lightning script one would write.

Random stays as a TensorDataset, default DataLoader and Trainer, the package's network and loss, nothing read or evaluated;
one file in the working directory, Lightning's checkpoint and metrics. `skeleton.py` runs it as a process of its own:
`python plain_lightning.py THREADS N_TRAIN N_VAL HOURS VARIABLES`, THREADS 0 for torch's own choice.
"""

import sys
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from icu_lightning.models.focal_lstm import DropoutLSTM, FocalLSTMNetwork
from icu_lightning.models.losses import FocalLoss


class Values:
    """The two fields of a StayBatch that the network reads."""

    def __init__(self, values: Tensor, observed: Tensor) -> None:
        self.values, self.observed = values, observed


class Plain(lightning.LightningModule):
    """Focal LSTM of `n_variables` with the sizes of conf/model/focal_lstm.yaml."""

    def __init__(self, n_variables: int) -> None:
        super().__init__()
        self.network = FocalLSTMNetwork(DropoutLSTM(n_variables, 64, 0.5, 0.3), 64, (32, 16), 0.5, 0.01)
        self.loss = FocalLoss()

    def _loss(self, batch: list[Tensor]) -> Tensor:
        values, observed, label = batch
        return self.loss(self.network(Values(values, observed)), label)  # type: ignore[arg-type]

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss + self.network.penalty()

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val/loss", self._loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=3e-4)


def stays(n: int, hours: int, n_variables: int) -> TensorDataset:
    observed = torch.rand(n, hours, n_variables) < 0.5
    return TensorDataset(torch.randn(n, hours, n_variables) * observed, observed, (torch.rand(n) < 0.2).float())


def main(threads: int, n_train: int, n_val: int, hours: int, n_variables: int) -> None:
    if threads:  # as many as the other side: on a busy machine the number of threads outweighs all else
        torch.set_num_threads(threads)
    train = DataLoader(stays(n_train, hours, n_variables), batch_size=64, shuffle=True)
    val = DataLoader(stays(n_val, hours, n_variables), batch_size=1024)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(Plain(n_variables), train, val)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
