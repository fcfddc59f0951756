"""The MTDM's imputer, trained with its tasks as the MTDM is, for any predictor: what it fills in, without its own LSTM's risk.

    stage1, stage2 of the MTDM -> its diffusion -> draws; the tasks are those whose weights are not 0

It alone of the imputers learns from the labels of training stays: in the MTDM mortality and pairs shape what is filled in.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025), tables 4 to 6, the columns of its imputer.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.models.base import Data, StageTrainer, settings_of
from icu_lightning.models.mtdm.model import MTDM as Joint


class MTDM:
    """The imputer.

    Arguments:
        shape: of the data.
        joint: the model, made here, given `shape`.
    """

    kept = True

    def __init__(self, *, shape: BatchShape, joint: "partial[Joint]") -> None:
        with settings_of("model.imputer.joint"):
            self.joint = joint(shape=shape)
        self.draws_differ = self.joint.most_draws is None

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        self.joint.fit(data, trainer)

    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        return self.joint.impute(batch, n_samples)

    def to(self, device: torch.device) -> None:
        self.joint.to(device)

    def state_dict(self) -> Mapping[str, Any]:
        return self.joint.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.joint.load_state_dict(state_dict)
