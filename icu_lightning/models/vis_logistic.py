"""Logistic regression on a few columns: severity scores, and what one number can say of the hours of VIS.

    x = [SOFA, max VIS, last VIS, slope of VIS]  or any other choice, a score alone included ->  sigmoid(w x + b)

VIS is log1p of the score in z-scores of the training stays. A score of the first day is an *input* here, of data.static, while
teacher and student in their clean variant predict it: what this knows, they do not. Whoever compares the two says so.

References: METHODS C.5 (the comparators of the teacher-student paper, Jin et al., arXiv 2502.16834, 2025).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, listed
from icu_lightning.models.base import Data, StageTrainer
from icu_lightning.models.logistic_regression import LogisticRegression
from icu_lightning.models.vis import check_drugs, check_vis, checked_horizon, rates, until

OF_VIS = ("vis_max", "vis_last", "vis_mean", "vis_slope")


class VISLogistic(LogisticRegression):
    """Fitted as `LogisticRegression`; a stay whose VIS is unknown in every hour has the training median of its summaries.

    Arguments:
        shape: of the data.
        columns: of OF_VIS, and names of numeric features of data.static.
        horizon: hours that it is shown, see `vis.checked_horizon`.
        inverse_penalty: scikit-learn's C of the L2 penalty.

    Raises UserError for a column that is not there, or none.
    """

    def __init__(
        self, *, shape: BatchShape, columns: Sequence[str], horizon: int | None, inverse_penalty: float
    ) -> None:
        self.columns = listed("model.columns", columns, "[sofa,vis_max]")
        self.position = {name: i for i, name in enumerate(shape.static) if name in self.columns}
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise UserError(f"model.columns must name some columns, each once; it is {self.columns}.")
        if missing := sorted(set(self.columns) - set(OF_VIS) - self.position.keys()):
            raise UserError(
                f"model.columns: there is no {', '.join(missing)}. It is of {', '.join(OF_VIS)}, or a number in data.static, "
                "as in 'data.static=[age,sofa]'."
            )
        if set(self.columns) & set(OF_VIS):
            check_vis(shape, "vis_logistic")
        self.horizon = checked_horizon(horizon, shape, self.columns)
        super().__init__(shape=shape, inverse_penalty=inverse_penalty, static=False)

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """Raises UserError for training stays without a drug, if drugs are read."""
        if set(self.columns) & set(OF_VIS):
            check_drugs(until(data.train, self.horizon))
        super().fit(data, trainer)

    def width(self, shape: BatchShape) -> int:
        return len(self.columns)

    def _features(self, batch: StayBatch) -> Tensor:
        of_vis = summaries_of_vis(until(batch, self.horizon)) if set(self.columns) & set(OF_VIS) else {}
        static = {name: batch.static[:, i].double() for name, i in self.position.items()}
        return torch.stack([(of_vis | static)[name] for name in self.columns], dim=1)


def summaries_of_vis(batch: StayBatch) -> dict[str, Tensor]:
    """(B) each of OF_VIS, over the hours in the unit with a known score; NaN where there is none, slope 0 where there is one.

    vis_slope is that of the least-squares line, in z-scores an hour.
    """
    channels, observed = rates(batch)
    x, known = channels[..., -1].double(), observed[..., -1] & batch.in_icu
    n, hour = known.sum(1), torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
    mean = torch.where(known, x, 0.0).sum(1) / n  # 0 / 0 is NaN
    centred = torch.where(known, hour - torch.where(known, hour, 0.0).sum(1, keepdim=True) / n.unsqueeze(1), 0.0)
    spread = centred.square().sum(1)
    slope = (centred * torch.where(known, x, 0.0)).sum(1) / torch.where(spread > 0, spread, 1.0)
    last = torch.where(known, hour, -1.0).argmax(1, keepdim=True)
    nothing = n == 0
    unknown = {"vis_max": x.masked_fill(~known, -torch.inf).amax(1), "vis_last": x.gather(1, last).squeeze(1)}
    unknown |= {"vis_slope": slope}
    return {"vis_mean": mean} | {name: value.masked_fill(nothing, torch.nan) for name, value in unknown.items()}
