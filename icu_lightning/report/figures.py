"""Figures of a run folder, as they lie in plots/: each with its place in the report, its words, and how it is read.

They are embedded as images, not as markup: what a file holds is drawn and never run, and nothing is fetched by it. Figures of
single stays are not among them, because a report is passed on.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from icu_lightning.report.blocks import Block, Figure, Links, Text
from icu_lightning.report.folder import Run
from icu_lightning.yaml_file import read_yaml


@dataclass(frozen=True, kw_only=True)
class Known:
    """section: where it stands. reads: how a reader sees good or bad in it."""

    name: str
    section: str
    title: str
    reads: str


def known() -> list[Known]:
    """All of figures.yaml, in its order."""
    facts = read_yaml(Path(__file__).parent / "figures.yaml")
    return [Known(name=name, **about) for name, about in facts.items()]


def of_section(run: Run, section: str) -> list[Block]:
    """The figures that are there, in order, then a sentence about those that are not."""
    of_it = [figure for figure in known() if figure.section == section]
    there = [figure for figure in of_it if run.has(_path(figure))]
    blocks: list[Block] = [_figure(run, figure) for figure in there]
    if missing := [figure.title for figure in of_it if figure not in there]:
        blocks.append(Text(text=f"Not in the run folder: {_listed(missing)}.", tone="note"))
    return blocks


def stay_links(run: Run) -> list[Block]:
    """Pages and figures of single stays: linked where they were made, never shown."""
    index = run.path / "stays" / "index.html"
    pages = [index] if index.exists() else sorted((run.path / "stays").glob("*.html"))
    paths = [*pages, *sorted((run.path / "plots").glob("shap_stay_*.svg"))]
    if not paths:
        return [Text(text="No pages of single stays were made.", tone="note")]
    words = {
        "html": "what was measured, the risk over time, the outcome",
        "svg": "what moved this stay's risk, hour by hour",
    }
    links = [(path.relative_to(run.path).as_posix(), words[path.suffix[1:]]) for path in paths]
    text = "Single stays are told on pages of their own, which lie beside this one and do not travel with it:"
    return [Text(text=text), Links(links=links)]


def _figure(run: Run, figure: Known) -> Figure:
    content = base64.b64encode((run.path / _path(figure)).read_bytes()).decode("ascii")
    return Figure(
        title=figure.title,
        alt=f"{figure.title}. {figure.reads}",
        note=figure.reads,
        path=_path(figure),
        image=f"data:image/svg+xml;base64,{content}",
    )


def _path(figure: Known) -> str:
    return f"plots/{figure.name}.svg"


def _listed(titles: list[str]) -> str:
    """
    >>> _listed(["A", "B", "C"])
    'A, B and C'
    """
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
