"""From rows to intervals (METHODS C.1, rules i to iii), and the hours of all stays of the three demos recomputed the slow way."""

import csv
import gzip
import re
from collections import defaultdict
from datetime import datetime
from itertools import count

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.derived import with_weight
from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.infusions import clean_infusions
from icu_lightning.data.sources.base import INFUSIONS
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.data.vis import hourly_rates

DRUGS = vis_drugs(extended=True)
NAMES = [drug.name for drug in DRUGS]
HOURS = 48


def clock(hours):
    return f"2100-01-{1 + int(hours) // 24:02d} {int(hours) % 24:02d}:{round(hours % 1 * 60):02d}:00"


def write(folder, **tables):
    for name, rows in tables.items():
        path = folder / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
    return folder


STAY = {"subject_id": 1, "hadm_id": 10, "first_careunit": "MICU", "intime": clock(0), "outtime": clock(200)}
ADMISSION = {"hadm_id": 10, "dischtime": clock(220)}


def carevue(hours, rate, stopped="", item=30120, unit="mcgkgmin", **changes):
    rate = "" if rate is None else rate
    return {
        "icustay_id": 100, "itemid": item, "charttime": clock(hours), "rate": rate, "rateuom": unit if rate != "" else "",
        "stopped": stopped,
    } | changes  # fmt: skip


def metavision(start, end, rate, **changes):
    return {
        "stay_id": 100, "itemid": 221906, "starttime": clock(start), "endtime": clock(end), "rate": rate,
        "rateuom": "mcg/kg/min", "orderid": 1, "statusdescription": "ChangeDose/Rate", "patientweight": 80,
    } | changes  # fmt: skip


@pytest.fixture
def of_carevue(tmp_path):
    """A function: rows of inputevents_cv -> (start, end, rate, unit) in order."""

    def read(*rows):
        none = metavision(0, 0, "", stay_id=0, itemid=0) | {"icustay_id": 0}
        stays = [STAY | {"icustay_id": 100}, STAY | {"icustay_id": 101}]
        write(tmp_path, icustays=stays, admissions=[ADMISSION], chartevents=[{"x": 1}], inputevents_cv=rows)
        return intervals(MIMIC3(write(tmp_path, inputevents_mv=[none])))

    return read


@pytest.fixture
def of_metavision(tmp_path):
    """A function: rows of inputevents -> (start, end, rate, unit) in order."""

    def read(*rows):
        write(
            tmp_path,
            **{"icu/icustays": [STAY | {"stay_id": 100}], "hosp/admissions": [ADMISSION], "icu/inputevents": rows},
        )
        return intervals(MIMIC4(tmp_path))

    return read


@pytest.fixture
def of_eicu(write_eicu):
    """A function: rows of infusionDrug (hours, name, rate, other columns) -> (start, end, rate, unit) in order."""
    number_of_call = count()

    def read(*rows, of=("start_hours", "end_hours", "rate", "unit")):
        said = [
            {"patientunitstayid": 1, "infusionoffset": hours * 60, "drugname": name, "drugrate": rate}
            | {"patientweight": "", "drugamount": "", "volumeoffluid": ""}
            | (more[0] if more else {})
            for hours, name, rate, *more in rows
        ]
        folder = write_eicu(stays=3, folder=f"eicu{next(number_of_call)}", infusionDrug=said)
        return intervals(EICU(folder), of)

    return read


def intervals(source, columns=("start_hours", "end_hours", "rate", "unit")):
    frame = source.collect(source.infusions(DRUGS))
    assert frame.schema == pl.Schema(INFUSIONS)
    rows = frame.sort("stay_id", "drug", "start_hours", "end_hours", "rate").select(columns).rows()
    return [tuple(round(cell, 6) if isinstance(cell, float) else cell for cell in row) for row in rows]


# Rule (ii): CareVue


def test_carevue_holds_a_rate_to_the_next_row_and_four_hours_at_most(of_carevue):
    got = of_carevue(carevue(0, 0.1), carevue(1.5, 0.2), carevue(9, 0.3), carevue(13, 0.4))
    assert [row[:3] for row in got] == [(0, 1.5, 0.1), (1.5, 5.5, 0.2), (9, 13, 0.3), (13, 17, 0.4)]


