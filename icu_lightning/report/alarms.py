"""What the stored threshold means on a ward: of a hundred patients, how many alarms, and how many deaths among them.

After the icon arrays of risk communication: natural frequencies are understood where probabilities are not
(Helping Doctors and Patients Make Sense of Health Statistics; Gigerenzer et al., 2007).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icu_lightning.report.numbers import value_of
from icu_lightning.templates import rendered

COLUMNS, STEP, EDGE = 20, 22, 12  # icons in a line, pixels from one to the next, and to the edge
NAMES = {
    "found": "die after an alarm",
    "missed": "die without one",
    "false": "alarm, but live",
    "quiet": "live, no alarm",
}


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """Whole patients of `of`, which sum up: every death is found or missed, every alarm right or false."""

    of: int
    found: int
    missed: int
    false: int

    @property
    def deaths(self) -> int:
        return self.found + self.missed

    @property
    def alarms(self) -> int:
        return self.found + self.false

    @property
    def quiet(self) -> int:
        return self.of - self.found - self.missed - self.false

    @property
    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in NAMES}


def alarms(test: dict[str, Any]) -> Alarms | None:
    """Of the test split of metrics.json: of 100 patients, or of 1,000 where fewer than one in 100 dies. None if undefined."""
    rate, found = value_of(test.get("alert_rate")), value_of(test.get("sensitivity"))
    if rate is None or found is None or not test["n"]:
        return None
    died = test["events"] / test["n"]
    of = 100 if died >= 0.01 else 1000
    deaths, flagged = round(of * died), round(of * rate)
    hits = min(round(of * died * found), deaths, flagged)
    return Alarms(of=of, found=hits, missed=deaths - hits, false=min(flagged - hits, of - deaths))


def said(of: Alarms) -> str:
    """The same in sentences.

    >>> said(Alarms(of=100, found=7, missed=7, false=6))
    'Of 100 such patients, 13 would raise an alarm: 7 of these die, 6 live. 14 die in all: 7 with an alarm, 7 without one.'
    """
    if not of.alarms:
        return f"Of {of.of:,} such patients, none would raise an alarm; {of.deaths} die."
    return (
        f"Of {of.of:,} such patients, {of.alarms} would raise an alarm: {of.found} of these die, {of.false} live. "
        f"{of.deaths} die in all: {of.found} with an alarm, {of.missed} without one."
    )


def icon_array(of: Alarms) -> str:
    """One icon a patient, SVG that takes its colours from the page; the kinds differ in shape, too."""
    kinds = [name for name, n in of.counts.items() for _ in range(n)]
    icons = [(EDGE + STEP * (i % COLUMNS), EDGE + STEP * (i // COLUMNS), kind) for i, kind in enumerate(kinds)]
    lines = -(-len(kinds) // COLUMNS)
    return rendered(
        Path(__file__).parent,
        "icons.svg",
        icons=icons,
        label=said(of),
        width=2 * EDGE + STEP * (COLUMNS - 1),
        height=2 * EDGE + STEP * (lines - 1),
    )
