"""The in-hospital mortality benchmark's files: a wide CSV an episode of 48 hours, and lists of episodes with their outcome.

The layout is that of mimic3-benchmarks: train/ (with validation) and test/, each with its listfile.csv, and a list of each side at
the root. Beside its 17 variables the laboratory values of the focal LSTM have columns of their own. Sides follow from a hash of the
patient alone (METHODS A.3).

References: Multitask learning and benchmarking with clinical time series data (Harutyunyan et al., Scientific Data 2019).
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from icu_lightning import __version__
from icu_lightning.atomic import atomic_folder
from icu_lightning.data.synthetic.generate import Block, in_blocks
from icu_lightning.data.synthetic.settings import LANDMARK, GeneratorSettings
from icu_lightning.data.synthetic.writers import mimic3
from icu_lightning.data.synthetic.writers.columns import MARKER, ORACLE, marker, measurements, of_stay, place, written

COLUMNS = {  # in the benchmark's order, then ours
    "Capillary refill rate": None,
    "Diastolic blood pressure": "dbp",
    "Fraction inspired oxygen": "fio2",
    "Glascow coma scale eye opening": "gcs_eyes",
    "Glascow coma scale motor response": "gcs_motor",
    "Glascow coma scale total": None,
    "Glascow coma scale verbal response": "gcs_verbal",
    "Glucose": "glucose",
    "Heart Rate": "heart_rate",
    "Height": None,
    "Mean blood pressure": "map",
    "Oxygen saturation": "spo2",
    "Respiratory rate": "respiratory_rate",
    "Systolic blood pressure": "sbp",
    "Temperature": "temperature",
    "Weight": "weight",
    "pH": "ph",
    "Lactate": "lactate",
    "Creatinine": "creatinine",
    "White blood cell count": "wbc",
    "Hemoglobin": "hemoglobin",
    "Potassium": "potassium",
    "Sodium": "sodium",
    "Bicarbonate": "bicarbonate",
    "Blood urea nitrogen": "bun",
}
EYES = {4: "4 Spontaneously", 3: "3 To speech", 2: "2 To pain", 1: "1 No Response"}
MOTOR = {
    6: "6 Obeys Commands",
    5: "5 Localizes Pain",
    4: "4 Flex-withdraws",
    3: "3 Abnorm flexion",
    2: "2 Abnorm extensn",
    1: "1 No Response",
}
VERBAL = {
    5: "5 Oriented",
    4: "4 Confused",
    3: "3 Inapprop words",
    2: "2 Incomp sounds",
    1: "1 No Response",
    0: "1.0 ET/Trach",
}
WORDS = {"gcs_eyes": EYES, "gcs_motor": MOTOR, "gcs_verbal": VERBAL}
SIDES = {"train": 70, "val": 85, "test": 100}  # the first that exceeds a patient's hash, in percent
Episode = tuple[str, str, int, str]  # side, file name, outcome, content


def write_episodes(
    out: Path,
    settings: GeneratorSettings,
    stays: int,
    seed: int,
    *,
    workers: int,
    step: Callable[[int], object],
) -> None:
    """The episodes of all stays of at least 48 hours, and their oracle, into a folder that appears when it is whole."""
    lists: dict[str, list[str]] = {side: [] for side in SIDES}
    truth = []
    with atomic_folder(out) as folder:
        for name in ("train", "test"):
            (folder / name).mkdir()
        for n, (episodes, oracle) in in_blocks(settings, seed, stays, _episodes, workers):
            for side, name, died, content in episodes:
                (folder / _folder(side) / name).write_text(content, encoding="utf-8")
                lists[side].append(f"{name},{died}\n")
            truth.append(oracle)
            step(n)
        for side, lines in lists.items():
            _write_list(folder / f"{side}_listfile.csv", lines)
        _write_list(folder / "train" / "listfile.csv", lists["train"] + lists["val"])
        _write_list(folder / "test" / "listfile.csv", lists["test"])
        facts = {"schema": "episodes", "stays": stays, "seed": seed, "version": __version__, "generator": settings.key}
        (folder / MARKER).write_text(marker(facts), encoding="utf-8")
        pl.concat(truth).write_ipc(folder / ORACLE)


def side_of(subject: int) -> str:
    """train, val or test of a patient.

    >>> [side_of(subject) for subject in (10000, 10001, 10002, 10007)]
    ['train', 'train', 'test', 'val']
    """
    percent = int.from_bytes(hashlib.blake2b(str(subject).encode(), digest_size=8).digest(), "little") % 100
    return next(side for side, limit in SIDES.items() if percent < limit)


def _folder(side: str) -> str:
    return "test" if side == "test" else "train"


def _write_list(path: Path, lines: Sequence[str]) -> None:
    path.write_text("stay,y_true\n" + "".join(lines), encoding="utf-8")


def _episodes(block: Block) -> tuple[list[Episode], pl.DataFrame]:
    long_enough = block.visits.length >= LANDMARK * 60
    table = _wide(block).filter(pl.col("minute") < LANDMARK * 60)
    text = table.drop("row", "minute").write_csv(include_header=False).splitlines(keepends=True)
    header = ",".join(["Hours", *COLUMNS]) + "\n"
    starts = np.searchsorted(table["row"].to_numpy(), np.arange(len(block) + 1))
    subjects = mimic3.subject(block)
    found: list[Episode] = []
    for row in long_enough.nonzero()[0].tolist():
        name = f"{subjects[row]}_episode{block.visits.visit[row] + 1}_timeseries.csv"
        content = header + "".join(text[starts[row] : starts[row + 1]])
        found.append((side_of(int(subjects[row])), name, int(block.died[row]), content))
    patient, hospital = mimic3.patient_and_hospital(block)
    stay = subjects * 1000 + block.visits.visit + 1  # as sources.episodes numbers them
    oracle = block.truth.select(
        pl.Series("stay_id", stay), patient.alias("patient_id"), hospital.alias("hospital_id"), pl.all()
    )
    return found, oracle.filter(pl.Series(long_enough))


def _wide(block: Block) -> pl.DataFrame:
    """One row a stay and minute in which anything was charted, in order: row, minute, Hours and COLUMNS as text."""
    names = [name for name in COLUMNS.values() if name]
    bedside = [name for name in names if name in mimic3.CAREVUE]
    rows = pl.concat([measurements(block, bedside), measurements(block, [n for n in names if n not in bedside])])
    said = written(pl.col("value"))
    for name, words in WORDS.items():
        text = pl.col("value").cast(pl.Int64).replace_strict(words, default=None, return_dtype=pl.String)
        said = pl.when(pl.col("variable") == place(name)).then(text).otherwise(said)
    of = {
        column: pl.col("said").filter(pl.col("variable") == place(name)).first() if name else pl.lit("")
        for column, name in COLUMNS.items()
    }
    wide = rows.with_columns(said=said).group_by("row", "minute").agg(**of).sort("row", "minute")
    wide = wide.filter(pl.col("minute") < of_stay(block.visits.length))
    return wide.select("row", "minute", (pl.col("minute") / 60).round(6).alias("Hours"), *COLUMNS)