def test_carevue_carries_the_last_rate_through_rows_without_one(of_carevue):
    """An amount was charted; with the unit of that rate, and of another item of the drug too."""
    got = of_carevue(carevue(0, 8, item=30047, unit="mcgmin"), carevue(3, None), carevue(6, None), carevue(7, 0))
    assert got == [(0, 3, 8, "mcgmin"), (3, 6, 8, "mcgmin"), (6, 7, 8, "mcgmin"), (7, 11, 0, "mcgkgmin")]


def test_carevue_does_not_carry_a_rate_over_one_that_cannot_be_read(of_carevue):
    got = of_carevue(carevue(0, 0.1), carevue(1, "20-40"), carevue(2, None), carevue(3, 0.2))
    assert [row[2] for row in got] == [0.1, None, None, 0.2]


def test_carevue_rows_before_the_first_rate_are_unknown_not_zero(of_carevue):
    assert of_carevue(carevue(0, None), carevue(1, 0.1))[0] == (0, 1, None, "mcgkgmin")


@pytest.mark.parametrize("word", ["Stopped", "D/C'd", "stopped", "D/C"])
def test_carevue_stop_words_end_it_whatever_else_the_row_says(of_carevue, word):
    got = of_carevue(carevue(0, 0.1), carevue(1, 0.2, stopped=word), carevue(2, None), carevue(9, 0.3))
    assert [row[:3] for row in got] == [(0, 1, 0.1), (1, 2, 0), (2, 6, 0), (9, 13, 0.3)]


@pytest.mark.parametrize("word", ["NotStopd", "Restart"])
def test_carevue_other_words_stop_nothing(of_carevue, word):
    assert [row[2] for row in of_carevue(carevue(0, 0.1), carevue(1, None, stopped=word))] == [0.1, 0.1]


def test_carevue_at_one_time_a_stop_counts_then_a_rate_then_an_amount(of_carevue):
    rows = [carevue(0, None), carevue(0, 0.1), carevue(2, 0.2), carevue(2, None, stopped="Stopped")]
    for order in (rows, rows[::-1]):
        got = [row for row in of_carevue(*order) if row[1] > row[0]]
        assert [row[:3] for row in got] == [(0, 2, 0.1), (2, 6, 0)]


def test_carevue_units_of_items_that_say_none(of_carevue):
    """METHODS C.1: 30047 in ug/min, 30120 per kg, vasopressin in U/h; free-text items as their labels say."""
    rows = [carevue(0, 1, item=item, rateuom="") for item in (30047, 30128, 30051)]
    assert [row[3] for row in of_carevue(*rows)] == ["mcgmin", "mcgkgmin", "Uhr"]
    for item, unit in {42273: "Umin", 42802: "mL/hr"}.items():
        assert of_carevue(carevue(0, 1, item=item, rateuom=""))[0][3] == unit


def test_carevue_stays_and_drugs_do_not_end_one_another(of_carevue):
    got = of_carevue(
        carevue(0, 0.1), carevue(1, 5, item=30043), carevue(2, 0.2, icustay_id=101), carevue(3, None, itemid=1)
    )
    assert sorted(row[:2] for row in got) == [(0, 4), (1, 5), (2, 6)]


def test_carevue_faults_are_there_to_be_counted(of_carevue):
    got = of_carevue(carevue(0, 0.1, charttime="soon"), carevue(0, 0.1, icustay_id=""), carevue(0, 0.1, icustay_id=999))
    assert sorted(got, key=str) == [(None, None, 0.1, "mcgkgmin")] * 3


# Rule (i): MetaVision


def test_metavision_rows_are_intervals(of_metavision):
    got = of_metavision(metavision(1.5, 3, 0.1), metavision(3, 4.25, 0.2, rateuom="mg/kg/min"))
    assert got == [(1.5, 3, 0.1, "mcg/kg/min"), (3, 4.25, 0.2, "mg/kg/min")]


