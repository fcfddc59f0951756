"""Jobs of a sweep whose parts do not go together, told before any job begins, and the lines of those that are left.

Of a line such as `imputer=locf,brits predictor=kmeans,brits` one pair cannot be: it would fail hours later, when nobody looks. Only
some of the jobs are composed, which takes longer than many a job does; what the parts of the others are follows from their words.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from icu_lightning.errors import UserError
from icu_lightning.models.parts import check_parts
from icu_lightning.runfolder import PARTS
from icu_lightning.sweep.jobs import Job

OF_A_MODEL = ("_target_", *PARTS)  # what check_parts looks at
TOLD = ("model", *PARTS)  # groups whose words are told
Plain = Mapping[str, Any]


def refuse_senseless(jobs: Sequence[Job], composed: Mapping[str, Plain], compose: Callable[[Job], Plain]) -> None:
    """Raise UserError if any job's parts do not go together.

    Arguments:
        composed: the configurations of some jobs, by name.
        compose: makes that of another.
    """
    known: dict[tuple[str, ...], Any] = {}  # a part by the words that choose it
    for job in jobs:
        if job.name in composed:
            known |= _parts(job, composed[job.name])
    wrong: dict[str, UserError] = {}
    for job in jobs:
        if not known.keys() >= {_choosing(job, key) for key in OF_A_MODEL}:
            known |= _parts(job, compose(job))
        try:
            check_parts({key: known[_choosing(job, key)] for key in OF_A_MODEL})
        except UserError as error:
            wrong[job.name] = error
    if not wrong:
        return
    good = [_words(job, TOLD) for job in jobs if job.name not in wrong]
    if not good:
        raise UserError("\n".join(dict.fromkeys(map(str, wrong.values()))))
    told = [f"{' '.join(_words(job, TOLD))}: {wrong[job.name]}" for job in jobs if job.name in wrong]
    left = lines_of_jobs(good)
    how = "each as a line of its own, or as hydra.sweeper.grids of an experiment" if len(left) > 1 else "as a line"
    raise UserError(
        "\n    ".join([f"{len(wrong)} of the {len(jobs)} jobs cannot be run, so none was begun:", *dict.fromkeys(told)])
        + "\n    ".join([f"\nRun the others, {how}, with what else was typed:", *left])
    )


def lines_of_jobs(jobs: Iterable[Sequence[str]]) -> list[str]:
    """Few lines of which these words are the jobs.

    >>> lines_of_jobs([("i=a", "p=x"), ("i=b", "p=x"), ("i=b", "p=y"), ("i=c", "p=x"), ("m=z",)])
    ['i=a,c p=x', 'i=b p=x,y', 'm=z']
    """
    rows: list[tuple[tuple[str, ...], ...]] = list(dict.fromkeys(tuple((word,) for word in job) for job in jobs))
    for place in reversed(range(max(map(len, rows)))):
        merged: dict[Any, list[str]] = {}
        for row in rows:
            inside = place < len(row)
            key = row[:place], row[place][0].split("=")[0] if inside else "", row[place + 1 :]
            merged.setdefault(key, []).extend(row[place] if inside else ())
        rows = [(*before, *([tuple(words)] if words else []), *behind) for (before, _, behind), words in merged.items()]
    return [" ".join(map(_joined, row)) for row in rows]


def _joined(words: Sequence[str]) -> str:
    """
    >>> _joined(["i=a", "i=c"])
    'i=a,c'
    """
    return ",".join([words[0], *(word.split("=", 1)[1] for word in words[1:])])


def _parts(job: Job, plain: Plain) -> dict[tuple[str, ...], Any]:
    return {_choosing(job, key): plain["model"].get(key) for key in OF_A_MODEL}


def _choosing(job: Job, key: str) -> tuple[str, ...]:
    return (key, *_words(job, ("experiment", "model", key)))


def _words(job: Job, groups: Sequence[str]) -> tuple[str, ...]:
    """Those of the job's words that choose an option of these groups, in their order."""
    chosen = {word.lstrip("+").split("=")[0]: word for word in job.overrides}
    return tuple(chosen[group] for group in groups if group in chosen)
