"""One run from a source to metrics.json: data -> fit -> predictions -> evaluation. Never asks which model it has."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from hydra.utils import get_class
from numpy.typing import NDArray

from icu_lightning import __version__
from icu_lightning.atomic import atomic_file, write_text
from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.crossvalidation import run_folds, write_pooled
from icu_lightning.data.audit import audit, audit_line
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import DataSettings
from icu_lightning.data.sources.base import Source
from icu_lightning.data.splits import LEFT_OUT, SPLITS
from icu_lightning.description.flow_chart import flow_chart
from icu_lightning.disclosure import is_open
from icu_lightning.errors import UserError
from icu_lightning.evaluation import predictions as prediction_table
from icu_lightning.evaluation.calibration import AfterPrior
from icu_lightning.evaluation.stored import digest, read_imputations
from icu_lightning.imputations import FILE as IMPUTATIONS
from icu_lightning.imputations import pool_imputations, write_imputations
from icu_lightning.loggers import build_loggers, log_results
from icu_lightning.models.base import Model, draws_of
from icu_lightning.presentation import present, present_pooled
from icu_lightning.results import cell_text, evaluated, show, write_metrics
from icu_lightning.runfolder import PARTS, to_be_finished
from icu_lightning.terminal import interactive, say, steps
from icu_lightning.training.checkpoint import FORMAT
from icu_lightning.training.crew import Crew, crew_of
from icu_lightning.training.fitting import fitted
from icu_lightning.training.stages import stable_seed


def run_pipeline(
    folder: Path, config: Mapping[str, Any], source: Source, settings: DataSettings, crew: Crew | None = None
) -> None:
    """Run, or go on with, what `config` describes; every file of the run folder is written here or by what is called here.

    Arguments:
        crew: the processes that train together, if they have met already.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    check_model(config, settings)
    with crew or crew_of(config["trainer"]) as crew, to_be_finished(folder):
        if config.get("cv"):
            cross_validate(folder, config, source, settings, crew)
        else:
            conclude(folder, config, run_once(folder, config, source, settings, crew))


def check_model(config: Mapping[str, Any], settings: DataSettings) -> None:
    """Build a model that is `EARLY` once for data as they are asked for: what it refuses is told before all tables are read."""
    if not getattr(get_class(config["model"]["_target_"]), "EARLY", False):
        return
    static = tuple(settings.static)  # a category has a column each once the data are there
    names: dict[str, Any] = {"vis": settings.vis_names, "severity": tuple(settings.severity)}
    built(config["model"], shape=BatchShape(settings.hours, tuple(settings.variables), static, **names))


def cross_validate(folder: Path, config: Mapping[str, Any], source: Source, settings: DataSettings, crew: Crew) -> None:
    """A run a fold, and the evaluation of all their test stays together."""

    def fold(path: Path, own: Mapping[str, Any], chosen: DataSettings) -> None:
        with to_be_finished(path):
            test = run_once(path, own, source, chosen, crew)["test"]
        say(f"AUROC of this fold: {cell_text(test.get('raw', {}).get('auroc'))}, before calibration")

    folders = run_folds(folder, config, settings, fold)
    table = write_pooled(folder, folders)
    pool_imputations(folder, folders)
    loggers = build_loggers(folder, config)
    metrics = evaluate_and_keep(folder, config, table)
    present_pooled(folder, config)
    log_results(loggers, folder, config, metrics, table)
    conclude(folder, config, metrics)


def run_once(
    folder: Path, config: Mapping[str, Any], source: Source, settings: DataSettings, crew: Crew
) -> dict[str, Any]:
    """One split: data, training, predictions, evaluation; returns the content of metrics.json."""
    data = load_data(folder, config, source, settings)
    loggers = build_loggers(folder, config)
    several = f", {crew.size} processes" if crew.size > 1 else ""
    say(f"Training {full_name(config['names'])} on {config['names']['trainer']}{several} ...")
    model = fitted(folder, config, data, crew, loggers=loggers, progress=interactive())
    for note in getattr(model, "notes", ()):
        say(note)
    if crew.size > 1 and not crew.engaged:
        say(f"{config['names']['model']} trains by itself, in one process: the others had nothing to do.")
    table = scored(folder, config, data, model)
    write_imputations(folder, config, data, model)
    metrics = evaluate_and_keep(folder, config, table)
    present(folder, config, data, model)
    log_results(loggers, folder, config, metrics, table)
    return metrics


def evaluate_and_keep(folder: Path, config: Mapping[str, Any], table: pl.DataFrame) -> dict[str, Any]:
    """metrics.json of the predictions and imputations that were just written."""
    stored = digest(folder / "predictions.parquet")
    imputations = read_imputations(folder / IMPUTATIONS, None)
    metrics = evaluated(table, stored, bootstrap=config["bootstrap"], seed=config["seed"], imputations=imputations)
    write_metrics(folder, metrics)
    return metrics


