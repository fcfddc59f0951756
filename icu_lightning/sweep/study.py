"""A search: trials asked of an Optuna study (TPE), each a job of the sweep, told what it came to on the validation split.

The study is the one truth of a search: its trials are the jobs. It lies in the sweep's folder (SQLite), where several
processes may share it, or in a database that many machines share. What is asked follows from the seed and from what the study
knows, not from who asks. A trial that nobody runs any more is gone on with by the next process that starts in its folder.

References: Algorithms for hyper-parameter optimization (Bergstra et al., 2011), TPE; Optuna (Akiba et al., 2019).
"""

import csv
import fcntl
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from icu_lightning.errors import UserError
from icu_lightning.results import finished_metrics
from icu_lightning.sweep.jobs import ENDED, Job, digest, without_password
from icu_lightning.sweep.settings import Settings

OF_A_MACHINE = ("data.root", "data.cache_dir", "trainer", "logger", "launcher", "hydra")  # of words, what may differ
FORGOTTEN = timedelta(days=1)  # after which a trial in a shared study has no folder because its process was killed
WAIT = 60  # seconds for a database that another process is writing


class Search:
    """What conf/search says, and the study.

    Arguments:
        folder: the sweep's.
        words: overrides of every trial.
        retry: also ask again what failed in this folder; the new trial then stands for the one that failed.
        gpu: whether trials train on one.
        conf: trials, objectives, pruning, monitor, startup, seed, study, name, space: see conf/search_settings.yaml.

    Raises UserError for settings that cannot be, and for a study that cannot be read or is of another search.
    """

    def __init__(
        self, folder: Path, words: Sequence[str], conf: Mapping[str, Any], *, retry: bool = False, gpu: bool = False
    ) -> None:
        self.folder, self.words, self.retry, self.gpu = folder, tuple(words), retry, gpu
        chosen = Settings.of(conf)
        self.trials, self.startup, self.seed = chosen.trials, chosen.startup, chosen.seed
        self.objectives, self.space, self.monitor = chosen.objectives, chosen.space, chosen.monitor
        self.shared = bool(conf["study"])
        self.url = conf["study"] or f"sqlite:///{folder.absolute() / 'study.db'}"
        with told(self.url):
            self.study = opened(self.url, conf["name"], list(self.objectives.values()), self.startup)
            self.check_same(conf["name"], digest([list(self.objectives), conf["space"], *self.everywhere()]))
        self.running: dict[str, Trial] = {}
        self.reported: dict[str, int] = {}

    def everywhere(self) -> list[str]:
        """The words that are the same on all machines that share the study, in any order."""
        return sorted(word for word in self.words if not re.match(rf"[+~]*({'|'.join(OF_A_MACHINE)})(?=[.=@])", word))

    def check_same(self, name: str, meaning: str) -> None:
        """Raise UserError for a study of another search: other data, another model or other settings to try."""
        known = self.study.user_attrs.get("search")
        if known is None:
            self.study.set_user_attr("search", meaning)
        elif known != meaning:
            raise UserError(
                f"The study {name} is of another search, with other words, objectives or settings to try: its trials say nothing "
                "about this one. Choose another search.name."
            )

    def jobs(self) -> Iterator[Job]:
        """The next trial, until there are enough: first those of this folder that have not come to an end.

        Among them may be some that another process runs. Whoever sees such a one end, by itself or because its process was
        killed, tells the study or goes on with it.
        """
        with told(self.url):
            if self.retry:
                self.enqueue_failed()
            self.fail_ownerless()
            for trial in self.own():
                if self.runs(trial.number):
                    left = Trial(self.study, trial._trial_id)
                    self.suggest(left)  # what the killed process had not come to; a value that is there stays
                    job = self.job(self.study.trials[trial.number])
                    self.running[job.name] = left
                    if not job.held and job.state in ENDED:  # only the study does not know
                        self.ended(job)
                    else:
                        yield job
            while (asked := self.ask()) is not None:
                job = self.job(self.study.trials[asked.number])
                self.running[job.name] = asked
                yield job

    def runs(self, number: int) -> bool:
        """True unless it has come to an end, here or in another process."""
        return self.study.get_trials(deepcopy=False)[number].state == TrialState.RUNNING

    def ask(self) -> Trial | None:
        """A new trial; None if there are enough.

        The study gives each its number, once, whoever asks, and all else follows from the number: what is tried at random, and
        whether it is one too many, because another machine asked at the same time. Processes of one folder ask in turn.
        """
        with self.alone():
            if len(self.begun()) >= self.trials:
                return None
            trial = self.study.ask()
            if [one.number for one in self.begun()].index(trial.number) >= self.trials:
                self.study.tell(trial, state=TrialState.FAIL)
                return None
            trial.set_user_attr("folder", str(self.folder.absolute()))
            self.suggest(trial)
            return trial

    def suggest(self, trial: Trial) -> None:
        """Give a trial its settings. Those of one that is asked again are as they were."""
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=self.startup, seed=self.seed + trial.number)
        for name, values in self.space.items():
            if isinstance(values, CategoricalDistribution):
                trial.suggest_categorical(name, values.choices)
            elif isinstance(values, IntDistribution):
                trial.suggest_int(name, values.low, values.high, step=values.step, log=values.log)
            else:
                trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process of this folder asks meanwhile."""
        with (self.folder / "study.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def enqueue_failed(self) -> None:
        """Have what failed in this folder asked again, in the run folder that it has."""
        with self.alone():
            for trial in self.own():
                job = self.job(trial)
                if trial.state == TrialState.FAIL and job.state == "failed":
                    self.study.enqueue_trial(trial.params, user_attrs={"stands_for": trial.number, "run": job.name})

    def fail_ownerless(self) -> None:
        """Tell the study of trials whose process was killed before it had said in which folder they run: nobody goes on with them.

        In a study of this folder nobody asks meanwhile; in one that machines share, another may be about to say so, but not for a day.
        """
        with self.alone():
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                began = trial.datetime_start or datetime.min
                if "folder" not in trial.user_attrs and (not self.shared or datetime.now() - began > FORGOTTEN):
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def begun(self) -> list[FrozenTrial]:
        """The trials that count, by number: not those that wait, were one too many, or that another stands for."""
        trials = self.study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get("stands_for") for trial in trials}
        return [
            trial
            for trial in trials
            if trial.number not in replaced
            and trial.state != TrialState.WAITING
            and (trial.state != TrialState.FAIL or "folder" in trial.user_attrs)
        ]

    def own(self) -> list[FrozenTrial]:
        """Trials whose runs lie in this folder."""
        here = str(self.folder.absolute())
        return [trial for trial in self.begun() if trial.user_attrs.get("folder") == here]

    def job(self, trial: FrozenTrial) -> Job:
        chosen = tuple(f"{name}={typed(value)}" for name, value in trial.params.items())
        name = trial.user_attrs.get("run", f"trial-{trial.number:04d}")
        return Job(sweep=self.folder, name=name, overrides=(*self.words, *chosen), axes=chosen, gpu=self.gpu)

    def watch(self, job: Job) -> bool:
        """Report the epochs of a running trial; True if it is to be pruned."""
        if self.monitor is None or job.name not in self.running:
            return False
        values, trial = monitored(job.run / "metrics.csv", self.monitor), self.running[job.name]
        before = self.reported.get(job.name, 0)
        if len(values) <= before:
            return False
        with told(self.url):
            if not self.runs(trial.number):
                return False
            for step, value in enumerate(values[before:], start=before):
                trial.report(value, step)
            self.reported[job.name] = len(values)
            return trial.should_prune()

    def ended(self, job: Job) -> None:
        """Tell the study what a trial came to; one that was stopped with the sweep stays as it is, to be gone on with."""
        trial, state = self.running.pop(job.name), job.state
        values = self.values(job) if state == "finished" else None
        with told(self.url):
            if values is not None:
                self.study.tell(trial, values, skip_if_finished=True)
            elif state == "pruned":
                self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
            elif state in ("finished", "failed"):
                self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def values(self, job: Job) -> list[float] | None:
        """The objectives; None where one is undefined, as AUROC is with one class."""
        val = (finished_metrics(job.run) or {})["val"]
        found = [(val.get(name) or {}).get("value") for name in self.objectives]  # an empty split has no metrics
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else None

    def last_epochs(self) -> dict[str, int]:
        """Name of a job -> the last epoch, from 0, that was compared with the other trials' epochs."""
        return {self.job(trial).name: trial.last_step for trial in self.own() if trial.last_step is not None}

    def best(self) -> list[FrozenTrial]:
        """The best trial, or those that no other beats in every objective; none before one is complete."""
        if not any(trial.state == TrialState.COMPLETE for trial in self.study.get_trials(deepcopy=False)):
            return []
        return self.study.best_trials


