"""Noise schedules, and that what is predicted can be turned into x_0 and back."""

import math

import pytest
import torch

from icu_lightning.errors import UserError
from icu_lightning.models.mtdm.schedule import SCHEDULES, TARGETS, TO_X_0, NoiseSchedule, noised, parameterisation


def schedule(kind: str = "quad", steps: int = 50) -> NoiseSchedule:
    return NoiseSchedule(kind=kind, steps=steps, beta_first=1e-4, beta_last=0.5)


def test_quad_is_csdis():
    """METHODS B.2, [V]; its t counts from 0."""
    published = {10: 0.909, 20: 0.516, 25: 0.282, 30: 0.113, 35: 0.030, 40: 0.0050, 45: 4.3e-4, 49: 3.35e-5}
    for t, alpha_bar in published.items():
        assert schedule().at(t + 1) == pytest.approx(alpha_bar, rel=0.02)
    assert 1 / math.sqrt(schedule().at(50)) == pytest.approx(173, abs=0.5)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_signal_only_ever_fades(kind):
    alpha_bar = schedule(kind).alpha_bar
    assert alpha_bar[0] == 1
    assert (alpha_bar.diff() < 0).all()
    assert (alpha_bar > 0).all()
    clock = [schedule(kind).half_log_snr(k) for k in range(51)]
    assert clock == sorted(clock, reverse=True)
    assert clock[0] == math.inf


def test_a_level_is_the_first_without_more_signal():
    quad = schedule()
    k = quad.level(0.005)
    assert quad.at(k) <= 0.005 < quad.at(k - 1)
    assert quad.level(0.0) == 50


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", TO_X_0)
def test_x_0_comes_back_from_every_parameterisation(kind, name):
    generator = torch.Generator().manual_seed(0)
    x_0, epsilon = torch.randn(2, 51, 4, 3, generator=generator, dtype=torch.float64)
    alpha_bar = schedule(kind).of(torch.arange(51), x_0)
    x_k = noised(x_0, epsilon, alpha_bar)
    back = TO_X_0[name](TARGETS[name](x_0, epsilon, alpha_bar), x_k, alpha_bar)
    assert torch.allclose(back, x_0, atol=1e-10)
    assert torch.equal(x_k[0], x_0[0]), "no noise is the identity"


def test_the_forward_process_has_unit_variance_for_unit_data():
    generator = torch.Generator().manual_seed(0)
    x_0, epsilon = torch.randn(2, 3, 100_000, generator=generator)
    alpha_bar = schedule().of(torch.tensor([1, 20, 50]), x_0)
    assert noised(x_0, epsilon, alpha_bar).var(dim=1) == pytest.approx([1, 1, 1], abs=0.02)


@pytest.mark.parametrize(
    "bad",
    [{"kind": "quadratic"}, {"steps": 0}, {"beta_last": 1.5}, {"beta_first": 0.0}],
    ids=lambda bad: next(iter(bad)),
)
def test_impossible_schedules_are_refused(bad):
    with pytest.raises((UserError, ValueError)):
        NoiseSchedule(**{"kind": "quad", "steps": 50, "beta_first": 1e-4, "beta_last": 0.5} | bad)


@pytest.mark.parametrize(
    ("bad", "left"),
    [
        ({"steps": 10}, "11.2%"),
        ({"steps": 1, "beta_first": 0.5}, "50.0%"),
        ({"kind": "linear", "beta_last": 0.02}, "60.3%"),
    ],
)
def test_a_schedule_that_does_not_end_in_noise_is_refused(bad, left):
    """Samplers begin with noise alone: with DDPM's own linear betas, made for 1,000 steps, fifty would be wrong by what is left."""
    with pytest.raises(
        UserError, match=rf"{bad.get('steps', 50)} steps of \w+, {left} of the series' variance is left"
    ):
        NoiseSchedule(**{"kind": "quad", "steps": 50, "beta_first": 1e-4, "beta_last": 0.5} | bad)
    for steps in (20, 50):  # METHODS B.3 names 20 for a CPU
        assert schedule(steps=steps).at(steps) < 0.02


def test_an_unknown_parameterisation_is_told_with_its_neighbours():
    with pytest.raises(UserError, match="Did you mean 'epsilon'"):
        parameterisation("epsilom")
