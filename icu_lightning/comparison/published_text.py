"""A table of the paper as text: for the terminal, as Markdown, LaTeX with booktabs, and CSV. `-` is what was not run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning.comparison import budgets
from icu_lightning.comparison.cells import HIGHER, Key, Ours
from icu_lightning.comparison.published import (
    AFTER,
    FEWEST_EVENTS,
    FEWEST_SCORED,
    PROTOCOLS,
    PYPOTS,
    Cell,
    Table,
    events,
    too_few,
)
from icu_lightning.comparison.runs import Run
from icu_lightning.comparison.tables import escaped

COLUMNS = {"published": "published", "paper": "ours, paper's protocol", "clean": "ours, clean"}
NAMES = {  # of rows and columns; others have the name of their file
    "brits": "BRITS",
    "csdi": "CSDI",
    "gru_d": "GRU-D",
    "kmeans": "K-means",
    "knn": "KNN",
    "lightgbm": "LightGBM",
    "locf": "LOCF",
    "logistic_regression": "Logistic regression",
    "lstm": "LSTM",
    AFTER: "LSTM, trained after the imputer",
    "mean": "Mean",
    "mtdm": "MTDM",
    "remasker": "ReMasker",
    "saits": "SAITS",
    "siamese": "Siamese network",
    "transformer": "Transformer",
    "zero": "Zero",
}
METRICS = {"auroc": "AUROC", "mae": "MAE", "rmse": "RMSE"}
NOT_RUN = "-"
Bold = Callable[[str], str]


def title(table: Table) -> str:
    """What the table is, of which data; SYNTHETIC first, where it is, and SMOKE where it has too few events to rank."""
    runs = [run for found in table.runs.values() for run in found]
    kind = "SYNTHETIC STAYS, no patients, beside published numbers of patients: " if table.synthetic else ""
    kind += smoke(table.runs.values()) or smoke_of_errors(table)
    what = "errors of hidden cells, in SDs" if of_errors(table) else "AUROC"
    return f"{kind}{table.name} of the MTDM paper, {what}: published {table.data}, ours {runs[0].data}"


def notes(table: Table) -> list[str]:
    """What a reader has to know."""
    found = [
        f"Published: the whole {table.data} (Buranaburustam et al., 2025). Ours: what the runs are of. They are not the same stays.",
        *(f"{COLUMNS[name].capitalize()}: {stays(runs)}{scored(table, name)}" for name, runs in table.runs.items()),
        "In brackets the 95 % interval over patients; of several seeds the mean ± SD over them, and the interval of that mean, which "
        "holds for these seeds. Best (bold, on the terminal *): it is better than every other of its "
        f"{'rate' if of_errors(table) else 'table'}, by a difference on the same resamples of patients whose interval does not reach "
        f"0, and there are {FEWEST_EVENTS} test stays or more with the outcome"
        f"{f', and {FEWEST_SCORED} or more whose hidden cells were filled in' if of_errors(table) else ''}. "
        "Published numbers have none. "
        f"{table.name}_differences.csv has such differences of each two, not corrected for their number.",
    ]
    if not of_errors(table):
        found.append(
            "Ours is the AUROC of a model's own risks, the mean of the folds', each of its own test stays, as a published number is "
            "of one test split. Risks of all folds together come from as many models and calibrators, whose scales differ, which may "
            "cost one method and not another: what AUROC they have, own and calibrated, stands beside it, of every method."
            if of_folds(table)
            else "Ours is the AUROC of a model's own risks, of one test split; that of the calibrated ones stands beside it."
        )
    if any(column == "mtdm" and row == "lstm" for row, column, _ in table.cells):
        found.append(
            "What the MTDM fills in is read by its own LSTM, trained with it: row LSTM is model/tasks=multi, Siamese network "
            "multi_siamese. Other predictors of its series, and an LSTM that is trained after it, are model=two_stage imputer=mtdm."
        )
    if any(cell.published is None for cell in table.cells.values()):
        found.append("Cells without a published number are of methods, or pairs of them, that the paper does not have.")
    found += budgets.notes(table, name_of)
    if table.others:
        found.append(f"In no cell of this table: {', '.join(map(folder, table.others))}.")
    return found


def folder(name: str) -> str:
    """A run's folder, as typed; of a whole path what is not of one machine: `sweep/runs/name`."""
    path = Path(name)
    return "/".join(path.parts[-3:]) if path.is_absolute() else name


def smoke(runs: Iterable[Sequence[Run]]) -> str:
    """What stands before a title if the runs of a protocol have too few events to rank anything."""
    few = [events(found) for found in runs if too_few(found)]
    return f"SMOKE, too few to rank anything ({min(few)} test stays with the outcome): " if few else ""


def smoke_of_errors(table: Table) -> str:
    """The same, of too few stays whose hidden cells were filled in."""
    few = [n for n in table.scored.values() if n < FEWEST_SCORED]
    return f"SMOKE, too few to rank anything (hidden cells of {min(few)} test stays): " if few else ""


