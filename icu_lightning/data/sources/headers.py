"""The two ends of a table's text: a first line that should name the columns, and a last line that should be whole.

What is said of a first line are names of columns, never cells: a table without a header begins with a patient's data.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from icu_lightning.errors import UserError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]{0,60}")
END = 65536  # bytes: longer than any line


def lacking(path: Path, wanted: Iterable[str], columns: Sequence[str]) -> UserError:
    """The error of a table that has none of the `wanted` columns, which are one under several names.

    >>> print(lacking(Path("lab.csv"), ["labname"], ["labid", "labresult"]))
    lab.csv has no column 'labname'; its columns are: labid, labresult.
    >>> print(lacking(Path("lab.csv"), ["labname"], ["132539", "M", "6.5"]))
    lab.csv has no column 'labname': 2 of the 3 cells of its first line are no names, so it seems to have no header.
    >>> print(lacking(Path("lab.csv"), ["labname"], ["labid;labname"]))
    lab.csv has no column 'labname': its first line is a single cell. Cells are to be separated by commas.
    """
    said = f"{path} has no column '{' or '.join(wanted)}'"
    if not_names := sum(not NAME.fullmatch(column) for column in columns):
        if len(columns) == 1:
            return UserError(f"{said}: its first line is a single cell. Cells are to be separated by commas.")
        return UserError(
            f"{said}: {not_names} of the {len(columns)} cells of its first line are no names, so it seems to have no header."
        )
    return UserError(f"{said}; its columns are: {', '.join(columns)}.")


def cut_short(path: Path, n_columns: int) -> str | None:
    """What is wrong with the end of a .csv, or None: its last line has fewer cells than columns and no end."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - END))
        last = file.read().rsplit(b"\n", 1)[-1].decode(errors="replace")
    cells = len(next(csv.reader([last]), []))
    if last and cells < n_columns:
        return f"its last line ends after {cells} of {n_columns} cells"
    return None
