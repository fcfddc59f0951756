"""What is done about it: oxygen and ventilation, sedation, vasoactive drugs, and what the kidneys make of it. Ours.

Treatment follows the body and does not change it: pressures are those under treatment. Cultures, antibiotics and diagnoses
follow the condition, never the outcome.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.data.synthetic.people import CHRONIC, UNITS, Floats, Ints, Visits
from icu_lightning.data.synthetic.physiology import DBP, SBP, SPO2, Body
from icu_lightning.data.synthetic.settings import GeneratorSettings
from icu_lightning.data.synthetic.streams import Streams
from icu_lightning.data.synthetic.variables import CONDITIONS, OTHER

DRUGS = ("norepinephrine", "vasopressin", "epinephrine", "dopamine", "dobutamine", "milrinone", "phenylephrine")
TARGET = 61.0  # mmHg of mean pressure below which a vasopressor is started
STEP = {"vasopressin": 0.6, "dopamine": 1.0, "dobutamine": 0.5, "milrinone": 0.125}  # of the pump; 0.02 for the others
MOST = {
    "norepinephrine": 1.2,
    "vasopressin": 2.4,
    "epinephrine": 0.6,
    "dopamine": 20.0,
    "dobutamine": 12.0,
    "phenylephrine": 4.0,
}

ICD9 = {
    "sepsis": ("99592", "0389"),
    "aki": ("5849",),
    "heart_failure": ("4280", "42823"),
    "respiratory": ("51881",),
    "multi_organ": ("99592", "5849", "51881"),
}
ICD9_OF_CHRONIC = {"aids": "042", "haematologic_malignancy": "20280", "metastatic_cancer": "1985"}
ICD9_OF_ANYBODY = ("4019", "25000", "2724", "42731", "41401", "496")
ANTIBIOTICS = ("Vancomycin", "Piperacillin-Tazobactam", "CefePIME", "Meropenem", "Levofloxacin")
PROPHYLAXIS = "CefazoLIN"


@dataclass(frozen=True)
class Care:
    """Hour by hour, (B, T): map, fio2, pao2, ventilation (0 none, 2 invasive), gcs_eyes, gcs_verbal, gcs_motor, urine (mL an hour).

    rates: (B, T, D) of DRUGS in ug/kg/min, vasopressin in U/h.
    """

    hourly: dict[str, Floats]
    rates: Floats


def care_of(settings: GeneratorSettings, seed: object, visits: Visits, body: Body) -> Care:
    streams = Streams(seed, visits.patient, visits.visit)
    z = streams.normal("treatment", settings.hours + 8)
    own, noise = z[:, :8], z[:, 8:]
    sbp, dbp = body.series[..., SBP], body.series[..., DBP]
    mean = ((sbp + 2 * dbp) / 3).astype(np.float32)
    pf = body.other[..., OTHER.index("oxygenation")]
    ventilation = _ventilated(pf + 25 * own[:, :1], body.strength, visits)
    room_air = np.clip((97 - body.series[..., SPO2]) * 0.012 + 0.21, 0.21, 1)
    fio2 = np.where(ventilation > 0, np.clip(95 / pf, 0.4, 1.0), np.clip(80 / pf, room_air, 0.7))
    fio2 = (np.round(fio2 * 20) / 20).clip(0.21, 1.0)
    hourly: dict[str, Any] = {
        "map": mean,
        "ventilation": ventilation,
        "fio2": fio2,
        "pao2": np.clip(pf * fio2, 40, 450),
        **_coma_scale(body, ventilation, own),
        "urine": _urine(body, visits, own, noise),
    }
    return Care({name: value.astype(np.float32) for name, value in hourly.items()}, _rates(body, visits, mean, own))


def _ventilated(oxygenation: Floats, strength: Floats, visits: Visits) -> Floats:
    """(B, T) 2 from the first hour of need until 12 hours without; surgical patients come from the theatre with a tube."""
    need = (oxygenation < 175) | (strength > 2.6)
    after_surgery = np.isin(visits.unit, [UNITS.index("surgical"), UNITS.index("trauma")]) & ~visits.elective
    left = np.where(after_surgery, 6, 0)
    on = np.zeros(need.shape, dtype=np.float32)
    for t in range(need.shape[1]):
        left = np.where(need[:, t], 12, np.maximum(left - 1, 0))
        on[:, t] = 2.0 * (left > 0)
    return on


def _coma_scale(body: Body, ventilation: Floats, own: Floats) -> dict[str, Floats]:
    """Eyes, speech, movement; through a tube nobody speaks."""
    depth = 1.1 * np.maximum(body.strength - 0.9 + 0.5 * own[:, 1:2], 0) + 0.8 * (ventilation > 0)
    return {
        "gcs_eyes": np.clip(np.round(4 - 0.8 * depth), 1, 4),
        "gcs_verbal": np.where(ventilation > 0, 1, np.clip(np.round(5 - 1.1 * depth), 1, 5)),
        "gcs_motor": np.clip(np.round(6 - 0.9 * depth), 1, 6),
    }


def _urine(body: Body, visits: Visits, own: Floats, noise: Floats) -> Floats:
    """mL an hour: a mL a kg and hour, less with severity, least in kidney failure."""
    kidney = np.isin(visits.condition, [CONDITIONS.index("aki"), CONDITIONS.index("multi_organ")])
    less = np.exp(-np.where(kidney, 0.75, 0.22)[:, None] * body.strength)
    made = visits.weight[:, None] * less * np.exp(0.35 * own[:, 2:3] + 0.35 * noise)
    return np.clip(np.round(made / 5) * 5, 0, 600)


def _rates(body: Body, visits: Visits, mean: Floats, own: Floats) -> Floats:
    """(B, T, D) of DRUGS: a vasopressor against the want of pressure, others beside it when it is not enough."""
    want = np.maximum(TARGET + 2 * own[:, 3:4] - _recent(mean), 0)
    first = 0.012 * want * np.maximum(body.strength, 0.5)
    kind = own[:, 4]  # who gets dopamine or phenylephrine instead
    dopamine, phenyl = (kind < -1.5)[:, None], (kind > 1.5)[:, None]
    weak_heart = (visits.condition == CONDITIONS.index("heart_failure"))[:, None] & (body.strength > 1.2)
    rates = {
        "norepinephrine": np.where(dopamine | phenyl, 0, first),
        "vasopressin": np.where(first > 0.22, 2.4, 0),
        "epinephrine": np.where(first > 0.35, 0.4 * first, 0),
        "dopamine": np.where(dopamine, 45 * first, 0),
        "dobutamine": np.where(weak_heart & (own[:, 5:6] > 0.4), 2.5 * body.strength, 0),
        "milrinone": np.where(weak_heart & (own[:, 5:6] < -1.0), 0.375, 0),
        "phenylephrine": np.where(phenyl, 8 * first, 0),
    }
    steps = [STEP.get(name, 0.02) for name in DRUGS]
    stacked = np.stack([np.minimum(rates[name], MOST.get(name, np.inf)) for name in DRUGS], axis=-1)
    return (np.round(stacked / steps) * steps).astype(np.float32)


def _recent(values: Floats) -> Floats:
    """(B, T) mean of this and the two hours before."""
    padded = np.concatenate([values[:, :1], values[:, :1], values], axis=1)
    return (padded[:, 2:] + padded[:, 1:-1] + padded[:, :-2]) / 3


def infusions(visits: Visits, rates: Floats, first_minute: Ints) -> pl.DataFrame:
    """Times during which a drug ran at one rate: row (of visits), drug, start, end (minutes from admission), rate.

    Arguments:
        rates: (B, T, D). first_minute: (B,) minutes after admission at which the pumps' hours begin.
    """
    b, t, d = rates.shape
    by_drug = np.moveaxis(rates, 2, 1).reshape(b * d, t)
    edge = np.pad(by_drug, ((0, 0), (1, 1)))
    begins = (edge[:, 1:-1] != edge[:, :-2]) & (by_drug > 0)
    ends = (edge[:, 1:-1] != edge[:, 2:]) & (by_drug > 0)
    line, start = begins.nonzero()
    _, last = ends.nonzero()  # in the same order: each run of equal rates has one of both
    row = line // d
    begin = first_minute[row] + 60 * start
    end = np.minimum(first_minute[row] + 60 * (last + 1), visits.length[row])
    frame = pl.DataFrame(
        {
            "row": row,
            "drug": np.array(DRUGS)[line % d],
            "start": begin,
            "end": end,
            "rate": by_drug[line, start].astype(np.float64).round(3),
        }
    )
    return frame.filter(pl.col("end") > pl.col("start"))


def coded(seed: object, visits: Visits) -> pl.DataFrame:
    """Cultures, antibiotics and diagnoses: row, kind, minute (from admission to the unit; null for diagnoses), text."""
    u = Streams(seed, visits.patient, visits.visit).uniform("coded", 12)
    infected = np.isin(visits.condition, [CONDITIONS.index("sepsis"), CONDITIONS.index("multi_organ")])
    rows = np.arange(len(visits))
    cultured = infected | (u[:, 0] < 0.15)
    treated = (infected & (u[:, 1] < 0.97)) | (cultured & (u[:, 1] < 0.3))
    taken = (-240 + 720 * u[:, 2]).astype(np.int64)
    given = taken + (30 + 300 * u[:, 3]).astype(np.int64)
    drug = np.array(ANTIBIOTICS)[(u[:, 4] * len(ANTIBIOTICS)).astype(int)]
    prophylaxis = np.isin(visits.unit, [UNITS.index("surgical"), UNITS.index("trauma")]) & ~treated & (u[:, 5] < 0.7)
    parts = [
        _rows(rows[cultured], "culture", taken[cultured], "BLOOD CULTURE"),
        _rows(rows[treated], "antibiotic", given[treated], drug[treated]),
        _rows(rows[prophylaxis], "antibiotic", np.full(int(prophylaxis.sum()), -60), PROPHYLAXIS),
    ]
    for condition, codes in ICD9.items():
        has = (visits.condition == CONDITIONS.index(condition)) & (u[:, 6] < 0.92)
        parts += [_rows(rows[has], "diagnosis", None, code) for code in codes]
    for kind, code in ICD9_OF_CHRONIC.items():
        parts.append(_rows(rows[visits.chronic == list(CHRONIC).index(kind)], "diagnosis", None, code))
    other = np.array(ICD9_OF_ANYBODY)[(u[:, 7] * len(ICD9_OF_ANYBODY)).astype(int)]
    parts.append(_rows(rows, "diagnosis", None, other))
    return pl.concat(parts).sort("row", "kind", "minute", "text")


def _rows(rows: NDArray[np.int64], kind: str, minute: Ints | None, text: str | NDArray[np.str_]) -> pl.DataFrame:
    when = pl.Series("minute", minute, dtype=pl.Int64) if minute is not None else pl.lit(None, pl.Int64).alias("minute")
    said = pl.Series("text", text) if not isinstance(text, str) else pl.lit(text).alias("text")
    return pl.DataFrame({"row": rows}).select("row", pl.lit(kind).alias("kind"), when, said.cast(pl.String))
