"""The death rate of the nearest cluster of training stays. With two clusters, two risks.

Deviation: an AUROC below one half, as the paper has for most of K-means, is what ranking by the clusters' arbitrary numbers gives;
here a cluster's score is the share of its training stays that died (METHODS B.3).

References: Some Methods for Classification and Analysis of Multivariate Observations (MacQueen, 1967).
"""

import torch
from sklearn.cluster import KMeans as SklearnKMeans
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, whole_number
from icu_lightning.models.base import Data, StageTrainer

STARTS = 10  # of which the tightest clusters are kept


class KMeans(nn.Module):
    """Fitted by scikit-learn, kept as tensors.

    Arguments:
        shape: of the data.
        clusters: of the flattened series.
    """

    centres: Tensor  # (K, T V)
    rate: Tensor  # (K) of deaths

    def __init__(self, *, shape: BatchShape, clusters: int) -> None:
        super().__init__()
        self.clusters = whole_number("model.predictor.clusters", clusters, 2)
        cells = shape.hours * shape.n_variables
        self.register_buffer("centres", torch.full([clusters, cells], float("nan"), dtype=torch.float64))
        self.register_buffer("rate", torch.full([clusters], float("nan"), dtype=torch.float64))

    def check(self, data: Data) -> None:
        """Raises UserError for fewer training stays than clusters."""
        if (n := len(data.train)) < self.clusters:
            raise UserError(f"model.predictor.clusters={self.clusters} are more than the {n} training stays.")

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """Raises UserError for fewer training stays than clusters."""
        self.check(data)
        x = data.train.values.double().flatten(1).cpu().numpy()  # (N, T, V) -> (N, T V)
        seed = int(torch.randint(2**31 - 1, ()))  # of the run's seed, as the first weights of a network are
        found = SklearnKMeans(self.clusters, n_init=STARTS, random_state=seed).fit(x)
        self.centres = torch.from_numpy(found.cluster_centers_)
        cluster, died = self._nearest(data.train), data.train.label.double().cpu()
        overall = died.mean()
        of_cluster = [died[cluster == k] for k in range(self.clusters)]
        self.rate = torch.stack([part.mean() if len(part) else overall for part in of_cluster])

    def predict(self, batch: StayBatch) -> Tensor:
        return self.rate[self._nearest(batch)].unsqueeze(1)  # (B) -> (B, 1)

    def _nearest(self, batch: StayBatch) -> Tensor:
        x = batch.values.double().flatten(1).cpu()
        return torch.cdist(x, self.centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
