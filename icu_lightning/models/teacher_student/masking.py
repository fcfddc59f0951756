"""Which hours the masked autoencoder hides: single hours at random, or spans of several.

The score is zero most of the time and changes in steps, so that a single hidden hour is told by its neighbours: spans make the
decoder look further. Which hours are hidden follows from uniform numbers that are given, so that validation can have its own, fixed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from icu_lightning.batch import StayBatch
from icu_lightning.errors import UserError, is_number, listed
from icu_lightning.models.noise import KeyedNoise

CHOICES = 3  # numbers a stay needs beside one an hour: its kind of mask, the spans' length, and where they begin


class Masking:
    """Hides a share of each stay's hours in the unit, rounded to whole hours, and never all of them.

    Arguments:
        ratio: the share, in (0, 1).
        spans: share of the stays whose hidden hours form spans, in [0, 1]; the others' are single hours at random.
        span_hours: least and greatest length of a stay's spans. Two that meet are one; the last is cut where the share is reached.

    Raises UserError for shares and lengths that cannot be meant.
    """

    def __init__(self, *, ratio: float, spans: float, span_hours: Sequence[int]) -> None:
        if not is_number(ratio) or not 0 < ratio < 1:
            raise UserError(
                f"model.autoencoder.masking.ratio is the share of hours that is hidden, between 0 and 1; it is {ratio}."
            )
        if not is_number(spans) or not 0 <= spans <= 1:
            raise UserError(f"model.autoencoder.masking.spans is a share of the stays, from 0 to 1; it is {spans}.")
        hours = listed("model.autoencoder.masking.span_hours", span_hours, "[4,8]")
        if len(hours) != 2 or not all(map(is_number, hours)) or not 1 <= hours[0] <= hours[1]:
            raise UserError(
                f"model.autoencoder.masking.span_hours is a least and a greatest number of hours, as in [4,8]; it is {span_hours}."
            )
        self.ratio, self.spans, (self.shortest, self.longest) = ratio, spans, span_hours

    def __call__(self, in_icu: Tensor, uniform: Tensor) -> Tensor:
        """(B, T) True for the hidden hours, which are hours in the unit.

        Arguments:
            in_icu: (B, T). uniform: (B, T + CHOICES) in [0, 1], as `numbers` and `fixed_numbers` give them.
        """
        hours = in_icu.shape[1]
        single, kind, length, start = uniform.split([hours, 1, 1, 1], dim=1)
        span = self.shortest + (length * (self.longest - self.shortest + 1)).floor().clamp(
            max=self.longest - self.shortest
        )
        block = ((torch.arange(hours, device=uniform.device) + (start * span).floor()) / span).floor().long()
        whole = single.gather(1, block.clamp(max=hours - 1))  # (B, T) one number a span
        order = torch.where(kind < self.spans, whole, single).masked_fill(~in_icu, 2.0)  # the lowest are hidden
        rank = order.argsort(dim=1, stable=True).argsort(dim=1)
        inside = in_icu.sum(1, keepdim=True)
        return rank < torch.minimum((self.ratio * inside).round(), inside - 1)


def numbers(batch: StayBatch) -> Tensor:
    """(B, T + CHOICES) new uniform numbers, for training."""
    return torch.rand(len(batch), batch.in_icu.shape[1] + CHOICES, device=batch.in_icu.device)


def fixed_numbers(batch: StayBatch, seed: int) -> Tensor:
    """(B, T + CHOICES) uniform numbers that follow from seed and stay alone, so that epochs are compared on the same hours."""
    shape = {"hours": 1, "n_variables": batch.in_icu.shape[1] + CHOICES}
    normal = KeyedNoise(seed, batch.stay_id, [0], like=torch.zeros((), device=batch.in_icu.device), **shape)()
    return torch.special.ndtr(normal).flatten(1)  # (B, 1, 1, T + CHOICES) -> (B, T + CHOICES)
