"""Every option of conf composes, names an importable class, and has exactly the keys that its constructor takes."""

import inspect

import pytest
import yaml
from hydra.utils import get_class
from omegaconf import OmegaConf

from icu_lightning.data.settings import DataSettings, _source_class
from icu_lightning.models.base import RiskModule
from tests.conftest import CONF, MTDM, composed

GROUPS = (
    "cohort",
    "data",
    "generator",
    "imputer",
    "launcher",
    "model",
    "predictor",
    "trainer",
    "logger",
    "calibration",
    "protocol",
    "report",
    "search",
    "model/sampler",
    "model/size",
    "model/tasks",
    "model/variant",
    "model/reader",
    "model/network",
    "model/ablation",
)
OWNER = {
    "model/sampler": "mtdm",
    "model/size": "mtdm",
    "model/tasks": "mtdm",
}  # of a model's own groups; the others are teacher_student's
OPTIONS = [
    (path.parent.relative_to(CONF).as_posix(), path.stem)
    for path in sorted(CONF.rglob("*.yaml"))
    if path.parent != CONF
]
GIVEN_BY_CODE = {
    "network",
    "shape",
    "n_steps",
    "embedding_width",
    "reader",
    "encoder",
    "states",
    "folder",
    "seed",
    "loggers",
    "progress",
}


def part(group: str, *overrides: str):
    """What a group decides of a composed configuration; a cohort is a list inside of data."""
    if group == "generator":  # a part of data=synthetic
        return composed(
            "data=synthetic", *(o.replace("generator=", "generator@data.generator=") for o in overrides)
        ).plain["data"]["generator"]
    if group in ("imputer", "predictor"):  # parts of model=two_stage
        return composed("model=two_stage", *overrides).plain["model"][group]
    if group == "protocol":
        return composed(*overrides).plain["data"]
    if group.startswith("model/"):  # parts of the models that have them
        return composed(f"model={OWNER.get(group, 'teacher_student')}", *overrides).plain["model"]
    plain = composed(*overrides).plain
    return plain["data"]["cohort"] if group == "cohort" else plain[group]


def test_the_groups_are_known():
    assert {group for group, _ in OPTIONS} == set(GROUPS)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_says_what_it_is(group, option):
    assert part(group, f"{group}={option}")
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
    for node in targets(part(group, f"{group}={option}")):
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


def test_every_model_has_a_search_of_settings_that_it_has():
    models = {path.stem for path in (CONF / "model").glob("*.yaml")}
    assert {path.stem for path in (CONF / "search").glob("*.yaml")} == models
    for model in models:
        space = composed(f"search={model}").plain["search"]["space"]
        first = [f"{name}={v[0] if isinstance(v, list) else v['low']}" for name, v in space.items()]
        assert composed(f"search={model}", *first).plain["model"] != composed(f"model={model}").plain["model"]


EXPERIMENTS = sorted(
    path.stem
    for path in (CONF.parent / "experiments" / "experiment").glob("*.yaml")
    if "grids:" not in path.read_text()  # test_tables.py has those that bring their lines
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_pins_what_its_models_see(name):
    """Else two models of one comparison would see other stays, because each brings its own window."""
    stored = (CONF.parent / "experiments" / "experiment" / f"{name}.yaml").read_text()
    assert stored.startswith("# @package _global_\n# ")
    pinned = yaml.safe_load(stored)
    assert {"hours", "variables"} <= pinned["data"].keys()
    assert any("override /cohort" in step or "cohort" in pinned["data"] for step in pinned["defaults"])
    plain = composed(f"experiment={name}", "model=logistic_regression").plain
    assert plain["data"]["hours"] == pinned["data"]["hours"]
    assert plain["data"]["variables"] == pinned["data"]["variables"]


def test_a_source_overrides_the_defaults():
    assert composed("data=synthetic").plain["data"]["fractions"] == [0.7, 0.15, 0.15]
    assert composed("data=eicu").plain["data"]["fractions"] == [0.7, 0.1, 0.2]


def test_models_bring_their_papers_windows():
    """METHODS B.1: 24 h x 11; A.1: 48 h x 15."""
    default = composed("model=logistic_regression").plain["data"]
    assert (default["hours"], default["variables"]) == (24, MTDM)
    lstm = composed("model=focal_lstm").plain["data"]
    assert (lstm["hours"], len(lstm["variables"])) == (48, 15)
    assert set(lstm["variables"]) - set(MTDM) == {"lactate", "creatinine", "wbc", "bicarbonate", "bun"}
    assert set(MTDM) - set(lstm["variables"]) == {"map"}


def test_the_papers_numbers():
    """METHODS A.4; but l2, which is published as 0.01 and makes every kernel 0 (experiments/focal_lstm)."""
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
        1e-4,
    )
    assert (conf["max_epochs"], conf["patience"]) == (50, 15)
    assert {k: conf["scheduler"][k] for k in ("factor", "patience", "min_lr")} == {
        "factor": 0.5,
        "patience": 9,
        "min_lr": 1e-6,
    }
    assert issubclass(get_class(conf["_target_"]), RiskModule)


