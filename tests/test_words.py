"""`imputer.KEY` and `predictor.KEY` are `model.imputer.KEY` and `model.predictor.KEY`, wherever Hydra is given words."""

import shlex
import sys

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from icu_lightning import run
from icu_lightning.errors import UserError
from icu_lightning.models import parts
from icu_lightning.sweep import sweeper
from icu_lightning.sweep.grids import lines_of, refuse_alone
from icu_lightning.words import in_full

LINE = "model=two_stage imputer=pypots predictor=lstm"
SHORT = "imputer.name=BRITS ++predictor.network.hidden=3 +imputer.settings.lambda_mit=2 ~imputer.usual.d_k"


@pytest.fixture
def call(monkeypatch, tmp_path):
    """A function: run what was typed, here."""

    def typed(line: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [run.__file__, *shlex.split(line)])
        run.main()

    return typed


def test_words_that_are_no_settings_of_a_part_stay():
    for word in ("imputer=knn", "-m", "model.imputer.name=x", "imputers.x=1", "data.root=imputer.x", "+imputer@x=knn"):
        assert in_full(word) == word


def test_a_single_run_is_composed_with_them(call, capsys):
    call(f"{LINE} {SHORT} --cfg job")
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert model["imputer"]["name"] == "BRITS"
    assert model["imputer"]["settings"] == {"lambda_mit": 2}
    assert "d_k" not in model["imputer"]["usual"]
    assert model["predictor"]["network"]["hidden"] == 3


def test_the_jobs_of_a_sweep_are_those_of_the_long_names(call, monkeypatch):
    """Words, names and folder, so that a sweep begun with one goes on with the other."""
    found = []
    monkeypatch.setattr(parts, "find_spec", lambda name: name)  # as if PyPOTS were installed
    monkeypatch.setattr(sweeper, "run_to_the_end", lambda jobs, *_, **__: found.append(jobs))
    varied = f"{SHORT} imputer.patience=3,4"
    for words in (varied, " ".join(map(in_full, varied.split()))):
        call(f"-m {LINE} {words} launcher=local")
    short, long = found
    assert short == long
    assert [job.axes for job in short] == [("model.imputer.patience=3",), ("model.imputer.patience=4",)]
    assert "model.imputer.name=BRITS" in short[0].overrides
    assert not any(word.lstrip("+~").startswith(("imputer.", "predictor.")) for word in short[0].overrides)


def test_lines_that_an_experiment_brings_may_have_them():
    parse = OverridesParser.create().parse_overrides
    grids = ["model=two_stage imputer=pypots imputer.name=BRITS,SAITS"]
    typed = [in_full("imputer.name=SAITS")]
    (line,) = lines_of(grids, parse(typed), parse)
    assert [word.input_line for word in line] == ["model=two_stage", "imputer=pypots", "model.imputer.name=SAITS"]
    refuse_alone(grids, ["model=two_stage", "imputer=pypots", *typed])
    with pytest.raises(UserError, match="many runs"):
        refuse_alone(grids, ["model=two_stage", "imputer=pypots"])


def test_of_a_model_without_parts_it_is_told_which_has_them(call):
    with pytest.raises(SystemExit) as told:
        call("model=focal_lstm imputer.name=BRITS")
    assert "Only model=two_stage has an imputer and a predictor." in told.value.code
