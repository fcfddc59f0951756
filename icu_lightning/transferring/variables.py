"""What the model's variables look like in the target: charted at all, measured how often, and how far from the training stays."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

FAR = 1.0  # training SDs between means: another unit, another kind of patient, or another way of charting


def variable_table(
    variables: Sequence[str],
    units: Sequence[str],
    z: NDArray[np.floating],
    observed: NDArray[np.bool_],
    unmeasured: Collection[str],
    trained: Mapping[str, float],
) -> pl.DataFrame:
    """A row a variable: share of stays and of hours with a value, mean and SD in units of the training stays, and a remark.

    `mean_z` 0 and `sd_z` 1 are those of the training stays; null where nothing is measured.

    Arguments:
        variables, units: (V,).
        z, observed: (B, T, V) scaled as the model sees them.
        trained: share of hours with a value in the run's own stays, by variable; empty if unknown.
    """
    count = observed.sum((0, 1))
    rows = []
    for v, name in enumerate(variables):
        values = z[..., v][observed[..., v]].astype(float)
        mean, sd = (float(values.mean()), float(values.std())) if count[v] else (None, None)
        rows.append(
            {
                "variable": name,
                "unit": units[v],
                "stays_with_a_value": float(observed[..., v].any(1).mean()),
                "hours_with_a_value": float(observed[..., v].mean()),
                "hours_with_a_value_training": trained.get(name),
                "mean_z": mean,
                "sd_z": sd,
                "remark": _remark(name in unmeasured, mean),
            }
        )
    numbers = dict.fromkeys(("hours_with_a_value_training", "mean_z", "sd_z"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides={"remark": pl.String, **numbers})


def _remark(unmeasured: bool, mean: float | None) -> str | None:
    if unmeasured:
        return "fed as never measured, because you asked for it"
    if mean is None:
        return "charted by the database, but in no stay of this cohort"
    if abs(mean) <= FAR:
        return None
    return (
        f"mean {abs(mean):.1f} training SDs {'above' if mean > 0 else 'below'} the training mean; is the unit the same?"
    )
