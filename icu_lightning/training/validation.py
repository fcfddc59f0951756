"""A validation loss that is no number stops the run, and tells which batch of stays it is from, or that weights are none either."""

from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch

from icu_lightning.errors import UserError
from icu_lightning.models.stage import to_blame


class CheckedLoss(lightning.Callback):
    """Looks at val/loss after each validation. What `validation_step` returns, of a batch, tells whether it is the one to blame.

    Arguments:
        folder: of the stage, where best.ckpt is once there is a best epoch.
    """

    def __init__(self, folder: Path) -> None:
        self.best = folder / "best.ckpt"
        self.validated: list[tuple[torch.Tensor, Any]] = []  # loss and stays of each batch of this validation

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.validated = []

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if outputs is not None:
            self.validated.append((outputs, batch.stay_id))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Raises UserError."""
        loss = trainer.callback_metrics.get("val/loss")
        if loss is not None and not torch.isfinite(loss):
            stays = next((ids for loss, ids in self.validated if not loss.isfinite().all()), None)
            where, advice = to_blame(pl_module, stays)
            best = f" The best epoch so far is in {self.best}." if self.best.exists() else ""
            raise UserError(
                f"The validation loss is {float(loss)} in epoch {trainer.current_epoch}{where}.{best} {advice}."
            )
