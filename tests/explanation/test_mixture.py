"""Every mixture is a batch that could have been, and its two ends are the stay and the background stay."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from icu_lightning.batch import hours_since_last
from icu_lightning.data.drugs import all_drugs
from icu_lightning.data.vis import vis
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


DRUGS = [all_drugs()[name] for name in ("dopamine", "norepinephrine")]
TREATED = replace(SHAPE, vis=(*(drug.name for drug in DRUGS), "vis"))
MEAN, SD = np.array([0.4, 0.1, 1.2]), np.array([0.7, 0.2, 1.5])


def treated(n, seed, unknown=0.4):
    """Stays and their raw channels (n, T, 3), NaN where unknown: each drug's rate by itself, the score where both are known."""
    random, batch = np.random.default_rng(seed), made_up(n, seed, TREATED)
    rates = np.exp(random.normal(size=(n, TREATED.hours, 2)))
    rates[random.random(rates.shape) < unknown] = np.nan
    rates[random.random(rates.shape[:2]) < unknown] = np.nan
    rates[0, [0, 3]] = np.nan  # no hour yet, and a gap
    rates[~batch.in_icu.numpy()] = np.nan
    raw = np.concatenate([rates, vis(rates, DRUGS)[..., None]], axis=2)
    z = (np.log1p(raw) - MEAN) / SD
    return replace(batch, vis=torch.from_numpy(np.nan_to_num(z)), vis_observed=torch.from_numpy(np.isfinite(z))), raw


@pytest.mark.parametrize("block", [1, 2, 6])
def test_a_score_is_its_drugs_own_where_only_some_of_an_hours_rates_are_known(block):
    """Back in the drugs' units: one unknown rate makes a score unknown, in every mixture as in the data."""
    (stays, raw), (background, _) = treated(6, 1), treated(4, 2)
    some = np.isfinite(raw[0, :, :2]).sum(1)
    assert {0, 1, 2} <= set(some), "a stay that has hours of each kind"

    def agrees(drugs):
        players = Players(TREATED, block, drugs)
        batch, _, _ = mixtures(players, stays, background, rows=2000)
        shown = np.where(batch.vis_observed.numpy(), np.expm1(batch.vis.numpy() * SD + MEAN), np.nan)
        assert np.isfinite(shown[..., 2]).any()
        return np.allclose(shown[..., 2], vis(shown[..., :2], DRUGS), rtol=1e-12, atol=0, equal_nan=True)

    assert agrees("together")
    assert not agrees("apart")


@pytest.mark.parametrize("block", [1, 2, 6])
def test_all_drugs_of_an_hour_are_those_of_the_last_hour_with_any_of_the_stay_whose_values_it_has(block):
    """Hour by hour, without tensors; the hours themselves are those of the stay whose missingness it has."""
    (stays, _), (background, _) = treated(6, 1), treated(4, 2)
    players, kinds = Players(TREATED, block), set()
    batch, which, present = mixtures(players, stays, background)
    v = SHAPE.n_variables  # the first channel; the others have the same players
    for r, b in enumerate(which):
        pair = [(background, b), (stays, 0)]  # absent, present
        any_known = [source.vis_observed[i].any(1) for source, i in pair]
        for t in range(TREATED.hours):
            wanted = bool(present[r, players.value[t, v]])
            own = wanted and bool(any_known[1][: t + 1].any())
            before = any_known[own][: t + 1].nonzero().flatten()
            hours = any_known[present[r, players.missingness[v]]]
            rates, known = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.bool)
            if hours[t] and batch.in_icu[r, t] and len(before):
                source, i = pair[own]
                rates, known = source.vis[i, before[-1]], source.vis_observed[i, before[-1]]
            assert torch.equal(batch.vis[r, t], rates)
            assert torch.equal(batch.vis_observed[r, t], known)
            kinds.add((wanted, own, bool(hours[t]), len(before) > 0, int(known.sum())))
    assert {(own, own, True, True, k) for own in (True, False) for k in (1, 3)} <= kinds
    assert {(True, False, True, True, k) for k in (1, 3)} <= kinds, "before the stay has any"
    assert (False, False, True, False, 0) in kinds, "the stay's hours, before the background stay has any"


@pytest.mark.parametrize("drugs", ["together", "apart"])
def test_partly_known_rates_keep_the_two_ends(drugs):
    stays, background = treated(6, 1)[0], treated(4, 2)[0]
    players, which = Players(TREATED, 2, drugs), torch.arange(len(background))
    for all_present, expected in ((True, stays[torch.zeros_like(which)]), (False, background)):
        batch = mixed(players, stays[:1], background, which, torch.full((len(which), len(players)), all_present))
        assert torch.equal(batch.vis, expected.vis)
        assert torch.equal(batch.vis_observed, expected.vis_observed)


@pytest.mark.parametrize("drugs", ["together", "apart"])
def test_players_of_partly_known_rates_without_effect(drugs):
    """Background stays that are another, have the stay's rates for some hours, and have all but one hour's drug and score."""
    (stays, raw), (background, _) = treated(6, 1), treated(4, 2)
    full = int(np.isfinite(raw[0]).all(1).nonzero()[0][0])
    stays.vis[0, full, 1:] = 0  # so that only what is known tells this hour from its twin's
    own = stays[torch.zeros(4, dtype=torch.int64)]
    first = torch.arange(TREATED.hours).view(1, -1, 1) < torch.tensor([0, 3, 0, 6]).view(-1, 1, 1)
    known = torch.where(first, own.vis_observed, background.vis_observed & own.in_icu.unsqueeze(2))
    known[3, full, 1:] = False
    rates = torch.where(known, torch.where(first, own.vis, background.vis), 0.0)
    check_effective(
        Players(TREATED, 1, drugs), stays, replace(background, in_icu=own.in_icu, vis=rates, vis_observed=known)
    )


def test_a_player_without_effect_changes_no_mixture_and_the_others_change_one(stays, background):
    """Stays that share a lot, so that there are players of both kinds."""
    twin = replace(background, observed=stays.observed[:4].clone(), in_icu=stays.in_icu[:4], static=stays.static[:4])
    twin.observed[:, :3, 0] = False
    players = Players(SHAPE, 2)
    twin = replace(twin, values=torch.where(twin.observed, stays.values[:4], 0.0))
    check_effective(players, stays, twin)


def check_effective(players, stays, background):
    """Of every background stay: a player is without effect if it changes none of 100 mixtures."""
    able = effective(players, stays[:1], background)
    assert able.any()
    assert not able.all()
    g = torch.Generator().manual_seed(0)
    for k in range(len(background)):
        for i in range(len(players)):
            without = torch.rand(100, len(players), generator=g) < 0.5
            without[:, i] = False
            with_it = without.clone()
            with_it[:, i] = True
            which = torch.full((100,), k)
            pair = [mixed(players, stays[:1], background, which, present) for present in (without, with_it)]
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
