"""Features as a clinician reads them, with their units."""

from icu_lightning.data.concepts import all_concepts
from icu_lightning.data.drugs import all_drugs
from icu_lightning.data.severity import SCORES
from icu_lightning.description.words import UNITS, named, plain
from icu_lightning.explanation.game import DRUGS

SINGLE = {
    "age": "Age, years",
    "weight_kg": "Weight, kg",
    "vis": "Vasoactive-inotropic score",
    DRUGS: "Vasoactive drugs (score)",
    "in_icu": "Hours in the unit",
    "saps2": "SAPS II",
} | {score: score.upper() for score in SCORES if score != "saps2"}


def feature_words(feature: str) -> str:
    """The heading of a feature: its name and unit.

    >>> feature_words("lactate"), feature_words("norepinephrine"), feature_words("marital_status"), feature_words("sofa")
    ('Lactate, mmol/L', 'Norepinephrine, ug/kg/min', 'Marital status', 'SOFA')
    """
    if feature in SINGLE:
        return SINGLE[feature]
    if feature in all_concepts():
        return named(all_concepts()[feature])
    if feature in all_drugs():
        drug = all_drugs()[feature]
        return f"{drug.label}, {UNITS.get(drug.unit, drug.unit)}"
    return plain(feature).capitalize()


def short(feature: str) -> str:
    """Without the unit.

    >>> short("invasive_sbp"), short("age"), short("norepinephrine"), short("unit_type")
    ('Systolic blood pressure, arterial line', 'Age', 'Norepinephrine', 'Unit type')
    """
    known = all_concepts().get(feature) or all_drugs().get(feature)
    return known.label if known and feature not in SINGLE else feature_words(feature).split(", ")[0]
