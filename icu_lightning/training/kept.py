"""Parts of models that were fitted before, on the same stays, with the same settings, seed and code: kept, and not fitted again.

So that of a matrix of imputers and predictors each imputer is fitted once. An entry is a folder beside the extracts, found by the
content of all that its state follows from, whole or not there, and built by one process at a time, as theirs are (data/cache.py).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import icu_lightning
from icu_lightning.atomic import atomic_folder
from icu_lightning.batch import StayBatch
from icu_lightning.data.cache import building, code_digest, unwritable, whole, write_manifest
from icu_lightning.models.base import Data, Part
from icu_lightning.terminal import say

STATE = "state.ckpt"
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
            "code": code_digest(Path(icu_lightning.__file__).parent / "models"),
            "versions": [icu_lightning.__version__, torch.__version__],
            "seed": config["seed"],
            "trainer": {name: config["trainer"].get(name) for name in OF_TRAINER},
            "batch_size": data.settings.batch_size,
            "data": digest_of(data),
        }
        return cls(Path(data.settings.cache_dir).expanduser() / "imputers", facts, config["model"])

    def fit_once(self, part: Part, fit: Callable[[], None], *, name: str, beside: Mapping[str, Any]) -> None:
        """Leave `part` fitted: with the kept state, or by `fit`, whose state is then kept. See `StageTrainer.fit_once`."""
        described = {**self.facts, "settings": self.settings[name], "beside": dict(beside)}
        text = json.dumps(described, sort_keys=True, default=str)
        entry = self.folder / f"{name}-{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"
        if self._restored(entry, part, name):
            return
        with building(entry):
            if self._restored(entry, part, name):  # fitted by another process, meanwhile
                return
            fit()
            try:
                with atomic_folder(entry) as folder:
                    torch.save(dict(part.state_dict()), folder / STATE)
                    write_manifest(folder, json.loads(text))
            except OSError as error:
                say(unwritable(error))

    def _restored(self, entry: Path, part: Part, name: str) -> bool:
        """Whether there was a state, which the part now has. A damaged one is told, and is fitted again."""
        try:
            if not whole(entry, say):
                return False
            state = torch.load(entry / STATE, map_location="cpu", weights_only=True)
        except OSError:
            return False
        part.load_state_dict(state)
        say(f"The {name} was fitted before, on these stays with these settings and this seed: taken from {entry}.")
        return True


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
