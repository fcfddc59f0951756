"""Hidden hours told from the nearest visible ones, without learning: what a masked autoencoder corrects, and has to beat."""

import torch
from torch import Tensor


def carried_forward(x: Tensor, visible: Tensor, nothing: Tensor) -> Tensor:
    """(B, T): the last visible value; before the first, that; `nothing` where no hour is visible.

    >>> x, seen = torch.tensor([[1.0, 9.0, 9.0, 4.0]]), torch.tensor([[True, False, False, True]])
    >>> carried_forward(x, seen, torch.tensor(0.0)).tolist()
    [[1.0, 1.0, 1.0, 4.0]]
    """
    before, after, left, right = _neighbours(visible)
    return torch.where(before, x.gather(1, left), torch.where(after, x.gather(1, right), nothing))


def interpolated(x: Tensor, visible: Tensor, nothing: Tensor) -> Tensor:
    """(B, T): on the line between the visible neighbours; the nearest, where there is one only; `nothing` where there is none.

    >>> x, seen = torch.tensor([[1.0, 9.0, 9.0, 4.0]]), torch.tensor([[True, False, False, True]])
    >>> interpolated(x, seen, torch.tensor(0.0)).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """
    before, after, left, right = _neighbours(visible)
    hour = torch.arange(x.shape[1], device=x.device)
    share = (hour - left) / (right - left).clamp(min=1)
    line = x.gather(1, left) + share * (x.gather(1, right) - x.gather(1, left))
    return torch.where(before & after, line, carried_forward(x, visible, nothing))


def distances(visible: Tensor) -> Tensor:
    """(B, T) -> (B, T, 2): hours since the last visible hour, and until the next, as shares of the window; 1 where there is none.

    >>> distances(torch.tensor([[False, True, False, False]]))[0].tolist()
    [[1.0, 0.25], [0.0, 0.0], [0.25, 1.0], [0.5, 1.0]]
    """
    before, after, left, right = _neighbours(visible)
    hour, hours = torch.arange(visible.shape[1], device=visible.device), visible.shape[1]
    since, until = torch.where(before, hour - left, hours), torch.where(after, right - hour, hours)
    return torch.stack([since, until], dim=2) / hours


def _neighbours(visible: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, T) each: is there a visible hour at or before, at or after; which, any hour where there is none."""
    last = visible.shape[1] - 1
    hour = torch.arange(visible.shape[1], device=visible.device)
    left = torch.where(visible, hour, -1).cummax(1).values
    right = torch.where(visible, hour, last + 1).flip(1).cummin(1).values.flip(1)
    return left >= 0, right <= last, left.clamp(min=0), right.clamp(max=last)
