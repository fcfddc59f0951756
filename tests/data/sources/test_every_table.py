"""Bad input for every table of every source: missing, cut short, without a column, with cells and times that cannot be read."""

import gzip
import random

import polars as pl
import pytest

from icu_lightning.data.cleaning import clean
from icu_lightning.data.concepts import all_concepts
from icu_lightning.data.drugs import all_drugs
from icu_lightning.data.extract import extract
from icu_lightning.data.infusions import clean_infusions
from icu_lightning.data.prepared import read
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.errors import UserError
from tests.conftest import settings

IN, AT, AFTER, OUT = ("2100-01-01 00:00:00", "2100-01-01 02:00:00", "2100-01-01 03:00:00", "2100-01-04 00:00:00")
ADMISSION = {
    "hadm_id": 10, "admittime": IN, "deathtime": "", "dischtime": OUT, "hospital_expire_flag": 0, "insurance": "Medicare",
    "language": "ENGLISH", "marital_status": "SINGLE", "admission_type": "ELECTIVE",
}  # fmt: skip
STAY = {"subject_id": 1, "hadm_id": 10, "first_careunit": "MICU", "intime": IN, "outtime": OUT}
LAB = {"subject_id": 1, "itemid": 50813, "charttime": AT, "value": "2", "valuenum": 2}
CULTURE = {"subject_id": 1, "spec_type_desc": "BLOOD CULTURE", "charttime": AT, "chartdate": AT}
INFUSION = {
    "starttime": AT, "endtime": AFTER, "itemid": 221906, "rate": 0.1, "rateuom": "mcg/kg/min", "orderid": 1,
    "statusdescription": "Stopped", "patientweight": 80,
}  # fmt: skip
CHART = {"itemid": 220045, "charttime": AT, "value": "80", "valuenum": 80}
URINE = {"itemid": 226559, "charttime": AT, "value": 100}

