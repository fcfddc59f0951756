"""The MIMIC-IV demo read row by row with csv and datetime, from the item ids of METHODS C.3 and D: nothing of the package."""

import csv
import gzip
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from tests.data.plain_scores import Charted

Read = Callable[[float], float | None]


def within(low: float, high: float) -> Read:
    return lambda value: value if low <= value <= high else None


def fahrenheit(value: float) -> float | None:
    return (value - 32) / 1.8 if 70 <= value <= 120 else value if 25 <= value <= 45 else None


def celsius(value: float) -> float | None:
    return value if 25 <= value <= 45 else (value - 32) / 1.8 if 70 <= value <= 120 else None


def fraction(value: float) -> float | None:
    return value / 100 if 20 <= value <= 100 else value if 0.2 <= value <= 1 else None


CHART: dict[str, tuple[str, int, Read]] = {
    "220045": ("heart_rate", 0, within(20, 300)),
    "223762": ("temperature", 0, celsius),
    "223761": ("temperature", 1, fahrenheit),
    **dict.fromkeys(("220050", "225309"), ("sbp", 0, within(30, 300))),
    "220179": ("sbp", 1, within(30, 300)),
    **dict.fromkeys(("220052", "225312"), ("map", 0, within(15, 250))),
    "220181": ("map", 1, within(15, 250)),
    **dict.fromkeys(("220210", "224690"), ("respiratory_rate", 0, within(2, 70))),
    "223835": ("fio2", 0, fraction),
    "220739": ("gcs_eyes", 0, within(1, 4)),
    "223900": ("gcs_verbal", 0, within(1, 5)),
    "223901": ("gcs_motor", 0, within(1, 6)),
}
LABS: dict[str, tuple[str, int, Read]] = {
    **dict.fromkeys(("50912", "52546"), ("creatinine", 0, within(0.1, 50))),
    "51006": ("bun", 0, within(0, 300)),
    "50885": ("bilirubin", 0, within(0.05, 100)),
    **dict.fromkeys(("51265", "51704"), ("platelets", 0, within(1, 3000))),
    **dict.fromkeys(("51300", "51301", "51755", "51756"), ("wbc", 0, within(0, 1000))),
    **dict.fromkeys(("50971", "50822", "52610"), ("potassium", 0, within(1.5, 10))),
    **dict.fromkeys(("50983", "50824", "52623"), ("sodium", 0, within(90, 180))),
    "50882": ("bicarbonate", 0, within(2, 80)),
    "51274": ("prothrombin_time", 0, within(5, 150)),
    "51144": ("bands", 0, within(0, 100)),
    "50821": ("pao2", 0, within(10, 800)),
    "50818": ("paco2", 0, within(5, 250)),
    "50816": ("fio2", 1, fraction),
}
ARTERIAL = ("50821", "50818")
URINE = ("226559", "226560", "226561", "226584", "226563", "226564", "226565", "226567", "226557", "226558", "227489")
DRUGS = {
    "221662": "dopamine",
    "221653": "dobutamine",
    "221289": "epinephrine",
    "229617": "epinephrine",
    "221906": "norepinephrine",
}
SPONTANEOUS = ("Nasal cannula", "None", "Face tent", "Aerosol-cool", "High flow nasal cannula", "High flow neb", "Non-rebreather",
               "Medium conc mask", "Venti mask", "Trach mask")  # fmt: skip


