"""One vocabulary for insurance, marital status and language, whatever database or version charted them."""

import polars as pl
import pytest

from icu_lightning.data.sources import demographics
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4

SPELLINGS = {
    "insurance": {
        "Medicare": "medicare",
        "MEDICAID": "medicaid",
        "Private": "private",
        "Government": "government",
        "Self Pay": "self_pay",
        "No charge": "no_charge",
        "Other": "other",
        "Veterans' Affairs": "veterans_affairs",  # charted by nobody so far: kept, in the same form
        "Unknown": None,
        "?": None,
        " ": None,
        None: None,
    },
    "marital_status": {
        "SINGLE": "single",
        "MARRIED": "married",
        "Divorced": "divorced",
        "WIDOWED": "widowed",
        "SEPARATED": "separated",
        "LIFE PARTNER": "life_partner",
        "UNKNOWN (DEFAULT)": None,
        "": None,
        None: None,
    },
    "language": {
        "ENGL": "english",
        "ENGLISH": "english",
        "English": "english",
        "SPAN": "spanish",
        "Spanish": "spanish",
        "PTUN": "portuguese",
        "Portuguese": "portuguese",
        "RUSS": "russian",
        "CANT": "chinese",
        "MAND": "chinese",
        "Chinese": "chinese",
        "HAIT": "haitian",
        "Haitian": "haitian",
        "CAPE": "kabuverdianu",
        "Kabuverdianu": "kabuverdianu",
        "POLI": "polish",
        "GREE": "greek",
        "Modern Greek (1453-)": "greek",
        "American Sign Language": "american_sign_language",
        "* BE": "be",  # a code of unknown meaning
        "?": None,
        None: None,
    },
}


@pytest.mark.parametrize("what", SPELLINGS)
def test_every_spelling_has_its_word(what):
    said = pl.DataFrame({what: list(SPELLINGS[what])}, schema={what: pl.String})
    assert said.select(getattr(demographics, what)(what))[what].to_list() == list(SPELLINGS[what].values())


def mimic4(folder, race: str, **said: list) -> pl.DataFrame:
    """The stays of a made-up MIMIC-IV with these cells in admissions, in the order of the admissions."""
    n = len(said["insurance"])
    key = {"subject_id": list(range(1, n + 1)), "hadm_id": list(range(1, n + 1))}
    time = {"intime": ["2180-01-01 00:00:00"] * n, "outtime": ["2180-01-04 00:00:00"] * n}
    tables = {
        "icu/icustays": {**key, "stay_id": key["hadm_id"], "first_careunit": ["MICU"] * n, **time},
        "icu/chartevents": {"stay_id": [1]},
        "hosp/patients": {
            "subject_id": key["subject_id"],
            "gender": ["F"] * n,
            "anchor_age": [60] * n,
            "anchor_year": [2180] * n,
        },
        "hosp/admissions": {
            **said,
            "hadm_id": key["hadm_id"],
            race: ["WHITE"] * n,
            "admittime": ["2099-12-31 12:00:00"] * n,
            "deathtime": [""] * n,
            "dischtime": ["2180-01-09 00:00:00"] * n,
            "hospital_expire_flag": [0] * n,
        },
    }
    for name, columns in tables.items():
        path = folder / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(columns).write_csv(path)
    return MIMIC4(folder).stays().collect().sort("stay_id")


def test_versions_2_and_3_of_mimic_iv_give_the_same_categories(tmp_path):
    """2.x: upper-case languages, three insurances; 3.x: capitalised ones, more insurances, columns in another order."""
    columns = ("language", "insurance", "marital_status")
    two = mimic4(
        tmp_path / "2",
        "race",
        insurance=["Medicare", "Medicaid", "Other"],
        language=["ENGLISH", "ENGLISH", "?"],
        marital_status=["MARRIED", "SINGLE", None],
    )
    three = mimic4(
        tmp_path / "3",
        "race",
        marital_status=["MARRIED", "SINGLE", ""],
        language=["English", "English", ""],
        insurance=["Medicare", "Medicaid", "Other"],
    )
    assert two.select(columns).equals(three.select(columns))
    assert two.select(columns).rows() == [
        ("english", "medicare", "married"),
        ("english", "medicaid", "single"),
        (None, "other", None),
    ]


def test_the_demos(real_root):
    """Needs admissions and icustays of both MIMIC demos: every category that they chart, in stays."""
    three, four = MIMIC3(real_root).stays().collect(), MIMIC4(real_root).stays().collect()
    assert set(three["insurance"]) == {"medicare", "private", "medicaid", "government"}
    assert set(three["language"]) == {"english", "spanish", "russian", "polish", "chinese", None}
    assert set(three["marital_status"]) == {"married", "single", "widowed", "divorced", "separated", None}
    assert set(four["insurance"]) == {"medicare", "medicaid", "other"}
    assert set(four["language"]) == {"english", None}
    assert set(four["marital_status"]) == {"married", "single", "widowed", "divorced", None}
