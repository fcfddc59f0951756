"""SummaryGRU, this house's own multi-task model: a GRU over the hours, summaries beside it, hidden values to be told.

    h = BiGRU([forward-filled z, observed, log(1 + hours since)])     (B, T, 2 D)
    e = [last h, mean h, max h, Linear(summaries), static]
    risk = mean over K copies of sigmoid(head_k(e))
    loss = BCE, averaged over the copies, + reconstruction * mean squared error of the hidden cells

In training, a random share of each stay's measured cells is hidden from everything, mortality's head included; the hours'
states have to say what they were. Weights are averaged over the steps (EMA), for a fixed number of epochs, and nothing is chosen on
validation.

References: BatchEnsemble (Wen, Tran, Ba, 2020) and TabM (Gorishniy, Kotelnikov, Babenko, 2025) for the head's copies.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from icu_lightning.batch import BatchShape, StayBatch, hide
from icu_lightning.errors import whole_number
from icu_lightning.models.base import Data, RiskModule, StageTrainer
from icu_lightning.models.summaries import first_value, summaries

EPOCH = "train/epoch"  # monitored, so that the last epoch is the best


class SummaryGRU(RiskModule):
    """The model.

    Arguments:
        shape: of the data.
        hidden: D, the GRU's width each way.
        wide: width of the summaries' layer.
        head: width of the head.
        copies: K of the head, which share their weights but for a scale of each input and output and a bias.
        dropout: in the head.
        reconstruction: weight of the hidden cells' error; 0 for mortality alone.
        hide: least and largest share of a stay's measured cells that is hidden.
        decay: of the average of the weights, a step.
        clip: largest norm of the gradient.
        training: loss, optimizer, scheduler, max_epochs and patience of `RiskModule`; with a patience of max_epochs it never
            stops early.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        hidden: int,
        wide: int,
        head: int,
        copies: int,
        dropout: float,
        reconstruction: float,
        hide: tuple[float, float],
        decay: float,
        clip: float,
        **training: Any,
    ) -> None:
        if not 0 <= hide[0] <= hide[1] < 1:
            raise ValueError(f"hide must be two shares of measured cells, in rising order and below 1; it is {hide}")
        network = SummaryGRUNetwork(shape, hidden, wide, HeadCopies(copies, dropout, head))
        super().__init__(network=network, **training)
        self.reconstruction, self.hide, self.clip = reconstruction, hide, clip
        self.averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """A fixed number of epochs; validation is looked at and chooses nothing."""
        self.rankable = len(data.val.label.unique()) == 2
        epochs = self.max_epochs
        trainer.fit(self, data, stage="fit", monitor=EPOCH, mode="max", max_epochs=epochs, patience=self.patience)

    @property
    def scoring_network(self) -> nn.Module:
        return self.averaged.module

    def training_step(self, batch: StayBatch, _: int) -> Tensor:
        seen, hidden = hide_some(batch, self.hide)
        logits, told = cast(SummaryGRUNetwork, self.network).learn(seen)  # (B, K), (B, T, V)
        losses = torch.stack([self.loss(logit, batch.label) for logit in logits.unbind(1)])
        error = ((told - batch.values).square() * hidden).sum() / hidden.sum().clamp(min=1)
        loss = losses.mean() + self.reconstruction * error
        self.seen.append((loss.detach(), mean_logit(logits).detach(), batch.label))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)

    def on_train_batch_end(self, *_: Any) -> None:
        self.averaged.update_parameters(self.network)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log(EPOCH, float(self.current_epoch), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        # Validation ends before the epoch does, and is when the best is kept
        self.log(EPOCH, float(self.current_epoch), sync_dist=True)


class SummaryGRUNetwork(nn.Module):
    """StayBatch -> logits (B)."""

    def __init__(self, shape: BatchShape, hidden: int, wide: int, head: "HeadCopies") -> None:
        super().__init__()
        n = shape.n_variables
        self.gru = nn.GRU(3 * n, whole_number("model.hidden", hidden, 1), batch_first=True, bidirectional=True)
        self.wide = nn.Linear(N_SUMMARIES * n, wide)
        self.tell = nn.Linear(2 * hidden, n)
        self.head = head.built(6 * hidden + wide + shape.n_static)

    def forward(self, batch: StayBatch) -> Tensor:
        return mean_logit(self.learn(batch)[0])

    def learn(self, batch: StayBatch) -> tuple[Tensor, Tensor]:
        """The copies' logits (B, K), and what each hour's state says of the values (B, T, V)."""
        x = torch.cat([filled(batch), batch.observed.to(batch.values), batch.hours_since.log1p()], dim=2)  # (B, T, 3 V)
        states, _ = self.gru(x)  # (B, T, 2 D)
        forward, backward = states.chunk(2, dim=2)
        last = torch.cat([forward[:, -1], backward[:, 0]], dim=1)
        pooled = [last, states.mean(1), states.amax(1)]
        embedding = torch.cat([*pooled, self.wide(wide_summaries(batch)), batch.static], dim=1)
        return self.head(embedding), self.tell(states)


class HeadCopies(nn.Module):
    """K heads of one hidden layer that share their matrices: copy k scales each input and each output, and has its own bias.

    Arguments:
        copies: K.
        dropout: of the hidden layer.
        hidden: its width.
    """

    def __init__(self, copies: int, dropout: float, hidden: int) -> None:
        super().__init__()
        self.copies, self.width = whole_number("model.copies", copies, 1), whole_number("model.head", hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def built(self, inputs: int) -> "HeadCopies":
        self.first, self.second = Rank1Linear(inputs, self.width, self.copies), Rank1Linear(self.width, 1, self.copies)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, I) -> (B, K)"""
        x = x.unsqueeze(1).expand(-1, self.copies, -1)
        return self.second(self.dropout(F.relu(self.first(self.dropout(x))))).squeeze(2)


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


def mean_logit(logits: Tensor) -> Tensor:
    """(B, K) -> (B): the logit of the copies' mean risk."""
    risk = torch.sigmoid(logits).mean(1)
    return torch.logit(risk, eps=torch.finfo(risk.dtype).eps)


def hide_some(batch: StayBatch, share: tuple[float, float]) -> tuple[StayBatch, Tensor]:
    """The batch with a random share of each stay's measured cells hidden, and those cells (B, T, V) bool."""
    low, high = share
    rate = low + (high - low) * torch.rand(len(batch), 1, 1, device=batch.values.device)
    hidden = batch.observed & (torch.rand(batch.values.shape, device=batch.values.device) < rate)
    return hide(batch, hidden), hidden


def filled(batch: StayBatch) -> Tensor:
    """(B, T, V) each variable's last value so far; 0, the training mean, before its first."""
    hour = torch.arange(batch.values.shape[1], device=batch.values.device).view(1, -1, 1)
    last = torch.where(batch.observed, hour, -1).cummax(1).values
    return torch.where(last >= 0, batch.values.gather(1, last.clamp(min=0)), 0.0)


N_SUMMARIES = 10


def wide_summaries(batch: StayBatch) -> Tensor:
    """(B, 10 V): last, mean, min, max, log(1 + count), first, SD, mean of either half of the window, measured at all; 0 if unknown."""
    x, observed = batch.values, batch.observed
    last, mean, low, high, count = summaries(x, observed).chunk(5, dim=1)
    spread = torch.where(observed, (x - mean.nan_to_num().unsqueeze(1)).square(), 0.0).sum(1) / count.clamp(min=1)
    half = x.shape[1] // 2
    halves = [summaries(x[:, side], observed[:, side]).chunk(5, dim=1)[1] for side in (slice(half), slice(half, None))]
    known = [
        last,
        mean,
        low,
        high,
        count.log1p(),
        first_value(x, observed),
        spread.sqrt(),
        *halves,
        (count > 0).float(),
    ]
    return torch.cat(known, dim=1).nan_to_num(0.0).to(x)
