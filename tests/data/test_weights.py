"""Who was not weighed weighs what the training stays of the same sex do: never the others, and exactly in proportion."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.audit import audit
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.weights import UsualWeight
from icu_lightning.errors import NotFittedError
from tests.conftest import settings
from tests.data.in_memory import InMemory, infusion, stays

N = 80
MALE, FEMALE = 96.0, 64.0


def module(how="mean", male=MALE, **changes):
    """Norepinephrine at 8 ug/min in stays that were weighed, but for every tenth; the men of the test stays weigh 200 kg."""
    ids = range(1, N + 1)
    sex = ["male" if i % 2 else "female" for i in ids]
    weight = [None if i % 10 < 2 else male if i % 2 else FEMALE for i in ids]
    died = [i % 3 == 0 for i in ids]
    people = stays(*ids, sex=sex, weight_kg=weight, died_in_hospital=died)
    runs = [infusion(i, "norepinephrine", 2.0, 4.0, 8.0, unit="mcg/min", typed=True) for i in ids]
    source = InMemory([(i, 1.0, "heart_rate", 80.0 + i % 5) for i in ids], runs, people=people)
    source.open_data = False
    chosen = settings(variables=["heart_rate"], cohort=["age_known"], vis=how, static=["age"], **changes)
    data = ICUDataModule(source, chosen, say=lambda _: None)
    data.setup()
    return data


def norepinephrine(data, hour=2):
    every = pl.Series([True] * data.stays.height)
    return np.expm1(data.treatments(every)[:, hour, 3])


@pytest.mark.parametrize("how", ["mean", "max", "last"])
def test_an_unknown_weight_is_the_median_of_its_sex(how):
    data = module(how)
    assert data.usual_weight.state() == {"female": FEMALE, "male": MALE, "unknown": pytest.approx(80, abs=16)}
    usual = np.where(data.stays["sex"] == "male", MALE, FEMALE)
    assert norepinephrine(data) == pytest.approx(8 / usual, rel=1e-6)
    assert norepinephrine(data, hour=5) == pytest.approx(np.zeros(N), abs=1e-9)
    assumed = data.cleaning.filter(pl.col("variable") == "norepinephrine")["assumed_weight"].item()
    assert assumed == data.stays["weight_kg"].null_count() == N // 5


def test_the_weights_of_validation_and_test_stays_are_not_used():
    data = module()
    others = pl.col("split") != "train"
    heavier = data.stays.with_columns(
        weight_kg=pl.when(others & pl.col("weight_kg").is_not_null()).then(200.0).otherwise("weight_kg")
    )
    again = UsualWeight().fit(heavier.filter(pl.col("split") == "train"))
    assert again.state() == data.usual_weight.state()
    assert {check["name"]: check["passed"] for check in audit(data)["checks"]}["fitted on train only"]
    data.usual_weight.fit(heavier)
    assert not {check["name"]: check["passed"] for check in audit(data)["checks"]}["fitted on train only"]


def test_a_trained_model_takes_its_own_stays_weights_elsewhere():
    trained, elsewhere = module(), module(male=120.0)
    other = ICUDataModule(elsewhere.source, elsewhere.settings, say=lambda _: None)
    other.apply(trained.state())
    unweighed = other.stays["weight_kg"].is_null() & (other.stays["sex"] == "male")
    assert norepinephrine(other)[unweighed.to_numpy()] == pytest.approx(8 / MALE, rel=1e-6)
    other.apply(trained.state() | {"usual_weight": None})
    assert norepinephrine(other)[unweighed.to_numpy()] == pytest.approx(8 / 80, rel=1e-6), "a model of before"


def test_an_extract_from_the_cache_is_the_same(tmp_path):
    built, kept = (module(cache_dir=str(tmp_path)) for _ in range(2))
    assert np.array_equal(built.extract.assumed, kept.extract.assumed)
    assert np.array_equal(norepinephrine(built), norepinephrine(kept))
    assert list(tmp_path.glob("*/assumed.npy"))


def test_nobody_weighed_or_nothing_fitted():
    people = stays(1, 2, sex=["male", None], weight_kg=[None, 900.0])
    assert UsualWeight().fit(people).of(people).tolist() == [80.0, 80.0]
    with pytest.raises(NotFittedError):
        UsualWeight().of(people)
    with pytest.raises(NotFittedError):
        UsualWeight().state()
    assert dataclasses.asdict(UsualWeight({"male": 90.0})) == {"medians": {"male": 90.0}}
