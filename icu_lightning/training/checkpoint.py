"""A trained model in one file: weights, scaler, categories, calibrator, threshold. Read as data, never as code.

The file may be somebody else's, so it is loaded weights-only, and the configuration in it may name only what trust.py knows:
anything else is refused before it is built.
"""

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icu_lightning import __version__
from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.errors import UserError
from icu_lightning.evaluation.calibration import Calibrator, load
from icu_lightning.models.base import Model
from icu_lightning.trust import check_trusted

FORMAT = 1  # of the content; raised when a key changes its meaning
NEEDED = ("format", "model", "state", "shape", "scaler", "static_encoder", "calibrator", "threshold", "outcome", "data")


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
    check_trusted(content["model"], "The checkpoint")
    _check_whole(path, content)
    names = {part: tuple(content["shape"][part]) for part in ("variables", "static", "vis")}
    names["severity"] = tuple(content["shape"].get("severity", ()))  # older ones have no model that predicts scores
    model: Model = built(content["model"], shape=BatchShape(hours=content["shape"]["hours"], **names))
    try:
        model.load_state_dict(content["state"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"The weights in {path} do not fit the model that it describes: {error}") from error
    return Trained(content, model, load(content["calibrator"]))


def _check_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Raise UserError for parts that are not of one another, or hold no numbers where numbers are due."""
    try:
        shape, settings, scaler = content["shape"], content["data"]["settings"], content["scaler"]
        other = next((name for name in ("hours", "variables") if shape[name] != settings[name]), None)
        width, sizes = len(shape["variables"]), {len(scaler[part]) for part in ("mean", "sd")}
        numbers = [*scaler["mean"], *scaler["sd"], content["threshold"]["value"]]
        finite = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not hold what a checkpoint holds: {error}.") from error
    if other:
        raise UserError(
            f"{path} does not fit together: its model sees {other} {shape[other]}, its data have {settings[other]}."
        )
    if sizes != {width}:
        raise UserError(f"{path} does not fit together: its scaler is not that of its {width} variables.")
    if not finite:
        raise UserError(f"{path} is damaged: its scaler, or its threshold, holds something that is no finite number.")
    _check_calibrator(path, content["calibrator"])


def _check_calibrator(path: Path, state: Any) -> None:
    """Raise UserError for a calibrator that cannot be read, or that makes of risks something that is none."""
    try:
        risk = load(state).transform(np.linspace(0, 1, 101))
        good = bool(((risk >= 0) & (risk <= 1)).all())  # a NaN is neither
    except KeyError as error:
        raise UserError(f"{path} has a calibrator of an unknown kind: {error.args[0]}.") from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} has a calibrator that cannot be used: {error}.") from error
    if not good:
        raise UserError(f"{path} has a calibrator that makes of risks what is no number in [0, 1].")


def read_content(path: Path) -> dict[str, Any]:
    """What a checkpoint holds. Raises UserError, see `trained`."""
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise UserError(
            f"There is no checkpoint {path}: checkpoint= names a run folder or its checkpoints/model.ckpt."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is no checkpoint of a run, or it is damaged: only tensors and plain values are read, and it "
            "holds something else."
        ) from error
    if not isinstance(content, dict) or "icu_lightning" not in content:
        raise UserError(f"{path} is no checkpoint of icu_lightning.")
    if content.get("format") != FORMAT or not content.keys() >= set(NEEDED):
        raise UserError(
            f"{path} was written by icu_lightning {content['icu_lightning']}, whose checkpoints this version ({__version__}) "
            "does not read: predict with that version, or train again."
        )
    return content
