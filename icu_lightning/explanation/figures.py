"""The figures of an explanation: mean size of each feature's share, every stay's share, and single stays hour by hour."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from icu_lightning.explanation.bars import bars
from icu_lightning.explanation.single import single_stays, stay_map
from icu_lightning.explanation.subjects import Many, One
from icu_lightning.explanation.swarm import swarm
from icu_lightning.plots.save import write_figure


def draw(
    folder: Path, table: pl.DataFrame, content: Mapping[str, Any], *, single: int, png: bool = False
) -> list[Path]:
    """Write shap_bar.svg, shap_beeswarm.svg and shap_stay_1.svg, ...; gives the paths.

    Arguments:
        folder: of the plots; single stays drawn there before are removed.
        table, content: of attributions.parquet and explanation.json.
        single: how many stays get a figure of their own.
        png: of 300 dpi beside them.
    """
    for old in folder.glob("shap_stay_*.*"):
        old.unlink()
    many = Many(content=content, table=table)
    figures: dict[str, Figure] = {"shap_bar": bars(many), "shap_beeswarm": swarm(many)}
    for i, stay in enumerate(single_stays(table, single), start=1):
        rows = table.filter(pl.col("stay_id") == stay.stay_id)
        figures[f"shap_stay_{i}"] = stay_map(One(rows=rows, content=content, why=stay.why))
    kind = "SYNTHETIC stays, no patients. " if content["synthetic"] else ""
    for name, figure in figures.items():
        write_figure(figure, folder / f"{name}.svg", f"{figure.get_label()}. {kind}{many.facts.about}.", png=png)
    return [folder / f"{name}.svg" for name in figures]