def test_metavision_overlaps_of_one_order_are_cut_and_of_two_orders_kept(of_metavision):
    rows = [metavision(0, 5, 0.1), metavision(2, 6, 0.2), metavision(4, 9, 0.3, orderid=2)]
    for order in (rows, rows[::-1]):
        assert [row[:3] for row in of_metavision(*order)] == [(0, 2, 0.1), (2, 6, 0.2), (4, 9, 0.3)]
    same_start = [metavision(0, 5, 0.1), metavision(0, 6, 0.2)]
    assert [row[:3] for row in of_metavision(*same_start) if row[1] > row[0]] == [(0, 6, 0.2)], "the last wins"


def test_metavision_rows_without_an_order_run_side_by_side(of_metavision):
    rows = [metavision(0, 5, 0.1, orderid=""), metavision(2, 6, 0.2, orderid="")]
    assert [row[:2] for row in of_metavision(*rows)] == [(0, 5), (2, 6)]


def test_metavision_rewritten_rows_and_boluses_cut_nothing(of_metavision):
    rewritten = metavision(1, 2, 0.9, statusdescription="Rewritten")
    bolus = metavision(3, 3.25, "", rateuom="")
    got = of_metavision(metavision(0, 5, 0.1), rewritten, bolus)
    assert got == [(0, 5, 0.1, "mcg/kg/min"), (1, 2, 0.9, "mcg/kg/min"), (3, 3.25, None, "bolus")]


def test_metavision_status_of_every_row(of_metavision, tmp_path):
    rows = [
        metavision(0, 1, 0.1),
        metavision(1, 2, 0.9, statusdescription="Rewritten"),
        metavision(3, 3.25, "", rateuom=""),
        metavision(4, 5, "20-40"),
        metavision(5, 6, 5, rateuom="mcg/kg"),
        metavision(6, 7, 7.26, orderid=7),  # a bag emptied quickly: not 7.26 ug/min
        metavision(7, 8, 0.1, endtime="never"),
        metavision(8, 9, 0.1, starttime="2100-01-01T08:00:00Z"),
        metavision(9, 8, 0.1),
        metavision(10, 11, 0.1, stay_id=""),
        metavision(90, 91, 0.1, starttime="2092-01-01 00:00:00", endtime="2092-01-01 01:00:00"),
    ]
    of_metavision(*rows)
    source = MIMIC4(tmp_path)
    weights = pl.DataFrame({"stay_id": [100], "weight_kg": [None]}, schema_overrides={"weight_kg": pl.Float64})
    got = clean_infusions(source.collect(source.infusions(DRUGS)), DRUGS, weights, HOURS)
    expected = ["kept", "kept", "no_time", "no_time", "entered_in_error", "not_a_rate", "non_numeric", "unknown_unit"]
    expected += ["out_of_range", "no_stay", "outside_window"]
    assert sorted(got["status"].cast(pl.String)) == sorted(expected)


# Rule (iii): eICU


def test_eicu_holds_a_rate_to_the_next_row_and_two_hours_at_most(of_eicu):
    name = "Norepinephrine (mcg/min)"
    got = of_eicu((0, name, 5), (1.5, name, 6), (9, name, 0), (10, "Vasopressin (units/min)", 0.04))
    assert [row[:3] for row in got] == [(0, 1.5, 5), (1.5, 3.5, 6), (9, 11, 0), (10, 12, 0.04)]


@pytest.mark.parametrize(
    ("name", "rate", "read"),
    [
        ("Norepinephrine ()", "5", (5, "")),
        ("Norepinephrine", "5", (5, "")),
        ("Norepinephrine (mcg/min)", "20-40", (None, "mcg/min")),
        ("Norepinephrine (mcg/min)", "", (None, "mcg/min")),
        ("Norepinephrine (mcg/min)", "OFF", (0, "mcg/min")),
        ("Norepinephrine (Unknown)", "5", (5, "unknown")),
        ("EPINEPHrine(Adrenalin)STD 4 mg Sodium Chloride 0.9% 250 ml (mcg/min)", "5", (5, "mcg/min")),
        ("LEVOPHED MAX 32 mg (MCG/KG/MIN) ", " 0.5 ", (0.5, "mcg/kg/min")),
    ],
)
def test_eicu_free_text(of_eicu, name, rate, read):
    assert of_eicu((1, name, rate)) == [(1, 3, *read)]


