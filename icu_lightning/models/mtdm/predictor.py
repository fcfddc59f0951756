"""The mortality predictor of the paper's figure 6: two LSTM layers, each with batch normalisation and dropout, then two dense ones.

    x (N, T, V) -> LSTM -> BatchNorm, Dropout -> LSTM -> h_T (N, 64), the embedding
    h_T -> BatchNorm, Dropout -> Dense 32, ReLU, Dropout -> Dense 1 -> logit
    L_mort = w_y (bce BCE(y, p) + mse (y - p)^2), w_1 = death_weight, w_0 = 1; the paper's are 1     (Eq. 23 to 25)

The embedding is taken before normalisation, so that it does not depend on the batch.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025), section 5.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape
from icu_lightning.errors import UserError, check_widths, share, true_or_false


class MortalityLSTM(nn.Module):
    """Filled series -> logits and embeddings.

    Deviation: Eq. 20 to 22 drop out the scalar logit, which makes every fifth risk one half; here dropout stands before it.

    Arguments:
        shape: of the data.
        hidden: units of the first LSTM.
        embedding: units of the second, the paper's 1 x 64.
        reduced: units of the first dense layer.
        dropout: after each LSTM and the dense layer.
        mask: also feed which cells were observed; the paper feeds values only.
        static: also feed age, sex and ethnicity, to the dense layer; not in the paper's equations.

    Raises UserError for values that cannot be meant, and for static features that the data does not have.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        hidden: int,
        embedding: int,
        reduced: int,
        dropout: float,
        mask: bool,
        static: bool,
    ) -> None:
        super().__init__()
        check_widths("model.predictor", hidden=hidden, embedding=embedding, reduced=reduced)
        true_or_false("model.predictor.mask", mask)
        share("model.predictor.dropout", dropout)
        if true_or_false("model.predictor.static", static) and not shape.n_static:
            raise UserError(
                "model.predictor.static=true feeds the features of data.static, which is empty: data.static=[age,sex]."
            )
        self.mask, self.static, self.width = mask, static, embedding
        self.lstm_1 = nn.LSTM(shape.n_variables * (1 + mask), hidden, batch_first=True)
        self.lstm_2 = nn.LSTM(hidden, embedding, batch_first=True)
        self.norm_1, self.norm_2 = nn.BatchNorm1d(hidden), nn.BatchNorm1d(embedding)
        self.reduce, self.out = nn.Linear(embedding + static * shape.n_static, reduced), nn.Linear(reduced, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, series: Tensor, observed: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, V), (N, T, V) bool, (N, S) -> logits (N), embeddings (N, 64)."""
        x = torch.cat([series, observed.to(series.dtype)], dim=2) if self.mask else series
        states = self.lstm_2(self.dropout(_normalised(self.norm_1, self.lstm_1(x)[0])))[0]  # (N, T, 64)
        embedding = states[:, -1]
        head = self.dropout(_normalised(self.norm_2, states)[:, -1])
        if self.static:
            head = torch.cat([head, static], dim=1)
        logit = self.out(self.dropout(F.relu(self.reduce(head))))
        return logit.squeeze(1), embedding


def mortality_loss(logit: Tensor, label: Tensor, bce: float, mse: float, death_weight: float) -> Tensor:
    """(N), (N) -> () bce times binary cross-entropy plus mse times the squared error of the risk, which is Brier's score.

    Of deaths (label 1) both are weighted with `death_weight`; any but 1 bends the risks, which only calibration can straighten.
    """
    weight = torch.where(label == 1, death_weight, 1.0)
    error = (weight * (logit.sigmoid() - label).square()).mean()
    return bce * F.binary_cross_entropy_with_logits(logit, label, weight=weight) + mse * error


def _normalised(norm: nn.BatchNorm1d, states: Tensor) -> Tensor:
    """Over stays and hours, (N, T, H) -> the same. One hour of one stay has no spread: the running one serves."""
    rows = states.flatten(0, 1)
    if len(rows) > 1 or not norm.training:
        return norm(rows).view_as(states)
    return F.batch_norm(rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps).view_as(states)
