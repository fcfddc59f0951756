"""The five scores in plain Python loops, from METHODS C.3 and nothing of the package: the fast ones are checked against them."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Charted:
    """One stay. events: variable -> [(hours, preference, value)]; rates: drug -> [(start, end, rate)], hours from admission."""

    los: float = 72.0
    age: float = 50.0
    pre_icu: float = 2.0
    events: dict[str, list[tuple[float, int, float]]] = field(default_factory=lambda: defaultdict(list))
    rates: dict[str, list[tuple[float, float, float]]] = field(default_factory=lambda: defaultdict(list))
    admission: str | None = None
    chronic: set[str] = field(default_factory=set)

    def at(self, variable: str) -> dict[float, float]:
        """One value a time: the preferred place's, of several there the highest; of ventilation the highest of all."""
        found: dict[float, list[tuple[int, float]]] = defaultdict(list)
        for hours, preference, value in self.events.get(variable, ()):
            found[hours].append((0 if variable == "ventilation" else -preference, value))
        return {hours: max(values)[1] for hours, values in sorted(found.items())}

    def latest(self, variable: str, when: float, within: float) -> float | None:
        known = [h for h in self.at(variable) if h <= when and when - h <= within + 1e-9]
        return self.at(variable)[max(known)] if known else None

    def between(self, variable: str, start: float, end: float) -> list[float]:
        return [value for hours, _, value in self.events.get(variable, ()) if start <= hours < end]


def lowest(values: list[float]) -> float | None:
    return min(values) if values else None


def highest(values: list[float]) -> float | None:
    return max(values) if values else None


def coma(stay: Charted, start: float, end: float) -> list[float]:
    totals = stay.between("gcs", start, end)
    for when in {h for part in ("eyes", "verbal", "motor") for h in stay.at(f"gcs_{part}") if start <= h < end}:
        if stay.latest("gcs_tube", when, 6) == 1:
            totals.append(15)
        else:
            parts = {"gcs_eyes": 4, "gcs_verbal": 5, "gcs_motor": 6}
            totals.append(sum(stay.latest(p, when, 6) or normal for p, normal in parts.items()))
    return totals


def ratios(stay: Charted, start: float, end: float) -> dict[int, list[float]]:
    """Support (0 none, 1 CPAP, 2 invasive) -> PaO2 / FiO2 of the gases in the window."""
    found: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for when, pao2 in stay.at("pao2").items():
        fio2 = stay.latest("fio2", when, 4)
        if start <= when < end and fio2 is not None:
            found[int(stay.latest("ventilation", when, 14) or 0)].append(round(pao2 / fio2, 9))
    return found


def top_rate(stay: Charted, drug: str, start: float, end: float) -> float | None:
    """The highest sum of what ran at one moment of the window; None if nothing was charted in it."""
    moments = [max(s, start) for s, e, _ in stay.rates.get(drug, ()) if s < end and e > start]
    return highest([round(sum(r for s, e, r in stay.rates[drug] if s <= m < e), 9) for m in moments])


def worst(stay: Charted, start: float, end: float) -> dict[str, Any]:
    """Every worst value of [start, end) hours."""
    gas = ratios(stay, start, end)
    support = stay.between("ventilation", start, end)
    urine = stay.between("urine", max(start, 0), end)
    covered = end >= 22 and stay.los >= 22
    values: dict[str, Any] = {
        "gcs": lowest(coma(stay, start, end)),
        "pf": {kind: lowest(found) for kind, found in gas.items()},
        "ventilated": highest(support) or 0,
        "urine": max(0.0, round(sum(urine), 6)) if urine and covered else None,
    }
    for name in (
        "heart_rate",
        "sbp",
        "map",
        "respiratory_rate",
        "temperature",
        "wbc",
        "potassium",
        "sodium",
        "bilirubin",
    ):
        values[name] = (lowest(stay.between(name, start, end)), highest(stay.between(name, start, end)))
    for name in ("creatinine", "bun", "bands", "platelets", "bicarbonate", "paco2", "prothrombin_time"):
        values[name] = (lowest(stay.between(name, start, end)), highest(stay.between(name, start, end)))
    for drug in ("dopamine", "dobutamine", "epinephrine", "norepinephrine"):
        values[drug] = top_rate(stay, drug, max(start, 0), end)
    return values


