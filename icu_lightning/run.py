"""python -m icu_lightning.run: configuration -> data -> fit -> predictions -> metrics -> run folder.

Nothing here asks which model it has. torch is imported only after the configuration is known to be good, so that help and
mistakes answer at once.
"""

import os
import re
import secrets
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from icu_lightning import runfolder
from icu_lightning.atomic import write_text
from icu_lightning.errors import UserError, whole_number
from icu_lightning.sweep.grids import refuse_alone
from icu_lightning.sweep.sweeper import OF_A_SWEEP, PLUGIN, Sweep
from icu_lightning.training import preemption
from icu_lightning.training.ranks import check_devices, quiet, started
from icu_lightning.trust import check_trusted
from icu_lightning.words import in_full

if TYPE_CHECKING:
    from icu_lightning.training.crew import Crew

PACKAGE = Path(__file__).resolve().parent
EXPERIMENTS = PACKAGE.parent / "experiments"  # holds the group `experiment`; not in an installed package
CONF = next(conf for conf in (PACKAGE.parent / "conf", PACKAGE / "conf") if (conf / "run.yaml").exists())


def run_folder(resume: str | None, data: str, model: str) -> str:
    """Where this run writes, relative to the working directory: the resumed folder, or runs/<data>-<model>/<time>-<suffix>."""
    if resume:
        return str(Path(resume).expanduser())
    return f"runs/{data}-{model}/{time_and_suffix()}"


def time_and_suffix() -> str:
    """The name of a new folder: two that begin in one second differ by the suffix."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(2)}"


class Experiments(SearchPathPlugin):
    """Lets Hydra find the experiments, also in a sweep over them: `-m 'experiment=glob(*)'` looks no further than this path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if EXPERIMENTS.is_dir():
            search_path.append("experiments", f"file://{EXPERIMENTS}")


Plugins.instance().register(Experiments)
Plugins.instance().class_name_to_class[PLUGIN] = Sweep  # Hydra makes a sweeper only of a name in its own namespace
ConfigStore.instance().store(group="hydra/sweeper", name="icu_lightning", node={"_target_": PLUGIN, "grids": []})
OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


def answer(hydra_command: Callable[[], None]) -> None:
    """Call what hydra.main made, with short words in full; a mistake that Hydra finds is one message and exit code 1.

    An interruption outside of the job, as while the packages are imported, is one word and 130.
    """
    sys.argv = [sys.argv[0], *map(in_full, sys.argv[1:])]  # where Hydra reads them
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands its errors on, instead of printing them its own way
    try:
        with stopped_in_a_word():
            hydra_command()
    except hydra.errors.HydraException as error:
        sys.exit(f"error: {told(error, sys.argv[1:])}")
    except (UserError, OSError, OmegaConfBaseException) as error:
        sys.exit(f"error: {error}")
    except ValueError as error:
        if not str(error).startswith(TWO_OPTIONS):
            raise
        sys.exit("error: -m cannot be combined with --cfg or --info, which are of one run: leave -m and the lists out.")


@contextmanager
def stopped_in_a_word() -> Iterator[None]:
    """SIGINT ends the block with "Stopped." and exit code 130, whatever a library that is being imported makes of it."""
    try:
        with preemption.heard(()):
            yield
    except SystemExit:
        raise  # told already
    except BaseException as error:
        if preemption.told() is not signal.SIGINT and not isinstance(error, KeyboardInterrupt):
            raise
        print("Stopped.", file=sys.stderr)
        sys.exit(130)


TWO_OPTIONS = "Only one of --run, --multirun, --cfg, --info"  # as Hydra's error begins
UNKNOWN = re.compile(r"Could not (?:override '(?P<key>[^'@]+)'|delete from config. '(?P<away>[^']+)' does not exist)")


def told(error: hydra.errors.HydraException, typed: Sequence[str]) -> str:
    """Hydra's error in a line: what is unknown and why, the nearest that is known, and how a new key is added."""
    first, *more = str(error).splitlines()
    cause = isinstance(error.__cause__, OmegaConfBaseException) and str(error.__cause__).splitlines()[0]
    if (unknown := UNKNOWN.match(first)) and "/" in (group := unknown["key"] or "") and (CONF / group).is_dir():
        return f"Could not override '{group}': what was chosen has no such options. They are those of another {group.split('/')[0]}."
    if unknown:
        why = f": {cause}." if cause else "."
        add = f" ({more[0]}.)" if more else ""
        return f"{first.rstrip('.')}{why}{nearest(error, typed)}{add}"
    behind = f"\n{error.__cause__}" if cause else ""
    return f"{error}{behind}{nearest(error, typed)}"


