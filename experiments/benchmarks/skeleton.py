"""How fast the walking skeleton is: eICU demo to tensors, Lightning against a bare loop, start-up of the command.

Every comparison is made inside one run, its sides taken in turn after one warm-up of each, and told as the median and the
range of the repeats; nothing is asserted, because timings of a shared machine are no contract. Imports are in no time of
the parts `data` and `training`, and in every time of `startup`, whose commands are processes of their own.
"""

import argparse
import json
import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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
from icu_lightning.training.stages import read_metrics, stable_seed

ELEVEN = "[heart_rate,temperature,sbp,dbp,map,respiratory_rate,spo2,glucose,hemoglobin,potassium,sodium]"
SHAPES = {
    "24 h x 11": ["cohort=mtdm", "data.hours=24", f"data.variables={ELEVEN}"],
    "48 h x 15": [],  # the focal LSTM's own
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
        cold, warm = (
            partial(prepared, composed("data=eicu", *SHAPES["24 h x 11"])["data"], root, at) for at in (None, cache_dir)
        )
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
    ours, theirs = under_lightning(), bare()
    if not math.isclose(ours, theirs, rel_tol=1e-4):
        print(f"{shape}: the loops end at validation losses {ours} and {theirs}: no fair ratio", file=sys.stderr)
    sides = {"Lightning": under_lightning, "bare": bare, "bare, no validation": bare_train}
    seconds = interleaved(sides, repeats)
    samples = epochs * len(data.train)
    rows = [row(f"{shape}: {name}", [samples / s for s in seconds[name]], "samples/s") for name in sides]
    rows.append(row(f"{shape}: Lightning / bare", ratios(seconds["bare"], seconds["Lightning"]), "ratio", ">= 0.85"))
    against = ratios(seconds["bare, no validation"], seconds["Lightning"])
    return [*rows, row(f"{shape}: Lightning / bare without validation", against, "ratio")]


def fresh_model(config: Mapping[str, Any], data: ICUDataModule) -> RiskModule:
    """A new model with the run's initial weights, which early stopping cannot stop."""
    torch.manual_seed(stable_seed(config["seed"], "initial weights"))
    return built({**config["model"], "patience": 10**6}, shape=data.shape)


def lightning_loop(config: Mapping[str, Any], data: ICUDataModule, epochs: int) -> float:
    """Fit as `run` does it, everything written that `run` writes; the validation loss of the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        conf = {**config["trainer"], "max_epochs": epochs}
        trainer = built(conf, folder=Path(folder), seed=config["seed"], loggers=[], progress=False)
        fresh_model({**config, "model": {**config["model"], "max_epochs": epochs}}, data).fit(data, trainer)
        return float(read_metrics(Path(folder) / "metrics.csv")[-1]["val/loss"])


def bare_loop(config: Mapping[str, Any], data: ICUDataModule, epochs: int, validate: bool = True) -> float:
    """The same weights, batches, dropout, loss and optimizer in a plain loop; the validation loss of the last epoch.

    torch's defaults: the deterministic algorithms that the Trainer has turned on in this process are off again.
    Its number of threads, which the StageTrainer has set in this process as well, stays: both sides have the same.
    """
    torch.use_deterministic_algorithms(False)
    model, loader = fresh_model(config, data), data.train_dataloader()
    optimizer = model.make_optimizer(model.parameters())
    val_loss = math.nan
    for epoch in range(epochs):
        torch.manual_seed(stable_seed(config["seed"], "fit", epoch, 0))
        loader.set_epoch(epoch)
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            (model.loss(model.network(batch), batch.label) + model.penalty()).backward()
            optimizer.step()
        if validate:
            val_loss = validation_loss(model, data)
    return val_loss


@torch.inference_mode()
def validation_loss(model: RiskModule, data: ICUDataModule) -> float:
    model.eval()
    losses = [(model.loss(model.network(batch), batch.label).item(), len(batch)) for batch in data.val_dataloader()]
    return sum(loss * n for loss, n in losses) / len(data.val)


# 3. Start-up


def startup_rows(repeats: int) -> list[Row]:
    """Processes of their own in an empty folder: what answers without torch, then one epoch from nothing to metrics.json."""
    command = [sys.executable, "-m", "icu_lightning.run"]
    with tempfile.TemporaryDirectory() as cwd:
        answers = {
            "--help": partial(process, [*command, "--help"], cwd),
            "--cfg job": partial(process, [*command, "--cfg", "job"], cwd),
            "model=typo": partial(process, [*command, "model=typo"], cwd, fails=True),
        }
        threads = composed()["trainer"]["threads"] or 0  # both sides alike
        fitted = [sys.executable, str(PLAIN), str(threads), "350", "50", "24", "11"]
        epochs = {"run": partial(one_epoch, command, cwd), "plain": partial(process, fitted, cwd)}
        seconds = interleaved({**answers, **epochs}, repeats)
    return [
        *(row(f"start-up: {name}", seconds[name], "s", "<= 0.5") for name in answers),
        row("one epoch of 500 synthetic stays: icu_lightning.run", seconds["run"], "s"),
        row("one epoch: plain Lightning script", seconds["plain"], "s"),
        row("one epoch: icu_lightning.run / plain", ratios(seconds["run"], seconds["plain"]), "ratio", "<= 1.3"),
    ]


def one_epoch(command: Sequence[str], cwd: str) -> None:
    """A first run: its cache folder is new."""
    new = tempfile.mkdtemp(dir=cwd)
    process([*command, *SHAPES["24 h x 11"], "trainer.max_epochs=1", "data.stays=500", f"data.cache_dir={new}"], cwd)


def process(command: Sequence[str], cwd: str, fails: bool = False) -> None:
    """Run to its end. Raises RuntimeError, with what it said, if it ends otherwise than expected."""
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if (ended.returncode != 0) != fails:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")


if __name__ == "__main__":
    main()
