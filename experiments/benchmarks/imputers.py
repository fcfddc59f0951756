"""BRITS, SAITS, GRU-D and CSDI of this package against PyPOTS': training speed, and errors in the same cells of PhysioNet 2012.

Both sides have the same widths, batches of 64, Adam at 1e-3, and are trained by their own loops as a user would: this package's with
its trainer, checkpoints and validation, PyPOTS' with its own. Sides are taken in turn, in one process, after a warm-up of each; speeds
are medians of the rounds, in training samples a processor second, which what else the machine does disturbs least.
`mae`: both are trained for as many epochs on set a, the best epoch of the same hidden validation cells is kept (of CSDI: that of the
least loss), and the same cells of test stays are hidden from both; CSDI's estimate is the median of DRAWS draws, of 50 steps of DDPM
by PyPOTS, of six of DPM-Solver++ by ours. Both stop after 15 epochs without a better validation, at `--epochs` at the latest; ratios
have intervals over test stays, each of another patient. `--hours 24 --variables ...` cuts the stays to a smaller window, which CSDI
needs on a CPU.
PyPOTS is no dependency of this package; give the benchmark an environment of its own:

    python -m venv peer && peer/bin/pip install torch==2.13.0 pypots && peer/bin/pip install -e .
    PYTHONPATH=. peer/bin/python experiments/benchmarks/imputers.py --out imputers.json
"""

import argparse
import contextlib
import io
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf

from icu_lightning.atomic import write_text
from icu_lightning.batch import BatchShape, StayBatch, hours_since_last
from icu_lightning.build import built
from icu_lightning.data.loader import TrainingData
from icu_lightning.data.masking import shown
from icu_lightning.models.imputers.filling import median_of_draws
from icu_lightning.models.imputers.pypots import with_gaps
from icu_lightning.run import CONF
from icu_lightning.training.stages import StageTrainer

Array = NDArray[np.float64]
METHODS = ("brits", "saits", "gru_d", "csdi")
USUAL = METHODS[:3]
GOALS = dict.fromkeys(USUAL, 1.5) | {"csdi": 1.4}  # times PyPOTS' samples a second
BATCH, HOURS, VARIABLES, MISSING = 64, 48, 15, 0.7
RATES = (0.1, 0.5, 0.9)
DRAWS = 10
PEERS = {"brits": "BRITS", "saits": "SAITS", "csdi": "CSDI"}
SAME = {  # words of ours, and of PyPOTS, that make the two equally wide
    "brits": ([], []),
    "saits": ([], ["model.imputer.usual.d_k=32", "model.imputer.usual.d_v=32"]),
    "gru_d": ([], []),
    "csdi": (
        ["model/size=small", "model.imputer.diffusion.denoiser.feedforward=64"],
        [
            "model.imputer.usual.n_heads=2",
            *(
                f"+model.imputer.settings.{name}={value}"
                for name, value in {
                    "n_channels": 16,
                    "d_time_embedding": 128,
                    "d_feature_embedding": 16,
                    "d_diffusion_embedding": 128,
                    "n_diffusion_steps": 50,
                    "beta_start": 1e-4,
                    "beta_end": 0.5,
                    "schedule": "quad",
                    "target_strategy": "random",
                    "is_unconditional": "false",
                }.items()
            ),
        ],
    ),
}


