"""Laws of attributions: they add up, they are right where the right ones are known, and they depend on nothing else."""

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
import shap
import torch
from torch import nn

from icu_lightning.explanation.game import Players, random_order
from icu_lightning.explanation.mixture import carried, mixed
from tests.explanation.conftest import SHAPE, made_up, of

TIGHT = 1e-9


class SmallTransformer(nn.Module):
    """Tokens of values, mask and hours since; a stay's risk by attention over its hours."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(3 * SHAPE.n_variables + len(SHAPE.vis), 16)
        self.encoder = nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=32, dropout=0.0, batch_first=True)
        self.out = nn.Linear(16 + SHAPE.n_static, 1)

    @torch.no_grad()
    def forward(self, batch):
        tokens = torch.cat([batch.values, batch.observed.float(), batch.hours_since / 6, batch.vis], 2).double()
        state = self.encoder(self.embed(tokens), src_key_padding_mask=~batch.in_icu).mean(1)
        return torch.sigmoid(self.out(torch.cat([state, batch.static.double()], 1))).squeeze(1)


def transformer():
    return SmallTransformer().double().eval()


def drawing(batch):
    """Risks of a model that draws: noise keyed by the stay's id, as every model of ours promises."""
    noise = np.array([np.random.default_rng(int(i)).normal(size=16) for i in batch.stay_id])
    logit = batch.values.sum((1, 2)).double().unsqueeze(1) + torch.from_numpy(noise)
    return torch.sigmoid(logit).mean(1)


@pytest.mark.parametrize("make", [transformer, lambda: drawing], ids=["transformer", "drawing"])
@pytest.mark.parametrize(("block", "drugs"), [(1, "apart"), (4, "together"), (6, "apart"), (6, "together")])
def test_attributions_and_base_value_add_up_to_the_prediction(make, block, drugs, attributed, stays):
    risk = make()
    explanation, _ = attributed(risk, block=block, drugs=drugs)
    total = explanation.base_values + explanation.values.sum(1)
    assert np.abs(total - risk(stays).numpy()).max() < TIGHT
    assert np.abs(explanation.values).max() > 0.001


def test_the_base_value_is_the_backgrounds_mean_risk(attributed, background):
    risk = transformer()
    explanation, _ = attributed(risk)
    assert explanation.base_values == pytest.approx(risk(background).mean().item(), abs=TIGHT)


def test_a_linear_models_values_are_those_of_the_formula(attributed, stays, background):
    """Cell by cell, w u o with two players u and o: (u_x - u_b)(o_x + o_b) / 2 to the value, (o_x - o_b)(u_x + u_b) / 2 to the
    missingness; w (x - mean of b) to a static feature. Exact, because no three players interact."""
    g = torch.Generator().manual_seed(3)
    w = torch.randn(SHAPE.hours, SHAPE.n_variables, generator=g).double()
    w_static = torch.randn(SHAPE.n_static, generator=g).double()
    explanation, players = attributed(lambda b: (b.values * w).sum((1, 2)) + b.static.double() @ w_static)
    b_last, _ = carried(background.values, background.observed)
    for i in range(len(stays)):
        x_last, has = carried(stays.values[i : i + 1], stays.observed[i : i + 1])
        u_x, u_b = torch.where(has, x_last, b_last).double(), b_last.double()
        o_x, o_b = stays.observed[i : i + 1].double(), background.observed.double()
        value = (w * (u_x - u_b) * (o_x + o_b) / 2).mean(0).numpy()  # (T, V)
        missing = (w * (o_x - o_b) * (u_x + u_b) / 2).mean(0).sum(0).numpy()  # (V)
        static = (w_static * (stays.static[i] - background.static).double()).mean(0).numpy()  # (S)
        expected = np.zeros(len(players))
        np.add.at(expected, players.value[:, : SHAPE.n_variables], value)
        np.add.at(expected, players.missingness[: SHAPE.n_variables], missing)
        np.add.at(expected, players.static, static)
        assert explanation.values[i] == pytest.approx(expected, abs=1e-6)


def test_a_feature_that_the_model_ignores_gets_nothing(attributed):
    explanation, players = attributed(
        lambda b: torch.sigmoid(b.values[..., 0].sum(1) * b.static[:, 0] + b.observed[..., 0].sum(1))
    )
    assert np.abs(of(explanation, players, feature="heart_rate")).max() > 0.01
    for name in {p.feature for p in players.all} - {"heart_rate", "age"}:
        assert np.abs(of(explanation, players, feature=name)).max() < TIGHT, name