def under(value: float | None, *bands: tuple[float, int]) -> int:
    """Points of the first band whose edge is above the value."""
    return next((points for edge, points in bands if value is not None and value < edge), 0)


def over(value: float | None, *bands: tuple[float, int]) -> int:
    """Points of the first band whose edge the value reaches."""
    return next((points for edge, points in bands if value is not None and value >= edge), 0)


def beyond(value: float | None, *bands: tuple[float, int]) -> int:
    return next((points for edge, points in bands if value is not None and value > edge), 0)


def lowest_of(*values: float | None) -> float | None:
    return lowest([v for v in values if v is not None])


def sofa(w: dict[str, Any]) -> dict[str, int]:
    spontaneous = lowest_of(w["pf"][0], w["pf"][1])
    pressors = [beyond(w[drug], (0.1, 4), (0, 3)) for drug in ("epinephrine", "norepinephrine")]
    return {
        "respiration": max(
            under(w["pf"][2], (100, 4), (200, 3), (300, 2), (400, 1)), under(spontaneous, (300, 2), (400, 1))
        ),
        "coagulation": under(w["platelets"][0], (20, 4), (50, 3), (100, 2), (150, 1)),
        "liver": over(w["bilirubin"][1], (12, 4), (6, 3), (2, 2), (1.2, 1)),
        "cardiovascular": max(
            under(w["map"][0], (70, 1)), beyond(w["dobutamine"], (0, 2)), beyond(w["dopamine"], (15, 4), (5, 3), (0, 2)), *pressors
        ),
        "cns": under(w["gcs"], (6, 4), (10, 3), (13, 2), (15, 1)),
        "renal": max(over(w["creatinine"][1], (5, 4), (3.5, 3), (2, 2), (1.2, 1)), under(w["urine"], (200, 4), (500, 3))),
    }  # fmt: skip


def lods(w: dict[str, Any]) -> int:
    assisted = lowest_of(w["pf"][1], w["pf"][2])
    urine, bun, creatinine = w["urine"], w["bun"][1], w["creatinine"][1]
    kidneys = 0
    if None not in (urine, bun, creatinine):
        kidneys = max(
            under(urine, (500, 5), (750, 3)), over(urine, (10_000, 3)),
            over(bun, (56, 5), (28, 3), (17, 1)), over(creatinine, (1.6, 3), (1.2, 1)),
        )  # fmt: skip
    heart = max(
        under(w["heart_rate"][0], (30, 5)), over(w["heart_rate"][1], (140, 1)),
        under(w["sbp"][0], (40, 5), (70, 3), (90, 1)), over(w["sbp"][1], (270, 3), (240, 1)),
    )  # fmt: skip
    blood = max(under(w["wbc"][0], (1, 3), (2.5, 1)), over(w["wbc"][1], (50, 1)), under(w["platelets"][0], (50, 1)))
    pt = w["prothrombin_time"]
    liver = max(over(w["bilirubin"][1], (2, 1)), beyond(pt[1], (15, 1)), under(pt[0], (3, 1)))
    lungs = 0 if assisted is None else 3 if assisted < 150 else 1
    return under(w["gcs"], (6, 5), (9, 3), (14, 1)) + heart + kidneys + lungs + blood + liver


