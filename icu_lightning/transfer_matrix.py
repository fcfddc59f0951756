"""python -m icu_lightning.transfer matrix=[A,B,...]: a model trained on each database and applied to each, one after another.

    matrix.yaml               what the matrix is made of; another one is refused
    runs/<database>/          a run of each
    <trained>-to-<target>/    a transfer of each to each
    matrix.csv, matrix.json, plots/matrix.svg, index.html

Started again in its folder it goes on: runs and transfers that are finished are not done again.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, open_dict

from icu_lightning import __version__, runfolder
from icu_lightning.atomic import atomic_file, atomic_folder, write_text
from icu_lightning.data.settings import source_and_settings
from icu_lightning.errors import UserError, unknown_name
from icu_lightning.models.parts import check_parts
from icu_lightning.predict import refuse_uncharted
from icu_lightning.results import finished_metrics
from icu_lightning.run import CONF, check
from icu_lightning.sweep.sweeper import OF_A_SWEEP
from icu_lightning.terminal import print_table, say
from icu_lightning.transfer import applied, checked, write
from icu_lightning.transferring import matrix as summary

OF_THE_TRANSFER = ("k", "draws", "judging", "start", "smallest", "bootstrap", "seed")
NOT_OF_A_RUN = (*OF_THE_TRANSFER[:5], "matrix", "run", "unmeasured", "data", "resume", "hydra.run.dir")
PINNED = ("hours", "variables", "outcome")  # of data: the same in every run
GROUPS = ("data", "model", "trainer", "logger", "calibration")


def transfer_matrix(folder: Path, config: Mapping[str, Any], typed: Sequence[str]) -> None:
    """Train, or go on with, a run of each database, apply each to each, and write what they say together into `folder`.

    Arguments:
        typed: overrides as typed on the command line.

    Raises UserError for a matrix that cannot be made, before anything is trained; or one that is not the folder's.
    """
    checked(config)
    databases = named(config["matrix"])
    if config["run"] or config["unmeasured"]:
        raise UserError(
            "A matrix takes neither run nor unmeasured: name runs as in 'matrix={mimic4: RUN, eicu: null}', and leave a variable that "
            "one database lacks out of data.variables."
        )
    configs = {name: run_config(name, config, typed) for name in databases}
    for name, own in configs.items():  # whatever a person got wrong is told before the first model is trained
        check(own)
        check_parts(own["model"])
        source, settings = source_and_settings(**own["data"])
        refuse_lacking(name, source.name, settings.variables)
    keep(folder, {"databases": databases, "runs": configs, **{name: config[name] for name in OF_THE_TRANSFER}})
    runs = {
        name: Path(path) if path else trained(folder / "runs" / name, configs[name]) for name, path in databases.items()
    }
    for name, path in runs.items():
        refuse_another(name, path, configs[name])
    for home, path in runs.items():
        for target in databases:
            cell(folder / f"{home}-to-{target}", {**config, "run": str(path), "data": configs[target]["data"]})
    finish(folder, list(databases))


def named(matrix: object) -> dict[str, str | None]:
    """Database -> its run folder, None for one to be trained. Raises UserError for fewer than two, or an unknown one."""
    listed = matrix if isinstance(matrix, Mapping) else dict.fromkeys(matrix) if isinstance(matrix, list) else {}
    databases = {
        str(name): None if path is None else str(Path(str(path)).expanduser()) for name, path in listed.items()
    }
    if len(databases) < 2:
        raise UserError(f"matrix names two databases or more, as in 'matrix=[mimic4,eicu]'; it is {matrix}.")
    known = [path.stem for path in (CONF / "data").glob("*.yaml")]
    for name in databases:
        if name not in known:
            raise unknown_name("database in matrix", name, known)
    return databases


def run_config(database: str, config: Mapping[str, Any], typed: Sequence[str]) -> dict[str, Any]:
    """The configuration of this database's run: as typed, with window, variables and outcome of the matrix, and no report."""
    asked = [o for o in typed if o.split("=", 1)[0].lstrip("+~") not in NOT_OF_A_RUN and not o.startswith("data.")]
    own = [o for o in typed if o.startswith("data.") and o.split("=", 1)[0].removeprefix("data.") not in PINNED]
    pinned = [f"data.{name}={_typed(config['data'][name])}" for name in PINNED]
    report = [] if any(o.startswith("report=") for o in asked) else ["report=none"]
    begun = GlobalHydra.instance().is_initialized()  # by the command
    with nullcontext() if begun else initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("run", [*report, *asked, f"data={database}", *own, *pinned], return_hydra_config=True)
    choices = {str(group): str(composed.hydra.runtime.choices[group]) for group in GROUPS}
    with open_dict(composed):
        del composed["hydra"]
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    for name in ("matrix", runfolder.SIZE, *OF_A_SWEEP):
        plain.pop(name, None)
    return {"names": choices, **plain}


