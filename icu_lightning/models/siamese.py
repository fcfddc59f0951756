"""The Siamese branch: stays of one outcome are drawn together, of different outcomes apart to a margin.

    D = |e_1 - e_2|,    L_con = 1[y_1 = y_2] D^2 + 1[y_1 != y_2] max(0, m - D)^2              (Eq. 26 and 27)

Both sides of a pair are the same network on two stays of one batch, so shared weights are a matter of course. With several devices,
pairs are formed within each one's share of the batch: no embedding crosses from one to another.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025), section 6; Dimensionality Reduction by Learning an
Invariant Mapping (Hadsell, Chopra, LeCun, 2006), Eq. 4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.errors import number, true_or_false, unknown_name, whole_number

TINY = 1e-12  # below this squared distance the gradient is 0 instead of infinite


def distance(one: Tensor, other: Tensor) -> Tensor:
    """(N, E), (N, E) -> (N) Euclidean; its gradient at 0 is 0."""
    return (one - other).square().sum(1).clamp(min=TINY).sqrt()


def contrastive(d: Tensor, alike: Tensor, margin: float) -> Tensor:
    """(N) distances, (N) bool -> (N) losses."""
    return torch.where(alike, d.square(), (margin - d).clamp(min=0).square())  # Eq. 27


def permuted(label: Tensor) -> Tensor:
    """(B) -> (B) the partner of each stay: a random order, each paired with the next, so never with itself unless it is alone."""
    order = torch.randperm(len(label), device=label.device)
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner


def balanced(label: Tensor) -> Tensor:
    """(B) -> (B) partners, alike for half of the stays and unlike for the others, as far as the batch has such."""
    alike = label.unsqueeze(0) == label.unsqueeze(1)
    wanted = torch.rand(len(label), 1, device=label.device) < 0.5
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    # Any other if there is none such, and itself if it is alone
    weight = ((alike == wanted) & ~itself).float() + 1e-6 * (~itself).float() + 1e-12 * itself.float()
    return torch.multinomial(weight, 1).squeeze(1)


PAIRS = {f.__name__: f for f in (permuted, balanced)}


@dataclass(frozen=True)
class Pairs:
    """loss: (). alike, unlike: () mean distances, NaN where the batch has no such pair."""

    loss: Tensor
    alike: Tensor
    unlike: Tensor


class Siamese(nn.Module):
    """Embeddings and labels of a batch -> its pairs' loss and distances.

    Arguments:
        embedding_width: of the embeddings.
        margin: beyond which unlike pairs are let alone.
        pairs: permuted, or balanced for batches with few deaths.
        normalised: distances between embeddings of length 1, so that margin and distances have one scale.
        projection: units of a dense layer between embedding and distance, so that the classifier's features are not themselves
            pressed together; 0 for none, the paper's.
    """

    def __init__(self, *, embedding_width: int, margin: float, pairs: str, normalised: bool, projection: int) -> None:
        super().__init__()
        if pairs not in PAIRS:
            raise unknown_name("way to make pairs", pairs, PAIRS)
        whole_number("model.siamese.projection", projection, 0)
        self.margin, self.pairs = number("model.siamese.margin", margin, above=0), PAIRS[pairs]
        self.normalised = true_or_false("model.siamese.normalised", normalised)
        self.projection = (
            nn.Sequential(nn.Linear(embedding_width, projection), nn.ReLU(), nn.Linear(projection, projection))
            if projection
            else nn.Identity()
        )

    def forward(self, embedding: Tensor, label: Tensor) -> Pairs:
        """(B, E), (B) -> Pairs. A single stay has no pair, and loss 0."""
        e = self.projection(embedding)
        e = F.normalize(e, dim=1) if self.normalised else e
        partner = self.pairs(label)
        d, alike = distance(e, e[partner]), label == label[partner]
        loss = contrastive(d, alike, self.margin).mean() if len(label) > 1 else 0.0 * e.sum()
        return Pairs(loss, d[alike].detach().mean(), d[~alike].detach().mean())
