"""Samplers against the Gaussian, where the best estimate of x_0 is known and so is what must come out."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from icu_lightning.errors import UserError
from icu_lightning.models.mtdm.samplers import DDIM, DDPM, DPMSolver, OneStep, sample
from icu_lightning.models.mtdm.schedule import LARGEST_SIGNAL, SCHEDULES, NoiseSchedule
from icu_lightning.models.noise import KeyedNoise, StratifiedNoise

QUAD = NoiseSchedule(kind="quad", steps=50, beta_first=1e-4, beta_last=0.5)
COVARIANCE = torch.tensor([[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 1.0]], dtype=torch.float64)
OBSERVED = 1.5  # of the first variable; the other two are imputed
DRAWS = 5_000


def conditional() -> tuple[Tensor, Tensor]:
    """Mean (2) and covariance (2, 2) of the last two variables, given the first."""
    weight = COVARIANCE[1:, 0] / COVARIANCE[0, 0]
    return weight * OBSERVED, COVARIANCE[1:, 1:] - torch.outer(weight, COVARIANCE[0, 1:])


def best_estimate(schedule: NoiseSchedule):
    """E[x_0 | x_k, what is observed], exactly: what a perfect network would give."""
    mean, covariance = conditional()

    def estimate(x: Tensor, k: int) -> Tensor:
        a = schedule.at(k)
        gain = math.sqrt(a) * covariance @ torch.linalg.inv(a * covariance + (1 - a) * torch.eye(2))
        return mean + (x - math.sqrt(a) * mean) @ gain.T

    return estimate


def gaussian_noise(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(DRAWS, 2, generator=generator, dtype=torch.float64)


def drawn(sampler, schedule: NoiseSchedule = QUAD) -> Tensor:
    return sample(sampler, best_estimate(schedule), gaussian_noise(), schedule)


@pytest.mark.parametrize(
    ("sampler", "tolerance"),
    [(DDPM(), 0.07), (DDIM(steps=None, eta=1.0), 0.07), (DDIM(steps=None), 0.07), (DPMSolver(steps=6), 0.12)],
    ids=["ddpm", "ddim, eta 1", "ddim", "dpm 6"],
)
@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_conditional_gaussian_is_recovered(kind, sampler, tolerance):
    """With 400 small steps of noise, so that what is left is the sampler's doing: 50 steps of CSDI's lose 13 % of the variance."""
    last = {"quad": 0.08, "linear": 0.04, "cosine": 0.5}[kind]
    schedule = NoiseSchedule(kind=kind, steps=400, beta_first=1e-4, beta_last=last)
    x = drawn(sampler, schedule)
    mean, covariance = conditional()
    assert torch.allclose(x.mean(0), mean, atol=0.06)  # of a variance of 1
    assert torch.allclose(torch.cov(x.T), covariance, atol=tolerance * float(covariance.max()))


def test_what_few_steps_cost_is_known():
    """Share of the variance that is left: CSDI's 50 ancestral steps; ten first-order steps; six of second order."""
    _, covariance = conditional()
    left = [float(torch.cov(drawn(s).T)[1, 1] / covariance[1, 1]) for s in (DDPM(), DDIM(steps=10), DPMSolver(steps=6))]
    assert left == pytest.approx([0.87, 0.74, 0.95], abs=0.05)


