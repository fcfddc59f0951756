"""The explained stays stand for their split, the background for the training stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icu_lightning.explanation.sample import FEWEST, background_stays, explained_stays
from tests.explanation.conftest import made_up


def with_deaths(n, deaths):
    return replace(made_up(n, 1), label=(torch.arange(n) < deaths).float())


@pytest.mark.parametrize(
    ("n", "deaths", "asked"),
    [(300, 30, 40), (300, 6, 40), (300, 3, 40), (300, 0, 40), (30, 29, 20), (8, 2, 40), (50, 10, 1)],
)
def test_the_explained_stays(n, deaths, asked):
    stays = with_deaths(n, deaths)
    rows, weight = explained_stays(stays, asked, seed=0)
    died = stays.label[torch.from_numpy(rows)].numpy() == 1
    assert len(rows) == len(set(rows)) == min(n, asked)
    assert (np.diff(rows) > 0).all()
    assert died.sum() >= min(deaths, FEWEST, asked // 2)
    if died.any() and not died.all():
        assert weight[died].sum() == pytest.approx(deaths)
        assert weight[~died].sum() == pytest.approx(n - deaths)
    assert np.array_equal(rows, explained_stays(stays, asked, seed=0)[0])
    if 1 < asked < n:  # of one stay, two seeds may draw the same
        assert not np.array_equal(rows, explained_stays(stays, asked, seed=1)[0])


def test_the_background_has_nearly_the_mean_risk_of_all():
    stays = made_up(500, 3)

    def risk(batch):
        return torch.sigmoid(batch.static[:, 0] * 2 - 2).double().numpy()

    every = risk(stays)
    means = [every[background_stays(risk, stays, 8, pool=500, seed=s)].mean() for s in range(50)]
    at_random = [np.random.default_rng(s).choice(every, 8).mean() for s in range(50)]
    assert np.mean(means) == pytest.approx(every.mean(), abs=0.01)
    assert np.std(means) < np.std(at_random) / 2
    assert len(set(background_stays(risk, stays, 8, pool=3, seed=0))) == 8
    assert len(background_stays(risk, stays[:5], 8, pool=100, seed=0)) == 5
