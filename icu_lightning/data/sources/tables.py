"""Raw tables as distributed: found by content, scanned lazily as text, every failure named.

A database is a folder of tables `name.csv.gz`, `name.csv` or `name.parquet`, upper or lower case. Everything is read as
text, because a cell that is no number must be counted, not crash the run; `number` turns text into numbers.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from icu_lightning.data.sources.headers import cut_short, lacking
from icu_lightning.errors import UserError

ENDINGS = (".parquet", ".csv", ".csv.gz")
MADE_UP = "SYNTHETIC.json"  # in a folder of tables of no patients
GAPS = ".0"  # at the end of the ids of a column with gaps, of a .csv that pandas wrote
DEPTH = 3  # how many folders below the root a database may lie

# Polars reads a .csv.gz ahead in pieces of this many bytes, 32 MB if not told, and keeps several: 0.1 GB that nobody needs
os.environ.setdefault("POLARS_CSV_CHUNK_SIZE", str(4 * 2**20))


@dataclass
class RawTables:
    """The tables of one database below `root`.

    Arguments:
        root: a folder that is, or contains (up to three levels down), the database's folder; None if nobody named one.
        database: how people call it.
        markers: tables that together are found in no other database.
        access: the ways to get it, for the error message.

    Raises UserError if root is missing, holds no such folder, or holds several.
    """

    root: str | os.PathLike[str] | None
    database: str
    markers: Sequence[str]
    access: str
    files: dict[str, Path] = field(init=False)
    folder: Path = field(init=False)
    scanned: dict[str, pl.LazyFrame] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.root is None:
            raise UserError(
                f"No folder given for the {self.database} tables: set data.root=FOLDER "
                f"or the environment variable ICU_DATA_ROOT.\n{self.access}"
            )
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise UserError(
                f"The folder for the {self.database} tables does not exist: {root.absolute()} "
                f"(data.root or ICU_DATA_ROOT).\n{self.access}"
            )
        self.folder = self._find(root.absolute())
        self.files = tables_in(self.folder)

    def _find(self, root: Path) -> Path:
        folders = list(_folders(root, DEPTH))
        hits = [folder for folder in folders if all(marker.lower() in tables_in(folder) for marker in self.markers)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise UserError(
                f"{len(hits)} folders below {root} hold {self.database} tables; choose one with data.root=FOLDER:\n  "
                + "\n  ".join(map(str, hits))
            )
        best = max(folders, key=lambda folder: len(tables_in(folder).keys() & {m.lower() for m in self.markers}))
        missing = [marker for marker in self.markers if marker.lower() not in tables_in(best)]
        raise UserError(
            f"No {self.database} tables in {root}: table '{missing[0]}' ({', '.join(missing[0] + e for e in ENDINGS)}, any case) "
            f"was looked for in {_listing(folders)}.\n{self.access}"
        )

    @property
    def synthetic(self) -> bool:
        """True if the tables were made up by `icu_lightning.synthesize`, which says so in the folder."""
        return (self.folder / MADE_UP).exists()

    def ids_digest(self, table: str, column: str) -> str:
        """SHA-256 of the different texts of a column, sorted as text, one a line. Raises UserError as `scan` and `collect` do."""
        ids = self.collect(self.scan(table, [column]).drop_nulls().unique())[column].sort()
        return hashlib.sha256("\n".join(ids).encode()).hexdigest()

    def __contains__(self, table: str) -> bool:
        return table.lower() in self.files

    def scan(
        self,
        table: str,
        columns: Iterable[str],
        *,
        optional: Iterable[str] = (),
        one_of: Sequence[str] = (),
        only: Mapping[str, Sequence[str]] | None = None,
    ) -> pl.LazyFrame:
        """The named columns of a table as text, names in lower case, blanks trimmed, empty cells null.

        Arguments:
            optional: columns that are null if the table lacks them.
            one_of: names that one column has had in different versions; it comes out under the first of them.
            only: column -> the texts that a row must have one of there; other rows are left before anything is done to them.

        Raises UserError if there is no such table, it cannot be opened, or it lacks one of the columns.
        """
        path = self._path(table)
        frame = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_csv(path, infer_schema=False)
        try:
            types = frame.collect_schema()
            names = {name.strip().lower(): name for name in types.names()}
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _damaged(path, error) from error
        if path.suffix.lower() == ".csv" and (problem := cut_short(path, len(names))):
            raise _damaged(path, problem)
        self.scanned[table.lower()] = frame
        for column, texts in (only or {}).items():
            name = _named(names, [column], path)
            frame = frame.filter(_text(name, types[name]).is_in([*texts, *(f"{text}{GAPS}" for text in texts)]))
        found = {column: _named(names, [column], path) for column in columns}
        found |= {one_of[0]: _named(names, one_of, path)} if one_of else {}
        found |= {c: names[c] for c in optional if c in names}
        absent = [c for c in optional if c not in names]
        whole = [_text(name, types[name]).alias(name) for name in found.values() if types[name].is_float()]
        frame = frame.with_columns(whole) if whole else frame
        exact = set(only or ())  # is one of the texts given, which have no blanks
        text = {c: pl.col(name).cast(pl.String) for c, name in found.items()}
        trimmed = [c for c in found if c not in exact]
        text |= {c: text[c].str.strip_chars() for c in trimmed}
        frame = frame.select(**text | {c: text[c].str.strip_suffix(GAPS) for c in found if c.endswith("id")})
        # Not `replace("", None)`: that is the one step here which polars 2.1 cannot stream, and it would hold the whole table in
        # memory. Nor together with the trimming, which would be done twice.
        frame = frame.with_columns(pl.when(pl.col(c) != "").then(c).alias(c) for c in trimmed)
        return frame.with_columns(pl.lit(None, pl.String).alias(c) for c in absent)

    def _path(self, table: str) -> Path:
        path = self.files.get(table.lower())
        if path is None:
            raise UserError(
                f"Table '{table}' of {self.database} is missing: looked for "
                f"{', '.join(table + e for e in ENDINGS)} (any case) in {self.folder}.\n{self.access}"
            )
        if others := twins(path):
            raise UserError(
                f"Table '{table}' of {self.database} is there more than once: {', '.join(map(str, [path, *others]))}. "
                "Which one is meant cannot be known: move the others away."
            )
        return path

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Run a query over these tables (streaming). Raises UserError naming the file that cannot be read to its end."""
        try:
            return frame.collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            for table, scan in self.scanned.items():
                _read_to_the_end(self.files[table], scan)
            raise RuntimeError(f"a query over {self.database} failed, though every table is readable") from error

    def fingerprint(self) -> list[list[str | int]]:
        """What identifies the content of every table: name, size, time of change, and a digest of both ends.

        The end of a .gz file is the checksum of its content, that of a .parquet file its statistics.
        """
        return [fingerprint(path) for _, path in sorted(self.files.items())]


