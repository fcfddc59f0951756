"""SOFA of real stays worked by hand from the raw rows, all five scores against plain loops, and SOFA as PhysioNet published it."""

import polars as pl
import pytest

from icu_lightning.data.derived import with_weight
from icu_lightning.data.severity import sofa
from icu_lightning.data.sources.base import Source
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.data.sources.physionet2012 import PhysioNet2012
from icu_lightning.data.worst import LOOK_BACK, FirstDay, history, hourly_sofa, severity_scores
from tests.data import plain_scores as plain
from tests.data.plain_mimic4 import read
from tests.data.test_worst import slow_hourly

COMPONENTS = ("respiration", "coagulation", "liver", "cardiovascular", "cns", "renal")


@pytest.fixture(scope="module")
def mimic4(real_root) -> MIMIC4:
    """Needs icu/{icustays,chartevents,inputevents,outputevents} and hosp/{admissions,patients,labevents,services,diagnoses_icd}."""
    return MIMIC4(real_root)


@pytest.fixture(scope="module")
def by_hand(mimic4) -> dict[int, plain.Charted]:
    return read(mimic4.tables.folder)


def components(source: Source, *stays: int) -> dict[int, list[int | None]]:
    """Of each stay, the six components of its first day, and the total that runs report."""
    people = source.collect(source.stays()).filter(pl.col("stay_id").is_in(stays))
    people = with_weight(source, people, 24)
    table = FirstDay.read(source, people, 24).worst(-LOOK_BACK)
    table = table.with_columns(pf_ventilated_min="pf_invasive_min", pf_unventilated_min="pf_spontaneous_min")
    totals = dict(severity_scores(source, people, 24).select("stay_id", "sofa").rows())
    scored = sofa(table).select("stay_id", *(f"sofa_{name}" for name in COMPONENTS)).rows()
    return {stay: [*points, totals[stay]] for stay, *points in scored}


