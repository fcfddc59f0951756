"""What is logged and kept: two defects of peers, a metric averaged over batches and the last epoch in place of the best one."""

import math
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from sklearn.metrics import roc_auc_score
from torch import nn

from icu_lightning.errors import UserError
from icu_lightning.models.losses import mean_of_losses
from icu_lightning.training.stages import StageTrainer


def test_the_best_epochs_weights_are_kept_and_its_auroc_is_that_of_all_stays_at_once(run_here):
    """Two batches of validation stays; so large a step that some epoch before the last is the best."""
    few = ("data.stays=700", "bootstrap=20", "data.batch_size=64", "calibration=none")
    folder = run_here("model=focal_lstm", "trainer.max_epochs=6", "model.optimizer.lr=0.05", *few)
    table = pl.read_parquet(folder / "predictions.parquet").filter(pl.col("split") == "val")
    assert table.height > 64
    logged = pl.read_csv(folder / "metrics.csv")["val/auroc"].drop_nulls().to_list()
    assert max(logged) > logged[-1] + 0.005, "else this test would not notice"
    assert roc_auc_score(table["label"], table["risk_raw"]) == pytest.approx(max(logged), abs=1e-4)


class Told(LightningModule):
    """Two batches of validation stays; the losses that it returns for them, an epoch a pair, are told before."""

    def __init__(self, losses, diverges: bool = False) -> None:
        super().__init__()
        self.weight, self.losses, self.diverges = nn.Parameter(torch.zeros(())), losses, diverges
        self.val_loss = mean_of_losses()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, _):
        return self.weight * (math.nan if self.diverges else 1.0)

    def validation_step(self, batch, i: int):
        loss = torch.tensor(self.losses[self.current_epoch][i]) + 0 * self.weight
        self.val_loss.update(loss)
        self.log("val/loss", self.val_loss)
        return loss


EPOCH_1 = "validation loss is nan in epoch 1, in the batch of the stays 13, 14. The best epoch so far is in .*best.ckpt. Look at"
NO_NUMBERS = {
    "the second batch of the second epoch": ([(1.0, 1.0), (1.0, math.nan)], False, EPOCH_1),
    "the first epoch": (
        [(math.inf, 1.0)],
        False,
        r"is inf in epoch 0, in the batch of the stays 11, 12. Look at those stays' values",
    ),
    "weights": (
        [(1.0, 1.0)],
        True,
        r"is nan in epoch 0\. Weights are no numbers either, so that no stay is to blame: try a lower",
    ),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_a_validation_loss_that_is_no_number_tells_the_batch_and_a_best_epoch_if_there_is_one(name, tmp_path):
    losses, diverges, said = NO_NUMBERS[name]

    class Batches:  # a list would be one of loaders
        def __iter__(self):
            return iter([SimpleNamespace(stay_id=[11, 12]), SimpleNamespace(stay_id=[13, 14])])

    class Data(LightningDataModule):
        train = val = SimpleNamespace(patient_id=["a"])

        def train_dataloader(self):
            return Batches()

        def val_dataloader(self):
            return Batches()

    device = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "deterministic": True, "threads": 1}
    trainer = StageTrainer(folder=tmp_path, seed=0, max_epochs=None, **device)
    with pytest.raises(UserError, match=said) as told:
        trainer.fit(
            Told(losses, diverges), Data(), stage="fit", monitor="val/loss", mode="min", max_epochs=3, patience=3
        )
    assert ("best epoch" in str(told.value)) == (tmp_path / "checkpoints" / "fit" / "best.ckpt").exists()
