"""Any imputer of PyPOTS by its name: for what this package does not have, and as an outside check of what it has.

PyPOTS trains it by its own loop: stopped early on the same hidden validation cells as ours, but not resumed inside of it, and on
none of trainer's devices but `device`. It is an extra: pip install 'icu-lightning[pypots]'.

Some of its classes fill a stay otherwise in other company. Only those that were found not to are given many stays at once; the others
each alone, which is slower, and what is random in them follows from the stay.

References: PyPOTS: A Python Toolbox for Data Mining on Partially-Observed Time Series (Du, 2023).
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icu_lightning.batch import BatchShape, StayBatch, hide
from icu_lightning.errors import UserError, unknown_name, whole_number
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.filling import as_draws
from icu_lightning.models.imputers.trained import hidden_cells
from icu_lightning.models.noise import key_of
from icu_lightning.models.parts import not_installed

# Whose numbers of a stay are the same alone and among five others, to 1e-5 (PyPOTS 1.5, weights that are not the first ones). Of the
# rest some look at the batch: random numbers by a stay's place in it (CSDI), the mean of its values (GRUD), what its stays have in
# common (TimesNet, TimeMixerPP, StemGNN)
TOGETHER = (
    *("Autoformer", "BRITS", "Crossformer", "DLinear", "ETSformer", "FiLM", "GPVAE", "HELIX", "ImputeFormer", "MRNN"),
    *("NonstationaryTransformer", "PatchTST", "Pyraformer", "RevIN_SCINet", "SAITS", "SCINet", "SegRNN", "TCN", "TEFN"),
    *("TKAN", "TOTEM", "TSLANet", "TiDE", "TimeMixer", "Transformer", "USGAN", "iTransformer"),
)
DRAW = ("CSDI",)  # its imputers whose draws differ; GP-VAE takes a number of them, and makes the same one
GIVEN = {"n_steps", "n_features", "batch_size", "epochs", "patience", "device", "verbose"}  # by the adapter


class PyPOTS:
    """The adapter.

    Arguments:
        shape: of the data.
        name: of a class of pypots.imputation that is trained.
        usual: arguments of that class, of which those are passed on that it has.
        settings: arguments of it that are passed on whatever it has.
        batch_size, device: of its training.
        max_epochs, patience: as of `TrainedImputer`.
        seed: of draws.

    Raises UserError if PyPOTS is not installed, has no such class, or needs an argument that is not given.
    """

    kept = True

    def __init__(
        self,
        *,
        shape: BatchShape,
        name: str,
        usual: Mapping[str, Any],
        settings: Mapping[str, Any],
        batch_size: int,
        device: str,
        max_epochs: int,
        patience: int,
        seed: int,
    ) -> None:
        self.make = _class_of(name)
        taken = set(inspect.signature(self.make).parameters)
        chosen = {key: value for key, value in usual.items() if key in taken} | dict(settings)
        check_settings(self.make, chosen)
        self.max_epochs = whole_number("model.imputer.max_epochs", max_epochs, 1)
        self.patience = whole_number("model.imputer.patience", patience, 1)
        common: dict[str, Any] = {"batch_size": whole_number("model.imputer.batch_size", batch_size, 1)}
        common |= {"device": device, "verbose": False, "n_steps": shape.hours, "n_features": shape.n_variables}
        self.arguments = chosen | {key: value for key, value in common.items() if key in taken}
        self.alone, self.draws_differ = name not in TOGETHER, name in DRAW
        self.seed = whole_number("model.imputer.seed", seed, 0)
        self.first = int(torch.randint(2**31 - 1, ()))
        self.model = self._made(self.max_epochs)

    def _made(self, epochs: int) -> Any:
        patience = self.patience if self.patience < epochs else None  # it refuses one that has no effect
        try:
            return self.make(**self.arguments, epochs=epochs, patience=patience)
        except (TypeError, ValueError, AssertionError) as error:
            raise UserError(f"PyPOTS' {self.make.__name__} refuses its settings: {error}") from error

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        from pypots.utils.random import set_random_seed

        cap = getattr(trainer, "max_epochs", None)
        set_random_seed(self.first)
        self.model = self._made(min(self.max_epochs, cap or self.max_epochs))
        hidden = hide(data.val, hidden_cells(data.val))
        with np.errstate(invalid="ignore"):
            self.model.fit({"X": with_gaps(data.train)}, {"X": with_gaps(hidden), "X_ori": with_gaps(data.val)})

    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        """(B, S, T, V); of DRAW its draws, whose noise follows from `seed` and the stay alone; else every S the same."""
        if not len(batch):
            return batch.values.unsqueeze(1).expand(-1, n_samples, -1, -1)
        parts = [batch[i : i + 1] for i in range(len(batch))] if self.alone else [batch]
        made = torch.cat([self._predicted(part, n_samples) for part in parts])
        if not self.draws_differ:
            return as_draws(batch, made[:, 0] if made.dim() == 4 else made, n_samples)
        return torch.where(batch.observed.unsqueeze(1), batch.values.unsqueeze(1), made.to(batch.values))

    def _predicted(self, part: StayBatch, n_samples: int) -> Tensor:
        several = {"n_sampling_times": n_samples} if self.draws_differ else {}
        with torch.random.fork_rng(devices=[]):  # it draws from torch's random numbers
            torch.manual_seed(key_of(self.seed, part.stay_id[0], 0))
            return torch.as_tensor(self.model.predict({"X": with_gaps(part)}, **several)["imputation"])

    def state_dict(self) -> Mapping[str, Any]:
        return self.model.model.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.model.model.load_state_dict(state_dict)


def with_gaps(batch: StayBatch) -> Any:
    """(B, T, V) NaN where not observed, as PyPOTS has it."""
    return torch.where(batch.observed, batch.values, float("nan")).cpu().numpy()


def check_settings(make: Any, chosen: Mapping[str, Any]) -> None:
    """Raise UserError for an argument that the class does not have, or one that it needs and is not given."""
    parameters = {name: p for name, p in inspect.signature(make).parameters.items() if name not in GIVEN}
    for name in chosen:
        if name not in parameters:
            raise unknown_name(f"argument of PyPOTS' {make.__name__}", name, parameters)
    missing = [name for name, p in parameters.items() if p.default is inspect.Parameter.empty and name not in chosen]
    if missing:
        example = f"'+model.imputer.settings.{missing[0]}=1'"
        raise UserError(f"PyPOTS' {make.__name__} needs {', '.join(missing)}: give them, as in {example}.")


def _class_of(name: str) -> Any:
    try:
        import pypots.imputation as imputation
    except ImportError as error:
        raise not_installed(f"{PyPOTS.__module__}.{PyPOTS.__name__}") from error
    known = [n for n, made in vars(imputation).items() if inspect.isclass(made) and hasattr(made, "fit")]
    if name not in known:
        raise unknown_name("imputer of PyPOTS", name, known)
    return getattr(imputation, name)