def table(folder: Path, name: str) -> Iterator[dict[str, str]]:
    with gzip.open(folder / f"{name}.csv.gz", "rt", newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def hours(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 3600


def support(item: str, text: str) -> float | None:
    """0 none, 1 CPAP or BiPAP by mask, 2 invasive, None if the text does not say."""
    if item == "226732":
        device = text.strip()
        if device in ("Endotracheal tube", "Tracheostomy tube"):
            return 2
        return 1 if device in ("Bipap mask", "CPAP mask") else 0 if device in SPONTANEOUS else None
    if text == "Standby":
        return None
    return 1 if item == "229314" and text.startswith("NIV") else 2


def read(folder: Path) -> dict[int, Charted]:
    """Every stay by its id."""
    rows = {int(row["stay_id"]): row for row in table(folder, "icu/icustays")}
    stays = _stays(folder, rows)
    _chart(folder, rows, stays)
    _laboratory(folder, rows, stays)
    for row in table(folder, "icu/outputevents"):
        if row["itemid"] in (*URINE, "227488") and 0 <= float(row["value"]) <= 5000:
            when = hours(rows[int(row["stay_id"])]["intime"], row["charttime"])
            sign = -1 if row["itemid"] == "227488" else 1
            stays[int(row["stay_id"])].events["urine"].append((when, 0, sign * float(row["value"])))
    _infusions(folder, rows, stays)
    return stays


def _stays(folder: Path, rows: dict[int, dict[str, str]]) -> dict[int, Charted]:
    admission = {row["hadm_id"]: row for row in table(folder, "hosp/admissions")}
    anchor = {
        row["subject_id"]: (int(row["anchor_age"]), int(row["anchor_year"])) for row in table(folder, "hosp/patients")
    }
    services, codes = list(table(folder, "hosp/services")), list(table(folder, "hosp/diagnoses_icd"))
    stays = {}
    for i, row in rows.items():
        of = admission[row["hadm_id"]]
        age, year = anchor[row["subject_id"]]
        stay = Charted(
            los=hours(row["intime"], row["outtime"]),
            age=age + int(row["intime"][:4]) - year,
            pre_icu=hours(of["admittime"], row["intime"]),
        )
        under = [
            s["curr_service"]
            for s in services
            if s["hadm_id"] == row["hadm_id"] and hours(row["intime"], s["transfertime"]) < 24
        ]
        if under:
            elective = of["admission_type"] in ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")
            surgical = any("SURG" in service or service == "ORTHO" for service in under)
            stay.admission = ("elective_surgery" if elective else "emergency_surgery") if surgical else "medical"
        for code in codes:
            if code["hadm_id"] == row["hadm_id"]:
                stay.chronic |= chronic(code["icd_version"], code["icd_code"])
        stays[i] = stay
    return stays


def chronic(version: str, code: str) -> set[str]:
    nine = version == "9"
    found = {
        "aids": code[:3] in ("042", "043", "044") if nine else code[:3] in ("B20", "B21", "B22", "B24"),
        "haematologic_malignancy": "200" <= code[:3] <= "208" if nine else "C81" <= code[:3] <= "C96",
        "metastatic_cancer": code[:3] in ("196", "197", "198") or code[:4] in ("1990", "1991")
        if nine
        else code[:3] in ("C77", "C78", "C79") or code[:4] == "C800",
    }
    return {name for name, there in found.items() if there}


def _chart(folder: Path, rows: dict[int, dict[str, str]], stays: dict[int, Charted]) -> None:
    for row in table(folder, "icu/chartevents"):
        item, i = row["itemid"], int(row["stay_id"])
        if item in CHART and row["valuenum"]:
            name, preference, reading = CHART[item]
            value = reading(float(row["valuenum"]))
            if value is not None:
                stays[i].events[name].append((hours(rows[i]["intime"], row["charttime"]), preference, value))
        if item in ("226732", "223849", "229314") and (kind := support(item, row["value"])) is not None:
            stays[i].events["ventilation"].append((hours(rows[i]["intime"], row["charttime"]), 0, kind))
        if item == "223900":
            tube = float(row["value"] == "No Response-ETT")
            stays[i].events["gcs_tube"].append((hours(rows[i]["intime"], row["charttime"]), 0, tube))


def _laboratory(folder: Path, rows: dict[int, dict[str, str]], stays: dict[int, Charted]) -> None:
    labs = list(table(folder, "hosp/labevents"))
    arterial = {
        row["specimen_id"] for row in labs if row["itemid"] == "52033" and row["value"].lower().startswith("art")
    }
    for row in labs:
        if row["itemid"] not in LABS or (row["itemid"] in ARTERIAL and row["specimen_id"] not in arterial):
            continue
        name, preference, reading = LABS[row["itemid"]]
        number = re.fullmatch(r"-?[\d.]+", row["valuenum"] or row["value"])
        value = reading(float(number.group())) if number else None
        for i, stay in rows.items():
            if stay["subject_id"] == row["subject_id"] and value is not None:
                when = hours(stay["intime"], row["charttime"])
                if -24 <= when <= stays[i].los:
                    stays[i].events[name].append((when, preference, value))


def _infusions(folder: Path, rows: dict[int, dict[str, str]], stays: dict[int, Charted]) -> None:
    """Only ug/kg/min is read; anything else charted for the four drugs fails the test that uses it."""
    orders: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}
    for row in table(folder, "icu/inputevents"):
        if row["itemid"] in DRUGS and row["rate"] and row["statusdescription"] != "Rewritten":
            assert row["rateuom"] == "mcg/kg/min", row["rateuom"]
            start, end = (hours(rows[int(row["stay_id"])]["intime"], row[t]) for t in ("starttime", "endtime"))
            key = (row["stay_id"], DRUGS[row["itemid"]], row["orderid"])
            orders.setdefault(key, []).append((start, end, float(row["rate"])))
    for (stay, drug, _), pieces in orders.items():
        pieces.sort()
        for (start, end, rate), following in zip(pieces, [*pieces[1:], None], strict=True):
            end = min(end, following[0]) if following else end
            if end > start:
                stays[int(stay)].rates[drug].append((start, end, rate))
