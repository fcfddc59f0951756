"""What fitting and looking at the data both begin with: the same stays and splits for both, and no torch."""

import subprocess
import sys

import numpy as np
import pytest

from icu_lightning.data.prepared import prepared, read
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.errors import UserError
from tests.conftest import composed, settings
from tests.data.in_memory import InMemory, stays


def of_synthetic(**changes):
    plain = (
        composed("model=logistic_regression", "data=synthetic").plain["data"]
        | {"stays": 200, "cache_dir": None}
        | changes
    )
    return source_and_settings(**plain)


@pytest.mark.parametrize("split", ["patient", "hospital"])
def test_a_run_and_a_description_see_the_same_stays_and_splits(split, synthetic_eicu):
    from icu_lightning.data.module import ICUDataModule

    source, chosen = EICU(synthetic_eicu), settings(split=split)
    extract, stays = prepared(source, chosen, say=print)
    module = ICUDataModule(source, chosen, seed=0)
    module.setup()
    assert stays.equals(module.stays)
    assert stays.drop("split").equals(extract.stays)
    assert np.array_equal(extract.values, module.extract.values, equal_nan=True)


def test_the_cache_is_used_and_gives_the_same(tmp_path):
    first, _ = prepared(*of_synthetic(cache_dir=str(tmp_path)), say=print)
    begun = []
    again, _ = prepared(*of_synthetic(cache_dir=str(tmp_path)), say=print, step=begun.append)
    assert not begun, "nothing is read anew"
    assert np.array_equal(first.values, again.values, equal_nan=True)


def test_unknown_outcomes_are_refused_with_the_way_out(write_eicu):
    root = write_eicu(stays=30)
    table = (root / "patient.csv").read_text()
    (root / "patient.csv").write_text(table.replace(",Alive,Alive", ",,Alive", 2))
    plain = composed("data=eicu").plain["data"] | {"root": str(root), "cache_dir": None, "cohort": ["age_known"]}
    with pytest.raises(UserError, match="stays of the cohort have an unknown outcome: add '- outcome_known"):
        prepared(*source_and_settings(**plain), say=print)


def test_stays_without_any_value_are_kept_and_said():
    source = InMemory([(1, 1.0, "heart_rate", 80.0), (2, 30.0, "heart_rate", 80.0)], people=stays(1, 2, 3))
    said = []
    got = read(source, settings(variables=["heart_rate"], cohort=["age_known"], hours=24), said.append)
    assert got.values.shape[0] == 3
    assert said == ["2 of 3 stays have no value of any variable: they are kept, all of them missing."]


def test_torch_is_not_loaded():
    code = "import sys, icu_lightning.data.prepared; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