# One row of every table, with every column that is read
ROWS = {
    MIMIC3: {
        "icustays": STAY | {"icustay_id": 100},
        "admissions": ADMISSION | {"ethnicity": "WHITE"},
        "patients": {"subject_id": 1, "gender": "F", "dob": "2050-01-01 00:00:00"},
        "chartevents": CHART | {"icustay_id": 100, "hadm_id": 10, "error": 0},
        "outputevents": {"icustay_id": 100, "hadm_id": 10, "iserror": "", "itemid": 40055, "charttime": AT, "value": 100},
        "labevents": LAB,
        "microbiologyevents": CULTURE,
        "prescriptions": {"hadm_id": 10, "drug": "Vancomycin", "startdate": AT, "route": "IV", "drug_type": "MAIN"},
        "services": {"hadm_id": 10, "curr_service": "CSURG", "transfertime": AT},
        "diagnoses_icd": {"hadm_id": 10, "icd9_code": "0420"},
        "inputevents_cv": {
            "icustay_id": 100, "itemid": 30120, "charttime": AT, "rate": 0.1, "rateuom": "mcgkgmin", "stopped": "",
        },
        "inputevents_mv": INFUSION | {"icustay_id": 100},
    },
    MIMIC4: {
        "icu/icustays": STAY | {"stay_id": 100},
        "hosp/admissions": ADMISSION | {"race": "WHITE"},
        "hosp/patients": {"subject_id": 1, "gender": "F", "anchor_age": 50, "anchor_year": 2100},
        "icu/chartevents": CHART | {"stay_id": 100},
        "icu/outputevents": URINE | {"stay_id": 100},
        "hosp/labevents": LAB | {"specimen_id": 5},
        "hosp/microbiologyevents": CULTURE,
        "hosp/prescriptions": {"hadm_id": 10, "drug": "Vancomycin", "starttime": AT, "route": "IV", "drug_type": "MAIN"},
        "hosp/services": {"hadm_id": 10, "curr_service": "CSURG", "transfertime": AT},
        "hosp/diagnoses_icd": {"hadm_id": 10, "icd_version": 9, "icd_code": "0420"},
        "icu/inputevents": INFUSION | {"stay_id": 100},
    },
    EICU: {
        "patient": {
            "patientunitstayid": 100, "uniquepid": "a", "hospitalid": 1, "gender": "Female", "age": "54", "ethnicity": "Asian",
            "unittype": "MICU", "unitdischargeoffset": 3000, "hospitaldischargeoffset": 4000, "admissionweight": 80,
            "hospitaldischargestatus": "Alive", "unitdischargestatus": "Alive", "hospitaladmitoffset": -60,
            "hospitaldischargeyear": 2014, "patienthealthsystemstayid": 7, "unitvisitnumber": 1,
        },
        "vitalPeriodic": {"observationoffset": 120} | dict.fromkeys(
            ["heartrate", "respiration", "sao2", "temperature", "systemicsystolic", "systemicdiastolic", "systemicmean"], 60
        ),
        "vitalAperiodic": {"observationoffset": 120} | dict.fromkeys(
            ["noninvasivesystolic", "noninvasivediastolic", "noninvasivemean"], 90
        ),
        "lab": {"labresultoffset": 120, "labname": "lactate", "labresult": 2, "labresultrevisedoffset": 120},
        "nurseCharting": {
            "nursingchartoffset": 120, "nursingchartcelltypevallabel": "Heart Rate", "nursingchartcelltypevalname": "Heart Rate",
            "nursingchartvalue": 80,
        },
        "respiratoryCharting": {"respchartoffset": 120, "respchartvaluelabel": "FiO2", "respchartvalue": 40},
        "respiratoryCare": {"respcarestatusoffset": 120, "airwaytype": "Oral ETT"},
        "intakeOutput": {
            "intakeoutputoffset": 120, "cellpath": "flowsheet|Output (ml)|Urine", "cellvaluenumeric": 100,
        },
        "diagnosis": {"diagnosisoffset": 120, "diagnosisstring": "infectious diseases|sepsis"},
        "admissionDx": {"admitdxenteredoffset": 120, "admitdxpath": "admission diagnosis|Sepsis, pulmonary"},
        "apacheApsVar": {"eyes": 4, "verbal": 5, "motor": 6, "vent": 1, "intubated": 0},
        "apachePredVar": {"electivesurgery": 1, "aids": 0, "leukemia": 0, "lymphoma": 0, "metastaticcancer": 0},
        "infusionDrug": {
            "infusionoffset": 120, "drugname": "Norepinephrine (mcg/min)", "drugrate": 5, "patientweight": 80,
            "drugamount": 8, "volumeoffluid": 250,
        },
    },
}  # fmt: skip
for _name, _row in ROWS[EICU].items():
    if _name != "patient":
        _row["patientunitstayid"] = 100

# Columns that a version of the database may lack, or that this one reads only where they are there
OPTIONAL = {
    "error", "iserror", "route", "drug_type", "specimen_id", "patientweight", "drugamount", "volumeoffluid", "valuenum",
    "hospitaladmitoffset", "hospitaldischargeyear", "patienthealthsystemstayid", "unitvisitnumber",
}  # fmt: skip
TABLES = [(database, name) for database, tables in ROWS.items() for name in tables]


def write(folder, database, changes=None, leave_out=()):
    """The tables of the database with changed rows; a source that reads them."""
    for name, row in ROWS[database].items():
        rows = (changes or {}).get(name, [row])
        path = folder / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        if name not in leave_out:
            pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
    return database(folder)


def everything(source):
    """Stays, events and infusions of all that the database charts."""
    concepts = [concept for concept in all_concepts().values() if source.name in concept.charted]
    drugs = [drug for drug in all_drugs().values() if source.name in drug.charted]
    stays, events, infusions = source.stays(), source.events(concepts), source.infusions(drugs)
    return tuple(source.collect(frame) for frame in (stays, events, infusions))


