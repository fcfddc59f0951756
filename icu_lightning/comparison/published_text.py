"""A table of the paper as text: for the terminal, as Markdown, LaTeX with booktabs, and CSV. `-` is what was not run."""

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from icu_lightning.comparison.published import HIGHER, PROTOCOLS, Cell, Key, Ours, Table
from icu_lightning.comparison.runs import Run
from icu_lightning.comparison.tables import escaped

COLUMNS = {"published": "published", "paper": "ours, paper's protocol", "clean": "ours, clean"}
NAMES = {
    "brits": "BRITS",
    "csdi": "CSDI",
    "kmeans": "K-means",
    "knn": "KNN",
    "lstm": "LSTM",
    "mean": "Mean",
    "mtdm": "MTDM",
    "remasker": "ReMasker",
    "siamese": "Siamese network",
    "transformer": "Transformer",
    "zero": "Zero",
}
METRICS = {"auroc": "AUROC", "mae": "MAE", "rmse": "RMSE"}
NOT_RUN = "-"
Bold = Callable[[str], str]


def title(table: Table) -> str:
    """What the table is, of which data; SYNTHETIC first, where it is."""
    runs = [run for found in table.runs.values() for run in found]
    kind = "SYNTHETIC STAYS, no patients, beside published numbers of patients: " if table.synthetic else ""
    what = "AUROC" if any(key[2] in HIGHER for key in table.cells) else "errors of hidden cells, in SDs"
    return f"{kind}{table.name} of the MTDM paper, {what}: published {table.data}, ours {runs[0].data}"


def notes(table: Table) -> list[str]:
    """What a reader has to know."""
    found = [
        f"Published: the whole {table.data} (Buranaburustam et al., 2025). Ours: what the runs are of. They are not the same stays.",
        *(f"{COLUMNS[name].capitalize()}: {_stays(runs)}" for name, runs in table.runs.items()),
        "In brackets the 95 % interval over patients; of several seeds the mean ± SD over them, and from the lowest end of their "
        "intervals to the highest. Best (bold, on the terminal *): its interval is wholly better than that of every other. "
        "Published numbers have none.",
    ]
    if any(metric in HIGHER for _, _, metric in table.cells):
        found.append("Ours is the AUROC of calibrated risks; of runs with cv of all folds' test stays together.")
    if any(column == "mtdm" and row == "lstm" for row, column, _ in table.cells):
        found.append(
            "What the MTDM fills in is read by its own LSTM, trained with it: row LSTM is model/tasks=multi, Siamese network "
            "multi_siamese. Other predictors of its series are model=two_stage imputer=mtdm."
        )
    if table.others:
        found.append(f"In no cell of this table: {', '.join(table.others)}.")
    return found


def _stays(runs: Sequence[Run]) -> str:
    if not runs:
        return "not run."
    test = runs[0].test
    patients, events = test["patient_id"].n_unique(), int(test["label"].sum())
    return f"{test.height:,} test stays of {patients:,} patients, {events:,} with the outcome; runs: {len(runs)}."


def shown(cell: Cell, column: str, bold: Bold = str) -> str:
    """A cell's number in one of COLUMNS."""
    if column == "published":
        return f"{cell.published:.3f}"
    ours = cell.ours[column]
    return NOT_RUN if ours is None else bold(_text(ours)) if ours.best else _text(ours)


def _text(ours: Ours) -> str:
    value = f"{ours.value:.3f}" if ours.sd is None else f"{ours.value:.3f} ± {ours.sd:.3f}"
    return value if ours.low is None or ours.high is None else f"{value} ({ours.low:.3f} to {ours.high:.3f})"


def grid(table: Table) -> tuple[list[tuple[str, str]], list[str]]:
    """Rows (row, metric) and columns, in the paper's order."""
    rows = list(dict.fromkeys((row, metric) for row, _, metric in table.cells))
    return rows, list(dict.fromkeys(column for _, column, _ in table.cells))


def heading(row: str, metric: str) -> str:
    return f"{row} %, {METRICS[metric]}" if row.isdigit() else NAMES[row]


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

    return ["", *map(NAMES.__getitem__, columns)], [
        [heading(row, metric), *(text(row, name, metric) for name in columns)] for row, metric in rows
    ]


def markdown(table: Table) -> str:
    """Three columns for each of the paper's."""
    rows, columns = grid(table)
    heads = ["", *(f"{NAMES[name]}: {what}" for name in columns for what in COLUMNS.values())]
    lines = [f"**{title(table)}**", "", _line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
    for row, metric in rows:
        lines.append(_line([heading(row, metric), *_cells(table.cells, row, metric, columns, "**{}**".format)]))
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(table)), ""])


def _line(cells: Sequence[str]) -> str:
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
        " & ".join(["", *(rf"\multicolumn{{3}}{{c}}{{{NAMES[name]}}}" for name in columns)]) + r" \\",
        " & ".join(["", *(["Published", "Paper's", "Clean"] * len(columns))]) + r" \\",
        r"\midrule",
    ]
    for row, metric in rows:
        cells = _cells(table.cells, row, metric, columns, r"\textbf{{{}}}".format)
        lines.append(" & ".join([escaped(heading(row, metric)), *(c.replace("±", r"$\pm$") for c in cells)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {escaped(note)}" for note in notes(table)), ""]
    return "\n".join(lines)


def csv_rows(table: Table) -> pl.DataFrame:
    """A row a cell; of each protocol value, sd, low, high, seeds and whether it is best."""
    runs = [run for found in table.runs.values() for run in found]
    facts = {"table": table.name, "published_data": table.data, "our_data": runs[0].data, "synthetic": table.synthetic}
    names = ("value", "sd", "low", "high", "seeds", "best")
    return pl.DataFrame(
        [
            facts
            | {"row": row, "imputer": column, "metric": metric, "published": cell.published}
            | {f"{p}_{name}": getattr(cell.ours[p], name, None) for p in PROTOCOLS for name in names}
            for (row, column, metric), cell in table.cells.items()
        ],
        infer_schema_length=None,
    )
