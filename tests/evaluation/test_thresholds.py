"""The F1 threshold: the best of all, found by brute force."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from icu_lightning.evaluation.thresholds import f1_threshold


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    risk = rng.random(120).round(1 if seed % 2 else 4)
    label = (rng.random(120) < risk).astype(float)
    best = max(f1_score(label, risk >= t) for t in np.unique(risk))
    assert f1_score(label, risk >= f1_threshold(label, risk)) == pytest.approx(best)


def test_flagging_everybody_can_be_best_and_needs_a_threshold_below_all():
    threshold = f1_threshold(np.array([1.0, 1, 0]), np.array([0.2, 0.4, 0.3]))
    assert 0 < threshold < 0.2


def test_without_deaths_there_is_nothing_to_choose():
    assert f1_threshold(np.zeros(3), np.array([0.1, 0.2, 0.3])) == 0.5
