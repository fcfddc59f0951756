"""Train, validation and test, by patient, decided before anything is fitted.

Patients are ordered by a hash of (seed, patient_id) inside each outcome stratum (a patient counts as died if any stay
did) and cut at the quotas. The hash is blake2b: Python's own is salted per process and would split anew in every run.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from icu_lightning.errors import UserError

SPLITS = ("train", "val", "test")
LEFT_OUT = "left_out"  # of the training stays, by data.undersample
Fold = Sequence[int]  # which one, counted from 0, and of how many


def split_by_patient(
    patient_id: pl.Series, died: pl.Series, fractions: Sequence[float], seed: int, fold: Fold | None = None
) -> pl.Series:
    """The split of every stay.

    Arguments:
        patient_id: (B,) text.
        died: (B,) Boolean, no nulls.
        fractions: of patients in train, val and test; they sum to 1.
        seed: `data.split_seed`.
        fold: of a cross-validation: its test patients are those of this fold, and of the others val has the share that it
            has of train and val in `fractions`.

    Returns: (B,) one of SPLITS. All stays of a patient are on one side; a stratum of at least three patients is on all
    three, so that small demos keep deaths everywhere.
    """
    stays = pl.DataFrame({"patient_id": patient_id, "died": died})
    patients = stays.group_by("patient_id").agg(pl.col("died").any()).sort("patient_id")
    side: dict[str, str] = {}
    for _, stratum in patients.partition_by("died", as_dict=True).items():
        ordered = sorted(stratum["patient_id"], key=lambda patient: _hash(seed, patient))
        side |= dict(zip(ordered, _sides(len(ordered), fractions, fold), strict=True))
    return patient_id.replace_strict(side, return_dtype=pl.String).alias("split")


def split_by_hospital(
    patient_id: pl.Series, hospital_id: pl.Series, fractions: Sequence[float], seed: int, fold: Fold | None = None
) -> pl.Series:
    """The split of every stay, with whole hospitals on one side: how well does a model do where it has never been?

    Hospitals that share a patient stay together, so patients are on one side too. Groups are ordered by a hash and cut where
    the patients' quotas are reached; deaths fall where they fall.

    Arguments:
        patient_id, hospital_id: (B,) text.
        fold: as in `split_by_patient`, of hospitals.

    Returns: (B,) one of SPLITS. Raises UserError if a stay has no hospital, or a side stays empty.
    """
    if missing := hospital_id.null_count():
        raise UserError(
            f"data.split=hospital: {missing} of {len(hospital_id)} stays have no hospital id. Use data.split=patient."
        )
    group = _linked_hospitals(patient_id, hospital_id)
    stays = pl.DataFrame({"patient": patient_id, "group": group})
    size = dict(stays.group_by("group").agg(pl.col("patient").n_unique()).iter_rows())
    side, before, total = {}, 0, sum(size.values())
    for name in sorted(size, key=lambda name: _hash(seed, name)):
        middle = (before + size[name] / 2) / total  # of the group, on the line of all patients
        side[name] = _side(middle, fractions, fold)
        before += size[name]
    if empty := set(SPLITS) - set(side.values()):
        raise UserError(
            f"data.split=hospital leaves no hospital for {', '.join(sorted(empty))}: there are {len(size)} groups of hospitals "
            "that share no patient. Try another data.split_seed, or data.split=patient."
        )
    return group.replace_strict(side, return_dtype=pl.String).alias("split")


def undersampled(stay_id: pl.Series, split: pl.Series, died: pl.Series, per_death: float, seed: int) -> pl.Series:
    """(B,) the split of every stay, LEFT_OUT for training survivors beyond `per_death` for each death, but at least one remains.

    They are drawn by a hash of (seed, stay_id), so which of two goes first depends on no other stay. Deaths, and stays of other
    splits, are what they were.
    """
    training = split == "train"
    survivors = stay_id.filter(training & ~died)
    most = max(1, round(per_death * int((training & died).sum())))
    gone = sorted(survivors, key=lambda stay: _hash(seed, f"undersample {stay}"))[most:]
    is_gone = stay_id.is_in(pl.Series(gone, dtype=stay_id.dtype).implode())
    return split.zip_with(~is_gone, pl.Series([LEFT_OUT])).alias("split")


def undersampled_text(counts: Mapping[str, float]) -> str:
    """What undersampling did, in words.

    Arguments:
        counts: per_death, and deaths, survivors and left_out of the training stays; of a cross-validation all folds', and how many.
    """
    folds = f", counted in each of {counts['folds']} folds" if "folds" in counts else ""
    whose = "survivors left out before the split" if counts.get("before_split") else "training survivors left out"
    return (
        f"{whose} at random (data.undersample={counts['per_death']:g}): "
        f"{counts['left_out']:,} of {counts['survivors']:,}, beside {counts['deaths']:,} deaths{folds}"
    )


def _linked_hospitals(patient_id: pl.Series, hospital_id: pl.Series) -> pl.Series:
    """(B,) the first id, in alphabetical order, of the hospitals that are linked to each stay's by shared patients."""
    hospitals, patients = hospital_id.unique().sort(), patient_id.unique().sort()
    row = hospital_id.replace_strict(hospitals, pl.Series(range(len(hospitals)))).to_numpy()
    column = patient_id.replace_strict(patients, pl.Series(range(len(patients)))).to_numpy() + len(hospitals)
    n = len(hospitals) + len(patients)
    graph = coo_array((np.ones(len(row)), (row, column)), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    for i, name in enumerate(hospitals):
        first.setdefault(int(component[i]), name)
    return pl.Series([first[int(component[i])] for i in row])


def _sides(n: int, fractions: Sequence[float], fold: Fold | None) -> list[str]:
    """The side of each of n patients in their order: one after another, or around the fold's own, which are tested.

    >>> _sides(10, (0.7, 0.1, 0.2), None) == ["train"] * 7 + ["val"] + ["test"] * 2
    True
    >>> _sides(6, (0.6, 0.2, 0.2), (2, 3))
    ['val', 'train', 'train', 'train', 'test', 'test']
    """
    if fold is None:
        train, val = quotas(n, fractions)
        return ["train"] * train + ["val"] * val + ["test"] * (n - train - val)
    first, end = (round(i * n / fold[1]) for i in (fold[0], fold[0] + 1))
    others = n - (end - first)
    val = max(1 if others >= 2 else 0, round(_val_share(fractions) * others))
    after = ["val"] * val + ["train"] * (others - val)  # of the patients behind the fold's, then those before it
    return after[n - end :] + ["test"] * (end - first) + after[: n - end]


def _side(middle: float, fractions: Sequence[float], fold: Fold | None) -> str:
    """The side of a group whose middle lies at this share of all patients."""
    if fold is None:
        return SPLITS[(middle >= fractions[0]) + (middle >= fractions[0] + fractions[1])]
    behind = (middle - fold[0] / fold[1]) % 1  # the fold's own come first
    own = 1 / fold[1]
    return "test" if behind < own else "val" if behind < own + _val_share(fractions) * (1 - own) else "train"


def _val_share(fractions: Sequence[float]) -> float:
    return fractions[1] / (fractions[0] + fractions[1])


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
