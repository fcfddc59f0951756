"""What a budget pays for."""

from dataclasses import replace

import pytest

from icu_lightning.errors import UserError
from icu_lightning.explanation.game import DRUGS, Players, affordable
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
        affordable(SHAPE, 27, 8, "apart")
    assert affordable(SHAPE, 28, 8, "apart")[1] == 1
    assert affordable(SHAPE, 24, 8)[1] == 1, "drugs and score have one value and one missingness less"


def test_blocks_cover_the_window_once():
    shape = replace(SHAPE, hours=7)
    players = Players(shape, 3)
    blocks = [(p.first, p.end) for p in players.all if p.kind == "value" and p.feature == "lactate"]
    assert blocks == [(0, 3), (3, 6), (6, 7)]
    assert sorted({*players.value.flatten(), *players.missingness, *players.static, players.in_icu}) == list(
        range(len(players))
    )


def test_drugs_and_their_score_are_one_feature_or_one_each():
    together, apart = Players(SHAPE, 3), Players(SHAPE, 3, "apart")
    assert [p.feature for p in together.all if p.kind == "missingness"] == [*SHAPE.variables, DRUGS]
    assert [p.feature for p in apart.all if p.kind == "missingness"] == [*SHAPE.variables, *SHAPE.vis]
    n = len(SHAPE.variables)
    assert (together.value[:, n] == together.value[:, n + 1]).all()
    assert together.missingness[n] == together.missingness[n + 1]
    assert len(apart) == len(together) + 3, "two blocks and a missingness"
    assert len(together.tree) == n + 1 + 3 + 1
    none = replace(SHAPE, vis=())
    assert [p.feature for p in Players(none, 3).all] == [p.feature for p in Players(none, 3, "apart").all]
