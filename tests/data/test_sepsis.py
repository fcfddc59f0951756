"""Sepsis-3: the windows of suspicion with their edges, SOFA near it, the earliest one, and nothing that was known later."""

import csv
import gzip
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl
import pytest

from icu_lightning.data.cohort import select_cohort
from icu_lightning.data.concepts import all_concepts
from icu_lightning.data.derived import DERIVED
from icu_lightning.data.sepsis import definition, sepsis3, sepsis_onset, suspicion
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.data.sources.physionet2012 import PhysioNet2012
from icu_lightning.data.worst import hourly_sofa
from icu_lightning.errors import UserError
from tests.data.in_memory import Event, InMemory, stays


def at(*rows: tuple[float, float], stay: int = 1) -> pl.DataFrame:
    """(hours, 1 for a time or 2 for a date) of one stay."""
    frame = pl.DataFrame(rows, schema={"hours": pl.Float64, "value": pl.Float64}, orient="row")
    return frame.select(stay_id=pl.lit(stay, pl.Int64), hours="hours", value="value")


def suspected(cultures: Sequence[tuple], antibiotics: Sequence[tuple]) -> list[float]:
    return suspicion(at(*cultures), at(*antibiotics))["hours"].to_list()


@pytest.mark.parametrize(
    ("culture", "antibiotic", "when"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 72.0, 0.0),
        (0.1, 72.1, 0.1),
        (0.0, 72.01, None),
        (24.0, 0.0, 0.0),
        (24.01, 0.0, None),
        (-30.0, 10.0, -30.0),
    ],
)
def test_culture_then_antibiotic_within_72_hours_or_antibiotic_then_culture_within_24(culture, antibiotic, when):
    assert suspected([(culture, 1)], [(antibiotic, 1)]) == ([] if when is None else [when])


# Admission is at 10:00, so midnights are -10, 14, 38, 62, 86, ...
@pytest.mark.parametrize(
    ("culture", "antibiotic", "days"),
    [
        ((-10, 2), (-10, 1), 0),
        ((-10, 2), (13.9, 1), 0),
        ((-10, 2), (85.9, 1), 3),
        ((-10, 2), (86.0, 1), None),
        ((38, 2), (14.0, 1), -1),
        ((38, 2), (13.9, 1), None),
        ((5.0, 1), (-10, 2), 0),
        ((5.0, 1), (62, 2), 3),
        ((5.0, 1), (86, 2), None),
        ((20.0, 1), (-10, 2), -1),
        ((38.0, 1), (-10, 2), None),
        ((-10, 2), (62, 2), 3),
        ((-10, 2), (86, 2), None),
        ((14, 2), (-10, 2), -1),
        ((38, 2), (-10, 2), None),
    ],
)
def test_dates_are_three_days_and_one_day_apart(culture, antibiotic, days):
    """Against the calendar: the day of the antibiotic minus that of the culture."""
    admitted = datetime(2100, 1, 1, 10)
    day = [(admitted + timedelta(hours=hours)).date() for hours, _ in (culture, antibiotic)]
    apart = (day[1] - day[0]).days
    assert (apart if -1 <= apart <= 3 else None) == days
    assert suspected([culture], [antibiotic]) == ([] if days is None else [min(culture[0], antibiotic[0])])


def test_every_suspicion_is_there_once_and_stays_are_kept_apart():
    cultures = pl.concat([at((0.0, 1), (0.0, 1), (10.0, 1)), at((0.0, 1), stay=2)])
    antibiotics = pl.concat([at((5.0, 1), (20.0, 1)), at((99.0, 1), stay=2), at((0.0, 1), stay=3)])
    assert suspicion(cultures, antibiotics).rows() == [(1, 0.0), (1, 5.0), (1, 10.0)]
    assert suspicion(cultures.reverse(), antibiotics.reverse()).equals(suspicion(cultures, antibiotics))


@pytest.mark.parametrize(("hour", "found"), [(1, False), (2, True), (50, True), (74, True), (75, False)])
def test_sofa_counts_from_48_hours_before_to_24_hours_after(hour, found):
    near = pl.DataFrame({"stay_id": [1], "hours": [50.0]})
    assert sepsis3(near, pl.DataFrame({"stay_id": [1], "hour": [hour]})).height == found


def test_the_earliest_suspicion_that_fits_is_the_onset():
    near = pl.DataFrame({"stay_id": [1, 1, 1, 2], "hours": [60.0, -40.0, 30.0, 30.0]})
    ill = pl.DataFrame({"stay_id": [1, 1], "hour": [20, 40]})
    assert sepsis3(near, ill).rows() == [(1, 30.0)]


def infected(*more: Event, culture: float = 1.0, antibiotic: float = 2.0) -> list[Event]:
    return [(1, culture, "culture", 1.0), (1, antibiotic, "antibiotic", 1.0), *more]


def onset(events: list[Event], hours: int = 48, **columns) -> list[float]:
    return sepsis_onset(InMemory(events), stays(1, **columns), hours)["sepsis_onset_hours"].to_list()


