"""How much noise there is at each diffusion step, and the three things a network can be asked to predict from it.

    x_k = sqrt(alpha_bar_k) x_0 + sqrt(1 - alpha_bar_k) epsilon,      k = 0 (no noise) ... K
    v   = sqrt(alpha_bar_k) epsilon - sqrt(1 - alpha_bar_k) x_0

Notation of DDPM; steps count from 1, so that alpha_bar_0 = 1 is the clean series. With the quad schedule 1 / sqrt(alpha_bar_50) is
173: an error of epsilon is that much larger in x_0, which is why few steps need x_0 or v (METHODS B.2).

References: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Eq. 4; Improved DDPM (Nichol, Dhariwal, 2021), Eq. 17;
Progressive Distillation for Fast Sampling (Salimans, Ho, 2022), appendix D; CSDI (Tashiro, Song, Song, Ermon, 2021), appendix E.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from icu_lightning.errors import UserError, number, unknown_name, whole_number

COSINE_OFFSET, LARGEST_BETA = 0.008, 0.999  # of the cosine schedule: s of Eq. 17, and the bound below it
LARGEST_SIGNAL = (
    0.02  # share of the variance that may be left of the series where sampling begins; of 20 steps of CSDI's .015
)


def quad(steps: int, beta_first: float, beta_last: float) -> Tensor:
    """(K) beta: square roots evenly spaced, as CSDI has it."""
    return torch.linspace(math.sqrt(beta_first), math.sqrt(beta_last), steps, dtype=torch.float64) ** 2


def linear(steps: int, beta_first: float, beta_last: float) -> Tensor:
    """(K) beta, evenly spaced."""
    return torch.linspace(beta_first, beta_last, steps, dtype=torch.float64)


def cosine(steps: int, beta_first: float, beta_last: float) -> Tensor:
    """(K) beta of Nichol and Dhariwal, Eq. 17, which has no first and last beta to choose."""
    k = torch.arange(steps + 1, dtype=torch.float64) / steps
    f = torch.cos((k + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=LARGEST_BETA)


SCHEDULES: dict[str, Callable[[int, float, float], Tensor]] = {s.__name__: s for s in (quad, linear, cosine)}


class NoiseSchedule:
    """alpha_bar of K steps, (K + 1) in double precision on the CPU; alpha_bar[0] is 1.

    Arguments:
        kind: one of SCHEDULES.
        steps: K, at least 1.
        beta_first, beta_last: variance of the noise added in the first and the last step, in (0, 1); cosine has its own.

    Raises UserError for betas that cannot be, and for a schedule that does not end in noise: samplers begin with noise alone, and
    would be wrong by what is left.
    """

    def __init__(self, *, kind: str, steps: int, beta_first: float, beta_last: float) -> None:
        if kind not in SCHEDULES:
            raise unknown_name("noise schedule", kind, SCHEDULES)
        number("the schedule's beta_first", beta_first, above=0, below=1)
        number("the schedule's beta_last", beta_last, above=0, below=1)
        if beta_first > beta_last:
            raise UserError(
                f"The schedule's beta_first must be at most its beta_last; they are {beta_first} and {beta_last}."
            )
        self.steps = whole_number("the schedule's steps", steps, 1)
        beta = SCHEDULES[kind](steps, beta_first, beta_last)
        self.alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta, dim=0)])
        if (left := self.at(steps)) > LARGEST_SIGNAL:
            raise UserError(
                f"The noise schedule must end in noise, with which sampling begins: after {steps} steps of {kind}, {left:.1%} of the "
                f"series' variance is left, and at most {LARGEST_SIGNAL:.0%} may be. Set more schedule.steps or a larger beta_last."
            )

    def at(self, k: int) -> float:
        """alpha_bar_k."""
        return float(self.alpha_bar[k])

    def of(self, k: Tensor, like: Tensor) -> Tensor:
        """(B) steps -> alpha_bar of each, (B, 1, ..., 1), to be broadcast with `like` (B, ...)."""
        picked = self.alpha_bar.to(device=k.device, dtype=like.dtype)[k]
        return picked.view(-1, *[1] * (like.ndim - 1))

    def level(self, alpha_bar: float) -> int:
        """The first step with no more signal than this: the smallest k with alpha_bar_k <= alpha_bar, or K."""
        below = torch.nonzero(self.alpha_bar <= alpha_bar).flatten()
        return int(below[0]) if len(below) else self.steps

    def half_log_snr(self, k: int) -> float:
        """lambda_k = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)), DPM-Solver's clock; infinite at k = 0."""
        a = self.at(k)
        return math.inf if a == 1 else 0.5 * (math.log(a) - math.log1p(-a))


def noised(x_0: Tensor, epsilon: Tensor, alpha_bar: Tensor) -> Tensor:
    """The forward process in one step."""
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * epsilon  # Ho et al., Eq. 4


# What a network predicts, and the way to x_0 from it; `alpha_bar` is broadcast with the others. Every one is exact.


def _x_0_of_epsilon(predicted: Tensor, x_k: Tensor, alpha_bar: Tensor) -> Tensor:
    return (x_k - (1 - alpha_bar).sqrt() * predicted) / alpha_bar.sqrt()


def _x_0_of_x_0(predicted: Tensor, x_k: Tensor, alpha_bar: Tensor) -> Tensor:
    return predicted


def _x_0_of_v(predicted: Tensor, x_k: Tensor, alpha_bar: Tensor) -> Tensor:
    return alpha_bar.sqrt() * x_k - (1 - alpha_bar).sqrt() * predicted


def _target_epsilon(x_0: Tensor, epsilon: Tensor, alpha_bar: Tensor) -> Tensor:
    return epsilon


def _target_x_0(x_0: Tensor, epsilon: Tensor, alpha_bar: Tensor) -> Tensor:
    return x_0


def _target_v(x_0: Tensor, epsilon: Tensor, alpha_bar: Tensor) -> Tensor:
    return alpha_bar.sqrt() * epsilon - (1 - alpha_bar).sqrt() * x_0  # Salimans and Ho, appendix D


TO_X_0 = {"epsilon": _x_0_of_epsilon, "x0": _x_0_of_x_0, "v": _x_0_of_v}
TARGETS = {"epsilon": _target_epsilon, "x0": _target_x_0, "v": _target_v}


def parameterisation(name: str) -> str:
    """The name, if it is one of epsilon, x0 and v. Raises UserError."""
    if name not in TO_X_0:
        raise unknown_name("parameterisation", name, TO_X_0)
    return name
