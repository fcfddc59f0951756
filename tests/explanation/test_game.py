"""What a budget pays for."""

from dataclasses import replace

import pytest

from icu_lightning.errors import UserError
from icu_lightning.explanation.game import Players, affordable
from tests.explanation.conftest import SHAPE


@pytest.mark.parametrize("evaluations", [60, 200, 300, 500, 1000, 5000])
@pytest.mark.parametrize("background", [1, 3, 8])
def test_the_cost_of_a_stay_is_within_its_evaluations_and_more_of_them_give_shorter_blocks(evaluations, background):
    players, n = affordable(SHAPE, evaluations, background)
    assert 2 * len(players) * n <= evaluations
    assert 1 <= n <= background
    assert SHAPE.hours % players.block == 0
    if players.block > 1:
        finer = Players(SHAPE, max(b for b in range(1, players.block) if SHAPE.hours % b == 0))
        assert 2 * len(finer) * background > evaluations, "no shorter block would have done"
    else:
        assert n == background


def test_too_few_evaluations_are_told_with_the_least_that_does():
    with pytest.raises(UserError, match="one background stay alone costs 28, 8 cost 224"):
        affordable(SHAPE, 27, 8)
    assert affordable(SHAPE, 28, 8)[1] == 1


def test_blocks_cover_the_window_once():
    shape = replace(SHAPE, hours=7)
    players = Players(shape, 3)
    blocks = [(p.first, p.end) for p in players.all if p.kind == "value" and p.feature == "lactate"]
    assert blocks == [(0, 3), (3, 6), (6, 7)]
    assert sorted({*players.value.flatten(), *players.missingness, *players.static, players.in_icu}) == list(
        range(len(players))
    )
