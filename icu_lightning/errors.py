"""What a person did not mean, said in a sentence they can act on."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake of input or configuration: printed without a traceback, exit code 1.

    The message names the file, the column or the value, and the way out.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among the known ones: the nearest first, then all of them."""
    choices = sorted(known)
    near = get_close_matches(name, choices, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UserError(f"Unknown {kind} '{name}'.{hint} Known: {', '.join(choices)}.")
