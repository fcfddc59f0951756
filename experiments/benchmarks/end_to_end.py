"""Imputation from end to end: PyPOTS' CSDI with 50 steps x 100 samples, as is customary, against our imputer with few.

Both networks have the widths of `--size` and as many epochs on the same training stays of the eICU demo, with our loop, which is
the faster: the peer's is CSDI as published (epsilon, nothing but zeros in unobserved cells), ours that of `conf/model/mtdm.yaml`.
The peer's weights are handed to PyPOTS' own code, which then imputes; both fill the same hidden cells of the same test stays, in
turn, a few stays at a time, on one thread. Speeds are stays a processor second, medians and ranges of `--rounds` passes over all
stays, and ratios of speeds those within a pass; errors, of the first pass, are in z-scores; their ratios' intervals are percentiles
over 2,000 resamples of stays.

    PYTHONPATH=. peer/bin/python experiments/benchmarks/end_to_end.py --stays 100 --out end_to_end.json

`peer` as in diffusion.py. Nothing is asserted but that the peer's network says what ours says with its weights.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusion import CUSTOMARY, STEPS, imputed_draws, paired_names, peer, their_inputs, trained_imputer
from numpy.typing import NDArray
from torch import Tensor

from icu_lightning.atomic import write_text
from icu_lightning.batch import StayBatch, hide
from icu_lightning.data.masking import held_out_cells
from icu_lightning.evaluation.imputation import crps
from icu_lightning.models.mtdm.imputer import Imputer
from icu_lightning.models.mtdm.samplers import DPMSolver

AS_PUBLISHED = (
    "model.imputer.predicts=epsilon",
    "model.imputer.completion=zero",
    "model.imputer.clip=null",
    "model.imputer.denoiser.feedforward=64",
)
OURS = ((6, 10), (4, 20), (6, 20))  # steps, samples
PEER = f"PyPOTS' CSDI, {STEPS} steps x {CUSTOMARY}"
RESAMPLES = 2_000
Array = NDArray[np.float64]


def main() -> None:
    asked = parsed()
    torch.set_num_threads(1)
    if asked.weights:
        asked.weights.mkdir(parents=True, exist_ok=True)
    weights = {side: asked.weights and asked.weights / f"{side}-{asked.size}.pt" for side in ("csdi", "ours")}
    size = f"model/size={asked.size}"
    data, published = trained_imputer((size, *AS_PUBLISHED), asked.epochs, weights["csdi"])
    data, imputer = trained_imputer((size,), asked.epochs, weights["ours"])
    theirs = peers_copy(published)
    stays = data.test[: asked.stays]
    hidden = held_out_cells(stays, "mcar", asked.rate, seed=0)
    shown = hide(stays, hidden)
    says_the_same(published, theirs, shown[: asked.at_once])
    sides = {PEER: lambda part: their_draws(theirs, part)}
    for steps, n in OURS:
        sampler = DPMSolver(steps=steps, start_alpha_bar=1e-3)
        name = f"ours, DPM-Solver++, {steps} steps x {n} stratified"
        sides[name] = lambda part, n=n, sampler=sampler: imputed_draws(imputer, part, n, sampler)
    seconds, errors = filled(sides, shown, stays.values, hidden, asked.at_once, asked.rounds)
    rows = {name: row(errors[PEER], errors[name], seconds[PEER], seconds[name], len(stays)) for name in sides}
    facts = {name: getattr(asked, name) for name in ("size", "epochs", "rate", "stays", "rounds")}
    facts |= {"cells": int(hidden.sum())}
    print(table(rows))
    if asked.out:
        write_text(asked.out, json.dumps({"setting": facts, "sides": rows}, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("small", "paper"), default="small", help="widths of both networks")
    parser.add_argument("--epochs", type=int, default=40, help="of training, both (default: 40)")
    parser.add_argument("--stays", type=int, default=100, help="test stays (default: 100)")
    parser.add_argument("--at-once", type=int, default=20, help="stays of a turn (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="passes over the stays that are timed (default: 3)")
    parser.add_argument("--rate", type=float, default=0.5, help="share of observed cells hidden (default: .5)")
    parser.add_argument("--weights", type=Path, help="folder of networks trained before, or where to keep them")
    parser.add_argument("--out", type=Path, help="JSON of what is printed")
    return parser.parse_args()


def peers_copy(published: Imputer) -> Any:
    """PyPOTS' network with the weights of ours."""
    denoiser = published.denoiser
    layers, heads = len(denoiser.layers), denoiser.layers[0].over_hours.heads
    theirs = peer(len(published.variables), layers, heads, denoiser.first.out_features)
    wanted, own = theirs.state_dict(), denoiser.state_dict()
    theirs.load_state_dict(
        wanted | {name: own[ours].reshape(wanted[name].shape) for ours, name in paired_names(layers).items()}
    )
    return theirs.eval()