def test_ninety_per_cent_bands_cover_ninety_per_cent():
    generator = torch.Generator().manual_seed(1)
    mean, covariance = conditional()
    truth = mean + torch.randn(4000, 2, generator=generator, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    for sampler in (DDPM(), DPMSolver(steps=6)):
        low, high = torch.quantile(drawn(sampler), torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0)
        assert ((truth > low) & (truth < high)).double().mean() == pytest.approx(0.9, abs=0.03)


def test_ddim_with_all_steps_and_eta_one_is_ddpm():
    """The same formula, written in two ways: with the same noise, the same draws."""
    assert torch.allclose(drawn(DDIM(steps=None, eta=1.0)), drawn(DDPM()), atol=1e-9)


def test_errors_of_spread_fall_as_steps_rise():
    _, covariance = conditional()
    for make in (lambda n: DDIM(steps=5 * n), lambda n: DPMSolver(steps=n)):
        error = [float((torch.cov(drawn(make(n)).T) - covariance).abs().max()) for n in (2, 3, 5)]
        assert error == sorted(error, reverse=True)


def test_one_step_is_the_conditional_mean():
    x = drawn(OneStep())
    assert torch.allclose(x, conditional()[0].expand_as(x), atol=0.05)


@pytest.mark.parametrize("sampler", [DDPM(), DDIM(steps=7), DDIM(steps=None), DPMSolver(steps=8), OneStep()])
def test_levels_fall_and_are_steps(sampler):
    levels = sampler.levels(QUAD)
    assert levels == sorted(set(levels), reverse=True)
    assert levels[-1] >= 1
    assert levels[0] <= 50


@pytest.mark.parametrize("sampler", [DDIM, DPMSolver])
def test_where_too_much_of_the_series_is_left_no_walk_may_begin(sampler):
    """Noise alone stands for x there. Means 1.2 and .45 are off by .12 at most where it may; with .1 left it would be .24."""
    mean, _ = conditional()
    for start in (0.0, 0.001, 0.005, LARGEST_SIGNAL):
        off = drawn(sampler(steps=10, start_alpha_bar=start)).mean(0) - mean
        assert float(off.abs().max()) < 0.13, start
    for start in (0.021, 0.1, 0.5, -0.1, math.nan, "abc"):
        with pytest.raises(
            UserError, match=rf"start_alpha_bar must be in \[0, 0\.02\]; it is {start}\. Sampling begins"
        ):
            sampler(steps=10, start_alpha_bar=start)


def test_only_the_last_call_has_a_gradient_when_asked():
    calls = []

    def estimate(x, k):
        calls.append(k)
        return 0.5 * x

    weight = torch.tensor(0.5, requires_grad=True, dtype=torch.float64)
    x = sample(DDIM(steps=4), estimate, gaussian_noise(), QUAD, last=lambda x, k: weight * x)
    x.sum().backward()
    assert len(calls) == 3
    assert weight.grad is not None


@pytest.mark.parametrize("start", [0.0, 0.001, 0.005])
@pytest.mark.parametrize("sampler", [DDIM, DPMSolver])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_as_many_steps_are_taken_as_are_asked_for_or_it_is_told(kind, sampler, start):
    schedule = NoiseSchedule(kind=kind, steps=50, beta_first=1e-4, beta_last=0.5)
    there = schedule.level(start)
    for n in range(1, there + 1):
        levels = sampler(steps=n, start_alpha_bar=start).levels(schedule)
        assert len(levels) == n
        assert levels == sorted(set(levels), reverse=True)
        assert levels[0] == there
        assert levels[-1] >= 1
    with pytest.raises(UserError, match=rf"steps \({there + 1}\) cannot be more than .* {there} of the schedule's 50"):
        sampler(steps=there + 1, start_alpha_bar=start).levels(schedule)


def test_dpm_solvers_steps_are_even_in_lambda_where_the_schedule_is_fine_enough():
    assert DPMSolver(steps=6).levels(QUAD) == [45, 39, 30, 16, 7, 3]
    apart = np.diff([QUAD.half_log_snr(k) for k in DPMSolver(steps=13).levels(QUAD)])
    assert apart == pytest.approx(np.full(12, apart.mean()), rel=0.4), "its own are up to 1.0 apart"
    assert DPMSolver(steps=20).levels(QUAD)[-7:] == [8, 6, 5, 4, 3, 2, 1]


def test_errors_of_spread_do_not_rise_with_many_steps():
    _, covariance = conditional()
    error = [float((torch.cov(drawn(DPMSolver(steps=n)).T) - covariance).abs().max()) for n in (10, 14, 20, 30, 45)]
    assert all(later < earlier + 0.01 for earlier, later in pairwise(error))


# Noise


def keyed(stay_id, draws, seed: int = 0, dtype=torch.float32) -> KeyedNoise:
    return KeyedNoise(seed, np.array(stay_id), draws, hours=5, n_variables=3, like=torch.empty(0, dtype=dtype))


def test_a_stays_noise_does_not_depend_on_its_company():
    together, alone = keyed([7, 8, 9], range(4)), keyed([8], range(2))
    for _ in range(3):  # the streams go on
        of_all, of_one = together(), alone()
        assert of_all.shape == (3, 4, 5, 3)
        assert torch.equal(of_all[1:2, :2], of_one)


def test_seeds_stays_and_draws_have_streams_of_their_own():
    several = [keyed([1, 2], [0, 1])(), keyed([1, 2], [0, 1], seed=1)()]
    rows = torch.cat([noise.view(4, -1) for noise in several])
    assert len(rows.unique(dim=0)) == 8
    assert torch.equal(keyed(["a"], [3])(), keyed(["a"], [3])())
    assert keyed(["a"], [3], dtype=torch.float64)().dtype == torch.float64


def test_keyed_noise_is_standard_normal():
    noise = keyed(range(500), range(10))()
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)


def stratified(stay_id, draws, of: int, seed: int = 0) -> StratifiedNoise:
    return StratifiedNoise(seed, np.array(stay_id), draws, of=of, hours=5, n_variables=3, like=torch.empty(0))


def test_stratified_draws_share_the_strata_of_every_cell():
    """One number of each cell in each of ten strata, in an order of the cell's own; what follows is independent."""
    noise = stratified(range(20), range(10), of=10)
    first, second = noise(), noise()
    strata = (torch.special.ndtr(first) * 10).long().transpose(0, 1).flatten(1)  # (S, cells)
    assert torch.equal(strata.sort(0).values, torch.arange(10).view(10, 1).expand(10, strata.shape[1]))
    assert len(strata.T.unique(dim=0)) > 250, "300 cells, each in its own order"
    assert len((torch.special.ndtr(second) * 10).long().transpose(0, 1).flatten(1).unique(dim=0)) == 10
    assert float((second.mean(1)).std()) > 3 * float(first.mean(1).std())


def test_a_stratified_draw_by_itself_is_standard_normal():
    one = stratified(range(3000), [4], of=10)()
    assert float(one.mean()) == pytest.approx(0, abs=0.02)
    assert float(one.std()) == pytest.approx(1, abs=0.02)
    assert abs(float(torch.corrcoef(one.flatten(1).T)[0, 1])) < 0.08


def test_a_stays_stratified_noise_does_not_depend_on_company_or_groups():
    together = stratified([7, 8, 9], range(8), of=8)()
    assert torch.equal(together[1:2, 3:5], stratified([8], range(3, 5), of=8)())


def test_stratified_draws_estimate_a_median_better():
    """Of x_0 drawn from the exact conditional Gaussian: the error of ten draws' median, stratified and independent."""
    middle, errors = conditional()[0], {}
    for name, noise in (
        ("stratified", stratified(range(400), range(10), of=10)),
        ("independent", keyed(range(400), range(10))),
    ):
        start = noise()[..., 0, :2].double().flatten(0, 1)
        x = sample(DPMSolver(steps=6), best_estimate(QUAD), lambda start=start: start, QUAD)
        errors[name] = float((x.view(400, 10, 2).median(1).values - middle).square().mean().sqrt())
    assert errors["stratified"] < 0.75 * errors["independent"]
