"""What the model looks at: explanation.json as sentences and a table, in percentage points of risk.

It holds means over many stays only; what is about single stays lies beside the report and is linked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from icu_lightning.description.small_cells import is_small
from icu_lightning.report import figures
from icu_lightning.report.blocks import Block, Cell, Section, Table, Text, row
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import estimate_cell
from icu_lightning.report.participants import SMALLEST

NOTHING = 1e-9  # an attribution below it is rounding: the model does not look there
NEEDED = {
    "n",
    "events",
    "risk",
    "base_value",
    "background",
    "block_hours",
    "evaluations_spent",
    "largest_error",
    "tolerance",
}
PARTS = {  # heading, and its keys in a feature of explanation.json
    "together": ("mean_absolute", "low", "high"),
    "by its values": ("values", "values_low", "values_high"),
    "by when it was measured": ("missingness", "missingness_low", "missingness_high"),
}
CAUSE = "What moves a model is not what makes patients die: an explanation shows what was used, and finds what should not have been."


def explanation(run: Run) -> Section:
    content, blocks = run.explanation, list[Block]()
    if content is None and run.folds:
        said = f"Every fold has a model of its own. To explain one: python -m icu_lightning.explain run={run.path.name}/fold-0"
        blocks.append(Text(text=said, tone="note"))
    elif content is None:
        blocks.append(Text(text="The run folder has no explanation.json: the model was not explained.", tone="note"))
    elif not isinstance(content, dict) or not NEEDED | {"features"} <= content.keys():
        said = f"explanation.json is of another version. Anew: python -m icu_lightning.explain run={run.path.name}"
        blocks.append(Text(text=said, tone="warning"))
    else:
        blocks += [
            Text(text=_whose(content)),
            Text(text=CAUSE),
            *_tables(content["features"], content.get("not_charted", [])),
            *_exactness(content),
        ]
    blocks += [*figures.of_section(run, "explanation"), *figures.stay_links(run)]
    return Section(name="explanation", title="What does it look at? Explanation", short="Explanation", blocks=blocks)


def _whose(content: Mapping[str, Any]) -> str:
    risk = "uncalibrated" if content["risk"] == "raw" else "calibrated"
    return (
        f"{content['n']:,} test stays ({content['events']:,} deaths) were taken apart: how far each thing that the model sees moves "
        f"its {risk} risk up or down, from the {100 * content['base_value']:.1f} % that {content['background']:,} training stays "
        "have on average."
        + (
            " Vasoactive drugs and the score that is made of them are one thing."
            if content.get("drugs") == "together"
            else ""
        )
    )


def _tables(features: Sequence[Mapping[str, Any]], not_charted: Sequence[str]) -> list[Block]:
    """Arguments: not_charted: names of features of which the database knows nothing."""
    moving = [feature for feature in features if feature["mean_absolute"] > NOTHING]
    blocks: list[Block] = []
    if moving:
        columns = [("What the model sees", ""), *((name, "percentage points") for name in PARTS)]
        rows = [row(feature["label"], *(_points(feature, keys) for keys in PARTS.values())) for feature in moving]
        blocks.append(
            Table(
                caption="How far it moves the risk, mean over the stays, up or down alike", columns=columns, rows=rows
            )
        )
    if absent := [feature["label"] for feature in features if feature["feature"] in not_charted]:
        said = "Unknown of every stay, because this database does not chart it, so not comparable with a model of another: "
        said += f"{', '.join(absent)}."
        blocks.append(Text(text=said, tone="warning"))
    if still := [
        feature["label"]
        for feature in features
        if feature["mean_absolute"] <= NOTHING and feature["feature"] not in not_charted
    ]:
        blocks.append(Text(text=f"What moves no risk at all: {', '.join(still)}.", tone="note"))
    categories = [
        _category(feature, name, of) for feature in moving for name, of in feature.get("categories", {}).items()
    ]
    if told := [cells for cells in categories if cells]:
        columns = [("Category", ""), ("stays", ""), ("moves the risk on average by", "percentage points, up or down")]
        blocks.append(Table(caption="Which way categories move it", columns=columns, rows=told))
    return blocks


def _points(feature: Mapping[str, Any], keys: Sequence[str]) -> Cell:
    """Percentage points with their interval; empty for what the feature does not have."""
    value, low, high = (None if feature.get(key) is None else 100 * feature[key] for key in keys)
    return Cell("", "") if value is None else estimate_cell({"value": value, "low": low, "high": high}, 2)


def _category(feature: Mapping[str, Any], name: str, of: Mapping[str, Any]) -> list[Cell]:
    """A category's row; none for one of so few stays that it might point at a person."""
    if is_small(of["n"], SMALLEST):
        return []
    mean = estimate_cell({"value": 100 * of["mean"], "low": None, "high": None}, 2)
    return row(f"{feature['label']}: {name}", Cell(f"{of['n']:,}", of["n"]), mean)


def _exactness(content: Mapping[str, Any]) -> list[Block]:
    """Whether the parts add up, and what was spent on it."""
    if "warning" in content:
        return [Text(text=content["warning"], tone="failed")]
    hours = (
        "Hours are taken one by one"
        if content["block_hours"] == 1
        else f"Hours are taken {content['block_hours']} at a time"
    )
    said = f"Owen values (shap). The parts add up to each stay's risk within {content['largest_error']:.0e} (tolerance "
    said += f"{content['tolerance']:.0e}). {hours}; the model was asked {content['evaluations_spent']:,} times. "
    return [Text(text=said + "Intervals: 95 %, over resamples of patients.", tone="note")]