# Worked by hand from the rows of the distributed .csv.gz files. Times are hours from intime; (window -6 to 24). None: nothing
# was measured. Order: respiration, coagulation, liver, cardiovascular, central nervous system, renal; total.
MIMIC4_STAYS = {
    # 36059427, in 2123-02-20 04:13, 152 h: on a ventilator after surgery, epinephrine, little urine.
    #  respiration  device Endotracheal tube at 0.78, 4.42, 6.78, 11.02, 15.78, 19.78; mode P-CMV at 0.78
    #               FiO2 70 % at 0.78, 60 at 3.78, 50 at 6.78, 40 at 8.78, 40 at 15.78, 40 at 19.78
    #               PaO2 372 at -1.53, 333 at 0.10, 354 at 0.65: no FiO2 yet
    #               307 at 1.13 / .7 = 439; 231 at 3.02 / .7 = 330; 251 at 7.00 / .5 = 502; 158 at 10.62 / .4 = 395
    #               156 at 14.48: the last FiO2 is 5.7 h old; 139 at 19.07 / .4 (3.3 h old) = 348; 47 at 19.03 is VEN.
    #               lowest 330, invasive                                                          -> 1
    #  coagulation  platelets 148, 136, 137, 123                                                   -> 1
    #  liver        bilirubin 0.5, 0.7, 0.5                                                        -> 0
    #  circulation  epinephrine at most 0.0802 ug/kg/min (6.35 to 6.73), lowest MAP 52             -> 3
    #  cns          eyes 4, motor 6 at 4.68; eyes 3, motor 6 at 15.78; both with No Response-ETT: 15 -> 0
    #  renal        creatinine 1.2, 1.4, 1.8, 2.1, 2.4 (2 points); urine 40 + 60 + 60 + 40 + 75 + 40 + 20 + 30 + 20 = 385 mL -> 3
    36059427: [1, 1, 0, 3, 0, 3, 8],
    # 35727289, in 2155-07-10 17:49, 69 h: hardly any platelets, jaundice, breathing room air.
    #  respiration  no arterial gas                                                                -> None
    #  coagulation  platelets 9 at -4.32 (written "___", number 9), 15, 16, 13, 15; the 5 at -7.02 is before the window -> 4
    #  liver        bilirubin 3.6, 3.3, 4.6, 3.6, 3.8                                              -> 2
    #  circulation  cuff MAP 66, 66, 67, ...; no drugs                                             -> 1
    #  cns          4 + 5 + 6 five times                                                           -> 0
    #  renal        creatinine 1.0, 1.1, 1.1, 1.1, 1.0; urine 3310                                 -> 0
    35727289: [None, 4, 2, 1, 0, 0, 7],
    # 36427705, in 2184-10-08 04:09, 36 h: renal failure by creatinine, drowsy at times.
    #  respiration, liver: neither gas nor bilirubin                                               -> None, None
    #  coagulation  platelets 209 at -3.32, 191                                                    -> 0
    #  circulation  arterial MAP 64 at 20.85, cuff 66 at 2.85                                      -> 1
    #  cns          To Speech 3 + Oriented 5 + Obeys 6 at 1.85, 13.40, 13.85; else 15; lowest 14   -> 1
    #  renal        creatinine 5 at -3.32 (written "___"), 5.1 at 23.03 (4 points); urine 1197     -> 4
    36427705: [None, 0, None, 1, 1, 4, 6],
    # 38275267, in 2137-10-09 02:51, 14.7 h: deep coma, once tested without the words "No Response-ETT".
    #  respiration  mode CMV/ASSIST/AutoFlow at 0.14, 2.63; tube at 0.14; FiO2 40 % at 0.14, 2.63, 5.14, 9.14
    #               PaO2 301 at -5.97, 153 at -3.47, 82 at -1.67: no FiO2 yet; 97 at 3.38 / .4 = 242.5 -> 2
    #  coagulation  platelets 176 at -1.19                                                         -> 0
    #  liver        no bilirubin                                                                   -> None
    #  circulation  lowest MAP 78, no drugs                                                        -> 0
    #  cns          at 7.14 To Pain 2 + No Response 1 + No response 1 = 4; the nine others are ETT: 15 -> 4
    #  renal        creatinine 0.8 (the 1.2 is 8.2 h before admission); less than 22 h in the unit: no urine -> 0
    38275267: [2, 0, None, 0, 4, 0, 6],
    # 38383343, in 2137-08-17 17:37, 386 h: from nasal cannula to mask to tube within four hours, bladder irrigation.
    #  respiration  Nasal cannula 0.39, Bipap mask 1.39, 2.39; mode APV (cmv) at 3.39, Endotracheal tube from 3.49 on
    #               FiO2 40 % at 2.39, 3.39, 6.39, ...; also measured with the gas of 4.71
    #               PaO2 212 at 0.81: no FiO2 yet; 141 at 3.37 / .4 = 352.5 by mask (1 point)
    #               28 at 4.71, said to be arterial, / .4 = 70 by tube; 27 at 11.47 is VEN.           -> 4
    #  coagulation  platelets 95, 110 (98 is 11 h before admission)                                -> 2
    #  liver        bilirubin 1.2                                                                  -> 1
    #  circulation  cuff MAP 39, no drugs                                                          -> 1
    #  cns          3 + 5 + 6 twice; at 3.12 None 1 + Incomprehensible 2 + Flex-withdraws 4 = 7; then ETT -> 3
    #  renal        creatinine 1.7, 1.6; urine 3300 + 3200 + 50 + 25 + 25 + 30 - irrigant 3000 - 3000 = 630 -> 1
    38383343: [4, 2, 1, 1, 3, 1, 12],
    # 36753294, in 2141-05-22 20:18, 122 h: a little dopamine, never ventilated until a mask at 23.70.
    #  respiration  its only gas, at 5.60, is VEN.                                                 -> None
    #  coagulation  platelets 176, 185, 166, 189                                                   -> 0
    #  liver        bilirubin 0.4                                                                  -> 0
    #  circulation  dopamine 4.0, 3.0, 2.0 ug/kg/min from 4.87 to 9.45; lowest cuff MAP 47         -> 2
    #  cns          15 five times                                                                  -> 0
    #  renal        creatinine 1.4, 1.6, 1.6; urine 3510                                           -> 1
    36753294: [None, 0, 0, 2, 0, 1, 3],
    # 35514836, in 2154-01-02 15:57, 47 h: badly oxygenated without a ventilator: never more than 2 points.
    #  respiration  masks and cannulas only; FiO2 70 % at 4.88, 100 at 5.10, 6.16, 9.05, 70 at 11.63, ...
    #               PaO2 167 at -5.40, 111 at 4.35: no FiO2 yet; 105 at 10.48 / 1.0 = 105           -> 2
    #  coagulation  platelets 243                                                                  -> 0
    #  liver        no bilirubin                                                                   -> None
    #  circulation  arterial MAP 14 at 3.08 is implausible (below 15), then 61, 64, 65             -> 1
    #  cns          15 six times                                                                   -> 0
    #  renal        creatinine 0.9; urine 1079                                                     -> 0
    35514836: [2, 0, None, 1, 0, 0, 3],
    # 34100191, in 2196-02-24 17:07, 119 h: everything fails at once.
    #  respiration  FiO2 100 % (lab) at -2.23, -0.70, charted 100 at -0.12, 75 at 2.88, ...; tube and CMV/ASSIST/AutoFlow from -0.12
    #               PaO2 125 at -2.23 / 1.0 and 108 at -0.70 / 1.0 before any device: 108 unventilated (2 points)
    #               98 at 0.65 / 1.0 = 98 by tube; the lowest later one is 89 at 18.60 / .8 = 111; 38 at 0.77 is VEN. -> 4
    #  coagulation  platelets 31, 24, 20, 13, 12, 29                                               -> 4
    #  liver        bilirubin 5.4 at -4.45, 6.5 at 11.62                                           -> 3
    #  circulation  norepinephrine up to 2.41 at 14.90 to 15.12, epinephrine 0.1003 at 0.38        -> 4
    #  cns          ETT each of four times                                                         -> 0
    #  renal        creatinine 8.3, 7.9, 7.3, 7.2, 6.7                                             -> 4
    34100191: [4, 4, 3, 4, 0, 4, 19],
}  # fmt: skip


