"""Names of the code in words of the ward. What is unknown here is said by its own name, so that nothing is left out."""

from icu_lightning.data.concepts import Concept

DATABASES = {
    "eicu": "eICU Collaborative Research Database",
    "mimic3": "MIMIC-III",
    "mimic4": "MIMIC-IV",
    "physionet2012": "PhysioNet Challenge 2012",
    "synthetic": "Synthetic ICU",
}
FILTERS = {
    "all stays": "All stays of the database",
    "readable_ids": "stay and patient have an id",
    "age_known": "age known",
    "age_at_least": "age at least {} years",
    "age_at_most": "age at most {} years",
    "stay_at_least": "at least {}\u00a0h in the unit",
    "outcome_known": "outcome known ({})",
    "in_icu_at_prediction": "alive and in the unit at {}\u00a0h",
    "first_stay": "first stay of the patient",
    "sepsis_onset_within": "onset of sepsis by hour {}",
    "vasoactive_within": "a vasoactive drug by hour {}",
    "hospital_charts_infusions": "in a hospital that charts infusions",
}
UNITS = {"degC": "°C", "10^3/uL": "10³/µL", "ug/L": "µg/L"}  # as printed, where concepts.yaml keeps to plain letters
OUTCOMES = {  # label, survivors, the dead
    "died_in_hospital": ("death in hospital", "Left hospital alive", "Died in hospital"),
    "died_in_icu": ("death in the unit", "Left the unit alive", "Died in the unit"),
}
STATUSES = {
    "kept": "values used as charted",
    "converted": "values converted from another unit of charting",
    "repaired": "values charted in one unit but plausible only in another, and read as that",
    "out_of_range": "values dropped: physiologically implausible",
    "non_numeric": "entries dropped: no number",
    "no_time": "values dropped: the time of charting is missing or unreadable",
    "no_stay": "values dropped: the stay is missing or unreadable",
    "entered_in_error": "values dropped: marked as an error by the database",
    "outside_window": "values not used: charted before admission or after the window",
    "outside_stay": "values not used: charted after the unit was left",
    "revised_later": "values not used: charted in the window but given their present value after it",
    "stored_later": "values not used: charted in the window but there to be read only after it",
    "used_before_stored": "values used, though there to be read only after the window",
    "assumed_weight": "rates converted with a usual weight, because none was charted",
    "unknown_unit": "infusions that ran at an unknown rate: no readable unit",
    "not_a_rate": "infusions not used: a bolus, not a rate",
    "derived": "hours filled from other variables of the same hour",
    "outlier_replaced": "hours that were outliers and took the nearest value in time of the same stay",
    "outlier_removed": "hours that were outliers and had no other value to take",
    "cells": "hours with a value in the end, over all stays",
}


def filter_words(name: str) -> str:
    """A row of the attrition table, as `cohort.named_filter` names it.

    >>> filter_words("age_at_least 16"), filter_words("outcome_known died_in_icu"), filter_words("my_own_filter 3")
    ('age at least 16 years', 'outcome known (death in the unit)', 'my own filter 3')
    >>> filter_words("sepsis_onset_within 24 (Sepsis-3)")
    'onset of sepsis by hour 24 (Sepsis-3)'
    """
    if name in FILTERS:
        return FILTERS[name]
    step, _, argument = name.partition(" ")
    if step in FILTERS and "{}" in FILTERS[step]:
        return FILTERS[step].format(OUTCOMES[argument][0] if argument in OUTCOMES else argument)
    return plain(name)


def named(concept: Concept) -> str:
    """A variable with its unit, as it is printed: the heading of its row or figure.

    >>> from icu_lightning.data.concepts import concepts_of
    >>> [named(concept) for concept in concepts_of(["temperature", "ph", "platelets"])]
    ['Temperature, °C', 'pH, arterial', 'Platelets, 10³/µL']
    """
    unit = UNITS.get(concept.unit, concept.unit)
    return concept.label if unit in concept.label.split(", ") else f"{concept.label}, {unit}"


def plain(name: str) -> str:
    """A name of the code without its underscores."""
    return name.replace("_", " ")


def decimals(size: float) -> int:
    """How many decimals a number of this size is shown with: about three significant digits.

    >>> decimals(140.2), decimals(36.9), decimals(7.38)
    (0, 1, 2)
    """
    return 0 if abs(size) >= 100 else 1 if abs(size) >= 10 else 2


def number(value: float, digits: int) -> str:
    """With a thousands separator and a true minus sign; never a negative zero."""
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def percent(part: float, whole: float) -> str:
    """With a blank that does not break a line; a dash of nobody.

    >>> percent(1, 3) == "33.3\\u00a0%", percent(0, 0)
    (True, '–')
    """
    return f"{100 * part / whole:.1f}\u00a0%" if whole else "–"
