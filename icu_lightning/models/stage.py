"""A stage of training that minimises a sum of named terms, of a model that has several stages.

Each term is logged once an epoch, the optimiser's refusals are told in words, and a sum that is no number names the stays, unless
the weights are none already.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import MeanMetric

from icu_lightning.batch import StayBatch
from icu_lightning.errors import UserError, is_number, listed

NAMED_STAYS = 10  # of a batch whose loss is no number
LOWER_RATE = "try a lower learning rate (the optimizer's lr in config.yaml)"


class Stage(lightning.LightningModule):
    """What all stages share. A stage says its `terms`, the learning rate's schedule, and what validation logs.

    Arguments:
        optimizer: called with the parameters.
        snapshots: numbers of epochs after which the trainer keeps the weights; 0 is before the first.
    """

    undefined: tuple[str, ...] = ()  # terms that may be NaN, because some batches have nothing to measure them on

    def __init__(self, *, optimizer: "partial[torch.optim.Optimizer]", snapshots: Sequence[int] = ()) -> None:
        super().__init__()
        self.make_optimizer, self.snapshots = optimizer, tuple(snapshots)
        self.seen: list[Mapping[str, Tensor]] = []

    def terms(self, batch: StayBatch) -> dict[str, Tensor]:
        """() each: the loss and what is logged beside it."""
        raise NotImplementedError

    def schedule(self, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
        """The learning rate's schedule, stepped each epoch."""
        raise NotImplementedError

    def training_step(self, batch: StayBatch, _: int) -> Tensor:
        terms = self.terms(batch)
        check_number(terms, batch, self, self.current_epoch, self.undefined)
        self.seen.append({name: term.detach() for name, term in terms.items()})
        return terms["loss"]

    def on_train_epoch_start(self) -> None:
        self.seen = []

    def on_train_epoch_end(self) -> None:
        for name in self.seen[0]:
            mean = MeanMetric(nan_strategy="ignore").to(self.device)  # some batches have nothing to measure a term on
            mean.update(torch.stack([terms[name] for terms in self.seen]))
            self.log(f"train/{name}", mean.compute(), sync_dist=True)  # over all processes already

    def configure_optimizers(self) -> Any:
        optimizer = optimizer_of(self.make_optimizer, self)
        return [optimizer], [self.schedule(optimizer, self.trainer.max_epochs or 1)]


def optimizer_of(make: "partial[torch.optim.Optimizer]", network: nn.Module) -> torch.optim.Optimizer:
    """That of the parameters that are trained. Raises UserError for what torch refuses."""
    try:
        return make([p for p in network.parameters() if p.requires_grad])
    except (TypeError, ValueError) as error:
        raise UserError(f"model.optimizer has a value that torch refuses: {error}") from error


def decay_shares(name: str, shares: object, of: str) -> list[float]:
    """Shares of `of`, as a stage's epochs, after which the learning rate falls. Raises UserError, naming the setting, for others."""
    told = f"{name} must be shares of {of}, above 0 and at most 1"
    for share in (values := listed(name, shares, "[0.75,0.9]")):
        if not is_number(share) or not 0 < share <= 1:
            raise UserError(f"{told}; {share} is none.")
    return values


def check_number(
    terms: Mapping[str, Tensor], batch: StayBatch, network: nn.Module, epoch: int, undefined: Sequence[str] = ()
) -> None:
    """Raise UserError, which names the terms and the stays (or else the weights) to blame, if the loss of a batch is no number.

    Arguments:
        terms: () each: `loss`, and what it is the sum of, if anything.
        network: whose weights have met the batch.
        undefined: terms that may be NaN.
    """
    if terms["loss"].isfinite():
        return
    wrong = [name for name, term in terms.items() if not term.isfinite() and name not in ("loss", *undefined)]
    blamed = f" ({', '.join(wrong)})" if wrong else ""
    where, advice = to_blame(network, batch.stay_id)
    best = ", the best so far in best.ckpt" if epoch else ""  # the first epoch has not been validated yet
    raise UserError(
        f"The training loss is {float(terms['loss'].detach())} in epoch {epoch}{blamed}{where}. "
        f"The weights as they were when this epoch began are in last.ckpt{best}, of this stage's folder in checkpoints/. {advice}."
    )


def to_blame(network: nn.Module, stays: "Sequence[Any] | NDArray[Any] | None") -> tuple[str, str]:
    """In words, where a loss is from that is no number, and what can be done.

    Arguments:
        network: as it met the stays, which are innocent where a weight is no number.
        stays: of the batch; None if it is not known.
    """
    if not all(weight.isfinite().all() for weight in network.parameters()):
        return "", f"Weights are no numbers either, so that no stay is to blame: {LOWER_RATE}"
    if stays is None:
        return "", LOWER_RATE.capitalize()
    return f", in the batch of {named(stays)}", f"Look at those stays' values, or {LOWER_RATE}"


def named(stays: "Sequence[Any] | NDArray[Any]") -> str:
    """The stays of a batch by their ids, for a message.

    >>> named(range(12))
    'the stays 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    more = f" and {len(stays) - NAMED_STAYS} more" if len(stays) > NAMED_STAYS else ""
    return f"the stays {', '.join(str(stay) for stay in stays[:NAMED_STAYS])}{more}"
