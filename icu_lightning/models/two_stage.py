"""Any imputer, then any predictor: the imputer is fitted on the training stays, and the predictor reads what it filled in.

    stay -> imputer -> filled series (the median of its draws) -> predictor -> a risk

The two know nothing of one another. A filled stay has a value in every cell and calls every cell observed, so that whatever reads a
StayBatch can be a predictor: the other models of this package are. What was measured is still told by `hours_since`, which is 0 there.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025), tables 4 to 6; METHODS B.3.
"""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import whole_number
from icu_lightning.models.base import Data, Model, Once, RiskModule, StageTrainer, anew, check_observed, settings_of
from icu_lightning.models.imputers.filling import median_of_draws
from icu_lightning.models.stage import Stage, optimizer_of

STAYS_AT_ONCE = 256  # filled in one call; bounds the memory of their draws


class Imputer(Protocol):
    """Fills what is not observed. Its constructor takes `shape` beside its own settings.

    draws_differ: whether two draws of a cell are two numbers; else one says all.
    kept: whether fitting it, or filling, takes so long that other runs should have it, and what it fills in, too.

    One that computes with torch has `to(device)`, as a Module has: taken as kept, it is moved to where it would be after training.
    """

    draws_differ: bool
    kept: bool

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """Learn from data.train, without its labels unless it is the MTDM's; choose epochs and the like on data.val."""

    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        """(B, S, T, V) z-scores; observed cells are as they were, and what stands in the others enters nothing."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object: ...


class TwoStage:
    """The model of the rest of the package.

    Arguments:
        shape: of the data.
        imputer, predictor: made here, given `shape`. A predictor is any `Model`; one that is a part of an imputer has `join`.
        samples: draws of an imputer whose draws differ; the predictor reads their median.

    Raises UserError for a predictor that is another imputer's, and for what a part refuses, its optimizer too: before any training.
    """

    EARLY = True

    def __init__(
        self, *, shape: BatchShape, imputer: "partial[Imputer]", predictor: "partial[Model]", samples: int
    ) -> None:
        with settings_of("model.imputer"):
            self.imputer = imputer(shape=shape)
            if isinstance(self.imputer, Stage):
                optimizer_of(self.imputer.make_optimizer, self.imputer)  # else told when training begins
        with settings_of("model.predictor"):
            self.predictor = predictor(shape=shape)
            if isinstance(self.predictor, RiskModule):
                self.predictor.configure_optimizers()  # else told when the imputer is trained
        whole_number("model.samples", samples, 1)
        self.samples = samples if self.imputer.draws_differ else 1
        self.seed_of_predictor = int(torch.randint(2**31 - 1, ()))
        self.once: Once = anew  # what the imputer makes, where it was fitted here
        self.fills: Fills | None = None  # of a model that was fitted here
        if hasattr(self.predictor, "join"):
            self.predictor.join(self.imputer)
        elif hasattr(self.predictor, "embed"):
            self.embed = self._embed

    @property
    def most_draws(self) -> int | None:
        """1, if more draws of a cell would be the same number; else None."""
        return None if self.imputer.draws_differ else 1

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        check_observed(data.train)
        if hasattr(self.predictor, "check"):
            self.predictor.check(data)  # before the imputer is trained
        # Of a predictor that is trained along, and how its labels are weighed in validation
        beside = {"label_weight": getattr(self.predictor, "label_weight", None), "prior_odds": data.prior_odds}
        if self.imputer.kept:
            self.once = trainer.fit_once(
                self.imputer, lambda: self.imputer.fit(data, trainer), name="imputer", beside=beside
            )
        else:
            self.imputer.fit(data, trainer)
        self.fills = Fills(self.once, self.samples)
        filled: Any = copy.copy(data)  # the same loaders, over filled stays
        filled.train, filled.val = self.filled(data.train), self.filled(data.val)
        # Of the imputer's training, which a resumed run does not repeat, nothing may be left in torch's random numbers
        torch.manual_seed(self.seed_of_predictor)
        self.predictor.fit(filled, trainer)

    def predict(self, batch: StayBatch) -> Tensor:
        return self.predictor.predict(self.filled(batch))

    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        """(B, S, T, V) z-scores, observed cells unchanged."""
        return self.imputer.impute(batch, n_samples)

    def made_of(self, parts: Sequence[StayBatch], what: str, make: Callable[[StayBatch], Tensor]) -> list[Tensor]:
        """What `make` makes of each of these stays with the imputer: by it, or as another run with the same imputer has kept it.

        Arguments:
            what: a name for the result, which tells all that it follows from beside the imputer and the stays.
        """
        keys = [digest_of(part, what) for part in parts]
        made = self.once({key: partial(make, part) for key, part in zip(keys, parts, strict=True)})
        return [made[key] for key in keys]

    def filled(self, batch: StayBatch) -> StayBatch:
        """The stays with the imputer's median wherever nothing was observed; see the module."""
        parts = [batch[i : i + STAYS_AT_ONCE] for i in range(0, len(batch), STAYS_AT_ONCE)]
        values = self._medians(parts)
        series = torch.cat(values).to(batch.values) if values else batch.values
        return replace(batch, values=series, observed=torch.ones_like(batch.observed))

    def _medians(self, parts: Sequence[StayBatch]) -> list[Tensor]:
        """Of each (B, T, V) on the CPU."""

        def fill(part: StayBatch) -> Tensor:
            return median_of_draws(self.imputer.impute(part, self.samples)).cpu()

        return [fill(part) for part in parts] if self.fills is None else self.fills.of(parts, fill)

    def _embed(self, batch: StayBatch) -> Tensor:
        reader: Any = self.predictor
        return reader.embed(self.filled(batch))

    def state_dict(self) -> Mapping[str, Any]:
        return {"imputer": dict(self.imputer.state_dict()), "predictor": dict(self.predictor.state_dict())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.imputer.load_state_dict(state_dict["imputer"])
        self.predictor.load_state_dict(state_dict["predictor"])


class Fills:
    """Filled series of the stays as they are, which training, prediction and the next predictor ask for.

    Kept are those of stays that are asked for the first time. Who asks for stays that are known, but with other cells observed, tries
    something out, such as what a variable is worth, and will not ask again.

    Arguments:
        once: makes them, or finds what an earlier run has made with the same imputer.
        samples: draws that a median is of.
    """

    def __init__(self, once: Once, samples: int) -> None:
        self.once, self.samples = once, samples
        self.made: dict[str, Tensor] = {}  # digest of the stays -> (B, T, V)
        self.stays: set[Any] = set()

    def of(self, parts: Sequence[StayBatch], fill: Callable[[StayBatch], Tensor]) -> list[Tensor]:
        """(B, T, V) of each of these; by `fill`, unless they are known."""
        keyed = [(digest_of(part, f"median of {self.samples}"), part) for part in parts]
        new = {key: part for key, part in keyed if key not in self.made and not self.stays.issuperset(part.stay_id)}
        self.made |= self.once({key: partial(fill, part) for key, part in new.items()})
        self.stays.update(*(part.stay_id for part in new.values()))
        return [self.made[key] if key in self.made else fill(part) for key, part in keyed]


def digest_of(part: StayBatch, what: str) -> str:
    """Of what can be seen of these stays, of the cells that are hidden of them, and of `what`."""
    digest = hashlib.blake2b(f"{what} {part.stay_id.tolist()}".encode(), digest_size=12)
    for tensor in (torch.where(part.observed, part.values, 0.0), part.observed, part.held_out):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def measured(filled: StayBatch) -> Tensor:
    """(B, T, V) True where a value of filled stays was measured."""
    return filled.hours_since == 0
