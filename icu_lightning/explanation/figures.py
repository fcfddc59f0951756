"""The figures of an explanation: mean size of each feature's share, every stay's share, and single stays hour by hour."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib import rc_context
from matplotlib.figure import Figure

from icu_lightning.atomic import atomic_file
from icu_lightning.explanation.bars import bars
from icu_lightning.explanation.single import single_stays, stay_map
from icu_lightning.explanation.swarm import swarm

STYLE: Any = {
    "svg.hashsalt": "icu_lightning",  # the same figure has the same bytes
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(folder: Path, table: pl.DataFrame, content: Mapping[str, Any], *, single: int) -> list[Path]:
    """Write shap_bar.svg, shap_beeswarm.svg and shap_stay_1.svg, ...; gives the paths.

    Arguments:
        folder: of the plots; single stays drawn there before are removed.
        table, content: of attributions.parquet and explanation.json.
        single: how many stays get a figure of their own.
    """
    for old in folder.glob("shap_stay_*.svg"):
        old.unlink()
    with rc_context(STYLE):
        figures = {"shap_bar": bars(content), "shap_beeswarm": swarm(table, content)}
        for i, stay in enumerate(single_stays(table, single), start=1):
            figures[f"shap_stay_{i}"] = stay_map(table.filter(pl.col("stay_id") == stay.stay_id), content, stay.why)
        return [_saved(figure, folder / f"{name}.svg") for name, figure in figures.items()]


def _saved(figure: Figure, path: Path) -> Path:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    return path
