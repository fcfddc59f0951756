"""The diffusion imputer against PyPOTS' CSDI: the same architecture, weights, data and masks, side by side in one process.

The parts: a call of the denoiser (with equal weights, whose outputs must agree), a training step, and imputation; `memory` measures
training's peak in processes of their own. `scaling` says what a cell costs in longer windows of more variables. `tradeoff` trains our
imputer on the eICU demo and says what each choice of steps and samples costs, without the peer; beside it: end_to_end.py.
PyPOTS is no dependency of this package; give the benchmark an environment of its own:

    python -m venv peer && peer/bin/pip install torch==2.13.0 pypots
    PYTHONPATH=. peer/bin/python experiments/benchmarks/diffusion.py --parts call training memory --out diffusion.json

Sides are taken in turn after a warm-up of each; medians of the rounds and of the ratios within a round, in processor seconds of one
thread, which what else the machine does disturbs least. Nothing is asserted but that outputs agree.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icu_lightning.atomic import write_text
from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.build import built
from icu_lightning.models.mtdm.denoiser import Denoiser
from icu_lightning.models.mtdm.imputer import Imputer
from icu_lightning.models.mtdm.samplers import DDIM, DDPM, DPMSolver, OneStep, Sampler
from icu_lightning.models.mtdm.schedule import NoiseSchedule
from icu_lightning.runfolder import git_commit

SHAPES = {"24 h x 11": (24, 11), "48 h x 15": (48, 15)}
PARTS = ("call", "training", "memory", "scaling", "tradeoff")
CUSTOMARY = 100  # samples of CSDI, 50 steps each
THEIRS, JOINT = "PyPOTS' CSDI", "ours, a joint step of the MTDM (model/size=paper)"
STEPS, LAYERS, CHANNELS, HEADS = 50, 4, 64, 8
MISSING, FILL_STEPS = 0.7, 4  # steps: `fill_steps` of conf/model/mtdm.yaml
Sides = Mapping[str, Callable[[], object]]
Row = Mapping[str, str | float | None]
TOLD: dict[str, list[Row]] = {}  # title -> rows of what is printed


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(1)
    if arguments.peak_of:
        return print(json.dumps(peak(arguments.peak_of, SHAPES[arguments.shape])))
    for name in SHAPES:
        if "call" in arguments.parts:
            calls(name, arguments.rounds, arguments.compile)
        if "training" in arguments.parts:
            training(name, arguments.rounds)
        if "memory" in arguments.parts:
            memory(name)
    if "scaling" in arguments.parts:
        scaling(arguments.rounds)
    if "tradeoff" in arguments.parts:
        tradeoff(arguments)
    if arguments.out:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next(line for line in file if line.startswith("flags")).split()
        asked = {name: value for name, value in vars(arguments).items() if not isinstance(value, Path | None)}
        facts = {"asked": asked, "commit": git_commit(), "torch": torch.__version__, "threads": 1}
        facts["processor"] = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
        write_text(arguments.out, json.dumps({**facts, "tables": TOLD}, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:3])
    parser.add_argument("--rounds", type=int, default=9, help="of each comparison, after one warm-up (default: 9)")
    parser.add_argument("--compile", action="store_true", help="also the compiled denoiser (needs a C++ compiler)")
    parser.add_argument("--epochs", type=int, default=40, help="tradeoff: of training (default: 40)")
    parser.add_argument("--size", choices=("small", "paper"), default="small", help="tradeoff: of the network")
    parser.add_argument("--stays", type=int, default=40, help="tradeoff: test stays that are imputed (default: 40)")
    parser.add_argument("--completion", choices=("zero", "imputed"), default="imputed", help="tradeoff: see Imputer")
    parser.add_argument(
        "--rate", type=float, default=0.5, help="tradeoff: share of observed cells hidden (default: .5)"
    )
    parser.add_argument("--weights", type=Path, help="tradeoff: of an imputer trained before, or where to write them")
    parser.add_argument("--out", type=Path, help="JSON of what is printed")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    parser.add_argument("--shape", default="24 h x 11", help=argparse.SUPPRESS)
    return parser.parse_args()


# Both sides, with equal weights


def ours(hours: int, n_variables: int, predicts: str = "epsilon") -> Imputer:
    def denoiser(**given: Any) -> Denoiser:
        widths = {"feedforward": 64, "step_embedding": 128, "time_embedding": 128, "variable_embedding": 16}
        return Denoiser(layers=LAYERS, channels=CHANNELS, heads=HEADS, **widths, **given)

    return Imputer(
        shape=BatchShape(hours, tuple(map(str, range(n_variables))), ()),
        schedule=NoiseSchedule(kind="quad", steps=STEPS, beta_first=1e-4, beta_last=0.5),
        denoiser=denoiser,  # type: ignore[arg-type]
        predicts=predicts,
        clip=None,
        sampler=DDPM(),
        stratified=False,
        completion="zero",
        precision="float32",
        compiled=False,
    )


def peer(n_variables: int, layers: int = LAYERS, heads: int = HEADS, channels: int = CHANNELS) -> Any:
    """PyPOTS' CSDI, whose last layer says something."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pypots.imputation.csdi.core import _CSDI

        torch.manual_seed(0)
        made = _CSDI(n_variables, layers, heads, channels, 128, 16, 128, False, STEPS, "quad", 1e-4, 0.5)
    torch.nn.init.normal_(made.backbone.diff_model.output_projection2.weight, std=0.1)
    return made


