"""Where the numbers come from: leakage audit, cleaning, configuration, and the exact commands that repeat them."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from icu_lightning.data.splits import undersampled_text
from icu_lightning.description.counts import cleaning_counts, component_row, unit_row
from icu_lightning.description.words import number
from icu_lightning.report.blocks import Block, Code, Facts, Section, Table, Text, row
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import count_cell
from icu_lightning.report.participants import SMALLEST

VERDICTS = {True: "passed", False: "FAILED", None: "cannot be told"}
PATHS = ("data.root", "data.cache_dir", "resume")  # of the machine of the run; nobody else's concern
HERE = "a folder of the machine of the run"
COMMANDS = ("run.py", "icu-lightning")  # how a run is started


def audit(run: Run) -> Section:
    title, short = "Could the answer be in the question? Leakage audit", "Audit"
    if run.audit is None:
        missing = [Text(text="There is no audit.json in the run folder: nothing is known of leakage.", tone="failed")]
        return Section(name="audit", title=title, short=short, blocks=missing)
    failed = bool(run.failed_checks)
    said = "FAILED: these numbers may be too good." if failed else "No check failed."
    rows = [row(check["name"], VERDICTS[check["passed"]], check["said"]) for check in run.audit["checks"]]
    blocks: list[Block] = [
        Text(text=said, tone="failed" if failed else "plain"),
        Table(columns=[("Check", ""), ("verdict", ""), ("what it saw", "")], rows=rows, words=(1, 2)),
    ]
    probe = run.audit.get("missingness_auroc")
    if probe is not None:
        text = f"A model that sees only what was measured when, and no value, has an AUROC of {number(probe, 3)}. "
        text += "What is above 0.5 of it is how staff act on a patient, not how the patient is: it may not hold in another hospital."
        blocks.append(Text(text=text))
    if hidden := run.audit.get("held_out"):
        cells = "; ".join(f"{of['hidden']:,} of {of['measured']:,} in {name}" for name, of in hidden["cells"].items())
        text = f"Measured cells hidden from the model on purpose ({hidden['pattern']}, rate {hidden['rate']}): {cells}."
        blocks.append(Text(text=text))
    if left_out := run.audit.get("undersampled"):
        text = undersampled_text(left_out)
        blocks.append(Text(text=f"{text[0].upper()}{text[1:]}. Validation and test stays are all in."))
    return Section(name="audit", title=title, short=short, blocks=blocks)


def cleaning(run: Run) -> Section:
    blocks: list[Block] = []
    if run.cleaning is None or run.cleaning.is_empty():
        blocks.append(Text(text="There is no cleaning.csv in the run folder.", tone="note"))
    else:
        blocks += _cleaning(run.cleaning)
    blocks += _units(run) + _components(run)
    return Section(name="cleaning", title="What cleaning did", short="Cleaning", blocks=blocks)


def _cleaning(table: pl.DataFrame) -> list[Block]:
    note = "Counts of charted values of the cohort, not of stays; of each value exactly one thing is counted. "
    note += "“Derived” and “cells” count hours."
    if "fold" in table.columns:
        table = table.filter(pl.col("fold") == table["fold"].min()).drop("fold")
        note += " Of the first fold; folds differ only in what is fitted on training stays."
    counts = cleaning_counts(table)
    rows = [row(name, *map(count_cell, numbers), latest) for name, numbers, latest in counts.rows]
    columns = [("Variable", ""), *((name, "") for name, _ in counts.columns), ("latest value used", "hour")]
    blocks: list[Block] = [
        Text(text=note),
        Table(columns=columns, rows=rows),
        Facts(facts=dict(counts.columns)),
    ]
    if counts.never:
        blocks.append(Text(text=f"Did not happen to any value: {'; '.join(counts.never)}.", tone="note"))
    return blocks


def _units(run: Run) -> list[Block]:
    """Units of infusions that nobody can read, by drug; nothing for runs of before they were listed, or without infusions."""
    if run.audit is None or not (units := run.audit.get("unknown_units")):
        return []
    rows = [row(*unit_row(of, SMALLEST)) for of in units]
    text = "Infusions whose unit could not be read: the drug ran in these hours, at a rate that is not known."
    return [
        Text(text=text),
        Table(columns=[("Drug", ""), ("unit as charted", ""), ("infusions", ""), ("stays", "")], rows=rows),
    ]


def _components(run: Run) -> list[Block]:
    """Of how many stays a component of a severity score was not measured."""
    if run.audit is None or not (components := run.audit.get("missing_components")):
        return []
    rows = [row(*component_row(of, SMALLEST)) for of in components]
    text = "Severity scores: a component of which nothing was measured counts 0 points, as if it were normal, by convention."
    columns = [("Score", ""), ("component", ""), ("stays with that score", ""), ("of them without this component", "")]
    return [Text(text=text), Table(columns=columns, rows=rows)]


def configuration(run: Run) -> Section:
    rows = [row(name, value) for name, value in settings(run.config)]
    folded = f"All {len(rows)} settings"
    blocks: list[Block] = [
        Facts(facts=_chosen(run)),
        Table(columns=[("Setting", ""), ("value", "")], rows=rows, words=(1,), folded=folded),
    ]
    return Section(name="configuration", title="Configuration", short="Configuration", blocks=blocks)


def _chosen(run: Run) -> dict[str, str]:
    names = {str(group): str(option) for group, option in run.config["names"].items()}
    rule, seed = _plain_value(run.config["threshold"]), run.config["seed"]
    return names | {"threshold": rule, "seed": str(seed), "split_seed": str(run.data.get("split_seed"))}


def settings(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every setting with its dotted name, in the order of config.yaml; folders of the machine are not told."""

    def below(prefix: str, node: Any) -> Iterator[tuple[str, str]]:
        for name, value in node.items():
            path = f"{prefix}.{name}" if prefix else str(name)
            if isinstance(value, dict) and value:
                yield from below(path, value)
            else:
                yield path, HERE if path in PATHS and value is not None else _plain_value(value)

    return below("", config)


