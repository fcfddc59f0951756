"""The shared vocabulary of data and models: what a batch of stays is.

Axes, everywhere in the package: `B` stay, `T` hour, `V` variable, `S` sample or static feature. Masks are boolean and
named for what True means.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

N_SCORES = 5  # of `StayBatch.severity`


@dataclass(frozen=True)
class BatchShape:
    """What a model is told about the data before it is built, and what its checkpoint remembers."""

    hours: int
    variables: tuple[str, ...]
    static: tuple[str, ...]
    vis: tuple[str, ...] = ()  # names of the channels of `StayBatch.vis`
    severity: tuple[str, ...] = ()  # of the scores that are to be predicted, see `StayBatch.severity`

    @property
    def n_variables(self) -> int:
        return len(self.variables)

    @property
    def n_static(self) -> int:
        return len(self.static)


@dataclass(frozen=True)
class StayBatch:
    """Stays as tensors. A whole split is one StayBatch; `batch[index]` is a smaller one.

    values: (B, T, V) z-scores by the training stays, 0 where not observed.
    observed: (B, T, V) True where a value was measured and is shown.
    held_out: (B, T, V) True where a value was measured but is hidden on purpose, to be scored; never also observed.
    hours_since: (B, T, V) hours since the last hour with a measurement: 0 in an observed cell, then 1, 2, ...; before the
        first measurement, hours since admission, counting from 1.
    static: (B, S) the features of data.static: numbers as z-scores, 0 if unknown, and one-hot categories.
    in_icu: (B, T) True while the patient was in the unit.
    label: (B) 1.0 for the chosen outcome.
    died_in_hospital, died_in_icu: (B) 1.0, 0.0, or NaN if unknown.
    hospital_hours: (B) from admission to the unit to leaving the hospital, NaN if unknown. Like the outcome it is known
        afterwards only: something to learn to predict.
    stay_id, patient_id: (B) numpy arrays, never tensors: they are no features.
    severity: (B, 5) z-scores of SOFA, LODS, SAPS II, OASIS and SIRS of the first day, 0 where not asked for or not known.
    severity_observed: (B, 5) True where there is one.
    vis: (B, T, 7) z-scores of log1p of the six drugs' rates and of the vasoactive-inotropic score, 0 where unknown or not in the
        unit; None unless asked for. With the score's extensions there are more drugs.
    vis_observed: (B, T, 7) True where the rate is known, which it also is where nothing ran.
    """

    values: Tensor
    observed: Tensor
    held_out: Tensor
    hours_since: Tensor
    static: Tensor
    in_icu: Tensor
    label: Tensor
    died_in_hospital: Tensor
    died_in_icu: Tensor
    hospital_hours: Tensor
    stay_id: np.ndarray
    patient_id: np.ndarray
    severity: Tensor
    severity_observed: Tensor
    vis: Tensor | None = None
    vis_observed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def n_measured(self) -> np.ndarray:
        """(B,) cells that show a value; of a stay with 0 nothing is known but what is in `static`."""
        return self.observed.flatten(1).sum(1).numpy(force=True)

    def __getitem__(self, index: Tensor | slice) -> "StayBatch":
        """The stays at these positions, by one indexing operation a tensor."""
        rows = index.numpy() if isinstance(index, Tensor) else index
        return self._each(lambda tensor: tensor[index], lambda array: array[rows])

    def to(self, device: torch.device | str, **kwargs: Any) -> "StayBatch":
        """The same batch on a device, itself if it is there already; Lightning calls this for every batch."""
        if self.values.device == torch.device(device):
            return self
        return self._each(lambda tensor: tensor.to(device, **kwargs), lambda array: array)

    def double(self) -> "StayBatch":
        """The same batch with its numbers in double precision; masks stay boolean."""
        return self._each(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, lambda array: array)

    def _each(self, of_tensor: Callable[[Tensor], Tensor], of_array: Callable[[np.ndarray], np.ndarray]) -> "StayBatch":
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        new: dict[str, Any] = {
            n: part if part is None else of_tensor(part) if isinstance(part, Tensor) else of_array(part)
            for n, part in parts.items()
        }
        return StayBatch(**new)


def hours_since_last(observed: Tensor) -> Tensor:
    """(B, T, V) bool -> (B, T, V) float: hours since the last observed hour, as `StayBatch.hours_since` defines it.

    >>> hours_since_last(torch.tensor([[[False], [True], [False], [False]]])).flatten().tolist()
    [1.0, 0.0, 1.0, 2.0]
    """
    hour = torch.arange(observed.shape[1], device=observed.device).view(1, -1, 1)
    last = torch.where(observed, hour, -1).cummax(dim=1).values
    return (hour - last).float()


def hide(batch: StayBatch, held_out: Tensor) -> StayBatch:
    """The batch as if those cells had never been measured: not observed, value 0, hours_since counted past them.

    The truth is in the batch that was given, and nowhere in the one returned. Raises ValueError for a cell that was never
    measured.
    """
    if (held_out & ~batch.observed).any():
        raise ValueError("only measured cells can be held out")
    observed = batch.observed & ~held_out
    shown = torch.where(observed, batch.values, 0.0)
    since = hours_since_last(observed)
    return replace(batch, values=shown, observed=observed, held_out=held_out, hours_since=since)
