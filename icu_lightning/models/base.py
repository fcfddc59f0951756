"""What every model is to the rest of the package, and the thin Lightning shell of those that are one network.

A model may train in several stages, each a LightningModule handed to the trainer under a name; it may be no neural
network at all and fit itself; it may draw several risks a stay. `run` calls `fit`, then `predict`, and asks nothing.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, unknown_name, whole_number
from icu_lightning.models.losses import at_prevalence_of_training, mean_of_losses

PREDICT_BATCH = 1024
MONITORS = {"val/auroc": "max", "val/loss": "min"}  # that can decide about the best epoch, and what is better


class Data(Protocol):
    """What a model sees of the data: whole splits as batches. To Lightning it is a LightningDataModule."""

    train: StayBatch
    val: StayBatch

    @property
    def shape(self) -> BatchShape: ...

    @property
    def prior_odds(self) -> float | None:
        """The share of the training survivors that undersampling left in; None if nobody was left out."""

    @property
    def pretraining(self) -> "Data | None":
        """Stays of a wider cohort, to be learnt from without labels first; never of patients whom `val`, or the test split, has."""

    def state(self) -> Mapping[str, Any]:
        """Plain values of what was fitted on the training stays, such as the means and SDs behind the z-scores."""


class Part(Protocol):
    """Something that has a state of tensors and plain values."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object: ...


class Once(Protocol):
    """What a fitted part makes of something: as another run has kept it, or as it is made here."""

    def __call__(self, makes: Mapping[str, Callable[[], Tensor]]) -> dict[str, Tensor]:
        """Arguments: makes: by a digest of all that its result follows from beside the part's state, a file's name."""


def anew(makes: Mapping[str, Callable[[], Tensor]]) -> dict[str, Tensor]:
    """Where nothing is kept."""
    return {key: make() for key, make in makes.items()}


@contextmanager
def settings_of(name: str, known_as: str = "model") -> Iterator[None]:
    """Tell what a part refuses by the names of its settings here: as a model of its own, it calls `model.trees` what is
    `model.predictor.trees`.

    Arguments:
        name: of the part's settings, as `model.predictor`.
        known_as: what the part itself calls that, which `name` begins with.

    Raises UserError.
    """
    try:
        yield
    except UserError as error:
        known = re.escape(name.removeprefix(f"{known_as}."))
        raise UserError(re.sub(rf"\b{re.escape(known_as)}\.(?!{known}\.)", f"{name}.", str(error))) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}") from error