def test_sofa_of_mimic4_stays_worked_by_hand(mimic4):
    assert components(mimic4, *MIMIC4_STAYS) == MIMIC4_STAYS


def test_sofa_of_a_carevue_stay_worked_by_hand(real_root):
    """MIMIC-III 247686, in 2117-08-05 21:05:40, CareVue, 190 h. Needs CHARTEVENTS, LABEVENTS, INPUTEVENTS_CV, OUTPUTEVENTS, ...

    respiration  mode (720) Assist Control at 1.41, 6.41, ...; FiO2 (190) .5 at 1.41, 6.41, 9.91, 14.91, 17.91, 21.91
                 PaO2 61 at -1.86, 193 at 0.22: no FiO2 yet; 138 at 1.54 / .5 = 276; 117 at 6.21: the FiO2 of 1.41 is 4.8 h
                 old, that of 6.41 later; 143 at 18.27 / .5 = 286; lowest 276, invasive                    -> 2
    coagulation  platelets 141, 151, 119 (212 is 9 h before admission)                                     -> 1
    liver        bilirubin 3.4, 5.0                                                                        -> 2
    circulation  dopamine (30043) 3 mcgkgmin at 22.91, 23.41, 23.91; lowest MAP 47                         -> 2
    cns          eyes 1 or 2, motor 5 or 4, speech always "1.0 ET/Trach": 15                               -> 0
    renal        creatinine 1.0, 1.3, 1.4; urine 929 in 23 rows                                            -> 1
    """
    assert components(MIMIC3(real_root), 247686) == {247686: [2, 1, 2, 2, 0, 1, 8]}


def test_sofa_of_an_eicu_stay_worked_by_hand(real_eicu):
    """eICU 827085, 74.4 kg, 59 h. Needs lab, respiratoryCharting, infusionDrug, apacheApsVar, intakeOutput, vitals.

    respiration  Vent Rate, Tidal Volume (set), Plateau Pressure from minute 14 on: invasive
                 paO2 88 at 107 min / lab FiO2 .7 of the same minute = 126; 71 at 1179 / .4 = 178; 71 at 1427 / .35 = 203 -> 3
    coagulation  platelets 33                                                                              -> 3
    liver        bilirubin 1.1                                                                             -> 0
    circulation  norepinephrine 18.8 ml/hr x 32 ug/ml / 60 / 74.4 kg = 0.135; dopamine 16.7 x 1600 / 60 / 74.4 = 5.99 -> 4
    cns          APACHE: eyes 2, motor 5, verbal 1, but intubated                                          -> 0
    renal        creatinine 2.24 (2 points); urinary catheter 100 + 200 = 300 mL, stool and ileostomy are none -> 3
    """
    assert components(EICU(real_eicu), 827085) == {827085: [3, 3, 0, 4, 0, 3, 13]}