def test_eicu_at_one_time_a_dose_counts_then_a_volume_then_what_has_no_unit(of_eicu):
    dose, volume, none = (1, "Dopamine (mcg/kg/min)", 5), (1, "Dopamine (ml/hr)", 20), (1, "Dopamine", 90)
    bad = (1, "Dopamine (mcg/kg/min)", "?")
    for rows, best in {
        (dose, volume, none, bad): 5,
        (none, volume, dose): 5,
        (volume, none): 20,
        (none, bad): 90,
        ((1, "Dopamine (mcg/kg/min)", 0), dose, dose): 5,
    }.items():
        for order in (rows, rows[::-1]):
            got = [row for row in of_eicu(*order) if row[1] > row[0]]
            assert [row[2] for row in got] == [best]


def test_eicu_bags(of_eicu):
    """By the name, else by the columns of amount (mg, of vasopressin U) and volume, else the usual one (ricu's)."""
    columns = {"drugamount": 8, "volumeoffluid": 250}
    rows = [
        (0, "Norepinephrine STD 4 mg Dextrose 5% 250 ml (ml/hr)", 5, columns),
        (1, "Norepinephrine (ml/hr)", 5, columns),
        (2, "Norepinephrine (ml/hr)", 5),
        (3, "Norepinephrine (ml/hr)", 5, {"drugamount": 0, "volumeoffluid": 250}),
        (4, "Norepinephrine (ml/hr)", 5, {"drugamount": 4, "volumeoffluid": 0}),
        (5, "Norepinephrine (ml/hr)", 5, {"drugamount": "four", "volumeoffluid": 250}),
        (0, "Vasopressin 40 Units Sodium Chloride 0.9% 100 ml (ml/hr)", 5),
        (1, "Vasopressin (ml/hr)", 5, {"drugamount": 40, "volumeoffluid": 200}),
        (2, "Vasopressin (ml/hr)", 5),
    ]
    got = of_eicu(*rows, of=("per_ml",))
    assert [row[0] for row in got] == [16, 32, 32, 32, 32, 32, 0.4, 0.2, 0.2]


def test_eicu_usual_bags_of_every_drug(of_eicu):
    rows = [(0, f"{drug.label} (ml/hr)", 5) for drug in DRUGS]
    assert dict(of_eicu(*rows, of=("drug", "per_ml"))) == {drug.name: drug.per_ml["eicu"] for drug in DRUGS}


def test_eicu_other_drugs_and_volumes_are_no_infusions_of_these(of_eicu):
    names = ["Volume (ml) Phenylephrine ()", "Epidural (ml/hr)", "Propofol (mcg/kg/min)", "levothyroxine (mcg/kg/hr)"]
    assert of_eicu(*((0, name, 5) for name in names)) == []


def test_eicu_faults_are_there_to_be_counted(of_eicu):
    name = "Dopamine (mcg/kg/min)"
    got = of_eicu(
        (0, name, 5, {"infusionoffset": "soon"}), (1, name, 5, {"patientunitstayid": ""}), of=("stay_id", "start_hours")
    )
    assert sorted(got, key=str) == [(1, None), (None, 1.0)]


# The demos, the slow way

