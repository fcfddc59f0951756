"""The three stages, each a LightningModule with its own checkpoints, curve and number of epochs.

mae      hidden hours are told from visible ones                             loss of the masked autoencoder
teacher  the encoder, now shown all hours, is tuned to labels and scores      L_T
student  the teacher is frozen; the small network learns from it              L_S
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from icu_lightning.batch import StayBatch
from icu_lightning.errors import UserError, is_number, number, whole_number
from icu_lightning.models.losses import at_prevalence_of_training, mean_of_losses
from icu_lightning.models.stage import Stage
from icu_lightning.models.teacher_student.interpolation import carried_forward, interpolated
from icu_lightning.models.teacher_student.masked_autoencoder import MaskedAutoencoder, Reconstruction
from icu_lightning.models.teacher_student.masking import fixed_numbers, numbers
from icu_lightning.models.teacher_student.student import Lessons, corrupted, feature_loss, soft_label_loss
from icu_lightning.models.teacher_student.teacher import MultitaskNetwork, Reading, severity_loss
from icu_lightning.models.vis import rates, until

STAGES = ("mae", "teacher", "student")
TOLD = ("vis_mse", "carried_forward_mse", "interpolated_mse")  # squared errors of the score in hidden hours with a drug


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Of a stage.

    epochs: at most; 0 leaves the pretraining out.
    patience: epochs without a better validation, after which it stops.
    lr: the learning rate after the warm-up, in place of the optimiser's.
    checkpoint: a run folder, or a best.ckpt of its stage of this name, taken instead of training; None trains.
    """

    epochs: int
    patience: int
    lr: float
    checkpoint: str | None

    def checked(self, stage: str) -> "Budget":
        """Itself. Raises UserError for numbers that cannot be meant."""
        whole_number(f"model.stages.{stage}.epochs", self.epochs, 0 if stage == "mae" else 1)
        whole_number(f"model.stages.{stage}.patience", self.patience, 1)
        number(f"model.stages.{stage}.lr", self.lr, above=0)
        return self


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of the loss terms; 0 leaves one out. teacher_severity is of L_T, whose mortality has weight 1; the others of L_S."""

    teacher_severity: float
    labels: float
    soft_labels: float
    features: float
    severity: float

    def checked(self, risk: str) -> "Weights":
        """Itself. Raises UserError for a weight below 0, and for a student whom nothing would teach a risk, if it is its `risk`."""
        for name, weight in vars(self).items():
            if not is_number(weight) or weight < 0:
                raise UserError(f"model.weights.{name} must be 0, which leaves the term out, or more; it is {weight}.")
        if risk == "student" and not self.labels and not self.soft_labels:
            raise UserError(
                "model.weights.labels and model.weights.soft_labels are both 0: nothing would teach the student a risk. Give one of "
                "them a weight."
            )
        return self


class WarmCosine(Stage):
    """A stage whose learning rate rises over a share of its epochs, then falls as a cosine.

    Arguments:
        warm_up: that share.
        measured: on validation stays; their means are logged.
    """

    def __init__(self, *, warm_up: float, measured: Iterable[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.warm_up = warm_up
        # By hand, because over several processes Lightning 2.6 divides by their mean number of stays (see `RiskModule`)
        self.means = nn.ModuleDict({name: mean_of_losses() for name in measured})

    def log_means(self, values: Mapping[str, Tensor], weight: float) -> None:
        """Of a validation batch: values by name, and of how many each is the mean, or how much they weigh."""
        for name, value in values.items():
            mean = cast(MeanMetric, self.means[name])
            mean.update(value, weight)
            self.log(f"val/{name}", mean)

    def schedule(self, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
        factor = partial(warm_cosine, epochs=epochs, warm=round(self.warm_up * epochs))
        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def warm_cosine(epoch: int, *, epochs: int, warm: int) -> float:
    """What the learning rate is multiplied by.

    >>> [warm_cosine(epoch, epochs=4, warm=2) for epoch in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if epoch < warm:
        return (epoch + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (epoch - warm) / max(1, epochs - warm)))


class Pretraining(WarmCosine):
    """mae. Validation hides the same hours in every epoch, measures stays that had a drug (METHODS C.5), and logs the squared error
    of the score in hidden hours with one, beside those of what needs no learning.

    Arguments:
        seed: of the hours that validation hides.
        all_stays: validation measures stays without a drug, too, as it must where no stay had one.
    """

    def __init__(self, *, autoencoder: MaskedAutoencoder, seed: int, all_stays: bool, **settings: Any) -> None:
        super().__init__(measured=("loss", *TOLD), **settings)
        self.autoencoder, self.seed, self.all_stays = autoencoder, seed, all_stays

    def terms(self, batch: StayBatch) -> dict[str, Tensor]:
        return {"loss": self.autoencoder(batch, numbers(batch)).loss()}

    def validation_step(self, batch: StayBatch, _: int) -> Tensor:
        made, scored, squared = told_apart(self.autoencoder, batch, self.seed)
        measured = self.autoencoder.running(batch).any(1) | self.all_stays
        loss = made.loss(measured)
        self.log_means({"loss": loss}, float(made.weight[measured].sum()))
        n = int(scored.sum())  # may be 0 here and not in another process, whose sums wait for ours
        self.log_means({name: of.sum() / max(n, 1) for name, of in squared.items()}, n)
        return loss