def counted(source):
    """Status of every event and infusion, as cleaning counts them in two days."""
    concepts = [concept for concept in all_concepts().values() if source.name in concept.charted]
    drugs = [drug for drug in all_drugs().values() if source.name in drug.charted]
    stays, events, infusions = everything(source)
    events = clean(events.lazy(), concepts, 48).collect()
    infusions = clean_infusions(infusions, drugs, stays.select("stay_id", "weight_kg"), 48)
    return sorted([*events["status"].cast(pl.String), *infusions["status"].cast(pl.String)])


@pytest.mark.parametrize("database", list(ROWS), ids=lambda database: database.name)
def test_every_table_that_is_read_is_among_the_made_up_ones(database, tmp_path):
    source = write(tmp_path, database)
    stays, events, infusions = everything(source)
    assert stays.height == 1
    assert set(source.tables.scanned) == {name.lower() for name in ROWS[database]}
    assert events["stay_id"].unique().to_list() == infusions["stay_id"].unique().to_list() == [100]
    # A diagnosis is known at discharge; 60 is no temperature
    assert set(counted(source)) <= {"kept", "converted", "outside_window", "out_of_range"}
    assert len(counted(source)) >= len(ROWS[database]) - 3, "a row of each table"


@pytest.mark.parametrize(("database", "table"), TABLES)
def test_a_missing_table_is_named(database, table, tmp_path):
    with pytest.raises(UserError, match=rf"able '{table}'.* looked for (.|\n)*https://physionet.org"):
        everything(write(tmp_path, database, leave_out=[table]))


