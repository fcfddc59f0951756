"""The synthetic ICU in blocks of patients: simulate, hand to a worker's job, keep the order.

A block is some hundred patients with all that happens to them; what is made of it does not depend on how many blocks there are or
who makes them, so a population of 10 patients is the beginning of one of 10,000.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import polars as pl

from icu_lightning.data.synthetic import mortality, observation, treatment
from icu_lightning.data.synthetic.people import CHRONIC, Floats, Ints, Visits, visits_of
from icu_lightning.data.synthetic.physiology import PATTERNS, body_of
from icu_lightning.data.synthetic.settings import GeneratorSettings
from icu_lightning.data.synthetic.streams import Streams
from icu_lightning.data.synthetic.variables import CONDITIONS

PATIENTS = 512  # of a block
REFERENCE = 12_000  # patients with whom the intercept is solved
IN_UNIT = 0.7  # share of deaths that happen in the unit
AFTER_HOURS = 70.0  # mean time in hospital after leaving the unit
Result = TypeVar("Result")


@dataclass(frozen=True)
class Block:
    """All that is known of B stays.

    visits: who they are. died, died_in_unit: as recorded; left: minutes from admission to the unit to leaving hospital.
    values: (B, T, V) of variables.CHARTED, NaN where not charted. bedside, laboratory: (B, T) minutes from admission.
    infusions: row, drug, start, end, rate. coded: row, kind, minute, text. truth: a row a stay; no source reads it.
    """

    visits: Visits
    died: np.ndarray
    died_in_unit: np.ndarray
    left: Ints
    values: Floats
    bedside: Ints
    laboratory: Ints
    infusions: pl.DataFrame
    coded: pl.DataFrame
    truth: pl.DataFrame

    def __len__(self) -> int:
        return len(self.visits)

    def first(self, n: int) -> "Block":
        """The first n stays."""
        keep = np.arange(n)
        arrays = ("died", "died_in_unit", "left", "values", "bedside", "laboratory")
        return Block(
            visits=self.visits[keep],
            **{name: getattr(self, name)[:n] for name in arrays},
            infusions=self.infusions.filter(pl.col("row") < n),
            coded=self.coded.filter(pl.col("row") < n),
            truth=self.truth.head(n),
        )


def intercept(settings: GeneratorSettings) -> float:
    """The intercept of this configuration, solved once a process on patients whom no seed generates."""
    return _intercept(settings, REFERENCE)


@lru_cache(maxsize=8)
def _intercept(settings: GeneratorSettings, reference: int) -> float:
    parts = []
    for start in range(0, reference, PATIENTS):
        patients = np.arange(start, min(start + PATIENTS, reference))
        visits = visits_of(settings, "reference", patients)
        body = body_of(settings, "reference", visits)
        parts.append((mortality.logits(settings, "reference", visits, body), visits.visit))
    logit, visit = (np.concatenate(values) for values in zip(*parts, strict=True))
    return mortality.solved_intercept(settings, logit, visit == 0)


def simulated(settings: GeneratorSettings, seed: int, patients: Ints) -> Block:
    """Every stay of these patients; a patient's stays end with a death."""
    visits = visits_of(settings, seed, patients)
    body = body_of(settings, seed, visits)
    risk = mortality.risk_of(mortality.logits(settings, seed, visits, body), intercept(settings))
    outcome = mortality.outcomes(settings, seed, visits, risk)
    care = treatment.care_of(settings, seed, visits, body)
    died, in_unit, left = _ends(settings, seed, visits, outcome.recorded)
    bedside, laboratory = observation.minutes(settings, seed, visits)
    values = observation.charted(settings, seed, visits, body, care, (bedside, laboratory))
    here = _alive(visits, outcome.died | outcome.recorded)
    rows = np.flatnonzero(here)
    kept = visits[rows]
    return Block(
        visits=kept,
        died=died[rows],
        died_in_unit=in_unit[rows],
        left=left[rows],
        values=values[rows],
        bedside=bedside[rows],
        laboratory=laboratory[rows],
        infusions=treatment.infusions(kept, care.rates[rows], bedside[rows, 0]),
        coded=treatment.coded(seed, kept),
        truth=_truth(visits, outcome, body.pattern)[rows],
    )


def _ends(
    settings: GeneratorSettings, seed: int, visits: Visits, recorded: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Ints]:
    """Died in hospital, died in the unit, minutes from admission to the unit until leaving hospital, all as recorded.

    With label noise the times are noisy too: some deaths are written down 2 to 24 hours late, in hospital but after the unit.
    """
    u = Streams(seed, visits.patient, visits.visit).uniform("time of death", 4).astype(np.float64)
    in_unit = recorded & (u[:, 0] < IN_UNIT)
    after = np.where(in_unit, 0, 60 - np.log1p(-u[:, 1]) * AFTER_HOURS * 60)
    if settings.on("label_noise"):
        late = recorded & (u[:, 2] < 0.15)
        after = after + np.where(late, (2 + 22 * u[:, 3]) * 60, 0)
        in_unit &= ~late
    return recorded, in_unit, visits.length + np.round(after).astype(np.int64)


def _alive(visits: Visits, ended: np.ndarray) -> np.ndarray:
    """(B,) True for visits before and with the patient's first that ended in death or was recorded to."""
    total = np.cumsum(ended) - ended  # ends before this visit, of all patients
    first = np.maximum.accumulate(np.where(visits.visit == 0, np.arange(len(visits)), 0))
    return total == total[first]


def _truth(visits: Visits, outcome: mortality.Outcome, pattern: np.ndarray) -> pl.DataFrame:
    scenario = [None, *mortality.AMBIGUITY]
    return pl.DataFrame(
        {
            "true_risk": outcome.risk,
            "recorded_risk": outcome.recorded_risk,
            "died": outcome.died,
            "recorded_death": outcome.recorded,
            "outcome": np.array(mortality.REASONS)[outcome.censored],
            "ambiguity": pl.Series([scenario[place + 1] for place in outcome.ambiguous.tolist()], dtype=pl.String),
            "flipped": outcome.flipped,
            "condition": np.array(CONDITIONS)[visits.condition],
            "chronic": np.array(list(CHRONIC))[visits.chronic],
            "progression": pl.Series([[*PATTERNS, None][place] for place in pattern.tolist()], dtype=pl.String),
            "domain_shift": visits.shift.astype(np.float64),
        }
    )


def in_blocks(
    settings: GeneratorSettings,
    seed: int,
    stays: int,
    job: Callable[[Block], Result],
    workers: int = 2,
) -> Iterator[tuple[int, Result]]:
    """(number of stays, job(block)) of blocks that together hold exactly `stays` stays, in the patients' order.

    Arguments:
        job: called in one of `workers` threads. Memory is that of workers + 1 blocks and results.
    """
    intercept(settings)
    size = min(PATIENTS, stays)

    def work(index: int, most: int | None = None) -> tuple[int, Result]:
        block = simulated(settings, seed, np.arange(index * size, (index + 1) * size))
        block = block if most is None or most >= len(block) else block.first(most)
        return len(block), job(block)

    done, ahead = 0, 0
    waiting: list[Future[tuple[int, Result]]] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            while done < stays:
                while len(waiting) <= workers and done + len(waiting) * size < stays:
                    waiting.append(pool.submit(work, ahead, stays if ahead == 0 else None))
                    ahead += 1
                n, result = waiting.pop(0).result()
                if done + n > stays:  # only now is it known that fewer are wanted
                    n, result = work(ahead - len(waiting) - 1, stays - done)
                done += n
                yield n, result
        finally:
            for future in waiting:
                future.cancel()
