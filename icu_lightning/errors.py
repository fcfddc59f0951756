"""What a person did not mean, said in a sentence they can act on."""

from collections.abc import Iterable
from difflib import get_close_matches

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
