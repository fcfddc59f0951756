"""The two stages of training, each a LightningModule around the same network.

    stage1   L_imp + contrastive_stage1 L_con, the embedding being that of the series as the imputer fills it
    stage2   imputation L_imp + mortality (bce BCE + mse MSE) + contrastive L_con              (section 6.4 of the paper)

In stage 2 the LSTM's loss reaches the imputer through the last denoising step: the paper's feedback.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from icu_lightning.batch import StayBatch
from icu_lightning.errors import number, true_or_false
from icu_lightning.models.losses import at_prevalence_of_training, mean_of_losses
from icu_lightning.models.mtdm.imputer import Imputer
from icu_lightning.models.mtdm.predictor import MortalityLSTM, mortality_loss
from icu_lightning.models.siamese import Pairs, Siamese
from icu_lightning.models.stage import Stage


@dataclass(frozen=True)
class Weights:
    """Of the loss terms; 0 leaves a task out. bce and mse are those within mortality.

    feedback: whether the mortality and contrastive losses reach the imputer.
    death_weight: of deaths within mortality, where survivors have 1; above 0.
    contrastive_stage1: of the contrastive loss beside imputation's 1 in stage 1, if it has a weight in stage 2; 0: imputing alone.

    Raises UserError for a negative weight, and what is none.
    """

    imputation: float
    mortality: float
    contrastive: float
    bce: float
    mse: float
    feedback: bool
    death_weight: float
    contrastive_stage1: float

    def __post_init__(self) -> None:
        number("model.weights.death_weight", self.death_weight, above=0)
        true_or_false("model.weights.feedback", self.feedback)
        for name in ("imputation", "mortality", "contrastive", "bce", "mse", "contrastive_stage1"):
            number(f"model.weights.{name}", getattr(self, name), least=0)

    @property
    def by_stage1_alone(self) -> bool:
        """Whether stage 2 leaves the imputer as it is: it has no weight there, and nothing else reaches it."""
        return not self.imputation and not self.feedback


class MTDMNetwork(nn.Module):
    """The three parts and what joins them.

    Arguments:
        fill_steps: DDIM steps of the series that the LSTM is trained on.
        seed: of the noise of everything that is not training.
    """

    def __init__(
        self, *, imputer: Imputer, predictor: MortalityLSTM, siamese: Siamese, fill_steps: int, seed: int
    ) -> None:
        super().__init__()
        self.imputer, self.predictor, self.siamese = imputer, predictor, siamese
        self.fill_steps, self.seed = fill_steps, seed

    def fill(self, batch: StayBatch, feedback: bool) -> Tensor:
        """(B, T, V) with its gaps drawn: random in training, keyed by the stay otherwise."""
        if self.training:
            return self.imputer.fill(
                batch, self.fill_steps, lambda: torch.randn_like(batch.values).unsqueeze(1), feedback
            )
        return self.imputer.fill(batch, self.fill_steps, self.imputer.noise(batch, [0], self.seed), feedback)

    def read(self, series: Tensor, batch: StayBatch) -> tuple[Tensor, Tensor]:
        """Logits (B) and embeddings (B, 64) of filled series."""
        return self.predictor(series, batch.observed, batch.static)

    @property
    def completes(self) -> bool:
        """Whether imputing is learnt from filled series."""
        return self.imputer.completion == "imputed"

    def imputation_loss(self, batch: StayBatch, series: Tensor | None) -> Tensor:
        """() of a batch and its filled series, which may be None if it does not `complete`."""
        return self.imputer.loss(batch, self._completed(series))

    def validation_loss(self, batch: StayBatch, series: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Imputer.validation_loss`: what is noised has the same in its gaps as in training."""
        return self.imputer.validation_loss(batch, self.seed, self._completed(series))

    def _completed(self, series: Tensor | None) -> Tensor | None:
        return series.detach() if series is not None and self.completes else None


class MTDMStage(Stage):
    """What both stages share.

    Arguments:
        optimizer, snapshots: see `Stage`.
        decay_at: shares of the stage's epochs after which the learning rate falls to a tenth.
    """

    undefined = ("alike", "unlike")  # a batch without a pair of one kind has no mean distance of it

    def __init__(self, *, network: MTDMNetwork, weights: Weights, decay_at: "list[float]", **settings: Any) -> None:
        super().__init__(**settings)
        self.network, self.weights, self.decay_at = network, weights, decay_at
        self.val_imputation = mean_of_losses()  # over cells, so that it does not depend on how stays are batched

    def schedule(self, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
        milestones = [max(1, round(share * epochs)) for share in self.decay_at]
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)


