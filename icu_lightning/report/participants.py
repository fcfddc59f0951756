"""Who the numbers are about: flow of participants, splits, and how alike they are."""

import polars as pl

from icu_lightning.description.flow_chart import flow_chart
from icu_lightning.description.small_cells import is_small
from icu_lightning.description.words import filter_words, number, percent
from icu_lightning.report.blocks import Block, Cell, Figure, Section, Table, Text, row
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import count_cell

SMALLEST = 5  # a count of 1 to 4 stays is not told, as in the description of a cohort
LEFT_OUT = {"left_out": "Training, left out at random"}
SPLITS = {"train": "Training", **LEFT_OUT, "val": "Validation", "test": "Test"}
UNKNOWN = "not known"


def participants(run: Run) -> Section:
    blocks: list[Block] = [*_flow(run), *_splits(run)]
    return Section(name="participants", title="Who is in it: flow of participants", short="Participants", blocks=blocks)


def _flow(run: Run) -> list[Block]:
    if run.attrition is None or run.attrition.is_empty():
        return [Text(text="There is no attrition.csv in the run folder, so that the flow is not known.", tone="note")]
    steps = "; ".join(filter_words(name) for name in run.attrition["filter"][1:])
    note = "Every stay of the database is kept, or left out by exactly one criterion, in this order. "
    note += f"Where fewer than {SMALLEST} stays went, criteria are told together."
    return [
        Figure(
            title="Flow of participants",
            alt=f"Flow of participants through {steps or 'no filter'}.",
            note=note,
            path="plots/attrition.svg",
            svg=flow_chart(run.attrition, title=f"{run.database}: who is in the cohort", smallest=SMALLEST),
        )
    ]


def _splits(run: Run) -> list[Block]:
    stays, names = run.predictions, SPLITS
    if run.folds:
        names = {"test": "All folds, each tested by the model that had not seen it"}
    columns = [("Stays of", ""), ("stays", ""), ("patients", ""), ("deaths", run.outcome), ("died", "")]
    columns += [("age", "median [quartiles]"), ("women", "of those whose sex is known")]
    parts = {name: stays.filter(pl.col("split") == name) for name in names}
    rows = [
        _split_row(names[name], part) for name, part in parts.items() if name not in LEFT_OUT or not part.is_empty()
    ]
    note = "All stays of a patient are on one side. The model learns from training stays; epoch, calibrator and threshold are "
    note += "chosen on validation stays; every result is of test stays."
    return [
        Table(caption="Splits, and how alike they are", columns=columns, rows=rows),
        Text(text=note, tone="note"),
    ]


def _split_row(title: str, stays: pl.DataFrame) -> list[Cell]:
    deaths = int(stays["label"].sum())
    return row(
        title,
        count_cell(stays.height),
        count_cell(stays["patient_id"].n_unique()),
        count_cell(deaths),
        Cell(percent(deaths, stays.height), deaths / stays.height if stays.height else ""),
        _age(stays),
        _women(stays),
    )


def _age(stays: pl.DataFrame) -> Cell:
    ages = stays["age"].drop_nulls()
    if len(ages) < SMALLEST:
        return Cell(UNKNOWN, "")
    low, median, high = (float(ages.quantile(q, "linear") or 0) for q in (0.25, 0.5, 0.75))
    return Cell(f"{number(median, 0)} [{number(low, 0)}, {number(high, 0)}]", median)


def _women(stays: pl.DataFrame) -> Cell:
    known = stays["sex"].drop_nulls()
    women = int((known.str.to_lowercase() == "female").sum())
    if is_small(women, SMALLEST) or is_small(len(known) - women, SMALLEST) or not len(known):
        return Cell("not shown" if len(known) else UNKNOWN, "")
    return Cell(percent(women, len(known)), women / len(known))