UNITS = {  # ug (U, mL) a minute in one, per kg
    "mcg/kg/min": (1, True), "mcgkgmin": (1, True), "mcg/min": (1, False), "mg/kg/min": (1000, True), "ml/hr": (1 / 60, False),
    "units/hour": (1 / 60, False), "uhr": (1 / 60, False), "units/hr": (1 / 60, False), "umin": (1, False), "units/min": (1, False),
}  # fmt: skip
HIGHEST = {
    "dopamine": 50,
    "dobutamine": 50,
    "epinephrine": 1.5,
    "norepinephrine": 3,
    "milrinone": 1.5,
    "phenylephrine": 10,
}
BAGS = {
    "dopamine": 1600, "dobutamine": 2000, "epinephrine": 40, "norepinephrine": 32, "milrinone": 200, "phenylephrine": 200,
    "vasopressin": 0.2,
}  # fmt: skip
METAVISION = {
    "221662": "dopamine", "221653": "dobutamine", "221289": "epinephrine", "229617": "epinephrine", "221906": "norepinephrine",
    "221986": "milrinone", "222315": "vasopressin", "221749": "phenylephrine", "229630": "phenylephrine",
    "229631": "phenylephrine", "229632": "phenylephrine",
}  # fmt: skip
CAREVUE = {
    "30043": "dopamine", "30307": "dopamine", "30042": "dobutamine", "30306": "dobutamine", "30044": "epinephrine",
    "30119": "epinephrine", "30309": "epinephrine", "30047": "norepinephrine", "30120": "norepinephrine", "30125": "milrinone",
    "30051": "vasopressin", "42273": "vasopressin", "42802": "vasopressin", "30127": "phenylephrine", "30128": "phenylephrine",
}  # fmt: skip


def table(path):
    with gzip.open(path, "rt", newline="", encoding="utf-8", errors="replace") as file:
        yield from csv.DictReader(file)


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def standard(drug, rate, unit, row_weight, stay_weight, per_ml=None, typed=True):
    """Rate in ug/kg/min (U/kg/min), None if it is unknown."""
    if rate == 0:
        return 0.0
    known = UNITS.get((unit or "").lower())
    if rate is None or rate < 0 or known is None:
        return None
    weight = next((w for w in (row_weight, stay_weight) if w is not None and 25 <= w <= 350), 80.0)
    factor, per_kg = known
    if unit == "ml/hr":
        factor *= per_ml
    if unit == "mg/kg/min" and row_weight == 1:
        factor = 1
    value = rate * factor / (1 if per_kg else weight)
    highest = 6 / 60 / weight if drug == "vasopressin" else HIGHEST[drug]
    if value <= highest * (1 + 1e-9):
        return value
    if typed and drug == "vasopressin" and unit.lower() in ("umin", "units/min") and 0.6 <= rate <= 6:
        return rate / 60 / weight
    if typed and drug != "vasopressin" and per_kg and factor == 1 and rate / weight <= highest:
        return rate / weight
    return None


