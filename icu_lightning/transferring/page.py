"""A transfer as one HTML page: what it is called external for, its tables and figures, nothing fetched from elsewhere."""

import base64
from collections.abc import Sequence
from pathlib import Path

from icu_lightning.description.words import OUTCOMES, filter_words
from icu_lightning.templates import rendered
from icu_lightning.transferring import tables
from icu_lightning.transferring.figures import Drawn
from icu_lightning.transferring.result import Transfer


def page(transfer: Transfer, drawn: Sequence[Drawn]) -> str:
    """The page as HTML text."""
    return rendered(
        Path(__file__).parent,
        "page.html",
        transfer=transfer,
        counts=tables.counts(transfer),
        remarks=tables.remarks(transfer),
        metrics=tables.metric_rows(transfer),
        draws=tables.draw_rows(transfer) if transfer.after else None,
        hospitals=tables.hospital_rows(transfer) if transfer.hospitals is not None else None,
        left_out=tables.left_out(transfer),
        summarised=tables.summarised(transfer),
        verdict=tables.verdict(transfer),
        figures={figure.name: (figure, source(figure.svg)) for figure in drawn},
        variables=transfer.variables.to_dicts(),
        attrition=[{**row, "filter": filter_words(row["filter"])} for row in transfer.attrition.to_dicts()],
        outcome=OUTCOMES.get(transfer.outcome, (transfer.outcome,))[0],
        plain=tables.plain,
        made={**transfer.facts, "Resamples": _resamples(transfer)},
    )


def source(svg: str) -> str:
    """The SVG as what an <img> shows: ids of one figure cannot reach into another."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _resamples(transfer: Transfer) -> str:
    chosen = transfer.settings
    of_patients = f"{chosen.bootstrap:,} of patients, seed {chosen.seed}"
    return f"{of_patients}; {chosen.draws} draws of k stays; recalibrated: {chosen.start}"
