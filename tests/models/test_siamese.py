"""The contrastive loss, its pairs, and its gradient where two embeddings are one."""

import pytest
import torch

from icu_lightning.errors import UserError
from icu_lightning.models.siamese import PAIRS, Siamese, contrastive, distance


def siamese(**changes) -> Siamese:
    torch.manual_seed(0)
    return Siamese(
        **({"embedding_width": 4, "margin": 1.0, "pairs": "permuted", "normalised": False, "projection": 0} | changes)
    )


def test_the_loss_is_eq_27():
    d = torch.tensor([0.3, 0.3, 1.5, 1.5])
    alike = torch.tensor([True, False, True, False])
    assert contrastive(d, alike, 1.0).tolist() == pytest.approx([0.09, 0.49, 2.25, 0.0])


@pytest.mark.parametrize("alike", [True, False])
def test_the_gradient_is_finite_where_the_distance_is_0(alike):
    one = torch.ones(3, 4, requires_grad=True)
    loss = contrastive(distance(one, torch.ones(3, 4)), torch.tensor([alike] * 3), 1.0).sum()
    loss.backward()
    assert one.grad.isfinite().all()
    assert float(loss.detach()) == pytest.approx(0.0 if alike else 3.0, abs=1e-4)


def test_distance_is_euclidean():
    one, other = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(distance(one, other), torch.linalg.vector_norm(one - other, dim=1))


@pytest.mark.parametrize("pairs", PAIRS)
def test_nobody_is_paired_with_itself(pairs):
    torch.manual_seed(0)
    label = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0])
    for _ in range(50):
        partner = PAIRS[pairs](label)
        assert (partner != torch.arange(8)).all()


def test_permuted_pairs_are_a_permutation():
    torch.manual_seed(0)
    assert sorted(PAIRS["permuted"](torch.zeros(9)).tolist()) == list(range(9))


def test_balanced_pairs_are_half_alike_where_deaths_are_few():
    torch.manual_seed(0)
    label = torch.zeros(200)
    label[:20] = 1
    share = [float((label == label[PAIRS["balanced"](label)]).float().mean()) for _ in range(20)]
    assert sum(share) / 20 == pytest.approx(0.5, abs=0.03)
    assert float((label == label[PAIRS["permuted"](label)]).float().mean()) > 0.7


@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize(
    "changes", [{}, {"normalised": True}, {"projection": 3}], ids=["plain", "normalised", "projected"]
)
def test_batches_of_one_class_or_one_stay(pairs, changes):
    network = siamese(pairs=pairs, **changes)
    for n in (1, 2, 7):
        e = torch.randn(n, 4, requires_grad=True)
        found = network(e, torch.zeros(n))
        found.loss.backward()
        assert e.grad.isfinite().all()
        assert found.unlike.isnan()
        assert float(found.loss.detach()) >= 0
    assert float(network(torch.randn(1, 4), torch.zeros(1)).loss.detach()) == 0


def test_normalised_distances_have_a_scale():
    found = siamese(normalised=True)(100 * torch.randn(50, 4), torch.arange(50).remainder(2).float())
    assert max(float(found.alike), float(found.unlike)) <= 2


def test_unknown_pairs_are_told():
    with pytest.raises(UserError, match="Did you mean 'balanced'"):
        siamese(pairs="balance")
