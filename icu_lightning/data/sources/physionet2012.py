"""PhysioNet / Computing in Cardiology Challenge 2012: 48 hours of each stay, one text file a stay.

Read straight from the distributed archives (p12-set-a.tar.gz, set-a.tar.gz, set-a.zip's unpacked folder set-a/) with their
Outcomes-a.txt. Every stay lasted at least 48 hours; its length in the unit and death in the unit are not published, that in
hospital is, and a RecordID is as good as a patient.

The hour of a death is known to the day. Survival counts one day less than Length_of_stay does: of the 1,122 deaths in sets a
and b, 733 have Survival = Length_of_stay - 1. Taken literally, 50 of them died on the first day and 116 at 48 hours, but 43 of the
50 were still measured in hour 46 or later, and stays of less than 48 hours were excluded. So Survival s is the time from
24 (s + 1) to 24 (s + 2) hours, of which the middle stands here, and nobody died before the prediction time.

References: Predicting in-hospital mortality of ICU patients: the PhysioNet/CinC Challenge 2012 (Silva et al., 2012).
"""

import io
import os
import re
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from icu_lightning.data.concepts import Concept, charted_in
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.base import EVENTS, STAYS, charted_facts, complete
from icu_lightning.data.sources.headers import lacking
from icu_lightning.data.sources.infusions import drug_places
from icu_lightning.data.sources.tables import fingerprint, number, unreadable
from icu_lightning.errors import UserError

ACCESS = """Ways to get it:
  - open to everybody:  https://physionet.org/content/challenge-2012/1.0.0/ (set-a.tar.gz, Outcomes-a.txt; also b, c)
  - no files at all:    data=synthetic"""

HOURS = 48
DESCRIPTORS = ("RecordID", "Age", "Gender", "Height", "ICUType")  # at 00:00, -1 where unknown; Weight is a series too
DAYS = ("Survival", "Length_of_stay")  # of the outcomes, which may lack them
UNITS = {"1": "coronary care", "2": "cardiac surgery recovery", "3": "medical", "4": "surgical"}


class PhysioNet2012:
    """The Challenge's sets as a `Source`: every set of which both the records and the outcomes are there.

    Arguments:
        root: a folder that holds them, up to three levels down. Raises UserError if there is no set, or one is incomplete.
    """

    name = "physionet2012"
    synthetic = False
    open_data = True  # Open Data Commons Attribution: every set that there is was published for everybody

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        if root is None or not Path(root).expanduser().is_dir():
            said = "No folder given" if root is None else f"There is no folder {root}"
            raise UserError(f"{said} for the Challenge 2012 files: set data.root=FOLDER or ICU_DATA_ROOT.\n{ACCESS}")
        self.sets = challenge_sets(Path(root).expanduser().absolute())
        self._rows: pl.DataFrame | None = None
        self._ids: list[str] = []  # of the records that were read, whatever is in them

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        return frame.collect(engine="streaming")

    def fingerprint(self) -> object:
        """Of an unpacked folder, of each of its files."""
        files = [f for records, outcomes in self.sets.values() for f in (*_files(records), outcomes)]
        return [fingerprint(file) for file in files]

    def rows(self) -> pl.DataFrame:
        """Every line of every record: stay (RecordID), time, parameter, value, as text; read once."""
        if self._rows is None:
            parts = {name: _lines(name, text) for records, _ in self.sets.values() for name, text in _records(records)}
            if not parts:
                raise UserError(
                    f"There is no record in {', '.join(str(records) for records, _ in self.sets.values())}."
                )
            text = io.BytesIO(b"stay,time,parameter,value\n" + "".join(parts.values()).encode())
            self._rows, self._ids = pl.read_csv(text, infer_schema=False, quote_char=None), list(parts)
        return self._rows

    def stays(self) -> pl.LazyFrame:
        lines = self.rows().filter(pl.col("parameter").is_in(DESCRIPTORS)).unique(["stay", "parameter"])
        wide = lines.pivot("parameter", on_columns=DESCRIPTORS, index="stay", values="value")
        everyone = pl.LazyFrame(
            {"stay": self._ids}, schema={"stay": pl.String}
        )  # a record without a line is a stay too
        said = everyone.join(wide.lazy(), on="stay", how="left")
        said = said.with_columns(pl.col(c).replace("-1", None) for c in DESCRIPTORS)
        died = pl.col("In-hospital_death").replace_strict(
            {"1": True, "0": False}, default=None, return_dtype=pl.Boolean
        )
        survival = number("Survival")  # days; -1 if alive or unknown, and also of those who died after discharge
        length = number("Length_of_stay")  # days from admission to the unit to leaving the hospital; -1 if unknown
        rows = said.join(self._outcomes(), left_on="stay", right_on="RecordID", how="left")
        return complete(
            rows.select(
                stay_id=number("stay"),
                patient_id="stay",
                stay_number=pl.lit(1),
                los_hours=pl.lit(float(HOURS)),
                hospital_hours=pl.when(length >= 0).then(24 * length),
                age=number("Age"),
                sex=pl.col("Gender").replace_strict({"0": "female", "1": "male"}, default=None),
                unit_type=pl.col("ICUType").replace_strict(UNITS, default=None),
                died_in_hospital=died,
                death_hours=pl.when(died & (survival >= 0)).then(24 * survival + 36),
                unreadable=unreadable("Survival", "Length_of_stay"),
            ),
            STAYS,
        )

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        drug_places(self.name, drugs)
        raise AssertionError("drugs.yaml has an entry that nothing here reads")

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        facts = charted_facts(charted_in(self.name, concepts)).rename({"label": "parameter"})
        rows = (
            self.rows()
            .lazy()
            .filter(pl.col("value").is_not_null() & (pl.col("value") != "-1"))
            .join(facts, on="parameter")
        )
        clock = pl.col("time").str.split_exact(":", 1)
        hour, minute = (clock.struct.field(f"field_{i}").cast(pl.Float64, strict=False) for i in (0, 1))
        return complete(
            rows.with_columns(stay_id=number("stay"), hours=hour + minute / 60, value=number("value")), EVENTS
        )

    def incomplete(self) -> str | None:
        """One line if outcomes and records do not belong together; None if they do. Raises UserError as `stays` does."""
        self.rows()
        told, there = set(self._outcomes().collect()["RecordID"]), set(self._ids)
        if told == there:
            return None
        return (
            f"{len(told - there):,} of {len(told):,} stays of {', '.join(outcomes.name for _, outcomes in self.sets.values())} have "
            f"no record, and {len(there - told):,} of {len(there):,} records no outcome. Was everything downloaded and unpacked?"
        )

    def _outcomes(self) -> pl.LazyFrame:
        frames = []
        for _, outcomes in self.sets.values():
            try:
                frame = pl.read_csv(outcomes, infer_schema=False)
            except pl.exceptions.PolarsError as error:
                raise UserError(f"{outcomes} is empty, or no comma-separated text: download it again.") from error
            frame = frame.rename(str.strip)
            if missing := {"RecordID", "In-hospital_death"} - set(frame.columns):
                raise lacking(outcomes, [min(missing)], frame.columns)
            lacks = [name for name in DAYS if name not in frame.columns]
            frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in lacks)
            frames.append(frame.select(pl.col("RecordID", "In-hospital_death", *DAYS).str.strip_chars()))
        return pl.concat(frames).lazy()


