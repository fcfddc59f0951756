"""imputations.parquet: measured cells of test stays that were hidden on purpose, and what the model filled in.

| column | meaning |
|---|---|
| stay_id, patient_id | as in the raw tables |
| rate | share of the stay's measured cells that was hidden with this one |
| hour, variable | which cell |
| unit, sd | the variable's, and its SD among the training stays in that unit: an error of one z-score is an error of `sd` |
| truth | its z-score |
| draws | (S) the model's; one, if more would be the same number |

The cells follow from (seed, pattern, rate, stay_id) alone (data/masking.py), so every method is scored on the same ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from icu_lightning.atomic import atomic_file
from icu_lightning.data.cache import code_digest
from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.patterns import PATTERNS
from icu_lightning.errors import UserError, unknown_name, whole_number
from icu_lightning.evaluation.stored import facts_of
from icu_lightning.terminal import bar

if TYPE_CHECKING:  # settings are checked before torch is loaded
    from torch import Tensor

    from icu_lightning.batch import StayBatch
    from icu_lightning.data.module import ICUDataModule

FILE = "imputations.parquet"
STAYS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of `imputation`.

    rates: shares of a stay's measured cells that are hidden. pattern: one of PATTERNS. seed: of the cells.
    draws: imputations of a cell. stays: of the test split, at most, by lot.

    Raises UserError for a value that cannot be meant.
    """

    rates: tuple[float, ...]
    pattern: str
    seed: int
    draws: int
    stays: int

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise unknown_name("pattern in imputation", self.pattern, PATTERNS)
        for rate in self.rates:
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
                raise UserError(
                    f"imputation.rates are numbers above 0, at most 1, as in [0.1,0.5]; one of them is {rate}."
                )
        for name, least in {"seed": 0, "draws": 1, "stays": 1}.items():
            whole_number(f"imputation.{name}", getattr(self, name), least)


def imputation_settings(config: Mapping[str, Any]) -> Settings | None:
    """Those of a run's configuration; None if it asks for none. Raises UserError."""
    chosen = config.get("imputation")
    if not chosen:
        return None
    known = list(Settings.__dataclass_fields__)
    for name in (*chosen, *known):
        if name not in known or name not in chosen:
            raise unknown_name("key of imputation", name, known)
    if isinstance(chosen["rates"], str) or not hasattr(chosen["rates"], "__iter__"):
        raise UserError(f"imputation.rates is a list, as in [0.1,0.5]; it is {chosen['rates']}.")
    if not chosen["rates"]:
        raise UserError(
            "imputation.rates is empty: name a rate, as in [0.1,0.5], or say imputation=null to score none."
        )
    return Settings(**{**chosen, "rates": tuple(chosen["rates"])})


def write_imputations(folder: Path, config: Mapping[str, Any], data: "ICUDataModule", model: Any) -> None:
    """Hide, fill in, write; nothing for a model that does not impute, or if nothing is asked for."""
    import torch

    from icu_lightning.data.masking import shown

    settings = imputation_settings(config)
    if settings is None or not hasattr(model, "impute"):
        (folder / FILE).unlink(missing_ok=True)
        return
    settings = replace(settings, draws=min(settings.draws, getattr(model, "most_draws", None) or settings.draws))
    test = data.measured["test"]
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(test))[: settings.stays])
    stays, scales = test[torch.from_numpy(chosen)], scales_of(data)
    hidden = [shown(stays, settings.pattern, rate, settings.seed) for rate in settings.rates]
    with bar("Filling in hidden cells, a rate at a time", len(hidden)) as more:

        def fill(part: "StayBatch") -> "Tensor":
            filled = _draws(model, part, settings.draws)
            more(1)
            return filled

        made_of = getattr(model, "made_of", _anew)  # an imputer before another predictor is not asked again
        draws = made_of(hidden, f"{settings.draws} draws of hidden cells, as by {code_digest(Path(__file__))}", fill)
    rates = zip(settings.rates, hidden, draws, strict=True)
    table = pl.concat([_of_rate(rate, stays, part, made, scales) for rate, part, made in rates])
    facts = {"pattern": settings.pattern, "seed": str(settings.seed), "synthetic": str(data.source.synthetic).lower()}
    with atomic_file(folder / FILE) as path:
        table.write_parquet(path, metadata=facts)


def scales_of(data: "ICUDataModule") -> pl.DataFrame:
    """A row a variable of the data, in their order: variable, unit, sd."""
    names = data.shape.variables
    units = [concept.unit for concept in concepts_of(names)]
    return pl.DataFrame({"variable": list(names), "unit": units, "sd": data.scaler.state()["sd"]})


def pool_imputations(folder: Path, folds: Sequence[Path]) -> None:
    """The folds' imputations as one file; none unless every fold has some."""
    if not all((fold / FILE).exists() for fold in folds):
        return
    with atomic_file(folder / FILE) as path:
        pl.concat([pl.read_parquet(fold / FILE) for fold in folds]).write_parquet(
            path, metadata=facts_of(folds[0] / FILE)
        )


def _of_rate(
    rate: float, stays: "StayBatch", hidden: "StayBatch", draws: "Tensor", scales: pl.DataFrame
) -> pl.DataFrame:
    """A row for each cell that is hidden of the stays; draws: (cells, S)."""
    import torch

    row, hour, variable = hidden.held_out.nonzero(as_tuple=True)
    return pl.DataFrame(
        {
            "stay_id": stays.stay_id[row.numpy()],
            "patient_id": stays.patient_id[row.numpy()],
            "rate": pl.repeat(float(rate), len(row), eager=True),
            "hour": hour.to(torch.int16).numpy(),
            **scales[variable.numpy()].to_dict(),
            "truth": stays.values[row, hour, variable].float().numpy(),
            "draws": pl.Series(draws.numpy(), dtype=pl.Array(pl.Float32, draws.shape[1])),
        }
    )


def _anew(parts: "Sequence[StayBatch]", what: str, make: "Callable[[StayBatch], Tensor]") -> "list[Tensor]":
    """Of a model that keeps nothing."""
    return [make(part) for part in parts]


def _draws(model: Any, hidden: "StayBatch", n: int) -> "Tensor":
    """(cells, S) of the hidden cells of these stays, in the order of `torch.nonzero`."""
    import torch

    parts = [hidden[i : i + STAYS_AT_ONCE] for i in range(0, len(hidden), STAYS_AT_ONCE)]
    # (B, S, T, V) -> (B, T, V, S) -> (cells, S)
    filled = [model.impute(part, n).cpu().movedim(1, -1)[part.held_out].float() for part in parts]
    return torch.cat(filled) if filled else torch.zeros(0, n)
