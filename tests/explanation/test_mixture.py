"""Every mixture is a batch that could have been, and its two ends are the stay and the background stay."""

from dataclasses import fields, replace

import pytest
import torch

from icu_lightning.batch import hours_since_last
from icu_lightning.explanation.game import Players
from icu_lightning.explanation.mixture import carried, effective, mixed
from tests.explanation.conftest import SHAPE, made_up

SEEN = ("values", "observed", "hours_since", "static", "in_icu", "vis", "vis_observed")


@pytest.fixture(params=[(1, "apart"), (2, "together"), (4, "apart"), (6, "together")], ids=str)
def players(request):
    return Players(SHAPE, *request.param)


def mixtures(players, stays, background, rows=200):
    g = torch.Generator().manual_seed(0)
    present = torch.rand(rows, len(players), generator=g) < 0.5
    which = torch.randint(0, len(background), (rows,), generator=g)
    return mixed(players, stays[:1], background, which, present), which, present


def test_all_present_is_the_stay_and_none_is_the_background(players, stays, background):
    which = torch.arange(len(background))
    for worth, expected in ((True, stays[torch.zeros_like(which)]), (False, background)):
        batch = mixed(players, stays[:1], background, which, torch.full((len(which), len(players)), worth))
        for name in SEEN:
            assert torch.equal(getattr(batch, name), getattr(expected, name)), name


def test_ids_labels_and_what_is_held_out_stay_the_stays_own(players, stays, background):
    hidden = replace(stays, held_out=~stays.observed)
    batch, _, _ = mixtures(players, hidden, background)
    assert (batch.stay_id == stays.stay_id[0]).all()
    assert (batch.patient_id == stays.patient_id[0]).all()
    assert (batch.label == stays.label[0]).all()
    assert torch.equal(batch.held_out, hidden.held_out[torch.zeros(len(batch), dtype=torch.int64)])
    assert not (batch.held_out & batch.observed).any()


def test_every_mixture_could_have_been(players, stays, background):
    batch, _, _ = mixtures(players, stays, background)
    assert (batch.values[~batch.observed] == 0).all()
    assert torch.equal(batch.hours_since, hours_since_last(batch.observed))
    assert (batch.vis[~batch.vis_observed] == 0).all()
    assert not (batch.vis_observed & ~batch.in_icu.unsqueeze(2)).any()
    assert (batch.static[:, 1:4].sum(1) == 1).all(), "one sex each"
    assert (batch.static[:, 4:].sum(1) == 1).all()
    assert [f.name for f in fields(batch) if getattr(batch, f.name) is None] == []


def test_a_value_comes_from_the_block_of_who_is_present_carried_to_the_hours_that_are_shown(players, stays, background):
    """Cell by cell, without tensors."""
    batch, which, present = mixtures(players, stays, background, rows=20)
    x = stays[:1]
    for r in range(20):
        b = background[which[r] : which[r] + 1]
        for v in range(SHAPE.n_variables):
            pattern = x if present[r, players.missingness[v]] else b
            for t in range(SHAPE.hours):
                assert batch.observed[r, t, v] == pattern.observed[0, t, v]
                own = [float(x.values[0, s, v]) for s in range(t + 1) if x.observed[0, s, v]]
                others = [float(b.values[0, s, v]) for s in range(t + 1) if b.observed[0, s, v]]
                latent = own if own and present[r, players.value[t, v]] else others
                shown = (latent or [0.0])[-1] if pattern.observed[0, t, v] else 0.0
                assert batch.values[r, t, v] == shown


def test_drugs_and_their_score_come_from_one_stay_in_every_hour(stays, background):
    """So that a score that is the sum of its drugs is so in every mixture, and beside drugs=apart it is not."""

    def added_up(batch):
        z = batch.vis[..., 0]
        known = batch.vis_observed.all(2, keepdim=True).expand_as(batch.vis_observed)
        return replace(batch, vis=torch.where(known, torch.stack([z, 2 * z], 2), 0.0), vis_observed=known.clone())

    def adds_up(drugs):
        players = Players(SHAPE, 2, drugs)
        batch, _, _ = mixtures(players, added_up(stays), added_up(background))
        return torch.equal(batch.vis[..., 1], 2 * batch.vis[..., 0]) and bool(
            (batch.vis_observed[..., 0] == batch.vis_observed[..., 1]).all()
        )

    assert adds_up("together")
    assert not adds_up("apart")


def test_a_player_without_effect_changes_no_mixture_and_the_others_change_one(stays, background):
    """Stays that share a lot, so that there are players of both kinds."""
    twin = replace(background, observed=stays.observed[:4].clone(), in_icu=stays.in_icu[:4], static=stays.static[:4])
    twin.observed[:, :3, 0] = False
    players = Players(SHAPE, 2)
    twin = replace(twin, values=torch.where(twin.observed, stays.values[:4], 0.0))
    able = effective(players, stays[:1], twin)
    assert able.any()
    assert not able.all()
    g = torch.Generator().manual_seed(0)
    for k in (0, 3):
        for i in range(len(players)):
            without = torch.rand(100, len(players), generator=g) < 0.5
            without[:, i] = False
            with_it = without.clone()
            with_it[:, i] = True
            which = torch.full((100,), k)
            pair = [mixed(players, stays[:1], twin, which, present) for present in (without, with_it)]
            same = all(torch.equal(getattr(pair[0], name), getattr(pair[1], name)) for name in SEEN)
            assert same != bool(able[k, i]), players.all[i]


def test_carried():
    values = torch.tensor([[[0.0], [5.0], [0.0], [7.0]]])
    last, has = carried(values, values != 0)
    assert last.flatten().tolist() == [0, 5, 5, 7]
    assert has.flatten().tolist() == [False, True, True, True]


def test_no_rates_no_players_of_rates():
    shape = replace(SHAPE, vis=())
    stays = replace(made_up(2, 1), vis=None, vis_observed=None)
    players = Players(shape, 3)
    assert {p.feature for p in players.all} == {*shape.variables, "age", "sex", "unit_type", "in_icu"}
    batch, _, _ = mixtures(players, stays, replace(made_up(3, 2), vis=None, vis_observed=None))
    assert batch.vis is None
