"""jinja2 templates beside the module that fills them, with everything escaped: the names in a database are not ours.

What pages of several rooms share (house.css, sort.js, parts.html) lies in style/ and is found by every template.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

STYLE = Path(__file__).parent / "style"


@cache
def environment(folder: Path, markdown: bool = False) -> Environment:
    return Environment(
        loader=FileSystemLoader([folder, STYLE]),
        autoescape=not markdown,  # for every other file, whatever its ending
        finalize=in_markdown if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def rendered(folder: Path, template: str, **facts: Any) -> str:
    return environment(folder, template.endswith(".md")).get_template(template).render(**facts)


def in_markdown(value: object) -> str:
    r"""A value as text of a Markdown page, in one line, so that a name is never taken for markup; what is marked `safe` stays.

    >>> in_markdown("a|b <script> *x* 5_000 [1]")
    'a\\|b \\<script\\> \\*x\\* 5_000 \\[1\\]'
    """
    if hasattr(value, "__html__"):
        return str(value)
    return re.sub(r"([\\`*<>\[\]|])", r"\\\1", " ".join(str(value).splitlines()))
