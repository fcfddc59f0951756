"""Tables with MIMIC-IV's names, columns and proportions and made-up content, of any number of rows.

What the demo 2.2 shows is kept: chartevents has 11 columns, is sorted by patient, stay and time, and 13 % of its rows are the
items of the vital signs, 26 % are other numbers and 61 % are text; a stay has about 4,290 rows, a patient 1.37 stays. Rows are
made and compressed in blocks of stays, each with a generator of its own (seed, block), so that a seed gives the same bytes
whatever the number of threads, and the memory does not depend on the number of rows. Each block is one member of the .gz.

`python mimic4_tables.py FOLDER --rows 20000000`
"""

import argparse
import gzip
import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.atomic import atomic_folder

ROWS_A_STAY = 4290  # MIMIC-IV 2.2: 313,645,063 rows of 73,181 stays
BLOCK = 500_000  # rows that are made and compressed at once, about
DAYS = np.datetime64("2110-01-01") + np.arange(366 * 110)
MINUTES_A_DAY = 1440

# item: label, share of all rows, mean, SD, decimals, unit
VITALS = {
    220045: ("Heart Rate", 0.0208, 86, 17, 0, "bpm"),
    220210: ("Respiratory Rate", 0.0208, 20, 5, 0, "insp/min"),
    220277: ("O2 saturation pulseoxymetry", 0.0202, 96.5, 2, 0, "%"),
    220179: ("Non Invasive Blood Pressure systolic", 0.0125, 121, 21, 0, "mmHg"),
    220180: ("Non Invasive Blood Pressure diastolic", 0.0125, 66, 15, 0, "mmHg"),
    220181: ("Non Invasive Blood Pressure mean", 0.0125, 79, 15, 0, "mmHg"),
    220050: ("Arterial Blood Pressure systolic", 0.0083, 119, 21, 0, "mmHg"),
    220051: ("Arterial Blood Pressure diastolic", 0.0083, 59, 12, 0, "mmHg"),
    220052: ("Arterial Blood Pressure mean", 0.0083, 79, 14, 0, "mmHg"),
    223761: ("Temperature Fahrenheit", 0.0050, 98.5, 1.0, 1, "°F"),
    223762: ("Temperature Celsius", 0.0008, 37.0, 0.8, 1, "°C"),
}
OTHER_NUMBERS = 60  # items of the vital signs' kind that nothing reads: 26 % of the rows
OTHER_TEXTS = 80  # items charted in words: the rest
NUMBERS_SHARE = 0.26
LABS = {  # item: label, share of labevents, mean, SD, decimals, unit
    51222: ("Hemoglobin", 0.026, 10.4, 2.1, 1, "g/dL"),
    50931: ("Glucose", 0.026, 131, 50, 0, "mg/dL"),
    50971: ("Potassium", 0.027, 4.1, 0.6, 1, "mEq/L"),
    50983: ("Sodium", 0.026, 138.5, 5, 0, "mEq/L"),
    50813: ("Lactate", 0.006, 2.2, 1.6, 1, "mmol/L"),
    50912: ("Creatinine", 0.027, 1.4, 1.2, 1, "mg/dL"),
    51301: ("White Blood Cells", 0.026, 10.4, 6, 1, "K/uL"),
    50882: ("Bicarbonate", 0.026, 24.8, 4.5, 0, "mEq/L"),
    51006: ("Urea Nitrogen", 0.027, 26, 20, 0, "mg/dL"),
}
OTHER_LABS = 90
OTHER = {2: 50, 3: 9, 4: 1}  # mean, SD and decimals of items that nothing reads, by their place in the tuples above
WORDS = (
    "None",
    "No",
    "Normal",
    "Warm",
    "Clear",
    "Yes",
    "Done",
    "SR (Sinus Rhythm)",
    "Easily Palpable",
    "Intact",
    "On ",
    "Brisk ",
    "Diminished",
    "Bed locked in low position",
    "Oral",
    "30 Degrees",
    "WNL",
    "Patent",
    "3 rails up",
    "Tolerated Well",
    "Grade 0",
    "Normal <3 Seconds",
    "Side to Side",
    "3mm",
    "AF (Atrial Fibrillation)",
    "Lines and tubes concealed",
    "Variable",
    "ST (Sinus Tachycardia) ",
    "Right Side",
    "NPO",
    "Alert, oriented x 3",
    "1:1 Time with patient",
    'Patient said "better", then slept',
    "Sliding scale insulin as ordered",
    "Monitor and assess respiratory secretions",
)
UNITS = ("Medical Intensive Care Unit (MICU)", "Surgical Intensive Care Unit (SICU)", "Coronary Care Unit (CCU)")

Block = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


