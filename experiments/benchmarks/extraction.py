"""From chartevents.csv.gz and labevents.csv.gz to hourly values of 13 variables: this package, pandas in chunks, duckdb.

Every side is a process of its own, so that its peak memory is its own; the sides are taken in turn inside one run, round by
round, and told as median and range, and as ratios inside a round: of seconds on the wall, which a busy neighbour lengthens, and of
processor seconds, which it does not. All sides answer the same question (extraction_peers.py), and their values must agree, or the
run ends with an error.

  raw       the package's path (source, cohort, cleaning, grid) on the raw tables, nothing kept
  first     what a user's first run does: the narrow cache is written for every concept, then read
  second    the same from the narrow cache
  pandas    read_csv in chunks of a million rows
  duckdb    one query
  pipeline  tables to tensors as `python -m icu_lightning.run data=mimic4` does it, with an empty cache; not compared

Tables that are not there yet are written first (mimic4_tables.py); 60 million rows take a minute and 0.8 GB, the full
313,645,063 rows and 118,171,367 laboratory rows seven minutes and 6 GB. pandas and duckdb: `pip install -e .[benchmarks]`.

Examples:
  python experiments/benchmarks/extraction.py --rows 20000000 --repeats 3
  python experiments/benchmarks/extraction.py --rows 5000000 20000000 60000000 --sides raw first --repeats 1
  python experiments/benchmarks/extraction.py --rows 313645063 --lab-rows 118171367 --sides raw first second pipeline \\
      --repeats 1 --delete
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
HOURS = 48
VARIABLES = [
    *("heart_rate", "temperature", "sbp", "dbp", "map", "respiratory_rate", "spo2"),  # of chartevents
    *("glucose", "hemoglobin", "potassium", "sodium", "lactate", "creatinine"),  # of labevents
]
SIDES = ("raw", "first", "second", "pandas", "duckdb", "pipeline")
RATIOS = {  # slower / faster: goal
    ("pandas", "raw"): ">= 2.5",
    ("duckdb", "raw"): ">= 2",
    ("pandas", "first"): "",
    ("duckdb", "first"): "",
    ("raw", "second"): ">= 4",
    ("first", "raw"): "",
}
BYTES_A_ROW = 16  # of a long table, compressed; a little more than it takes
Measured = dict[str, float]  # seconds, processor (seconds), gigabytes


def main() -> None:
    arguments = parsed()
    for rows in arguments.rows:
        labs = rows // 20 if arguments.lab_rows is None else arguments.lab_rows
        folder = arguments.folder / f"{rows}-{labs}"
        made_sure(folder, rows, labs)
        measured = rounds(folder, arguments.sides, arguments.repeats)
        print_table(rows, labs, measured)
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps({"rows": rows, "lab_rows": labs, **facts(), "measured": measured}) + "\n")
        if arguments.delete:
            shutil.rmtree(folder)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000_000], help="of chartevents (default: 20000000)")
    parser.add_argument("--lab-rows", type=int, help="of labevents (default: a twentieth of --rows)")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES[:5], help="default: all but pipeline")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; there is no warm-up (default: 3)")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "bench-mimic4", help="of the tables of all sizes"
    )
    parser.add_argument("--delete", action="store_true", help="delete each size's tables when it is measured")
    parser.add_argument("--out", type=Path, help="also append every measurement as a line of JSON here")
    parser.add_argument(
        "--side", nargs=4, help=argparse.SUPPRESS
    )  # SIDE TABLES CACHE VALUES: the child of a measurement
    arguments = parser.parse_args()
    if arguments.side:
        side, tables, cache, values = arguments.side
        sys.exit(child(side, Path(tables), Path(cache), Path(values)))
    return arguments


def facts() -> dict[str, Any]:
    packages = ("polars", "pandas", "duckdb", "numpy")
    versions = {p: importlib.metadata.version(p) for p in packages if importlib.util.find_spec(p)}
    return {"versions": versions, "cores": os.cpu_count(), "load": os.getloadavg()[0]}


def made_sure(folder: Path, rows: int, labs: int) -> None:
    """Tables of this size in the folder; written by another process, because the peak memory of this one would be inherited."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = BYTES_A_ROW * (rows + 2 * labs), shutil.disk_usage(folder.parent).free
    if needed > free:
        sys.exit(
            f"{folder.parent} has {free / 1e9:.1f} GB left, and the tables need {needed / 1e9:.1f}: choose another --folder."
        )
    print(f"writing {rows:,} rows to {folder}", file=sys.stderr)
    command = [sys.executable, str(HERE / "mimic4_tables.py"), str(folder)]
    subprocess.run([*command, f"--rows={rows}", f"--lab-rows={labs}"], check=True)


# Measuring


