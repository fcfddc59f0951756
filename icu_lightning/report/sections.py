"""The whole report in order, once, for the page and its Markdown twin."""

from collections.abc import Sequence

from icu_lightning.report import explained, gaps, groups, inside, limits, origin, participants, performance, words
from icu_lightning.report.blocks import Block, Links, Section, Table, Text, row
from icu_lightning.report.folder import Run

BESIDE = (
    ("report.md", "the same as a technical report in Markdown"),
    ("tripod_ai.md", "TRIPOD+AI checklist, filled as far as the run knows"),
    ("model_card.md", "model card"),
)


def sections(run: Run) -> list[Section]:
    return [
        participants.participants(run),
        performance.results(run),
        performance.calibration(run),
        performance.decision(run),
        groups.subgroups(run),
        *gaps.gaps(run),
        explained.explanation(run),
        inside.early(run),
        *inside.robustness(run),
        inside.training(run),
        origin.audit(run),
        origin.cleaning(run),
        _limits(run),
        origin.configuration(run),
        origin.repeat(run),
        _rules(),
    ]


def _limits(run: Run) -> Section:
    blocks = [
        *_listed("What it is for", limits.intended(run)),
        *_listed("What it is not for", limits.NOT_INTENDED),
        *_listed("What these numbers do not say", limits.limits(run)),
    ]
    return Section(name="limits", title="Intended use and limits", short="Limits", blocks=blocks)


def _listed(heading: str, texts: Sequence[str]) -> list[Block]:
    return [Text(text=heading, tone="heading"), *(Text(text=text, tone="item") for text in texts)]


def _rules() -> Section:
    rows = [row(judged, rule) for judged, rule in words.rules()]
    note = "The words are conventions, not laws: what is good enough depends on what a wrong risk would do. No word is taken from the "
    note += "highest or lowest risk."
    blocks: list[Block] = [
        Text(text=note),
        Table(columns=[("What is judged", ""), ("rule", "")], rows=rows, words=(1,)),
        Links(links=BESIDE),
    ]
    return Section(name="rules", title="How numbers become words", short="Rules", blocks=blocks)
