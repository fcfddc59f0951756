"""What conf's `report` says about a closer look; a mistake in it is told before anything is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icu_lightning.disclosure import stay_pages
from icu_lightning.errors import UserError, whole_number

HOURS, STAYS, EMBEDDING = (6, 12, 24, 36, 48), 4, 500  # for runs begun before there was the choice


@dataclass(frozen=True, kw_only=True)
class Choices:
    """hours: at which the model is asked, those of the window. stays: single ones to show. embedding: most stays drawn in it."""

    hours: Sequence[int]
    stays: int
    embedding: int


def choices(config: Mapping[str, Any]) -> Choices:
    """Of a run's configuration. Raises UserError for a value that cannot be meant."""
    report = config.get("report") or {}
    stay_pages(config)
    hours = report.get("hours_observed", HOURS)
    if isinstance(hours, str) or not isinstance(hours, Sequence):
        raise UserError(
            f"report.hours_observed must be a list of hours, as in 'report.hours_observed=[6,12]'; it is {hours}."
        )
    return Choices(
        hours=[whole_number("An hour in report.hours_observed", hour, 1) for hour in hours],
        stays=whole_number("report.stays", report.get("stays", STAYS), 0),
        embedding=whole_number("report.embedding", report.get("embedding", EMBEDDING), 0),
    )