def conclude(folder: Path, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """The results on the terminal; a leakage audit that failed is repeated beside them."""
    show(folder, config, metrics)
    failed = [
        check["name"] for check in json.loads((folder / "audit.json").read_text())["checks"] if check["passed"] is False
    ]
    if failed:
        say(f"WARNING: the leakage audit FAILED ({', '.join(failed)}; audit.json): these numbers may flatter.")


def full_name(names: Mapping[str, str]) -> str:
    """The model's name with the options of its own that were chosen, such as its size."""
    own = [group for group in names if group.startswith("model/") or group in PARTS]
    parts = [f"{group.removeprefix('model/')} {names[group]}" for group in own]
    parts += [f"protocol {names['protocol']}"] if names.get("protocol", "clean") != "clean" else []
    return f"{names['model']} ({', '.join(parts)})" if parts else names["model"]


def load_data(folder: Path, config: Mapping[str, Any], source: Source, settings: DataSettings) -> ICUDataModule:
    """The data of this run, with attrition.csv and its chart, cleaning.csv and audit.json written, and said in a few lines."""
    with steps("Data", 4) as step:
        data = ICUDataModule(source, settings, seed=stable_seed(config["seed"], "batches") % 2**31, say=say, step=step)
        data.setup()
    same_data(folder, data)
    for name, table in {"attrition": data.attrition, "cleaning": data.cleaning}.items():
        with atomic_file(folder / f"{name}.csv") as path:
            table.write_csv(path)
    chart = flow_chart(data.extract.attrition, title=f"{data.source.name}: who is in the cohort")
    write_text(folder / "plots" / "attrition.svg", chart)
    say(cohort_line(data))
    checked = audit(data)
    write_text(folder / "audit.json", json.dumps(checked, indent=2) + "\n")
    say(audit_line(checked))
    return data


def same_data(folder: Path, data: ICUDataModule) -> None:
    """Keep the digest of this run's stays, splits and values; raise UserError if a resumed run has others.

    Else weights of one split would be tested on the training stays of another.
    """
    digest = hashlib.blake2b(
        data.stays.select("stay_id", "patient_id", "split", data.settings.outcome).write_csv().encode()
    )
    digest.update(data.values.tobytes())
    if data.extract.rates is not None:
        digest.update(data.extract.rates.tobytes())
    if data.pretraining is not None:
        for part in (data.pretraining.train, data.pretraining.val):
            digest.update("\n".join(map(str, part.stay_id)).encode())
            digest.update(b"" if part.vis is None else part.vis.numpy().tobytes())
    path, now = folder / "checkpoints" / "data.json", {"stays": data.stays.height, "digest": digest.hexdigest()}
    if not path.exists():
        return write_text(path, json.dumps(now) + "\n")
    before = json.loads(path.read_text())
    if before != now:
        raise UserError(
            f"The data of {folder} are not what they were when the run began ({before.get('stays')} stays then, {now['stays']} now): "
            "the raw tables, the cache or the code have changed. Start a new run."
        )


def cohort_line(data: ICUDataModule) -> str:
    stays, outcome = data.stays, data.settings.outcome
    sides = {name: getattr(data, name) for name in SPLITS} | ({LEFT_OUT: data.left_out} if len(data.left_out) else {})
    kind = "SYNTHETIC stays (no patients of any hospital)" if data.source.synthetic else "stays"
    deaths = int(stays[outcome].sum())
    return (
        f"{data.source.name}: {stays.height:,} {kind}, {stays['patient_id'].n_unique():,} patients, "
        f"{deaths:,} {outcome} ({deaths / stays.height:.1%}); {data.shape.hours} h x {data.shape.n_variables} variables\n"
        f"stays (deaths): {', '.join(f'{name} {len(part):,} ({int(part.label.sum()):,})' for name, part in sides.items())}"
    )


def draws(model: Model, data: ICUDataModule) -> NDArray[np.float64]:
    """(B, S) risks of every stay of the cohort, in the order of `data.stays`."""
    return in_order(data, {name: draws_of(model, getattr(data, name)) for name in (*SPLITS, LEFT_OUT)})


def n_measured(data: ICUDataModule) -> NDArray[np.integer]:
    """(B,) cells that show a value, of every stay of the cohort, in the order of `data.stays`."""
    by_split = {name: getattr(data, name).n_measured[:, None] for name in (*SPLITS, LEFT_OUT)}
    return in_order(data, by_split)[:, 0].astype(np.int32)


def in_order(data: ICUDataModule, by_split: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """split -> (its stays, S) as (B, S) in the order of `data.stays`."""
    ordered = np.full((data.stays.height, max(part.shape[1] for part in by_split.values())), np.nan)
    for name, part in by_split.items():
        rows = (data.stays["split"] == name).to_numpy()
        ordered[rows] = part if part.size else np.nan
    return ordered


def scored(folder: Path, config: Mapping[str, Any], data: ICUDataModule, model: Model) -> pl.DataFrame:
    """Predict every stay, calibrate on validation; writes predictions.parquet and model.ckpt, and returns the predictions."""
    outcome = data.settings.outcome
    fitted = built(config["calibration"])
    calibrator = fitted if data.prior_odds is None else AfterPrior(data.prior_odds, fitted)
    drawn = draws(model, data)
    raw = prediction_table.raw_predictions(data.stays, outcome, drawn, n_measured(data))
    table = prediction_table.calibrate(raw, calibrator, config["threshold"], drawn)
    source = data.source
    kind = {"synthetic": source.synthetic, "open_data": is_open(source)}
    prediction_table.write(table, folder / "predictions.parquet", outcome=outcome, source=source.name, **kind)
    content = {
        "icu_lightning": __version__,
        "format": FORMAT,
        "model": config["model"],
        "state": dict(model.state_dict()),
        "shape": {
            "hours": data.shape.hours,
            "variables": list(data.shape.variables),
            "static": list(data.shape.static),
            "vis": list(data.shape.vis),
            "severity": list(data.shape.severity),
        },
        **data.state(),
        "calibrator": calibrator.state(),
        "threshold": {"rule": config["threshold"], "value": table["threshold"][0]},
        "outcome": outcome,
        "data": {"source": data.source.name, "synthetic": data.source.synthetic, "settings": data.settings.plain},
    }
    with atomic_file(folder / "checkpoints" / "model.ckpt") as path:
        torch.save(content, path)
    return table
