"""What a sweep costs beside its jobs' training, and what two jobs side by side save.

Every comparison is made inside one run of this script, its sides in turn; each number is a median with its range.

    python experiments/benchmarks/sweeping.py --repeats 3

1. A job in a process of its own: its seconds without those of `fitted`, its training, which it notes itself, beside the import of
   its packages alone.
2. The same job in a sweep, which forks each from a parent that has imported them: what one job more costs.
3. Two trainings of one thread each: one after another, and side by side (launcher=local). Needs two cores with nothing else on them.
"""

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from skeleton import Row, interleaved, print_rows, process, ratios, row

RUN = [sys.executable, "-m", "icu_lightning.run"]
QUICK = ["model=logistic_regression", "data=synthetic", "data.stays=500", "report=none", "bootstrap=20"]
LONG = ["model=focal_lstm", "data=synthetic", "report=none", "bootstrap=20", "trainer.threads=1", "model.patience=1000"]
IMPORT = [sys.executable, "-c", "import icu_lightning.sweep.preloaded"]
TIMED = """
import pathlib, sys, time
from icu_lightning import pipeline, run
fitted, note = pipeline.fitted, pathlib.Path(sys.argv[1])
def timed(*given, **named):
    began = time.perf_counter()
    model = fitted(*given, **named)
    note.write_text(str(time.perf_counter() - began))
    return model
pipeline.fitted, sys.argv = timed, [run.__file__, *sys.argv[2:]]
run.main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40, help="of each of the two trainings")
    parser.add_argument("--out", type=Path, help="also write the table as JSON here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OMP_NUM_THREADS"] = "1"
        rows = job_rows(folder, asked.repeats) + side_by_side_rows(folder, asked.repeats, asked.epochs)
    print_rows(rows)
    if asked.out:
        facts = {"repeats": asked.repeats, "epochs": asked.epochs, "cores": len(os.sched_getaffinity(0))}
        asked.out.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")


def job_rows(folder: str, repeats: int) -> list[Row]:
    """A job's seconds beside its packages' import; the data come from the cache, as they do from a sweep's second job on."""
    training: list[float] = []
    sides = {
        "import": partial(process, IMPORT, folder),
        "job": partial(timed_run, QUICK, folder, training),
        "two": partial(new_sweep, [*QUICK, "seed=0,1"], folder),
        "ten": partial(new_sweep, [*QUICK, f"seed={','.join(map(str, range(10)))}"], folder),
    }
    seconds = interleaved(sides, repeats)
    training = training[1:]  # without the first, which is not counted
    rounds = zip(seconds["job"], seconds["import"], training, strict=True)
    beside = [job - packages - fit for job, packages, fit in rounds]
    more = [(ten - two) / 8 for ten, two in zip(seconds["ten"], seconds["two"], strict=True)]
    return [
        row("import of a job's packages", seconds["import"], "s"),
        row("its training", training, "s"),
        row("a job in a fresh process, beside import and training", beside, "s", "<= 1"),
        row("a job more in a sweep", more, "s", "< 2"),
    ]


def side_by_side_rows(folder: str, repeats: int, epochs: int) -> list[Row]:
    words = [*LONG, f"trainer.max_epochs={epochs}", "seed=0,1"]
    sides = {
        "sequential": partial(new_sweep, words, folder),
        "local": partial(new_sweep, [*words, "launcher=local", "launcher.jobs=2"], folder),
    }
    seconds = interleaved(sides, repeats)
    return [
        row("two jobs one after another", seconds["sequential"], "s"),
        row("two jobs side by side", seconds["local"], "s"),
        row("side by side / one after another", ratios(seconds["local"], seconds["sequential"]), "ratio", "< 0.65"),
    ]


def timed_run(words: list[str], folder: str, training: list[float]) -> None:
    """A job of `words` in a fresh process; the seconds of its training are added to `training`."""
    own = Path(tempfile.mkdtemp(dir=folder))
    process([sys.executable, "-c", TIMED, str(own / "seconds"), *words, f"hydra.run.dir={own}/run"], folder)
    training.append(float((own / "seconds").read_text()))


def new_sweep(words: list[str], folder: str) -> None:
    process([*RUN, "-m", *words, f"hydra.sweep.dir={tempfile.mkdtemp(dir=folder)}/sweep"], folder)


if __name__ == "__main__":
    main()