def parsed(description: str | None) -> tuple[Path, int, int | None, int]:
    """Folder, rows of chartevents, rows of labevents (None: a twentieth) and seed of the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, help="of the tables: hosp/ and icu/ are made in it; it is replaced as a whole"
    )
    parser.add_argument("--rows", type=int, default=20_000_000, help="of chartevents (MIMIC-IV 2.2: 313645063)")
    parser.add_argument("--lab-rows", type=int, help="of labevents (MIMIC-IV 2.2: 118171367; default: rows / 20)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    return arguments.folder, arguments.rows, arguments.lab_rows, arguments.seed


def write(
    folder: Path,
    rows: int,
    lab_rows: int | None = None,
    seed: int = 0,
    *,
    blocks: Mapping[str, Block] | None = None,
    more: Mapping[str, tuple[int, Block]] | None = None,
) -> None:
    """All tables of `rows` chart events into `folder`, which is whole or not there.

    Arguments:
        blocks: how the blocks of "icu/chartevents" and "hosp/labevents" are made, if not as here.
        more: further tables: number of rows, and how their blocks are made.
    """
    stays = made_up_stays(rows, rows // 20 if lab_rows is None else lab_rows, seed)
    of_events = {"icu/chartevents": chartevents, "hosp/labevents": labevents, **(blocks or {})}
    long = {"icu/chartevents": "chart_rows", "hosp/labevents": "lab_rows"}
    for name, (number, block) in (more or {}).items():
        column = name.partition("/")[2]
        stays = stays.with_columns(pl.Series(column, _shares(stays["los"].to_numpy(), number)))
        of_events, long = of_events | {name: block}, long | {name: column}
    with atomic_folder(folder) as target:
        for name in ("hosp", "icu"):
            (target / name).mkdir()
        _write_small(target, stays)
        for index, (name, column) in enumerate(long.items(), start=1):
            _write_long(target / f"{name}.csv.gz", stays, column, of_events[name], (seed, index))


# Stays, and the tables with a row each


def made_up_stays(rows: int, lab_rows: int, seed: int) -> pl.DataFrame:
    """One row a stay, patients in order: ids, unit, `start` (minutes since 2110), `los` (minutes), died, numbers of rows.

    Numbers of rows are in proportion to the length of stay and sum to `rows` and `lab_rows`.
    """
    rng = np.random.default_rng([seed, 0])
    n = max(10, rows // ROWS_A_STAY)
    patient = np.cumsum(rng.random(n) < 0.73)  # the others are further stays of the patient before
    first = np.concatenate([[True], patient[1:] != patient[:-1]])
    nth = np.arange(n) - np.maximum.accumulate(np.where(first, np.arange(n), 0))
    of_patient = rng.integers(0, 366 * 80 * MINUTES_A_DAY, patient[-1] + 1)[patient]
    los = rng.lognormal(np.log(47 * 60), 0.85, n).clip(60, 60 * 24 * 90).astype(np.int64)
    return pl.DataFrame(
        {
            "subject_id": 10_000_000 + patient * 17,
            "hadm_id": 20_000_000 + np.arange(n) * 3,
            "stay_id": 30_000_000 + rng.permutation(n) * 5,
            "start": of_patient + nth * 200 * MINUTES_A_DAY,  # a later stay is later
            "los": los,
            "unit": rng.integers(0, len(UNITS), n),
            "died": rng.random(n) < 0.11,
            "gender": (patient * 7919) % 2,
            "age": 18 + (patient * 104_729) % 74,
            "chart_rows": _shares(los, rows),
            "lab_rows": _shares(los, lab_rows),
        }
    )


def _shares(weights: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to the weights that sum to `total`."""
    edges = np.round(np.cumsum(weights) / weights.sum() * total).astype(np.int64)
    return np.diff(edges, prepend=0)


