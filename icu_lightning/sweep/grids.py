"""The lines of a sweep that an experiment brings, so that `-m experiment=table6` is the whole command.

    hydra:
      sweeper:
        grids:
          - model=two_stage imputer=knn,csdi predictor=lstm,knn
          - model=two_stage imputer=brits predictor=brits
          - model=mtdm

Each is what would be typed after -m, and their jobs together are one sweep: what makes no sense is on no line. What is typed beside
the experiment holds for every line, but where a line names the same setting: of its values those remain that were typed, and
without any the line is left out. A typed value that is then in no line goes to the first that names its setting and is not left out
for another one; so each is in a job, or refused. But a setting that is the same wherever it is named, as model/size=small, sets
nothing apart: what is typed takes its place in every such line.

A line that does not name what was typed stays. Only who types an imputer or a predictor, and no model, asks for lines that name one:
of another model the part is no setting.
"""

import shlex
from collections.abc import Callable, Sequence

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
    lines = _narrowed(own, narrowing)
    while lost := _lost(lines, narrowing):
        line, keys = _taking(lines, lost)
        if line is None:
            with_it = {key: [v for v in values if v not in lost.get(key, ())] for key, values in narrowing.items()}
            others = f" and {words}" if (words := _typed(with_it)) else ""
            raise UserError(
                f"{_typed(lost)}: the experiment has no run with this{others}. Its lines: {'; '.join(grids)}"
            )
        for key in keys:
            line[key] = [value for value in narrowing[key] if value in line[key] or value in lost[key]]
    left = [line for line in lines if all(line.values())]
    return [parse([f"{key}={','.join(values)}" for key, values in line.items()]) + beside for line in left]


def _narrowed(own: Sequence[Values], typed: Values) -> list[Values]:
    """Of each line what was typed of its values: of a setting perhaps nothing, and the line is left out unless it is given some."""
    asked = [] if "model" in typed else [part for part in PARTS if part in typed]
    named = {key: [line[key] for line in own if key in line] for key in typed}
    replaced = [key for key, (first, *others) in named.items() if len(first) == 1 and all(v == first for v in others)]

    def of(key: str, values: list[str]) -> list[str]:
        if key not in typed:
            return values
        return [value for value in typed[key] if key in replaced or value in values]

    return [{key: of(key, values) for key, values in line.items()} for line in own if line.keys() >= set(asked)]


def _lost(lines: Sequence[Values], typed: Values) -> Values:
    """Of each setting the typed values that are in no line that is left."""
    left = [line for line in lines if all(line.values())]
    lost = {
        key: [v for v in values if not any(v in line.get(key, ()) for line in left)] for key, values in typed.items()
    }
    return {key: values for key, values in lost.items() if values}


def _taking(lines: Sequence[Values], lost: Values) -> tuple[Values | None, set[str]]:
    """The line that lost values go to, and the settings that it takes them for.

    The first that lacks values of no other setting; where there is none, the first that has all it lacks from lost values.
    """
    for together in (False, True):
        for key in lost:
            for line in lines:
                lacking = {name for name, values in line.items() if not values} | {key}
                if key in line and lacking <= (lost.keys() if together else {key}):
                    return line, lacking
    return None, set()


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