def _typed(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def refuse_lacking(database: str, source: str, variables: Sequence[str]) -> None:
    """Raise UserError for a variable that one of the databases does not chart: all models see the same ones."""
    try:
        refuse_uncharted(source, variables, [])
    except UserError as error:
        reason = str(error).split(" (concepts.yaml")[0]
        raise UserError(
            f"{database}: {reason}. All models of a matrix see the same: leave it out of data.variables."
        ) from error


def keep(folder: Path, content: Mapping[str, Any]) -> None:
    """Write matrix.yaml, or raise UserError if the folder holds another matrix, or anything else."""
    path = folder / "matrix.yaml"
    text = yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False)
    if path.is_file():
        if path.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{folder} holds a matrix of other settings ({path}): choose another hydra.run.dir, or its own words."
            )
        return
    if any(folder.iterdir()):
        raise UserError(f"The folder {folder} is not empty, and nothing is overwritten: choose another hydra.run.dir.")
    write_text(path, text)


def trained(path: Path, config: dict[str, Any]) -> Path:
    """The finished run of one database in `path`, begun, gone on with, or found there."""
    from icu_lightning.pipeline import run_pipeline

    if finished_metrics(path) is not None:
        say(f"{config['names']['data']}: this run is finished: {path}")
        return path
    path.mkdir(parents=True, exist_ok=True)
    begun = (path / "config.yaml").exists()
    stored = runfolder.configuration(path) if begun else runfolder.start(path, config)
    with runfolder.locked(path), runfolder.undone_if_refused(path):
        run_pipeline(path, stored, *source_and_settings(**stored["data"]))
    return path


def refuse_another(database: str, path: Path, config: Mapping[str, Any]) -> None:
    """Raise UserError if a run in the matrix is of another database, window, outcome or other variables."""
    stored = runfolder.configuration(path)
    for name in ("source", *PINNED):
        if stored["data"][name] != config["data"][name]:
            raise UserError(
                f"{path} stands for {database}, but its data.{name} is {stored['data'][name]}, not {config['data'][name]}: "
                "all models of a matrix see the same hours and variables."
            )


def cell(path: Path, config: Mapping[str, Any]) -> None:
    """One transfer, whole or not there; one that is there is left as it is."""
    if (path / "transfer.json").is_file():
        return say(f"{path.name}: finished")
    result = applied(config, ["data.cohort=[that of the matrix]"])
    with atomic_folder(path) as temporary:
        write(result, temporary)
    before = result.before.get("auroc") or {}
    say(f"{path.name}: AUROC {summary.tables.number(before)}, {result.kinship.word}")


def finish(folder: Path, databases: Sequence[str]) -> None:
    """What the cells say together: matrix.csv, matrix.json, the heat map and the page; and on the terminal."""
    cells = []
    for home in databases:
        for target in databases:
            stored = json.loads((folder / f"{home}-to-{target}" / "transfer.json").read_text(encoding="utf-8"))
            cells.append(summary.Cell(home=home, target=target, stored=stored))
    with atomic_file(folder / "matrix.csv") as path:
        numbers = [pl.read_csv(folder / f"{one.home}-to-{one.target}" / "transfer.csv") for one in cells]
        pl.concat(numbers, how="vertical_relaxed").write_csv(path)
    write_text(folder / "matrix.json", json.dumps([one.facts for one in cells], indent=2) + "\n")
    drawn = summary.heat_map(databases, cells)
    write_text(folder / "plots" / "matrix.svg", drawn)
    made = {
        "Made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "By": f"icu_lightning {__version__}, code {runfolder.git_commit()}",
        "Command": shlex.join(["python", "-m", "icu_lightning.transfer", *sys.argv[1:]]),
    }
    write_text(folder / "index.html", summary.page(databases, cells, drawn, made))
    for metric, title in summary.SHOWN.items():
        print_table(f"{title}, as it came (95 % interval)", *summary.rows(databases, cells, metric))
    for line in summary.remarks(cells):
        say(line)
    say(f"Matrix: {folder / 'index.html'}")
