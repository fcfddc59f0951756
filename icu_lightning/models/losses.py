"""Losses that two or more models use, and how a validation loss weighs deaths beside survivors."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from icu_lightning.errors import number, share


class FocalLoss(nn.Module):
    """Mean of alpha_t (1 - p_t)^gamma BCE, from logits.

    p_t is the probability given to what happened; alpha_t is `alpha` for deaths (label 1) and 1 - alpha for survivors.
    So alpha below one half weighs deaths *less*; the original's default of .25 does, although its text says otherwise.
    gamma = 0 and alpha = .5 is half of binary cross-entropy.

    Arguments:
        gamma: how strongly well-predicted stays are discounted; >= 0.
        alpha: the weight of deaths, in [0, 1].

    References: Focal Loss for Dense Object Detection (Lin et al., 2017), Eq. 5.
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25) -> None:
        super().__init__()
        self.gamma, self.alpha = number("gamma", gamma, least=0), share("alpha", alpha)

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """(B), (B) -> ()"""
        bce = F.binary_cross_entropy_with_logits(logit, label, reduction="none")  # -log p_t
        alpha_t = torch.where(label == 1, self.alpha, 1 - self.alpha)
        one_minus_p_t = torch.sigmoid(torch.where(label == 1, -logit, logit))
        return (alpha_t * one_minus_p_t**self.gamma * bce).mean()  # Eq. 5


class BinaryCrossEntropy(nn.Module):
    """Mean of w BCE, from logits, with w = `death_weight` for deaths (label 1) and 1 for survivors.

    Any weight but 1 bends the risks, which only calibration can straighten.
    """

    def __init__(self, death_weight: float = 1.0) -> None:
        super().__init__()
        self.death_weight = number("death_weight", death_weight, above=0)

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """(B), (B) -> ()"""
        weight = torch.where(label == 1, self.death_weight, 1.0)
        return F.binary_cross_entropy_with_logits(logit, label, weight=weight)


def at_prevalence_of_training(
    loss: Callable[[Tensor | slice], Tensor], label: Tensor, survivor_weight: float
) -> tuple[Tensor, float]:
    """The mean loss of validation stays with survivors weighing `survivor_weight` beside 1 of deaths; and their weight together.

    Validation keeps its prevalence when training survivors were undersampled. A model that has learnt from as many deaths as survivors
    gives it risks that are too high by its prior, so that a plain loss prefers an early epoch that has learnt little: unless survivors
    weigh as much less as they are fewer in training.

    Arguments:
        loss: the mean over some of the stays, which it is given as bool (B), or as a slice of all; of any shape.
        label: (B).
        survivor_weight: the share of the training survivors that undersampling left in; 1 if nobody was left out.
    """
    if survivor_weight == 1:
        return loss(slice(None)), float(len(label))
    sides = [(label == 1, 1.0), (label != 1, survivor_weight)]
    parts = [(loss(rows), weight * n) for rows, weight in sides if (n := int(rows.sum()))]
    together = sum(weight for _, weight in parts)
    return torch.stack([weight / together * mean for mean, weight in parts]).sum(0), together


def mean_of_losses() -> MeanMetric:
    """A weighted mean, over all processes, in which a loss that is no number stays one, and stops the run.

    Of torchmetrics 1.9's own choices `warn` and `ignore` leave it out, and `disable` forgets the weights.
    """
    return MeanMetric(nan_strategy=float("nan"))
