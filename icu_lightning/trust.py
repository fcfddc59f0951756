"""What a stored configuration may name: this package's classes, torch's optimisers and losses, and Lightning's loggers.

A run folder or a checkpoint may be somebody else's. Its configuration says which classes are to be built, and whoever builds what
a file names runs what its writer wants: so each name is looked up, and refused unless it is a class of ours or of those.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.utils import get_object

from icu_lightning.errors import UserError

LOGGERS = "pytorch_lightning.loggers."
TRUSTED = (
    "icu_lightning.",
    "torch.optim.",
    "torch.nn.modules.loss.",
    LOGGERS,
)  # modules in which a class may be defined
NAMED = ("icu_lightning.", "torch.optim.", "torch.nn.", LOGGERS)  # how its name may begin


def check_trusted(conf: Any, whose: str) -> None:
    """Raise UserError if a `_target_` or a `source` anywhere in `conf` is no such class.

    Arguments:
        whose: the configuration is, at the beginning of a sentence.
    """
    for target in targets(conf):
        found: Any = None
        if target.startswith(NAMED):
            try:
                found = get_object(target)
            except (ImportError, AttributeError, ValueError) as error:
                raise UserError(f"{whose} names {target}, which is not there: is its model's file missing?") from error
        if not inspect.isclass(found) or not f"{found.__module__}.".startswith(TRUSTED):
            raise UserError(
                f"{whose} names {target}, which is no class of this package or of torch.optim: it is not loaded. "
                "It is data; one that wants other code is broken, or somebody's attack."
            )


def targets(conf: Any) -> Iterator[str]:
    """Every name of code in a configuration.

    >>> list(targets({"_target_": "a.B", "loss": {"_target_": "c.D"}, "parts": [{"_target_": "e.F"}], "data": {"source": "g.H"}}))
    ['a.B', 'c.D', 'e.F', 'g.H']
    """
    if isinstance(conf, Mapping):
        yield from (str(conf[key]) for key in ("_target_", "source") if key in conf)
        for part in conf.values():
            yield from targets(part)
    elif isinstance(conf, list):
        for part in conf:
            yield from targets(part)