def paired_names(layers: int = LAYERS) -> dict[str, str]:
    """Our parameters' names -> the published ones."""
    root = "backbone.diff_model."
    pairs = {"step_1": "diffusion_embedding.projection1", "step_2": "diffusion_embedding.projection2"}
    pairs |= {"first": "input_projection", "out_1": "output_projection1", "out_2": "output_projection2"}
    for i in range(layers):
        layer = f"residual_layers.{i}."
        names = {"step": "diffusion_projection", "side_projection": "cond_projection"}
        names |= {"middle": "mid_projection", "out": "output_projection"}
        for axis, theirs_axis in {"over_hours": "time_layer", "over_variables": "feature_layer"}.items():
            inner = f"{theirs_axis}.layers.0."
            names |= {f"{axis}.attended": f"{inner}self_attn.out_proj", f"{axis}.up": f"{inner}linear1"}
            names |= {f"{axis}.down": f"{inner}linear2", f"{axis}.qkv": f"{inner}self_attn.in_proj"}
            names |= {f"{axis}.norm_1": f"{inner}norm1", f"{axis}.norm_2": f"{inner}norm2"}
        pairs |= {f"layers.{i}.{own}": layer + name for own, name in names.items()}
    found = {"variables.weight": "embed_layer.weight"}
    for own, name in pairs.items():
        for kind in ("weight", "bias"):
            found[f"{own}.{kind}"] = f"{root}{name}_{kind}" if name.endswith("in_proj") else f"{root}{name}.{kind}"
    return found


def mapped(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights under our names; 1 x 1 convolutions lose their last axis."""
    return {own: w.squeeze(-1) if (w := theirs[name]).ndim == 3 else w for own, name in paired_names().items()}


def made_up(n: int, hours: int, n_variables: int) -> StayBatch:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(n, hours, n_variables, generator=generator)
    observed = torch.rand(values.shape, generator=generator) >= MISSING
    empty, ids = torch.zeros(n, 0), np.arange(n)
    parts = {"static": empty, "severity": empty, "severity_observed": empty.bool(), "in_icu": observed[:, :, 0]}
    labels = {name: torch.zeros(n) for name in ("label", "died_in_hospital", "died_in_icu", "hospital_hours")}
    return StayBatch(
        values=torch.where(observed, values, 0.0),
        observed=observed,
        held_out=torch.zeros_like(observed),
        hours_since=torch.zeros_like(values),
        stay_id=ids,
        patient_id=ids,
        **parts,
        **labels,
    )


def their_inputs(batch: StayBatch, shown: Tensor) -> dict[str, Tensor]:
    """What PyPOTS' core takes: variables before hours, masks as numbers."""
    hours = torch.arange(batch.values.shape[1]).float().expand(len(batch), -1)
    turned = {"X_ori": batch.values, "cond_mask": shown, "indicating_mask": batch.observed & ~shown}
    return {name: part.transpose(1, 2).float().contiguous() for name, part in turned.items()} | {"observed_tp": hours}


# Timing


def told(title: str, rows: Sequence[Row], decimals: Mapping[str, int]) -> None:
    """Prints a table, and keeps it for the JSON."""
    TOLD[title] = list(rows)
    columns = list(rows[0])
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'|'.join('---:' if c in decimals else '---' for c in columns)}|")
    for row in rows:
        cells = (f"{row[c]:.{decimals[c]}f}" if c in decimals and row[c] is not None else row[c] or "" for c in columns)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def compared(title: str, sides: Sides, rounds: int, per: int) -> None:
    """Tells a table; the first side is what the others are compared with."""
    seconds = interleaved(sides, rounds)
    first = seconds[next(iter(sides))]
    rows = []
    for name, values in seconds.items():
        each = [1000 * v / per for v in values]
        ratios = [a / b for a, b in zip(first, values, strict=True)]
        row: Row = {"side": name, "ms a stay": statistics.median(each), "least": min(each), "most": max(each)}
        rows.append({**row, "times the first": statistics.median(ratios), "from": min(ratios), "to": max(ratios)})
    told(title, rows, {"ms a stay": 2, "least": 2, "most": 2, "times the first": 2, "from": 2, "to": 2})


