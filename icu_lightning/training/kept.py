"""Parts of models that were fitted before, on the same stays, with the same settings, seed and code: kept, and not fitted again.

So that of a matrix of imputers and predictors each imputer is fitted once, and fills each stay once. An entry is a folder beside the
extracts, found by the content of all that its state follows from, whole or not there, and built by one process at a time, as theirs
are (data/cache.py); beside it, as `<entry>-made`, are entries of what the fitted part has made.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import icu_lightning
from icu_lightning.atomic import atomic_folder, building
from icu_lightning.batch import StayBatch
from icu_lightning.data.cache import code_digest, unwritable, whole, write_manifest
from icu_lightning.errors import LATER, PUT_BACK
from icu_lightning.models.base import Data, Part
from icu_lightning.terminal import say

STATE, MADE = "state.ckpt", "made.ckpt"
Epoch = dict[str, str]  # a row of metrics.csv
CODE = ("models", "training", "batch.py", "data/loader.py")  # that a trained state follows from
PACKAGES = ("torch", "pytorch-lightning", "numpy", "pypots")
MODEL = "joint"  # setting of a part that is a whole model: the model's
NOT_LEARNT = ("_partial_", "snapshots")  # settings that nothing is learnt from
OF_TRAINER = ("max_epochs", "accelerator", "devices", "precision")  # settings that a trained state follows from


@dataclass(frozen=True)
class Kept:
    """folder: of all entries. facts: plain values, all that every part's state follows from, but for its own settings.

    settings: of a part, by its name.
    """

    folder: Path
    facts: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any], data: Any) -> "Kept | None":
        """For the run of `config`; None where `data.cache_dir` keeps nothing."""
        if not data.settings.cache_dir:
            return None
        facts = {
            "code": [code_digest(Path(icu_lightning.__file__).parent / part) for part in CODE],
            "versions": [icu_lightning.__version__, *map(_version, PACKAGES)],
            "seed": config["seed"],
            "trainer": {name: config["trainer"].get(name) for name in OF_TRAINER},
            "batch_size": data.settings.batch_size,
            "data": digest_of(data),
        }
        return cls(Path(data.settings.cache_dir).expanduser() / "imputers", facts, config["model"])

    def fit_once(
        self,
        part: Part,
        fit: Callable[[], None],
        *,
        name: str,
        beside: Mapping[str, Any],
        epochs: Callable[[], list[Epoch]],
        reused: Callable[[list[Epoch]], None],
    ) -> "KeptResults":
        """Leave `part` fitted: with the kept state, or by `fit`, whose state is then kept. See `StageTrainer.fit_once`.

        While another process is fitting it, this one waits; a job of a sweep that has others to go on with ends with exit code LATER.

        Arguments:
            epochs: rows of metrics.csv that `fit` has written, which are kept, too.
            reused: told those of the kept state.
        """
        entry, described = self._entry(self.settings[name], name, beside)
        results = KeptResults(entry.with_name(f"{entry.name}-made"))
        if self._restored(entry, part, name, reused, tell=_nobody):
            return results
        with ExitStack() as held:
            try:
                held.enter_context(building(entry, wait=not os.environ.get(PUT_BACK)))
            except BlockingIOError:
                say(
                    f"Another run is fitting this {name}: put back, so that the sweep goes on with another job meanwhile."
                )
                raise SystemExit(LATER) from None
            if self._restored(entry, part, name, reused, tell=say):  # fitted by another process, meanwhile
                return results
            fit()
            _write(entry, STATE, {"part": dict(part.state_dict()), "epochs": epochs()}, described)
        return results

    def keep(self, part: Part, *, name: str, beside: Mapping[str, Any], epochs: Sequence[Epoch]) -> None:
        """Keep the state of a model that was fitted, for `fit_once` of a part that is this model. See `StageTrainer.keep`."""
        entry, described = self._entry(self.settings, name, beside)
        with building(entry):
            if not whole(entry, say):
                _write(entry, STATE, {"part": dict(part.state_dict()), "epochs": list(epochs)}, described)

    def _entry(self, settings: Mapping[str, Any], name: str, beside: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
        """Where the state is, and all that it follows from, as plain values."""
        said = {key: value for key, value in beside.items() if value is not None}
        text = json.dumps({**self.facts, "settings": learnt(settings), "beside": said}, sort_keys=True, default=str)
        digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        return self.folder / f"{name}-{digest}", json.loads(text)

    def _restored(
        self,
        entry: Path,
        part: Part,
        name: str,
        reused: Callable[[list[Epoch]], None],
        *,
        tell: Callable[[str], object],
    ) -> bool:
        """Whether there was a state, which the part now has. Of a damaged one `tell` hears, and it is fitted again."""
        state = _read(entry, STATE, tell)
        if state is None:
            return False
        part.load_state_dict(state["part"])
        reused(state["epochs"])
        say(f"The {name} was fitted before, on these stays with these settings and this seed: taken from {entry}.")
        return True


def learnt(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that a fitted state follows from; of a part that is nothing but a whole model, that model's.

    >>> learnt({"_target_": "a.Part", "joint": {"_target_": "a.Model", "_partial_": True, "width": 4, "snapshots": []}})
    {'_target_': 'a.Model', 'width': 4}
    >>> learnt({"_target_": "a.Part", "joint": True, "width": 4})
    {'_target_': 'a.Part', 'joint': True, 'width': 4}
    """
    model = settings.get(MODEL)
    if isinstance(model, Mapping) and "_target_" in model and settings.keys() <= {"_target_", "_partial_", MODEL}:
        settings = model
    return {name: value for name, value in settings.items() if name not in NOT_LEARNT}


