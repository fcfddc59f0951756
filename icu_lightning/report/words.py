"""Numbers in words, by rules that the report prints: one table of limits for each metric, and never a word without its number.

Whether a risk can be believed is judged by the Brier score and the expected calibration error (ECE) alone. With few stays even
perfect risks seem wrong, so the ECE is set beside what perfect risks would show on as many stays (Bröcker, Smith, 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icu_lightning.evaluation import reliability
from icu_lightning.report.numbers import UNDEFINED, Estimate, points, value_of

LEVELS: dict[str, Sequence[tuple[float, str]]] = {  # from the limit upwards
    "auroc": ((0.9, "excellent"), (0.8, "very good"), (0.7, "good"), (0.6, "moderate"), (0.0, "poor")),
    "sensitivity": ((0.95, "excellent"), (0.85, "very good"), (0.7, "good"), (0.5, "moderate"), (0.0, "low")),
    "f1": ((0.7, "good"), (0.5, "moderate"), (0.3, "fair"), (0.0, "low")),
    "ppv": ((0.5, "good"), (0.25, "moderate"), (0.0, "low")),
    "ppv of a wide net": ((0.3, "good"), (0.15, "moderate"), (0.0, "low")),
}
WIDE_NET = 0.9  # sensitivity from which on more false alarms are allowed
CLOSE, NEAR = 0.02, 0.05  # ECE up to which risks are good, and fair
FEW = 100  # deaths, or survivors, below which little is certain
DRAWS = 400  # of outcomes, for the ECE of perfect risks
TONES = {"excellent": "good", "very good": "good", "good": "good", "moderate": "middling", "fair": "middling"}


@dataclass(frozen=True, kw_only=True)
class Status:
    """A word about a number. tone: good, middling, bad or unknown. why: the sentence behind it."""

    word: str
    tone: str
    why: str


def level(metric: str, value: float) -> str:
    """
    >>> level("auroc", 0.8), level("auroc", 0.79), level("sensitivity", 0.2)
    ('very good', 'good', 'low')
    """
    return next((word for limit, word in LEVELS[metric] if value >= limit), LEVELS[metric][-1][1])


def graded(metric: str, cell: Estimate | None) -> Status:
    """The word of a metric's value, and of the ends of its interval where they differ from it."""
    value = value_of(cell)
    if cell is None or value is None:
        return Status(word=UNDEFINED, tone="unknown", why="It is undefined on these stays.")
    word = level(metric, value)
    low, high = (cell.get(end) for end in ("low", "high"))
    ends = [level(metric, end) for end in (low, high) if end is not None]
    why = f"The interval reaches from {ends[0]} to {ends[-1]}." if set(ends) - {word} else ""
    return Status(word=word, tone=TONES.get(word, "bad"), why=why)


def discrimination(cell: Estimate | None) -> Status:
    """Of AUROC: chance first, because an interval that reaches 0.5 leaves nothing to be graded."""
    status = graded("auroc", cell)
    if cell is None or value_of(cell) is None:
        return status
    low, high = cell.get("low"), cell.get("high")
    if high is not None and high < 0.5:
        return Status(word="worse than chance", tone="bad", why="The whole interval lies below 0.5.")
    if low is not None and low <= 0.5:
        return Status(word="not better than chance", tone="bad", why="The interval reaches 0.5, which is chance.")
    return status


def predictive_value(cell: Estimate | None, sensitivity: Estimate | None) -> Status:
    """Of PPV: leniently if the threshold was set to find nearly every death."""
    wide = (value_of(sensitivity) or 0) >= WIDE_NET
    return graded("ppv of a wide net" if wide else "ppv", cell)


def calibration(metrics: dict[str, Any], by_chance: float | None) -> Status:
    """From the Brier score and the ECE.

    Arguments:
        metrics: `scaled_brier` and `ece` as in metrics.json.
        by_chance: the ECE that perfect risks stay below in 95 of 100 samples as large, see `chance_ece`; None if unknown.
    """
    scaled, ece = value_of(metrics.get("scaled_brier")), value_of(metrics.get("ece"))
    if scaled is None or ece is None:
        return Status(word=UNDEFINED, tone="unknown", why="It is undefined on these stays.")
    if scaled <= 0:
        why = "By the Brier score these risks are no better than giving everybody the death rate."
        return Status(word="no better than an average", tone="bad", why=why)
    within = by_chance is not None and ece <= by_chance
    if ece <= CLOSE:
        return Status(word="good", tone="good", why="")
    if ece <= NEAR and within:
        why = "Perfect risks would not look better on so few stays."
        return Status(word="good, as far as these stays can tell", tone="good", why=why)
    if ece <= NEAR:
        return Status(word="fair", tone="middling", why="")
    if within:
        why = "Perfect risks could look as bad on so few stays, so that nothing is decided."
        return Status(word="cannot be told", tone="unknown", why=why)
    return Status(word="poor", tone="bad", why="The risks are off by more than chance explains.")


def chance_ece(risk: NDArray[np.float64], seed: int) -> float | None:
    """The ECE that perfect risks stay below in 95 of 100 samples: outcomes are drawn from the very risks. None without stays."""
    if not len(risk):
        return None
    rng, once, risk = (
        np.random.default_rng(seed),
        np.ones(len(risk)),
        np.sort(risk),
    )  # sorted, it is sorted again at once
    drawn = [reliability.ece((rng.random(len(risk)) < risk).astype(float), risk, once) for _ in range(DRAWS)]
    return float(np.quantile(drawn, 0.95))


def rules() -> list[tuple[str, str]]:
    """(what is judged, the rule in words), for the report."""

    def said(metric: str) -> str:
        steps = [f"{word} from {limit:g}" for limit, word in LEVELS[metric][:-1]]
        return f"{', '.join(steps)}, {LEVELS[metric][-1][1]} below"

    close, near = points(CLOSE, 0), points(NEAR, 0)
    return [
        (
            "Telling deaths and survivors apart (AUROC)",
            f"not better than chance if its interval reaches 0.5; else {said('auroc')}",
        ),
        (
            "Are the risks to be believed (Brier score, ECE)",
            "no better than an average if the Brier score is no better than that of the death rate as everybody's risk; "
            f"else good up to an ECE of {close} percentage points; up to {near}, fair, or good as far as these stays can tell if "
            f"perfect risks would show as much on so few stays; above {near}, poor, or cannot be told for the same reason",
        ),
        ("Deaths found (sensitivity)", said("sensitivity")),
        (
            "Alarms that are right (PPV)",
            f"{said('ppv')}; if {WIDE_NET:.0%} of deaths or more are found: {said('ppv of a wide net')}",
        ),
        ("Both together (F1)", said("f1")),
    ]