def _plain_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def repeat(run: Run) -> Section:
    commit = run.environment.get("git commit", "unknown")
    blocks: list[Block] = [Code(text="\n".join(commands(run)))]
    if "changes" in commit:
        text = "The code differed from that commit when the run was made, so that the numbers may not come out again."
        blocks.append(Text(text=text, tone="warning"))
    text = "The same command gives the same numbers, to the last digit, on the same machine and package versions. "
    text += "ICU_DATA_ROOT is the folder that holds the tables of the database."
    blocks += [Text(text=text, tone="note"), Facts(facts=_versions(run))]
    if run.packages:
        rows = [row(*package.partition("==")[::2]) for package in run.packages]
        columns = [("Package", ""), ("version", "")]
        blocks.append(
            Table(columns=columns, rows=rows, words=(1,), folded=f"Versions of all {len(rows)} installed packages")
        )
    return Section(name="repeat", title="Repeat it: commands and versions", short="Repeat it", blocks=blocks)


def commands(run: Run) -> list[str]:
    """Lines for a shell. What was typed is told as it was, without the run folder, which has to be a new one."""
    commit = run.environment.get("git commit", "").split(" ")[0]
    lines = [f"git checkout {commit}"] if len(commit) == 40 else []
    if not run.synthetic:
        lines.append("export ICU_DATA_ROOT=FOLDER")
    folder = "runs/again"
    typed = [
        word for word in overrides(run) if not word.startswith(("hydra.run.dir=", "data.root=", "data.cache_dir="))
    ]
    lines.append(shlex.join(["python", "-m", "icu_lightning.run", *typed, f"hydra.run.dir={folder}"]))
    lines.append(f"python -m icu_lightning.evaluate run={folder}    # metrics.json from the predictions alone")
    return [*lines, f"python -m icu_lightning.report run={folder}"]


def overrides(run: Run) -> list[str]:
    """What was typed behind the command; for a run that was started otherwise, what its configuration was composed of."""
    try:
        typed = shlex.split(run.environment.get("command", ""))
    except ValueError:  # a lone quote: a command of before they were quoted
        typed = []
    if typed and Path(typed[0]).name in COMMANDS:
        return typed[1:]
    names = [f"{group}={option}" for group, option in run.config["names"].items()]
    return [*names, f"seed={run.config['seed']}"]


def _versions(run: Run) -> dict[str, str]:
    of_run = {name: text for name, text in run.environment.items() if name != "command"}
    facts = {name.capitalize() if name == "date" else name: text for name, text in of_run.items()}
    return facts | {
        "SHA-256 of predictions.parquet": run.stored.sha256,
        **_digest(run.path / "checkpoints" / "data.json"),
    }


def _digest(path: Path) -> dict[str, str]:
    """The digest of stays, splits and values, by which a repeated run is known to have had the same data."""
    if not path.exists():
        return {}
    digest = json.loads(path.read_text(encoding="utf-8")).get("digest")
    return {"digest of stays, splits and values": f"{digest} (checkpoints/data.json)"} if digest else {}