def nearest(error: hydra.errors.HydraException, typed: Sequence[str]) -> str:
    """For a word that Hydra does not know, the nearest that it does, as a question; nothing if none is near."""
    if isinstance(error, hydra.errors.MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        found = get_close_matches(option, error.options, n=1)
        return f"\nDid you mean {group}={found[0]}?" if found else ""
    unknown = UNKNOWN.match(str(error))
    if unknown is None:
        return ""
    word, known = unknown["key"] or unknown["away"], known_keys(typed)
    part = word.removeprefix("model.").split(".")[0]
    if part in runfolder.PARTS and (word == part or f"model.{part}" not in known):
        return f" Only model=two_stage has an {' and a '.join(runfolder.PARTS)}."
    found = get_close_matches(word, known, n=1)
    return f" Did you mean {'~' * (unknown['key'] is None)}{found[0]}?" if found else ""


def known_keys(typed: Sequence[str]) -> list[str]:
    """What can be overridden with the options that were chosen: groups, and settings with their dots, Hydra's among them."""
    groups = [path.relative_to(CONF).as_posix() for path in CONF.rglob("*") if path.is_dir()]
    chosen = [word for word in typed if word.split("=")[0] in (*groups, "experiment") and "," not in word]
    command = Path(sys.argv[0]).stem
    name = command if (CONF / f"{command}.yaml").exists() else "run"
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            cfg = hydra.compose(name, chosen, return_hydra_config=True)
        except hydra.errors.HydraException:  # options of another model beside it: another mistake than what is told
            cfg = hydra.compose(name, return_hydra_config=True)
    return [*groups, *(f"hydra/{name}" for name in cfg.hydra), *_keys(cfg, "")]


def _keys(node: DictConfig, above: str) -> Iterator[str]:
    for name in map(str, node):
        yield f"{above}{name}"
        inner = node._get_node(name)
        if isinstance(inner, DictConfig) and not inner._is_none():
            yield from _keys(inner, f"{above}{name}.")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="run")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration, once a job."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    way_on = f"Continue with: python -m icu_lightning.run {runfolder.resume_argument(folder)}"
    with one_line_errors(folder, stopped=way_on):
        run(folder, cfg)


@contextmanager
def one_line_errors(folder: Path, stopped: str = "Start it again.", *, new: bool = True) -> Iterator[None]:
    """Errors of a job as one message and exit code 1; an interruption as `stopped` and 130, or 128 and the signal's number.

    The traceback of an error that nobody foresaw is kept in error.txt in `folder`. A `new` one, which Hydra has made, goes if
    it is still empty.
    """
    discard = runfolder.remove_if_empty if new else (lambda folder: None)
    try:
        with preemption.heard():
            yield
    except BaseException as error:
        told = preemption.told()  # or a library has made of it a SystemExit, as Lightning does, or an error of its own
        if told in preemption.HEARD:
            discard(folder)
            stop = preemption.Preempted(told)
            print(f"Stopped by {stop.signal.name}. {stopped}{preemption.requeue(stop)}", file=sys.stderr)
            raise stop from error
        if told is signal.SIGINT or isinstance(error, KeyboardInterrupt):
            discard(folder)
            print(f"Stopped. {stopped}", file=sys.stderr)
            sys.exit(130)
        if isinstance(error, (SystemExit, GeneratorExit)):
            raise  # rich's, when whoever reads the output has gone
        if isinstance(error, (UserError, OSError, OmegaConfBaseException)):
            discard(folder)
            sys.exit(f"error: {error}")
        write_text(folder / "error.txt", traceback.format_exc())
        sys.exit(f"error: {type(error).__name__}: {error}\nWhere it happened: {folder / 'error.txt'}")


