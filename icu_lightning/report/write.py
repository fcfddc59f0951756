"""A run's report into its folder: report.html, report.md, tripod_ai.md and model_card.md, from what the folder holds."""

import re
from pathlib import Path

from icu_lightning import __version__
from icu_lightning.atomic import write_text
from icu_lightning.report.alarms import NAMES
from icu_lightning.report.card import card
from icu_lightning.report.folder import Run, read
from icu_lightning.report.sections import sections
from icu_lightning.report.summary import summary
from icu_lightning.report.tripod import checklist
from icu_lightning.templates import rendered

HERE = Path(__file__).parent


def write_report(folder: Path) -> Path:
    """Write all four; returns the page's path. Raises UserError for a run that is not finished, damaged or altered."""
    for name, text in pages(read(folder)).items():
        write_text(folder / name, text)
    return folder / "report.html"


def pages(run: Run) -> dict[str, str]:
    """File name -> content. The same run gives the same bytes: nothing tells when the report was made."""
    date = run.environment.get("date", "an unknown day")
    facts = {
        "summary": summary(run),
        "sections": sections(run),
        "model": run.model,
        "database": run.database,
        "synthetic": run.synthetic,
        "made": f"Made by icu_lightning {__version__} from the files of the run folder {run.path.name}, of {date}.",
    }
    return {
        "report.html": rendered(HERE, "page.html", names=NAMES, **facts),
        "report.md": _tidy(rendered(HERE, "report.md", **facts)),
        "tripod_ai.md": _tidy(rendered(HERE, "tripod_ai.md", items=checklist(run), **facts)),
        "model_card.md": _tidy(rendered(HERE, "model_card.md", **card(run), **facts)),
    }


def _tidy(markdown: str) -> str:
    """Never more than one empty line."""
    return re.sub(r"\n{3,}", "\n\n", markdown).strip() + "\n"
