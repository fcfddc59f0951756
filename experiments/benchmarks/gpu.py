"""The MTDM's diffusion on one GPU: milliseconds of a training step and of an imputation, in float32 and under bfloat16 autocast.

    PYTHONPATH=. python experiments/benchmarks/gpu.py --out gpu.json

Medians of single calls, each waited for, after a warm-up. Nothing is asserted.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import diffusion
import torch

from icu_lightning.models.mtdm.imputer import Imputer
from icu_lightning.models.mtdm.samplers import DPMSolver

CASES = {
    "48 h x 35, paper": (48, 35, 4, 64, 8),
    "24 h x 11, small": (24, 11, 2, 16, 2),
    "24 h x 11, lean": (24, 11, 1, 16, 2),
}
BATCHES, DRAWS, STEPS = (32, 64), 10, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", help="or cpu, to see it run")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    rows = [
        row for name, case in CASES.items() for row in measured(name, *case, device=asked.device, rounds=asked.rounds)
    ]
    device = torch.cuda.get_device_name() if asked.device == "cuda" else asked.device
    found = {"device": device, "torch": torch.__version__, "rows": rows}
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(row)


def measured(
    name: str, hours: int, n_variables: int, layers: int, channels: int, heads: int, device: str, rounds: int
) -> list[dict[str, object]]:
    diffusion.LAYERS, diffusion.CHANNELS, diffusion.HEADS = layers, channels, heads
    rows: list[dict[str, object]] = []
    for n in BATCHES:
        imputer = diffusion.ours(hours, n_variables).to(device)
        batch, optimizer = diffusion.made_up(n, hours, n_variables).to(device), torch.optim.Adam(imputer.parameters())
        on_gpu = device == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()

        def step(halved: bool, imputer: Imputer = imputer, batch=batch, optimizer=optimizer) -> None:
            with torch.autocast(device, torch.bfloat16, enabled=halved):
                loss = imputer.loss(batch, None)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        row: dict[str, object] = {"case": name, "batch": n}
        row |= {
            "step_float32_ms": timed(lambda: step(False), rounds),
            "step_bfloat16_ms": timed(lambda: step(True), rounds),
        }
        rows.append(row | ({"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)} if on_gpu else {}))
    imputer.sampler = DPMSolver(steps=STEPS, start_alpha_bar=0.001)
    rows[-1][f"impute_{DRAWS}_draws_ms"] = timed(lambda: imputer.eval().impute(batch, DRAWS, 0), max(3, rounds // 5))
    return rows


def timed(call: Callable[[], object], rounds: int) -> float:
    """Milliseconds, the median."""
    for _ in range(3):
        call()
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    milliseconds = []
    for _ in range(rounds):
        wait()
        start = time.perf_counter()
        call()
        wait()
        milliseconds.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(milliseconds), 1)


if __name__ == "__main__":
    main()