def test_the_baseline_of_sofa_is_zero_and_two_points_are_dysfunction():
    assert onset(infected((1, 5.0, "creatinine", 2.0))) == [1.0]
    assert onset(infected((1, 5.0, "creatinine", 1.9))) == []
    assert onset(infected((1, 5.0, "creatinine", 1.9), (1, 6.0, "map", 60.0))) == [1.0], "points of two organs"
    assert onset([(1, 5.0, "creatinine", 2.0), (1, 1.0, "culture", 1.0)]) == [], "nobody treats an infection"


def test_only_hours_in_the_unit_count():
    assert onset(infected((1, 5.5, "creatinine", 2.0)), los_hours=5.0) == []
    assert onset(infected((1, 5.5, "creatinine", 2.0)), los_hours=5.6) == [1.0]
    # Before admission a value is in the first hour's look-back, but the first hour in the unit is the first that counts
    early = infected((1, -3.0, "creatinine", 2.0), culture=-30.0, antibiotic=-29.0)
    assert onset(early) == []
    assert onset(infected((1, -3.0, "creatinine", 2.0), culture=-23.0, antibiotic=-20.0)) == [-23.0]


def test_nothing_at_or_after_the_prediction_time_is_known():
    """Neither a culture, nor an antibiotic, nor SOFA, nor a date whose day is not over."""
    ill: Event = (1, 5.0, "creatinine", 2.0)
    assert onset(infected(ill, antibiotic=23.9), hours=24) == [1.0]
    assert onset(infected(ill, antibiotic=24.0), hours=24) == []
    assert onset(infected(ill, culture=24.0, antibiotic=1.0), hours=24) == []
    assert onset(infected((1, 24.0, "creatinine", 2.0)), hours=24) == []
    assert onset(infected((1, 24.0, "creatinine", 2.0)), hours=25) == [1.0]
    dated = [ill, (1, -10.0, "culture", 2.0), (1, 14.0, "antibiotic", 2.0)]
    assert onset(dated, hours=24) == [], "the antibiotic may have been given at any time until hour 38"
    assert onset(dated, hours=38) == [-10.0]


def test_an_early_sofa_decides_for_late_suspicions_too():
    """SOFA looks back 24 hours: a value of hour 5 holds until the end of hour 29, 48 hours before a suspicion at hour 77."""
    ill: Event = (1, 5.0, "creatinine", 2.0)
    assert onset(infected(ill, culture=77.0, antibiotic=78.0), hours=96, los_hours=100.0) == [77.0]
    assert onset(infected(ill, culture=78.0, antibiotic=79.0), hours=96, los_hours=100.0) == []


def test_what_every_database_calls_sepsis():
    said = {
        "mimic3": "Sepsis-3",
        "mimic4": "Sepsis-3",
        "eicu": "written diagnosis, not Sepsis-3",
        "physionet2012": None,
    }
    assert {name: definition(InMemory(name=name)) for name in said} == said


def test_a_written_diagnosis_is_dated_by_the_first_one_before_the_prediction_time():
    rows: list[Event] = [
        (1, 9.0, "sepsis_diagnosis", 1.0),
        (1, 3.0, "sepsis_diagnosis", 1.0),
        (2, 24.0, "sepsis_diagnosis", 1.0),
    ]
    assert sepsis_onset(InMemory(rows, name="eicu"), stays(1, 2), 24).rows() == [(1, 3.0)]


@pytest.mark.parametrize(("name", "label"), [("mimic4", "Sepsis-3"), ("eicu", "written diagnosis, not Sepsis-3")])
def test_the_attrition_table_names_the_definition(name, label):
    rows = [*infected((1, 5.0, "creatinine", 2.0)), (1, 1.0, "sepsis_diagnosis", 1.0)]
    source = InMemory(rows, name=name)
    people = stays(1, 2)
    kept, table = select_cohort(
        people, [{"sepsis_onset_within": 24}], "died_in_hospital", lambda c, s: DERIVED[c](source, s, 48)
    )
    assert kept["stay_id"].to_list() == [1]
    assert table["filter"][-1] == f"sepsis_onset_within 24 ({label})"


def test_a_database_that_cannot_tell_is_refused(real_root):
    source = PhysioNet2012(real_root)
    with pytest.raises(UserError, match=r"data=physionet2012 has neither .* leave 'sepsis_onset_within' out"):
        sepsis_onset(source, stays(1), 24)


def rows_of(source, name):
    with gzip.open(source.tables.files[name], "rt", newline="", encoding="utf-8", errors="replace") as file:
        yield from ({key.lower(): value for key, value in row.items()} for row in csv.DictReader(file))


DRUGS = (  # the names of the demos
    "amikacin", "amoxicillin", "ampicillin", "azithromycin", "aztreonam", "cefazolin", "cefepime", "cefpodoxime",
    "ceftazidime", "ceftriaxone", "cephalexin", "ciprofloxacin", "clarithromycin", "clindamycin", "daptomycin",
    "dicloxacillin", "doxycycline", "ertapenem", "erythromycin", "gentamicin", "isoniazid", "levofloxacin", "linezolid",
    "meropenem", "metronidazole", "moxifloxacin", "nafcillin", "nitrofurantoin", "penicillin", "piperacillin",
    "pyrazinamide", "rifampin", "sulfameth", "tigecycline", "tobramycin", "trimethoprim", "unasyn", "vancomycin",
)  # fmt: skip
LOCAL = ("ophth", "enema", "cream", "ointment")