def rounds(folder: Path, sides: Sequence[str], repeats: int) -> dict[str, list[Measured]]:
    """Each side in turn, `repeats` times. Raises SystemExit if two of them disagree."""
    measured: dict[str, list[Measured]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as kept:
        cache, values = Path(kept) / "cache", Path(kept) / "values"
        values.mkdir()
        for index in range(repeats):
            for side in sorted(sides, key=SIDES.index):
                if side in ("first", "pipeline"):
                    shutil.rmtree(cache, ignore_errors=True)
                one = in_a_process(side, folder, cache, values)
                measured[side].append(one)
                said = f"{one['seconds']:.2f} s, {one['processor']:.2f} processor s, {one['gigabytes']:.2f} GB"
                print(f"  {index + 1}/{repeats} {side}: {said}", file=sys.stderr)
        if comparable := [values / f"{side}.npy" for side in sides if side != "pipeline"]:
            compare(comparable)
    return measured


def in_a_process(side: str, *paths: Path) -> Measured:
    command = [sys.executable, __file__, "--side", side, *map(str, paths)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{side} ended with {ended.returncode}")
    return json.loads(ended.stdout.splitlines()[-1])


def child(side: str, tables: Path, cache: Path, values: Path) -> int:
    """Prints seconds (without imports) and peak memory (with all), and keeps the values (stays, hours, variables)."""
    work = side_of(side, tables, cache)
    start, processor = time.perf_counter(), time.process_time()
    grid = work()
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    np.save(values / f"{side}.npy", grid)
    print(json.dumps({"seconds": seconds, "processor": processor, "gigabytes": gigabytes}))
    return 0


def side_of(side: str, tables: Path, cache: Path) -> Callable[[], np.ndarray]:
    """The work of a side, with what it needs imported."""
    if side == "pipeline":
        return pipeline(tables, cache)
    if side in ("pandas", "duckdb"):
        import extraction_peers

        return getattr(extraction_peers, side)(tables, VARIABLES, HOURS)
    from icu_lightning.data.extract import extract
    from icu_lightning.data.narrow import NarrowTables, narrowed
    from icu_lightning.data.sources.mimic4 import MIMIC4

    def ours() -> np.ndarray:
        source = narrowed(MIMIC4(tables), None if side == "raw" else cache, say=sys.exit)
        assert isinstance(source, NarrowTables) == (side != "raw")
        return extract(source, HOURS, VARIABLES, cohort=[], outcome="died_in_hospital").values

    return ours


def pipeline(tables: Path, cache: Path) -> Callable[[], np.ndarray]:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from icu_lightning.data.module import ICUDataModule
    from icu_lightning.data.settings import source_and_settings
    from icu_lightning.run import CONF

    overrides = ["data=mimic4", f"data.root={tables}", f"data.cache_dir={cache}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        conf: Any = OmegaConf.to_container(compose("run", overrides=overrides)["data"], resolve=True)

    def prepared() -> np.ndarray:
        data = ICUDataModule(*source_and_settings(**conf), say=sys.exit)
        data.setup()
        return data.extract.values

    return prepared


def compare(paths: Sequence[Path]) -> None:
    """The package's own values to the bit, and others' to the 1e-4 units to which the package rounds what it sums."""
    first = np.load(paths[0])
    for path in paths[1:]:
        other = np.load(path)
        far = ~np.isclose(first, other, rtol=1e-5, atol=2e-4, equal_nan=True) if first.shape == other.shape else None
        if far is None or far.any():
            where = (
                f"shapes {first.shape} and {other.shape}"
                if far is None
                else f"{far.sum()} cells, as {np.argwhere(far)[0]}"
            )
            sys.exit(f"{paths[0].stem} and {path.stem} disagree: {where}")
    print(f"{len(paths)} sides agree on {np.isfinite(first).sum():,} of {first.size:,} cells", file=sys.stderr)


# Telling


def print_table(rows: int, labs: int, measured: Mapping[str, Sequence[Measured]]) -> None:
    print(f"\n{rows:,} rows of chartevents, {labs:,} of labevents\n")
    print("| side | s | range | processor s | range | peak GB |\n|---|---:|---:|---:|---:|---:|")
    for side, rounds_of in measured.items():
        times = (told([one[kind] for one in rounds_of]) for kind in ("seconds", "processor"))
        print(f"| {side} | {' | '.join(times)} | {max(one['gigabytes'] for one in rounds_of):.2f} |")
    ratios = {pair: goal for pair, goal in RATIOS.items() if measured.keys() >= set(pair)}
    if ratios:
        print("\n| of a round | s | range | processor s | range | goal |\n|---|---:|---:|---:|---:|---|")
    for (above, below), goal in ratios.items():
        pairs = list(zip(measured[above], measured[below], strict=True))
        times = (told([a[kind] / b[kind] for a, b in pairs]) for kind in ("seconds", "processor"))
        print(f"| {above} / {below} | {' | '.join(times)} | {goal} |")


def told(values: Sequence[float]) -> str:
    """Median and range, as two cells of a table."""
    return f"{statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    main()
