"""The student: small, shown hours with gaps, and taught by the labels, by the teacher's risks and states, and by the scores.

    KL_T  = T^2 KL(sigmoid(z_t / T) || sigmoid(z_s / T))                                             (soft labels)
    MSE_h = |P h_s - LayerNorm(h_t)|^2 / D                                                             (features)
    L_S   = .5 BCE(y, z_s) + .5 KL_T + 1.0 MSE_h + .25 Huber(severity, s_s)

z are logits and h states of the hours, t the teacher's, of the hours without gaps, and s the student's.

References: Distilling the Knowledge in a Neural Network (Hinton, Vinyals, Dean, 2015); FitNets (Romero et al., 2015); the
teacher-student paper (Jin et al., arXiv 2502.16834, 2025), as METHODS C.5 reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from icu_lightning.batch import StayBatch
from icu_lightning.errors import UserError, is_number, number
from icu_lightning.models.teacher_student.teacher import MultitaskNetwork
from icu_lightning.models.vis import rates


class Lesson(NamedTuple):
    """What the teacher says of a batch: logit (B), state (B, D)."""

    logit: Tensor
    state: Tensor


@dataclass(frozen=True)
class Lessons:
    """What the frozen teacher says of every stay, asked once: it is not corrupted, and does not change.

    row: stay_id -> its row. logit: (N). state: (N, D).
    """

    row: dict[object, int]
    logit: Tensor
    state: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, teacher: MultitaskNetwork, splits: Sequence[StayBatch], size: int = 1024) -> "Lessons":
        """The teacher is left in evaluation mode."""
        teacher.eval()
        device = next(teacher.parameters()).device
        batches = [split[i : i + size] for split in splits for i in range(0, len(split), size)]
        readings = [teacher(batch.to(device)) for batch in batches]
        stays = np.concatenate([batch.stay_id for batch in batches])
        logit, state = (torch.cat([getattr(r, name) for r in readings]).cpu() for name in ("logit", "state"))
        return cls({stay: row for row, stay in enumerate(stays)}, logit, state)

    def __call__(self, batch: StayBatch) -> Lesson:
        rows = torch.tensor([self.row[stay] for stay in batch.stay_id])
        device = batch.label.device
        return Lesson(self.logit[rows].to(device), self.state[rows].to(device))


def corrupted(batch: StayBatch, most: float) -> StayBatch:
    """The batch with hours of its drugs unknown: of each stay a share that is drawn from [0, most]."""
    vis, known = rates(batch)
    share = most * torch.rand(len(batch), 1, 1, device=vis.device)
    kept = torch.rand(*vis.shape[:2], 1, device=vis.device) >= share
    return replace(batch, vis=torch.where(kept, vis, 0.0), vis_observed=known & kept)


def check_learning(temperature: float, gaps: float) -> None:
    """Raise UserError for what cannot be meant of `soft_label_loss` and `corrupted`."""
    number("model.student.temperature", temperature, above=0)
    if not is_number(gaps) or not 0 <= gaps <= 1:
        raise UserError(f"model.student.gaps is the greatest share of hours that is hidden, from 0 to 1; it is {gaps}.")


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(B), (B) logits -> () T^2 KL(teacher || student) of the softened risks; 0 for equal ones.

    T^2 keeps the gradient's size whatever the temperature (Hinton et al., section 2.1).
    """
    soft = (teacher / temperature).sigmoid()
    cross = F.binary_cross_entropy_with_logits(student / temperature, soft)
    entropy = F.binary_cross_entropy_with_logits(teacher / temperature, soft)
    return temperature**2 * (cross - entropy)


def feature_loss(projected: Tensor, teacher: Tensor) -> Tensor:
    """(B, D), (B, D) -> () mean squared distance of the projected state from the teacher's, normalised a stay."""
    return F.mse_loss(projected, F.layer_norm(teacher, teacher.shape[1:]))