def slow_hours(intervals, stays):
    """(B, T, D) of {(stay, drug): [(start, end, rate or None)]}."""
    got = np.zeros((len(stays), HOURS, len(NAMES)))
    for (stay, drug), of in intervals.items():
        for start, end, rate in of:
            for hour in range(max(0, int(start // 1)), HOURS):
                share = min(end, hour + 1) - max(start, hour)
                if share <= 0:
                    if hour >= end:
                        break
                    continue
                got[stays.index(stay), hour, NAMES.index(drug)] += np.nan if rate is None else rate * share
    return got


def hold(points, hours):
    """{key: [(start, rank, rate as charted, rate)]} -> intervals."""
    intervals = {}
    for key, of in points.items():
        of.sort(key=lambda p: (p[0], p[1], -1 if p[2] is None else p[2]))
        ends = [min(p[0] + hours, following[0]) for p, following in zip(of, [*of[1:], (1e9,)], strict=True)]
        intervals[key] = [(p[0], end, p[3]) for p, end in zip(of, ends, strict=True)]
    return intervals


def slow_metavision(path, stay_id, intime, weights):
    orders = defaultdict(list)
    for row in table(path):
        drug = METAVISION.get(row["itemid"])
        if drug is None or row["statusdescription"] == "Rewritten" or not (row["rate"] or row["rateuom"]):
            continue
        stay = int(row[stay_id])
        start, end = (
            (datetime.fromisoformat(row[c]) - intime[stay]).total_seconds() / 3600 for c in ("starttime", "endtime")
        )
        weight = number(row["patientweight"])
        rate = standard(drug, number(row["rate"]), row["rateuom"], weight, weights.get(stay), typed=False)
        orders[stay, drug, row["orderid"]].append((start, end, rate))
    intervals = defaultdict(list)
    for (stay, drug, _), of in orders.items():
        of.sort(key=lambda i: i[:2])
        for (start, end, rate), following in zip(of, [*of[1:], (1e9,)], strict=True):
            intervals[stay, drug].append((start, min(end, following[0]), rate))
    return intervals


def slow_carevue(path, intime, weights):
    rows = defaultdict(list)
    for row in table(path):
        if row["itemid"] in CAREVUE and row["icustay_id"]:
            stay = int(row["icustay_id"])
            hours = (datetime.fromisoformat(row["charttime"]) - intime[stay]).total_seconds() / 3600
            stopped = re.match("stopped|d/c", row["stopped"].lower())
            rank = 2 if stopped else 1 if row["rate"] else 0
            rows[stay, CAREVUE[row["itemid"]]].append(
                (hours, rank, 0.0 if stopped else number(row["rate"]), row["rateuom"])
            )
    points = defaultdict(list)
    for (stay, drug), of in rows.items():
        last = None
        for hours, rank, rate, unit in sorted(of, key=lambda r: (r[0], r[1], -1 if r[2] is None else r[2])):
            last = (rate, unit) if rank else last
            value = standard(drug, *last, None, weights.get(stay)) if last else None
            points[stay, drug].append((hours, rank, len(points[stay, drug]), value))
    return hold(points, 4)


def slow_eicu(path, weights):
    points = defaultdict(list)
    for row in table(path):
        name = row["drugname"].lower()
        drug = next((drug for drug in NAMES if drug in name), None)
        drug = "norepinephrine" if "norepi" in name else drug
        if drug is None or name.startswith("volume"):
            continue
        unit = re.search(r"\(([^()]*)\)$", name.strip())
        unit, rate, stay = unit[1] if unit else "", number(row["drugrate"]), int(row["patientunitstayid"])
        bag = re.search(r"([\d.]+) *(mg|units?) .*?([\d.]+) *ml", name)
        amount, volume = number(row["drugamount"]), number(row["volumeoffluid"])
        per_ml = amount / volume * (1 if drug == "vasopressin" else 1000) if amount and volume else BAGS[drug]
        if bag:
            per_ml = float(bag[1]) / float(bag[3]) * (1000 if bag[2] == "mg" else 1)
        rank = 0 if rate is None or not unit else 1 if unit == "ml/hr" else 2
        value = standard(drug, rate, unit, number(row["patientweight"]), weights.get(stay), per_ml)
        points[stay, drug].append((float(row["infusionoffset"]) / 60, rank, rate, value))
    return hold(points, 2)


@pytest.mark.parametrize("database", [MIMIC3, MIMIC4, EICU], ids=lambda database: database.name)
def test_hours_of_all_stays_of_the_demos_equal_those_of_plain_python(database, real_root):
    """Needs inputevents_cv and _mv, inputevents, infusionDrug; the weights of MIMIC's stays are the package's."""
    source = database(real_root)
    stays = with_weight(source, source.collect(source.stays()).sort("stay_id"), HOURS)
    ids, weights = stays["stay_id"].to_list(), dict(stays.select("stay_id", "weight_kg").rows())
    infusions = clean_infusions(
        source.collect(source.infusions(DRUGS)), DRUGS, stays.select("stay_id", "weight_kg"), HOURS
    )
    fast = hourly_rates(infusions, DRUGS, stays["stay_id"], HOURS)
    files = source.tables.files
    if source.name == "eicu":
        slow = slow_hours(slow_eicu(files["infusiondrug"], weights), ids)
    else:
        key = "icustay_id" if source.name == "mimic3" else "stay_id"
        icu = files["icustays" if source.name == "mimic3" else "icu/icustays"]
        intime = {int(row[key]): datetime.fromisoformat(row["intime"]) for row in table(icu)}
        intervals = slow_metavision(files.get("inputevents_mv", files.get("icu/inputevents")), key, intime, weights)
        if source.name == "mimic3":
            for cell, of in slow_carevue(files["inputevents_cv"], intime, weights).items():
                intervals[cell] = [*intervals.get(cell, []), *of]
        slow = slow_hours(intervals, ids)
    assert (slow > 0).sum() > 500
    assert np.array_equal(np.isnan(fast), np.isnan(slow))
    assert np.allclose(fast, slow, rtol=1e-9, atol=1e-9, equal_nan=True)
