"""What a person did not mean, said in a sentence they can act on."""

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeGuard

LATER = 75  # exit code of who could not go on now, which is no mistake (sysexits: try again later)
PUT_BACK = "ICU_SWEEP_PUT_BACK"  # in the environment of a job that is to end so, in place of waiting for what another job makes


class UserError(Exception):
    """A mistake of input or configuration: printed without a traceback, exit code 1.

    The message names the file, the column or the value, and the way out.
    """


class NotFittedError(RuntimeError):
    """A mistake of ours, not of the user: data were to be transformed by what was never fitted on the training stays."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UserError:
    """The error for a name that is not among the known ones: the nearest first, then all of them."""
    choices = sorted(known)
    near = get_close_matches(str(name), choices, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UserError(f"Unknown {kind} '{name}'.{hint} Known: {', '.join(choices)}.")


def whole_number(name: str, value: object, least: int) -> int:
    """`value`, if it is a whole number (no true, no 3.0) of at least `least`; else UserError naming the setting."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be a whole number of at least {least}; it is {value}.")
    return value


def check_widths(part: str, **widths: object) -> None:
    """Raise UserError unless each setting of a part, as `model.imputer`, is a whole number of at least 1, as widths and layers are."""
    for name, value in widths.items():
        whole_number(f"{part}.{name}", value, 1)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number: no true, no word."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    infinite: bool = False,
) -> float:
    """`value`, if it `is_number` within the bounds, or infinity where that means none; else UserError naming the setting.

    >>> number("model.dropout", 0.2, least=0, below=1)
    0.2
    >>> number("model.dropout", "abc", least=0, below=1)
    Traceback (most recent call last):
    icu_lightning.errors.UserError: model.dropout must be a finite number, at least 0 and below 1; it is abc.
    """
    if infinite and value == math.inf:
        return math.inf
    if is_number(value) and least <= value <= most and above < value < below:
        return value
    if least > -math.inf and most < math.inf:
        bounds = [f"from {least:g} to {most:g}"]
    elif least > -math.inf and below == math.inf:
        bounds = [f"{least:g} or more"]
    else:
        bounds = [f"above {above:g}"] * (above > -math.inf) + [f"at least {least:g}"] * (least > -math.inf)
        bounds += [f"below {below:g}"] * (below < math.inf) + [f"at most {most:g}"] * (most < math.inf)
    allowed = [] if is_number(value) else ["a finite number"]
    allowed += [" and ".join(bounds)] if bounds else []
    raise UserError(f"{name} must be {', '.join(allowed)}; it is {value}.")


def share(name: str, value: object) -> float:
    """`value`, if it is a number from 0 to 1; else UserError naming the setting."""
    return number(name, value, least=0, most=1)


def true_or_false(name: str, value: object) -> bool:
    """`value`, if it is one of these, not a word for it: Hydra hands on `no` as text; else UserError naming the setting."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false; it is {value}.")
    return value


def listed(name: str, value: object, example: str) -> list[Any]:
    """The members of `value`, if it is a list; else UserError naming the setting, with an example such as `[0.75,0.9]`."""
    if not isinstance(value, list | tuple):
        raise UserError(f"{name} must be a list, as in {example}; it is {value}.")
    return list(value)
