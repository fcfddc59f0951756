"""The lines of a sweep that an experiment brings, so that `-m experiment=table6` is the whole command.

    hydra:
      sweeper:
        grids:
          - model=two_stage imputer=knn,csdi predictor=lstm,knn
          - model=two_stage imputer=brits predictor=brits
          - model=mtdm

Each is what would be typed after -m, and their jobs together are one sweep: what makes no sense is on no line. What is typed beside
the experiment holds for every line, but where a line names the same setting: of its values those remain that were typed, and
without any the line is left out. A value that no line has goes to the first line that names its setting. But a setting that is the
same wherever it is named, as model/size=small, sets nothing apart: what is typed takes its place in every such line.
"""

import shlex
from collections.abc import Callable, Sequence

from hydra.core.override_parser.types import Override

from icu_lightning.errors import UserError
from icu_lightning.words import in_full

Parse = Callable[[list[str]], list[Override]]


def lines_of(grids: Sequence[str], typed: Sequence[Override], parse: Parse) -> list[list[Override]]:
    """The overrides of each line, those that were typed among them; without grids one line, as typed.

    Raises UserError if nothing is left of any line.
    """
    if not grids:
        return [list(typed)]
    own = [{o.get_key_element(): _values(o) for o in parse(_words(line))} for line in grids]
    narrowing = {key: _values(o) for o in typed if any((key := o.get_key_element()) in line for line in own)}
    beside = [o for o in typed if o.get_key_element() not in narrowing]
    for key, wanted in narrowing.items():
        naming = [line for line in own if key in line]
        if len(naming[0][key]) == 1 and all(line[key] == naming[0][key] for line in naming):
            for line in naming:
                line[key] = wanted
            continue
        new = [value for value in wanted if not any(value in line[key] for line in naming)]
        for i, line in enumerate(naming):
            line[key] = [value for value in wanted if value in line[key] or (value in new and i == 0)]
    left = [line for line in own if all(line.values())]
    if not left:
        words = " ".join(f"{key}={','.join(wanted)}" for key, wanted in narrowing.items())
        raise UserError(f"{words}: the experiment has no run of these together. Its lines: {'; '.join(grids)}")
    return [parse([f"{key}={','.join(values)}" for key, values in line.items()]) + beside for line in left]


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
    lines = [{word.split("=")[0] for word in _words(line)} for line in grids]
    if lines and not any(line <= typed for line in lines):
        words = shlex.join(overrides)
        raise UserError(f"This experiment is many runs: python -m icu_lightning.run -m {words}")
