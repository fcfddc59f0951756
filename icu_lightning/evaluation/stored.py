"""predictions.parquet and imputations.parquet read back from a run folder, or refused: nothing is computed from altered files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from icu_lightning.errors import UserError
from icu_lightning.evaluation.evaluate import SPLITS
from icu_lightning.evaluation.predictions import COLUMNS, PRIOR, columns

TRAINING = ("train", "left_out")
NUMBERS = ("label", "risk_raw", "risk", "threshold")
IMPUTED = ("stay_id", "patient_id", "rate", "hour", "variable", "unit", "sd", "truth", "draws")
IMPUTED_BEFORE = tuple(name for name in IMPUTED if name not in ("unit", "sd"))  # older runs knew z-scores alone
NEEDED = ("stay_id", "patient_id", "split", *NUMBERS)  # without a null


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is in the file. table: as predictions.py describes it. facts: its metadata (outcome, source, synthetic, open_data)."""

    path: Path
    table: pl.DataFrame
    facts: dict[str, str]
    sha256: str


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def facts_of(path: Path) -> dict[str, str]:
    """What the file of a finished run says of itself: outcome, source, and "true" or "false" for synthetic and open_data."""
    return {name: fact for name, fact in pl.read_parquet_metadata(path).items() if name != "ARROW:schema"}


def read(path: Path, sha256: str | None) -> Stored:
    """The predictions in `path`.

    Arguments:
        sha256: the digest that the file had when its run wrote it; None if the run kept none.

    Raises UserError, naming the file, if it is missing, unreadable or altered, or has other columns, a stay twice, or a risk,
    label, threshold or split that is none (the stays counted, the first ones named).
    """
    if not path.is_file():
        raise UserError(
            f"{path} is missing: the run did not come so far. Continue it with python -m icu_lightning.run resume={path.parent}"
        )
    table, facts, now = _unaltered(path, sha256)
    check(path, table)
    return Stored(path=path, table=table, facts=facts, sha256=now)


@dataclass(frozen=True, kw_only=True)
class StoredImputations:
    """What imputations.py has written. pattern: of the hidden cells."""

    table: pl.DataFrame
    pattern: str
    sha256: str


def read_imputations(path: Path, sha256: str | None) -> StoredImputations | None:
    """The imputations in `path`; None if the run has none, and kept no digest of any.

    Raises UserError, naming the file, if it is missing though there was one, unreadable, altered, or has other columns.
    """
    if not path.is_file():
        if sha256 is None:
            return None
        raise UserError(f"{path} is missing, and metrics.json tells of it: put the original back, or run again.")
    table, facts, now = _unaltered(path, sha256)
    if tuple(table.columns) not in (IMPUTED, IMPUTED_BEFORE) or not isinstance(table.schema["draws"], pl.Array):
        raise UserError(f"{path} has other columns than a run writes ({', '.join(IMPUTED)}): run again.")
    return StoredImputations(table=table, pattern=facts.get("pattern", "mcar"), sha256=now)


def check(path: Path, table: pl.DataFrame) -> None:
    """Raise UserError for a table that is not as predictions.py describes it."""
    missing, other = (
        [c for c in COLUMNS if c not in table.columns],
        [c for c in table.columns if c not in columns(table)],
    )
    if missing or other:
        said = [f"without {', '.join(missing)}"] * bool(missing) + [f"with unknown {', '.join(other)}"] * bool(other)
        raise UserError(f"{path} has other columns than a run writes: {'; '.join(said)}. Evaluate an unaltered file.")
    prior = [PRIOR] if PRIOR in table.columns else []
    words = [name for name in (*NUMBERS, *prior) if not table.schema[name].is_numeric()]
    if words:
        raise UserError(f"{path}: {', '.join(words)} should hold numbers, not {table.schema[words[0]]}.")
    _refuse(path, table, table["stay_id"].is_duplicated(), "a row for a stay that has another")
    for name in (*NEEDED, *prior):
        _refuse(path, table, table[name].is_null(), f"no {name}")
    for name in ("risk_raw", "risk", *prior):
        wrong = ~table[name].cast(pl.Float64).is_between(0, 1)  # a NaN is not between
        _refuse(path, table, wrong, f"a {name} that is no number in [0, 1]")
    _refuse(path, table, ~table["label"].cast(pl.Float64).is_in([0.0, 1.0]), "a label that is neither 0 nor 1")
    _refuse(path, table, ~table["threshold"].cast(pl.Float64).is_finite(), "a threshold that is no number")
    _refuse(
        path,
        table,
        ~table["split"].cast(pl.String).is_in([*TRAINING, *SPLITS]),
        "a split that is none of train, val and test",
    )
    most = max((part["threshold"].n_unique() for part in table.partition_by("fold")), default=0)
    if most > 1:
        raise UserError(f"{path} has {most} different thresholds; a run, or a fold of one, has one.")


def _unaltered(path: Path, sha256: str | None) -> tuple[pl.DataFrame, dict[str, str], str]:
    """Table, metadata and digest of a Parquet file. Raises UserError if its digest is another, or it cannot be read."""
    now = digest(path)
    if sha256 is not None and now != sha256:
        raise UserError(
            f"{path} is not the file that its run wrote: its SHA-256 begins with {now[:12]}, the one kept in metrics.json with "
            f"{str(sha256)[:12]}. Put the original back, or run again."
        )
    try:
        table, facts = pl.read_parquet(path), facts_of(path)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}): run again.") from error
    return table, facts, now


def _refuse(path: Path, table: pl.DataFrame, wrong: pl.Series, what: str) -> None:
    if wrong.any():
        first = table["stay_id"].filter(wrong).head(3).to_list()
        raise UserError(
            f"{path} has {what} in {wrong.sum():,} of {table.height:,} rows (stays {', '.join(map(str, first))}, ...). "
            "Nothing is computed from it: put the original back, or run again."
        )
