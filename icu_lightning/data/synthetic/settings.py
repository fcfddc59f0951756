"""What the synthetic ICU can be told: 13 features with a switch each, their rates, and what is refused by name (METHODS A.2).

Numbers that a researcher may want to vary are settings, in conf/generator; facts of the simulated body are in `variables`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icu_lightning.data.synthetic.variables import LABS, SERIES, VITALS
from icu_lightning.errors import UserError, is_number, number, true_or_false, unknown_name, whole_number

FEATURES = (
    "circadian",
    "sleep",
    "meals",
    "measurement",
    "missingness",
    "correlations",
    "documentation",
    "individuality",
    "stochastic_correlations",
    "mortality",
    "label_noise",
    "domain_shift",
    "diversity",
)
MECHANISMS = ("mcar", "mar", "mnar")
LANDMARK = 48  # hours whose physiology decides about death, as in the published formula's use (METHODS A.2)
WITHIN_SCALE, ACROSS_SCALE = (
    0.7,
    0.3,
)  # of the listed correlations, within vitals or labs and between them (METHODS A.2-6)


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """The configuration of the synthetic ICU; equal settings and seeds give equal stays.

    features: feature of FEATURES -> on or off; all of them.
    hours: of charting after admission to the unit, at least LANDMARK.
    hospitals: how many there are.
    prevalence: expected share of stays recorded as died in hospital.
    physiology_weight: what the published formula's physiology terms are multiplied by.
    jitter_hours: (bedside rounds, laboratory) largest deviation of a charting time from its plan.
    dropout, artifacts: shares of values lost, and turned into isolated spikes.
    mechanisms: shares of MECHANISMS among the cells.
    flipped: (survival recorded as death, death recorded as survival).
    censored: shares of stays that end (by transfer, against advice, lost to follow-up) with an outcome nobody saw.
    ambiguous: share of stays with an ambiguous outcome.
    shifted: share of patients of the other domain.
    correlated: (variable, variable, correlation, SD between patients).

    Raises UserError for a value that cannot be meant.
    """

    features: Mapping[str, bool]
    hours: int
    hospitals: int
    prevalence: float
    physiology_weight: float
    jitter_hours: tuple[float, float]
    dropout: float
    artifacts: float
    mechanisms: tuple[float, float, float]
    flipped: tuple[float, float]
    censored: tuple[float, float, float]
    ambiguous: float
    shifted: float
    correlated: Sequence[tuple[str, str, float, float]]

    def __post_init__(self) -> None:
        self._check_features()
        whole_number("generator.hours", self.hours, LANDMARK)
        whole_number("generator.hospitals", self.hospitals, 1)
        _share("prevalence", self.prevalence, open_ends=True)
        for name in ("dropout", "artifacts", "ambiguous", "shifted"):
            _share(name, getattr(self, name))
        for name, length in {"jitter_hours": 2, "mechanisms": 3, "flipped": 2, "censored": 3}.items():
            _shares(name, getattr(self, name), length)
        if abs(sum(self.mechanisms) - 1) > 1e-9:
            raise UserError(f"generator.mechanisms ({', '.join(MECHANISMS)}) must sum to 1; it is {self.mechanisms}.")
        if sum(self.censored) > 1:
            raise UserError(f"generator.censored must not sum to more than 1; it is {self.censored}.")
        number("generator.physiology_weight", self.physiology_weight, least=0)
        if not np.linalg.eigvalsh(self._listed()).min() > 1e-6:
            raise UserError(
                "generator.correlated is not positive definite: no body can have these correlations at once. "
                "Make the strongest of them weaker."
            )

    def _check_features(self) -> None:
        for name, on in self.features.items():
            if name not in FEATURES:
                raise unknown_name("feature in generator.features", name, FEATURES)
            true_or_false(f"generator.features.{name}", on)
        if missing := [name for name in FEATURES if name not in self.features]:
            raise UserError(f"generator.features must say true or false for {', '.join(missing)}.")

    def on(self, feature: str) -> bool:
        return self.features[feature]

    def correlation_matrix(self) -> NDArray[np.float64]:
        """(15, 15) correlation of the innovations of SERIES: the identity where the feature `correlations` is off."""
        return self._listed() if self.features["correlations"] else np.eye(len(SERIES))

    def _listed(self) -> NDArray[np.float64]:
        matrix = np.eye(len(SERIES))
        for (i, j), scale, (_, _, r, _) in self.pairs():
            matrix[i, j] = matrix[j, i] = scale * r
        return matrix

    def pairs(self) -> list[tuple[tuple[int, int], float, tuple[str, str, float, float]]]:
        """Every listed correlation with the places of its variables in SERIES and its scale. Raises UserError."""
        found = []
        for entry in self.correlated:
            if len(entry) != 4:
                raise UserError(
                    f"An entry of generator.correlated is [variable, variable, r, SD]; this is not: {entry}."
                )
            a, b, r, sd = entry
            for name in (a, b):
                if name not in SERIES:
                    raise unknown_name("variable in generator.correlated", name, SERIES)
            if a == b or not is_number(r) or not -1 < r < 1 or not is_number(sd) or sd < 0:
                raise UserError(f"generator.correlated: {a} and {b} cannot have r = {r} with an SD of {sd}.")
            within = (a in VITALS) == (b in VITALS)
            found.append(((SERIES.index(a), SERIES.index(b)), WITHIN_SCALE if within else ACROSS_SCALE, entry))
        return found

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> tuple[Any, ...]:
        """Plain values that change whenever the settings do."""
        return tuple(_plain(getattr(self, field.name)) for field in fields(self))


def settings_of(conf: Mapping[str, Any]) -> GeneratorSettings:
    """The settings of conf's `generator`. Raises UserError for a key that is unknown or missing."""
    known = [field.name for field in fields(GeneratorSettings)]
    for name in conf:
        if name not in known:
            raise unknown_name("setting", f"generator.{name}", (f"generator.{other}" for other in known))
    if missing := [name for name in known if name not in conf]:
        raise UserError(f"generator.{missing[0]} is missing; conf/generator/icu.yaml has its default.")
    if not isinstance(conf["features"], Mapping):
        raise UserError("generator.features must say true or false for each feature.")
    return GeneratorSettings(**conf)


def check_stays(stays: object, settings: GeneratorSettings) -> int:
    """`stays`, if it is a whole number of at least 10 and of hospitals. Raises UserError."""
    least = whole_number("stays", stays, 10)
    if least < settings.hospitals:
        raise UserError(
            f"{least} stays are fewer than generator.hospitals={settings.hospitals}: ask for more stays or fewer hospitals."
        )
    return least


assert set(VITALS) | set(LABS) == set(SERIES)


def _share(name: str, value: Any, open_ends: bool = False) -> None:
    inside = is_number(value) and (0 < value < 1 if open_ends else 0 <= value <= 1)
    if not inside:
        ends = "above 0 and below 1" if open_ends else "from 0 to 1"
        raise UserError(f"generator.{name} must be a number {ends}; it is {value}.")


def _shares(name: str, values: Any, length: int) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != length:
        raise UserError(f"generator.{name} must be a list of {length} numbers; it is {values}.")
    for value in values:
        _share(name, value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted((key, _plain(inner)) for key, inner in value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(inner) for inner in value)
    return value