def number(column: str) -> pl.Expr:
    """Text as a number; null where there is no text, or text that is no finite number."""
    value = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def unreadable(*columns: str, allowed: Sequence[str] = ()) -> pl.Expr:
    """The names of those columns whose text is there, but is no number (and none of the `allowed` words): a list."""
    wrong = (pl.col(c).is_not_null() & number(c).is_null() & ~pl.col(c).is_in(list(allowed)) for c in columns)
    return pl.concat_list([pl.when(w).then(pl.lit(c)) for c, w in zip(columns, wrong, strict=True)]).list.drop_nulls()


def tables_in(folder: Path) -> dict[str, Path]:
    """The tables of a folder and of the folders in it: 'name' or 'folder/name', lower case -> file.

    Of the same table in two forms, the first of ENDINGS is named here; `RawTables.scan` refuses it.
    """
    inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    below = {f"{sub.name.lower()}/{name}": path for sub in inside for name, path in _tables_of(sub).items()}
    return below | _tables_of(folder)


def _tables_of(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for ending in reversed(ENDINGS):
        found |= {
            p.name.lower().removesuffix(ending): p
            for p in sorted(folder.iterdir())
            if p.is_file() and p.name.lower().endswith(ending)
        }
    return found


def twins(path: Path) -> list[Path]:
    """Other files of the folder that hold the same table: in another form, or under a name in another case."""
    table = next(path.name.lower().removesuffix(e) for e in ENDINGS if path.name.lower().endswith(e))
    forms = {table + ending for ending in ENDINGS}
    return sorted(p for p in path.parent.iterdir() if p != path and p.is_file() and p.name.lower() in forms)


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column as text; whole numbers of a .parquet's float column, into which gaps turn ids and flags, without a ".0"."""
    column = pl.col(name)
    if not dtype.is_float():
        return column.cast(pl.String)
    column = column.fill_nan(None)
    is_whole = (column == column.round()) & (column.abs() < 2**53)
    return pl.when(is_whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))


def fingerprint(path: Path) -> list[str | int]:
    """Name, size, time of change, and the digest of the first and last 64 KiB of a file."""
    stat = path.stat()
    with path.open("rb") as file:
        digest = hashlib.blake2b(file.read(65536))
        file.seek(max(0, stat.st_size - 65536))
        digest.update(file.read())
    return [path.name, stat.st_size, stat.st_mtime_ns, digest.hexdigest()]


def _folders(root: Path, depth: int) -> Iterable[Path]:
    yield root
    if depth:
        for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
            yield from _folders(folder, depth - 1)


def _listing(folders: Sequence[Path], most: int = 8) -> str:
    names = ", ".join(str(folder) for folder in folders[:most])
    return names + (f" and {len(folders) - most} more folders" if len(folders) > most else "")


def _read_to_the_end(path: Path, scan: pl.LazyFrame) -> None:
    try:
        scan.select(pl.all().count()).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(path, error) from error


def _named(names: Mapping[str, str], wanted: Sequence[str], path: Path) -> str:
    """The table's own spelling of the first of these columns that it has."""
    for column in wanted:
        if column in names:
            return names[column]
    raise lacking(path, wanted, list(names))


def _damaged(path: Path, error: Exception | str) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(f"Cannot read {path}: {reason}. The file is damaged or cut short; download it again.")