class StageTrainer(Protocol):
    """What a model sees of the trainer: `fit`, called once a stage, in order; and `fit_once`, for a part that other runs share."""

    def fit(
        self,
        module: lightning.LightningModule,
        data: Data,
        *,
        stage: str,
        monitor: str,
        mode: str,
        max_epochs: int,
        patience: int,
        checkpoint: str | None = None,
        shown: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Train a stage; `module` leaves with its best weights, on the GPU of its training, if there was one.

        A stage finished in an interrupted run is not repeated.

        With `checkpoint`, a run folder or a best.ckpt, nothing is trained: the weights are those of that run's stage, if its `shown`,
        plain values of what decides which numbers the networks see, was this one.

        What `validation_step` returns is its batch's loss, or what that is made of: should val/loss be no number, it tells the stays.
        """

    def fit_once(self, part: Part, fit: Callable[[], None], *, name: str, beside: Mapping[str, Any]) -> Once:
        """Leave `part` of a model fitted: as an earlier run with the same data, settings and seed left it, or else by `fit`.

        One that has a `to` is then on the GPU of training, if there is one.

        What is returned makes once, for all those runs, what the fitted part makes.

        Arguments:
            name: of the part's settings among the model's.
            beside: plain values that its state follows from besides.
        """

    def keep(self, model: Part, *, name: str, beside: Mapping[str, Any]) -> None:
        """Keep the state of the run's whole model, which was fitted, for runs that have it as a part: they need not `fit_once`.

        Arguments:
            name, beside: what those runs call it, and say beside its settings.
        """


class Model(Protocol):
    """A mortality model. Its constructor takes `shape` beside its own settings.

    Optionally `impute(batch, n_samples) -> (B, S, T, V)`, z-scores; observed cells unchanged; with `most_draws` of 1, if further draws
    are the same numbers. And optionally
    `embed(batch) -> (B, D)`, what the model makes of a stay before it gives a risk; a stay's row does not depend on the others'.
    And optionally `notes`, sentences about what of it was off in this fit, which the run says. And optionally `check(data)`, which
    raises UserError for data that `fit` would refuse: whoever trains something else first asks it before. And optionally `EARLY`, True
    of a class that can be built before there are data: a category in `shape.static` is then one column, by its feature's name.
    """

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """Learn from data.train; choose epochs and the like on data.val. Nothing else is there to look at."""

    def predict(self, batch: StayBatch) -> Tensor:
        """(B, S) risks in [0, 1], S draws a stay; a stay's risk does not depend on the others in its batch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors and plain values that `load_state_dict` restores the fitted model from."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object: ...


def draws_of(model: Model, stays: StayBatch) -> NDArray[np.float64]:
    """(B, S) risks, asked of the model in batches."""
    batches = [model.predict(stays[i : i + PREDICT_BATCH]) for i in range(0, len(stays), PREDICT_BATCH)]
    return torch.cat(batches).double().numpy() if batches else np.empty((0, 0))


class RiskModule(lightning.LightningModule):
    """A network that maps a StayBatch to one logit a stay, trained in one stage named `fit`.

    Logged each epoch: train/loss and val/loss (what is minimised, the penalty included, as in Keras; val/loss with survivors weighing
    as they do in training, see `losses.at_prevalence_of_training`), train/auroc, val/auroc and val/auprc (torchmetrics).

    Arguments:
        network: forward(StayBatch) -> logits (B).
        loss: (logits (B), labels (B)) -> ().
        optimizer: called with the parameters.
        scheduler: called with the optimizer; stepped each epoch, with val/loss if it is a ReduceLROnPlateau. None for none.
        max_epochs: at most, unless the trainer's own cap is lower.
        patience: epochs without a better `monitor` after which training stops.
        monitor: of MONITORS, whose best epoch is kept; val/loss where validation has one class only.

    Raises UserError for another monitor.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        loss: nn.Module,
        optimizer: "partial[torch.optim.Optimizer]",
        scheduler: "partial[Any] | None",
        max_epochs: int,
        patience: int,
        monitor: str = "val/auroc",
    ) -> None:
        super().__init__()
        if monitor not in MONITORS:
            raise unknown_name("monitor of the best epoch", monitor, MONITORS)
        self.network, self.loss, self.monitor = network, loss, monitor
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.max_epochs = whole_number("model.max_epochs", max_epochs, 1)
        self.patience = whole_number("model.patience", patience, 1)
        self.rankable = True  # validation has both classes
        self.survivor_weight = 1.0  # of validation survivors, in val/loss
        self.train_loss, self.train_auroc = mean_of_losses(), BinaryAUROC()
        self.val_loss, self.val_auroc, self.val_auprc = (
            mean_of_losses(),
            BinaryAUROC(),
            BinaryAveragePrecision(),
        )

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        self.rankable, self.survivor_weight = monitored(data.val)[0] == "val/auroc", data.prior_odds or 1.0
        monitor, mode = monitored(data.val, self.monitor)
        trainer.fit(
            self, data, stage="fit", monitor=monitor, mode=mode, max_epochs=self.max_epochs, patience=self.patience
        )

    @property
    def scoring_network(self) -> nn.Module:
        """What risks and validation come from: the network itself, unless overridden."""
        return self.network

    @torch.no_grad()
    def predict(self, batch: StayBatch) -> Tensor:
        # In double precision: in single, a stay's risk moves by 1e-7 with the others in its batch, and a steep calibrator makes
        # 1e-5 of it
        network = copy.deepcopy(self.scoring_network).double().eval()
        return torch.sigmoid(network(batch.to(self.device).double())).unsqueeze(1).cpu()  # (B) -> (B, 1)

    def penalty(self) -> Tensor:
        """() what is added to the training loss beside the loss, such as the weight of squared weights; 0 unless overridden."""
        return torch.zeros((), device=self.device)

    def on_train_epoch_start(self) -> None:
        self.seen: list[
            tuple[Tensor, Tensor, Tensor]
        ] = []  # loss (), logits (B), labels (B) of each batch of the epoch

    def training_step(self, batch: StayBatch, _: int) -> Tensor:
        """Logging in every step would cost a sixth of the training time (experiments/benchmarks): the epoch's end does it."""
        logit = self.network(batch)
        loss = self.loss(logit, batch.label)
        loss = loss + self.penalty()
        self.seen.append((loss.detach(), logit.detach(), batch.label))
        return loss

    def on_train_epoch_end(self) -> None:
        losses, logits, labels = zip(*self.seen, strict=True)
        self.train_loss.update(torch.stack(losses), torch.tensor([len(label) for label in labels], device=self.device))
        self.train_auroc.update(torch.cat(logits).sigmoid(), torch.cat(labels).int())
        self.log_dict({"train/loss": self.train_loss, "train/auroc": self.train_auroc})

    def validation_step(self, batch: StayBatch, _: int) -> Tensor:
        logit = self.scoring_network(batch)
        ranking = {"val/auroc": self.val_auroc, "val/auprc": self.val_auprc} if self.rankable else {}
        for metric in ranking.values():
            metric.update(logit.sigmoid(), batch.label.int())
        # By hand: over several processes Lightning 2.6 divides by their mean number of stays, rounded down
        loss, weight = at_prevalence_of_training(
            lambda rows: self.loss(logit[rows], batch.label[rows]), batch.label, self.survivor_weight
        )
        self.val_loss.update(loss + self.penalty(), weight)
        self.log_dict({"val/loss": self.val_loss, **ranking})
        return loss

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.make_optimizer(self.parameters())
            scheduler = None if self.make_scheduler is None else self.make_scheduler(optimizer)
        except (TypeError, ValueError) as error:
            raise UserError(f"model.optimizer or model.scheduler has a value that torch refuses: {error}") from error
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}


def check_observed(train: StayBatch) -> None:
    """Raise UserError for training stays without a single measurement: there is nothing to learn imputing from."""
    if not train.observed.any():
        raise UserError("No training stay has a single measurement of data.variables: there is nothing to impute from.")


def monitored(val: StayBatch, asked: str = "val/auroc") -> tuple[str, str]:
    """What decides about the best epoch, with its mode: what is asked, or val/loss where validation has one class only."""
    monitor = asked if len(val.label.unique()) == 2 else "val/loss"
    return monitor, MONITORS[monitor]
