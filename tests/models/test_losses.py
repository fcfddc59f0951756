"""Losses: their limits, their direction, their gradient."""

import pytest
import torch
from torch.nn import functional as F

from icu_lightning.errors import UserError
from icu_lightning.models.losses import BinaryCrossEntropy, FocalLoss, at_prevalence_of_training

LOGIT = torch.linspace(-6, 6, 25, dtype=torch.float64)
LABEL = (torch.arange(25) % 3 == 0).double()


def test_without_gamma_and_with_even_alpha_it_is_half_of_bce():
    assert FocalLoss(0.0, 0.5)(LOGIT, LABEL) == pytest.approx(
        0.5 * F.binary_cross_entropy_with_logits(LOGIT, LABEL).item(), abs=1e-12
    )


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75])
def test_it_is_equation_5(gamma, alpha):
    p = torch.sigmoid(LOGIT)
    p_t = torch.where(LABEL == 1, p, 1 - p)
    alpha_t = torch.where(LABEL == 1, torch.tensor(alpha), torch.tensor(1 - alpha))
    assert torch.allclose(FocalLoss(gamma, alpha)(LOGIT, LABEL), -(alpha_t * (1 - p_t) ** gamma * p_t.log()).mean())


def test_alpha_below_one_half_weighs_deaths_less():
    """The original's text claims the opposite of its .25."""
    zero = torch.zeros(1)
    assert FocalLoss(2.0, 0.25)(zero, torch.ones(1)) == pytest.approx(
        FocalLoss(2.0, 0.25)(zero, torch.zeros(1)).item() / 3
    )


def test_extreme_logits_stay_finite_with_their_gradients():
    logit = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    loss = FocalLoss()(logit, torch.tensor([0.0, 0.0, 1.0, 1.0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logit.grad).all()


@pytest.mark.parametrize(("gamma", "alpha"), [(-1.0, 0.5), (2.0, 1.5), (2.0, -0.1)])
def test_impossible_settings_are_refused(gamma, alpha):
    with pytest.raises(UserError, match=r"(gamma|alpha) must be"):
        FocalLoss(gamma, alpha)


def test_cross_entropy_is_torchs_and_weighs_deaths():
    plain = F.binary_cross_entropy_with_logits(LOGIT, LABEL)
    assert BinaryCrossEntropy()(LOGIT, LABEL) == pytest.approx(plain.item(), abs=1e-12)
    each = F.binary_cross_entropy_with_logits(LOGIT, LABEL, reduction="none")
    assert BinaryCrossEntropy(3.0)(LOGIT, LABEL) == pytest.approx((each * (1 + 2 * LABEL)).mean().item(), abs=1e-12)
    with pytest.raises(UserError, match="death_weight"):
        BinaryCrossEntropy(0.0)


@pytest.mark.parametrize("loss", [FocalLoss(), BinaryCrossEntropy(2.0)])
def test_survivors_that_weigh_a_third_are_deaths_that_are_there_three_times(loss):
    def weighed(label, logit, weight):
        return at_prevalence_of_training(lambda rows: loss(logit[rows], label[rows]), label, weight)

    died = LABEL == 1
    label, logit = torch.cat([LABEL, LABEL[died], LABEL[died]]), torch.cat([LOGIT, LOGIT[died], LOGIT[died]])
    value, together = weighed(LABEL, LOGIT, 1 / 3)
    assert value.item() == pytest.approx(loss(logit, label).item())
    assert together == pytest.approx(len(label) / 3)
    assert weighed(LABEL, LOGIT, 1.0) == (loss(LOGIT, LABEL), 25.0)
    parts = [
        weighed(LABEL[rows], LOGIT[rows], 1 / 3) for rows in (slice(0, 1), slice(1, 3), slice(3, 25))
    ]  # the first two of one side
    assert sum(mean * weight for mean, weight in parts).item() / together == pytest.approx(value.item())
