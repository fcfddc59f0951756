"""Made-up stays for a machine that has no tables: a planted mortality signal, and nothing that leaks it.

Each stay has a latent severity z(t), a mean-reverting process; every variable is its normal value + person + loading x z(t)
+ noise, charted irregularly; death is drawn from the severity of the first two days and age. The label enters no variable.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.data.concepts import Concept
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.base import EVENTS, STAYS, complete, stay_number
from icu_lightning.data.sources.infusions import drug_places
from icu_lightning.errors import UserError, whole_number

HOURS = 72
PREVALENCE = 0.18

# variable: normal value, SD between persons, change with one unit of severity, SD within, hours between measurements
PHYSIOLOGY = {
    "heart_rate": (82.0, 9.0, 9.0, 4.0, 1),
    "temperature": (37.0, 0.3, 0.3, 0.2, 4),
    "sbp": (122.0, 12.0, -9.0, 7.0, 1),
    "dbp": (66.0, 8.0, -5.0, 5.0, 1),
    "map": (84.0, 8.0, -6.0, 5.0, 1),
    "respiratory_rate": (17.0, 2.5, 2.5, 2.0, 1),
    "spo2": (97.0, 1.2, -1.2, 1.0, 1),
    "glucose": (130.0, 25.0, 14.0, 18.0, 6),
    "hemoglobin": (11.0, 1.6, -0.4, 0.3, 12),
    "potassium": (4.1, 0.35, 0.15, 0.2, 8),
    "sodium": (138.5, 3.0, 0.5, 1.2, 8),
    "lactate": (1.7, 0.4, 0.7, 0.3, 8),
    "creatinine": (1.1, 0.4, 0.3, 0.1, 12),
    "wbc": (10.0, 2.5, 2.0, 1.0, 12),
    "bicarbonate": (24.5, 2.2, -1.6, 1.0, 8),
    "bun": (20.0, 7.0, 5.0, 1.5, 12),
}


class SyntheticICU:
    """The synthetic ICU as a `Source`; the same stays for the same arguments.

    Arguments:
        stays: how many, at least 10.
        generator_seed: of everything that is drawn.
    """

    name = "synthetic"
    synthetic = True

    def __init__(self, stays: int, generator_seed: int) -> None:
        whole_number("data.stays", stays, 10)
        whole_number("data.generator_seed", generator_seed, 0)
        self.n, self.seed = stays, generator_seed
        rng = np.random.default_rng([generator_seed, 0])
        self.age = rng.normal(64, 14, stays).clip(18, 89).round()
        self.los_hours = rng.lognormal(np.log(62), 0.6, stays).clip(8, 900).round(2)
        self.severity = _severity(rng, stays)
        risk = 2.0 * self.severity[:, :48].mean(1) + 0.025 * (self.age - 64)
        self.died = rng.random(stays) < _sigmoid(risk + _intercept(risk, PREVALENCE))

    def fingerprint(self) -> object:
        return [self.n, self.seed]

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        return frame.collect()

    def stays(self) -> pl.LazyFrame:
        rng = np.random.default_rng([self.seed, 1])
        patient = rng.integers(0, max(1, int(self.n * 0.85)), self.n)
        in_icu = self.died & (rng.random(self.n) < 0.6)
        after = np.where(in_icu, 0.0, rng.exponential(60, self.n))
        frame = pl.LazyFrame(
            {
                "stay_id": np.arange(1, self.n + 1),
                "patient_id": patient,
                "hospital_id": patient % 8,  # a patient keeps to one hospital
                "los_hours": self.los_hours,
                "age": self.age,
                "sex": rng.choice(["female", "male"], self.n, p=[0.45, 0.55]),
                "ethnicity": rng.choice(["A", "B", "C"], self.n, p=[0.7, 0.2, 0.1]),
                "unit_type": rng.choice(["medical", "surgical"], self.n),
                "weight_kg": rng.normal(80, 17, self.n).clip(40, 180).round(1),
                "died_in_hospital": self.died,
                "died_in_icu": in_icu,
                "death_hours": self.los_hours + after,
            }
        )
        return complete(
            frame.with_columns(
                pl.format("P{}", "patient_id").alias("patient_id"),
                stay_number=stay_number("patient_id", pl.col("stay_id")),
                death_hours=pl.when("died_in_hospital").then("death_hours"),
            ),
            STAYS,
        )

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        drug_places(self.name, drugs)
        raise AssertionError("drugs.yaml has an entry that nothing here reads")

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        return pl.concat(self._events(concept) for concept in concepts)

    def _events(self, concept: Concept) -> pl.LazyFrame:
        if concept.name not in PHYSIOLOGY:
            raise UserError(f"The synthetic ICU does not simulate '{concept.name}'. It has: {', '.join(PHYSIOLOGY)}.")
        normal, between, loading, within, every = PHYSIOLOGY[concept.name]
        rng = np.random.default_rng([self.seed, 2, list(PHYSIOLOGY).index(concept.name)])
        value = (
            normal
            + rng.normal(0, between, (self.n, 1))
            + loading * self.severity
            + rng.normal(0, within, (self.n, HOURS))
        )
        minute = np.arange(HOURS) + rng.uniform(0, 1, (self.n, HOURS))
        charted = (rng.random((self.n, HOURS)) < 0.9 / every) & (minute < self.los_hours[:, None])
        low, high = concept.units[0].low, concept.units[0].high
        stay, hour = charted.nonzero()
        frame = pl.LazyFrame(
            {"stay_id": stay + 1, "hours": minute[stay, hour], "value": value[stay, hour].clip(low, high).round(2)}
        )
        return complete(
            frame.with_columns(variable=pl.lit(concept.name), unit=pl.lit(concept.unit), preference=pl.lit(0)), EVENTS
        )


def _severity(rng: np.random.Generator, n: int, persistence: float = 0.95) -> NDArray[np.float64]:
    """(n, HOURS) mean-reverting around each stay's own level, of variance about 1 between and within stays together."""
    level = rng.normal(0, 0.8, n)
    severity = np.empty((n, HOURS))
    severity[:, 0] = level + rng.normal(0, 0.6, n)
    for t in range(1, HOURS):
        step = rng.normal(0, 0.6 * np.sqrt(1 - persistence**2), n)
        severity[:, t] = level + persistence * (severity[:, t - 1] - level) + step
    return severity


def _intercept(risk: NDArray[np.float64], prevalence: float) -> float:
    """The number that, added to every risk, makes the expected prevalence so, by bisection."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(risk + middle).mean() < prevalence else (low, middle)
    return (low + high) / 2


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))
