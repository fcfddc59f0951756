"""Score the imputer of a run that did not come to its end, from its best checkpoint: the hidden cells that the run would have scored.

    python experiments/mtdm/score_imputer.py runs/csdi-0 --root FOLDER --draws 10 --out csdi.json

For a run of `model=two_stage` on a machine that is lent by the minute: what it has learnt until then is scored elsewhere, as `run`
does it, on the stays and cells of the run's own configuration. Written are errors with their intervals over patients, beside those of
the training mean, the run's command, and how many epochs it had; no stay is in it.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import polars as pl
import torch
from results import typed  # of results.py beside this file

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.build import built
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from icu_lightning.evaluation.imputation import evaluate_imputations
from icu_lightning.imputations import FILE, write_imputations
from icu_lightning.terminal import say, steps
from icu_lightning.training.stages import stable_seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="a run folder with config.yaml and checkpoints/imputer/best.ckpt")
    parser.add_argument("--root", required=True, help="the raw tables, where they are on this machine")
    parser.add_argument("--draws", type=int, help="of each cell, instead of the run's own")
    parser.add_argument("--sampler-steps", type=int, help="of DPM-Solver, instead of the run's own sampler")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()

    config = runfolder.configuration(asked.run)
    source, settings = source_and_settings(**{**config["data"], "root": asked.root})
    with steps("Data", 4) as step:
        data = ICUDataModule(source, settings, seed=stable_seed(config["seed"], "batches") % 2**31, say=say, step=step)
        data.setup()
    if asked.draws:
        config["imputation"]["draws"] = asked.draws
    if asked.sampler_steps:
        of_steps = {"steps": asked.sampler_steps, "start_alpha_bar": 0.005}  # conf/imputer/csdi.yaml
        config["model"]["imputer"]["diffusion"] |= {
            "sampler": {"_target_": "icu_lightning.models.mtdm.samplers.DPMSolver", **of_steps},
            "clip": 4.0,
            "stratified": True,
        }
    checkpoint = torch.load(asked.run / "checkpoints/imputer/best.ckpt", map_location="cpu", weights_only=True)
    imputer = built(config["model"], shape=data.shape).imputer
    imputer.load_state_dict(checkpoint["state_dict"])
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        write_imputations(Path(folder), config, data, imputer)
        seconds = time.process_time() - began
        table = pl.read_parquet(Path(folder) / FILE)
    epochs = pl.read_csv(asked.run / "metrics.csv").filter(stage="imputer")
    environment, _ = runfolder.stored_environment(asked.run)
    of_diffusion = config["model"]["imputer"]["diffusion"]
    found = {
        "command": typed(environment["command"]),
        "epochs": epochs.height,
        "kept_epoch": checkpoint["epoch"],
        "updates": checkpoint["global_step"],
        "scored_with": {name: of_diffusion[name] for name in ("predicts", "sampler", "clip", "stratified")},
        "draws": config["imputation"]["draws"],
        "processor_seconds_of_scoring": round(seconds),
        "imputation": evaluate_imputations(table, config["bootstrap"], config["seed"]),
    }
    write_text(asked.out, json.dumps(found, indent=1) + "\n")
    for rate, of_rate in found["imputation"].items():
        shown = {name: round(of_rate[name]["value"], 3) for name in ("mae", "rmse", "crps", "mae_mean")}
        say(f"{rate}: {of_rate['n']:,} cells of {of_rate['stays']} stays, {shown}")


if __name__ == "__main__":
    main()