def scored(table: Table, protocol: str) -> str:
    """Of a table of errors, of how many of the test stays they are."""
    n = table.scored.get(protocol)
    return f" Errors are of hidden cells of {n:,} of these stays, or more at rates that hide more." if n else ""


def of_folds(table: Table) -> bool:
    """Whether the runs are cross-validations; of one table all are or none."""
    return any(not run.test["fold"].null_count() for found in table.runs.values() for run in found)


def stays(runs: Sequence[Run]) -> str:
    """How many test stays, patients and events, and how many runs."""
    if not runs:
        return "not run."
    test = runs[0].test
    patients, events = test["patient_id"].n_unique(), int(test["label"].sum())
    return f"{test.height:,} test stays of {patients:,} patients, {events:,} with the outcome; runs: {len(runs)}."


def shown(cell: Cell, column: str, bold: Bold = str) -> str:
    """A cell's number in one of COLUMNS."""
    if column == "published":
        return "" if cell.published is None else f"{cell.published:.3f}"
    ours = cell.ours[column]
    return NOT_RUN if ours is None else bold(with_interval(ours)) if ours.best else with_interval(ours)


def with_interval(ours: Ours | None) -> str:
    """The value, of several seeds ± their SD, and the interval in brackets."""
    if ours is None:
        return NOT_RUN
    value = without_interval(ours)
    return value if ours.low is None or ours.high is None else f"{value} ({ours.low:.3f} to {ours.high:.3f})"


def without_interval(ours: Ours | None) -> str:
    """The value, of several seeds ± their SD."""
    if ours is None:
        return NOT_RUN
    return f"{ours.value:.3f}" if ours.sd is None else f"{ours.value:.3f} ± {ours.sd:.3f}"


def grid(table: Table) -> tuple[list[tuple[str, str]], list[str]]:
    """Rows (row, metric) and columns, in the paper's order."""
    rows = list(dict.fromkeys((row, metric) for row, _, metric in table.cells))
    return rows, list(dict.fromkeys(column for _, column, _ in table.cells))


def heading(row: str, metric: str) -> str:
    return f"{row} %, {METRICS[metric]}" if row.isdigit() else name_of(row)


def name_of(method: str) -> str:
    if method.startswith(PYPOTS):
        return f"PyPOTS' {method.removeprefix(PYPOTS)}"
    if method.startswith("kmeans_"):
        return f"{NAMES['kmeans']} of {method.removeprefix('kmeans_')} clusters"
    return NAMES.get(method, method)


def terminal_rows(table: Table, column: str) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of one of COLUMNS in the paper's layout; intervals below their values, so that it is as wide as a screen."""
    rows, columns = grid(table)

    def text(row: str, name: str, metric: str) -> str:
        cell = table.cells.get((row, name, metric))
        return (
            ""
            if cell is None
            else shown(cell, column, "{} *".format)
            .replace(" (", "\n")
            .replace(" to ", " to\n")
            .replace(")", "")
            .replace(" ± ", "\n± ")
        )

    return ["", *map(name_of, columns)], [
        [heading(row, metric), *(text(row, name, metric) for name in columns)] for row, metric in rows
    ]


def markdown(table: Table) -> str:
    """Three columns for each of the paper's."""
    rows, columns = grid(table)
    heads = ["", *(f"{name_of(name)}: {what}" for name in columns for what in COLUMNS.values())]
    lines = [f"**{title(table)}**", "", line(heads), line(["---"] + ["---:"] * (len(heads) - 1))]
    for row, metric in rows:
        lines.append(line([heading(row, metric), *_cells(table.cells, row, metric, columns, "**{}**".format)]))
    if three := three_aurocs(table):
        ways = len(three[0]) - 3
        told = "in three ways" if of_folds(table) else "of own and of calibrated risks"
        lines += ["", f"Each AUROC of ours {told}:", "", line(three[0]), line(["---"] * 3 + ["---:"] * ways)]
        lines += map(line, three[1])
    for what, heads, rows_of in errors_in_units(table):
        lines += ["", f"{what}:", "", line(heads), line(["---"] + ["---:"] * (len(heads) - 1)), *map(line, rows_of)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(table)), ""])


