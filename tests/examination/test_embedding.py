"""The embedding's figure: bounded, deterministic, and silent about nothing."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from icu_lightning.examination.embedding import (
    embedding,
    embedding_figure,
    neighbourhoods,
    principal_components,
    represented,
)
from icu_lightning.plots.sheet import Facts

FACTS = Facts(about="whose they are", synthetic=True)


@pytest.fixture
def clouds():
    """Two clouds of 40 points, far apart in 6 dimensions, and which is whose."""
    rng = np.random.default_rng(0)
    whose = np.repeat([0, 1], 40)
    return rng.normal(size=(80, 6)) + 12 * whose[:, None], whose


def test_components_are_scikit_learns_and_clouds_stay_apart(clouds):
    x, whose = clouds
    scores, shares = principal_components(x)
    reference = PCA(2).fit(x)
    assert np.allclose(np.abs(scores), np.abs(reference.transform(x)))
    assert np.allclose(shares, reference.explained_variance_ratio_)
    points = neighbourhoods(x, scores, seed=3)
    away = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(away, np.inf)
    assert (whose[away.argmin(1)] == whose).all()
    assert np.array_equal(points, neighbourhoods(x, scores, seed=3)), "the same seed, the same map"


def test_one_dimension_is_drawn_on_a_line():
    x = np.arange(12.0)[:, None]
    scores, shares = principal_components(x)
    assert np.ptp(scores[:, 0]) == pytest.approx(11)
    assert not scores[:, 1].any()
    assert shares.tolist() == [1.0, 0.0]


def test_a_model_without_an_embedding_is_drawn_by_what_it_is_shown(it):
    x, what = represented(it.model, it.data.test)
    assert x.shape == (len(it.test), 2 * it.data.shape.n_variables)
    assert "the model has no embedding" in what
    figure = embedding_figure(embedding(it, 40, 0, FACTS))
    said = " ".join(text.get_text() for text in figure.texts)
    assert f"40 of {len(it.test)} test stays, by lot. Drawn is mean of each variable" in said
    offsets = [sum(len(dots.get_offsets()) for dots in axes.collections) for axes in figure.axes[:4]]
    assert offsets == [40] * 4


def test_its_own_embedding_is_what_is_drawn(it):
    class Model:
        def embed(self, batch):
            return batch.values.mean(1)

    x, what = represented(Model(), it.data.test)
    assert np.allclose(x, it.data.test.values.mean(1))
    assert what == "the model's own representation of a stay"


def test_too_few_stays_or_stays_all_alike_are_not_drawn(it):
    class Blind:
        def embed(self, batch):
            return torch.ones(len(batch), 3)

    assert embedding(it, 9, 0, FACTS) is None
    assert embedding(dataclasses.replace(it, model=Blind()), 40, 0, FACTS) is None
