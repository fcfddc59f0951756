"""Every option of conf composes, names an importable class, and has exactly the keys that its constructor takes."""

import inspect

import pytest
import yaml
from hydra.utils import get_class

from icu_lightning.data.settings import DataSettings, _source_class
from icu_lightning.models.base import RiskModule
from tests.conftest import CONF, composed

GROUPS = ("data", "model", "trainer", "logger", "calibration")
OPTIONS = [
    (path.parent.relative_to(CONF).as_posix(), path.stem)
    for path in sorted(CONF.rglob("*.yaml"))
    if path.parent != CONF
]
GIVEN_BY_CODE = {"network", "shape", "folder", "seed", "loggers", "progress"}


def test_the_groups_are_those_that_a_run_names():
    assert {group for group, _ in OPTIONS} == set(GROUPS)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_says_what_it_is(group, option):
    assert composed(f"{group}={option}").plain[group]
    first = (CONF / group / f"{option}.yaml").read_text().splitlines()[0]
    assert first.startswith(("#", "_target_")), "a file begins with what it is"


def targets(node):
    """Every {_target_: ...} of a composed configuration."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def constructor_parameters(target: type) -> dict[str, inspect.Parameter]:
    """What a class can be given: its own parameters, and its parent's if it passes **others on."""
    own = dict(inspect.signature(target).parameters)
    passed_on = [
        name for name, p in own.items() if p.kind is p.VAR_KEYWORD and target.__module__.startswith("icu_lightning")
    ]
    for name in passed_on:
        del own[name]
        own = constructor_parameters(target.__mro__[1]) | own
    return own


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_keys_are_those_of_the_signature(group, option):
    for node in targets(composed(f"{group}={option}").plain[group]):
        target = get_class(node["_target_"])
        parameters = constructor_parameters(target)
        keys = set(node) - {"_target_", "_partial_"}
        assert keys <= set(parameters), f"{node['_target_']} does not take {keys - set(parameters)}"
        if target.__module__.startswith("icu_lightning"):
            named = set(parameters) - GIVEN_BY_CODE
            without_default = {name for name in named if parameters[name].default is inspect.Parameter.empty}
            assert without_default <= keys, f"{option}.yaml hides {without_default - keys}"


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "data"])
def test_data_keys_are_settings_of_the_source_or_of_the_module(option):
    keys = set(composed(f"data={option}").plain["data"])
    source = set(inspect.signature(_source_class(composed(f"data={option}").plain["data"]["source"])).parameters)
    assert keys == {"source"} | source | set(DataSettings.__dataclass_fields__)


def test_a_model_overrides_the_defaults_and_a_source_overrides_the_model():
    assert composed("data=synthetic").plain["data"]["fractions"] == [0.7, 0.15, 0.15]
    assert composed("data=eicu").plain["data"]["fractions"] == [0.7, 0.1, 0.2]
    order = [
        next(iter(entry))
        for entry in yaml.safe_load((CONF / "run.yaml").read_text())["defaults"]
        if isinstance(entry, dict)
    ]
    assert order.index("model") < order.index("data"), "precedence: data over model"


def test_the_papers_numbers():
    """METHODS A.4."""
    conf = composed("model=focal_lstm").plain["model"]
    assert (conf["hidden"], conf["dense"], conf["input_dropout"], conf["recurrent_dropout"], conf["dropout"]) == (
        64,
        [32, 16],
        0.5,
        0.3,
        0.5,
    )
    assert (conf["loss"]["gamma"], conf["loss"]["alpha"], conf["optimizer"]["lr"], conf["l2"]) == (
        2.0,
        0.25,
        3e-4,
        0.01,
    )
    assert (conf["max_epochs"], conf["patience"]) == (50, 15)
    assert {k: conf["scheduler"][k] for k in ("factor", "patience", "min_lr")} == {
        "factor": 0.5,
        "patience": 9,
        "min_lr": 1e-6,
    }
    assert issubclass(get_class(conf["_target_"]), RiskModule)


def test_a_model_may_bring_its_window_and_a_source_that_cannot_give_it_has_the_last_word(tmp_path):
    """INTERFACES: command line > data > model > run.yaml."""
    (tmp_path / "model").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "model" / "windowed.yaml").write_text(
        "# @package _global_\ndata: {hours: 48, batch_size: 7}\nmodel: {_target_: x.Y}\n"
    )
    (tmp_path / "data" / "fixed.yaml").write_text("hours: 36\nsource: x.Z\n")
    where = f"hydra.searchpath=[file://{tmp_path}]"
    windowed = composed(where, "model=windowed", "data=synthetic").plain["data"]
    assert (windowed["hours"], windowed["batch_size"]) == (48, 7)
    assert composed(where, "model=windowed", "data=fixed").plain["data"]["hours"] == 36
    assert composed(where, "model=windowed", "data=fixed", "data.hours=6").plain["data"]["hours"] == 6
    assert composed(where, "model=windowed", "data=synthetic").plain["data"]["cohort"][-1] == {
        "in_icu_at_prediction": 48
    }
