"""python -m icu_lightning.download: the open data sets from PhysioNet, resumable, checked against the official SHA256SUMS.txt.

An interrupted file is kept as NAME.part and continued where it stopped; a file takes its name only once its digest is right.
The full databases need credentials and are not downloaded here: the message says where to apply.
"""

import argparse
import hashlib
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from icu_lightning.errors import UserError, unknown_name
from icu_lightning.terminal import console, interactive, say

PHYSIONET = "https://physionet.org/files"
ATTEMPTS = 4
CHUNK = 1 << 18


@dataclass(frozen=True)
class OpenData:
    """A project of PhysioNet: `wanted` is what of its files is downloaded, None all of them."""

    project: str
    version: str
    wanted: str | None = None


OPEN: Mapping[str, OpenData] = {
    "mimic3-demo": OpenData("mimiciii-demo", "1.4"),
    "mimic4-demo": OpenData("mimic-iv-demo", "2.2"),
    "eicu-demo": OpenData("eicu-crd-demo", "2.0.1"),
    "physionet2012": OpenData("challenge-2012", "1.0.0", r"set-[abc]\.tar\.gz|Outcomes-[abc]\.txt|LICENSE.*"),
}
CREDENTIALED = {
    "mimic3": "https://physionet.org/content/mimiciii/1.4/",
    "mimic4": "https://physionet.org/content/mimiciv/",
    "eicu": "https://physionet.org/content/eicu-crd/2.0/",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m icu_lightning.download", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help=f"one of {', '.join(OPEN)}")
    parser.add_argument("--to", type=Path, default=Path(os.environ.get("ICU_DATA_ROOT", "icu-data")), metavar="FOLDER")
    parser.add_argument("--server", default=PHYSIONET, metavar="URL", help=f"a mirror of {PHYSIONET}")
    arguments = parser.parse_args()
    try:
        folder = download(arguments.name, arguments.to.expanduser(), arguments.server)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command continues where it was.")
    data = arguments.name.removesuffix("-demo")
    say(f"{folder} is complete. Use it: python -m icu_lightning.run data={data} data.root={folder}")


def download(name: str, to: Path, server: str = PHYSIONET) -> Path:
    """Download what is missing of an open data set into `to`/<project>-<version>; returns that folder.

    Raises UserError for a name that is not open, a server that does not answer, or a file whose digest stays wrong.
    """
    if name in CREDENTIALED:
        raise UserError(
            f"'{name}' holds data of real patients and needs credentials. Apply at {CREDENTIALED[name]} (training, then a data use "
            f"agreement), download it there, and set data.root to its folder. Open to everybody: {', '.join(OPEN)}."
        )
    if name not in OPEN:
        raise unknown_name("data set", name, [*OPEN, *CREDENTIALED])
    data = OPEN[name]
    source = f"{server.rstrip('/')}/{data.project}/{data.version}"
    folder = to / f"{data.project}-{data.version}"
    sums = {
        path: digest
        for path, digest in official_sums(source).items()
        if not data.wanted or re.fullmatch(data.wanted, path)
    }
    if not sums:
        raise UserError(f"{source}/SHA256SUMS.txt lists no file of '{name}'.")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not interactive()) as progress:
        for i, (path, digest) in enumerate(sorted(sums.items())):
            task = progress.add_task(f"{i + 1}/{len(sums)} {path}", total=None)

            def advance(n: int, total: int | None, task: TaskID = task) -> None:
                progress.update(task, advance=n, total=total)

            complete_file(f"{source}/{urllib.parse.quote(path)}", folder / path, digest, advance)
            progress.remove_task(task)
    return folder


def official_sums(source: str) -> dict[str, str]:
    """path -> SHA-256 of every file that SHA256SUMS.txt lists. Raises UserError for a line that is none, or a path outside."""
    url = f"{source}/SHA256SUMS.txt"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            lines = answer.read().decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {url}: {error}. Is there a connection?") from error
    sums = {}
    for line in filter(str.strip, lines):
        found = re.fullmatch(r"([0-9a-f]{64}) [ *]?(.+)", line.strip())
        if not found or PurePosixPath(found[2]).is_absolute() or ".." in PurePosixPath(found[2]).parts:
            raise UserError(f"{url} has a line that is no digest and path: {line[:80]}")
        sums[found[2].removeprefix("./")] = found[1]
    return sums


def complete_file(url: str, path: Path, digest: str, advance: Callable[[int, int | None], object]) -> None:
    """Make sure that `path` is there with this digest, going on from what was downloaded before.

    Arguments:
        advance: told the bytes that came, and the size if known.

    Raises UserError if it cannot be had after ATTEMPTS tries, or its digest is wrong twice.
    """
    if path.exists() and sha256(path) == digest:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for fresh in (False, True):  # a part that turns out wrong is thrown away, once
        if fresh:
            part.unlink(missing_ok=True)
        fetch(url, part, advance)
        if sha256(part) == digest:
            os.replace(part, path)
            return
    part.unlink()
    raise UserError(
        f"{url} does not have the digest that SHA256SUMS.txt gives it ({digest[:12]}...), downloaded twice. Try again later."
    )


def fetch(url: str, part: Path, advance: Callable[[int, int | None], object]) -> None:
    """Append to `part` what it lacks of the file; a broken connection is taken up again. Raises UserError after ATTEMPTS."""
    for attempt in range(ATTEMPTS):
        start = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                resumed = answer.status == 206
                size = answer.headers.get("Content-Length")
                total = int(size) + (start if resumed else 0) if size else None
                with part.open("ab" if resumed else "wb") as file:
                    while chunk := answer.read(CHUNK):
                        file.write(chunk)
                        advance(len(chunk), total)
            if total is None or part.stat().st_size >= total:
                return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing is left after `start`: the part is whole, its digest will tell
                return
            if error.code < 500 or attempt == ATTEMPTS - 1:
                raise UserError(f"{url}: the server answers {error.code} {error.reason}.") from error
        except OSError as error:
            if attempt == ATTEMPTS - 1:
                raise UserError(f"{url}: {error}. What came is kept; the same command goes on from there.") from error
    raise UserError(
        f"{url}: the connection broke {ATTEMPTS} times. What came is kept; the same command goes on from there."
    )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
