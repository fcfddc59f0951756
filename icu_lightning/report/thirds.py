"""Said and died, in three groups of like risk: a reliability diagram that needs no explanation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icu_lightning.evaluation.reliability import equal_mass
from icu_lightning.report.participants import SMALLEST
from icu_lightning.templates import rendered

NAMES = ("lowest third", "middle third", "highest third")
WIDTH, LEFT, LONGEST, STEP = (
    430,
    108,
    230,
    50,
)  # of the drawing, where bars begin, the longest of them, from group to group


@dataclass(frozen=True, kw_only=True)
class Third:
    """A group: its name, the mean of its risks, and the share that died."""

    name: str
    said: float
    died: float


def thirds(label: NDArray[np.float64], risk: NDArray[np.float64]) -> list[Third]:
    """The three groups by risk, from the lowest up; stays of one risk are never parted.

    Empty if ties leave fewer groups, or a group has 1 to SMALLEST - 1 deaths or survivors, which is not told.
    """
    if len(risk) < len(NAMES):
        return []
    order, starts = equal_mass(risk, len(NAMES))
    groups = np.split(order, starts[1:])
    counts = [n for group in groups for n in (label[group].sum(), (1 - label[group]).sum())]
    if len(groups) < len(NAMES) or any(0 < n < SMALLEST for n in counts):
        return []
    return [
        Third(name=name, said=float(risk[group].mean()), died=float(label[group].mean()))
        for name, group in zip(NAMES, groups, strict=True)
    ]


def drawing(groups: list[Third]) -> str:
    """SVG that takes its colours from the page; "" without groups."""
    if not groups:
        return ""
    scale = LONGEST / max(0.01, *(max(g.said, g.died) for g in groups))
    bars = [
        {
            "name": g.name,
            "y": STEP * i,
            "said": g.said * scale,
            "died": g.died * scale,
            "said_text": f"{100 * g.said:.1f} %",
            "died_text": f"{100 * g.died:.1f} %",
        }
        for i, g in enumerate(groups)
    ]
    label = "; ".join(f"{g.name} of the risks: {100 * g.said:.1f} % said, {100 * g.died:.1f} % died" for g in groups)
    return rendered(Path(__file__).parent, "thirds.svg", bars=bars, label=label, width=WIDTH, left=LEFT)
