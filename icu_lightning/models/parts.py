"""What of model=two_stage does not go together, and what is not installed: told by names, before torch is loaded.

The parts themselves refuse the same in the same words, where they are built otherwise than from conf.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from icu_lightning.errors import UserError

IMPUTERS = "icu_lightning.models.imputers."
HEAD, ITS_IMPUTER = "icu_lightning.models.predictors.brits.BRITS", f"{IMPUTERS}brits.BRITS"
EXTRAS = {  # _target_: who needs it, the package, the extra of this package that brings it
    f"{IMPUTERS}pypots.PyPOTS": ("imputer=pypots", "pypots", "pypots"),
    "icu_lightning.models.lightgbm.LightGBM": ("LightGBM", "lightgbm", "boosting"),
}


def check_parts(model: Mapping[str, Any]) -> None:
    """Raise UserError for what is wrong with a model as conf has it, with its parts. Of an imputer from elsewhere nothing is known."""
    targets = [_target(model), *(_target(model.get(part)) for part in ("imputer", "predictor"))]
    for target in targets:
        if target in EXTRAS and find_spec(EXTRAS[target][1]) is None:
            raise not_installed(target)
    _, imputer, predictor = targets
    if predictor == HEAD and imputer.startswith(IMPUTERS) and imputer != ITS_IMPUTER:
        raise another_imputer(imputer.rpartition(".")[2])


def _target(part: object) -> str:
    return str(part.get("_target_", "")) if isinstance(part, Mapping) else ""


def not_installed(target: str) -> UserError:
    """The error for a class of EXTRAS whose package is missing."""
    who, _, extra = EXTRAS[target]
    return UserError(f"{who} needs a package more: pip install 'icu-lightning[{extra}]'.")


def another_imputer(name: str) -> UserError:
    """The error for BRITS' head behind an imputer of the class `name`."""
    return UserError(
        f"predictor=brits is a head of imputer=brits and reads its state, which {name} does not have: "
        "choose imputer=brits, or another predictor, such as predictor=lstm."
    )