def says_the_same(published: Imputer, theirs: Any, shown: StayBatch) -> None:
    """One call of both on the same noise. Raises AssertionError beyond rounding."""
    x = torch.randn(shown.values.shape, generator=torch.Generator().manual_seed(0))
    given, k = their_inputs(shown, shown.observed), STEPS // 2
    with torch.no_grad():
        side = theirs.get_side_info(given["observed_tp"], given["cond_mask"])
        cells = theirs.backbone.set_input_to_diffmodel(x.transpose(1, 2), given["X_ori"], given["cond_mask"])
        said = theirs.backbone.diff_model(cells, side, torch.tensor([k - 1])).transpose(1, 2)
        context = published.denoiser.context(shown.values, shown.observed)
        own = published.denoiser(x.unsqueeze(1), k, context).squeeze(1)
    torch.testing.assert_close(own, said, rtol=1e-4, atol=1e-4)


def their_draws(theirs: Any, shown: StayBatch) -> Tensor:
    """(S, B, T, V), by PyPOTS' own code."""
    given = their_inputs(shown, shown.observed)
    with torch.no_grad():
        found = theirs(given | {"X": given["X_ori"]}, n_sampling_times=CUSTOMARY)["imputation"]  # (B, S, T, V)
    return found.movedim(1, 0)


def filled(
    sides: dict[str, Any], shown: StayBatch, values: Tensor, hidden: Tensor, at_once: int, rounds: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Processor seconds of each side in each round, and its first round's sums of (absolute errors, CRPS, cells) a stay, (B, 3)."""
    seconds = {name: np.zeros(rounds) for name in sides}
    errors: dict[str, list[Array]] = {name: [] for name in sides}
    torch.manual_seed(0)
    for now in range(rounds):
        for first in range(0, len(shown), at_once):
            part, cells = shown[first : first + at_once], hidden[first : first + at_once]
            truth = values[first : first + at_once].double().numpy()
            for name, side in sides.items():
                start = time.process_time()
                draws = side(part)
                seconds[name][now] += time.process_time() - start
                if now == 0:
                    errors[name] += [of_stay(*each) for each in zip(draws.unbind(1), truth, cells.numpy(), strict=True)]
    return seconds, {name: np.stack(each) for name, each in errors.items()}


def of_stay(draws: Tensor, truth: Array, where: NDArray[np.bool_]) -> Array:
    """(S, T, V), (T, V), (T, V) -> (3) sums over the hidden cells: absolute errors of the median, CRPS, and their number."""
    found, known = draws.double().numpy()[:, where], truth[where]
    return np.array([np.abs(np.median(found, axis=0) - known).sum(), crps(known, found).sum(), where.sum()])


def row(first: Array, errors: Array, first_seconds: Array, seconds: Array, n: int) -> dict[str, Any]:
    """MAE, CRPS and stays/s, and the ratios to those of the first side, errors' with intervals over stays."""
    lot = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))

    def mean(each: Array, which: Any) -> Array:
        total: Array = each[which].sum(-2)
        return total[..., :2] / total[..., 2:]

    everyone = np.arange(n)
    values = mean(errors, everyone)
    ratio, resampled = values / mean(first, everyone), mean(errors, lot) / mean(first, lot)
    low, high = np.percentile(resampled, (2.5, 97.5), axis=0)
    found: dict[str, Any] = {"stays_per_second": of_rounds(n / seconds), "times": of_rounds(first_seconds / seconds)}
    for i, name in enumerate(("mae", "crps")):
        found[name] = float(values[i])
        found[f"{name}_ratio"] = {"value": float(ratio[i]), "low": float(low[i]), "high": float(high[i])}
    return found


def of_rounds(values: Array) -> dict[str, float]:
    """Median and range."""
    return {"value": float(np.median(values)), "low": float(values.min()), "high": float(values.max())}


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| | stays/s | times | MAE | ratio | CRPS | ratio |", "|---|---:|---:|---:|---:|---:|---:|"]
    for name, row in rows.items():
        speeds = (("stays_per_second", ".4g"), ("times", ".0f"))
        cells = ["{value:{f}} ({low:{f}} to {high:{f}})".format(f=digits, **row[key]) for key, digits in speeds]
        for key in ("mae", "crps"):
            ratio = row[f"{key}_ratio"]
            cells += [f"{row[key]:.4f}", f"{ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