def errors_in_units(table: Table) -> list[tuple[str, list[str], list[list[str]]]]:
    """Of each protocol a title, headings, and a row a variable, at the middle rate; the others are in `rows_in_units`."""
    found = []
    for p, cells in table.in_units.items():
        rates = sorted({row for row, _, _ in cells}, key=int)
        middle = rates[len(rates) // 2] if rates else ""
        there = {column for row, column, _ in cells if row == middle}
        columns = [column for column in grid(table)[1] if column in there]
        units = {name: cell.unit for (_, _, name), cell in cells.items()}
        rows = []
        for name, unit in units.items():
            of_columns = [cells.get((middle, column, name)) for column in columns]
            errors = [NOT_RUN if cell is None else f"{cell.mae:.3g}" for cell in of_columns]
            rows.append([f"{name}, {unit}" if unit else name, *errors])
        what = f"MAE of each variable in its unit, {middle} % hidden, {COLUMNS[p]}"
        found += [(what, ["", *map(name_of, columns)], rows)] if rows else []
    return found


def rows_in_units(table: Table) -> pl.DataFrame:
    """A row a protocol, rate, imputer and variable; none of AUROC."""
    return pl.DataFrame(
        [
            {
                "protocol": p,
                "missing_percent": int(row),
                "imputer": column,
                "variable": name,
                "unit": cell.unit,
                "mae": cell.mae,
            }
            for p, cells in table.in_units.items()
            for (row, column, name), cell in cells.items()
        ]
    )


def rows_of_differences(table: Table) -> pl.DataFrame:
    """A row a protocol and two cells: the first less the second, with its 95 % interval over the same resamples of patients."""
    return pl.DataFrame(
        [
            {
                "protocol": p,
                "metric": a[2],
                "first_row": a[0],
                "first_imputer": a[1],
                "second_row": b[0],
                "second_imputer": b[1],
                "value": apart.value,
                "low": apart.low,
                "high": apart.high,
            }
            for p, found in table.differences.items()
            for (a, b), apart in found.items()
        ],
        infer_schema_length=None,
    )


def of_errors(table: Table) -> bool:
    return not any(metric in HIGHER for _, _, metric in table.cells)


def three_aurocs(table: Table) -> tuple[list[str], list[list[str]]] | None:
    """Headings, and a row a cell and protocol: the folds' mean and SD, if there are folds, and all stays; None for errors."""
    folds = of_folds(table)
    heads = ["predictor", "imputer", "protocol"]
    heads += (
        ["mean of folds", "SD over folds", "pooled, own risks", "pooled, calibrated"]
        if folds
        else ["own risks", "calibrated"]
    )
    rows = [
        [
            heading(row, metric),
            name_of(column),
            p,
            *([with_interval(ours), _sd(ours)] if folds else []),
            with_interval(ours.pooled),
            with_interval(ours.calibrated),
        ]
        for (row, column, metric), cell in table.cells.items()
        for p in PROTOCOLS
        if metric in HIGHER and (ours := cell.ours[p])
    ]
    return (heads, rows) if rows else None


def _sd(ours: Ours) -> str:
    return NOT_RUN if ours.fold_sd is None else f"{ours.fold_sd:.3f}"


def line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _cells(cells: Mapping[Key, Cell], row: str, metric: str, columns: Sequence[str], bold: Bold) -> list[str]:
    found = [(cells.get((row, name, metric)), what) for name in columns for what in COLUMNS]
    return ["" if cell is None else shown(cell, what, bold) for cell, what in found]


def latex(table: Table) -> str:
    r"""A `tabular` for \usepackage{booktabs}: three columns under each heading of the paper."""
    rows, columns = grid(table)
    lines = [
        rf"% {escaped(title(table))}. \usepackage{{booktabs}}",
        rf"\begin{{tabular}}{{l{'rrr' * len(columns)}}}",
        r"\toprule",
        rf"\multicolumn{{{1 + 3 * len(columns)}}}{{l}}{{{escaped(title(table))}}} \\",
        r"\midrule",
        " & ".join(["", *(rf"\multicolumn{{3}}{{c}}{{{escaped(name_of(name))}}}" for name in columns)]) + r" \\",
        " & ".join(["", *(["Published", "Paper's", "Clean"] * len(columns))]) + r" \\",
        r"\midrule",
    ]
    for row, metric in rows:
        cells = _cells(table.cells, row, metric, columns, r"\textbf{{{}}}".format)
        lines.append(" & ".join([escaped(heading(row, metric)), *(c.replace("±", r"$\pm$") for c in cells)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {escaped(note)}" for note in notes(table)), ""]
    return "\n".join(lines)


def csv_rows(table: Table) -> pl.DataFrame:
    """A row a cell; of each protocol value, sd, low, high, seeds and whether it is best; of AUROC also the others of `Ours`."""
    runs = [run for found in table.runs.values() for run in found]
    facts = {"table": table.name, "published_data": table.data, "our_data": runs[0].data, "synthetic": table.synthetic}
    facts |= {"too_few_events": bool(smoke(table.runs.values())), "too_few_scored": bool(smoke_of_errors(table))}
    names = ["value", "sd", "low", "high", "seeds", "best"]
    if not of_errors(table):
        names += [
            "fold_sd",
            *(f"{kind}.{name}" for kind in ("pooled", "calibrated") for name in ("value", "low", "high")),
        ]
    return pl.DataFrame(
        [
            facts
            | {"row": row, "imputer": column, "metric": metric, "published": cell.published}
            | {f"{p}_{name.replace('.', '_')}": number(cell.ours[p], name) for p in PROTOCOLS for name in names}
            for (row, column, metric), cell in table.cells.items()
        ],
        infer_schema_length=None,
    )


def number(ours: object, name: str) -> Any:
    """What is found by names with dots between them; None where a part of it is."""
    found: Any = ours
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
