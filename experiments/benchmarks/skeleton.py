"""How fast the walking skeleton is: eICU demo to tensors, Lightning against a bare loop, start-up of the command.

Every comparison is made inside one run, its sides taken in turn after one warm-up of each, and told as the median and the
range of the repeats; nothing is asserted, because timings of a shared machine are no contract. Imports are in no time of
the parts `data` and `training`, and in every time of `startup`, whose commands are processes of their own.
"""

import argparse
import csv
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning  # noqa: F401  # loads torch, here and not inside a measurement
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from icu_lightning.build import built
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from icu_lightning.models.base import RiskModule
from icu_lightning.run import CONF
from icu_lightning.training import read_metrics, stable_seed

FIFTEEN = "[heart_rate,temperature,sbp,dbp,map,respiratory_rate,spo2,glucose,hemoglobin,potassium,sodium,lactate,creatinine,wbc,bun]"
SHAPES = {
    "24 h x 11": ["data.hours=24"],
    "48 h x 15": ["data.hours=48", f"data.variables={FIFTEEN}", "data.cohort.5.in_icu_at_prediction=48"],
}
PLAIN = Path(__file__).with_name("plain_lightning.py")
PARTS = ("data", "training", "startup")
Row = dict[str, Any]  # what, value (median), low, high, unit, goal


def main() -> None:
    arguments = parsed()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    rows: list[Row] = []
    if "data" in arguments.parts:
        rows += data_rows(arguments.data_root, arguments.repeats)
    if "training" in arguments.parts:
        for name in SHAPES:
            rows += training_rows(name, arguments.stays, arguments.epochs, arguments.repeats)
    if "startup" in arguments.parts:
        rows += startup_rows(arguments.repeats)
    print_rows(rows)
    if arguments.out:
        facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "repeats": arguments.repeats}
        arguments.out.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-root", default=os.environ.get("ICU_DATA_ROOT"), help="holds the eICU demo (default: ICU_DATA_ROOT)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement, after one warm-up (default: 5)")
    parser.add_argument("--stays", type=int, default=4000, help="synthetic stays before the cohort (default: 4000)")
    parser.add_argument("--epochs", type=int, default=10, help="of each training measurement (default: 10)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--out", type=Path, help="also write the table as JSON here")
    return parser.parse_args()


# Timing


def interleaved(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each side, A B C A B C ..., after one call of each that is not counted."""
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def row(what: str, values: Sequence[float], unit: str, goal: str = "") -> Row:
    median = statistics.median(values)
    return {"what": what, "value": median, "low": min(values), "high": max(values), "unit": unit, "goal": goal}


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratio within each round: what slows both sides of a round at once cancels."""
    return [a / b for a, b in zip(above, below, strict=True)]


def print_rows(rows: Sequence[Row]) -> None:
    print(f"| {'measured':<58} | {'median':>9} | {'range':>19} | {'unit':<9} | {'goal':<7} |\n|---|---:|---:|---|---|")
    for r in rows:
        median, *ends = (f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3f}" for x in (r["value"], r["low"], r["high"]))
        print(f"| {r['what']:<58} | {median:>9} | {' to '.join(ends):>19} | {r['unit']:<9} | {r['goal']:<7} |")


def composed(*overrides: str) -> dict[str, Any]:
    """The configuration of `python -m icu_lightning.run` with these overrides, plain."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("run", overrides=list(overrides)), resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


# 1. eICU demo -> tensors


def data_rows(root: str | None, repeats: int) -> list[Row]:
    """Raw tables to tensors, and the same from the cache; the first call of the process is told apart."""
    if not root:
        print("data: left out, because neither --data-root nor ICU_DATA_ROOT is set", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as cache_dir:
        cold, warm = (partial(prepared, composed("data=eicu")["data"], root, at) for at in (None, cache_dir))
        start = time.perf_counter()
        cold()
        first = time.perf_counter() - start
        seconds = interleaved({"cold": cold, "warm": warm}, repeats)
    return [
        row("eICU demo: tables -> tensors, first of the process", [first], "s", "< 5"),
        row("eICU demo: tables -> tensors", seconds["cold"], "s", "< 5"),
        row("eICU demo: cache -> tensors", seconds["warm"], "s", "< 1"),
    ]


def prepared(conf: Mapping[str, Any], root: str, cache_dir: str | None) -> ICUDataModule:
    """Batches shuffled from a seed, as `run` does it."""
    data = ICUDataModule(*source_and_settings(**{**conf, "root": root, "cache_dir": cache_dir}), seed=1)
    data.setup()
    return data


# 2. Training


def training_rows(shape: str, stays: int, epochs: int, repeats: int) -> list[Row]:
    """Samples/s of three loops over the same tensors, which must reach the same validation loss to be compared."""
    config = composed("data=synthetic", f"data.stays={stays}", "data.cache_dir=null", *SHAPES[shape])
    data = ICUDataModule(*source_and_settings(**config["data"]), seed=1)
    data.setup()
    under_lightning = partial(lightning_loop, config, data, epochs)
    bare, bare_train = (partial(bare_loop, config, data, epochs, validate=validate) for validate in (True, False))
    if (ours := under_lightning()) != (theirs := bare()):
        print(f"{shape}: the loops disagree, validation loss {ours} and {theirs}: the ratio means little", file=sys.stderr)
    sides = {"Lightning": under_lightning, "bare": bare, "bare, no validation": bare_train}
    with torch_defaults():
        seconds = interleaved(sides, repeats)
    samples = epochs * len(data.train)
    rows = [row(f"{shape}: {name}", [samples / s for s in seconds[name]], "samples/s") for name in sides]
    rows.append(row(f"{shape}: Lightning / bare", ratios(seconds["bare"], seconds["Lightning"]), "ratio", ">= 0.85"))
    against = ratios(seconds["bare, no validation"], seconds["Lightning"])
    return [*rows, row(f"{shape}: Lightning / bare without validation", against, "ratio")]


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Deterministic algorithms, which the Trainer turns on for the whole process, are off again for a bare loop."""
    yield
    torch.use_deterministic_algorithms(False)


def fresh_model(config: Mapping[str, Any], data: ICUDataModule) -> RiskModule:
    """A new model with the run's initial weights, which early stopping cannot stop."""
    torch.manual_seed(stable_seed(config["seed"], "initial weights"))
    return built({**config["model"], "patience": 10**6}, shape=data.shape)


def lightning_loop(config: Mapping[str, Any], data: ICUDataModule, epochs: int) -> str:
    """Fit as `run` does it, everything written that `run` writes; the validation loss of the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        conf = {**config["trainer"], "max_epochs": epochs}
        trainer = built(conf, folder=Path(folder), seed=config["seed"], loggers=[], progress=False)
        fresh_model({**config, "model": {**config["model"], "max_epochs": epochs}}, data).fit(data, trainer)
        return read_metrics(Path(folder) / "metrics.csv")[-1]["val/loss"]
