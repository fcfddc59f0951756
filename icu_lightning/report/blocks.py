"""What a report is made of, so that the page and its Markdown twin say the same: sections of texts, tables, figures, facts, code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph. tone: plain, note (small print), warning, failed (in red), heading or item (of a list)."""

    kind: ClassVar[str] = "text"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Cell:
    """Of a table. value: what the column is sorted by where the text is no word; "" where undefined."""

    text: str
    value: float | str | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """columns: (heading, small print below it). rows: the first cell names the row. words: columns that hold text.

    folded: on the page behind this sentence.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    words: Sequence[int] = ()
    folded: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture. alt: it in words. path: in the run folder. image: a data URI, or svg: markup that this package has drawn."""

    kind: ClassVar[str] = "figure"
    title: str
    alt: str
    note: str
    path: str
    image: str = ""
    svg: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Code:
    """Commands, to be copied."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True, kw_only=True)
class Links:
    """Files of the run folder, opened from there. links: (path, text)."""

    kind: ClassVar[str] = "links"
    links: Sequence[tuple[str, str]]


Block = Text | Table | Figure | Facts | Code | Links


@dataclass(frozen=True, kw_only=True)
class Section:
    """name: what links point to. short: how the navigation calls it."""

    name: str
    title: str
    short: str
    blocks: Sequence[Block]


def row(*cells: str | Cell) -> list[Cell]:
    return [cell if isinstance(cell, Cell) else Cell(cell) for cell in cells]
