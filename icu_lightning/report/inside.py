"""What the model looks at, how early it is right, and how it learnt."""

from typing import Any

import polars as pl

from icu_lightning.description.words import number, plain
from icu_lightning.report import figures
from icu_lightning.report.blocks import Block, Cell, Facts, Section, Table, Text
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import estimate_cell
from icu_lightning.report.performance import METRICS

MOST = 40  # rows of a table of the explanation
STAY = "stay"  # in the name of a part of explanation.json that is about single stays


def explanation(run: Run) -> Section:
    blocks: list[Block] = []
    if run.explanation is None:
        blocks.append(Text(text="The run folder has no explanation.json: the model was not explained.", tone="note"))
    else:
        warning = "What moves a model is not what makes patients die: an explanation shows what was used, "
        warning += "and finds what should not have been."
        blocks += [Text(text=warning), *_parts(run.explanation)]
    blocks += [*figures.of_section(run, "explanation"), *figures.stay_links(run)]
    return Section(name="explanation", title="What does it look at? Explanation", short="Explanation", blocks=blocks)


def _parts(content: Any) -> list[Block]:
    """explanation.json as facts and tables, whatever its parts are called; what is about single stays is left out."""
    if not isinstance(content, dict):
        return [Text(text="explanation.json holds no named parts.", tone="note")]
    parts = {name: part for name, part in content.items() if _of_many(name, part)}
    facts = {plain(name): _word(part) for name, part in parts.items() if _is_plain(part)}
    blocks: list[Block] = [Facts(facts=facts)] if facts else []
    for name, part in parts.items():
        if table := _table(plain(name).capitalize(), part):
            blocks.append(table)
    return blocks


def _of_many(name: str, part: Any) -> bool:
    """Whether a part may be told: `stays` is told if it is how many they are, and not which."""
    return STAY not in name or (name == "stays" and isinstance(part, int))


def _is_plain(part: Any) -> bool:
    return isinstance(part, str | int | float | bool) or part is None


def _is_estimate(part: Any) -> bool:
    """A value with its interval, as in metrics.json."""
    return isinstance(part, dict) and {"value", "low", "high"} == part.keys()


def _table(caption: str, part: Any) -> Table | None:
    """A list of records, or a mapping of names to numbers, as a table; a `label` names the row, where there is one."""
    if isinstance(part, dict) and part and all(_is_plain(value) for value in part.values()):
        part = [{"name": plain(name), "value": value} for name, value in part.items()]
    if not isinstance(part, list) or not part or not all(isinstance(record, dict) for record in part):
        return None
    every = dict.fromkeys(name for record in part for name in record)
    names = [n for n in every if STAY not in n and all(_is_cell(record.get(n)) for record in part)]
    if "label" in names:
        names = ["label", *(name for name in names if name not in ("label", "feature"))]
    if not names:
        return None
    rows = [[_cell(record.get(name)) for name in names] for record in part[:MOST]]
    more = f" (the first {MOST} of {len(part):,})" if len(part) > MOST else ""
    texts = [i for i, name in enumerate(names) if any(isinstance(record.get(name), str) for record in part)]
    return Table(caption=caption + more, columns=[(plain(name), "") for name in names], rows=rows, words=texts)


def _is_cell(value: Any) -> bool:
    return _is_plain(value) or _is_estimate(value)


def _cell(value: Any) -> Cell:
    if _is_estimate(value):
        return estimate_cell(value, 4)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(_word(value), value if numeric else "" if value is None else None)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value, 3 if abs(value) >= 0.001 or value == 0 else 6)
    return "–" if value is None else str(value)


def early(run: Run) -> Section:
    blocks: list[Block] = []
    if run.hours_observed is None or run.hours_observed.is_empty():
        text = "How early the model is right was not measured: there is no hours_observed.csv in the run folder."
        blocks.append(Text(text=text, tone="note"))
    else:
        blocks.append(_frame(run.hours_observed, "What it can do with the first hours only"))
    blocks += figures.of_section(run, "early")
    return Section(name="early", title="How early is it right?", short="How early", blocks=blocks)


def training(run: Run) -> Section:
    history, blocks = run.history, list[Block]()
    if history is None or history.is_empty():
        blocks.append(Text(text="This model has no epochs, or they were not kept.", tone="note"))
    else:
        blocks += [Text(text=_course(history)), _frame(history, "Epoch by epoch", "Every epoch in numbers")]
    blocks += figures.of_section(run, "training")
    return Section(name="training", title="How did it learn? Training curves", short="Training", blocks=blocks)


def _course(history: pl.DataFrame) -> str:
    """How long it was trained, and which epoch was the best on validation stays."""
    said = f"{history.height:,} epochs"
    for column, name in (("stage", "stages"), ("fold", "folds")):
        if column in history.columns and history[column].n_unique() > 1:
            said += f" in {history[column].n_unique()} {name}"
    if "fold" not in history.columns and "val/auroc" in history.columns and history["val/auroc"].count():
        best = history.sort("val/auroc", descending=True, nulls_last=True).row(0, named=True)
        said += f"; the highest AUROC on validation stays, {number(best['val/auroc'], 3)}, in epoch {best.get('epoch')}"
    return said + "."


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
    columns = [(METRICS[name][0] if name in METRICS else plain(name), "") for name in names]
    return Table(caption=caption, columns=columns, rows=rows, words=texts, folded=folded)
