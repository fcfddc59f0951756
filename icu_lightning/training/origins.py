"""What weights come from: whose stays they were learnt from, in which stage, and how hours and features were shown to them.

A checkpoint holds it, so that another run that takes the weights can tell whether it would test on a patient whom they know, by
whichever stage: a teacher knows those whom its encoder was pretrained on, and a student those whom its teacher knows. Patients
are kept as keys (see `stages.patient_keys`), never by their ids.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icu_lightning.errors import UserError

Keys = Mapping[str, Tensor]  # name -> (N) int64 keys of patients, each once
SHORT = 200  # characters of a value that a message shows


@dataclass(frozen=True)
class Origin:
    """Of the weights of a stage.

    stage: its name.
    patients: stage -> those whose stays it was trained on: of this stage, and of every one before it in its run or in the runs that
        it was taken from.
    chosen_on: stage -> those whose stays chose its epoch.
    shown: what decides which numbers the networks see, and what they learn from them -> its value as JSON.
    """

    stage: str
    patients: Keys
    chosen_on: Keys
    shown: Mapping[str, str]

    @classmethod
    def of_stage(cls, stage: str, train: Tensor, val: Tensor, shown: Mapping[str, Any]) -> "Origin":
        """Of a stage that begins with no other's weights. Arguments: train, val: keys. shown: plain values."""
        return cls(
            stage, {stage: train}, {stage: val}, {name: json.dumps(_rounded(value)) for name, value in shown.items()}
        )

    @classmethod
    def stored(cls, content: Mapping[str, Any]) -> "Origin | None":
        """That of a checkpoint's content; None if it was written before all of it was kept."""
        kept = content.get("origin", {})
        if not {"stage", "patients", "chosen_on", "shown"} <= kept.keys():
            return None
        return cls(**kept)

    def after(self, before: "Origin | None") -> "Origin":
        """The same with the patients of all stages that come before."""
        if before is None:
            return self
        patients, chosen_on = joined(self.patients, before.patients), joined(self.chosen_on, before.chosen_on)
        return Origin(self.stage, patients, chosen_on, self.shown)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {
            "stage": self.stage,
            "patients": dict(self.patients),
            "chosen_on": dict(self.chosen_on),
            "shown": dict(self.shown),
        }


def joined(one: Keys, other: Keys) -> dict[str, Tensor]:
    """The keys of both, by name.

    >>> {name: keys.tolist() for name, keys in joined({"a": torch.tensor([1, 2])}, {"a": torch.tensor([2, 3])}).items()}
    {'a': [1, 2, 3]}
    """
    both = {name: [keys[name] for keys in (one, other) if name in keys] for name in {**one, **other}}
    return {name: torch.cat(parts).unique() for name, parts in both.items()}


def _rounded(value: Any) -> Any:
    """Numbers to six digits: the last ones of a mean or an SD are the processor's, and no other scale.

    >>> _rounded({"mean": [0.1 + 0.2], "of": "map"})
    {'mean': [0.3], 'of': 'map'}
    """
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: _rounded(of) for name, of in value.items()}
    return [_rounded(of) for of in value] if isinstance(value, list | tuple) else value


def check_patients(origin: Origin, apart: Keys, setting: str, path: Path) -> None:
    """Raise UserError if the weights know a patient who judges them.

    Arguments:
        apart: this run's "validation" and "test" patients. The first choose epochs, calibrator and threshold, so that weights may have
            been chosen on them, too, but not on the second.
        setting: that names the weights. path: where they lie.
    """
    wrong = [
        *_met(origin.patients, apart, ("validation", "test"), "was trained on"),
        *_met(origin.chosen_on, apart, ("test",), "was stopped by"),
    ]
    if wrong:
        raise UserError(
            f"{setting}: {path} knows patients of this run who are not to be learnt from: {'; '.join(wrong)}. Use the same data, "
            "data.cohort, data.pretraining_cohort, data.outcome, data.fractions and data.split_seed as in that run's config.yaml, "
            f"or train the stage here: {setting}=null."
        )


def _met(known: Keys, apart: Keys, sides: tuple[str, ...], how: str) -> list[str]:
    counts = {
        (stage, side): int(torch.isin(keys, apart[side]).sum()) for stage, keys in known.items() for side in sides
    }
    return [
        f"stage '{stage}' {how} {len(known[stage]):,} patients, {n:,} of them {side} patients here"
        for (stage, side), n in counts.items()
        if n
    ]


def check_shown(origin: Origin, shown: Mapping[str, str], setting: str, path: Path) -> None:
    """Raise UserError if the weights were made for other columns, another scale or another window than this run shows, or learnt
    otherwise than its settings say.
    """
    for name in sorted({*origin.shown, *shown}):
        was, now = origin.shown.get(name, "null"), shown.get(name, "null")
        if was == now:
            continue
        if name.startswith("model.") and name not in origin.shown:
            raise UserError(
                f"{setting}: {path} does not say with which {name} it was trained, as checkpoints of older versions do not. Train "
                f"that run again, or the stage here: {setting}=null."
            )
        if name.startswith("scale of"):
            said = f"another {name}: it was fitted on other training stays (see data.cohort, data.fractions, data.split_seed)"
        else:
            said = f"{name}={was[:SHORT]}, and this run has {name}={now[:SHORT]}"
        raise UserError(
            f"{setting}: {path} was trained with {said}. Say it as that run's config.yaml does, or train the stage here: "
            f"{setting}=null."
        )
