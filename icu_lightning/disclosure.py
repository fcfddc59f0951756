"""Who may be shown: one rule for every page, figure and file that tells of a single stay.

Patient data leave the machine by no default. So a page about one stay is made of data that are open to everybody, or made up;
of anything else only if the user says so.
"""

from collections.abc import Mapping
from typing import Any

from icu_lightning.errors import unknown_name

STAY_PAGES = ("auto", "always", "never")


def stay_pages(config: Mapping[str, Any]) -> str:
    """What a run's configuration says in report.stay_pages; `auto` where it says nothing. Raises UserError for another word."""
    chosen = str(config.get("report", {}).get("stay_pages", "auto"))
    if chosen not in STAY_PAGES:
        raise unknown_name("choice in report.stay_pages", chosen, STAY_PAGES)
    return chosen


def may_show_stays(config: Mapping[str, Any], source: object) -> bool:
    """True if single stays may be shown: their values, risks, explanations and ids.

    Arguments:
        config: of the run.
        source: a data.sources.base.Source, or the metadata of a predictions.parquet (`evaluation.stored.Stored.facts`).

    Raises UserError for an unknown choice in `config`.
    """
    chosen = stay_pages(config)
    return is_open(source) if chosen == "auto" else chosen == "always"


def is_open(source: object) -> bool:
    """True for stays that are made up or published for everybody; False wherever that is not said."""
    if isinstance(source, Mapping):
        return "true" in (source.get("synthetic"), source.get("open_data"))
    return getattr(source, "synthetic", False) is True or getattr(source, "open_data", False) is True