def main() -> None:
    arguments = parsed()
    import pypots.imputation  # noqa: F401  looks at the encoding of standard output, which is still there

    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    found: dict[str, Any] = {"torch": torch.__version__, "threads": arguments.threads, "precision": arguments.precision}
    if "speed" in arguments.parts:
        found["speed"] = {name: speed(name, arguments) for name in arguments.methods}
    if "mae" in arguments.parts:
        found["mae"] = errors(arguments)
    if arguments.out:
        write_text(arguments.out, json.dumps(found, indent=2) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--parts", nargs="+", choices=("speed", "mae"), default=["speed", "mae"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(USUAL))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=640, help="training stays of an epoch whose speed is measured")
    parser.add_argument("--stays", type=int, default=1500, help="of PhysioNet 2012, whose errors are measured")
    parser.add_argument("--epochs", type=int, default=30, help="of training before errors are measured")
    parser.add_argument("--hours", type=int, help="of PhysioNet 2012 (48)")
    parser.add_argument("--variables", nargs="+", help="of PhysioNet 2012 (all 37)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="32-true", help="of ours, as trainer.precision; PyPOTS' is 32-true")
    parser.add_argument("--out", type=Path, help="JSON of all that is printed")
    return parser.parse_args()


def conf(*words: str) -> dict[str, Any]:
    """A composed configuration of two_stage."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose("run", ["model=two_stage", *words]), resolve=True)
    return plain


def ours(name: str, data: TrainingData, epochs: int, precision: str) -> tuple[Any, int]:
    """This package's, fitted: an imputer, or a predictor on what was carried forward; and the epoch that it kept, from 0."""
    part = "predictor" if name == "gru_d" else "imputer"
    torch.manual_seed(0)
    model = built(conf(f"{part}={name}", *SAME[name][0])["model"][part], shape=data.shape)
    device: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "precision": precision, "deterministic": True}
    with tempfile.TemporaryDirectory() as folder:
        trainer = StageTrainer(
            folder=Path(folder), seed=0, max_epochs=epochs, threads=torch.get_num_threads(), **device
        )
        model.fit(data, trainer)
        (finished,) = Path(folder).glob("checkpoints/*/finished.json")
        return model, json.loads(finished.read_text())["best_epoch"]


def theirs(name: str, data: TrainingData, epochs: int) -> tuple[Any, int]:
    """PyPOTS', fitted, and the epoch that it kept, from 0."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if name == "gru_d":
            model = _their_gru_d(data, epochs)
            return model, model.best_epoch - 1
        words = [f"model.imputer.name={PEERS[name]}", *SAME[name][1]]
        model = built(conf("imputer=pypots", *words)["model"]["imputer"], shape=data.shape)
        model.max_epochs = epochs
        model.fit(data, None)
        return model, model.model.best_epoch - 1


def _their_gru_d(data: TrainingData, epochs: int) -> Any:
    from pypots.classification import GRUD

    model = GRUD(
        n_steps=data.shape.hours,
        n_features=data.shape.n_variables,
        n_classes=2,
        rnn_hidden_size=64,
        batch_size=BATCH,
        epochs=epochs,
        device="cpu",
        verbose=False,
    )
    sides = [{"X": with_gaps(part), "y": part.label.long().numpy()} for part in (data.train, data.val)]
    model.fit(*sides)
    return model


def speed(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Training samples a processor second, and the ratio within each round."""
    data = made_up(arguments.samples)
    filled = carried(data) if name == "gru_d" else data
    sides: Mapping[str, Callable[[], object]] = {
        "ours": lambda: ours(name, filled, 1, arguments.precision),
        "pypots": lambda: theirs(name, data, 1),
    }
    rounds = [{side: timed(run) for side, run in sides.items()} for _ in range(arguments.rounds + 1)][1:]
    per_second = {side: [arguments.samples / seconds[side] for seconds in rounds] for side in sides}
    ratio = [seconds["pypots"] / seconds["ours"] for seconds in rounds]
    medians = {side: statistics.median(values) for side, values in per_second.items()}
    times = statistics.median(ratio)
    verdict = "met" if times >= GOALS[name] else "MISSED"
    print(
        f"{name}: ours {medians['ours']:.0f}, PyPOTS {medians['pypots']:.0f} samples/s; {times:.2f} times "
        f"({min(ratio):.2f} to {max(ratio):.2f}; goal {GOALS[name]}: {verdict})",
        flush=True,
    )
    return {**medians, "ratio": times, "ratios": ratio, "goal": GOALS[name]}


def timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def errors(arguments: argparse.Namespace) -> dict[str, Any]:
    """Mean absolute errors in the same hidden cells of test stays, in z-scores."""
    window = {"hours": arguments.hours, "variables": arguments.variables and list(arguments.variables)}
    data, test = physionet(arguments.stays, {name: value for name, value in window.items() if value})
    print(f"PhysioNet 2012: {len(data.train)} training, {len(data.val)} validation, {len(test)} test stays", flush=True)
    found: dict[str, Any] = {"stays": len(test), "epochs": arguments.epochs} | window
    for name in (method for method in arguments.methods if method in PEERS):
        sides = {
            "ours": ours(name, data, arguments.epochs, arguments.precision),
            "pypots": theirs(name, data, arguments.epochs),
        }
        made = ({rate: of_stays(model, test, rate) for rate in RATES} for model, _ in sides.values())
        kept = {side: epoch for side, (_, epoch) in sides.items()}
        found[name] = compared(*made) | {"kept_epoch": kept}
        print(f"{name} keeps epoch {kept['ours']}, PyPOTS' epoch {kept['pypots']}", flush=True)
        for rate, own, peer, ratio in zip(
            RATES, *(found[name][key] for key in ("ours", "pypots", "ratio")), strict=True
        ):
            interval = f"{ratio['low'] - 1:+.1%} to {ratio['high'] - 1:+.1%}"
            print(
                f"{name} at {rate:.0%}: MAE ours {own:.4f}, PyPOTS {peer:.4f} ({own / peer - 1:+.1%}, {interval})",
                flush=True,
            )
    return found


def of_stays(model: Any, test: StayBatch, rate: float) -> tuple[Array, Array]:
    """(B,) each stay's summed absolute error in its hidden cells, and how many these are."""
    hidden = shown(test, "mcar", rate, 0)
    n = DRAWS if model.draws_differ else 1
    made = torch.cat([median_of_draws(model.impute(hidden[i : i + 256], n)) for i in range(0, len(test), 256)])
    error = torch.where(hidden.held_out, (made - test.values).abs(), 0.0)
    return error.double().sum((1, 2)).numpy(), hidden.held_out.sum((1, 2)).numpy()


def compared(ours: Mapping[float, tuple[Array, Array]], pypots: Mapping[float, tuple[Array, Array]]) -> dict[str, Any]:
    """Mean absolute errors at each rate, and their ratios with 95 % intervals over resamples of stays."""
    found: dict[str, Any] = {
        side: [float(error.sum() / cells.sum()) for error, cells in made.values()]
        for side, made in (("ours", ours), ("pypots", pypots))
    }
    found["ratio"] = [ratio_of(ours[rate][0], pypots[rate][0]) for rate in RATES]
    return found


def ratio_of(own: Array, peer: Array) -> dict[str, float]:
    """One stay's errors are summed over the same cells on both sides, so the ratio of sums is that of means."""

    def ratio(own: Array, peer: Array, axis: int) -> Array:
        made: Array = own.sum(axis=axis) / peer.sum(axis=axis)
        return made

    interval = scipy.stats.bootstrap(
        (own, peer),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return {"value": float(ratio(own, peer, 0)), "low": float(interval.low), "high": float(interval.high)}


def physionet(stays: int, window: Mapping[str, Any]) -> tuple[TrainingData, StayBatch]:
    """So many stays of PhysioNet 2012 below ICU_DATA_ROOT, split by patient; test stays as measured.

    Arguments:
        window: hours and variables, where they are not 48 and all 37.
    """
    from icu_lightning.data.module import ICUDataModule
    from icu_lightning.data.settings import source_and_settings

    data = ICUDataModule(
        *source_and_settings(**(conf("data=physionet2012")["data"] | window)), seed=0, say=lambda _: None
    )
    data.setup()
    train, val = data.train[: round(0.7 * stays)], data.val[: round(0.1 * stays)]
    return training(train, val, data.shape), data.measured["test"][: round(0.2 * stays)]


def made_up(n: int) -> TrainingData:
    """n training stays of 48 h x 15, seven in ten cells missing, and a tenth as many of validation."""
    generator = torch.Generator().manual_seed(0)
    shape = BatchShape(HOURS, tuple(f"v{i}" for i in range(VARIABLES)), ())

    def some(count: int) -> StayBatch:
        truth = torch.randn(count, HOURS, VARIABLES, generator=generator)
        observed = torch.rand(truth.shape, generator=generator) >= MISSING
        label = torch.arange(count).remainder(2).float()
        known = torch.ones(count)
        return StayBatch(
            values=torch.where(observed, truth, 0.0),
            observed=observed,
            held_out=torch.zeros_like(observed),
            hours_since=hours_since_last(observed),
            static=torch.zeros(count, 0),
            in_icu=torch.ones(count, HOURS, dtype=torch.bool),
            label=label,
            died_in_hospital=label,
            died_in_icu=label,
            hospital_hours=known,
            stay_id=np.arange(count),
            patient_id=np.arange(count),
            severity=torch.zeros(count, 5),
            severity_observed=torch.zeros(count, 5, dtype=torch.bool),
        )

    return training(some(n), some(max(2, n // 10)), shape)


def training(train: StayBatch, val: StayBatch, shape: BatchShape) -> TrainingData:
    return TrainingData(train=train, val=val, shape=shape, batch_size=BATCH, seed=0)


def carried(data: TrainingData) -> TrainingData:
    """Filled by the last observation, as model=two_stage hands it to GRU-D."""
    from icu_lightning.models.imputers.locf import carried_forward

    parts: Sequence[StayBatch] = [
        replace(part, values=carried_forward(part.values, part.observed), observed=torch.ones_like(part.observed))
        for part in (data.train, data.val)
    ]
    return training(parts[0], parts[1], data.shape)


if __name__ == "__main__":
    main()
