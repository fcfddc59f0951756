"""From noise back to a series: ancestral DDPM, DDIM, DPM-Solver++(2M) and a single step, with any number of steps.

Every sampler asks for x_0 given x_k and walks down a list of steps k_1 > k_2 > ... > 0; they differ in how the next x follows.
All of them start from x ~ N(0, I), whose law is that of x_K up to the schedule's last alpha_bar.

References: DDPM (Ho, Jain, Abbeel, 2020), Eq. 7; Denoising Diffusion Implicit Models (Song, Meng, Ermon, 2021), Eq. 12 and 16;
DPM-Solver++ (Lu et al., 2022), algorithm 2.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from icu_lightning.errors import UserError, is_number, share, whole_number
from icu_lightning.models.mtdm.schedule import LARGEST_SIGNAL, NoiseSchedule

Estimate = Callable[[Tensor, int], Tensor]  # x_k, k -> an estimate of x_0, of the same shape
Noise = Callable[[], Tensor]  # the next standard normal numbers, of the shape of x


@dataclass(frozen=True)
class Step:
    """One step of a walk: from step k to `following`, alpha_bar a to b; `before` is k and x_0 of the step before, if any."""

    k: int
    following: int
    schedule: NoiseSchedule
    before: "tuple[int, Tensor] | None"

    @property
    def alpha_bars(self) -> tuple[float, float]:
        return self.schedule.at(self.k), self.schedule.at(self.following)


class Sampler(Protocol):
    """What draws x_0. `levels` are the steps at which the network is called, noisiest first."""

    def levels(self, schedule: NoiseSchedule) -> list[int]: ...

    def next(self, x: Tensor, x_0: Tensor, step: Step, noise: Noise) -> Tensor:
        """x at the following step from x at this one and the estimate of x_0 there."""


def sample(
    sampler: Sampler, estimate: Estimate, noise: Noise, schedule: NoiseSchedule, last: Estimate | None = None
) -> Tensor:
    """A draw of x_0, by as many calls of `estimate` as the sampler has levels.

    Arguments:
        last: makes the last call instead, if given: training wants gradients through that one only.
    """
    levels, x, before = sampler.levels(schedule), noise(), None
    for k, following in pairwise(levels):
        x_0 = estimate(x, k)
        x = sampler.next(x, x_0, Step(k, following, schedule, before), noise)
        before = (k, x_0)
    # At k = 0 every sampler has sigma 0 and alpha_bar 1: the next x is the estimate itself
    return (last or estimate)(x, levels[-1])


class DDIM:
    """x_s = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) epsilon + sigma z (Song et al., Eq. 12).

    Arguments:
        steps: network calls, evenly spaced in k; None for all K.
        eta: 0 is deterministic, 1 has the variance of DDPM.
        start_alpha_bar: the walk begins where no more signal than this is left, LARGEST_SIGNAL at most; 0 begins at K.
    """

    def __init__(self, *, steps: int | None, eta: float = 0.0, start_alpha_bar: float = 0.0) -> None:
        self.steps = steps if steps is None else whole_number("the sampler's steps", steps, 1)
        self.eta, self.start_alpha_bar = share("the sampler's eta", eta), _signal(start_alpha_bar)

    def levels(self, schedule: NoiseSchedule) -> list[int]:
        first = _first(schedule, self.start_alpha_bar, self.steps)
        n = first if self.steps is None else self.steps
        return [round(first * (n - i) / n) for i in range(n)]

    def next(self, x: Tensor, x_0: Tensor, step: Step, noise: Noise) -> Tensor:
        a, b = step.alpha_bars
        epsilon = (x - math.sqrt(a) * x_0) / math.sqrt(1 - a)
        sigma = self.eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)  # Eq. 16
        x = math.sqrt(b) * x_0 + math.sqrt(1 - b - sigma**2) * epsilon
        return x + sigma * noise() if sigma > 0 else x


class DDPM:
    """The ancestral sampler: x_{k-1} ~ q(x_{k-1} | x_k, x_0), all K steps (Ho et al., Eq. 6 and 7).

    Arguments:
        steps: None, all of them: DDIM with eta=1 is what has fewer. Raises UserError otherwise.
    """

    def __init__(self, *, steps: None = None) -> None:
        if steps is not None:
            raise UserError(
                f"DDPM takes every step of the schedule, so its steps must be null; they are {steps}. With fewer, use DDIM with eta=1."
            )

    def levels(self, schedule: NoiseSchedule) -> list[int]:
        return list(range(schedule.steps, 0, -1))

    def next(self, x: Tensor, x_0: Tensor, step: Step, noise: Noise) -> Tensor:
        a, b = step.alpha_bars
        alpha, beta = a / b, 1 - a / b
        mean = math.sqrt(b) * beta / (1 - a) * x_0 + math.sqrt(alpha) * (1 - b) / (1 - a) * x  # Eq. 7
        return mean + math.sqrt((1 - b) / (1 - a) * beta) * noise()


class DPMSolver:
    """DPM-Solver++(2M): x_s = (sigma_s / sigma_k) x - alpha_s (e^{-h} - 1) D, D from this and the previous x_0.

    Arguments:
        steps: network calls, evenly spaced in lambda as far as the schedule is fine enough: near the clean end, where its lambdas are
            far apart, each of many steps is one of the schedule's.
        start_alpha_bar: where the walk begins, as of DDIM: the few noisiest steps hold next to nothing, and lambda runs far there.
    """

    def __init__(self, *, steps: int, start_alpha_bar: float = 0.001) -> None:
        self.steps = whole_number("the sampler's steps", steps, 1)
        self.start_alpha_bar = _signal(start_alpha_bar)

    def levels(self, schedule: NoiseSchedule) -> list[int]:
        first = _first(schedule, self.start_alpha_bar, self.steps)
        clock = torch.tensor([schedule.half_log_snr(k) for k in range(1, first + 1)])  # falls with k
        wanted = torch.linspace(float(clock[-1]), float(clock[0]), self.steps + 1)[:-1]
        return _distinct([int((clock - w).abs().argmin()) + 1 for w in wanted], first)

    def next(self, x: Tensor, x_0: Tensor, step: Step, noise: Noise) -> Tensor:
        a, b = step.alpha_bars
        now, then = (step.schedule.half_log_snr(k) for k in (step.k, step.following))
        h, d = then - now, x_0
        if step.before is not None:
            k_before, x_0_before = step.before
            r = (now - step.schedule.half_log_snr(k_before)) / h
            d = (1 + 1 / (2 * r)) * x_0 - 1 / (2 * r) * x_0_before
        return math.sqrt((1 - b) / (1 - a)) * x - math.sqrt(b) * math.expm1(-h) * d


class OneStep:
    """x_0 estimated from pure noise: the conditional mean. Best squared error, no spread, so no quantiles."""

    def levels(self, schedule: NoiseSchedule) -> list[int]:
        return [schedule.steps]

    def next(self, x: Tensor, x_0: Tensor, step: Step, noise: Noise) -> Tensor:
        raise AssertionError("there is no second step")


def _signal(start_alpha_bar: float) -> float:
    """Itself, if noise alone can stand for x there: what is left of the series is missing from what is drawn."""
    if not is_number(start_alpha_bar) or not 0 <= start_alpha_bar <= LARGEST_SIGNAL:
        raise UserError(
            f"The sampler's start_alpha_bar must be in [0, {LARGEST_SIGNAL:g}]; it is {start_alpha_bar}. Sampling begins with noise "
            "alone, and what it draws is wrong by what is left of the series where it begins."
        )
    return start_alpha_bar


def _first(schedule: NoiseSchedule, start_alpha_bar: float, steps: int | None) -> int:
    """The step at which a walk begins. Raises UserError for more steps than there are from there."""
    first = schedule.level(start_alpha_bar)
    if steps is not None and steps > first:
        raise UserError(
            f"The sampler's steps ({steps}) cannot be more than the steps it walks over: {first} of the schedule's {schedule.steps}, "
            f"from where start_alpha_bar={start_alpha_bar} lets it begin."
        )
    return first


def _distinct(nearest: Sequence[int], first: int) -> list[int]:
    """As many steps, from `first` at most, falling, none twice: instead of one that is taken the next, with enough left for others."""
    levels: list[int] = []
    for left, k in zip(range(len(nearest), 0, -1), nearest, strict=True):
        free = levels[-1] - 1 if levels else first
        levels.append(max(left, min(k, free)))
    return levels
