"""Random numbers of a patient, from (seed, patient, visit, purpose) alone.

A counter-based generator (Philox) is set to a place of its own for every purpose of every visit, so that neither other patients,
nor the number of workers, nor a feature that is switched off can change what this visit draws for anything else.

References: Parallel random numbers: as easy as 1, 2, 3 (Salmon et al., SC 2011).
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# A purpose is drawn for once, by one function: two draws from one place would be the same numbers in another shape.
# New ones go to the end, or every existing stay would change
PURPOSES = (
    "person",
    "build",
    "domain",
    "visit",
    "length",
    "offsets",
    "individuality",
    "course",
    "severity",
    "physiology",
    "other physiology",
    "correlation",
    "death",
    "outcome",
    "label noise",
    "time of death",
    "round",
    "jitter",
    "noise",
    "artifact",
    "artifact size",
    "dropout",
    "mechanism",
    "missing",
    "completeness",
    "inaccuracy",
    "treatment",
    "practice",
    "coded",
    "plan",
)


class Streams:
    """The streams of B visits.

    Arguments:
        seed: of the population; any text or number.
        patients: (B,) numbers of the patients.
        visits: (B,) which of the patient's visits, from 0; a number alone for all of them.
    """

    def __init__(self, seed: object, patients: NDArray[np.int64], visits: NDArray[np.int64] | int) -> None:
        self.patients, self.visits = patients, np.broadcast_to(visits, patients.shape)
        self._seed = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little")
        self._bits = np.random.Philox(key=0)
        self._draw = np.random.Generator(self._bits)
        self._state: Any = self._bits.state

    def normal(self, purpose: str, *shape: int) -> Floats:
        """(B, *shape) standard normal numbers."""
        return self._filled(purpose, shape, self._draw.standard_normal)

    def uniform(self, purpose: str, *shape: int) -> Floats:
        """(B, *shape) numbers in [0, 1)."""
        return self._filled(purpose, shape, self._draw.random)

    def _filled(self, purpose: str, shape: tuple[int, ...], draw: Any) -> Floats:
        out = np.empty((len(self.patients), *shape), dtype=np.float32)
        place = PURPOSES.index(purpose)
        rows = out.reshape(len(out), -1)
        for row, patient, visit in zip(rows, self.patients.tolist(), self.visits.tolist(), strict=True):
            self._set(patient, visit, place)
            draw(out=row, dtype=np.float32)
        return out

    def _set(self, patient: int, visit: int, place: int) -> None:
        state = self._state
        state["state"] = {
            "key": np.array([self._seed, patient], dtype=np.uint64),
            "counter": np.array([0, 0, visit, place], dtype=np.uint64),
        }
        state["buffer_pos"], state["has_uint32"] = 4, 0
        self._bits.state = state
