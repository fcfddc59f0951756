"""jinja2 templates beside the module that fills them, with everything escaped: the names in a database are not ours."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,  # for every file, whatever its ending
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def rendered(folder: Path, template: str, **facts: Any) -> str:
    return environment(folder).get_template(template).render(**facts)
