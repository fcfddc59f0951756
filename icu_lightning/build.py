"""Objects from conf: Hydra's instantiate, with facts known only at run time, and errors for people."""

import re
from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from icu_lightning.errors import UserError


def built(conf: Mapping[str, Any], **facts: Any) -> Any:
    """The object of `conf` (a `_target_` and its settings), given `facts` as further arguments, untouched.

    Raises UserError if there is no such class, or it refuses its settings; the cause is chained.
    """
    try:
        return instantiate(dict(conf), _partial_=True, _convert_="all")(**facts)
    except (InstantiationException, TypeError, ValueError) as error:
        if isinstance(error.__cause__, UserError):  # of a part, whose place Hydra tells
            place = re.search(r"full_key: (\S+)", str(error))
            raise UserError(f"{place[1]}: {error.__cause__}" if place else str(error.__cause__)) from error
        settings = ", ".join(
            f"{name}={value}"
            for name, value in conf.items()
            if name != "_target_" and not isinstance(value, dict | list)
        )
        raise UserError(f"Cannot build {conf.get('_target_')} ({settings}): {error}") from error