def told_apart(
    autoencoder: MaskedAutoencoder, batch: StayBatch, seed: int
) -> tuple[Reconstruction, Tensor, dict[str, Tensor]]:
    """What is told; (B, T) hidden hours in which a drug is known to run; (B, T) by TOLD the score's squared error in these, else 0.

    Arguments:
        seed: of the hours that are hidden, the same of a stay whenever it is asked.
    """
    batch = until(batch, autoencoder.horizon)
    made = autoencoder(batch, fixed_numbers(batch, seed))
    vis, known = (part[..., -1] for part in rates(batch))  # of the score
    nothing, shown = autoencoder.nothing[-1], known & batch.in_icu & ~made.hidden
    scored = made.hidden & known & autoencoder.running(batch)
    told = (made.told[..., -1], carried_forward(vis, shown, nothing), interpolated(vis, shown, nothing))
    squared = [torch.where(scored, (x - vis).square(), 0.0) for x in told]
    return made, scored, dict(zip(TOLD, squared, strict=True))


class Supervised(WarmCosine):
    """What teacher and student share: labels, scores, and how well validation stays are ranked.

    Arguments:
        weights: of the loss terms.
        rankable: validation has both classes.
        survivor_weight: of validation survivors in every loss, see `losses.at_prevalence_of_training`.
    """

    network: MultitaskNetwork

    def __init__(self, *, weights: Weights, rankable: bool, survivor_weight: float, **settings: Any) -> None:
        super().__init__(measured=("loss", "mortality", *self.beside(weights)), **settings)
        self.weights, self.rankable, self.survivor_weight = weights, rankable, survivor_weight
        self.train_auroc, self.val_auroc, self.val_auprc = BinaryAUROC(), BinaryAUROC(), BinaryAveragePrecision()

    def beside(self, weights: Weights) -> list[str]:
        """Names of the loss terms, beside mortality's, that are not switched off."""
        raise NotImplementedError

    def summed(self, reading: Reading, batch: StayBatch) -> dict[str, Tensor]:
        """() each: the loss and its terms."""
        raise NotImplementedError

    def shown(self, batch: StayBatch) -> StayBatch:
        """What the network is shown in training."""
        return batch

    def terms(self, batch: StayBatch) -> dict[str, Tensor]:
        reading = self.network(self.shown(batch))
        self.train_auroc.update(reading.logit.detach().sigmoid(), batch.label.int())
        return self.summed(reading, batch)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("train/auroc", self.train_auroc)

    def validation_step(self, batch: StayBatch, _: int) -> Tensor:
        reading = self.network(batch)
        ranking = {"val/auroc": self.val_auroc, "val/auprc": self.val_auprc} if self.rankable else {}
        for metric in ranking.values():
            metric.update(reading.logit.sigmoid(), batch.label.int())

        def losses(rows: Tensor | slice) -> Tensor:
            summed = self.summed(Reading(*(part[rows] for part in reading)), batch[rows])
            return torch.stack([summed[name] for name in self.means])

        means, weight = at_prevalence_of_training(losses, batch.label, self.survivor_weight)
        self.log_means(dict(zip(self.means, means, strict=True)), weight)
        self.log_dict(ranking)
        return means


class Teaching(Supervised):
    """teacher: mortality and, unless their weight is 0, the scores."""

    def __init__(self, *, teacher: MultitaskNetwork, **settings: Any) -> None:
        super().__init__(**settings)
        self.network = teacher

    def beside(self, weights: Weights) -> list[str]:
        return ["severity"] if weights.teacher_severity else []

    def summed(self, reading: Reading, batch: StayBatch) -> dict[str, Tensor]:
        mortality = F.binary_cross_entropy_with_logits(reading.logit, batch.label)
        if not self.weights.teacher_severity:
            return {"loss": mortality, "mortality": mortality}
        severity = severity_loss(reading.severity, batch)
        return {
            "loss": mortality + self.weights.teacher_severity * severity,
            "mortality": mortality,
            "severity": severity,
        }


class Learning(Supervised):
    """student: what the teacher said was asked before, so that nothing of the student can reach it.

    Arguments:
        projection: P, from the student's state to the teacher's width.
        lessons: of the training and the validation stays.
        temperature: T, of the soft labels.
        gaps: greatest share of a stay's hours that is hidden from the student in training.
    """

    def __init__(
        self,
        *,
        student: MultitaskNetwork,
        projection: nn.Linear,
        lessons: Lessons,
        temperature: float,
        gaps: float,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.network, self.projection, self.lessons = student, projection, lessons
        self.temperature, self.gaps = temperature, gaps

    def shown(self, batch: StayBatch) -> StayBatch:
        return corrupted(batch, self.gaps)

    def beside(self, weights: Weights) -> list[str]:
        return [name for name in ("soft_labels", "features", "severity") if getattr(weights, name)]

    def summed(self, reading: Reading, batch: StayBatch) -> dict[str, Tensor]:
        lesson = self.lessons(batch)
        ways = {
            "soft_labels": lambda: soft_label_loss(reading.logit, lesson.logit, self.temperature),
            "features": lambda: feature_loss(self.projection(reading.state), lesson.state),
            "severity": lambda: severity_loss(reading.severity, batch),
        }
        named = {name: ways[name]() for name in self.beside(self.weights)}
        mortality = F.binary_cross_entropy_with_logits(reading.logit, batch.label)
        loss = self.weights.labels * mortality
        for name, term in named.items():
            loss = loss + getattr(self.weights, name) * term
        return {"loss": loss, "mortality": mortality, **named}
