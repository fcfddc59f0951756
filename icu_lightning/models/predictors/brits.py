"""BRITS' own head: a logit of each direction's last state, trained together with the imputation (Cao et al., 2018, Eq. 12).

It is a part of imputer=brits and of no other: an imputer that BRITS did not make has no state of it to read.

Deviation: with label_weight 1 the label weighs .3 T times as much beside the imputation as published, 7 times at 24 h and 14 at 48 h,
because the imputer's errors are means over cells, where BRITS has 1 BCE + .3 times their sum over hours.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import number
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.imputers.brits import BRITS as Imputer
from icu_lightning.models.parts import another_imputer
from icu_lightning.models.two_stage import measured


class BRITS:
    """The predictor. It has no weights but the imputer's.

    Arguments:
        shape: of the data.
        label_weight: of cross-entropy beside the imputation's loss.
    """

    imputer: Imputer

    def __init__(self, *, shape: BatchShape, label_weight: float) -> None:
        self.label_weight = number("model.predictor.label_weight", label_weight, above=0)

    def join(self, imputer: object) -> None:
        """Be trained along with this imputer. Raises UserError for one that is not BRITS."""
        if not isinstance(imputer, Imputer):
            raise another_imputer(type(imputer).__name__)
        imputer.network.label_weight = self.label_weight
        self.imputer = imputer

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """Has happened with the imputer's."""

    @torch.no_grad()
    def predict(self, batch: StayBatch) -> Tensor:
        """(B, 1): the mean of both directions' risks, in double precision as in `RiskModule.predict`."""
        network = copy.deepcopy(self.imputer.network).double().eval()
        batch = replace(batch, observed=measured(batch)).to(self.imputer.device).double()
        return torch.sigmoid(network.logits(network(batch))).mean(0).unsqueeze(1).cpu()  # (2, B) -> (B, 1)

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Nothing: see the imputer's."""
