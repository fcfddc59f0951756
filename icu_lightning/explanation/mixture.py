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
        rates_of = _rates_together if players.together else _rates_apart
        rates, known = rates_of(x, b, value[..., n:], missingness[..., n:])
        known = known & in_icu.unsqueeze(2)
        parts |= {"vis": torch.where(known, rates, 0.0), "vis_observed": known}
    return replace(x, **parts)


def effective(players: Players, stay: StayBatch, background: StayBatch) -> Tensor:
    """(K, M) bool: False for a player that changes no mixture of the stay with that background stay, so need not be tried."""
    x, b = stay[torch.zeros(len(background), dtype=torch.int64)], background
    value, missingness = _differs_apart(*_all_series(x), *_all_series(b))
    if players.together:
        n = len(players.shape.variables)
        of_hour, hours = _differs_together(x, b)
        value, missingness = torch.cat([value[..., :n], of_hour], 2), torch.cat([missingness[:, :n], hours], 1)
    found = torch.zeros(len(b), len(players), dtype=torch.int64)
    for player, differs in (
        (players.value, value),
        (players.missingness, missingness),
        (players.static, x.static != b.static),
        ([players.in_icu], (x.in_icu != b.in_icu).any(1, keepdim=True)),
    ):
        found.index_add_(1, torch.as_tensor(player).flatten(), differs.flatten(1).long())
    return found > 0


def _differs_apart(x_values: Tensor, x_observed: Tensor, b_values: Tensor, b_observed: Tensor) -> tuple[Tensor, Tensor]:
    """(K, T, V), (K, V) bool: where a value player changes a cell, and whose missingness does."""
    x_last, x_has = carried(x_values, x_observed)
    b_last, _ = carried(b_values, b_observed)
    return x_has & (x_last != b_last) & (x_observed | b_observed), (x_observed != b_observed).any(1)


def _differs_together(x: StayBatch, b: StayBatch) -> tuple[Tensor, Tensor]:
    """(K, T, C), (K, C) bool: as `_differs_apart`, for drugs of which one hour's go together."""
    (x_rates, x_known), (b_rates, b_known) = last_hour(x), last_hour(b)
    x_hours, b_hours = (_known(batch).any(2, keepdim=True) for batch in (x, b))
    other = x_known.any(2, keepdim=True) & ((x_rates != b_rates) | (x_known != b_known))
    return other & (x_hours | b_hours), (x_hours != b_hours).any(1).expand(-1, x_known.shape[2])


def carried(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, V), (B, T, V) bool -> the last observed value up to each hour, 0 before the first, and whether there is one."""
    hour = torch.arange(values.shape[1]).view(1, -1, 1)
    last = torch.where(observed, hour, -1).cummax(dim=1).values
    has = last >= 0
    return torch.where(has, values.gather(1, last.clamp(min=0)), 0.0), has


def last_hour(batch: StayBatch) -> tuple[Tensor, Tensor]:
    """(B, T, C) rates, and which are known, of the last hour up to each in which any is known; none is before the first."""
    assert batch.vis is not None
    known = _known(batch)
    hour = torch.arange(known.shape[1]).view(1, -1, 1)
    last = torch.where(known.any(2, keepdim=True), hour, 0).cummax(dim=1).values.expand_as(known)
    return batch.vis.gather(1, last), known.gather(1, last)


def _rates_together(x: StayBatch, b: StayBatch, value: Tensor, missingness: Tensor) -> tuple[Tensor, Tensor]:
    """(R, T, C) rates and which are known, all channels of an hour from one hour of one stay."""
    (x_rates, x_known), (b_rates, b_known) = last_hour(x), last_hour(b)
    x_hours, b_hours = (_known(batch).any(2, keepdim=True) for batch in (x, b))
    own, hours = value & x_known.any(2, keepdim=True), torch.where(missingness, x_hours, b_hours)
    return torch.where(own, x_rates, b_rates), torch.where(own, x_known, b_known) & hours


def _rates_apart(x: StayBatch, b: StayBatch, value: Tensor, missingness: Tensor) -> tuple[Tensor, Tensor]:
    """(R, T, C) rates and which are known, each channel as if it were a variable."""
    assert x.vis is not None
    assert b.vis is not None
    known_x, known_b = _known(x), _known(b)
    return _latent(x.vis, known_x, b.vis, known_b, value), torch.where(missingness, known_x, known_b)


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
