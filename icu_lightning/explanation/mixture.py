"""h(S, x, b): the batch a model is shown when the players S are the stay's own and the others a background stay's (`game`)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from icu_lightning.batch import StayBatch, hours_since_last
from icu_lightning.explanation.game import Players


def mixed(players: Players, stay: StayBatch, background: StayBatch, which: Tensor, present: Tensor) -> StayBatch:
    """A batch of R mixtures.

    Arguments:
        stay: one stay (B = 1), whose ids, labels, held_out and severity all mixtures have.
        background: K stays.
        which: (R) the background stay of each mixture.
        present: (R, M) bool, the players that are the stay's own.
    """
    x, b = stay[torch.zeros_like(which)], background[which]
    n = len(players.shape.variables)
    value, missingness = (
        present[:, players.value],
        present[:, None, players.missingness],
    )  # (R, T, V + C), (R, 1, V + C)
    own_icu = present[:, players.in_icu].unsqueeze(1)
    in_icu = torch.where(own_icu, x.in_icu, b.in_icu)
    observed = torch.where(missingness[..., :n], x.observed, b.observed) & ~x.held_out
    parts: dict[str, Any] = {
        "values": torch.where(observed, _latent(x.values, x.observed, b.values, b.observed, value[..., :n]), 0.0),
        "observed": observed,
        "hours_since": hours_since_last(observed),
        "static": torch.where(present[:, players.static], x.static, b.static),
        "in_icu": in_icu,
    }
    if x.vis is not None and b.vis is not None:
        known_x, known_b = _known(x), _known(b)
        known = torch.where(missingness[..., n:], known_x, known_b) & in_icu.unsqueeze(2)
        parts["vis"] = torch.where(known, _latent(x.vis, known_x, b.vis, known_b, value[..., n:]), 0.0)
        parts["vis_observed"] = known
    return replace(x, **parts)


def effective(players: Players, stay: StayBatch, background: StayBatch) -> Tensor:
    """(K, M) bool: False for a player that changes no mixture of the stay with that background stay, so need not be tried."""
    x, b = stay[torch.zeros(len(background), dtype=torch.int64)], background
    (x_values, x_observed), (b_values, b_observed) = _all_series(x), _all_series(b)
    x_last, x_has = carried(x_values, x_observed)
    b_last, _ = carried(b_values, b_observed)
    shown = x_observed | b_observed
    found = torch.zeros(len(b), len(players), dtype=torch.int64)
    for player, differs in (
        (players.value, x_has & (x_last != b_last) & shown),
        (players.missingness, (x_observed != b_observed).any(1)),
        (players.static, x.static != b.static),
        ([players.in_icu], (x.in_icu != b.in_icu).any(1, keepdim=True)),
    ):
        found.index_add_(1, torch.as_tensor(player).flatten(), differs.flatten(1).long())
    return found > 0


def carried(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, V), (B, T, V) bool -> the last observed value up to each hour, 0 before the first, and whether there is one."""
    hour = torch.arange(values.shape[1]).view(1, -1, 1)
    last = torch.where(observed, hour, -1).cummax(dim=1).values
    has = last >= 0
    return torch.where(has, values.gather(1, last.clamp(min=0)), 0.0), has


def _latent(x_values: Tensor, x_observed: Tensor, b_values: Tensor, b_observed: Tensor, own: Tensor) -> Tensor:
    x_last, x_has = carried(x_values, x_observed)
    b_last, _ = carried(b_values, b_observed)
    return torch.where(own & x_has, x_last, b_last)


def _all_series(batch: StayBatch) -> tuple[Tensor, Tensor]:
    """(B, T, V + C) values, and where they are known."""
    if batch.vis is None:
        return batch.values, batch.observed
    return torch.cat([batch.values, batch.vis], 2), torch.cat([batch.observed, _known(batch)], 2)


def _known(batch: StayBatch) -> Tensor:
    assert batch.vis_observed is not None, "a batch with rates says which are known"
    return batch.vis_observed