def test_all_five_scores_of_every_stay_of_the_demo_are_those_of_plain_loops_over_the_raw_rows(mimic4, by_hand):
    fast = {row.pop("stay_id"): row for row in severity_scores(mimic4, mimic4.collect(mimic4.stays()), 24).to_dicts()}
    assert len(fast) == 140
    slow = {i: plain.first_day(stay) for i, stay in by_hand.items()}
    assert {i: (fast[i], slow[i]) for i in fast if fast[i] != slow[i]} == {}
    assert min(len({scores[name] for scores in fast.values()}) for name in ("sofa", "lods", "saps2", "oasis")) > 10


def test_hourly_sofa_of_some_stays_is_that_of_every_trailing_day_computed_anew(mimic4, by_hand):
    some = sorted(by_hand)[::10]
    people = mimic4.collect(mimic4.stays()).filter(pl.col("stay_id").is_in(some))
    fast = hourly_sofa(mimic4, people, 48)
    for i in some:
        assert fast.filter(pl.col("stay_id") == i).sort("hour")["sofa"].to_list() == slow_hourly(by_hand[i], 48), i


def test_diagnoses_of_the_whole_admission_count_however_late_the_discharge(mimic4, by_hand):
    """Of five stays of the demo with such a diagnosis, the patient left the hospital more than a week after the unit."""
    diagnoses = history(mimic4, mimic4.collect(mimic4.stays()))
    for name in ("haematologic_malignancy", "metastatic_cancer", "aids"):
        assert set(diagnoses.filter(name)["stay_id"]) == {i for i, stay in by_hand.items() if name in stay.chronic}


@pytest.mark.parametrize(("name", "hours"), [("mimic3", 12), ("mimic4", 12), ("eicu", 12)])
def test_what_was_charted_after_the_prediction_time_changes_no_score(name, hours, real_root, real_eicu):
    source = {"mimic3": MIMIC3, "mimic4": MIMIC4, "eicu": EICU}[name](real_eicu if name == "eicu" else real_root)
    people = source.collect(source.stays()).sort("stay_id").head(300)
    whole, events = severity_scores(source, people, hours), source.events
    source.events = lambda concepts: events(concepts).filter(
        (pl.col("hours") < hours)
        | pl.col("variable").is_in(["aids", "haematologic_malignancy", "metastatic_cancer", "elective"])
    )
    assert severity_scores(source, people, hours).equals(whole)


@pytest.mark.slow
def test_sofa_as_published_with_the_2012_challenge(real_root):
    """Outcomes-a.txt and -b.txt give SOFA of the first day. Measured: 7,718 records, Spearman .948, ours lower by 0.80 (SD 1.38),
    79 % within 2 points. Ours is lower where pressure is: the Challenge gives no drugs, so the circulation has 1 point at most
    (ours - theirs is 0.0 where no MAP was charted, -0.2 where it has 0 points and -0.9 where it has 1); the other five
    components have regression weights of 1.0 to 1.2 on the published score.
    """
    source = PhysioNet2012(real_root)
    scores = severity_scores(source, source.collect(source.stays()), 24)
    files = [pl.read_csv(path) for _, path in source.sets.values()]
    both = (
        pl.concat(files)
        .join(scores, left_on="RecordID", right_on="stay_id")
        .filter(pl.col("SOFA") >= 0)
        .drop_nulls("sofa")
    )
    gap = both["sofa"] - both["SOFA"]
    assert both.height == 7718
    assert both.select(pl.corr("sofa", "SOFA", method="spearman")).item() > 0.93
    assert -1.0 < gap.mean() < -0.6
    assert (gap.abs() <= 2).mean() > 0.75