def _write_small(target: Path, stays: pl.DataFrame) -> None:
    end = pl.col("start") + pl.col("los")
    home = pl.when("died").then(end).otherwise(end + 2 * MINUTES_A_DAY)
    first = stays.group_by("subject_id", maintain_order=True).first()
    year = _day(pl.col("start")).str.slice(0, 4)
    tables = {
        "icu/icustays": stays.select(
            "subject_id",
            "hadm_id",
            "stay_id",
            first_careunit=_one_of(UNITS, pl.col("unit")),
            last_careunit=_one_of(UNITS, pl.col("unit")),
            intime=_clock(pl.col("start")),
            outtime=_clock(end),
            los=pl.col("los") / MINUTES_A_DAY,
        ),
        "hosp/admissions": stays.select(
            "subject_id",
            "hadm_id",
            admittime=_clock(pl.col("start") - 300),
            dischtime=_clock(home),
            deathtime=pl.when("died").then(_clock(end)),
            admission_type=pl.lit("EW EMER."),
            insurance=_one_of(("Medicare", "Medicaid", "Other"), pl.col("subject_id") % 3),
            language=pl.lit("ENGLISH"),
            marital_status=_one_of(("MARRIED", "SINGLE", "WIDOWED", "DIVORCED"), pl.col("subject_id") % 4),
            race=_one_of(("WHITE", "BLACK/AFRICAN AMERICAN", "ASIAN", "UNKNOWN"), pl.col("subject_id") % 4),
            hospital_expire_flag=pl.col("died").cast(pl.Int8),
        ),
        "hosp/patients": first.select(
            "subject_id",
            gender=_one_of(("F", "M"), pl.col("gender")),
            anchor_age="age",
            anchor_year=year,
            anchor_year_group=pl.lit("2011 - 2013"),
            dod=pl.lit(""),
        ),
        "icu/d_items": _items(),
    }
    for name, table in tables.items():
        (target / f"{name}.csv.gz").write_bytes(_compressed(table, header=True))


def _items() -> pl.DataFrame:
    ids = [*VITALS, *_other_items()]
    label = [VITALS[i][0] if i in VITALS else f"Item {i}" for i in ids]
    return pl.DataFrame({"itemid": ids, "label": label, "abbreviation": label, "linksto": "chartevents"})


def _other_items() -> NDArray[np.int64]:
    """Ids that no concept reads: numbers first, then texts."""
    return 240_000 + 7 * np.arange(OTHER_NUMBERS + OTHER_TEXTS)


# The long tables