def is_antibiotic(row) -> bool:
    drug, route = row["drug"].lower(), row["route"].lower()
    local = any(word in drug for word in LOCAL) or row["route"] in ("OU", "OS", "OD", "AU", "AS", "AD", "TP")
    bodily = not (local or "ear" in route or "eye" in route)
    return bodily and row["drug_type"] != "BASE" and any(name in drug for name in DRUGS)


def known_by(found: list[tuple[str, bool]], then: datetime) -> list[tuple[datetime, bool]]:
    """Those with a time before `then`, and those with a date whose day is over by then."""
    times = [(datetime.fromisoformat(text), dated) for text, dated in found if text]
    return [(t, dated) for t, dated in times if (t + timedelta(days=1) <= then if dated else t < then)]


@pytest.mark.parametrize("make", [MIMIC3, MIMIC4])
def test_onsets_of_the_demos_are_those_of_plain_loops_over_the_raw_rows(make, real_root):
    """Needs microbiologyevents, prescriptions, icustays, and what SOFA needs, of the demo."""
    source, hours = make(real_root), 48
    hospital, stay_id = ("", "icustay_id") if make is MIMIC3 else ("hosp/", "stay_id")
    unit = list(rows_of(source, "icustays" if make is MIMIC3 else "icu/icustays"))
    cultures, drugs = defaultdict(list), defaultdict(list)
    for row in rows_of(source, f"{hospital}microbiologyevents"):
        cultures[row["subject_id"]].append((row["charttime"] or row["chartdate"], not row["charttime"]))
    for row in rows_of(source, f"{hospital}prescriptions"):
        if is_antibiotic(row):
            drugs[row["hadm_id"]].append((row["starttime"], False) if make is MIMIC4 else (row["startdate"], True))
    people = source.collect(source.stays())
    ill = defaultdict(list)
    for stay, hour, sofa in hourly_sofa(source, people, hours).rows():
        if sofa is not None and sofa >= 2:
            ill[stay].append(hour)
    slow = {}
    for row in unit:
        intime = datetime.fromisoformat(row["intime"])
        known = [
            known_by(found, intime + timedelta(hours=hours))
            for found in (cultures[row["subject_id"]], drugs[row["hadm_id"]])
        ]
        times = []
        for culture, culture_day in known[0]:
            for drug, drug_day in known[1]:
                if culture_day or drug_day:
                    close = -1 <= (drug.date() - culture.date()).days <= 3
                else:
                    close = timedelta(hours=-24) <= drug - culture <= timedelta(hours=72)
                when = (min(culture, drug) - intime).total_seconds() / 3600
                if close and any(when - 48 <= hour <= when + 24 for hour in ill[int(row[stay_id])]):
                    times.append(when)
        if times:
            slow[int(row[stay_id])] = pytest.approx(min(times))
    assert dict(sepsis_onset(source, people, hours).rows()) == slow
    assert len(slow) > 60


def test_written_diagnoses_of_the_eicu_demo(real_eicu):
    """Needs diagnosis and admissionDx."""
    source = EICU(real_eicu)
    first = {}
    for name, text, offset in (
        ("diagnosis", "diagnosisstring", "diagnosisoffset"),
        ("admissiondx", "admitdxpath", "admitdxenteredoffset"),
    ):
        for row in rows_of(source, name):
            said = row[text].lower()
            wrong = "septic arthritis" in said or "signs and symptoms" in said
            if ("sepsis" in said or "septic shock" in said) and not wrong and float(row[offset]) < 24 * 60:
                stay, when = int(row["patientunitstayid"]), float(row[offset]) / 60
                first[stay] = min(when, first.get(stay, when))
    fast = dict(sepsis_onset(source, source.collect(source.stays()), 24).rows())
    assert len(first) > 300
    assert fast == pytest.approx(first)


@pytest.mark.parametrize(
    ("drug", "counts"),
    [
        ("Vancomycin", True),
        ("*NF* Ertapenem Sodium", True),
        ("Sulfameth/Trimethoprim DS", True),
        ("Septra DS", True),
        ("Keflex", True),
        ("Vancomycin Enema", False),
        ("Ciprofloxacin 0.3% Ophth Soln", False),
        ("MetRONIDAZOLE Gel 0.75%-Vaginal", False),
        ("Mupirocin Ointment 2%", False),
        ("Penicillin G Desensitization", False),
        ("Vancomycin-Heparin Lock", False),
        ("Fluconazole", False),
        ("Acyclovir", False),
        ("SulfaSALAzine_", False),
        ("Rifaximin", False),
        ("Heparin", False),
    ],
)
def test_which_drugs_are_systemic_antibiotics(drug, counts):
    (place,) = all_concepts()["antibiotic"].charted["mimic4"]
    code = next((code for pattern, code in place.says if pl.Series([drug]).str.contains(pattern).item()), None)
    assert (code == 1) == counts