def test_a_model_of_what_was_measured_gives_all_to_missingness(attributed):
    explanation, players = attributed(lambda b: torch.sigmoid((b.observed.float() - b.hours_since / 6).sum((1, 2))))
    assert np.abs(of(explanation, players, "missingness")).max() > 0.01
    others = [i for i, p in enumerate(players.all) if p.kind != "missingness"]
    assert np.abs(explanation.values[:, others]).max() < TIGHT


def test_a_model_of_values_alone_gives_nothing_to_missingness(attributed, stays, background):
    """It reads hours that everybody has measured; the patterns of the other hours differ."""
    for batch in (stays, background):
        batch.observed[:, 2] = True
        batch.values[:, 2] = torch.randn(batch.values[:, 2].shape, generator=torch.Generator().manual_seed(len(batch)))
    assert (stays.observed[:4] != background.observed).any()
    explanation, players = attributed(
        lambda b: torch.sigmoid(b.values[:, 2].double().prod(1) + b.values[:, 2].double().sum(1))
    )
    assert np.abs(of(explanation, players, "value")).max() > 0.01
    assert np.abs(of(explanation, players, "missingness")).max() < TIGHT
    elsewhere = [i for i, p in enumerate(players.all) if not p.first <= 2 < p.end]
    assert np.abs(explanation.values[:, elsewhere]).max() < TIGHT


def test_a_variable_that_was_never_measured_moves_the_risk_by_its_missingness_alone(attributed, stays):
    observed = stays.observed.clone()
    observed[:, :, 1] = False
    never = replace(stays, observed=observed, values=torch.where(observed, stays.values, 0.0))
    explanation, players = attributed(transformer(), stays=never)
    assert np.abs(of(explanation, players, "value", "lactate")).max() == 0
    assert np.abs(of(explanation, players, "missingness", "lactate")).max() > 1e-4


def repeated(stay, n):
    """The one stay under n ids: each id has random orders of its own."""
    return replace(stay[torch.zeros(n, dtype=torch.int64)], stay_id=np.arange(n))


def close_on_average(estimates, exact, within):
    """(n, ...) estimates: their mean is `exact` up to chance, and chance is less than `within`."""
    error = np.abs(np.mean(estimates, axis=0) - exact)
    sampling = np.std(estimates, axis=0) / np.sqrt(len(estimates))
    return (error <= 4 * sampling + TIGHT).all() and sampling.max() < within


def test_features_that_are_alike_get_alike(attributed, stays, background):
    """Lactate is made a copy of the heart rate, in a model where the two count the same and interact."""
    for batch in (stays, background):
        for part in (batch.values, batch.observed):
            part[..., 1] = part[..., 0]

    def risk(batch):
        rate, lactate = batch.values.double().sum(1)[:, :2].T
        return torch.sigmoid(rate * lactate + batch.observed[..., :2].sum((1, 2)) - 3)

    explanation, players = attributed(risk, stays=repeated(stays[:1], 200))
    first, second = (of(explanation, players, feature=name) for name in ("heart_rate", "lactate"))
    assert np.abs(first).mean() > 0.01
    assert close_on_average(first - second, 0.0, within=0.005)


def owen_by_enumeration(risk, players, stay, background):
    """(M) mean marginal worth over every order in which groups stay together."""

    def orders(node):
        if isinstance(node, int):
            return [[node]]
        found = []
        for children in permutations(node):
            partial = [[]]
            for child in children:
                partial = [head + tail for head in partial for tail in orders(child)]
            found += partial
        return found

    m, every = len(players), np.array(orders(players.tree))
    present = torch.arange(2**m).unsqueeze(1).bitwise_and(2 ** torch.arange(m)) > 0  # every set of players
    each = [mixed(players, stay, background, torch.full((2**m,), k), present) for k in range(len(background))]
    worth = np.mean([risk(batch).double().numpy() for batch in each], axis=0)
    sets = np.cumsum(2**every, axis=1)  # who is there after each arrival
    step = np.diff(worth[np.pad(sets, ((0, 0), (1, 0)))], axis=1)
    return np.array([step[every == i].mean() for i in range(m)])


SMALL = replace(SHAPE, variables=("heart_rate", "lactate"), static=("age",), vis=())


