"""A trained model in one file: weights, scaler, categories, calibrator, threshold. Read as data, never as code.

The file may be somebody else's, so it is loaded weights-only, and the configuration in it may name only classes of this
package and torch's optimisers: anything else is refused before it is built.
"""

import inspect
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object

from icu_lightning import __version__
from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.errors import UserError
from icu_lightning.evaluation.calibration import Calibrator, load
from icu_lightning.models.base import Model

FORMAT = 1  # of the content; raised when a key changes its meaning
NEEDED = ("format", "model", "state", "shape", "scaler", "static_encoder", "calibrator", "threshold", "outcome", "data")
TRUSTED = ("icu_lightning.", "torch.optim.")


@dataclass(frozen=True)
class Trained:
    """content: everything the file holds, plain values and tensors. model: rebuilt, with its weights."""

    content: Mapping[str, Any]
    model: Model
    calibrator: Calibrator

    @property
    def threshold(self) -> float:
        return float(self.content["threshold"]["value"])


def trained(path: Path) -> Trained:
    """The model of a run folder, or of its checkpoints/model.ckpt.

    Raises UserError for a file that is missing, damaged, of another version, or not to be trusted.
    """
    content = read_content(path / "checkpoints" / "model.ckpt" if path.is_dir() else path)
    for target in _targets(content["model"]):
        _check_trusted(target)
    _check_whole(path, content)
    names = {part: tuple(content["shape"][part]) for part in ("variables", "static", "vis")}
    model: Model = built(content["model"], shape=BatchShape(hours=content["shape"]["hours"], **names))
    try:
        model.load_state_dict(content["state"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"The weights in {path} do not fit the model that it describes: {error}") from error
    return Trained(content, model, load(content["calibrator"]))


def _check_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Raise UserError for parts that are not of one another: hours of one model with the variables, or the scaler, of another."""
    shape, settings = content["shape"], content["data"]["settings"]
    for name in ("hours", "variables"):
        if shape[name] != settings[name]:
            raise UserError(
                f"{path} does not fit together: its model sees {name} {shape[name]}, its data have {settings[name]}."
            )
    if any(len(content["scaler"][part]) != len(shape["variables"]) for part in ("mean", "sd")):
        raise UserError(
            f"{path} does not fit together: its scaler is not that of its {len(shape['variables'])} variables."
        )
    try:
        load(content["calibrator"])
    except (KeyError, TypeError, AttributeError) as error:
        kind = f"of an unknown kind: {error.args[0]}" if isinstance(error, KeyError) else f"that is none: {error}"
        raise UserError(f"{path} has a calibrator {kind}.") from error


def read_content(path: Path) -> dict[str, Any]:
    """What a checkpoint holds. Raises UserError, see `trained`."""
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise UserError(
            f"There is no checkpoint {path}: checkpoint= names a run folder or its checkpoints/model.ckpt."
        ) from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise UserError(f"{path} is no checkpoint of a run, or it is damaged: {reason}.") from error
    if not isinstance(content, dict) or "icu_lightning" not in content:
        raise UserError(f"{path} is no checkpoint of icu_lightning.")
    if content.get("format") != FORMAT or not content.keys() >= set(NEEDED):
        raise UserError(
            f"{path} was written by icu_lightning {content['icu_lightning']}, whose checkpoints this version ({__version__}) "
            "does not read: predict with that version, or train again."
        )
    return content


def _targets(conf: Any) -> Iterator[str]:
    if isinstance(conf, Mapping):
        if "_target_" in conf:
            yield str(conf["_target_"])
        for part in conf.values():
            yield from _targets(part)
    elif isinstance(conf, list):
        for part in conf:
            yield from _targets(part)


def _check_trusted(target: str) -> None:
    """Raise UserError unless it names a class that is defined in a trusted package: a path through one leads anywhere."""
    found: Any = None
    if target.startswith(TRUSTED):
        try:
            found = get_object(target)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"The checkpoint names {target}, which is not there: is its model's file missing?"
            ) from error
    if not inspect.isclass(found) or not f"{found.__module__}.".startswith(TRUSTED):
        raise UserError(
            f"The checkpoint names {target}, which is no class of this package or of torch.optim: it is not loaded. "
            "A checkpoint is data; one that wants other code is broken, or somebody's attack."
        )
