"""Averages of risks: ranks by validation stays, each model counting once, and nothing learnt from the stays that are scored."""

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from scipy.stats import rankdata

from icu_lightning.evaluation.averages import WAYS, averaged, rank
from icu_lightning.evaluation.predictions import SUBGROUPS

N, VAL = 300, 80


def mean_of(models, by) -> pl.DataFrame:
    return averaged(models, by)[0]


def predicted(seed: int, sharpness: float = 1.0) -> pl.DataFrame:
    """Predictions of N stays, VAL of them validation; every seed sees another noise."""
    world, own = np.random.default_rng(0), np.random.default_rng(seed)
    label = (world.random(N) < 0.3).astype(float)
    risk = expit(sharpness * (2 * label - 1 + own.normal(size=N)))
    none = pl.lit(None, pl.String)
    return pl.DataFrame(
        {
            "stay_id": range(N),
            "patient_id": [str(i) for i in range(N)],
            "split": ["val"] * VAL + ["test"] * (N - VAL - 20) + ["train"] * 20,
            "label": label,
            "risk_raw": risk,
            "risk": risk,
            "threshold": 0.5,
        }
    ).with_columns(*(none.alias(name) for name in ("hospital_id", *SUBGROUPS)), fold=pl.lit(None, pl.Int32))


def test_a_rank_is_that_among_validation_stays_and_no_two_become_one():
    val, score = np.random.default_rng(0).random(50), np.random.default_rng(1).random(400)
    ranks = rank(score, val)
    assert rank(val, val) == pytest.approx((rankdata(val) - 0.5) / len(val))
    order = np.argsort(score)
    assert (np.diff(ranks[order]) > 0).all()
    assert 0 < ranks.min() < ranks.max() < 1
    assert rank(np.array([0.2, 0.4]), np.array([0.2, 0.2, 0.4])).tolist() == pytest.approx([1 / 3, 5 / 6])
    assert rank(np.array([0.0, 1.0]), np.array([0.0, 1.0])).tolist() == [0.25, 0.75], (
        "a validation stay may be at either end"
    )


@pytest.mark.parametrize("by", WAYS)
def test_a_stays_average_depends_on_no_other_test_stay(by):
    members = [predicted(1), predicted(2, 3.0)]
    whole = mean_of([[m] for m in members], by)
    few = mean_of([[m.filter((pl.col("split") == "val") | (pl.col("stay_id") % 7 == 0))] for m in members], by)
    assert few["risk_raw"].to_list() == whole.join(few.select("stay_id"), on="stay_id")["risk_raw"].to_list()
    assert set(whole["split"]) == {"val", "test"}


@pytest.mark.parametrize("by", WAYS)
def test_the_average_of_a_model_with_itself_ranks_as_it_does(by):
    one = predicted(1)
    mean, alone = averaged([[one], [one]], by)
    own = one.filter(pl.col("split") != "train")["risk_raw"].to_numpy()
    assert (np.argsort(mean["risk_raw"].to_numpy()) == np.argsort(own)).all()
    assert alone == pytest.approx(np.stack([mean["risk_raw"].to_numpy()] * 2, axis=1))
    if by != "rank":
        assert mean["risk_raw"].to_numpy() == pytest.approx(own)


@pytest.mark.parametrize("by", WAYS)
def test_every_model_counts_the_same_however_many_seeds_it_has(by):
    a, b = predicted(1), predicted(2)
    assert mean_of([[a, a, a], [b]], by)["risk_raw"].to_list() == pytest.approx(
        mean_of([[a], [b]], by)["risk_raw"].to_list()
    )


def test_ranks_do_not_ask_for_the_scale_and_logits_and_risks_do():
    def share_of_first(by: str) -> float:
        """How far the average follows the first model when the second one's risks are all pressed towards one half."""
        flat = predicted(2).with_columns(risk_raw=0.5 + (pl.col("risk_raw") - 0.5) / 50)
        mean = mean_of([[predicted(1)], [flat]], by)["risk_raw"].to_numpy()
        own = predicted(1).filter(pl.col("split") != "train")["risk_raw"].to_numpy()
        return float(np.corrcoef(rankdata(mean), rankdata(own))[0, 1])

    assert share_of_first("rank") < 0.9 < share_of_first("risk")
    assert share_of_first("logit") > 0.9
    plain = mean_of([[predicted(1)], [predicted(2)]], "rank")["risk_raw"]
    pressed = mean_of([[predicted(1)], [predicted(2).with_columns(risk_raw=pl.col("risk_raw") ** 3)]], "rank")[
        "risk_raw"
    ]
    between = np.abs(plain.to_numpy() - pressed.to_numpy())
    assert between.max() < 1 / VAL, "only what is drawn between two validation stays bends"


def test_undersampled_training_is_corrected_first():
    own = predicted(1)
    corrected = own.with_columns(risk_prior=pl.col("risk_raw") / 10)
    mean = mean_of([[corrected], [corrected]], "risk")
    assert mean["risk_raw"].to_list() == pytest.approx(
        (own.filter(pl.col("split") != "train")["risk_raw"] / 10).to_list()
    )
    assert "risk_prior" not in mean.columns
