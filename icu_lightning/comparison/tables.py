"""The comparison as rows: for the terminal, as CSV, and as LaTeX with booktabs. An interval stands beside every value."""

from collections.abc import Sequence

import polars as pl

from icu_lightning.comparison.statistics import METRICS, Comparison, Difference, Estimate, least_p

TERMINAL = {  # what is as wide as a screen
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier",
    "calibration_slope": "slope",
    "observed_to_expected": "O:E",
}
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
UNDEFINED = "undefined"
WORDS = dict.fromkeys(("data", "first", "second", "metric"), pl.String)
NUMBERS = dict.fromkeys(
    (
        "difference",
        "low",
        "high",
        "p_bootstrap",
        "p_bootstrap_holm",
        "delong_low",
        "delong_high",
        "p_delong",
        "p_delong_holm",
    ),
    pl.Float64,
)


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Value and interval, as 0.812 (0.790–0.833), or with "to" where an end is below zero."""
    if estimate.value is None:
        return UNDEFINED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f}"
    between = " to " if estimate.low < 0 else "–"
    ends = f"{estimate.low:.{digits}f}{between}{estimate.high:.{digits}f}"
    return f"{estimate.value:.{digits}f} ({ends})".replace("-", "−")


def p_text(p: float | None) -> str:
    return UNDEFINED if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def counts(comparison: Comparison) -> str:
    """Of the test stays, the same for every run.

    >>> from types import SimpleNamespace
    >>> counts(SimpleNamespace(n=1200, patients=900, events=130))
    '1,200 test stays of 900 patients, 130 with the outcome'
    """
    return f"{comparison.n:,} test stays of {comparison.patients:,} patients, {comparison.events:,} with the outcome"


# ---- terminal -----------------------------------------------------------------------------------------------------------


def ranking_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: a model each, mean over seeds with its interval and, below, SD over seeds."""
    heads = ["model", "seeds", *TERMINAL.values()]
    rows = []
    for summary in comparison.summaries:
        cells = [
            _in_lines(summary.metrics[name]) + (f"\n± {sd:.3f}" if (sd := summary.sd[name]) is not None else "")
            for name in TERMINAL
        ]
        rows.append([summary.model.name, str(len(summary.model.runs)), *cells])
    return heads, rows


def _in_lines(estimate: Estimate) -> str:
    """Value, low and high below one another: five metrics are then as wide as a terminal."""
    return interval(estimate).replace(" (", "\n").replace("–", "–\n").replace(" to ", " to\n").removesuffix(")")


def difference_rows(differences: Sequence[Difference]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the differences in the metrics of the terminal."""
    heads = ["first minus second", "metric", "difference", "p bootstrap (Holm)", "p DeLong (Holm)"]
    rows = []
    for d in differences:
        if d.metric in TERMINAL:
            delong = f"{p_text(d.p_delong)} ({p_text(d.p_delong_holm)})" if d.delong else ""
            both = f"{p_text(d.p)} ({p_text(d.p_holm)})"
            rows.append([f"{d.first} − {d.second}", TERMINAL[d.metric], interval(d.estimate), both, delong])
    return heads, rows


def told_of_p(comparison: Comparison) -> str:
    """What the resamples allow a p to be, for a reader of the differences."""
    n = len(comparison.summaries)
    pairs, r = n * (n - 1) // 2, comparison.replicates
    told = f"With {r:,} resamples a bootstrap p is at least {least_p(r, 1):.2g}"
    if pairs == 1:
        return f"{told}."
    told += f", after Holm's correction over {pairs} pairs {least_p(r, pairs):.2g}"
    return f"{told}, so none can be below .05: raise --bootstrap." if least_p(r, pairs) >= 0.05 else f"{told}."


# ---- CSV ----------------------------------------------------------------------------------------------------------------


def summary_table(comparisons: Sequence[Comparison]) -> pl.DataFrame:
    """A row a model and metric: mean, sd over seeds, low, high."""
    return pl.DataFrame(
        [
            {"data": c.data, "synthetic": c.synthetic, "outcome": c.outcome, "model": s.model.name, "metric": name}
            | {"seeds": len(s.model.runs), "stays": c.n, "patients": c.patients, "events": c.events}
            | {"mean": e.value, "low": e.low, "high": e.high, "sd_over_seeds": s.sd[name]}
            for c in comparisons
            for s in c.summaries
            for name, e in s.metrics.items()
        ],
        infer_schema_length=None,
    )


def run_table(comparisons: Sequence[Comparison]) -> pl.DataFrame:
    """A row a run and metric."""
    return pl.DataFrame(
        [
            {"data": c.data, "run": run.name, "model": s.model.name, "seed": run.seed, "stays": c.n, "events": c.events}
            | {"metric": name, "value": e.value, "low": e.low, "high": e.high}
            for c in comparisons
            for s in c.summaries
            for run, metrics in zip(s.model.runs, s.by_run, strict=True)
            for name, e in metrics.items()
        ],
        infer_schema_length=None,
    )


def difference_table(comparisons: Sequence[Comparison]) -> pl.DataFrame:
    """A row a pair and metric; empty, with its columns, for one model."""
    rows = []
    for c in comparisons:
        for d in c.differences:
            of_delong = (d.delong.low, d.delong.high) if d.delong else (None, None)
            e = d.estimate
            numbers = (e.value, e.low, e.high, d.p, d.p_holm, *of_delong, d.p_delong, d.p_delong_holm)
            rows.append((c.data, d.first, d.second, d.metric, *numbers))
    return pl.DataFrame(rows, schema={**WORDS, **NUMBERS}, orient="row")


# ---- LaTeX --------------------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> print(escaped("h_48 & 5 % {x}"))
    h\_48 \& 5 \% \{x\}
    """
    return "".join(LATEX.get(letter, letter) for letter in text)


def latex(comparisons: Sequence[Comparison]) -> str:
    r"""A `tabular` for each comparison, for \usepackage{booktabs}: a model a row, its interval in a row below."""
    return "\n".join(_tabular(comparison) for comparison in comparisons)


def _tabular(comparison: Comparison) -> str:
    kind = "SYNTHETIC DATA, no patients. " if comparison.synthetic else ""
    lines = [
        f"% {escaped(f'{kind}{comparison.data}, {comparison.outcome}: {counts(comparison)}.')}",
        "% Mean over seeds, SD over seeds after $\\pm$, 95 % patient-bootstrap interval below. \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{lr{'r' * len(TERMINAL)}}}",
        r"\toprule",
        " & ".join(["Model", "Seeds", *(escaped(METRICS[name][0]) for name in TERMINAL)]) + r" \\",
        r"\midrule",
    ]
    for summary in comparison.summaries:
        values, intervals = [], []
        for name in TERMINAL:
            estimate, sd = summary.metrics[name], summary.sd[name]
            shown = UNDEFINED if estimate.value is None else f"${estimate.value:.3f}$"
            values.append(shown + (rf" $\pm$ ${sd:.3f}$" if sd is not None else ""))
            there = estimate.low is not None and estimate.high is not None
            intervals.append(f"(${estimate.low:.3f}$ to ${estimate.high:.3f}$)" if there else "")
        lines.append(" & ".join([escaped(summary.model.name), str(len(summary.model.runs)), *values]) + r" \\")
        lines.append(" & ".join(["", "", *intervals]) + r" \\")
    note = f"{kind}{comparison.data}: {counts(comparison)}."
    lines += [
        r"\midrule",
        rf"\multicolumn{{{len(TERMINAL) + 2}}}{{l}}{{{escaped(note)}}} \\",
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]
    return "\n".join(lines)
