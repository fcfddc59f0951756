"""The comparison as one HTML page: sortable tables, overlaid curves, nothing fetched from elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from icu_lightning.comparison.figures import STYLES, figures, learning
from icu_lightning.comparison.statistics import METRICS, Comparison
from icu_lightning.comparison.tables import counts, interval, p_text, told_of_p
from icu_lightning.templates import rendered


def page(comparisons: Sequence[Comparison], made: Mapping[str, str]) -> str:
    """The page as HTML text.

    Arguments:
        made: facts of its making, name -> text.
    """
    return rendered(
        Path(__file__).parent,
        "page.html",
        comparisons=[
            (comparison, counts(comparison), figures(models), learning(models))
            for comparison in comparisons
            for models in [[summary.model for summary in comparison.summaries]]
        ],
        made=made,
        metrics=METRICS,
        interval=interval,
        p_text=p_text,
        told_of_p=told_of_p,
        styles=STYLES,
        several=any(len(summary.model.runs) > 1 for c in comparisons for summary in c.summaries),
    )
