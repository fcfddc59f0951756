"""How much an explanation may cost, and what it is about. Known to be right before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from icu_lightning.errors import unknown_name, whole_number
from icu_lightning.explanation.game import WAYS

RISKS = ("raw", "calibrated")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of report.explanation.

    stays: of the test split, explained one by one; 0 for no explanation.
    evaluations: of the model, at most, for one stay.
    background: training stays that stand for an absent feature.
    risk: raw, the model's own; or calibrated.
    single: stays that get a figure of their own, where single stays may be shown.
    drugs: vasoactive drugs and their score together, as one feature, or apart; see `game`.

    Raises UserError for a value that cannot be used.
    """

    stays: int
    evaluations: int
    background: int
    risk: str
    single: int
    drugs: str = "together"

    def __post_init__(self) -> None:
        for name, least in {"stays": 0, "evaluations": 1, "background": 1, "single": 0}.items():
            whole_number(name, getattr(self, name), least)
        if self.risk not in RISKS:
            raise unknown_name("risk to explain", self.risk, RISKS)
        if self.drugs not in WAYS:
            raise unknown_name("way to explain drugs", self.drugs, WAYS)


def explanation_settings(config: Mapping[str, Any]) -> Settings | None:
    """Those of a run's configuration; None if it asks for no explanation. Raises UserError for a wrong or missing key."""
    report = config.get("report", {})
    if not report.get("write") or not report.get(
        "explanation"
    ):  # runs begun before there were explanations ask for none
        return None
    known = [f.name for f in fields(Settings)]
    chosen: dict[str, Any] = {"drugs": "together"} | dict(
        report["explanation"]
    )  # runs begun before there was a choice do not say
    for name in (*chosen, *known):
        if name not in known or name not in chosen:
            raise unknown_name("key of report.explanation", name, known)
    settings = Settings(**chosen)
    return settings if settings.stays else None
