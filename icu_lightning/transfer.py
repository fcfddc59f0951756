"""python -m icu_lightning.transfer: a trained model on another database, before and after recalibration, and over its hospitals.

Scaler, outlier bounds, categories, calibrator and threshold are the run's; nothing is fitted on the target but the recalibrators,
each on k of its labelled stays, and those never judge.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from icu_lightning import __version__
from icu_lightning.atomic import atomic_file, write_text
from icu_lightning.disclosure import is_open
from icu_lightning.errors import UserError, unknown_name, whole_number
from icu_lightning.predict import (
    at_the_checkpoints_time,
    chosen,
    names_a_cohort,
    refuse_settings_of_the_checkpoint,
    refuse_uncharted,
)
from icu_lightning.run import CONF, answer, composed_config, one_line_errors, time_and_suffix
from icu_lightning.runfolder import git_commit

if TYPE_CHECKING:
    import polars as pl

    from icu_lightning.data.module import ICUDataModule
    from icu_lightning.data.settings import DataSettings
    from icu_lightning.data.sources.base import Source
    from icu_lightning.training.checkpoint import Trained
    from icu_lightning.transferring.result import Settings, Transfer

OmegaConf.register_new_resolver(
    "transfer_folder", lambda: f"transfers/{time_and_suffix()}", use_cache=True, replace=True
)
STARTS = ("risk", "risk_raw")


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="transfer")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration, once a job."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    with one_line_errors(folder):
        config, typed = composed_config(cfg), HydraConfig.get().overrides.task
        if config["matrix"]:
            from icu_lightning.transfer_matrix import transfer_matrix

            return transfer_matrix(folder, config, typed)
        if any(folder.iterdir()):
            raise UserError(
                f"The folder {folder} is not empty, and nothing is overwritten: choose another hydra.run.dir."
            )
        result = applied(config, typed)
        write(result, folder)
        show(result, folder)


def applied(config: Mapping[str, Any], typed: Sequence[str]) -> "Transfer":
    """The model of `config['run']` on the database of `config['data']`.

    Arguments:
        typed: overrides as typed on the command line.

    Raises UserError for a run, a database or a setting that cannot be used.
    """
    settings = checked(config)
    if not config["run"]:
        raise UserError("run= is missing: python -m icu_lightning.transfer run=RUN data=eicu")
    refuse_settings_of_the_checkpoint(typed)
    path = Path(config["run"]).expanduser()
    if not path.exists():  # told before torch is loaded
        raise UserError(f"There is no run {path}: run= names a run folder, or its checkpoints/model.ckpt.")
    if (path / "fold-0").is_dir():
        raise UserError(f"{path} is a cross-validation, a model a fold: choose one, as in run={path / 'fold-0'}.")
    from icu_lightning.data.module import ICUDataModule
    from icu_lightning.data.settings import source_and_settings
    from icu_lightning.terminal import say, steps
    from icu_lightning.training.checkpoint import trained
    from icu_lightning.transferring.kinship import Database, Kinship
    from icu_lightning.transferring.result import assess

    model = trained(path)
    conf = at_the_checkpoints_time(config["data"], model.content, typed)
    source, data_settings = source_and_settings(**labelled(conf, model.content, names_a_cohort(typed)))
    refuse_uncharted(source.name, data_settings.variables, config["unmeasured"])
    refuse_unknown_outcome(source, data_settings.outcome)
    home = Database(name=model.content["data"]["source"], synthetic=model.content["data"]["synthetic"])
    kinship = Kinship(trained_on=home, target=Database(name=source.name, synthetic=source.synthetic))
    folder = path if path.is_dir() else path.parent.parent
    own = own_predictions(folder) if kinship.same else None
    with steps("Data", 4) as step:
        data = ICUDataModule(source, data_settings, say=say, step=step)
        stays = data.apply(model.content, config["unmeasured"])
    return assess(
        kinship,
        settings,
        scored(model, data, stays),
        own,
        outcome=data_settings.outcome,
        variables=variables(folder, data, stays, config["unmeasured"]),
        attrition=data.extract.attrition,
        cleaning=data.extract.cleaning,
        open_data=is_open(source),
        facts=facts(path, folder, model, data_settings),
    )


def checked(config: Mapping[str, Any]) -> "Settings":
    """The settings of conf/transfer_settings.yaml. Raises UserError for one that cannot be meant."""
    from icu_lightning.transferring.result import Settings

    for name in ("resume", "cv"):
        if config[name]:
            raise UserError(f"{name} is of icu_lightning.run; a transfer applies one trained model. Leave it out.")
    k = config["k"] if isinstance(config["k"], list) else [config["k"]]
    for name, value, least in (
        *(("k", one, 2) for one in k),
        *((name, config[name], least) for name, least in {"draws": 1, "smallest": 4, "bootstrap": 0, "seed": 0}.items()),
    ):  # fmt: skip
        whole_number(name, value, least)
    share = config["judging"]
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise UserError(f"judging is the share of patients that judge, above 0 and at most 1; it is {share}.")
    if config["start"] not in STARTS:
        raise unknown_name("start", config["start"], STARTS)
    numbers = {name: config[name] for name in ("draws", "judging", "start", "smallest", "bootstrap", "seed")}
    return Settings(k=k, **numbers)


def labelled(data: Mapping[str, Any], content: Mapping[str, Any], own_cohort: bool) -> dict[str, Any]:
    """As predict's `chosen`, but only stays whose outcome is known."""
    merged = chosen(data, content, own_cohort)
    known = {"outcome_known": merged["outcome"]}
    return merged | {"cohort": [*(step for step in merged["cohort"] if step != known), known]}


