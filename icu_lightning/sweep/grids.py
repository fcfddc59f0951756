"""The lines of a sweep that an experiment brings, so that `-m experiment=table6` is the whole command.

    hydra:
      sweeper:
        grids:
          - model=two_stage imputer=knn,csdi predictor=lstm,knn
          - model=two_stage imputer=brits predictor=brits
          - model=mtdm

Each is what would be typed after -m, and their jobs together are one sweep: what makes no sense is on no line. What is typed beside
the experiment holds for every line, but where a line names the same setting: if all that name it have the same values, as
model/size=long, what is typed takes their place, and holds for every line if none of those is left; else of its values those remain
that were typed, and without any the line is left out. A typed value that is then in no line goes to the first that names its setting
and is not left out for another one; several go to the line that lacks fewest of them, rather its predictor than its imputer. So each
is in a job, or refused.

A line that does not name what was typed stays. Only who types an imputer or a predictor, and no model, asks for lines that name one:
of another model the part is no setting.
"""

import shlex
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from hydra.core.override_parser.types import Override

from icu_lightning.errors import UserError
from icu_lightning.runfolder import PARTS
from icu_lightning.words import in_full

Parse = Callable[[list[str]], list[Override]]
Values = dict[str, list[str]]  # of each setting


def lines_of(grids: Sequence[str], typed: Sequence[Override], parse: Parse) -> list[list[Override]]:
    """The overrides of each line, those that were typed among them; without grids one line, as typed.

    Raises UserError for a typed value that no line can have beside the others.
    """
    if not grids:
        return [list(typed)]
    own = [{o.get_key_element(): _values(o) for o in parse(_words(line))} for line in grids]
    narrowing = {key: _values(o) for o in typed if any((key := o.get_key_element()) in line for line in own)}
    beside = [o for o in typed if o.get_key_element() not in narrowing]
    agreed = {key for key in narrowing if len({tuple(line[key]) for line in own if key in line}) == 1}
    lines = _narrowed(own, narrowing, agreed)
    choices = {key: values for key, values in narrowing.items() if key not in agreed}
    while lost := _lost(lines, choices):
        line = _taking(lines, lost)
        if line is None:
            with_it = {key: [v for v in values if v not in lost.get(key, ())] for key, values in choices.items()}
            raise _no_run(_typed(lost), _typed(with_it), grids)
        for key in lost.keys() & line.keys():
            line[key] = [value for value in choices[key] if value in line[key] or value in lost[key]]
    left = [line for line in lines if all(line.values())]
    if not left:
        raise _no_run(_typed(narrowing), "", grids)
    beside += [o for o in typed if (key := o.get_key_element()) in agreed and not any(key in line for line in left)]
    return [parse([f"{key}={','.join(values)}" for key, values in line.items()]) + beside for line in left]


def _narrowed(own: Sequence[Values], typed: Values, agreed: AbstractSet[str]) -> list[Values]:
    """Of each line what was typed of its values: of a setting perhaps nothing, and the line is left out unless it is given some."""
    asked = [] if "model" in typed else [part for part in PARTS if part in typed]

    def of(key: str, values: list[str]) -> list[str]:
        if key not in typed:
            return values
        return [value for value in typed[key] if key in agreed or value in values]

    return [{key: of(key, values) for key, values in line.items()} for line in own if line.keys() >= set(asked)]


def _lost(lines: Sequence[Values], typed: Values) -> Values:
    """Of each setting the typed values that are in no line that is left."""
    left = [line for line in lines if all(line.values())]
    lost = {
        key: [v for v in values if not any(v in line.get(key, ()) for line in left)] for key, values in typed.items()
    }
    return {key: values for key, values in lost.items() if values}


def _taking(lines: Sequence[Values], lost: Values) -> Values | None:
    """The line that lost values go to; a model is given to none, as its other settings are not another's."""
    given = lost.keys() - {"model"}

    def lacking(line: Values) -> set[str]:
        return {key for key, values in line.items() if not values}

    able = [line for line in lines if given & line.keys() and lacking(line) <= given]
    several = len(given) > 1
    return min(
        able, key=lambda line: (max(1, len(lacking(line))), several and "imputer" in lacking(line)), default=None
    )


def _no_run(what: str, beside: str, grids: Sequence[str]) -> UserError:
    told = f"{what}: the experiment has no run with this{f' and {beside}' if beside else ''}. Its lines:"
    return UserError("\n    ".join([told, *grids]))


def _typed(values: Values) -> str:
    return " ".join(f"{key}={','.join(own)}" for key, own in values.items() if own)


def settings_of(line: str) -> set[str]:
    """What a line names."""
    return {word.split("=")[0] for word in _words(line)}


def _words(line: str) -> list[str]:
    return [in_full(word) for word in shlex.split(line)]


def _values(override: Override) -> list[str]:
    """What a word gives its setting, one or several. Raises UserError for a range without steps."""
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line} has no end: name its values.")
    return list(override.sweep_string_iterator())


def refuse_alone(grids: Sequence[str], overrides: Sequence[str]) -> None:
    """Raise UserError for an experiment of many runs that was started as a single one, unless it is one of them."""
    typed = {word.split("=")[0] for word in overrides}
    lines = [settings_of(line) for line in grids]
    if lines and not any(line <= typed for line in lines):
        words = shlex.join(overrides)
        raise UserError(f"This experiment is many runs: python -m icu_lightning.run -m {words}")
