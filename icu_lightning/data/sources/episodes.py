"""Episode files of the in-hospital mortality benchmark (mimic3-benchmarks), real or made up: a CSV an episode, and listfiles.

A wide file has Hours and a column a variable; a long one, as lehdermann/reproducible-mortality-prediction writes it, has Hours,
Itemid and Value. Every episode lasted at least 48 hours; who the patients are, and when they died, is not in these files. The
benchmark's own sides are not used: data.split makes new ones, by patient.

References: Multitask learning and benchmarking with clinical time series data (Harutyunyan et al., Scientific Data 2019).
"""

import io
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from icu_lightning.data.concepts import Concept, charted_in
from icu_lightning.data.drugs import Drug
from icu_lightning.data.sources.base import EVENTS, STAYS, charted_facts, complete, said
from icu_lightning.data.sources.headers import lacking
from icu_lightning.data.sources.infusions import drug_places
from icu_lightning.data.sources.tables import MADE_UP, fingerprint, number
from icu_lightning.errors import UserError

ACCESS = """Ways to get episode files:
  - of MIMIC-III (credentialed): https://github.com/YerevaNN/mimic3-benchmarks, in-hospital-mortality
  - made up:                     python -m icu_lightning.synthesize schema=episodes out=FOLDER"""
HOURS = 48
NAME = re.compile(r"(\d+)[_/]episode(\d+)_timeseries\.csv")
LONG = {"hours", "itemid", "value"}
EPISODES_A_PATIENT = 1000  # stay_id = patient * this + number of the episode


class EpisodeFiles:
    """A folder of episodes as a `Source`.

    Arguments:
        root: a folder with listfiles in it, up to three levels down. Raises UserError if there is none, or a listed episode is
            missing.
    """

    name = "episodes"

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        if root is None or not Path(root).expanduser().is_dir():
            told = "No folder given" if root is None else f"There is no folder {root}"
            raise UserError(f"{told} for the episode files: set data.root=FOLDER or ICU_DATA_ROOT.\n{ACCESS}")
        folder = Path(root).expanduser().absolute()
        self.lists = sorted(p for p in folder.rglob("*listfile.csv") if len(p.relative_to(folder).parts) <= 4)
        if not self.lists:
            raise UserError(
                f"No episode files in {folder}: looked for listfile.csv, up to three levels down.\n{ACCESS}"
            )
        self.synthetic = any((p / MADE_UP).exists() for p in {path.parent for path in self.lists} | {folder})
        self.open_data = self.synthetic  # of MIMIC-III, whose patients these files do not name, who knows
        self.listed = _listed(self.lists, folder)
        self._rows: pl.DataFrame | None = None

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        return frame.collect(engine="streaming")

    def fingerprint(self) -> object:
        """Of the lists and, because there are many, of each episode only the name, size and time of change."""
        files = [path.stat() for path in self.listed["path"].map_elements(Path, return_dtype=pl.Object)]
        return [[fingerprint(path) for path in self.lists], [[s.st_size, s.st_mtime_ns] for s in files]]

    def stays(self) -> pl.LazyFrame:
        """`sources.base.STAYS`; a y_true that is neither 0 nor 1 is an unknown outcome."""
        died = pl.col("y_true").cast(pl.Float64, strict=False)
        return complete(
            self.listed.lazy().select(
                "stay_id",
                patient_id=pl.col("patient").cast(pl.String),
                stay_number=pl.col("stay_id").rank("ordinal").over("patient"),
                los_hours=pl.lit(float(HOURS)),
                died_in_hospital=pl.when(died == 1).then(True).when(died == 0).then(False),
            ),
            STAYS,
        )

    def infusions(self, drugs: Sequence[Drug]) -> pl.LazyFrame:
        drug_places(self.name, drugs)
        raise AssertionError("drugs.yaml has an entry that nothing here reads")

    def events(self, concepts: Sequence[Concept]) -> pl.LazyFrame:
        wide = charted_in(self.name, concepts)
        items = charted_in("mimic3", [concept for concept in concepts if "mimic3" in concept.charted])
        places = [*wide, *(place for place in items if place.labels and not place.says)]
        rows = self._measurements().lazy().join(charted_facts(places), on="label")
        rows = rows.with_columns(said(places, "text", number("text"))).filter(
            ~pl.col("value").is_nan() | pl.col("value").is_null()
        )
        return complete(rows.with_columns(hours=number("hours")), EVENTS)

    def _measurements(self) -> pl.DataFrame:
        """Every cell of every episode as text: stay_id, hours, label (column or item id), text; read once."""
        if self._rows is None:
            self._rows = pl.concat([_long(header, parts) for header, parts in _by_header(self.listed).items()])
        return self._rows


