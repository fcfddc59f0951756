"""An ablation as text: for the terminal, as Markdown, LaTeX with booktabs, and CSV. Each protocol has a table of its own."""

from collections.abc import Iterator

import polars as pl

from icu_lightning.comparison.ablation import ERRORS, NAME, RATES, REFERENCE, Ablation, Row, budgets, commits
from icu_lightning.comparison.published import PROTOCOLS
from icu_lightning.comparison.published_text import (
    COLUMNS,
    NOT_RUN,
    line,
    number,
    smoke,
    stays,
    with_interval,
    without_interval,
)
from icu_lightning.comparison.statistics import Estimate
from icu_lightning.comparison.tables import UNDEFINED, escaped

DIFFERENCE = "less the reference"
DESIGNS = (
    "Of each two designs the first less the second, over the seeds that both have, on the same resamples of patients"
)


def title(found: Ablation, protocol: str) -> str:
    """What the table is, of which data; SYNTHETIC first, where it is."""
    run = found.runs[0]
    kind = ("SYNTHETIC STAYS, no patients: " if run.synthetic else "") + smoke(
        [[run for row in found.rows if row.protocol == protocol for run in row.model.runs]]
    )
    return f"{kind}{NAME} of the MTDM, {COLUMNS[protocol]}, {run.data}"


