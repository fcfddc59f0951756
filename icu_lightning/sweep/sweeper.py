"""What `-m` does: the jobs of the line, in one folder, each to its end; what failed is listed, and the rest goes on.

Started again with the same line it goes on: what is finished is not run again, what was interrupted continues from its checkpoint,
and what failed is run again, unless `sweep.retry=false`. A failed trial of a search is one of its trials, and is asked again only with
`sweep.retry=true`. See jobs.py for what lies in the folder.
"""

import itertools
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from icu_lightning.errors import UserError
from icu_lightning.sweep.grids import lines_of, settings_of
from icu_lightning.sweep.jobs import Job, digest, held_sweep, keep, name_of, without_password
from icu_lightning.sweep.parts import refuse_senseless

PLUGIN = "hydra_plugins.icu_lightning.Sweep"
OF_A_SWEEP = ("launcher", "sweep", "search")  # keys of conf/run.yaml that are no part of a run
NOT_THE_JOB = ("root", "cache_dir")  # of data: where it lies, not what it is
OTHERS = (
    "hydra.sweep.",
    "hydra.run.",
    "hydra.mode",
    "hydra.launcher",
    "hydra.sweeper",
    "hydra/launcher",
    "hydra/sweeper",
)


class Sweep(Sweeper):
    """Hydra's sweeper of `python -m icu_lightning.run -m ...`.

    Arguments:
        grids: lines that an experiment brings, each what would be typed after -m; see grids.py.
    """

    def __init__(self, grids: Sequence[str] = ()) -> None:
        self.grids = list(grids)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.cfg = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs of the overrides on the command line. Exits with 1 if any of them failed."""
        from icu_lightning.build import built  # not for a single run, which has torch and its own errors to wait for

        parser = OverridesParser.create(config_loader=self.loader)
        overrides = parser.parse_overrides(arguments)
        passed_on = [o for o in self.cfg.hydra.overrides.hydra if not o.startswith(OTHERS)]
        lines = lines_of(self.grids, overrides, parser.parse_overrides)
        words = words_of_lines(lines)
        folder = folder_of(str(self.cfg.hydra.sweep.dir), overrides, words, passed_on, brought=bool(self.grids))
        searched = self.cfg.get("search") is not None
        if searched and len(words) > 1:
            raise UserError("A search takes no lists of values: name what varies in search.space, as conf/search does.")
        jobs = [
            Job(sweep=folder, name=name_of([*passed_on, *own], axes), overrides=(*passed_on, *own), axes=axes)
            for own, axes in words
        ]
        if searched:
            jobs = [
                replace(
                    jobs[0], overrides=(*passed_on, f"model={self.cfg.hydra.runtime.choices.model}", *jobs[0].overrides)
                )
            ]
        composed = {job.name: self.composed(job) for job in one_of_each_value(jobs)}
        refuse_senseless(jobs, composed, self.composed)
        configurations = {name: accepted(plain) for name, plain in composed.items()}
        if searched and configurations[jobs[0].name].get("cv"):
            raise UserError(
                "A search looks at validation stays, which cv pools away: leave cv out, or choose data.fold=[0,5]."
            )
        jobs = self.placed(jobs, configurations)
        meaning = {name: digest(configuration) for name, configuration in configurations.items()}
        line, searching = shlex.join(["-m", *arguments]), self.plain_search(jobs[0]) if searched else {}
        with held_sweep(folder, shared=searched):
            conf: Any = OmegaConf.to_container(self.cfg.launcher, resolve=True)
            launcher, asked = built(conf), self.cfg.sweep.retry
            retry = not searched if asked is None else bool(asked)
            if searched:
                search_to_the_end(folder, line, jobs[0], meaning, searching, launcher, retry=retry)
            else:
                everyone = keep(folder, line, jobs, meaning)
                run_to_the_end(
                    jobs, everyone, launcher, retry=retry, lines=told(lines, self.grids) if self.grids else ()
                )

    def placed(self, jobs: Sequence[Job], configurations: Mapping[str, Mapping[str, Any]]) -> list[Job]:
        """The jobs, each knowing whether it trains on a GPU; those that do after the others, which have smaller shares.

        Arguments:
            configurations: of some of them, by name.
        """
        known = {job.name: configurations[job.name]["trainer"] for job in jobs if job.name in configurations}
        trainers = {trainer_words(job): known[job.name] for job in jobs if job.name in known}
        for job in jobs:
            if trainer_words(job) not in trainers:
                trainers[trainer_words(job)] = self.checked(job)["trainer"]
        found = [replace(job, gpu=trainers[trainer_words(job)].get("accelerator", "cpu") != "cpu") for job in jobs]
        return sorted(found, key=lambda job: job.gpu)

    def plain_search(self, job: Job) -> dict[str, Any]:
        """The configuration of the search.

        Raises UserError for what cannot be in it, and if it is for another model; Hydra's error for a setting in its space that
        the model does not have.
        """
        try:
            from icu_lightning.sweep.settings import Settings
        except ModuleNotFoundError as error:
            raise UserError(f"A search needs Optuna ({error}): pip install 'icu-lightning[search]'.") from error
        conf: Any = OmegaConf.to_container(self.cfg.search, resolve=True)
        Settings.of(conf)
        try:
            self.loader.load_sweep_config(self.cfg, [*job.overrides, *(f"{name}=null" for name in conf["space"])])
        except HydraException as error:
            self.refuse_another_model(error)
            raise
        return conf

    def refuse_another_model(self, error: HydraException) -> None:
        """Raise UserError if the search brings another model than the line, whose settings it then does not know."""
        search, model = (self.cfg.hydra.runtime.choices[group] for group in ("search", "model"))
        own = self.loader.load_sweep_config(self.cfg, [f"search={search}"]).hydra.runtime.choices.model
        if own != model:
            raise UserError(
                f"search={search} is for model={own}, and model={model} does not have its settings "
                f"({str(error).splitlines()[0]}) Leave model={model} out, or choose a search for it (conf/search)."
            ) from error

    def checked(self, job: Job) -> dict[str, Any]:
        """The configuration of a job. Raises UserError or Hydra's error for a mistake in it."""
        return accepted(self.composed(job))

    def composed(self, job: Job) -> dict[str, Any]:
        """All that Hydra makes of a job's words. Raises Hydra's error for unknown ones, UserError for what is no job of a sweep."""
        cfg = self.loader.load_sweep_config(self.cfg, list(job.overrides))
        if list(cfg.hydra.sweeper.grids) != self.grids:
            raise UserError(
                f"{' '.join(job.axes)} is an experiment of many runs (hydra.sweeper.grids): run it in a line of its own."
            )
        with open_dict(cfg):
            del cfg["hydra"]
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        if plain["resume"]:
            raise UserError("resume is of a single run: a sweep goes on when its line is run again.")
        return dict(plain)


