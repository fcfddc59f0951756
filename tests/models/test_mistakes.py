"""Settings that cannot be meant are refused by the name that was typed, and before a table is read: all of conf's numbers."""

import copy
import dataclasses
import math
import re
import warnings
from collections.abc import Iterator

import pytest

from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.data.settings import source_and_settings
from icu_lightning.errors import UserError
from icu_lightning.pipeline import check_model, run_pipeline
from tests.conftest import CONF, composed

SHAPE = BatchShape(6, ("a", "b"), ("age",), vis=tuple("abcdefg"), severity=("sofa", "saps2"))
NAMES = {group: sorted(path.stem for path in (CONF / group).glob("*.yaml")) for group in ("imputer", "predictor")}
MODELS = ("mtdm", "summary_gru", "teacher_student", "vis_gru", "vis_lstm")
PARTS = [f"imputer={name}" for name in NAMES["imputer"] if name != "pypots"]  # whose settings another package checks
PARTS += [f"predictor={name}" for name in NAMES["predictor"]]
MAY_BE_0 = ("seed", "stage1", "warm_up", "projection", "pretraining", "static", "mae.epochs")
OF_TORCH = ("optimizer", "scheduler")


def typed(word: str) -> list[str]:
    """What is typed for `imputer=NAME`, `predictor=NAME` or `model=NAME`."""
    if word.startswith("model="):
        return word.split()
    return ["model=two_stage", "imputer=brits" if word == "predictor=brits" else "imputer=zero", word]


def whole_numbers(node: object, name: str) -> Iterator[str]:
    """Names of the settings that are whole numbers."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from () if key in OF_TORCH else whole_numbers(value, f"{name}.{key}")
    elif isinstance(node, int) and not isinstance(node, bool):
        yield name


MAY_BE_INF = ("model.clip", "inverse_penalty")  # nothing is clipped, or no weight is held back
WRONG = {float: ("abc", math.inf, True), bool: ("no", 1), list: ("abc", 0.5, ["abc"], None)}  # by what a setting is


def others(node: object, name: str) -> Iterator[tuple[str, type]]:
    """Names and kinds of the settings that are numbers with a point, true or false, or lists."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in (*OF_TORCH, "usual") and not key.startswith("_"):
                yield from others(value, f"{name}.{key}")
    elif type(node) in WRONG:
        yield name, type(node)


def with_value(conf: dict, name: str, value: object) -> dict:
    changed = copy.deepcopy(conf)
    node, *path = changed, *name.split(".")[1:]
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return changed


TRANSFORMER = "model=teacher_student model/reader=transformer"


@pytest.mark.parametrize("word", [*PARTS, *(f"model={name}" for name in MODELS), TRANSFORMER])
def test_a_whole_number_that_cannot_be_meant_is_refused_by_its_name_and_value(word):
    """0 of a width, -1 and 2.5 of any. A sampler's and a schedule's steps are told as `imputer.sampler: the sampler's steps`."""
    conf = composed(*typed(word)).plain["model"]
    for name in whole_numbers(conf, "model"):
        *_, place, setting = name.split(".")
        for value in (-1, 2.5, *(() if name.endswith(MAY_BE_0) else (0,))):
            with pytest.raises(UserError) as told:
                built(with_value(conf, name, value), shape=SHAPE)
            said = str(told.value)
            assert said.startswith(f"{name} must be") or (place in said and f"'s {setting} must be" in said), said
            assert said.endswith(f"it is {value}.")


OF_MODELS = [path.relative_to(CONF) for path in sorted((CONF / "model").rglob("*.yaml"))]
OF_MTDM = ("sampler", "size", "tasks")  # groups of conf/model; the others are teacher_student's
OPTIONS = [f"model={path.stem}" for path in OF_MODELS if len(path.parts) == 2]
OPTIONS += [
    f"model={'mtdm' if path.parts[1] in OF_MTDM else 'teacher_student'} model/{path.parts[1]}={path.stem}"
    for path in OF_MODELS
    if len(path.parts) > 2
]