def challenge_sets(root: Path) -> dict[str, tuple[Path, Path]]:
    """Letter -> (archive or folder of the records, outcomes) of every set below root.

    Raises UserError if there is none, a set's records or outcomes are there without the other, or one of them more than once.
    """
    records: dict[str, Path] = {}
    outcomes: dict[str, Path] = {}
    for path in sorted([root, *(p for p in root.rglob("*") if len(p.relative_to(root).parts) <= 3)]):
        if found := re.fullmatch(r"(?:p12-)?set-([abc])(\.tar\.gz)?", path.name.lower()):
            is_there = path.is_file() if found.group(2) else path.is_dir() and bool(_files(path))
            part = records
        elif found := re.fullmatch(r"outcomes-([abc])\.txt", path.name.lower()):
            is_there, part = path.is_file(), outcomes
        else:
            continue
        if is_there and (other := part.setdefault(found.group(1), path)) != path:
            raise UserError(f"{other} and {path} are the same part of the Challenge: move one away, or set data.root.")
    if not records and not outcomes:
        raise UserError(
            f"No Challenge 2012 files in {root}: looked for set-a.tar.gz or set-a/, and Outcomes-a.txt.\n{ACCESS}"
        )
    for letter in sorted(records.keys() ^ outcomes.keys()):
        there, lacks = (
            (records[letter], f"Outcomes-{letter}.txt")
            if letter in records
            else (outcomes[letter], f"set-{letter}.tar.gz")
        )
        raise UserError(f"{there} is there, but {lacks} is not: a set needs both.\n{ACCESS}")
    return {letter: (records[letter], outcomes[letter]) for letter in sorted(records)}


def _files(records: Path) -> list[Path]:
    return sorted(records.glob("*.txt")) if records.is_dir() else [records]


def _records(records: Path) -> Iterable[tuple[str, str]]:
    """RecordID and text of every record of an archive or a folder. Raises UserError for a damaged archive."""
    if records.is_dir():
        yield from ((path.stem, path.read_text(encoding="utf-8", errors="replace")) for path in _files(records))
        return
    try:
        with tarfile.open(records, "r:gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".txt") else None
                if file is not None:
                    yield Path(member.name).stem, file.read().decode("utf-8", errors="replace")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(
            f"Cannot read {records}: {error}. The file is damaged or cut short; download it again."
        ) from error


def _lines(stay: str, text: str) -> str:
    """The lines of a record but its header, each with the record's id in front."""
    lines = (line.strip() for line in text.splitlines()[1:])
    return "".join(f"{stay},{line if line.count(',') == 2 else _odd(line)}\n" for line in lines if line)


def _odd(line: str) -> str:
    """A line that is no triple as one whose value is no number, so that it is counted if it names a parameter."""
    time, parameter, *_ = [*line.split(","), ""]
    return f"{time},{parameter},?"