@pytest.mark.parametrize(("database", "table"), TABLES)
def test_a_table_cut_short_is_named(database, table, tmp_path):
    source = write(tmp_path, database)
    path = source.tables.files[table.lower()]
    digits = random.Random(0)
    # Lines of rubbish make the file too large for one block, so that half of it ends inside another
    commas = "," * (len(ROWS[database][table]) - 1)
    rubbish = "".join(f"{digits.random()}{commas}\n" for _ in range(20_000))
    zipped = gzip.compress((path.read_text() + rubbish).encode())
    path.with_name(path.name + ".gz").write_bytes(zipped[: len(zipped) // 2])
    path.unlink()
    with pytest.raises(UserError, match=rf"Cannot read .*{path.name}.gz: .*damaged or cut short; download it again"):
        everything(database(tmp_path))


@pytest.mark.parametrize(("database", "table"), TABLES)
def test_a_missing_column_is_named_unless_versions_differ_in_it(database, table, tmp_path):
    row = ROWS[database][table]
    for i, column in enumerate(row):
        folder = tmp_path / str(i)
        folder.mkdir()
        source = write(folder, database, {table: [{name: cell for name, cell in row.items() if name != column}]})
        if column in OPTIONAL:
            everything(source)
            continue
        with pytest.raises(UserError, match=rf"{table}.csv has no column '{column}.*'; its columns are: "):
            everything(source)


def read_with(database, table, tmp_path, changed):
    """Everything, of tables of which one has another text."""
    source = write(tmp_path, database)
    path = source.tables.files[table.lower()]
    path.write_bytes(changed(path.read_text()).encode("latin-1"))
    return everything(database(tmp_path))


@pytest.mark.parametrize(("database", "table"), TABLES)
def test_a_table_without_a_header_is_named_and_none_of_its_cells_is_printed(database, table, tmp_path):
    secret = "7777777"
    with pytest.raises(UserError, match=rf"{table}.csv has no column .* seems to have no header") as told:
        read_with(database, table, tmp_path, lambda text: secret + "," + text.splitlines()[1] + "\n")
    cells = [str(cell) for cell in ROWS[database][table].values() if len(str(cell)) > 3]
    assert not [cell for cell in (*cells, secret) if cell in str(told.value).replace(str(tmp_path), "")]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize(("database", "table"), TABLES)
def test_another_separator_is_named(database, table, separator, tmp_path):
    with pytest.raises(UserError, match=rf"{table}.csv has no column .* separated by commas"):
        read_with(database, table, tmp_path, lambda text: text.replace(",", separator))


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
@pytest.mark.parametrize(("database", "table"), TABLES)
def test_bytes_that_are_no_table_are_named_and_not_printed(database, table, ending, tmp_path):
    source = write(tmp_path, database)
    path = source.tables.files[table.lower()]
    path.unlink()
    rubbish = random.Random(1).randbytes(5000).replace(b"\x1f\x8b", b"")
    path.with_suffix(ending).write_bytes(rubbish)
    with pytest.raises(UserError, match=rf"{table}{ending}") as told:
        everything(database(tmp_path))
    assert str(told.value).isprintable() or "\n" in str(told.value)
    assert "\N{REPLACEMENT CHARACTER}" not in str(told.value)


@pytest.mark.parametrize(("database", "table"), TABLES)
def test_a_plain_csv_cut_in_its_last_line_is_named(database, table, tmp_path):
    with pytest.raises(UserError, match=rf"Cannot read .*{table}.csv: its last line ends after \d+ of \d+ cells"):
        read_with(database, table, tmp_path, lambda text: text.rstrip("\n").rpartition(",")[0])


@pytest.mark.parametrize(("database", "table"), TABLES)
def test_a_last_line_without_an_end_is_whole(database, table, tmp_path):
    stays, _, _ = read_with(database, table, tmp_path, lambda text: text.rstrip("\n"))
    assert stays.height == 1


@pytest.mark.parametrize(("database", "table"), TABLES)
def test_a_table_of_a_header_alone_has_no_rows(database, table, tmp_path):
    _, before, _ = everything(write(tmp_path, database))
    _, after, _ = read_with(database, table, tmp_path, lambda text: text.splitlines()[0] + "\n")
    assert after.height <= before.height


@pytest.mark.parametrize(("database", "table"), TABLES)
def test_no_cell_is_a_traceback(database, table, tmp_path):
    """Rows with one such cell, for each column, beside the right one."""
    row = ROWS[database][table]
    cells = ["???", "20-40", "-1e999", "1e400", "\u00b5", "-5", "2100-13-41 25:61:61", ""]
    rows = [row] + [row | {column: cell} for column in row for cell in cells]
    stays, events, infusions = everything(write(tmp_path, database, {table: rows}))
    assert stays.height >= 1
    assert events["value"].drop_nulls().is_finite().all()
    assert infusions["rate"].drop_nulls().is_finite().all()


TIMES = {
    "chartevents": "charttime", "outputevents": "charttime", "labevents": "charttime", "inputevents_cv": "charttime",
    "inputevents_mv": "starttime", "icu/chartevents": "charttime", "icu/outputevents": "charttime", "hosp/labevents": "charttime",
    "icu/inputevents": "starttime", "vitalPeriodic": "observationoffset", "vitalAperiodic": "observationoffset",
    "lab": "labresultoffset", "nurseCharting": "nursingchartoffset", "respiratoryCharting": "respchartoffset",
    "respiratoryCare": "respcarestatusoffset", "intakeOutput": "intakeoutputoffset", "diagnosis": "diagnosisoffset",
    "admissionDx": "admitdxenteredoffset", "infusionDrug": "infusionoffset",
}  # fmt: skip
VALUES = {
    "chartevents": ["value", "valuenum"], "outputevents": ["value"], "labevents": ["value", "valuenum"],
    "inputevents_cv": ["rate"], "inputevents_mv": ["rate"], "icu/chartevents": ["value", "valuenum"],
    "icu/outputevents": ["value"], "hosp/labevents": ["value", "valuenum"], "icu/inputevents": ["rate"],
    "vitalPeriodic": ["heartrate"],
    "vitalAperiodic": ["noninvasivemean"], "lab": ["labresult"], "nurseCharting": ["nursingchartvalue"],
    "respiratoryCharting": ["respchartvalue"], "intakeOutput": ["cellvaluenumeric"], "apacheApsVar": ["eyes"],
    "apachePredVar": ["aids"], "infusionDrug": ["drugrate"],
}  # fmt: skip
IDS = {
    MIMIC3: ("icustay_id", ["chartevents", "outputevents", "inputevents_cv", "inputevents_mv"]),
    MIMIC4: ("stay_id", ["icu/chartevents", "icu/outputevents", "icu/inputevents"]),
    EICU: ("patientunitstayid", [name for name in ROWS[EICU] if name != "patient"]),
}


def difference(database, tmp_path, changes):
    """Statuses that a run with these tables has more than one with the right ones, and those that it has fewer."""
    folders = [tmp_path / name for name in ("right", "wrong")]
    for folder in folders:
        folder.mkdir()
    right, wrong = counted(write(folders[0], database)), counted(write(folders[1], database, changes))
    more, fewer = list(wrong), list(right)
    for status in right:
        if status in more:
            more.remove(status)
            fewer.remove(status)
    return more, fewer


@pytest.mark.parametrize(("database", "table"), [(d, t) for d, t in TABLES if t in TIMES])
@pytest.mark.parametrize("text", ["soon", ""])
def test_a_time_that_cannot_be_read_is_counted(database, table, text, tmp_path):
    row = ROWS[database][table]
    more, fewer = difference(database, tmp_path, {table: [row | {TIMES[table]: text}]})
    assert more
    assert set(more) == {"no_time"}
    assert len(more) == len(fewer)


@pytest.mark.parametrize(("database", "table"), [(d, t) for d, t in TABLES if t in VALUES])
def test_a_cell_that_is_no_number_is_counted(database, table, tmp_path):
    row = ROWS[database][table]
    more, fewer = difference(database, tmp_path, {table: [row | dict.fromkeys(VALUES[table], "20-40")]})
    assert more
    assert set(more) == {"non_numeric"}
    assert len(more) == len(fewer)


@pytest.mark.parametrize(("database", "table"), [(d, t) for d, (_, tables) in IDS.items() for t in tables])
def test_a_row_of_a_stay_that_cannot_be_read_is_counted(database, table, tmp_path):
    row = ROWS[database][table]
    more, fewer = difference(database, tmp_path, {table: [row | {IDS[database][0]: "hundred"}]})
    assert more
    assert set(more) == {"no_stay"}
    assert len(more) == len(fewer)


@pytest.mark.parametrize(
    ("database", "table"), [(d, t) for d, t in TABLES if t in TIMES and d is not EICU and "labevents" not in t]
)
def test_a_time_years_off_is_outside_the_window(database, table, tmp_path):
    row = ROWS[database][table]
    for name, moved in {"later": "2170-01-01 02:00:00", "earlier": "1999-01-01 02:00:00"}.items():
        folder = tmp_path / name
        folder.mkdir()
        ends = {"endtime": moved[:11] + "03:00:00"} if "endtime" in row else {}
        more, _ = difference(database, folder, {table: [row | {TIMES[table]: moved} | ends]})
        assert more == ["outside_window"]


@pytest.mark.parametrize("text", ["2100-01-01T02:00:00", "2100-01-01T02:00:00Z", "2100-01-01 02:00:00.000000+00:00"])
@pytest.mark.parametrize(("database", "table"), [(d, t) for d, t in TABLES if t in TIMES and d is not EICU])
def test_other_writings_of_a_time_are_the_same_time(database, table, text, tmp_path):
    """As conversions to other formats write them; a zone means nothing, because the times are shifted."""
    row = ROWS[database][table]
    assert difference(database, tmp_path, {table: [row | {TIMES[table]: text}]}) == ([], [])


@pytest.mark.parametrize("database", list(ROWS), ids=lambda database: database.name)
def test_rows_of_stays_that_are_in_no_table_of_stays_are_counted(database, tmp_path):
    column, tables = IDS[database]
    name = {MIMIC3: "chartevents", MIMIC4: "icu/chartevents", EICU: "nurseCharting"}[database]
    assert name in tables
    row = ROWS[database][name]
    source = write(tmp_path, database, {name: [row, row | {column: 999}, row | {column: 998}]})
    chosen = settings(variables=["heart_rate"], cohort=["age_known"])
    cleaning = extract(source, **chosen.of_extract).cleaning
    assert cleaning.filter(pl.col("variable") == "heart_rate")["no_stay"].item() == 2


@pytest.mark.parametrize("database", list(ROWS), ids=lambda database: database.name)
def test_a_stay_listed_twice_is_refused(database, tmp_path):
    name = {MIMIC3: "icustays", MIMIC4: "icu/icustays", EICU: "patient"}[database]
    source = write(tmp_path, database, {name: [ROWS[database][name]] * 2})
    chosen = settings(variables=["heart_rate"], cohort=["age_known"])
    with pytest.raises(
        UserError, match="1 stays are listed more than once, the first is 100: does the folder hold two versions"
    ):
        extract(source, **chosen.of_extract)


@pytest.mark.parametrize("database", [MIMIC4, EICU], ids=lambda database: database.name)
def test_a_negative_length_of_stay_is_counted_out_by_a_filter(database, tmp_path):
    name, change = {
        MIMIC4: ("icu/icustays", {"stay_id": 101, "outtime": "2099-12-31 00:00:00"}),
        EICU: ("patient", {"patientunitstayid": 101, "unitdischargeoffset": -60}),
    }[database]
    row = ROWS[database][name]
    source = write(tmp_path, database, {name: [row, row | change]})
    got = extract(source, **settings(variables=["heart_rate"]).of_extract)
    assert got.stays["stay_id"].to_list() == [100]
    assert got.attrition.filter(pl.col("filter") == "stay_at_least 24")["removed_stays"].item() == 1


@pytest.mark.parametrize("database", list(ROWS), ids=lambda database: database.name)
def test_ids_that_became_floats_in_a_csv_are_read(database, tmp_path):
    """What pandas writes of a column with gaps: 100.0 is stay 100."""
    chosen = settings(variables=["heart_rate", "lactate", "fio2"], cohort=["age_known"])
    plain = write(tmp_path, database)
    as_floats = {
        name: [{c: f"{v}.0" if c.endswith("id") and isinstance(v, int) else v for c, v in row.items()}]
        for name, row in ROWS[database].items()
    }
    one = extract(plain, **chosen.of_extract)
    other = extract(write(tmp_path, database, as_floats), **chosen.of_extract)
    assert one.cleaning.equals(other.cleaning)
    assert one.stays.equals(other.stays)
    assert one.cleaning.filter(pl.col("variable") == "lactate")["kept"].item() == 1


@pytest.mark.parametrize("database", [MIMIC3, MIMIC4], ids=lambda database: database.name)
def test_tables_of_two_versions_are_told_and_their_stays_go_out_by_name(database, tmp_path):
    """A stay whose admission, or whose patient, another version of the database has."""
    name, number = {MIMIC3: ("icustays", "icustay_id"), MIMIC4: ("icu/icustays", "stay_id")}[database]
    row = ROWS[database][name]
    strangers = [row | {number: 101, "hadm_id": 11}, row | {number: 102, "hadm_id": 12, "subject_id": 2}]
    assert write(tmp_path, database).incomplete() is None
    source = write(tmp_path, database, {name: [row, *strangers]})
    line = source.incomplete()
    assert "2 of 3 stays have no row in " in line
    assert "1 of 3 stays have no row in " in line
    assert "one version of the database?" in line
    chosen = settings(variables=["heart_rate"], cohort=["age_known", {"outcome_known": "died_in_hospital"}])
    said = []
    assert read(source, chosen, said.append).stays["stay_id"].to_list() == [100]
    assert line in said