def small(n, seed):
    return replace(made_up(n, seed, SMALL), static=made_up(n, seed).static[:, :1], vis=None, vis_observed=None)


def entangled(batch):
    """Many players interact."""
    return torch.sigmoid(batch.values.sum((1, 2)) * batch.observed.float().mean((1, 2)) * (2 + batch.static[:, 0]))


@pytest.mark.parametrize("block", [2, 3])
def test_the_mean_over_orders_is_the_owen_value(block, attributed):
    """Against every order of a small game, by brute force."""
    x, b = small(1, 5), small(2, 6)
    exact = owen_by_enumeration(entangled, Players(SMALL, block), x, b)
    estimates, _ = attributed(entangled, repeated(x, 300), b, block=block, shape=SMALL)
    assert np.abs(exact).max() > 0.1
    assert close_on_average(estimates.values, exact, within=0.01)


def test_a_variables_share_does_not_depend_on_how_its_hours_are_cut():
    x, b = small(1, 5), small(2, 6)
    totals = []
    for block in (2, 3, 6):
        players = Players(SMALL, block)
        exact = owen_by_enumeration(entangled, players, x, b)
        shares: dict = {}
        for player, phi in zip(players.all, exact, strict=True):
            shares[player.feature, player.kind] = shares.get((player.feature, player.kind), 0.0) + phi
        totals.append(shares)
    assert totals[0] == pytest.approx(totals[1], abs=TIGHT)
    assert totals[0] == pytest.approx(totals[2], abs=TIGHT)


def test_without_groups_it_is_shaps_own_value(attributed):
    """Static features only: no groups, so the Owen value is the Shapley value, which shap enumerates."""
    x, b, one = made_up(1, 7), made_up(5, 8), made_up(1, 1)

    def risk(batch):
        age, female, unknown, micu = batch.static.double()[:, [0, 1, 3, 4]].T
        return torch.sigmoid(age * (1 + female) + 2 * age * unknown * (1 + 3 * micu) - 2 * micu)

    def of_codes(z):  # age, sex, unit type as numbers
        static = np.zeros((len(z), 6))
        static[:, 0] = z[:, 0]
        static[np.arange(len(z)), 1 + z[:, 1].astype(int)] = 1
        static[np.arange(len(z)), 4 + z[:, 2].astype(int)] = 1
        return risk(replace(one[torch.zeros(len(z), dtype=torch.int64)], static=torch.from_numpy(static))).numpy()

    def codes(batch):
        static = batch.static
        return torch.stack([static[:, 0], static[:, 1:4].argmax(1), static[:, 4:].argmax(1)], 1).double().numpy()

    exact = shap.KernelExplainer(of_codes, codes(b)).shap_values(codes(x), silent=True, l1_reg=False)[0]  # all 8 sets
    estimates, players = attributed(risk, repeated(x, 100), b)
    ours = np.stack([of(estimates, players, feature=name) for name in ("age", "sex", "unit_type")], axis=1)
    assert np.abs(exact).max() > 0.1
    assert close_on_average(ours, exact, within=0.005)


def test_the_same_seed_gives_the_same_and_another_does_not(attributed):
    first, second, other = (attributed(entangled, seed=s)[0].values for s in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_numpys_global_generator_is_left_alone(attributed):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    attributed(entangled)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_a_stays_attributions_do_not_depend_on_the_stays_beside_it(attributed, stays):
    risk = transformer()
    together, _ = attributed(risk)
    order = [4, 0, 5]
    some, _ = attributed(risk, stays=stays[torch.tensor(order)])
    assert np.abs(some.values - together.values[order]).max() < TIGHT


def test_the_players_of_a_category_are_one():
    players = Players(SHAPE, 2)
    assert [p.feature for p in players.all if p.kind == "static"] == ["age", "sex", "unit_type"]
    assert len(set(players.static[1:4])) == 1


def test_every_order_keeps_groups_together():
    players, random = Players(SHAPE, 2), np.random.default_rng(0)
    firsts = []
    for _ in range(200):
        order = random_order(players.tree, random)
        assert sorted(order) == list(range(len(players)))
        features = [players.all[i].feature for i in order]
        changes = sum(a != b for a, b in pairwise(features))
        assert changes == len(set(features)) - 1
        firsts.append(features[0])
    assert len(set(firsts)) == len(set(features)), "each group comes first at times"
