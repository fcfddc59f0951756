"""explanation.json: what drives the risk on average, with intervals over patients; no stay is in it.

Means are over the stays of the split: those that were explained count as often as they stand for others (`weight`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.explanation.words import feature_words

NOTHING = 1e-9  # an attribution below it is rounding: the model does not look there
TOLERANCE = 1e-6  # of |base value + sum of attributions - risk|, on the scale of risks


def largest_error(table: pl.DataFrame) -> float:
    """max over stays of |base value + sum of attributions - risk|; the risk is the model's own for the untouched stay."""
    gap = table.group_by("stay_id").agg(
        gap=(pl.col("base_value").first() + pl.col("attribution").sum() - pl.col("risk").first()).abs()
    )
    return float(gap["gap"].to_numpy().max())


def summary(table: pl.DataFrame, facts: Mapping[str, Any], *, bootstrap: int, seed: int) -> dict[str, Any]:
    """The content of explanation.json.

    Arguments:
        table: as `table` describes it.
        facts: of the computation (background, evaluations, ...), put in as they are.
        bootstrap: resamples of patients.
    """
    stays = per_stay(table)
    error = largest_error(table)
    content: dict[str, Any] = {
        **facts,
        "n": stays.height,
        "patients": stays["patient_id"].n_unique(),
        "events": int(stays["label"].sum()),
        "base_value": float(stays["base_value"].to_numpy().mean()),
        "base_value_range": float(stays["base_value"].to_numpy().max() - stays["base_value"].to_numpy().min()),
        "mean_risk": float(np.average(stays["risk"].to_numpy(), weights=stays["weight"].to_numpy())),
        "tolerance": TOLERANCE,
        "largest_error": error,
        "adds_up": error <= TOLERANCE,
    }
    if not content["adds_up"]:
        content["warning"] = not_additive(error)
    content["features"] = _features(table, stays, bootstrap, seed)
    content["by_hour"] = by_hour(table)
    return content


def not_additive(error: float) -> str:
    return (
        f"The attributions do not add up: base value and attributions miss the model's risk by up to {error:.1e}, more than "
        f"{TOLERANCE:.0e}. The model gives one stay different risks, or reads more of a stay than its features: do not use them."
    )


def per_stay(table: pl.DataFrame) -> pl.DataFrame:
    """A row a stay, in the table's order, with what is the same in all its rows."""
    columns = ("stay_id", "patient_id", "label", "weight", "risk", "base_value")
    return table.select(columns).unique("stay_id", keep="first", maintain_order=True)


def summed(table: pl.DataFrame, stays: pl.DataFrame, feature: str, *kinds: str) -> NDArray[np.float64]:
    """(n) attributions of a feature in the order of `stays`, over the kinds named or all."""
    rows = table.filter(pl.col("feature") == feature)
    if kinds:
        rows = rows.filter(pl.col("kind").is_in(kinds))
    sums = rows.group_by("stay_id").agg(pl.col("attribution").sum())
    return stays.select("stay_id").join(sums, on="stay_id", how="left", maintain_order="left")["attribution"].to_numpy()


def _features(table: pl.DataFrame, stays: pl.DataFrame, bootstrap: int, seed: int) -> list[dict[str, Any]]:
    """Mean |attribution| of each feature, largest first; of a variable also of its values and of its missingness alone."""
    kinds = dict(
        table.select("feature", "kind")
        .unique(maintain_order=True)
        .group_by("feature", maintain_order=True)
        .agg("kind")
        .iter_rows()
    )
    parts = {(f, "total"): summed(table, stays, f) for f in kinds}
    parts |= {(f, kind): summed(table, stays, f, kind) for f, has in kinds.items() if len(has) > 1 for kind in has}
    sizes, weight = np.abs(np.stack(list(parts.values()), axis=1)), stays["weight"].to_numpy()

    def means(times: NDArray[np.float64]) -> dict[Any, Any]:
        w = times * weight
        return dict(zip(parts, ((w @ sizes) / w.sum(-1, keepdims=True)).T, strict=True))

    found: dict[Any, Any] = with_intervals(means, stays["patient_id"].to_numpy(), bootstrap, seed)
    features = [
        _feature(f, has, {kind: found[f, kind] for kind in ("total", *has) if (f, kind) in found})
        | categories(table, f)
        for f, has in kinds.items()
    ]
    return sorted(features, key=lambda entry: -entry["mean_absolute"])


def _feature(feature: str, kinds: Sequence[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """mean_absolute with its interval; of a variable also of its values and of its missingness, of others null."""
    series = len(kinds) > 1
    entry: dict[str, Any] = {
        "feature": feature,
        "label": feature_words(feature),
        "kind": "series" if series else kinds[0],
    }
    entry |= {"mean_absolute": found["total"]["value"], "low": found["total"]["low"], "high": found["total"]["high"]}
    for kind, name in {"value": "values", "missingness": "missingness"}.items():
        entry |= {
            name if end == "value" else f"{name}_{end}": found[kind][end] if series else None
            for end in ("value", "low", "high")
        }
    return entry


def categories(table: pl.DataFrame, feature: str) -> dict[str, Any]:
    """Of a feature with categories: each one's stays and their mean attribution, signed and of its size; else nothing."""
    rows = table.filter((pl.col("feature") == feature) & pl.col("category").is_not_null())
    if not rows.height:
        return {}
    weight, attribution = pl.col("weight"), pl.col("attribution")
    mean, absolute = ((of * weight).sum() / weight.sum() for of in (attribution, attribution.abs()))
    found = rows.group_by("category").agg(n=pl.len(), mean=mean, mean_absolute=absolute).sort("category")
    return {"categories": {row.pop("category"): row for row in found.to_dicts()}}


def by_hour(table: pl.DataFrame) -> dict[str, Any]:
    """Mean |attribution| of each variable's values, block of hours by block of hours."""
    size = (pl.col("attribution").abs() * pl.col("weight")).sum() / pl.col("weight").sum()
    cells = (
        table.filter(pl.col("kind") == "value")
        .group_by("feature", "first_hour", "end_hour", maintain_order=True)
        .agg(size=size)
        .sort("first_hour", maintain_order=True)
    )
    blocks = cells.select("first_hour", "end_hour").unique(maintain_order=True).rows()
    rows = cells.group_by("feature", maintain_order=True).agg("size").rows()
    return {"hours": [list(block) for block in blocks], "mean_absolute": {feature: sizes for feature, sizes in rows}}
