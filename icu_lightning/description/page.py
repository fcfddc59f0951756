"""The description of a cohort as one HTML page: no script, nothing fetched from elsewhere, light or dark as the reader has it."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.extract import Extract
from icu_lightning.data.settings import DataSettings
from icu_lightning.description.counts import cleaning_counts, component_row, split_rows, unit_row
from icu_lightning.description.figures import FENCE, LIMITS, distribution, heat_map
from icu_lightning.description.flow_chart import flow_chart
from icu_lightning.description.groups import groups_by_outcome, stay_means
from icu_lightning.description.measurement import Measured, measured
from icu_lightning.description.small_cells import WITHHELD, is_small
from icu_lightning.description.table_one import table_one
from icu_lightning.description.templates import rendered
from icu_lightning.description.words import DATABASES, OUTCOMES, filter_words, named, number, percent, plain


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a page comes from. database: `Source.name`. synthetic: no patients'. made: facts of its making, name -> text."""

    database: str
    synthetic: bool
    made: Mapping[str, str]


def page(origin: Origin, settings: DataSettings, extract: Extract, stays: pl.DataFrame, smallest: int) -> str:
    """The page as HTML text.

    Arguments:
        extract, stays: of `prepared`; `stays` with their `split`.
        smallest: a number about 1 to smallest - 1 stays is not shown; 1 shows everything.
    """
    concepts = concepts_of(settings.variables)
    everyone, *by_outcome = groups_by_outcome(stays, settings.outcome)
    table, block = measured(extract.values, concepts)
    return rendered(
        "page.html",
        facts=_facts(origin, settings, stays) | dict(origin.made),
        synthetic=origin.synthetic,
        title=DATABASES.get(origin.database, plain(origin.database)),
        outcome=OUTCOMES.get(settings.outcome, (plain(settings.outcome),))[0],
        hours=settings.hours,
        smallest=smallest,
        withheld=WITHHELD,
        limits=LIMITS,
        fence=FENCE,
        groups=by_outcome,
        flow=flow_chart(extract.attrition, title="Who is in the cohort", smallest=smallest),
        one=table_one(stays, extract.values, concepts, settings.outcome, smallest),
        heat=heat_map(table, block, everyone.n, settings.hours, smallest),
        block=block,
        measured=[_measured_row(row, everyone.n, settings.hours, smallest) for row in table],
        distributions=[
            distribution(concept, stay_means(extract.values, v), by_outcome, smallest)
            for v, concept in enumerate(concepts)
        ],
        cleaning=cleaning_counts(extract.cleaning),
        units=[unit_row(row, smallest) for row in extract.units.iter_rows(named=True)],
        components=[component_row(row, smallest) for row in extract.components.iter_rows(named=True)],
        splits=split_rows(stays, by_outcome, smallest),
    )


def _facts(origin: Origin, settings: DataSettings, stays: pl.DataFrame) -> dict[str, str]:
    """What was asked and how many there are: the head of the page."""
    deaths = int(stays[settings.outcome].sum())
    steps = [" ".join(map(str, *step.items())) if isinstance(step, Mapping) else step for step in settings.cohort]
    shares = " / ".join(f"{100 * share:g} %" for share in settings.fractions)
    label, _, _ = OUTCOMES.get(settings.outcome, (plain(settings.outcome), "", ""))
    return {
        "Source": f"{DATABASES.get(origin.database, plain(origin.database))} (data={origin.database})",
        "Data": "made up by a program, no patients" if origin.synthetic else "real stays of intensive care units",
        "Cohort": f"{stays.height:,} stays of {stays['patient_id'].n_unique():,} patients: "
        + ("; ".join(filter_words(step) for step in steps) or "no filter"),
        "Outcome": f"{label} (data.outcome={settings.outcome}): {deaths:,} of {stays.height:,} ({percent(deaths, stays.height)})",
        "Window": f"the first {settings.hours} hours after admission to the unit (data.hours={settings.hours})",
        "Prediction": f"{settings.hours} hours after admission; nothing charted then or later is read",
        "Variables": f"{len(settings.variables)}: "
        + "; ".join(concept.label for concept in concepts_of(settings.variables)),
        "Splits": f"by {settings.split}, {shares} for training / validation / test (data.split_seed={settings.split_seed})",
    }


def _measured_row(row: Measured, n_stays: int, hours: int, smallest: int) -> dict[str, object]:
    """A line of the missingness table, and the shares behind the heat map, small cells hidden."""

    def share(n: int) -> str:
        return f"<{smallest}" if is_small(n, smallest) else number(100 * n / n_stays, 0)

    few = is_small(row.stays, smallest)
    return {
        "label": named(row.concept),
        "stays": f"<{smallest}" if few else f"{row.stays:,} ({percent(row.stays, n_stays)})",
        "without": WITHHELD if few else percent(n_stays - row.stays, n_stays),
        "hours": WITHHELD if few else percent(row.hours, n_stays * hours),
        "by_block": [share(n) for n in row.by_block],
    }
