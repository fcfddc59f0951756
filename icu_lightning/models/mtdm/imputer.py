"""The diffusion imputer: what is observed is the condition, what is not is drawn from noise by the denoiser and a sampler.

    L_imp = E | target(x_0, epsilon) - denoiser(x_k, k, observed) |^2 over target cells         (paper's Eq. 12)

Targets are a random share r ~ U(0, 1) of a stay's observed cells, hidden for the occasion. Nothing but shown cells enters the
condition, and where imputation matters x_K is noise, never a noised copy of the truth: hidden truth cannot leak (METHODS B.5).

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025); CSDI (Tashiro, Song, Song, Ermon, 2021), section 4.3.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.cores import side_by_side
from icu_lightning.errors import UserError, number, true_or_false, unknown_name, whole_number
from icu_lightning.models.mtdm.denoiser import Context, Denoiser
from icu_lightning.models.mtdm.samplers import DDIM, Estimate, Noise, Sampler, sample
from icu_lightning.models.mtdm.schedule import TARGETS, TO_X_0, NoiseSchedule, noised, parameterisation
from icu_lightning.models.noise import KeyedNoise, StratifiedNoise

CELLS_OF_A_CALL = {
    "cpu": 4224,
    "cuda": 262_144,
}  # hours x variables x draws: what stays in a core's cache; what fills a GPU
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CPU_FACTS = Path("/proc/cpuinfo")  # Linux names there what a processor has
VALIDATION_LEVELS = 5  # steps at which the validation loss is taken, evenly spaced: a few fixed ones suffice
TARGET_DRAW = -1  # the stream of noise that chooses validation's targets

Network = Callable[[Tensor, "Tensor | int", Context], Tensor]


class Imputer(nn.Module):
    """Diffusion over (hours, variables), conditional on what is observed.

    Arguments:
        shape: of the data.
        schedule: K steps of noise.
        denoiser: makes the network, given `shape` and `n_steps`.
        predicts: epsilon, x0 or v.
        clip: estimates of x_0 are kept within +- this many z; None does not. Observed values are never clipped.
        sampler: for imputing.
        stratified: the noise of a stay's draws is spread evenly (noise.py), so that fewer are needed; else independent.
        completion: what stands in a cell that was never observed when the series is noised, in training and for the validation loss:
            `zero`, as published, where the network learns neighbours that do not look like those that it meets in sampling; or
            `imputed`, its own draw.
        precision: of the network when imputing: float32, or bfloat16 where the processor has it; warns of a CPU that has not.
        compiled: compile the network for imputing; falls back, with a warning, where there is no compiler.
    """

    def __init__(
        self,
        *,
        shape: BatchShape,
        schedule: NoiseSchedule,
        denoiser: "partial[Denoiser]",
        predicts: str,
        clip: float | None,
        sampler: Sampler,
        stratified: bool,
        completion: str,
        precision: str,
        compiled: bool,
    ) -> None:
        super().__init__()
        if completion not in ("zero", "imputed"):
            raise unknown_name("completion", completion, ("zero", "imputed"))
        if precision not in PRECISIONS:
            raise unknown_name("precision of imputing", precision, PRECISIONS)
        sampler.levels(schedule)  # refuses steps that there are not, before anything is trained
        self.hours, self.variables = shape.hours, shape.variables
        self.schedule, self.sampler = schedule, sampler
        self.clip = None if clip is None else number("model.imputer.clip", clip, above=0)
        self.predicts, self.completion = parameterisation(predicts), completion
        self.stratified = true_or_false("model.imputer.stratified", stratified)
        self.precision = PRECISIONS[precision]
        self.compiled = true_or_false("model.imputer.compiled", compiled)
        self.denoiser: Denoiser = denoiser(shape=shape, n_steps=schedule.steps)

    @property
    def draws_differ(self) -> bool:
        """Whether two draws of a cell are two numbers: what a single step makes of noise is the mean, whatever the noise."""
        return len(self.sampler.levels(self.schedule)) > 1

    # Training

    def loss(self, batch: StayBatch, completed: Tensor | None) -> Tensor:
        """() of one random step and share of targets a stay.

        Arguments:
            completed: (B, T, V) what stands where nothing was observed; None is 0.
        """
        draw = torch.rand_like(batch.values)
        targets = batch.observed & (draw < torch.rand_like(draw[:, :1, :1]))  # r ~ U(0, 1) of each stay
        k = torch.randint(1, self.schedule.steps + 1, (len(batch),), device=draw.device)
        errors = self._errors(batch, _whole(batch, completed), targets, k, torch.randn_like(draw))
        return errors.sum() / targets.sum().clamp(min=1)

    @torch.no_grad()
    def validation_loss(self, batch: StayBatch, seed: int, completed: Tensor | None) -> tuple[Tensor, Tensor]:
        """() of the same stays always the same: half of the observed cells, a few fixed steps, noise keyed by the stay.

        And () the number of those cells, its weight among other batches; nearly none, but not 0, where there are none.

        Arguments:
            completed: as in `loss`; of noise keyed by the stay, too, so that between epochs only the weights differ.
        """
        draws = [TARGET_DRAW, *range(VALIDATION_LEVELS)]
        choice, *noise = self.noise(batch, draws, seed)().unbind(1)
        targets = batch.observed & (choice < 0)
        levels = torch.linspace(1, self.schedule.steps, VALIDATION_LEVELS).round().long().tolist()
        total, x_0 = torch.zeros((), device=batch.values.device), _whole(batch, completed)
        for level, epsilon in zip(levels, noise, strict=True):
            k = torch.full((len(batch),), level, device=total.device)
            total = total + self._errors(batch, x_0, targets, k, epsilon).sum()
        return total / (len(levels) * targets.sum().clamp(min=1)), targets.sum().clamp(min=1e-9)

    def _errors(self, batch: StayBatch, x_0: Tensor, targets: Tensor, k: Tensor, epsilon: Tensor) -> Tensor:
        """(B, T, V) squared errors of target cells, 0 elsewhere."""
        alpha_bar = self.schedule.of(k, x_0)
        x_k = noised(x_0, epsilon, alpha_bar)
        context = self.denoiser.context(batch.values, batch.observed & ~targets)
        predicted = self.denoiser(x_k.unsqueeze(1), k, context).squeeze(1)  # (B, 1, T, V) -> (B, T, V)
        error = (predicted - TARGETS[self.predicts](x_0, epsilon, alpha_bar)).square()  # Eq. 12
        return torch.where(targets, error, 0.0)

    def fill(self, batch: StayBatch, steps: int, noise: Noise, gradient: bool) -> Tensor:
        """(B, T, V) the series, its gaps drawn by `steps` DDIM steps; the gradient, if asked for, is the last step's.

        Arguments:
            noise: gives (B, 1, T, V).
        """
        with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
            context = self.denoiser.context(batch.values, batch.observed)
            last = self._estimate(self.denoiser, context)
            with_gradient = torch.is_grad_enabled()

            def without(x: Tensor, k: int) -> Tensor:
                with torch.no_grad():
                    return last(x, k)

            before = without if with_gradient else last
            x_0 = sample(DDIM(steps=steps), before, noise, self.schedule, last)
        return torch.where(batch.observed, batch.values, x_0.squeeze(1))

    def noise(self, batch: StayBatch, draws: "range | list[int]", seed: int, of: int | None = None) -> KeyedNoise:
        """The stays' own noise, on their device; of these draws among `of`, if that is given, which may be stratified."""
        cells: dict[str, Any] = {"hours": self.hours, "n_variables": len(self.variables), "like": batch.values}
        if of is not None and self.stratified:
            return StratifiedNoise(seed, batch.stay_id, draws, of=of, **cells)
        return KeyedNoise(seed, batch.stay_id, draws, **cells)

    # Imputing

    @torch.no_grad()
    def impute(self, batch: StayBatch, n_samples: int, seed: int, sampler: Sampler | None = None) -> Tensor:
        """(B, S, T, V) draws; observed cells are as they were. A stay with nothing observed is drawn from the prior.

        Stays are taken one by one on a CPU: calls of one shape give a stay the same numbers whatever its batch, and their
        activations stay in the cache. Each core takes stays of its own, which changes no number.

        Raises UserError for hours or variables other than the network's.
        """
        whole_number("the number of imputations", n_samples, 1)
        self.check(batch)
        network, context_of = self._network()
        device = next(self.parameters()).device
        batch, result = batch.to(device), torch.empty(len(batch), n_samples, *batch.values.shape[1:], device=device)

        @torch.no_grad()  # of each thread
        def fill(stays: slice, groups: list[range]) -> None:
            part = batch[stays]
            context, shown = context_of(part.values, part.observed), part.observed.unsqueeze(1)
            for draws in groups:
                noise = self.noise(part, draws, seed, n_samples)
                x_0 = sample(sampler or self.sampler, self._estimate(network, context), noise, self.schedule)
                result[stays, draws.start : draws.stop] = torch.where(shown, part.values.unsqueeze(1), x_0)

        chunks = list(self._chunks(len(batch), n_samples, device.type))
        if device.type != "cpu" or self.compiled:
            for chunk in chunks:
                fill(*chunk)
            return result
        with one_thread(), ThreadPoolExecutor(max(1, min(len(chunks), side_by_side()))) as pool:
            for done in [pool.submit(fill, *chunk) for chunk in chunks]:
                done.result()
        return result

    def check(self, batch: StayBatch) -> None:
        """Raise UserError for hours or a number of variables other than the network's."""
        hours, n_variables = batch.values.shape[1:]
        if (hours, n_variables) != (self.hours, len(self.variables)):
            raise UserError(
                f"This model was made for {self.hours} hours of {len(self.variables)} variables ({', '.join(self.variables)}); "
                f"the stays have {hours} hours of {n_variables}. Use data.hours and data.variables of its training, or train again."
            )

    def _estimate(self, network: Network, context: Context) -> Estimate:
        def estimate(x: Tensor, k: int) -> Tensor:
            alpha_bar = self.schedule.alpha_bar[k].to(x)
            x_0 = TO_X_0[self.predicts](network(x, k, context), x, alpha_bar)
            return x_0 if self.clip is None else x_0.clamp(-self.clip, self.clip)

        return estimate

    def _chunks(self, n_stays: int, n_samples: int, device: str) -> Iterator[tuple[slice, list[range]]]:
        """Slices of stays, each with the groups of draws that are made in one call."""
        at_once = max(1, CELLS_OF_A_CALL.get(device, CELLS_OF_A_CALL["cuda"]) // (self.hours * len(self.variables)))
        stays_at_once = 1 if device == "cpu" else max(1, at_once // n_samples)
        groups = [range(i, min(i + at_once, n_samples)) for i in range(0, n_samples, at_once)]
        for start in range(0, n_stays, stays_at_once):
            yield slice(start, start + stays_at_once), groups

    def _network(self) -> tuple[Network, Callable[[Tensor, Tensor], Context]]:
        """What is called in sampling, and what makes its context."""
        denoiser = self.denoiser
        weights = next(denoiser.parameters())
        if self.precision == torch.bfloat16 and weights.device.type == "cpu":
            warn_of_emulation()
        if self.precision != weights.dtype:
            denoiser = copy.deepcopy(denoiser).to(self.precision)
        return _compiled(denoiser) if self.compiled else denoiser, denoiser.context


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch's calls take a thread each, in whichever thread they are made."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache  # once is enough
def warn_of_emulation() -> None:
    """Warn of a CPU without bfloat16; not where it cannot be known, as on macOS."""
    facts = CPU_FACTS.read_text() if CPU_FACTS.is_file() else "bf16"
    if "bf16" not in facts:  # avx512_bf16, amx_bf16; ARM's bf16
        warnings.warn(
            "This processor has no bfloat16 and computes it by way of float32, some five times as slowly as float32 itself: set the "
            "imputer's precision=float32.",
            RuntimeWarning,
            stacklevel=2,
        )


def _whole(batch: StayBatch, completed: Tensor | None) -> Tensor:
    """(B, T, V) the series that is noised; what stands in unobserved cells of `values` enters nothing."""
    return torch.where(batch.observed, batch.values, 0.0 if completed is None else completed)


def _compiled(denoiser: Denoiser) -> Network:
    """The compiled network; the network itself, with a warning, once compiling has failed."""
    compiled, failed = torch.compile(denoiser), False

    def call(x: Tensor, k: "Tensor | int", context: Context) -> Tensor:
        nonlocal failed
        if not failed:
            try:
                return compiled(x, torch.full((len(x),), k, device=x.device) if isinstance(k, int) else k, context)
            except Exception as error:  # whatever a compiler may raise: the same numbers come without it
                failed = True
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                warnings.warn(
                    f"The denoiser could not be compiled and runs as it is: {reason}", RuntimeWarning, stacklevel=2
                )
        return denoiser(x, k, context)

    return call