def chartevents(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The block's rows, with the columns of MIMIC-IV 2.2 in their order."""
    stay = np.repeat(np.arange(stays.height), stays["chart_rows"].to_numpy())
    n = len(stay)
    minute = np.sort(stay * 2**32 + _within(stays, stay, rng, before=0)) % 2**32  # by stay, then by time
    n_vitals, others = len(VITALS), _other_items()
    shares = [facts[1] for facts in VITALS.values()]
    shares += [NUMBERS_SHARE / OTHER_NUMBERS] * OTHER_NUMBERS
    shares += [(1 - sum(shares)) / OTHER_TEXTS] * OTHER_TEXTS
    kind = _drawn(shares, n, rng)
    vital = list(VITALS.values())
    mean, sd, decimals = (
        np.array([facts[i] for facts in vital] + [other] * OTHER_NUMBERS) for i, other in OTHER.items()
    )
    units = [facts[5] for facts in vital] + ["units"] * OTHER_NUMBERS
    is_number = kind < n_vitals + OTHER_NUMBERS
    of = np.where(is_number, kind, 0)
    number = _numbers(mean[of], sd[of], decimals[of], rng)
    word = (kind * 5 + rng.integers(0, 6, n)) % len(WORDS)
    facts = pl.DataFrame({"at": minute, "is_number": is_number, "number": number, "word": word, "of": of})
    start = stays["start"].to_numpy()[stay]
    text = pl.when("is_number").then("number").otherwise(_one_of(WORDS, pl.col("word")))
    return facts.select(
        subject_id=stays["subject_id"].gather(stay),
        hadm_id=stays["hadm_id"].gather(stay),
        stay_id=stays["stay_id"].gather(stay),
        caregiver_id=pl.Series(rng.integers(10_000, 99_999, 64)[(minute // 480 + stay) % 64]),
        charttime=_clock(pl.lit(pl.Series(start)) + pl.col("at")),
        storetime=_clock(pl.lit(pl.Series(start + rng.integers(0, 60, n))) + pl.col("at")),
        itemid=pl.Series(np.concatenate([np.array(list(VITALS)), others])[kind]),
        value=text,
        valuenum=pl.when("is_number").then("number"),
        valueuom=pl.when("is_number").then(_one_of(units, pl.col("of"))),
        warning=pl.when("is_number").then(pl.lit("0")),
    )


def labevents(stays: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The block's rows: from a day before the stay to a day after it; without a stay_id, as in MIMIC-IV."""
    stay = np.repeat(np.arange(stays.height), stays["lab_rows"].to_numpy())
    n, lab = len(stay), list(LABS.values())
    shares = [facts[1] for facts in lab]
    kind = _drawn([*shares, *[(1 - sum(shares)) / OTHER_LABS] * OTHER_LABS], n, rng)
    mean, sd, decimals = (np.array([facts[i] for facts in lab] + [other] * OTHER_LABS) for i, other in OTHER.items())
    ids, units = [*LABS, *(56_000 + np.arange(OTHER_LABS))], [facts[5] for facts in lab] + ["IU/L"] * OTHER_LABS
    number = _numbers(mean[kind], sd[kind], decimals[kind], rng)
    minute = _within(stays, stay, rng, before=MINUTES_A_DAY)
    drawn_at = pl.Series(stays["start"].to_numpy()[stay] - MINUTES_A_DAY + minute)
    return pl.DataFrame({"number": number, "kind": kind}).select(
        labevent_id=pl.Series(stays["hadm_id"].to_numpy()[stay] * 10 + np.arange(n) % 10),
        subject_id=stays["subject_id"].gather(stay),
        hadm_id=stays["hadm_id"].gather(stay),
        specimen_id=pl.Series(rng.integers(10_000_000, 99_999_999, n)),
        itemid=pl.Series(np.array(ids)[kind]),
        order_provider_id=pl.lit(None, pl.String),
        charttime=_clock(pl.lit(drawn_at)),
        storetime=_clock(pl.lit(drawn_at + 45)),
        value="number",
        valuenum="number",
        valueuom=_one_of(units, pl.col("kind")),
        ref_range_lower=pl.lit("3.5"),
        ref_range_upper=pl.lit("5.5"),
        flag=pl.when(pl.col("kind") % 3 == 0).then(pl.lit("abnormal")),
        priority=pl.lit("ROUTINE"),
        comments=pl.lit(None, pl.String),
    )


def _drawn(shares: list[float], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.searchsorted(np.cumsum(shares)[:-1], rng.random(n))


def _within(stays: pl.DataFrame, stay: NDArray[np.int64], rng: np.random.Generator, before: int) -> NDArray[np.int64]:
    """A minute of the stay for each row, counted from `before` minutes before its start to as many after its end."""
    return (rng.random(len(stay)) * (stays["los"].to_numpy()[stay] + 2 * before)).astype(np.int64)


def _numbers(
    mean: NDArray[np.float64], sd: NDArray[np.float64], decimals: NDArray[np.int64], rng: np.random.Generator
) -> pl.Series:
    """Values as text; one in 500 is ten times as high, as mistyped numbers are."""
    values = np.abs(mean + sd * rng.standard_normal(len(mean), dtype=np.float32).astype(float))
    values = np.where(rng.random(len(mean)) < 0.002, values * 10, values)
    frame = pl.DataFrame({"x": values, "whole": decimals == 0})
    whole = pl.col("x").round().cast(pl.Int64).cast(pl.String)
    return frame.select(pl.when("whole").then(whole).otherwise(pl.col("x").round(1).cast(pl.String)))["x"]


def _one_of(texts: tuple[str, ...] | list[str], index: pl.Expr) -> pl.Expr:
    return pl.lit(pl.Series(list(texts))).gather(index)


def _day(minutes: pl.Expr) -> pl.Expr:
    return _one_of([str(day) for day in DAYS], minutes // MINUTES_A_DAY)


def _clock(minutes: pl.Expr) -> pl.Expr:
    """Minutes since 2110 as '2110-01-01 00:00:00': looked up, which is ten times as fast as formatting."""
    of_day = [f" {m // 60:02}:{m % 60:02}:00" for m in range(MINUTES_A_DAY)]
    return pl.concat_str(_day(minutes), _one_of(of_day, minutes % MINUTES_A_DAY))


def _write_long(path: Path, stays: pl.DataFrame, rows: str, block: Block, seed: tuple[int, int]) -> None:
    """The table block by block, two at a time; the first has the header."""

    def part(index: int, of: pl.DataFrame) -> bytes:
        return _compressed(block(of, np.random.default_rng([*seed, index])), header=index == 0)

    with path.open("wb") as file, ThreadPoolExecutor(2) as pool:
        waiting: list[Future[bytes]] = []
        for index, of in enumerate(_blocks(stays, rows)):
            waiting.append(pool.submit(part, index, of))
            if len(waiting) > 2:  # no more than three blocks in memory
                file.write(waiting.pop(0).result())
        for future in waiting:
            file.write(future.result())


def _blocks(stays: pl.DataFrame, rows: str) -> Iterator[pl.DataFrame]:
    """Whole stays, in order, about BLOCK rows at a time."""
    number = (stays[rows].cum_sum() - 1) // BLOCK
    edges = [0, *(number.diff().fill_null(0) != 0).arg_true(), stays.height]
    return (stays[start:end] for start, end in itertools.pairwise(edges))


def _compressed(table: pl.DataFrame, *, header: bool) -> bytes:
    text = io.BytesIO()
    table.write_csv(text, include_header=header)
    return gzip.compress(text.getvalue(), compresslevel=1, mtime=0)


if __name__ == "__main__":
    write(*parsed(__doc__))
