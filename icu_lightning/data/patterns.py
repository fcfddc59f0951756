"""Which measured cells are hidden together, and which sooner: random keys, the smallest of which `masking` hides. No torch.

| pattern | what shares a key, so is hidden together |
|---|---|
| mcar | nothing: every cell by itself |
| hour | all variables of an hour |
| variable | all hours of a variable |
| block | a variable's hours in a run of `BLOCK_HOURS` |
| mnar | nothing; a cell's chance grows with how far its value is from the mean, as exp(|z|) |

Each takes the stay's own generator and its values (T, V) as z-scores, and returns keys (T, V).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icu_lightning.errors import UserError, unknown_name, whole_number

BLOCK_HOURS = 4

Keys = NDArray[np.float64]


def mcar(rng: np.random.Generator, values: NDArray[np.float32]) -> Keys:
    return rng.random(values.shape)


def hour(rng: np.random.Generator, values: NDArray[np.float32]) -> Keys:
    return np.broadcast_to(rng.random((values.shape[0], 1)), values.shape)


def variable(rng: np.random.Generator, values: NDArray[np.float32]) -> Keys:
    return np.broadcast_to(rng.random((1, values.shape[1])), values.shape)


def block(rng: np.random.Generator, values: NDArray[np.float32]) -> Keys:
    n_hours, n_variables = values.shape
    start = rng.integers(0, BLOCK_HOURS, n_variables)  # where each variable's first block ends
    keys = rng.random((n_hours // BLOCK_HOURS + 2, n_variables))
    of_hour = (np.arange(n_hours)[:, None] + start) // BLOCK_HOURS
    return np.take_along_axis(keys, of_hour, axis=0)


def mnar(rng: np.random.Generator, values: NDArray[np.float32]) -> Keys:
    """Weighted sampling without replacement: an exponential variable over its weight (Efraimidis, Spirakis, 2006)."""
    return rng.exponential(size=values.shape) / np.exp(np.abs(values.astype(np.float64)))


PATTERNS: dict[str, Callable[[np.random.Generator, NDArray[np.float32]], Keys]] = {
    pattern.__name__: pattern for pattern in (mcar, hour, variable, block, mnar)
}


def held_out(chosen: object) -> dict[str, Any]:
    """pattern, rate and seed (0 where none is named) of conf's `data.held_out`. Raises UserError for what cannot be meant."""
    example = "'data.held_out={pattern: mcar, rate: 0.3, seed: 0}'"
    if not isinstance(chosen, Mapping) or not {"pattern", "rate"} <= chosen.keys() <= {"pattern", "rate", "seed"}:
        raise UserError(f"data.held_out is null, or has a pattern, a rate and a seed, as in {example}; it is {chosen}.")
    pattern, rate, seed = chosen["pattern"], chosen["rate"], chosen.get("seed", 0)
    if pattern not in PATTERNS:
        raise unknown_name("pattern in data.held_out", str(pattern), PATTERNS)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
        raise UserError(f"The rate in data.held_out must be between 0 and 1, as in {example}; it is {rate}.")
    return {"pattern": pattern, "rate": float(rate), "seed": whole_number("data.held_out.seed", seed, 0)}
