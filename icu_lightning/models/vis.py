"""The hourly rates of vasoactive drugs and their score (VIS) as models read them, and how much of them they may read.

A horizon of h hours answers how early a model knows what it knows: later hours are hidden from it while the stays stay the same.
"""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, whole_number

DAY = 24  # hours that severity scores look at
SCORES = ("sofa", "lods", "saps2", "oasis", "sirs")


def rates(batch: StayBatch) -> tuple[Tensor, Tensor]:
    """The channels (B, T, C) and which are known, of a batch that has them."""
    assert batch.vis is not None
    assert batch.vis_observed is not None
    return batch.vis, batch.vis_observed


def tokens_of(batch: StayBatch) -> Tensor:
    """(B, T, 2 C) the channels, 0 where unknown, and which are known."""
    vis, known = rates(batch)
    return torch.cat([vis, known.to(vis)], dim=2)


def check_vis(shape: BatchShape, model: str) -> None:
    """Raise UserError for data without drugs."""
    if not shape.vis:
        raise UserError(f"model={model} reads the rates of vasoactive drugs: say data.vis=mean.")


def check_drugs(train: StayBatch) -> None:
    """Raise UserError for training stays none of which ever got a drug, or whose score is never known: there is no trend to learn.

    Arguments:
        train: the hours that the model is shown of them, see `until`.
    """
    vis, known = rates(train)
    score = vis[..., -1][known[..., -1]]
    if not len(score):
        raise UserError(
            f"Of none of the {len(train):,} training stays a vasoactive score is known in the hours that are shown, so there is no "
            "trend to learn from: drugs ran at rates or in units that could not be read (see audit.json), or nobody was in the unit."
        )
    if bool(score.min() == score.max()):
        unread = int((train.in_icu & ~known[..., -1]).any(1).sum())
        if unread:
            raise UserError(
                f"In the hours that are shown, none of the {len(train):,} training stays has a vasoactive score that is known and is "
                f"above 0, so there is no trend to learn from: in {unread:,} of them drugs ran at rates or in units that could not "
                "be read. audit.json lists those units."
            )
        raise UserError(
            f"None of the {len(train):,} training stays has a vasoactive drug in the hours that are shown, so there is no trend "
            "to learn from: cohort=sepsis asks for one (vasoactive_within in data.cohort); or does this hospital chart no infusions?"
        )


def checked_horizon(horizon: int | None, shape: BatchShape, inputs: Collection[str] | None = None) -> int | None:
    """Itself: hours from admission that a model is shown, None for the whole window.

    Arguments:
        inputs: the static features that the model reads; None is all of them.

    Raises UserError for a number that is none of the window's, or for scores of the first day as inputs before it is over.
    """
    if horizon is None:
        return None
    whole_number("model.horizon", horizon, 1)
    if horizon > shape.hours:
        raise UserError(f"model.horizon={horizon} is beyond the window of data.hours={shape.hours}.")
    if horizon < DAY and (known := sorted(set(SCORES) & set(shape.static if inputs is None else inputs))):
        raise UserError(
            f"model.horizon={horizon}: {', '.join(known)} look at the whole first day, so they would tell of hours that are to be "
            f"hidden. Take them out of {'data.static' if inputs is None else 'model.columns'}, or ask for {DAY} hours or more."
        )
    return horizon


def until(batch: StayBatch, horizon: int | None) -> StayBatch:
    """The batch with no hour at or after `horizon`: its drugs are unknown and it is not in the unit. None changes nothing."""
    if horizon is None:
        return batch
    vis, known = rates(batch)
    over = torch.arange(vis.shape[1], device=vis.device) >= horizon
    later = over.unsqueeze(1)  # (T, 1)
    return replace(batch, vis=vis.masked_fill(later, 0.0), vis_observed=known & ~later, in_icu=batch.in_icu & ~over)
