"""How early the model is right, and how it learnt."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning.description.words import number, plain
from icu_lightning.report import figures
from icu_lightning.report.blocks import Block, Cell, Section, Table, Text, row
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import estimate_cell
from icu_lightning.report.performance import METRICS
from icu_lightning.runfolder import REUSED

COUNTS = {"n": "stays", "events": "deaths"}  # columns of hours_observed.csv


def early(run: Run) -> Section:
    blocks: list[Block] = []
    if run.hours_observed is None or run.hours_observed.is_empty():
        text = "How early the model is right was not measured: there is no hours_observed.csv in the run folder."
        blocks.append(Text(text=text, tone="note"))
    else:
        blocks.append(_frame(run.hours_observed, "What it can do with the first hours only"))
    blocks += figures.of_section(run, "early")
    return Section(name="early", title="How early is it right?", short="How early", blocks=blocks)


def robustness(run: Run) -> list[Section]:
    """One section, or none for a run of which `python -m icu_lightning.robustness` was not asked."""
    if not run.robustness:
        return []
    said = "The vasoactive drugs of the test stays were charted worse on purpose, and nothing was trained anew. The change is of "
    said += "AUROC within the same resamples of patients, so its interval is narrower than those of the two AUROCs."
    columns = [("Charted worse", ""), ("how much", ""), ("AUROC", ""), ("change", "")]
    titles = run.robustness.get("titles", {})  # not in files of before there were any
    rows = [
        row(
            titles.get(kind, kind),
            _amount(kind, of["amount"]),
            estimate_cell(of["auroc"]),
            estimate_cell(of["change"]),
        )
        for kind, found in run.robustness["kinds"].items()
        for of in found
    ]
    table = Table(columns=columns, rows=rows)
    blocks = [Text(text=said), *figures.of_section(run, "robustness"), table]
    return [Section(name="robustness", title="What if drugs are charted worse?", short="Robustness", blocks=blocks)]


def _amount(kind: str, amount: float) -> str:
    return f"up to {amount:g} h" if kind == "shifted" else f"{amount:.0%}"


def training(run: Run) -> Section:
    history, blocks = run.history, list[Block]()
    if history is None or history.is_empty():
        blocks.append(Text(text="This model has no epochs, or they were not kept.", tone="note"))
    else:
        blocks += [
            Text(text=_course(history) + _kept(run.path)),
            _frame(history, "Epoch by epoch", "Every epoch in numbers"),
        ]
    blocks += figures.of_section(run, "training")
    return Section(name="training", title="How did it learn? Training curves", short="Training", blocks=blocks)


def _course(history: pl.DataFrame) -> str:
    """How long it was trained, and which epoch was the best on validation stays."""
    said = f"{history.height:,} epochs"
    for column, name in (("stage", "stages"), ("fold", "folds")):
        if column in history.columns and history[column].n_unique() > 1:
            said += f" in {history[column].n_unique()} {name}"
    if "stage" in history.columns and (known := history.filter(pl.col("stage").str.ends_with(REUSED)).height):
        said += f"; {known:,} of them, marked{REUSED}, are of an earlier run on the same stays, with the same settings and seed"
    if "fold" not in history.columns and "val/auroc" in history.columns and history["val/auroc"].count():
        best = history.sort("val/auroc", descending=True, nulls_last=True).row(0, named=True)
        said += f"; the highest AUROC on validation stays, {number(best['val/auroc'], 3)}, in epoch {best.get('epoch')}"
    return said + "."


def _kept(path: Path) -> str:
    """Of each stage that was trained in the run, which epoch's weights are kept, and what chose it; nothing of a cross-validation."""
    found = []
    for ended in sorted(path.glob("checkpoints/*/finished.json")):
        told = json.loads(ended.read_text(encoding="utf-8"))
        chosen = [(name, value) for name, value in told.items() if name.startswith(("val/", "train/"))]
        found += [
            f"{ended.parent.name}: epoch {told['best_epoch']}, by {name} ({number(value, 3)})" for name, value in chosen
        ]
    return f" Kept are the weights of {'; '.join(found)}." if found else ""


def _frame(table: pl.DataFrame, caption: str, folded: str = "") -> Table:
    """A CSV file as it is; a number with NAME_low and NAME_high beside it is one column, with its interval."""
    with_interval = [name for name in table.columns if {f"{name}_low", f"{name}_high"} <= set(table.columns)]
    ends = {f"{name}_{end}" for name in with_interval for end in ("low", "high")}
    names = [name for name in table.columns if name not in ends]

    def cell(record: dict[str, Any], name: str) -> Cell:
        if name not in with_interval:
            return _cell(record[name])
        return estimate_cell({"value": record[name], "low": record[f"{name}_low"], "high": record[f"{name}_high"]})

    rows = [[cell(record, name) for name in names] for record in table.iter_rows(named=True)]
    texts = [i for i, name in enumerate(names) if table.schema[name] == pl.String]
    columns = [(METRICS[name][0] if name in METRICS else COUNTS.get(name, plain(name)), "") for name in names]
    return Table(caption=caption, columns=columns, rows=rows, words=texts, folded=folded)


def _cell(value: Any) -> Cell:
    """A field of a CSV file."""
    if isinstance(value, str) or value is None:
        return Cell(value or "–", "" if value is None else None)
    digits = 0 if isinstance(value, int) else 3 if abs(value) >= 0.001 or value == 0 else 6
    return Cell(number(value, digits), value)