class WarmUp(MTDMStage):
    """stage1: imputing, and the embedding by its contrastive loss alone."""

    def terms(self, batch: StayBatch) -> dict[str, Tensor]:
        weight = self.weights.contrastive_stage1
        read = bool(self.weights.contrastive and weight)
        series = self.network.fill(batch, feedback=False) if read or self.network.completes else None
        imputation = self.network.imputation_loss(batch, series)
        if series is None or not read:
            return {"loss": imputation, "imputation": imputation}
        _, embedding = self.network.read(series, batch)
        pairs: Pairs = self.network.siamese(embedding, batch.label)
        named = {"imputation": imputation, "contrastive": pairs.loss, "alike": pairs.alike, "unlike": pairs.unlike}
        return {"loss": imputation + weight * pairs.loss, **named}

    def validation_step(self, batch: StayBatch, _: int) -> Tensor:
        series = self.network.fill(batch, feedback=False) if self.network.completes else None
        loss, n = self.network.validation_loss(batch, series)
        self.val_imputation.update(loss, n)
        self.log("val/loss", self.val_imputation)
        return loss


class Joint(MTDMStage):
    """stage2: everything at once; the best epoch is that of the joint loss of validation stays, without its contrastive part.

    Arguments:
        rankable: validation has both classes.
        survivor_weight: of validation survivors in the mortality loss, see `losses.at_prevalence_of_training`.
    """

    def __init__(self, *, rankable: bool, survivor_weight: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.rankable, self.survivor_weight = rankable, survivor_weight
        self.train_auroc, self.val_auroc, self.val_auprc = BinaryAUROC(), BinaryAUROC(), BinaryAveragePrecision()
        self.val_mortality = mean_of_losses()  # over stays

    def terms(self, batch: StayBatch) -> dict[str, Tensor]:
        w = self.weights
        series = self.network.fill(batch, feedback=w.feedback)
        logit, embedding = self.network.read(series, batch)
        mortality = mortality_loss(logit, batch.label, w.bce, w.mse, w.death_weight)
        self.train_auroc.update(logit.detach().sigmoid(), batch.label.int())
        loss, named = w.mortality * mortality, {"mortality": mortality}
        if w.imputation:
            named["imputation"] = self.network.imputation_loss(batch, series)
            loss = loss + w.imputation * named["imputation"]
        if w.contrastive:
            pairs: Pairs = self.network.siamese(embedding, batch.label)
            loss = loss + w.contrastive * pairs.loss
            named |= {"contrastive": pairs.loss, "alike": pairs.alike, "unlike": pairs.unlike}
        return {"loss": loss, **named}

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("train/auroc", self.train_auroc)

    def validation_step(self, batch: StayBatch, _: int) -> Tensor:
        w = self.weights
        series = self.network.fill(batch, feedback=False)
        logit, _embedding = self.network.read(series, batch)

        def mortality(rows: Tensor | slice) -> Tensor:
            return mortality_loss(logit[rows], batch.label[rows], w.bce, w.mse, w.death_weight)

        of_labels, weight = at_prevalence_of_training(mortality, batch.label, self.survivor_weight)
        of_cells, n = self.network.validation_loss(batch, series)
        self.val_mortality.update(of_labels, weight)
        self.val_imputation.update(of_cells, n)
        ranking = {"val/auroc": self.val_auroc, "val/auprc": self.val_auprc} if self.rankable else {}
        for metric in ranking.values():
            metric.update(logit.sigmoid(), batch.label.int())
        self.log_dict({"val/mortality": self.val_mortality, "val/imputation": self.val_imputation, **ranking})
        return torch.stack([of_labels, of_cells])

    def on_validation_epoch_end(self) -> None:
        w = self.weights
        loss = w.mortality * self.val_mortality.compute() + w.imputation * self.val_imputation.compute()
        self.log("val/loss", loss, sync_dist=True)  # the same in every process; Lightning wants it said
