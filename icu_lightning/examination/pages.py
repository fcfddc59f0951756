"""stays/<n>.html: one stay a page, for a clinician who wants to see what the model saw and what it said; and their index.

Every page is one file that fetches nothing. Ids are on it only where the data are open; who may be shown at all is decided before
(`icu_lightning.disclosure`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.drugs import all_drugs
from icu_lightning.description.words import DATABASES, OUTCOMES, UNITS, decimals, named, number, percent
from icu_lightning.examination.cases import KINDS, Band, Case, usual_ranges
from icu_lightning.examination.examined import Examined
from icu_lightning.examination.figures import risk_svg, series_svg
from icu_lightning.templates import rendered

FOLDER = Path(__file__).parent
OLDEST = 90  # years from which ages are not told apart, as the databases themselves do not


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A series as it is drawn. svg: "" where there is nothing to draw. note: how much of it there is."""

    title: str
    svg: str
    note: str


def pages(it: Examined, cases: Sequence[Case], about: Mapping[str, Any], *, ids: bool) -> dict[str, str]:
    """File name -> content: index.html and 1.html, 2.html, ...

    Arguments:
        about: what is said on every page: `model`, the threshold's `rule`, `made`.
        ids: stay and patient ids may be shown.
    """
    outcome = it.data.settings.outcome
    label, lived, died = OUTCOMES.get(outcome, (outcome.replace("_", " "), "Survived", "Died"))
    source = it.data.source
    shared = {
        **about,
        "database": DATABASES.get(source.name, source.name),
        "synthetic": source.synthetic,
        "hours": it.hours,
        "outcome": label,
        "average": percent(float(it.test["risk"].mean() or 0.0), 1),  # type: ignore[arg-type]
        "kinds": [words for _, words in KINDS.values()],
        "entries": [entry(n, case, lived, died) for n, case in enumerate(cases, 1)],
    }
    usual = usual_ranges(it) if cases else None
    made = {"index.html": rendered(FOLDER, "index.html", **shared, absent=absent(cases))}
    for n, case in enumerate(cases, 1):
        series = _series(it, case, usual)
        made[f"{n}.html"] = rendered(
            FOLDER,
            "page.html",
            **shared,
            n=n,
            this=shared["entries"][n - 1],
            facts=facts(case, ids=ids),
            risk=risk_svg(_risk_words(case), case.risk, case.spread, case.prediction["threshold"]),
            spread=case.spread is not None,
            imputes=case.imputed is not None,
            series=[panel for panel in series if panel.svg],
            never=[panel.title for panel in series if not panel.svg],
            treatments=_treatments(it, case),
        )
    return made


def entry(n: int, case: Case, lived: str, died: str) -> dict[str, Any]:
    """What the index and the head of a page say of a stay."""
    flagged, is_dead = case.kind
    return {
        "n": n,
        "kind": KINDS[case.kind][1],
        "right": flagged == is_dead,
        "died": is_dead,
        "end": died if is_dead else lived,
        "flagged": flagged,
        "risk": percent(case.prediction["risk"], 1),
        "threshold": percent(case.prediction["threshold"], 1),
        "first_flagged": case.first_flagged,
        "hours_above": int((case.risk >= case.prediction["threshold"]).sum()),
    }


def absent(cases: Sequence[Case]) -> list[str]:
    """Kinds of stays of which there is none among them."""
    there = {case.kind for case in cases}
    return [words for kind, (_, words) in KINDS.items() if kind not in there]


def facts(case: Case, *, ids: bool) -> dict[str, str]:
    """Who it is, as far as it may be said; what is unknown is left out."""
    stay = case.facts
    age, death, left = stay["age"], stay["death_hours"], stay["los_hours"]
    said = {
        "Age": None if age is None else f"{OLDEST} or older" if age >= OLDEST else f"{int(age)}",
        "Sex": stay["sex"],
        "Unit": stay["unit_type"],
        "Stay in the unit": None if left is None else f"{left:.0f} h",
        "Death": None if death is None else f"about {_ago(death)} after admission to the unit",
    }
    if ids:
        said |= {"Stay": str(stay["stay_id"]), "Patient": str(stay["patient_id"]), "Hospital": stay["hospital_id"]}
    return {name: text for name, text in said.items() if text}


def _ago(hours: float) -> str:
    """The Challenge 2012 knows the day of a death only, so nobody's is told more finely.

    >>> _ago(60.2), _ago(100.0)
    ('60 h', '4 days')
    """
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def _risk_words(case: Case) -> str:
    whole = len(case.risk)
    return f"Predicted risk after each of {whole} hours: {case.risk[0]:.1%} after the first, {case.risk[-1]:.1%} after the last."


def _series(it: Examined, case: Case, usual: Any) -> list[Panel]:
    panels = []
    for v, concept in enumerate(concepts_of(it.data.settings.variables)):
        imputed = None if case.imputed is None else Band(**{k: part[:, v] for k, part in vars(case.imputed).items()})
        panels.append(_panel(named(concept), case.values[:, v], (float(usual[0, v]), float(usual[1, v])), imputed))
    return panels


def _panel(title: str, values: np.ndarray, usual: tuple[float, float] | None, imputed: Band | None) -> Panel:
    measured = values[np.isfinite(values)]
    if not measured.size and imputed is None:
        return Panel(title=title, svg="", note="")
    note = f"{measured.size} of {len(values)} hours"
    if measured.size:
        low, high = float(measured.min()), float(measured.max())
        digits = (
            decimals(high) if high >= 0.1 or high <= 0 else 1 - math.floor(math.log10(high))
        )  # a rate of 0.0006 too
        span = number(low, digits) if low == high else f"{number(low, digits)} to {number(high, digits)}"
        note += f"; {span}, last {number(float(measured[-1]), digits)}"
    return Panel(title=title, svg=series_svg(f"{title}: {note}", values, usual, imputed), note=note)


def _treatments(it: Examined, case: Case) -> list[Panel] | None:
    """Drugs that ran or may have run, and the score; None if the run read no infusions."""
    if case.treatments is None:
        return None
    drugs, panels = all_drugs(), []
    for name, rates in zip(it.data.vis_names, case.treatments.T, strict=True):
        drug = drugs.get(name)
        title = f"{drug.label}, {UNITS.get(drug.unit, drug.unit)}" if drug else "Vasoactive-inotropic score"
        if not (rates == 0).all():
            panels.append(_panel(title, rates, None, None))
    return panels
