"""Logistic regression on five summaries of each variable: last, mean, min, max and count. The honest baseline.

    features (B, 5 V) -> missing ones replaced by the training median -> z-scores -> sigmoid(w x + b)

Deviation: the original's baseline sees hour 47 alone, in which no laboratory value ever lies, so that 59 % of its test
stays get one and the same risk; and its class weights, whose scores are no risks, are left out.

References: lehdermann/reproducible-mortality-prediction (A. Lehdermann Silveira, 2025), stored baseline model.
"""

import torch
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import number, true_or_false
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.summaries import summaries


class LogisticRegression(nn.Module):
    """Fitted by scikit-learn, kept as tensors.

    Arguments:
        shape: of the data.
        inverse_penalty: scikit-learn's C of the L2 penalty; inf: no penalty.
        static: also feed age, sex and ethnicity.
    """

    median: Tensor  # (F) of each feature, over training stays
    mean: Tensor
    sd: Tensor
    weight: Tensor
    bias: Tensor  # ()

    def __init__(self, *, shape: BatchShape, inverse_penalty: float, static: bool) -> None:
        super().__init__()
        self.inverse_penalty = number("model.inverse_penalty", inverse_penalty, above=0, infinite=True)
        self.static = true_or_false("model.static", static)
        width = self.width(shape)
        for name, size in {"median": [width], "mean": [width], "sd": [width], "weight": [width], "bias": []}.items():
            self.register_buffer(name, torch.full(size, float("nan"), dtype=torch.float64))

    def width(self, shape: BatchShape) -> int:
        """F, how many features there are."""
        return 5 * shape.n_variables + self.static * shape.n_static

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """Medians, means, SDs and weights from the training stays; nothing is chosen on validation."""
        x = self._features(data.train)
        self.median = x.nanmedian(dim=0).values.nan_to_num(0.0)
        x = self._filled(x)
        self.mean, self.sd = x.mean(0), x.std(0, correction=0)
        self.sd = torch.where(self.sd > 0, self.sd, 1.0)
        regression = SklearnLogisticRegression(C=self.inverse_penalty, max_iter=5000)
        regression.fit(((x - self.mean) / self.sd).numpy(), data.train.label.numpy())
        self.weight = torch.from_numpy(regression.coef_[0]).double()
        self.bias = torch.tensor(float(regression.intercept_[0]), dtype=torch.float64)

    def predict(self, batch: StayBatch) -> Tensor:
        x = (self._filled(self._features(batch)) - self.mean) / self.sd
        return torch.sigmoid((x * self.weight).sum(1) + self.bias).unsqueeze(1)  # (B) -> (B, 1)

    def _features(self, batch: StayBatch) -> Tensor:
        features = [summaries(batch.values, batch.observed), *([batch.static] if self.static else [])]
        return torch.cat(features, dim=1).double()

    def _filled(self, x: Tensor) -> Tensor:
        return torch.where(x.isnan(), self.median, x)