def tables(found: Ablation) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Protocol, headings and rows: a table for each protocol that was run."""
    heads = ["setting", "seeds", "AUROC, published", "AUROC", DIFFERENCE, *(f"MAE at {rate} %" for rate in RATES)]
    for protocol in PROTOCOLS:
        if rows := [_cells(row) for row in found.rows if row.protocol == protocol]:
            yield protocol, heads, rows


def terminal_tables(found: Ablation) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """As `tables`, as wide as a screen: of the errors that at 50 %, and intervals below their values."""
    for protocol, heads, rows in tables(found):
        kept = [i for i, head in enumerate(heads) if not head.startswith("MAE") or "50" in head]
        yield (
            protocol,
            [heads[i] for i in kept],
            [[row[i].replace(" (", "\n(").replace(", ", ",\n") for i in kept] for row in rows],
        )


def _cells(row: Row) -> list[str]:
    published = "" if row.published is None else f"{row.published:.3f}"
    # Intervals of errors, of thousands of cells, are in the CSV
    errors = [without_interval(row.errors[rate, "mae"]) for rate in RATES]
    seeds = ", ".join(str(run.seed) for run in row.model.runs)
    return [row.setting, seeds, published, with_interval(row.auroc), _difference(row), *errors]


def of_designs(found: Ablation, protocol: str) -> tuple[list[str], list[list[str]]] | None:
    """Headings, and a row for each two designs; None where there are no two."""
    heads = ["designs", "seeds", "AUROC", "AUROC, seed by seed", *(f"MAE at {rate} %" for rate in RATES)]
    rows = [
        [
            f"{pair.first} less {pair.second}",
            ", ".join(map(str, pair.seeds)),
            _signed(pair.auroc),
            ", ".join(f"{value:+.3f}" for value in pair.by_seed),
            *(_signed(pair.errors[rate, "mae"]) for rate in RATES),
        ]
        for pair in found.pairs
        if pair.protocol == protocol
    ]
    return (heads, rows) if rows else None


def terminal_pairs(found: Ablation, protocol: str) -> tuple[list[str], list[list[str]]] | None:
    """As `of_designs`, as wide as a screen."""
    if (whole := of_designs(found, protocol)) is None:
        return None
    heads, rows = whole
    kept = [i for i, head in enumerate(heads) if not head.startswith("MAE") or "50" in head]
    return [heads[i] for i in kept], [
        [row[i].replace(" (", "\n(").replace(" less ", "\nless ") for i in kept] for row in rows
    ]


def _difference(row: Row) -> str:
    return "the reference" if row.reference else _signed(row.less_reference)


def _signed(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOT_RUN
    if estimate.value is None:
        return UNDEFINED
    ends = [f"{end:+.3f}" for end in (estimate.low, estimate.high) if end is not None]
    return f"{estimate.value:+.3f} ({' to '.join(ends)})" if ends else f"{estimate.value:+.3f}"


def notes(found: Ablation) -> list[str]:
    """What a reader has to know."""
    by_protocol = {p: [run for row in found.rows if row.protocol == p for run in row.model.runs] for p in PROTOCOLS}
    told = [
        *(f"{COLUMNS[p].capitalize()}: {stays(runs)}" for p, runs in by_protocol.items() if runs),
        "AUROC is that of a model's own risks, with cv the mean of the folds'; in brackets the 95 % interval over patients. Of "
        "several seeds: the mean ± SD over them, and the interval of that mean, which holds for these seeds.",
        f"{DIFFERENCE.capitalize()}: minus {REFERENCE} with the settings that most runs have, over the seeds that both have, on the "
        f"same resamples of patients; the interval holds for these seeds, and says nothing of another training. {NOT_RUN}: there is "
        "no such run, or none of these seeds. A row is named by what differs from those settings.",
        "MAE of hidden cells in SDs; RMSE, and the intervals of both, are in the CSV.",
        "Published: the paper has percentages in prose alone. What stands here is implied by its tables 4 to 6 on its own stays: the "
        "LSTM on CSDI's series, on the MTDM's, and the Siamese network.",
        "single is the MTDM's own imputer, in v and with its gaps drawn, not the CSDI whose number the paper implies.",
        *budgets(found),
        commits(found),
    ]
    return [*told, f"In no row: {', '.join(found.others)}."] if found.others else told


def markdown(found: Ablation) -> str:
    lines: list[str] = []
    for protocol, heads, rows in tables(found):
        lines += [f"**{title(found, protocol)}**", "", line(heads), line(["---"] * 2 + ["---:"] * (len(heads) - 2))]
        lines += [*map(line, rows), ""]
        if pairs := of_designs(found, protocol):
            lines += [f"{DESIGNS}:", "", line(pairs[0]), line(["---"] * 2 + ["---:"] * (len(pairs[0]) - 2))]
            lines += [*map(line, pairs[1]), ""]
    return "\n".join([*lines, *(f"- {note}" for note in notes(found)), ""])


def latex(found: Ablation) -> str:
    r"""A `tabular` for \usepackage{booktabs} for each protocol."""
    lines: list[str] = []
    for protocol, heads, rows in tables(found):
        lines += [
            rf"% {escaped(title(found, protocol))}. \usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{ll{'r' * (len(heads) - 2)}}}",
            r"\toprule",
            rf"\multicolumn{{{len(heads)}}}{{l}}{{{escaped(title(found, protocol))}}} \\",
            r"\midrule",
        ]
        body = [" & ".join(escaped(cell).replace("±", r"$\pm$") for cell in row) + r" \\" for row in (heads, *rows)]
        lines += [body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {escaped(note)}" for note in notes(found)), ""])


def rows_of_differences(found: Ablation) -> pl.DataFrame:
    """A row a protocol, two designs, metric and rate: the first less the second, and its 95 % interval."""
    rows = []
    for pair in found.pairs:
        for (rate, metric), apart in ({("", "auroc"): pair.auroc} | dict(pair.errors)).items():
            ends = {end: number(apart, end) for end in ("value", "low", "high")}
            names = {"protocol": pair.protocol, "first": pair.first, "second": pair.second, "seeds": len(pair.seeds)}
            rows.append(names | {"metric": metric, "missing_percent": rate or None} | ends)
    return pl.DataFrame(rows, infer_schema_length=None)


def csv_rows(found: Ablation) -> pl.DataFrame:
    """A row a setting, protocol and metric: value, sd, low, high, seeds; of AUROC also published and the difference."""
    data, synthetic = found.runs[0].data, found.runs[0].synthetic
    rows = []
    for row in found.rows:
        facts = {"data": data, "synthetic": synthetic, "protocol": row.protocol, "setting": row.setting}
        cells = {("", "auroc"): row.auroc} | {
            (rate, metric): row.errors[rate, metric] for metric in ERRORS for rate in RATES
        }
        for (rate, metric), ours in cells.items():
            of_auroc = metric == "auroc"
            own = {name: number(ours, name) for name in ("value", "sd", "low", "high", "seeds")}
            apart = {
                f"less_reference_{end}": number(row.less_reference if of_auroc else None, end)
                for end in ("value", "low", "high")
            }
            rows.append(
                facts
                | {"metric": metric, "missing_percent": rate or None}
                | own
                | {"published": row.published if of_auroc else None}
                | apart
            )
    return pl.DataFrame(rows, infer_schema_length=None)
