"""Who comes to the unit: patients, their visits, their hospital and domain (METHODS A.1, A.2-12, A.2-13).

Ages are those of calendar years, as the databases tell them. Every planned visit is made here; those after a patient's death
are left out later, when it is known.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from icu_lightning.data.synthetic.settings import GeneratorSettings
from icu_lightning.data.synthetic.streams import Streams
from icu_lightning.data.synthetic.variables import CONDITIONS

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

EPOCH = np.datetime64("2100-01-01T00:00", "m")
MINUTES_A_DAY = 1440
MOST_VISITS = 4
VISITS = (0.80, 0.14, 0.04, 0.02)  # shares of patients with 1, 2, 3, 4 planned visits
YEARS = 80  # of first visits, from EPOCH

ETHNICITY = {"white": 0.67, "black": 0.12, "hispanic": 0.07, "asian": 0.05, "other": 0.02, "unknown": 0.07}
INSURANCE = {"Medicare": 0.48, "Private": 0.30, "Medicaid": 0.13, "Government": 0.05, "Self Pay": 0.04}
MARITAL = {"MARRIED": 0.46, "SINGLE": 0.30, "WIDOWED": 0.13, "DIVORCED": 0.08, "unknown": 0.03}
LANGUAGE = {"ENGLISH": 0.87, "SPANISH": 0.06, "CANTONESE": 0.03, "RUSSIAN": 0.02, "unknown": 0.02}
UNITS = ("medical", "surgical", "coronary", "trauma")
CHRONIC = {"none": 0.90, "aids": 0.01, "haematologic_malignancy": 0.03, "metastatic_cancer": 0.06}

AGE_STRATA = ((18, 45, 0.15), (45, 65, 0.30), (65, 80, 0.40), (80, 95, 0.15))  # A.2-13
MALE = 0.52
# A.1: baseline, factor above 70 years, below 40, for men, for women; the last two conditions are ours
RISK_OF = {
    "sepsis": (0.15, 1.8, 0.6, 1.1, 0.9),
    "aki": (0.10, 2.0, 0.5, 1.2, 0.8),
    "heart_failure": (0.12, 2.2, 0.3, 1.3, 0.7),
    "respiratory": (0.0, 1.6, 0.7, 1.1, 0.9),
    "multi_organ": (0.0, 1.8, 0.6, 1.0, 1.0),
}
DIVERSE_MIX = {"sepsis": 0.40, "heart_failure": 0.25, "aki": 0.20, "respiratory": 0.10, "multi_organ": 0.05}  # A.2-13
INTENSITY = (0.5, 1.0, 1.5), (0.50, 0.35, 0.15)  # of the domain's shift, and shares: mild, moderate, severe (A.2-12)
STAY_HOURS, STAY_SPREAD, LONGEST = 85.0, 0.55, 25 * 24  # median and log SD of the length of stay, hours


@dataclass(frozen=True)
class Visits:
    """B visits, all arrays (B,).

    patient, visit: number of the patient, and of the visit from 0. shift: intensity of the domain's shift, 0 in the main domain.
    ethnicity ... unit, chronic, condition: places in the vocabularies above.
    start: of the stay in the unit, minutes since EPOCH; before: minutes in hospital before it; length: minutes in the unit.
    """

    patient: Ints
    visit: Ints
    age: Ints
    male: Flags
    ethnicity: Ints
    insurance: Ints
    marital: Ints
    language: Ints
    weight: Floats
    height: Floats
    hospital: Ints
    shift: Floats
    condition: Ints
    unit: Ints
    elective: Flags
    chronic: Ints
    carevue: Flags
    start: Ints
    before: Ints
    length: Ints

    def __len__(self) -> int:
        return len(self.patient)

    def __getitem__(self, rows: NDArray[np.intp] | Flags) -> "Visits":
        return Visits(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def clock(self, hours: int) -> Floats:
        """(B, hours) clock hour [0, 24) at the beginning of each hour of the stay."""
        first = (self.start % MINUTES_A_DAY) / 60
        return ((first[:, None] + np.arange(hours)) % 24).astype(np.float32)

    def weekend(self, hours: int) -> Flags:
        """(B, hours) True on Saturdays and Sundays."""
        day = (self.start[:, None] + 60 * np.arange(hours)) // MINUTES_A_DAY
        return (day + 4) % 7 >= 5  # EPOCH was a Friday


def visits_of(settings: GeneratorSettings, seed: object, patients: Ints) -> Visits:
    """All planned visits of these patients, in their order."""
    person = Streams(seed, patients, 0)
    u, z = person.uniform("person", 12), person.normal("build", 4)
    planned = 1 + _drawn(u[:, 0], VISITS)
    first = (u[:, 1].astype(np.float64) * YEARS * 365 * MINUTES_A_DAY).astype(np.int64)
    male, shift = u[:, 2] < MALE, _shift(settings, person.uniform("domain", 3))
    age = _ages(settings, u[:, 3], u[:, 4], z[:, 0])
    if settings.on("domain_shift"):
        moved = shift > 0
        age = np.where(moved, np.clip(age + np.round(5 * shift).astype(np.int64), 18, 95), age)
        male = male | (moved & (u[:, 5] < 0.05))
    height = np.where(male, 176, 163) + 7 * z[:, 1]
    weight = np.clip((height / 100) ** 2 * np.clip(28 + 5.5 * z[:, 2], 16, 55), 38, 200)
    row = np.repeat(np.arange(len(patients)), planned)
    visit = np.arange(len(row)) - np.repeat(np.cumsum(planned) - planned, planned)
    own = Streams(seed, patients[row], visit)
    v, y = own.uniform("visit", 10), own.normal("length", 2)
    gap = np.where(visit > 0, 60 + v[:, 0] * 670, 0).astype(np.float64)
    days = _running(gap, visit)
    years = (first[row] + (days * MINUTES_A_DAY)).astype(np.int64)
    age = age[row] + ((EPOCH + years).astype("M8[Y]") - (EPOCH + first[row]).astype("M8[Y]")).astype(np.int64)
    stay = STAY_HOURS * np.exp(STAY_SPREAD * y[:, 0]) * np.where(shift[row] > 0, 1 - 0.1 * shift[row], 1)
    surgical = v[:, 3] < 0.32
    return Visits(
        patient=patients[row],
        visit=visit,
        age=age,
        male=male[row],
        ethnicity=_drawn(u[row, 6], tuple(ETHNICITY.values())),
        insurance=np.where(age >= 65, np.where(v[:, 1] < 0.75, 0, 1), 1 + _drawn(v[:, 2], (0.58, 0.25, 0.09, 0.08))),
        marital=_drawn(u[row, 7], tuple(MARITAL.values())),
        language=_drawn(u[row, 8], tuple(LANGUAGE.values())),
        weight=weight[row].round(1).astype(np.float32),
        height=height[row].round(1).astype(np.float32),
        hospital=_hospital(settings, u[:, 9], shift)[row],
        shift=shift[row],
        condition=_condition(settings, age, male[row], v[:, 4]),
        unit=np.where(surgical, np.where(v[:, 5] < 0.7, 1, 3), np.where(v[:, 5] < 0.7, 0, 2)),
        elective=surgical & (v[:, 6] < 0.4),
        chronic=_drawn(u[row, 10], tuple(CHRONIC.values())),
        carevue=u[row, 11] < 0.5,
        start=years + 3 * MINUTES_A_DAY,
        before=(v[:, 7] * 23 * 60).astype(np.int64),
        length=(np.clip(stay, 12, LONGEST) * 60).astype(np.int64),
    )


def _running(gaps: NDArray[np.float64], visit: Ints) -> NDArray[np.float64]:
    """Sum of the gaps of the patient's visits up to each one; the first one's gap is 0."""
    total = np.cumsum(gaps)
    first = np.maximum.accumulate(np.where(visit == 0, np.arange(len(visit)), 0))
    return total - total[first]


def _drawn(u: Floats, shares: tuple[float, ...]) -> Ints:
    """Places drawn with these shares."""
    return np.minimum(np.searchsorted(np.cumsum(shares), u, side="right"), len(shares) - 1).astype(np.int64)


def _ages(settings: GeneratorSettings, u: Floats, within: Floats, z: Floats) -> Ints:
    if not settings.on("diversity"):
        return np.clip(np.round(64 + 14 * z), 18, 95).astype(np.int64)
    stratum = _drawn(u, tuple(share for *_, share in AGE_STRATA))
    low, high = (np.array([stratum_[i] for stratum_ in AGE_STRATA])[stratum] for i in (0, 1))
    return (low + within * (high - low)).astype(np.int64)


def _shift(settings: GeneratorSettings, u: Floats) -> Floats:
    """Intensity of each patient's domain shift; 0 for the patients of the main domain."""
    if not settings.on("domain_shift"):
        return np.zeros(len(u), dtype=np.float32)
    intensity = np.array(INTENSITY[0], dtype=np.float32)[_drawn(u[:, 1], INTENSITY[1])]
    return np.where(u[:, 0] < settings.shifted, intensity, 0).astype(np.float32)


def _hospital(settings: GeneratorSettings, u: Floats, shift: Floats) -> Ints:
    """The other domain is the last hospitals, in proportion to its share; where there is one hospital, everybody is in it."""
    n = settings.hospitals
    if not settings.on("domain_shift") or n == 1:
        return (u * n).astype(np.int64)
    other = min(n - 1, max(1, round(n * settings.shifted)))
    return np.where(shift > 0, n - other + (u * other).astype(np.int64), (u * (n - other)).astype(np.int64))


def _condition(settings: GeneratorSettings, age: Ints, male: Flags, u: Floats) -> Ints:
    published = sum(facts[0] for facts in RISK_OF.values())
    edge = np.zeros(len(age))
    condition = np.zeros(len(age), dtype=np.int64)
    for name in CONDITIONS[1:]:
        base, old, young, man, woman = RISK_OF[name]
        base = published * DIVERSE_MIX[name] if settings.on("diversity") else base
        share = base * np.where(age > 70, old, np.where(age < 40, young, 1)) * np.where(male, man, woman)
        condition = np.where((u >= edge) & (u < edge + share), CONDITIONS.index(name), condition)
        edge = edge + share
    return condition
