"""attributions.parquet: one row a stay and player. Everything that summary and figures need; patients' rows, like predictions.parquet.

| column | meaning |
|---|---|
| stay_id, patient_id, label | as in predictions.parquet |
| weight | how many stays of the split this one stands for |
| risk, base_value | the risk that is explained, and what it would be without any feature of the stay |
| feature, kind | lactate, sex, vasoactive_drugs, ...; value, missingness, static or in_icu |
| first_hour, end_hour | the player's hours: first_hour to before end_hour |
| attribution | the player's share of risk - base_value |
| measured | hours with a value among them; null for a static feature |
| value | mean of these values in the variable's unit, of vasoactive_drugs their score; or the static number; null if unknown |
| category | of a static feature that is one |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.batch import StayBatch
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.scaling import Scaler
from icu_lightning.errors import NotFittedError
from icu_lightning.explanation.game import DRUGS, Player, Players

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What people read of the stays.

    series: (B, T, V + C) in units, NaN where not measured. static: feature -> (B) numbers or words.
    """

    series: Floats
    in_icu: NDArray[np.bool_]
    static: Mapping[str, Sequence[float | str | None]]


def readings(data: ICUDataModule, stays: StayBatch) -> Readings:
    """Of stays of the data module: the scaling undone. A number that is unknown is None, though a model sees the mean."""
    series = [in_units(data.scaler, stays.values.numpy(), stays.observed.numpy())]
    if stays.vis is not None and stays.vis_observed is not None:
        series.append(np.expm1(in_units(data.vis_scaler, stays.vis.numpy(), stays.vis_observed.numpy())))
    rows = pl.DataFrame({"stay_id": stays.stay_id}).join(data.stays, on="stay_id", how="left", maintain_order="left")
    static: dict[str, Sequence[float | str | None]] = {}
    for feature in data.encoder.features:
        if feature in data.encoder.mean:
            static[feature] = rows[feature].cast(pl.Float64).to_list()
        else:
            known = data.encoder.categories[feature]
            static[feature] = [word if word in known else "unknown" for word in rows[feature].to_list()]
    return Readings(series=np.concatenate(series, axis=2), in_icu=stays.in_icu.numpy(), static=static)


def in_units(scaler: Scaler, z: NDArray[np.floating], observed: NDArray[np.bool_]) -> Floats:
    """(B, T, V) z-scores -> units, NaN where not observed. Raises NotFittedError."""
    if scaler.mean is None or scaler.sd is None:
        raise NotFittedError("the scaler has not seen training data")
    return np.where(observed, z.astype(np.float64) * scaler.sd + scaler.mean, np.nan)


def attribution_table(
    values: Floats, base: Floats, risk: Floats, weight: Floats, stays: StayBatch, players: Players, read: Readings
) -> pl.DataFrame:
    """The table, stay by stay and in the players' order.

    Arguments:
        values: (n, M) attributions. base, risk, weight: (n).
    """
    n, m = values.shape
    of_stay = {
        "stay_id": stays.stay_id,
        "patient_id": stays.patient_id,
        "label": stays.label.double().numpy(),
        "weight": weight,
        "risk": risk,
        "base_value": base,
    }
    columns = [_read(player, players, read) for player in players.all]
    of_player = {
        "feature": [p.feature for p in players.all],
        "kind": [p.kind for p in players.all],
        "first_hour": [p.first for p in players.all],
        "end_hour": [p.end for p in players.all],
    }
    return pl.DataFrame(
        {
            **{name: np.repeat(column, m) for name, column in of_stay.items()},
            **{name: column * n for name, column in of_player.items()},
            "attribution": values.reshape(-1),
            "measured": [c["measured"][i] for i in range(n) for c in columns],
            "value": [c["value"][i] for i in range(n) for c in columns],
            "category": [c["category"][i] for i in range(n) for c in columns],
        },
        schema_overrides={"measured": pl.Int64, "value": pl.Float64, "category": pl.String},
    )


def _read(player: Player, players: Players, read: Readings) -> dict[str, Sequence[float | int | str | None]]:
    """What one player stands for in each stay."""
    n = len(read.in_icu)
    nothing: dict[str, Sequence[float | int | str | None]] = dict.fromkeys(
        ("measured", "value", "category"), [None] * n
    )
    if player.kind == "in_icu":
        return nothing | {"value": read.in_icu.sum(1).astype(float).tolist()}
    if player.kind == "static":
        known = read.static[player.feature]
        return nothing | {"category" if any(isinstance(word, str) for word in known) else "value": known}
    names = (*players.shape.variables, *players.shape.vis)
    channel = len(names) - 1 if player.feature == DRUGS else names.index(player.feature)  # the score is the last
    cells = read.series[:, player.first : player.end, channel]  # (n, hours)
    measured = np.isfinite(cells).sum(1)
    mean = np.nansum(cells, axis=1) / np.maximum(measured, 1)
    shown = [float(v) if k else None for v, k in zip(mean, measured, strict=True)]
    return nothing | {"measured": measured.tolist(), "value": shown}