def cohort_name(*overrides: str) -> str:
    """Which of conf/cohort's lists the composed data.cohort is."""
    cohort = composed(*overrides).cfg["data"]["cohort"]
    raw = OmegaConf.to_container(cohort, resolve=False)
    options = {p.stem: yaml.safe_load(p.read_text())["cohort"] for p in (CONF / "cohort").glob("*.yaml")}
    return next((name for name, steps in options.items() if steps == raw), "a list of its own")


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=logistic_regression"], "mtdm"),  # run.yaml
        (["model=focal_lstm"], "h48"),  # model > run.yaml
        (["model=focal_lstm", "data=eicu"], "h48"),  # a source that brings none
        (["model=focal_lstm", "data=physionet2012"], "everyone"),  # data > model
        (["data=physionet2012", "model=logistic_regression"], "everyone"),  # in whatever order they are typed
        (["model=focal_lstm", "data=physionet2012", "cohort=h48"], "h48"),  # command line > data
        (["cohort=mtdm", "model=focal_lstm"], "mtdm"),  # command line > model
        (["model=focal_lstm", "cohort=sepsis", "data.cohort=[age_known]"], "a list of its own"),
    ],
)
def test_precedence_of_cohorts(overrides, name):
    assert cohort_name(*overrides) == name


def test_precedence_of_an_experiments_cohort(tmp_path):
    """Experiment > data > model; command line > experiment. An experiment may also write a list."""
    (tmp_path / "experiment").mkdir()
    override = "# @package _global_\ndefaults:\n  - override /model: focal_lstm\n  - override /cohort: sepsis\n"
    (tmp_path / "experiment" / "named.yaml").write_text(override)
    (tmp_path / "experiment" / "listed.yaml").write_text("# @package _global_\ndata: {cohort: [age_known]}\n")
    where = f"hydra.searchpath=[file://{tmp_path}]"
    assert cohort_name(where, "experiment=named") == "sepsis"
    assert cohort_name(where, "experiment=named", "data=physionet2012") == "sepsis"
    assert cohort_name(where, "experiment=named", "cohort=mtdm") == "mtdm"
    assert composed(where, "experiment=listed", "data=physionet2012").plain["data"]["cohort"] == ["age_known"]


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, o in OPTIONS if g in ("data", "model")])
def test_no_model_or_source_writes_a_cohort_that_the_command_line_could_not_choose_away(group, option):
    """It names one of conf/cohort with `override /cohort`; a list in its own file would win over cohort=NAME."""
    stored = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    assert "cohort" not in stored
    assert "cohort" not in stored.get("data", {})
    assert cohort_name(f"{group}={option}", "cohort=sepsis") == "sepsis"


def test_a_model_may_bring_its_window_and_a_source_that_cannot_give_it_has_the_last_word(tmp_path):
    """INTERFACES: command line > data > model > run.yaml."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fixed.yaml").write_text("hours: 36\nsource: x.Z\n")
    where = f"hydra.searchpath=[file://{tmp_path}]"

    def hours(*overrides: str) -> int:
        return composed(where, *overrides).plain["data"]["hours"]

    assert hours("model=logistic_regression", "data=synthetic") == 24
    assert hours("model=focal_lstm", "data=synthetic") == 48
    assert hours("model=focal_lstm", "data=fixed") == 36
    assert hours("model=focal_lstm", "data=fixed", "data.hours=6") == 6
    asked = composed("model=focal_lstm", "data.hours=6").plain["data"]["cohort"]
    assert asked[-1] == {"in_icu_at_prediction": 6}, "the prediction time follows"
    challenge = composed("model=focal_lstm", "data=physionet2012").plain["data"]
    assert (challenge["hours"], len(challenge["variables"])) == (48, 37)
