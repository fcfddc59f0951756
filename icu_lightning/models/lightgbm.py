"""LightGBM on six summaries of each variable and the static features: what a user would take instead, and it takes seconds.

    features (B, 6 V + S): last, mean, min, max, count and first of the observed values; not measured stays missing, which trees take

Kept as text, so that a checkpoint is data. Training uses one thread and a fixed order, so that a seed gives the same trees.

References: LightGBM: A Highly Efficient Gradient Boosting Decision Tree (Ke et al., 2017).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import NotFittedError, UserError, number, true_or_false, whole_number
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.parts import not_installed
from icu_lightning.models.summaries import first_value, summaries


class LightGBM:
    """Boosted trees on summaries.

    Arguments:
        shape: of the data.
        trees, learning_rate, leaves: how many trees, how much each adds, how many leaves it has at most.
        column_share: of the features, drawn anew for each tree.
        min_leaf: stays that a leaf must hold.
        static: also feed the features of data.static.

    Raises UserError if LightGBM is not installed or refuses a value.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        trees: int,
        learning_rate: float,
        leaves: int,
        column_share: float,
        min_leaf: int,
        static: bool,
    ) -> None:
        self.trees, self.static = whole_number("model.trees", trees, 1), true_or_false("model.static", static)
        self.parameters = {
            "objective": "binary",
            "learning_rate": number("model.learning_rate", learning_rate, above=0),
            "num_leaves": whole_number("model.leaves", leaves, 2),
            "feature_fraction": number("model.column_share", column_share, above=0, most=1),
            "min_data_in_leaf": whole_number("model.min_leaf", min_leaf, 1),
            "verbosity": -1,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
        }
        self.booster: Any = None
        nobody = torch.zeros(2, 1).numpy(), torch.tensor([0.0, 1.0]).numpy()
        with _refusals() as boosting:  # before anything is trained, such as an imputer
            boosting.Booster(self.parameters, boosting.Dataset(*nobody))

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """All trees from the training stays; nothing is chosen on validation."""
        seed = int(torch.randint(2**31 - 1, ()))  # of the run's seed, as the first weights of a network are
        x, label = self._features(data.train), data.train.label.numpy()
        with _refusals() as boosting:
            self.booster = boosting.train(
                self.parameters | {"seed": seed}, boosting.Dataset(x, label), num_boost_round=self.trees
            )

    def predict(self, batch: StayBatch) -> Tensor:
        """Raises NotFittedError before `fit`."""
        if self.booster is None:
            raise NotFittedError("LightGBM has no trees yet")
        risk = self.booster.predict(self._features(batch), num_threads=1) if len(batch) else []
        return torch.as_tensor(risk, dtype=torch.float64).view(-1, 1)  # (B) -> (B, 1)

    def state_dict(self) -> Mapping[str, Any]:
        return {} if self.booster is None else {"trees": self.booster.model_to_string()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        boosting = _lightgbm()
        try:
            self.booster = boosting.Booster(model_str=state_dict["trees"])
        except boosting.basic.LightGBMError as error:
            raise ValueError(str(error)) from error

    def _features(self, batch: StayBatch) -> Any:
        parts = [summaries(batch.values, batch.observed), first_value(batch.values, batch.observed)]
        return torch.cat([*parts, *([batch.static] if self.static else [])], dim=1).double().cpu().numpy()


@contextmanager
def _refusals() -> Iterator[Any]:
    """The package; what it refuses is told in a sentence."""
    boosting = _lightgbm()
    try:
        yield boosting
    except boosting.basic.LightGBMError as error:
        raise UserError(f"LightGBM refuses its settings: {error}") from error


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise not_installed(f"{LightGBM.__module__}.{LightGBM.__name__}") from error
    return lightgbm
