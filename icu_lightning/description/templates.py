"""The jinja2 templates beside this module."""

from pathlib import Path
from typing import Any

from icu_lightning import templates


def rendered(template: str, **facts: Any) -> str:
    return templates.rendered(Path(__file__).parent, template, **facts)