def refuse_unknown_outcome(source: "Source", outcome: str) -> None:
    """Raise UserError if the target knows the outcome of nobody."""
    import polars as pl

    known = source.collect(source.stays().select(pl.col(outcome).is_not_null().any()))
    if not known.item():
        raise UserError(
            f"The model predicts {outcome}, which {source.name} knows of no stay: train a model of an outcome that both know."
        )


def own_predictions(folder: Path) -> "pl.DataFrame":
    """The run's own, by which its training stays are left out. Raises UserError if they are missing or altered."""
    from icu_lightning.evaluation.stored import read
    from icu_lightning.results import finished_metrics, stored_digest

    return read(folder / "predictions.parquet", stored_digest(finished_metrics(folder))).table


def scored(model: "Trained", data: "ICUDataModule", stays: Any) -> "pl.DataFrame":
    """A row a stay, as predictions.py describes it, with the run's calibrator and threshold."""
    import polars as pl

    from icu_lightning.evaluation.predictions import raw_predictions, spread_of
    from icu_lightning.pipeline import draws_of

    as_test = data.stays.with_columns(split=pl.lit("test"))
    draws = draws_of(model.model, stays)
    raw = raw_predictions(as_test, data.settings.outcome, draws, stays.n_measured)
    risk = model.calibrator.transform(raw["risk_raw"].to_numpy())
    spread = spread_of(draws, model.calibrator)
    return raw.with_columns(spread, risk=pl.Series(risk, dtype=pl.Float64), threshold=pl.lit(model.threshold))


def variables(folder: Path, data: "ICUDataModule", stays: Any, unmeasured: Sequence[str]) -> "pl.DataFrame":
    """What of the model's variables the target has, beside the run's own stays where its cleaning.csv is at hand."""
    import polars as pl

    from icu_lightning.data.concepts import concepts_of
    from icu_lightning.transferring.variables import variable_table

    trained: dict[str, float] = {}
    if (folder / "cleaning.csv").is_file() and (folder / "predictions.parquet").is_file():
        hours = pl.scan_parquet(folder / "predictions.parquet").select(pl.len()).collect().item() * data.settings.hours
        cells = pl.read_csv(folder / "cleaning.csv").select("variable", "cells")
        trained = {name: count / hours for name, count in cells.iter_rows()}
    units = [concept.unit for concept in concepts_of(data.settings.variables)]
    return variable_table(
        data.settings.variables, units, stays.values.numpy(), stays.observed.numpy(), unmeasured, trained
    )


def facts(path: Path, folder: Path, model: "Trained", settings: "DataSettings") -> dict[str, str]:
    """What a reader has to know of the model and of this command."""
    from icu_lightning import runfolder
    from icu_lightning.data.cohort import named_filter

    known = (folder / "config.yaml").is_file()
    config = runfolder.configuration(folder) if known else None
    target = model.content["model"]["_target_"].rpartition(".")[2]
    return {
        "Model": f"{config['names']['model']}, seed {config['seed']}" if config else target,
        "Run": str(path),
        "Window": f"{settings.hours} h x {len(settings.variables)} variables",
        "Cohort": ", ".join(named_filter(step)[0] for step in settings.cohort),
        "Threshold": f"{model.threshold:.4f} ({model.content['threshold']['rule']}), chosen by the run",
        "Made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "By": f"icu_lightning {__version__}, code {git_commit()}",
        "Command": shlex.join(["python", "-m", "icu_lightning.transfer", *sys.argv[1:]]),
    }  # fmt: skip


def write(result: "Transfer", folder: Path) -> None:
    """Every file, transfer.json last: a folder without it is not finished."""
    from icu_lightning.evaluation.predictions import write as write_predictions
    from icu_lightning.transferring.figures import figures
    from icu_lightning.transferring.page import page
    from icu_lightning.transferring.tables import as_json, hospital_table, transfer_table

    target, home = result.kinship.target, result.kinship.trained_on
    write_predictions(
        result.predictions, folder / "predictions.parquet", outcome=result.outcome, source=target.name, synthetic=target.synthetic,
        open_data=result.open_data, trained_on=home.called, marks=" ".join(result.kinship.marks),
    )  # fmt: skip
    tables = {
        "attrition": result.attrition,
        "cleaning": result.cleaning,
        "variables": result.variables,
        "transfer": transfer_table(result),
        "hospitals": hospital_table(result),
    }
    for name, table in tables.items():
        if table is not None:
            with atomic_file(folder / f"{name}.csv") as path:
                table.write_csv(path)
    drawn = figures(result)
    for figure in drawn:
        write_text(folder / "plots" / f"{figure.name}.svg", figure.svg)
    write_text(folder / "index.html", page(result, drawn))
    write_text(folder / "transfer.json", json.dumps(as_json(result), indent=2) + "\n")


def show(result: "Transfer", folder: Path) -> None:
    """The tables on the terminal, and where everything is."""
    from icu_lightning.terminal import print_table, say
    from icu_lightning.transferring import tables

    for mark in result.kinship.marks:
        say(mark)
    say(
        f"{result.facts['Model']}: {result.kinship.trained_on.called} -> {result.kinship.target.called}. {tables.counts(result)}."
    )
    for line in tables.remarks(result):
        say(line)
    print_table("Judging stays (95 % interval over resampled patients and draws)", *tables.metric_rows(result))
    if result.after:
        print_table("Mean ± SD over draws of k stays", *tables.narrow_draw_rows(result))
    if result.hospitals is not None:
        if tables.summarised(result):
            print_table("As it came, over hospitals", *tables.hospital_rows(result))
        for line in tables.left_out_lines(result):
            say(line)
    say(f"Transfer: {folder / 'index.html'}")


if __name__ == "__main__":
    main()
