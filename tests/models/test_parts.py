"""What does not go together is told by names, before torch is loaded, in the words in which the parts refuse it."""

import subprocess
import sys

import pytest

from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.errors import UserError
from icu_lightning.models import parts
from icu_lightning.models.parts import EXTRAS, check_parts
from tests.conftest import CONF, composed

IMPUTERS = sorted(path.stem for path in (CONF / "imputer").glob("*.yaml"))


def refusal(model) -> str:
    with pytest.raises(UserError) as told:
        check_parts(model)
    return str(told.value)


@pytest.mark.parametrize("imputer", [name for name in IMPUTERS if name not in ("brits", "pypots")])
def test_the_head_of_brits_is_refused_with_any_other_imputer_in_the_same_words(imputer):
    model = composed("model=two_stage", f"imputer={imputer}", "predictor=brits").plain["model"]
    with pytest.raises(UserError) as built_first:
        built(model, shape=BatchShape(6, ("a", "b"), ()))
    assert refusal(model) == str(built_first.value)
    check_parts(model | {"imputer": model["imputer"] | {"_target_": "mine.BRITS"}})  # its own class decides


def test_what_goes_together_is_let_through():
    for words in (["model=two_stage", "imputer=brits", "predictor=brits"], ["model=two_stage"], ["model=focal_lstm"]):
        check_parts(composed(*words).plain["model"])


USERS = (("model=two_stage", "imputer=pypots"), ("model=lightgbm",), ("model=two_stage", "predictor=lightgbm"))


@pytest.mark.parametrize("words", USERS)
def test_a_package_that_is_missing_is_told_in_the_same_words(words, monkeypatch):
    model = composed(*words).plain["model"]
    for _, package, _ in EXTRAS.values():
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "pypots.imputation", None)
    with pytest.raises(UserError) as built_first:
        built(model, shape=BatchShape(6, ("a", "b"), ()))
    assert refusal(model) in str(built_first.value)
    monkeypatch.setattr(parts, "find_spec", lambda name: name)
    check_parts(model)


def test_it_is_told_without_torch():
    code = "import sys; import icu_lightning.models.parts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_tells_it_before_its_data_are_read(cli, tmp_path):
    done = cli("model=two_stage", "imputer=knn", "predictor=brits", "data=eicu", f"data.root={tmp_path}/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: predictor=brits is a head of imputer=brits")
    assert not (tmp_path / "work" / "runs").exists() or not list((tmp_path / "work" / "runs").rglob("config.yaml"))