@pytest.mark.parametrize("word", [*PARTS, *OPTIONS])
def test_no_number_switch_or_list_is_taken_for_what_it_is_not(word):
    """A word, what is not finite, and `no`, which Hydra hands on as text: refused by the setting's name when the model is built."""
    conf = composed(*typed(word)).plain["model"]
    shape = dataclasses.replace(SHAPE, static=("sofa",), severity=()) if word == "model=vis_logistic" else SHAPE
    whole = composed(word.split()[0]).plain["model"] if " " in word else {}
    for name, kind in sorted(set(others(conf, "model")) - set(others(whole, "model"))):  # of a group, what it adds
        for value in WRONG[kind]:
            if value == math.inf and name.endswith(MAY_BE_INF):
                built(with_value(conf, name, value), shape=shape)
                continue
            with pytest.raises(UserError) as told:
                built(with_value(conf, name, value), shape=shape)
            setting, said = name.split(".")[-1], str(told.value)
            assert re.search(rf"\b{setting}\b", said), said
            assert "Cannot build" not in said, said
            assert "\n" not in said, said


@pytest.mark.parametrize("word", [*PARTS, "model=mtdm", "model=teacher_student"])
def test_what_models_of_several_parts_refuse_is_told_before_a_table_is_read(word, tmp_path):
    """The source is none: whoever asks it for a stay fails."""
    plain = composed(*typed(word), "data=synthetic").plain
    _, settings = source_and_settings(**plain["data"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_model(plain, settings)
    wrong = next(name for name in whole_numbers(plain["model"], "model") if not name.endswith(MAY_BE_0))
    plain["model"] = with_value(plain["model"], wrong, -1)
    with pytest.raises(UserError, match="must be a whole number of at least 1; it is -1"):
        run_pipeline(tmp_path, plain, None, settings)
    assert not list(tmp_path.iterdir())


REFUSED = {
    "imputer=knn predictor=brits": r"predictor=brits is a head of imputer=brits .* KNN does not have",
    "imputer=brits model.imputer.optimizer.lr=-1": r"^model\.imputer\.optimizer has a value that torch refuses",
    "imputer=brits model.imputer.consistency=-5": r"^model\.imputer\.consistency must be 0 or more; it is -5",
    "imputer=brits model.imputer.consistency=inf": r"^model\.imputer\.consistency must be a finite number, 0 or more; it is inf",
    "imputer=remasker model.imputer.lowest=-0.1": r"^model\.imputer\.lowest must be from 0 to 1; it is -0\.1",
    "imputer=remasker model.imputer.lowest=3": r"^model\.imputer\.lowest must be from 0 to 1; it is 3",
    "imputer=mtdm model.imputer.joint.optimizer.lr=-1": r"^model\.imputer\.joint\.optimizer has a value that torch",
    "imputer=csdi model.imputer.diffusion.clip=0": r"^model\.imputer\.diffusion\.clip must be above 0",
    "imputer=csdi model.imputer.diffusion.denoiser.heads=3": r"^model\.imputer\.diffusion: channels \(16\) must be a multiple",
    "predictor=lstm model.predictor.network.dropout=2": r"^model\.predictor\.network\.dropout must be from 0 to 1; it is 2",
    "model=teacher_student model.encoder.heads=5": r"^model\.encoder: width \(64\) must be a multiple of heads \(5\)",
    "model=teacher_student model.autoencoder.decoder.width=13": r"^model\.autoencoder\.decoder: width \(13\) must be",
    "model=teacher_student model/reader=transformer model.student.reader.width=31": r"^model\.student\.reader: width \(31\)",
    "model=teacher_student model.student.dropout=2": r"^model\.student\.dropout must be from 0 to 1; it is 2",
    "model=teacher_student model.teacher.static=-1": r"^model\.teacher\.static must be a whole number of at least 0",
}


@pytest.mark.parametrize("words", REFUSED)
def test_other_settings_too(words, tmp_path):
    plain = composed("model=two_stage", "data=synthetic", *words.split()).plain
    _, settings = source_and_settings(**plain["data"])
    with pytest.raises(UserError, match=REFUSED[words]):
        run_pipeline(tmp_path, plain, None, settings)