@dataclass(frozen=True)
class KeptResults:
    """What a fitted part has made, see `models.base.Once`. folder: of all entries, which are named by their keys."""

    folder: Path

    def __call__(self, makes: Mapping[str, Callable[[], torch.Tensor]]) -> dict[str, torch.Tensor]:
        """What another process is making is left to it, and waited for at the end: so several share the work."""
        made = {}
        for wait in (False, True):
            for key in [key for key in makes if key not in made]:
                if (one := self._one(key, makes[key], wait)) is not None:
                    made[key] = one
        return made

    def _one(self, key: str, make: Callable[[], torch.Tensor], wait: bool) -> torch.Tensor | None:
        """None if another process is making it and this one does not `wait`."""
        entry = self.folder / key
        kept = _read(entry, MADE, _nobody)
        if kept is not None:
            return kept
        with ExitStack() as held:
            try:
                held.enter_context(building(entry, wait=wait))
            except BlockingIOError:
                return None
            kept = _read(entry, MADE, say)  # made by another process, meanwhile
            if kept is None:
                kept = make()
                _write(entry, MADE, kept, {"key": key})
        return kept


def _read(entry: Path, name: str, tell: Callable[[str], object]) -> Any:
    """The file of an entry; None if it is not there, is damaged, which `tell` hears, or is replaced at this very moment."""
    try:
        return torch.load(entry / name, map_location="cpu", weights_only=True) if whole(entry, tell) else None
    except OSError:
        return None


def _nobody(text: str) -> None:
    """Before an entry is held: damage is told once, by the process that then makes it again."""


def _write(entry: Path, name: str, content: Any, settings: Mapping[str, Any]) -> None:
    try:
        with atomic_folder(entry) as folder:
            torch.save(content, folder / name)
            write_manifest(folder, settings)
    except OSError as error:
        say(unwritable(error))


def digest_of(data: Data) -> str:
    """Of all that a model may learn from of the training and the validation stays."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(repr(data.shape).encode())
    for part in (data.train, data.val):
        for tensor in _learnt_from(part):
            digest.update(tensor.contiguous().numpy().tobytes())
        digest.update("\n".join(map(str, part.stay_id)).encode())
    return digest.hexdigest()


def _learnt_from(part: StayBatch) -> list[torch.Tensor]:
    return [part.values, part.observed, part.static, part.label, *([] if part.vis is None else [part.vis])]


def _version(package: str) -> str | None:
    """None of one that is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
