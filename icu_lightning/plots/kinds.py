"""Which figures a run is to have; without matplotlib, so that a mistake is told before anything is computed."""

from collections.abc import Mapping
from typing import Any

from icu_lightning.errors import unknown_name

KINDS = ("none", "svg", "png")


def known_figures(kind: object) -> str:
    """`kind`, if it is one of KINDS; YAML's null and false count as none. Raises UserError."""
    kind = "none" if kind in (None, False) else kind
    if kind not in KINDS:
        raise unknown_name("kind of figures", kind, KINDS)
    return str(kind)


def figures_asked(config: Mapping[str, Any], kind: str | None = None) -> str:
    """One of KINDS: `kind`, or else what the run's configuration says; none in runs begun before there were reports.

    Raises UserError for another.
    """
    report = config.get("report") or {}
    return known_figures((report.get("figures") if report.get("write") else None) if kind is None else kind)
