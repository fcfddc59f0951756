"""SummaryGRU, this house's own multi-task model: a GRU over the hours, summaries beside it, and tasks beside mortality.

    h = BiGRU([forward-filled z, observed, log(1 + hours since)])     (B, T / step, 2 D), a few hours a step
    e = [last h, mean h, max h, ReLU(wide_k(summaries)), static]      of copy k of K, which share their matrices
    risk = mean over k of sigmoid(head_k(e))
    loss = BCE + reconstruction * MSE of the hidden cells + stay_length * MSE of log hours in hospital + contrastive * L_con

In training, a random share of each stay's measured cells is hidden from everything, mortality's head included; the hours'
states have to say what they were. They may learn that alone for some epochs first (pretraining). Weights are averaged over the
steps (EMA), for a fixed number of epochs, and nothing is chosen on validation, so a small one is enough: it is for calibration.

References: BatchEnsemble (Wen, Tran, Ba, 2020) and TabM (Gorishniy, Kotelnikov, Babenko, 2025) for the copies; for the contrastive
term, off by default, see siamese.py.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from icu_lightning.batch import BatchShape, StayBatch, hide
from icu_lightning.errors import UserError, check_widths, is_number, listed, number, share, whole_number
from icu_lightning.models.base import Data, RiskModule, StageTrainer
from icu_lightning.models.losses import mean_of_losses
from icu_lightning.models.siamese import Siamese
from icu_lightning.models.stage import Stage, check_number
from icu_lightning.models.summaries import first_value, summaries

EPOCH = "train/epoch"  # monitored, so that the last epoch is the best


@dataclass(frozen=True)
class Tasks:
    """Weights of the losses beside mortality's; 0 leaves a task out.

    reconstruction: of the hidden cells' squared error, in SDs of the training stays.
    stay_length: of the squared error of log hours in hospital, in its SDs over the training stays.
    contrastive: of the pairs' loss.

    Raises UserError for a negative weight, and what is none.
    """

    reconstruction: float
    stay_length: float
    contrastive: float

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            number(f"model.tasks.{name}", weight, least=0)


class SummaryGRU(RiskModule):
    """The model.

    Arguments:
        shape: of the data.
        network: made here, given `shape`.
        siamese: made here, given the embedding's width; used if its task has a weight.
        tasks: weights of `Tasks`.
        hide: least and largest share of a stay's measured cells that is hidden.
        pretraining: epochs of telling hidden cells alone, before the rest; 0 for none.
        decay: of the average of the weights, a step.
        clip: largest norm of the gradient.
        training: loss, optimizer, scheduler, max_epochs and patience of `RiskModule`; with a patience of max_epochs it never
            stops early.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        network: "partial[SummaryGRUNetwork]",
        siamese: "partial[Siamese]",
        tasks: Mapping[str, float],
        hide: tuple[float, float],
        pretraining: int,
        decay: float,
        clip: float,
        **training: Any,
    ) -> None:
        shares = listed("model.hide", hide, "[0.3,0.5]")
        if len(shares) != 2 or not all(map(is_number, shares)) or not 0 <= shares[0] <= shares[1] < 1:
            raise UserError(
                f"model.hide must be two shares of measured cells, in rising order and below 1; it is {hide}."
            )
        share("model.decay", decay)
        made = network(shape=shape)
        super().__init__(network=made, **training)
        self.tasks, self.hide, self.clip = Tasks(**tasks), hide, number("model.clip", clip, above=0, infinite=True)
        self.pretraining = whole_number("model.pretraining", pretraining, 0)
        self.averaged = AveragedModel(made, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.siamese = siamese(embedding_width=made.embedding_width)
        self.register_buffer("length", torch.tensor([0.0, 1.0]))  # mean and SD of log hours in hospital
        self.notes: list[str] = []

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """A fixed number of epochs; validation is looked at and chooses nothing."""
        self.rankable, self.survivor_weight = len(data.val.label.unique()) == 2, data.prior_odds or 1.0
        self._look_at_lengths(data.train)
        if epochs := self.pretraining:
            stage = Pretraining(self.network, self.hide, self.make_optimizer, self.clip, epochs)
            until: dict[str, Any] = {"max_epochs": epochs, "patience": epochs}
            trainer.fit(stage, data, stage="pretraining", monitor=EPOCH, mode="max", **until)
        until = {"max_epochs": self.max_epochs, "patience": self.patience}
        trainer.fit(self, data, stage="fit", monitor=EPOCH, mode="max", **until)

    @torch.no_grad()
    def embed(self, batch: StayBatch) -> Tensor:
        """(B, E): the states pooled over the hours, and the copies' mean of what is made of the summaries."""
        network = copy.deepcopy(self.scoring_network).double().eval()
        learnt = cast(SummaryGRUNetwork, network).learn(batch.to(self.device).double())
        return learnt.embedding.float().cpu()

    @property
    def scoring_network(self) -> nn.Module:
        return self.averaged.module

    def _look_at_lengths(self, train: StayBatch) -> None:
        """Mean and SD of the training stays' log hours; without any, the task is off, and `notes` says so."""
        if not self.tasks.stay_length:
            return
        known = log_hours(train)
        known = known[known.isfinite()]
        if len(known) == 0:
            self.notes = ["No training stay tells its length in hospital: the task stay_length is off (model.tasks)."]
        else:
            sd = known.std(correction=0)
            self.length = torch.stack([known.mean(), sd if sd > 0 else torch.ones(())])

    def training_step(self, batch: StayBatch, _: int) -> Tensor:
        seen, hidden = hide_some(batch, self.hide)
        learnt = cast(SummaryGRUNetwork, self.network).learn(seen)
        mortality = torch.stack([self.loss(logit, batch.label) for logit in learnt.logits.unbind(1)]).mean()
        terms = {"mortality": mortality}
        if self.tasks.reconstruction:
            terms["reconstruction"] = self.tasks.reconstruction * squared_error(learnt.told, batch, hidden)
        if self.tasks.stay_length and not self.notes:
            terms["stay_length"] = self.tasks.stay_length * self._length_error(learnt.length, batch)
        if self.tasks.contrastive:
            terms["contrastive"] = self.tasks.contrastive * self.siamese(learnt.embedding, batch.label).loss
        loss = cast(Tensor, sum(terms.values()))
        check_number({"loss": loss, **terms}, batch, self, self.current_epoch)
        self.seen.append((loss.detach(), mean_logit(learnt.logits).detach(), batch.label))
        return loss

    def _length_error(self, length: Tensor, batch: StayBatch) -> Tensor:
        """(B, K) -> () over the stays whose length is known; 0 without one."""
        mean, sd = self.length
        truth = (log_hours(batch) - mean) / sd
        known = truth.isfinite()
        error = (length - truth.nan_to_num(0.0, 0.0, 0.0).unsqueeze(1)).square().mean(1)
        return (error * known).sum() / known.sum().clamp(min=1)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        nn.utils.clip_grad_norm_(self.parameters(), self.clip)

    def on_train_batch_end(self, *_: Any) -> None:
        self.averaged.update_parameters(self.network)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log(EPOCH, float(self.current_epoch), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        # Validation ends before the epoch does, and is when the best is kept
        self.log(EPOCH, float(self.current_epoch), sync_dist=True)


class Pretraining(Stage):
    """The first stage: the hours' states learn to tell hidden cells, and nothing else, for a fixed number of epochs.

    Arguments: as in `SummaryGRU`, whose network it trains; epochs also of the learning rate's cosine.
    """

    def __init__(
        self,
        network: nn.Module,
        hide: tuple[float, float],
        optimizer: "partial[torch.optim.Optimizer]",
        clip: float,
        epochs: int,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.network, self.hide, self.clip, self.epochs = network, hide, clip, epochs
        self.val_loss = mean_of_losses()

    def _error(self, batch: StayBatch) -> Tensor:
        seen, hidden = hide_some(batch, self.hide)
        network = cast(SummaryGRUNetwork, self.network)
        return squared_error(network.tell(network.states(seen), batch.values.shape[1]), batch, hidden)

    def terms(self, batch: StayBatch) -> dict[str, Tensor]:
        return {"loss": self._error(batch)}

    def schedule(self, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.epochs)

    def validation_step(self, batch: StayBatch, _: int) -> Tensor:
        loss = self._error(batch)
        self.val_loss.update(loss, len(batch))
        self.log("val/loss", self.val_loss)
        return loss

    def on_validation_epoch_end(self) -> None:
        self.log(EPOCH, float(self.current_epoch), sync_dist=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)


@dataclass(frozen=True)
class Learnt:
    """logits, length: (B, K) of each copy; length in SDs of log hours. told: (B, T, V) the values, by the hours' states.

    embedding: (B, E) what the head reads, but for the static features; of the copies' parts the mean.
    """

    logits: Tensor
    length: Tensor
    told: Tensor
    embedding: Tensor


class SummaryGRUNetwork(nn.Module):
    """StayBatch -> logits (B).

    Arguments:
        shape: of the data.
        hidden: D, the GRU's width each way.
        step: hours that the GRU reads at once; they need not divide the window.
        wide: width of the summaries' layer.
        head: width of the head.
        copies: K, of everything behind the GRU, which share their weights but for a scale of each input and output and a bias.
        dropout: of the head's inputs and of its hidden layer.
    """

    def __init__(
        self, *, shape: BatchShape, hidden: int, step: int, wide: int, head: int, copies: int, dropout: float
    ) -> None:
        super().__init__()
        n, self.copies = shape.n_variables, whole_number("model.network.copies", copies, 1)
        width = whole_number("model.network.head", head, 1)
        self.step = whole_number("model.network.step", step, 1)
        check_widths("model.network", hidden=hidden, wide=wide)
        share("model.network.dropout", dropout)
        self.gru = nn.GRU(3 * n * step, hidden, batch_first=True, bidirectional=True)
        self.telling = nn.Linear(2 * hidden, n * step)
        self.wide = Rank1Linear(N_SUMMARIES * n, wide, copies)
        self.first = Rank1Linear(6 * hidden + wide + shape.n_static, width, copies)
        self.second = Rank1Linear(width, 2, copies)  # the logit, and the length of stay
        self.dropout = nn.Dropout(dropout)
        self.embedding_width = 6 * hidden + wide

    def forward(self, batch: StayBatch) -> Tensor:
        return mean_logit(self.learn(batch).logits)

    def states(self, batch: StayBatch) -> Tensor:
        """(B, T / step, 2 D): forward and backward. A window that steps do not divide is filled up with zeros at its beginning."""
        x = torch.cat([filled(batch), batch.observed.to(batch.values), batch.hours_since.log1p()], dim=2)  # (B, T, 3 V)
        x = F.pad(x, (0, 0, -x.shape[1] % self.step, 0))
        return cast(
            Tensor, self.gru(x.unflatten(1, (-1, self.step)).flatten(2))[0]
        )  # (B, T, 3 V) -> (B, T / step, step 3 V)

    def tell(self, states: Tensor, hours: int) -> Tensor:
        """(B, T / step, 2 D) -> (B, T, V): what the states say of the values."""
        told: Tensor = (
            self.telling(states).unflatten(2, (self.step, -1)).flatten(1, 2)
        )  # (B, T / step, step V) -> (B, T, V)
        return told[:, -hours:]

    def learn(self, batch: StayBatch) -> Learnt:
        states = self.states(batch)
        pooled = pool(states)  # (B, 6 D)
        wide = F.relu(self.wide(self._each(wide_summaries(batch))))  # (B, K, wide)
        x = torch.cat([self._each(pooled), wide, self._each(batch.static)], dim=2)
        out = self.second(self.dropout(F.relu(self.first(self.dropout(x)))))  # (B, K, 2)
        embedding = torch.cat([pooled, wide.mean(1)], dim=1)
        return Learnt(out[..., 0], out[..., 1], self.tell(states, batch.values.shape[1]), embedding)

    def _each(self, x: Tensor) -> Tensor:
        """(B, I) -> (B, K, I)"""
        return x.unsqueeze(1).expand(-1, self.copies, -1)


class Rank1Linear(nn.Module):
    """y_k = ((x_k * r_k) W) * s_k + b_k; the r of each copy begin as random signs, so that copies differ."""

    def __init__(self, inputs: int, outputs: int, copies: int) -> None:
        super().__init__()
        self.shared = nn.Linear(inputs, outputs, bias=False)
        self.r = nn.Parameter(torch.randint(2, (copies, inputs)).float() * 2 - 1)
        self.s, self.b = nn.Parameter(torch.ones(copies, outputs)), nn.Parameter(torch.zeros(copies, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, I) -> (B, K, O)"""
        return self.shared(x * self.r) * self.s + self.b


def pool(states: Tensor) -> Tensor:
    """(B, T / step, 2 D) -> (B, 6 D): the last state of each direction, the mean and the maximum over the steps."""
    forward, backward = states.chunk(2, dim=2)
    return torch.cat([forward[:, -1], backward[:, 0], states.mean(1), states.amax(1)], dim=1)


def mean_logit(logits: Tensor) -> Tensor:
    """(B, K) -> (B): the logit of the copies' mean risk."""
    risk = torch.sigmoid(logits).mean(1)
    return torch.logit(risk, eps=torch.finfo(risk.dtype).eps)


def log_hours(batch: StayBatch) -> Tensor:
    """(B) log of the hours in hospital, at least one; NaN if unknown."""
    return batch.hospital_hours.clamp(min=1).log()


def squared_error(told: Tensor, batch: StayBatch, hidden: Tensor) -> Tensor:
    """(B, T, V) -> () mean over the hidden cells; 0 without one."""
    return ((told - batch.values).square() * hidden).sum() / hidden.sum().clamp(min=1)


def hide_some(batch: StayBatch, share: tuple[float, float]) -> tuple[StayBatch, Tensor]:
    """The batch with a random share of each stay's measured cells hidden, and those cells (B, T, V) bool."""
    low, high = share
    rate = low + (high - low) * torch.rand(len(batch), 1, 1, device=batch.values.device)
    hidden = batch.observed & (torch.rand(batch.values.shape, device=batch.values.device) < rate)
    return hide(batch, hidden), hidden


def filled(batch: StayBatch) -> Tensor:
    """(B, T, V) each variable's last value so far; 0, the training mean, before its first."""
    hour = torch.arange(batch.values.shape[1], device=batch.values.device).view(1, -1, 1)
    last = hour - batch.hours_since.long()  # -1 before the first
    return torch.where(last >= 0, batch.values.gather(1, last.clamp(min=0)), 0.0)


N_SUMMARIES = 10


def wide_summaries(batch: StayBatch) -> Tensor:
    """(B, 10 V): last, mean, min, max, log(1 + count), first, SD, mean of either half of the window, measured at all; 0 if unknown."""
    observed, half = batch.observed, batch.values.shape[1] // 2
    x = torch.where(observed, batch.values, 0.0)
    last, mean, low, high, count = summaries(x, observed).chunk(5, dim=1)
    spread = (x.square().sum(1) / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
    halves = [x[:, side].sum(1) / observed[:, side].sum(1) for side in (slice(half), slice(half, None))]
    known = [last, mean, low, high, count.log1p(), first_value(x, observed), spread, *halves, (count > 0).float()]
    return torch.cat(known, dim=1).nan_to_num(0.0).to(x)
