"""What is left of a stay's hours for models without time: summaries of each variable over its observed hours."""

import torch
from torch import Tensor


def summaries(values: Tensor, observed: Tensor) -> Tensor:
    """(B, T, V), (B, T, V) bool -> (B, 5 V): last, mean, min, max and count of the observed values.

    A variable without observed values has count 0 and NaN for the others.
    """
    count = observed.sum(1)  # (B, V)
    nan = _nan_if_none(count)
    hour = torch.arange(values.shape[1], device=values.device).view(1, -1, 1)
    last_hour = torch.where(observed, hour, -1).amax(1).clamp(min=0)  # (B, V)
    mean = torch.where(observed, values, 0.0).sum(1) / count.clamp(min=1)
    low = torch.where(observed, values, float("inf")).amin(1)
    high = torch.where(observed, values, float("-inf")).amax(1)
    known = [torch.where(count > 0, part, nan) for part in (_at(values, last_hour), mean, low, high)]
    return torch.cat([*known, count.float()], dim=1)


def first_value(values: Tensor, observed: Tensor) -> Tensor:
    """(B, T, V), (B, T, V) bool -> (B, V): each variable's first observed value, NaN if there is none."""
    first_hour = observed.to(torch.uint8).argmax(1)  # the first of the largest
    return torch.where(observed.any(1), _at(values, first_hour), _nan_if_none(observed.sum(1)))


def _at(values: Tensor, hour: Tensor) -> Tensor:
    """(B, T, V), (B, V) -> (B, V): each variable's value in its own hour."""
    return values.gather(1, hour.unsqueeze(1)).squeeze(1)


def _nan_if_none(count: Tensor) -> Tensor:
    return torch.where(count > 0, 0.0, float("nan"))