def run(folder: Path, cfg: DictConfig) -> None:
    """One run, new or resumed, into `folder`; the further processes of torchrun or srun train along with the first one's."""
    refuse_words_of_a_sweep(HydraConfig.get().overrides.task)
    refuse_alone(HydraConfig.get().sweeper.get("grids") or (), HydraConfig.get().overrides.task)
    rank, processes = started()
    if processes == 1:
        return run_alone(folder, cfg, None)
    quiet()
    from icu_lightning.training.crew import together
    from icu_lightning.training.fitting import follow

    with together(rank, processes) as crew:  # before anything can be refused, so that nobody waits for who has gone
        if rank == 0:
            return run_alone(folder, cfg, crew)
        try:
            follow(crew)
        finally:
            runfolder.remove_if_empty(folder)  # which Hydra has made for every process


def run_alone(folder: Path, cfg: DictConfig, crew: "Crew | None") -> None:
    """One run, new or resumed, into `folder`.

    Arguments:
        crew: the processes that were started together with this one.
    """
    from icu_lightning.data.settings import source_and_settings
    from icu_lightning.models.parts import check_parts
    from icu_lightning.results import finished_metrics, show
    from icu_lightning.terminal import say

    config = stored_config(folder) if cfg.resume else composed_config(cfg)
    again = bool(cfg.resume) or (preemption.requeued() and runfolder.begun_by(folder, config))
    if metrics := finished_metrics(folder) if again else None:
        say("This run is finished; its results:")
        return show(folder, config, metrics)
    check(config)
    check_parts(config["model"])
    source, settings = source_and_settings(**config["data"])  # a missing table is told before torch is loaded
    config = runfolder.configuration(folder) if again else runfolder.start(folder, config)
    with runfolder.locked(folder), nullcontext() if again else runfolder.undone_if_refused(folder):
        if config["trainer"].get("devices", 1) != 1:
            quiet()
        from icu_lightning.pipeline import run_pipeline

        run_pipeline(folder, config, source, settings, crew)


def refuse_words_of_a_sweep(overrides: Sequence[str]) -> None:
    """Raise UserError for what would have no effect on a single run."""
    for override in overrides:
        if override.lstrip("+").split("=")[0].split(".")[0] in OF_A_SWEEP:
            raise UserError(
                f"{override} is of a sweep: add -m, as in python -m icu_lightning.run -m {override} seed=0,1,2"
            )


def check(config: dict[str, Any]) -> None:
    """Raise UserError for numbers and names that can be known to be wrong before anything is loaded."""
    from icu_lightning.evaluation.thresholds import threshold_rule
    from icu_lightning.examination.choices import choices
    from icu_lightning.explanation.settings import explanation_settings
    from icu_lightning.imputations import imputation_settings
    from icu_lightning.plots.kinds import figures_asked

    if config.get("matrix"):
        raise UserError("A matrix over databases is made by python -m icu_lightning.transfer, with the same words.")
    choices(config)
    explanation_settings(config)
    imputation_settings(config)
    figures_asked(config)
    for name in ("seed", "bootstrap"):
        whole_number(name, config[name], 0)
    if config.get("cv") is not None:
        whole_number("cv", config["cv"], 2)
        if config["data"].get("fold") is not None:
            raise UserError("cv runs every fold, data.fold chooses one of them: leave one of the two out.")
    for name in ("max_epochs", "threads"):
        if config["trainer"].get(name) is not None:
            whole_number(f"trainer.{name}", config["trainer"][name], 1)
    check_devices(config["trainer"])
    threshold_rule(config["threshold"])


def composed_config(cfg: DictConfig) -> dict[str, Any]:
    """What Hydra composed, plain and resolved, with the names of the options chosen."""
    choices = HydraConfig.get().runtime.choices
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return {
        "names": {
            group: choices[group]
            for group in choices
            if group in ("data", "model", *runfolder.PARTS, "trainer", "logger", "calibration", "protocol")
            or group.startswith("model/")
            or (group == "experiment" and choices[group])
        },
        **{name: value for name, value in plain.items() if name not in (*OF_A_SWEEP, runfolder.SIZE)},
    }


def stored_config(folder: Path) -> dict[str, Any]:
    """The resumed run's own configuration; what else was typed is refused."""
    config = runfolder.reopen(folder, [o for o in HydraConfig.get().overrides.task if not o.startswith("resume=")])
    check_trusted(config, f"{folder / 'config.yaml'}")
    return config


if __name__ == "__main__":
    main()
