"""Whom the numbers hold for: subgroups of the test stays, and those that are too few to be shown, by name.

A group is shown from as many stays on as metrics.json scored, and from SMALLEST deaths and survivors on: fewer may point at a
person, and decide nothing. If all that are left out are fewer than SMALLEST stays, the smallest of the others goes with them,
or one subtraction would tell of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icu_lightning.description.small_cells import is_small
from icu_lightning.description.words import plain
from icu_lightning.report import figures
from icu_lightning.report.blocks import Block, Section, Table, Text, row
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import count_cell, estimate_cell
from icu_lightning.report.participants import SMALLEST

SHOWN = {
    "auroc": "AUROC",
    "brier": "Brier",
    "calibration_slope": "slope",
    "observed_to_expected": "O:E",
    "sensitivity": "sensitivity",
    "ppv": "PPV",
    "alert_rate": "alert rate",
}


@dataclass
class Groups:
    """Of one column: those shown with their metrics, and the counts of those that are not, smallest first."""

    column: str
    shown: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    hidden: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def of_people(self) -> bool:
        """Whether a hidden group says something about a person; that something is not known does not."""
        return bool(set(self.hidden) - {"unknown"})

    @property
    def together(self) -> tuple[int, int]:
        """Stays and deaths of the hidden groups, which a reader finds by subtraction."""
        return sum(g["n"] for g in self.hidden.values()), sum(g["events"] for g in self.hidden.values())


def subgroups(run: Run) -> Section:
    every = [suppressed(column, run.test) for column in columns(run.test)]
    blocks: list[Block] = []
    if any(groups.shown for groups in every):
        blocks.append(_table(every))
    elif every:
        blocks.append(Text(text="No group is large enough to be shown."))
    else:
        blocks.append(Text(text="The source tells nothing by which the test stays could be grouped.", tone="note"))
    blocks += [Text(text=told(groups), tone="note") for groups in every if groups.hidden]
    least = run.metrics.get("evaluation", {}).get("smallest", 50)
    rule = f"A group is shown from {least} stays and {SMALLEST} deaths and survivors on. "
    rule += "Differences between groups are not tested: with many groups some differ by chance."
    blocks += [Text(text=rule, tone="note"), *_figures(run, every)]
    return Section(name="subgroups", title="For whom does it hold? Subgroups", short="Subgroups", blocks=blocks)


def _figures(run: Run, every: list[Groups]) -> list[Block]:
    """The forest, but not if a group is drawn in it that is not shown here."""
    drawn = {(column, name) for column, of in run.test.get("subgroups", {}).items() for name in of}
    if drawn - {(groups.column, name) for groups in every for name in groups.shown}:
        text = "The figure of the subgroups stays in the run folder, because it shows groups that are too few to be passed on."
        return [Text(text=text, tone="note")]
    return figures.of_section(run, "subgroups")


def columns(test: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*test.get("subgroups", {}), *test.get("too_small", {})]))


def suppressed(column: str, test: dict[str, Any]) -> Groups:
    """Which groups of a column are shown: as long as those left out are very few together, the smallest shown goes, too."""
    scored = test.get("subgroups", {}).get(column, {})
    groups = Groups(column, hidden=dict(test.get("too_small", {}).get(column, {})))
    for name, metrics in scored.items():
        few = min(metrics["events"], metrics["n"] - metrics["events"]) < SMALLEST
        (groups.hidden if few else groups.shown)[name] = metrics
    while groups.shown and groups.of_people and is_small(groups.together[0], SMALLEST):
        smallest = min(groups.shown, key=lambda name: groups.shown[name]["n"])
        groups.hidden[smallest] = groups.shown.pop(smallest)
    groups.hidden = dict(sorted(groups.hidden.items(), key=lambda item: item[1]["n"]))
    return groups


def told(groups: Groups) -> str:
    """The hidden groups by name, the smallest first; their numbers only together, and only if they are not small."""
    names = ", ".join(groups.hidden)
    n, events = groups.together
    deaths = f"<{SMALLEST}" if is_small(events, SMALLEST) else f"{events:,}"
    counts = "" if is_small(n, SMALLEST) else f" (together {n:,} stays, {deaths} deaths)"
    first = f", the smallest of them {next(iter(groups.hidden))}" if len(groups.hidden) > 1 else ""
    return f"By {plain(groups.column)}, too few to be shown: {names}{counts}{first}."


def _table(every: list[Groups]) -> Table:
    rows = [
        row(
            f"{plain(groups.column).capitalize()}: {name}",
            count_cell(metrics["n"]),
            count_cell(metrics["events"]),
            *(estimate_cell(metrics.get(metric), 2) for metric in SHOWN),
        )
        for groups in every
        for name, metrics in groups.shown.items()
    ]
    heads = [("Group", ""), ("stays", ""), ("deaths", ""), *((name, "") for name in SHOWN.values())]
    return Table(caption="Test stays by group, on the calibrated risk", columns=heads, rows=rows)
