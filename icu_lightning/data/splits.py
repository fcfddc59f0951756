"""Train, validation and test, by patient, decided before anything is fitted.

Patients are ordered by a hash of (seed, patient_id) inside each outcome stratum (a patient counts as died if any stay
did) and cut at the quotas. The hash is blake2b: Python's own is salted per process and would split anew in every run.
"""

import hashlib
from collections.abc import Sequence

import polars as pl

SPLITS = ("train", "val", "test")


def split_by_patient(patient_id: pl.Series, died: pl.Series, fractions: Sequence[float], seed: int) -> pl.Series:
    """The split of every stay.

    Arguments:
        patient_id: (B,) text.
        died: (B,) Boolean, no nulls.
        fractions: of patients in train, val and test; they sum to 1.
        seed: `data.split_seed`.

    Returns: (B,) one of SPLITS. All stays of a patient are on one side; a stratum of at least three patients is on all
    three, so that small demos keep deaths everywhere.
    """
    stays = pl.DataFrame({"patient_id": patient_id, "died": died})
    patients = stays.group_by("patient_id").agg(pl.col("died").any()).sort("patient_id")
    side: dict[str, str] = {}
    for _, stratum in patients.partition_by("died", as_dict=True).items():
        ordered = sorted(stratum["patient_id"], key=lambda patient: _hash(seed, patient))
        train, val = quotas(len(ordered), fractions)
        side |= {patient: SPLITS[(i >= train) + (i >= train + val)] for i, patient in enumerate(ordered)}
    return patient_id.replace_strict(side, return_dtype=pl.String).alias("split")


def quotas(n: int, fractions: Sequence[float]) -> tuple[int, int]:
    """How many of n patients go to train and to val; the rest is test.

    >>> quotas(100, (0.7, 0.1, 0.2)), quotas(4, (0.7, 0.1, 0.2)), quotas(1, (0.7, 0.1, 0.2))
    ((70, 10), (2, 1), (1, 0))
    """
    least = 1 if n >= 3 else 0
    val = max(least, round(fractions[1] * n))
    test = max(least, round(fractions[2] * n))
    return n - val - test, val


def _hash(seed: int, patient: str) -> bytes:
    return hashlib.blake2b(f"{seed}|{patient}".encode(), digest_size=16).digest()