def _listed(lists: Sequence[Path], root: Path) -> pl.DataFrame:
    """stay_id, patient, path and y_true of every listed episode; one that several lists name is one.

    Raises UserError for a list without its columns, a name that is no episode's, a missing file, or two outcomes of one.
    """
    found: dict[Path, tuple[int, int, str, str | None]] = {}
    for path in lists:
        table = pl.read_csv(path, infer_schema=False)
        if missing := {"stay", "y_true"} - set(table.columns):
            raise lacking(path, [min(missing)], table.columns)
        for stay, outcome in table.select("stay", "y_true").rows():
            name = NAME.fullmatch(stay or "")
            if not name:
                raise UserError(f"{path}: '{stay}' is no episode; names are like 123_episode1_timeseries.csv.")
            file = _file(path, stay, root)
            patient, number_ = int(name[1]), int(name[2])
            row = (patient * EPISODES_A_PATIENT + number_, patient, str(file), outcome)
            if found.setdefault(file, row) != row:
                raise UserError(
                    f"{stay} has two outcomes in the listfiles below {root}: {found[file][3]} and {outcome}."
                )
    schema = {"stay_id": pl.Int64, "patient": pl.Int64, "path": pl.String, "y_true": pl.String}
    return pl.DataFrame(list(found.values()), schema=schema, orient="row").sort("stay_id")


def _file(listfile: Path, stay: str, root: Path) -> Path:
    """The episode beside its list, in train/ or test/ below it, or in root/ of the public repository's layout."""
    folders = [listfile.parent, *(listfile.parent / side for side in ("train", "test")), root / "root", root]
    for folder in folders:
        if (folder / stay).is_file():
            return folder / stay
    raise UserError(f"{listfile} lists {stay}, which is in none of {', '.join(map(str, dict.fromkeys(folders)))}.")


def _by_header(listed: pl.DataFrame) -> dict[str, list[str]]:
    """Header -> the lines of all episodes that have it, each with its stay_id in front."""
    parts: dict[str, list[str]] = defaultdict(list)
    for stay, path in listed.select("stay_id", "path").rows():
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        header = lines[0] if lines else ""
        if "hours" not in header.lower().split(","):
            raise UserError(f"{path} has no column 'Hours'; it begins with: {header[:80]}")
        parts[header].extend(f"{stay},{line}\n" for line in lines[1:] if line)
    return parts


def _long(header: str, lines: Iterable[str]) -> pl.DataFrame:
    text = io.BytesIO(f"stay_id,{header}\n{''.join(lines)}".encode())
    table = pl.read_csv(text, infer_schema=False, truncate_ragged_lines=True).rename(lambda name: name.strip())
    hours = next(name for name in table.columns if name.lower() == "hours")
    columns = [name for name in table.columns if name not in ("stay_id", hours)]
    table = table.rename({hours: "hours"}).with_columns(pl.col("stay_id").cast(pl.Int64))
    if {name.lower() for name in (*columns, "hours")} == LONG:
        names = {name: {"itemid": "label", "value": "text"}[name.lower()] for name in columns}
        rows = table.rename(names).with_columns(pl.col("label").str.strip_suffix(".0"))
    else:
        rows = table.unpivot(columns, index=["stay_id", "hours"], variable_name="label", value_name="text")
    return rows.filter(pl.col("text").is_not_null() & (pl.col("text") != "")).select(
        "stay_id", "hours", "label", "text"
    )