def typed(value: object) -> str:
    """A value as it is typed on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def monitored(metrics: Path, column: str) -> list[float]:
    """Of each epoch that has one, the value in a column of metrics.csv."""
    if not metrics.exists():
        return []
    with metrics.open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]


def opened(url: str, name: str, directions: Sequence[str], startup: int) -> optuna.Study:
    """The study, made if there is none. Raises UserError if it is of other objectives."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options: dict[str, Any] = {"connect_args": {"timeout": WAIT}}
    if not url.startswith("sqlite"):  # a search asks seldom: none of a server's few connections is kept
        options = {"poolclass": NullPool}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=startup)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=[StudyDirection[d.upper()] for d in directions],
        pruner=pruner,
        load_if_exists=True,
    )
    found = [direction.name.lower() for direction in study.directions]
    if found != list(directions):
        raise UserError(
            f"The study {name} has other objectives ({', '.join(found)}): choose another search.name or hydra.sweep.dir."
        )
    return study


@contextmanager
def told(url: str) -> Iterator[None]:
    """What a study's database may do to us, in a sentence: UserError."""
    shown = without_password(url)
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{shown} needs the package of its database ({error.__cause__ or error}): pip install 'psycopg[binary]' for "
            "postgresql://, PyMySQL for mysql+pymysql://."
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        why = without_password(str(getattr(cause, "orig", None) or cause).splitlines()[0])
        if "locked" in why:
            way_out = f"another process has held it for {WAIT} s: stop that one, or wait"
        elif isinstance(cause, ArgumentError):
            way_out = "search.study is a URL such as postgresql://USER:PASSWORD@HOST/DATABASE"
        elif isinstance(cause, DatabaseError) and url.startswith("sqlite"):
            way_out = "if it is damaged, move it away: a new study is made, and the runs stay"
        else:
            way_out = "is the server there, and may this user write?"
        raise UserError(f"The study {shown} cannot be used ({why}); {way_out}.") from error