def interleaved(sides: Sides, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each side, A B C A B C ..., after a call of each that is not counted."""
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            side()
            seconds[name].append(time.process_time() - start)
    return seconds


def calls(name: str, rounds: int, compile_too: bool, n: int = 16) -> None:
    """One call of the denoiser."""
    hours, n_variables = SHAPES[name]
    theirs, mine, batch = (
        peer(n_variables).eval(),
        ours(hours, n_variables).eval().denoiser,
        made_up(n, hours, n_variables),
    )
    mine.load_state_dict(mapped(theirs.state_dict()))
    x, k = torch.randn(batch.values.shape, generator=torch.Generator().manual_seed(1)), 30
    given = their_inputs(batch, batch.observed)
    with torch.no_grad():
        side = theirs.get_side_info(given["observed_tp"], given["cond_mask"])

    @torch.no_grad()
    def published() -> Tensor:
        cells = theirs.backbone.set_input_to_diffmodel(x.transpose(1, 2), given["X_ori"], given["cond_mask"])
        return theirs.backbone.diff_model(cells, side, torch.tensor([k - 1])).transpose(1, 2)

    def side_of(network: Denoiser, called: Callable[..., Tensor] | None = None) -> Callable[[], Tensor]:
        with torch.no_grad():
            context = network.context(batch.values, batch.observed)
        steps = torch.full((n,), k)
        return torch.no_grad()(
            lambda: (network if called is None else called)(x.unsqueeze(1), steps, context).squeeze(1)
        )

    half = copy.deepcopy(mine).bfloat16()
    sides = {THEIRS: published, "ours": side_of(mine), "ours, bfloat16": side_of(half)}
    if compile_too:
        sides |= {"ours, compiled": side_of(mine, torch.compile(mine))}
        sides |= {"ours, bfloat16, compiled": side_of(half, torch.compile(half))}
    difference = float((published() - sides["ours"]()).abs().max() / published().std())
    assert difference < 1e-5, f"the outputs differ by {difference}"
    compared(f"denoiser call, {name} (outputs differ by {difference:.0e} of their SD)", sides, rounds, n)


def training(name: str, rounds: int, n: int = 32) -> None:
    """Forward, backward and step, of the published loss."""
    sides = {
        THEIRS: theirs_step(SHAPES[name], n, 0.1),
        "the same without dropout": theirs_step(SHAPES[name], n, 0.0),
    }
    sides |= {
        "ours, unobserved cells 0 as there": our_step(SHAPES[name], n),
        f"ours, unobserved cells imputed in {FILL_STEPS} steps first": our_step(SHAPES[name], n, imputed=True),
    }
    compared(f"training step, {name}", sides, rounds, n)


def theirs_step(shape: tuple[int, int], n: int, dropout: float) -> Callable[[], None]:
    network, batch = peer(shape[1]).train(), made_up(n, *shape)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> None:
        share = torch.rand(n, 1, 1)
        shown = batch.observed & (torch.rand_like(batch.values) >= share)
        optimizer.zero_grad()
        network(their_inputs(batch, shown), calc_criterion=True)["loss"].backward()
        optimizer.step()

    return step


def our_step(shape: tuple[int, int], n: int, *, imputed: bool = False) -> Callable[[], None]:
    network, batch = ours(*shape).train(), made_up(n, *shape)
    torch.nn.init.normal_(network.denoiser.out_2.weight, std=0.1)
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        noise = torch.randn_like(batch.values).unsqueeze(1)
        completed = network.fill(batch, FILL_STEPS, lambda: noise, gradient=False) if imputed else None
        network.loss(batch, completed).backward()
        optimizer.step()

    return step


def memory(name: str) -> None:
    """Peak of three training steps at batch 64, each side in a process of its own, beyond what it had before them."""
    rows: list[Row] = []
    for side in (THEIRS, "ours", JOINT):
        command = [sys.executable, __file__, "--peak-of", side, "--shape", name]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append({"side": side, "peak, GB": json.loads(output.strip().splitlines()[-1])})
    told(f"training at batch 64, {name}", rows, {"peak, GB": 2})


def peak(side: str, shape: tuple[int, int]) -> float:
    steps = {"ours": our_step, JOINT: joint_step, THEIRS: partial(theirs_step, dropout=0.1)}
    step = steps[side](shape, 64)
    # What importing the peer took for a moment is more than a training step: the kernel is told to forget it
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("VmRSS")
    for _ in range(3):
        step()
    return (_kilobytes("VmHWM") - before) / 2**20


def joint_step(shape: tuple[int, int], n: int) -> Callable[[], None]:
    """The MTDM's second stage: series drawn first, all three losses, the gradient through the last step of the draw."""
    from icu_lightning.models.mtdm.stages import Joint

    plain, batch = settings_of_mtdm("model/size=paper")["model"], made_up(n, *shape)
    batch.label[: n // 2] = 1.0
    model = built(plain, shape=BatchShape(shape[0], tuple(map(str, range(shape[1]))), ()))
    stage = Joint(
        rankable=True, survivor_weight=1.0, network=model.network, weights=model.weights, **model.optimisation
    )
    optimizer = torch.optim.Adam(stage.parameters())
    stage.train()

    def step() -> None:
        optimizer.zero_grad()
        stage.terms(batch)["loss"].backward()
        optimizer.step()

    return step


def _kilobytes(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def scaling(rounds: int, n: int = 8) -> None:
    """Call and training step of our network, a stay and a cell, at four shapes; what is left of attention's squares is seen here."""
    shapes = ((24, 11), (48, 15), (48, 37), (96, 37))
    networks = {shape: (ours(*shape), made_up(n, *shape)) for shape in shapes}
    sides: dict[str, Callable[[], object]] = {}
    for (hours, variables), (network, batch) in networks.items():
        torch.nn.init.normal_(network.denoiser.out_2.weight, std=0.1)

        def call(network: Imputer = network, batch: StayBatch = batch) -> None:
            with torch.no_grad():
                context = network.denoiser.context(batch.values, batch.observed)
                network.denoiser(batch.values.unsqueeze(1), 30, context)

        def step(network: Imputer = network, batch: StayBatch = batch) -> None:
            network.loss(batch, None).backward()

        sides |= {f"call, {hours} h x {variables}": call, f"training step, {hours} h x {variables}": step}
    seconds = interleaved(sides, rounds)
    rows: list[Row] = []
    for name, values in seconds.items():
        hours, _, _, variables = name.split(", ")[1].split()
        cells, each = int(hours) * int(variables), 1000 * statistics.median(values) / n
        rows.append({"ours": name, "cells": cells, "ms a stay": each, "microseconds a cell": 1000 * each / cells})
    told("what a cell costs", rows, {"cells": 0, "ms a stay": 2, "microseconds a cell": 1})


# What steps and samples cost

CHOICES: tuple[tuple[str, Sampler, tuple[int, ...]], ...] = (
    ("DPM-Solver++, 10 steps", DPMSolver(steps=10), (20,)),
    ("DPM-Solver++, 6 steps", DPMSolver(steps=6), (5, 10, 20, 40)),
    ("DPM-Solver++, 4 steps", DPMSolver(steps=4), (5, 10, 20, 40)),
    ("DPM-Solver++, 3 steps", DPMSolver(steps=3), (10, 20, 40)),
    ("DPM-Solver++, 2 steps", DPMSolver(steps=2), (20,)),
    ("DDIM, 10 steps", DDIM(steps=10), (10,)),
    ("DDIM, 4 steps", DDIM(steps=4), (20,)),
    ("one step", OneStep(), (1,)),
)


def tradeoff(arguments: argparse.Namespace) -> None:
    """Trains the imputer of conf/model/mtdm.yaml alone, then imputes the same hidden cells with every choice."""
    from icu_lightning.data.masking import held_out_cells, hide

    choice = (f"model/size={arguments.size}", f"model.imputer.completion={arguments.completion}")
    data, imputer = trained_imputer(choice, arguments.epochs, arguments.weights)
    stays = data.test[: arguments.stays]
    hidden = held_out_cells(stays, "mcar", arguments.rate, seed=0)
    shown, truth = hide(stays, hidden), stays.values[hidden].double().numpy()
    first, rows = None, []
    choices = [("DDPM, 50 steps", DDPM(), n, False) for n in (CUSTOMARY, 10)]
    choices += [
        (name, s, n, even)
        for name, s, counts in CHOICES
        for n in counts
        for even in ((False, True) if n > 1 else (False,))
    ]
    for name, sampler, n, imputer.stratified in choices:
        metrics, seconds = imputed(imputer, shown, hidden, truth, n, sampler)
        speed = len(stays) / seconds
        first = first or speed
        row: Row = {"sampler": name, "noise": "stratified" if imputer.stratified else "independent", "samples": n}
        errors = {"MAE": metrics["mae"], "RMSE": metrics["rmse"], "CRPS": metrics["crps"]}
        row = {
            **row,
            "calls": n * len(sampler.levels(imputer.schedule)),
            **errors,
            "90 % bands cover": metrics["coverage90"],
        }
        rows.append({**row, "stays/s": speed, "times": speed / first})
        print(f"{name}, {n} samples: {seconds:.0f} s", file=sys.stderr, flush=True)
    decimals = {
        "samples": 0,
        "calls": 0,
        "MAE": 3,
        "RMSE": 3,
        "CRPS": 3,
        "90 % bands cover": 3,
        "stays/s": 2,
        "times": 0,
    }
    what = f"{len(stays)} test stays of the eICU demo, {len(truth)} cells hidden ({arguments.rate:.0%}), size {arguments.size}"
    told(what, rows, decimals)


def imputed(
    imputer: Imputer, shown: StayBatch, hidden: Tensor, truth: Any, n: int, sampler: Sampler
) -> tuple[dict[str, Any], float]:
    """Metrics of the hidden cells, and processor seconds."""
    from icu_lightning.evaluation.imputation import imputation_metrics

    start = time.process_time()
    draws = imputed_draws(imputer, shown, n, sampler)
    seconds = time.process_time() - start
    return imputation_metrics(truth, draws[:, hidden].double().numpy()), seconds


def imputed_draws(imputer: Imputer, shown: StayBatch, n: int, sampler: Sampler) -> Tensor:
    """(S, B, T, V)."""
    return imputer.impute(shown, n, 0, sampler).movedim(1, 0)


def settings_of_mtdm(*choice: str) -> Any:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from icu_lightning.run import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("run", ["model=mtdm", *choice]), resolve=True)


def trained_imputer(choice: Sequence[str], epochs: int, weights: Path | None = None) -> tuple[Any, Imputer]:
    """The data and an imputer of such overrides trained on them, or that of `weights`, if there is such a file; else it is written."""
    from icu_lightning.data.module import ICUDataModule
    from icu_lightning.data.settings import source_and_settings

    plain = settings_of_mtdm("data=eicu", *choice)
    data = ICUDataModule(*source_and_settings(**plain["data"]))
    data.setup()
    torch.manual_seed(0)
    network = built(plain["model"], shape=data.shape).network.train()
    if weights is not None and weights.exists():
        network.imputer.load_state_dict(torch.load(weights))
        return data, network.imputer.eval()
    optimizer = torch.optim.Adam(network.imputer.parameters(), lr=1e-3, weight_decay=1e-6)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, epochs=epochs, steps_per_epoch=len(data.train_dataloader())
    )
    for epoch in range(epochs):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            series = network.fill(batch, feedback=False) if network.imputer.completion == "imputed" else batch.values
            network.imputation_loss(batch, series).backward()
            optimizer.step()
            schedule.step()
    if weights is not None:
        torch.save(network.imputer.state_dict(), weights)
    return data, network.imputer.eval()


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    main()