def accepted(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Of a composed configuration what is the job's. Raises UserError for a mistake in it."""
    from icu_lightning.run import check

    check(dict(plain))
    data = {name: value for name, value in plain["data"].items() if name not in NOT_THE_JOB}
    return {name: value for name, value in plain.items() if name not in OF_A_SWEEP} | {"data": data}


def trainer_words(job: Job) -> tuple[str, ...]:
    """Those of a job's words that can say what it trains on."""
    return tuple(word for word in job.overrides if re.match(r"[+~]*(trainer|experiment)\b", word))


def words_of_jobs(overrides: Sequence[Override]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Of each job its overrides, and those of them that vary: every combination of the values on the command line.

    Raises UserError for a range without steps, which has no end.
    """
    choices: dict[str, list[str]] = {}
    for override in overrides:
        if (override.key_or_group or "").split(".")[0] in OF_A_SWEEP:
            continue
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [str(override.input_line)]
        elif override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise UserError(f"{override.input_line} has no end: name its values, or search it (search=...).")
    varying = {key for key, values in choices.items() if len(values) > 1}
    return [
        (own, tuple(word for key, word in zip(choices, own, strict=True) if key in varying))
        for own in itertools.product(*choices.values())
    ]


def words_of_lines(lines: Sequence[Sequence[Override]]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """As `words_of_jobs`, of several lines: each job once; what not all jobs have varies."""
    if len(lines) == 1:
        return words_of_jobs(lines[0])
    jobs = list({tuple(sorted(own)): own for line in lines for own, _ in words_of_jobs(line)}.values())
    shared = set(jobs[0]).intersection(*jobs)
    return [(own, tuple(word for word in own if word not in shared)) for own in jobs]


def folder_of(
    asked: str,
    overrides: Sequence[Override],
    words: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
    passed_on: Sequence[str],
    *,
    brought: bool = False,
) -> Path:
    """Where the sweep lies: what was asked for, else a name that follows from its jobs.

    Arguments:
        brought: whether an experiment brings what varies, whose name is then the folder's.
    """
    if asked:
        return Path(asked).expanduser()
    varying = [str(o.value()) for o in overrides if brought and o.key_or_group == "experiment"]
    varying += [str(o.key_or_group).split(".")[-1] for o in overrides if o.is_sweep_override()]
    varying += [str(o.input_line).replace("=", "-") for o in overrides if o.key_or_group == "search"]
    every = sorted(sorted([*passed_on, *own]) for own, _ in words)
    every += [settings] if (settings := search_words(overrides)) else []
    return Path("sweeps") / f"{'-'.join(varying)[:60] or 'job'}-{digest(every)}"


def search_words(overrides: Sequence[Override]) -> list[str]:
    """Settings of the search on the line that make another search of it; more trials go on with the same one."""
    return sorted(
        str(o.input_line)
        for o in overrides
        if str(o.key_or_group).startswith("search.") and o.key_or_group != "search.trials"
    )


def one_of_each_value(jobs: Sequence[Job]) -> Iterator[Job]:
    """Jobs in which every value of the line occurs: composing all of them would take longer than many a job."""
    seen: set[str] = set()
    for job in jobs:
        if not seen.issuperset(job.overrides) or not seen:
            seen.update(job.overrides)
            yield job


def told(lines: Sequence[Sequence[Override]], grids: Sequence[str]) -> list[str]:
    """Of each line that is left of `grids`: how many jobs it has that none before it has, and its words without what is beside it."""
    named = set().union(*map(settings_of, grids))
    found, before = [], set[tuple[str, ...]]()
    for line in lines:
        own = {tuple(sorted(words)) for words, _ in words_of_jobs(line)} - before
        before |= own
        words = [str(o.input_line) for o in line if o.get_key_element() in named]
        found.append(f"{len(own)} job{'s' * (len(own) != 1)}: {' '.join(words)}")
    return found


def run_to_the_end(
    jobs: Sequence[Job], everyone: Sequence[Job], launcher: Any, *, retry: bool, lines: Sequence[str] = ()
) -> None:
    """Run what is not done, whatever becomes of it, and write what it came to.

    Arguments:
        everyone: all jobs of the folder, those of other lines too.
        lines: said of them before the first begins.
    """
    from icu_lightning.sweep.report import Progress
    from icu_lightning.terminal import say

    states = {job.name: job.state for job in jobs}
    left = [job for job in jobs if states[job.name] not in ("finished", *(() if retry else ("failed",)))]
    done, failed = (sum(state == name for state in states.values()) for name in ("finished", "failed"))
    said = [
        f"{done} finished" if done else "",
        f"{failed} failed" + (" (again)" if retry else " (not again)") if failed else "",
    ]
    say(f"Sweep of {len(jobs)} jobs in {jobs[0].sweep}" + "".join(f", {words}" for words in said if words))
    for line in lines:
        say(f"    {line}")
    progress = Progress(len(left))
    conclude(
        lambda: launcher.launch(left, watch=never, ended=progress),
        jobs[0].sweep,
        lambda: (everyone, None),
        counted=jobs,
    )


def search_to_the_end(
    folder: Path,
    line: str,
    job: Job,
    meaning: Mapping[str, str],
    conf: Mapping[str, Any],
    launcher: Any,
    *,
    retry: bool,
) -> None:
    """Ask, run and tell until the study has its trials; other processes may do the same."""
    from icu_lightning.sweep.report import Progress, of_search
    from icu_lightning.sweep.study import Search
    from icu_lightning.terminal import say

    keep(folder, without_password(line), [], {"search": digest([conf["space"], conf["objectives"], *meaning.values()])})
    search = Search(folder, job.overrides, conf, retry=retry, gpu=job.gpu)
    begun = len(search.begun())
    say(f"Search of {search.trials} trials in {folder}" + f", {begun} of them begun" * bool(begun))
    progress = Progress(search.trials, begun, of_search(search.objectives))

    def ended(trial: Job) -> None:
        search.ended(trial)
        progress(trial)

    conclude(
        lambda: launcher.launch(search.jobs(), watch=search.watch, ended=ended),
        folder,
        lambda: ([search.job(trial) for trial in search.own()], search),
    )


def conclude(
    work: Callable[[], object],
    folder: Path,
    found: Callable[[], tuple[Sequence[Job], Any]],
    counted: Sequence[Job] | None = None,
) -> None:
    """Do the work, and write what it came to, also if it is stopped. Exits with 1 if a job failed.

    Arguments:
        found: the jobs of the folder afterwards, and the search that they are of, if any.
        counted: those whose failure is ours; None: all of them.
    """
    from icu_lightning.sweep.report import report

    ended = False
    try:
        work()
        ended = True
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        jobs, search = found()
        rows = report(folder, jobs, compared=ended and search is None, search=search)
        if not ended:
            print("Stopped. The same line goes on.", file=sys.stderr)
    if any(row.state == "failed" for row in rows if counted is None or row.job in counted):
        sys.exit(1)


def never(job: Job) -> bool:
    """No job is stopped before its end."""
    return False
