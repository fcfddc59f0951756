"""How well the model fills gaps, and what the spread of its risks is worth; for models that impute or draw."""

import math
from collections.abc import Mapping
from typing import Any

from icu_lightning.data.concepts import all_concepts
from icu_lightning.description.words import named
from icu_lightning.report import figures
from icu_lightning.report.blocks import Block, Cell, Section, Table, Text, row
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import Estimate, count_cell, estimate_cell

ERRORS = {  # as in metrics.json: heading, small print
    "mae": ("MAE", "SD"),
    "rmse": ("RMSE", "SD"),
    "crps": ("CRPS", "SD"),
    "coverage90": ("inside the 90 % band", ""),
    "mae_mean": ("MAE of the mean", "SD"),
    "rmse_mean": ("RMSE of the mean", "SD"),
}

IN_UNITS = {"mae": "MAE", "rmse": "RMSE", "mae_mean": "MAE of the mean"}


def gaps(run: Run) -> list[Section]:
    """One section, or none for a model that neither imputes nor draws."""
    blocks = [*_imputation(run), *_spread(run.test.get("spread"))]
    return [Section(name="gaps", title="How well does it fill gaps?", short="Gaps", blocks=blocks)] if blocks else []


def _imputation(run: Run) -> list[Block]:
    found = run.metrics.get("imputation")
    if not found:
        return []
    pattern = run.metrics.get("evaluation", {}).get("pattern", "mcar").upper()
    said = f"Measured cells of test stays were hidden on purpose ({pattern}) and filled in by the model, which saw the rest. "
    said += "Errors are in standard deviations of the training stays. The training mean in every cell is what has to be beaten; "
    said += "errors must rise with what is hidden, but for chance: each rate hides other cells, as the mean's own error shows."
    rows = [
        row(f"{float(rate):.0%}", Cell(f"{of['n']:,}", of["n"]), *(estimate_cell(of.get(name)) for name in ERRORS))
        for rate, of in found.items()
    ]
    columns = [("Hidden", ""), ("cells", ""), *ERRORS.values()]
    return [
        Text(text=said),
        Table(columns=columns, rows=rows),
        *_in_units(run, found),
        *figures.of_section(run, "gaps"),
    ]


def _in_units(run: Run, found: Mapping[str, Any]) -> list[Block]:
    """A row a variable and rate; nothing of runs that kept no units."""
    by_rate = {rate: cells.get("variables", {}) for rate, cells in found.items()}
    there = {name for variables in by_rate.values() for name in variables}
    rows = [
        row(
            named(all_concepts()[name]),
            Cell(f"{float(rate):.0%}", float(rate)),
            count_cell(variables[name]["n"]),
            *(_in_unit(variables[name][key]) for key in IN_UNITS),
        )
        for name in all_concepts()
        if name in there
        for rate, variables in by_rate.items()
        if name in variables
    ]
    if not rows:
        return []
    columns = [(heading, "") for heading in ("Variable", "hidden", "cells", *IN_UNITS.values())]
    table = Table(columns=columns, rows=rows, folded="The same of each variable, in its unit")
    told = "In units an error is undefined where fewer than ten patients have a hidden cell of the variable."
    return [table, Text(text=told, tone="note")]


def _in_unit(cell: Estimate) -> Cell:
    """With three significant digits of the value, and as many decimals in its interval."""
    size = math.floor(math.log10(abs(cell["value"]))) if cell["value"] else 0
    return estimate_cell(cell, max(0, 2 - size))


def _spread(thirds: dict[str, dict[str, Any]] | None) -> list[Block]:
    if not thirds:
        return []
    said = "The model draws several risks a stay; their mean is the prediction. A risk near one half spreads more, and is wrong "
    said += "more often even if it is right on average: so beside the Brier score stands the one that such risks would have if "
    said += "they were exact."
    rows = []
    for name, of in thirds.items():
        counts = (Cell(f"{of['n']:,} ({of['events']:,})", of["n"]), *(_plain(of[key]) for key in ("risk_sd", "risk")))
        rows.append(row(name, *counts, *(estimate_cell(of[key]) for key in ("auroc", "brier", "brier_if_exact"))))
    columns = [
        ("Spread", "thirds of the test stays"),
        ("stays (deaths)", ""),
        ("SD of its risks", "median"),
        ("mean risk", ""),
        ("AUROC", ""),
        ("Brier", ""),
        ("Brier if exact", ""),
    ]
    return [
        Text(text="Does a wide spread mean more errors?", tone="heading"),
        Text(text=said),
        Table(columns=columns, rows=rows),
    ]


def _plain(value: float) -> Cell:
    return Cell(f"{value:.2g}", value)