def saps2(w: dict[str, Any], stay: Charted) -> int:
    assisted = lowest_of(w["pf"][1], w["pf"][2])
    chronic = {"aids": 17, "haematologic_malignancy": 10, "metastatic_cancer": 9}
    admission = {"elective_surgery": 0, "medical": 6, "emergency_surgery": 8}
    return sum(
        (
            under(stay.age, (40, 0), (60, 7), (70, 12), (75, 15), (80, 16), (999, 18)),
            max(under(w["heart_rate"][0], (40, 11), (70, 2)), over(w["heart_rate"][1], (160, 7), (120, 4))),
            max(under(w["sbp"][0], (70, 13), (100, 5)), over(w["sbp"][1], (200, 2))),
            over(w["temperature"][1], (39, 3)),
            0 if assisted is None else under(assisted, (100, 11), (200, 9), (1e9, 6)),
            under(w["urine"], (500, 11), (1000, 4)),
            over(w["bun"][1], (84, 10), (28, 6)),
            max(under(w["wbc"][0], (1, 12)), over(w["wbc"][1], (20, 3))),
            max(under(w["potassium"][0], (3, 3)), over(w["potassium"][1], (5, 3))),
            max(under(w["sodium"][0], (125, 5)), over(w["sodium"][1], (145, 1))),
            under(w["bicarbonate"][0], (15, 6), (20, 3)),
            over(w["bilirubin"][1], (6, 9), (4, 4)),
            under(w["gcs"], (6, 26), (9, 13), (11, 7), (14, 5)),
            max([chronic[name] for name in stay.chronic], default=0),
            0 if stay.admission is None else admission[stay.admission],
        )
    )


def oasis(w: dict[str, Any], stay: Charted) -> int:
    hottest, coldest = w["temperature"][1], w["temperature"][0]
    temperature = [0]
    if hottest is not None and coldest is not None:
        temperature += [6] * (hottest > 39.88) + [2] * (36.89 <= hottest <= 39.88) + [3] * (coldest < 33.22)
        temperature += [4] * any(33.22 <= t <= 35.93 for t in (hottest, coldest)) + [2] * (35.93 < coldest <= 36.39)
    # Null beside the lower bands of urine, whose edges belong to them
    urine = w["urine"]
    made = 0 if urine is None else 10 if urine < 671.09 else 5 if urine <= 1426.99 else 1 if urine <= 2544.14 else 0
    return sum(
        (
            under(stay.pre_icu * 60, (10.2, 5), (297, 3), (1440, 0), (18708, 2), (1e9, 1)),
            under(stay.age, (24, 0), (54, 3), (78, 6), (90, 9), (999, 7)),
            under(w["gcs"], (8, 10), (14, 4), (15, 3)),
            max(under(w["heart_rate"][0], (33, 4)), beyond(w["heart_rate"][1], (125, 6), (106, 3), (88, 1))),
            max(under(w["map"][0], (20.65, 4), (51, 3), (61.33, 2)), beyond(w["map"][1], (143.44, 3))),
            max(
                under(w["respiratory_rate"][0], (6, 10), (13, 1)),
                beyond(w["respiratory_rate"][1], (44, 9), (30, 6), (22, 1)),
            ),
            max(temperature),
            8 if beyond(urine, (6896.8, 1)) else made,
            9 if w["ventilated"] == 2 else 0,
            0 if stay.admission in (None, "elective_surgery") else 6,
        )
    )


def sirs(w: dict[str, Any]) -> int:
    return (
        max(under(w["temperature"][0], (36, 1)), beyond(w["temperature"][1], (38, 1)))
        + beyond(w["heart_rate"][1], (90, 1))
        + max(beyond(w["respiratory_rate"][1], (20, 1)), under(w["paco2"][0], (32, 1)))
        + max(under(w["wbc"][0], (4, 1)), beyond(w["wbc"][1], (12, 1)), beyond(w["bands"][1], (10, 1)))
    )


def first_day(stay: Charted, end: float = 24) -> dict[str, int]:
    """The five scores of a stay."""
    day, without_before = worst(stay, -6, end), worst(stay, 0, end)
    return {
        "sofa": sum(sofa(day).values()),
        "lods": lods(day),
        "saps2": saps2(without_before, stay),
        "oasis": oasis(day, stay),
        "sirs": sirs(day),
    }
