"""A search: what is asked follows from the study, what is told from the runs; shared by processes, gone on with after a kill."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import Trial, TrialState

from icu_lightning.errors import UserError
from icu_lightning.sweep import study
from icu_lightning.sweep.figures import history, importance
from icu_lightning.sweep.report import METRICS, Progress, of_search, report
from icu_lightning.sweep.settings import distribution, objectives
from icu_lightning.sweep.study import Search
from icu_lightning.sweep.sweeper import folder_of, words_of_jobs
from tests.conftest import composed
from tests.postgres_server import THERE, server
from tests.test_readme import chapter

SPACE = {"model.inverse_penalty": {"low": 1e-3, "high": 10.0, "log": True}, "model.static": [False, True]}


def search(folder: Path, **changes: object) -> Search:
    return Search(folder, ["report=none"], conf_of(**changes))


def conf_of(**changes: object) -> dict[str, object]:
    return (
        composed("search=logistic_regression").plain["search"] | {"space": SPACE, "trials": 6, "startup": 3} | changes
    )


def finish(one: Search, job, **metrics: float) -> None:
    """What a job leaves behind that came to these metrics of the validation split."""
    job.run.mkdir(parents=True, exist_ok=True)
    val = {name: {"value": value, "low": None, "high": None} for name, value in metrics.items()}
    (job.run / "metrics.json").write_text(json.dumps({"test": {}, "val": val}))
    one.ended(job)


def test_what_is_asked_follows_from_the_seed_and_the_study_not_from_who_asks(tmp_path):
    asked = []
    for name, processes in {"one": 1, "two": 2}.items():
        (tmp_path / name).mkdir()
        searches = [search(tmp_path / name) for _ in range(processes)]
        for i in range(6):
            one = searches[i % processes]
            trial = one.ask()
            job = one.job(one.study.trials[trial.number])
            one.running[job.name] = trial
            finish(one, job, auroc=0.5 + i / 20)
            asked.append(job.overrides)
        assert all(one.ask() is None for one in searches), "there are enough"
    assert asked[:6] == asked[6:]
    assert len(set(asked)) == 6


def test_trials_are_told_and_the_best_is_found(tmp_path):
    one = search(tmp_path, trials=5)
    for i, job in enumerate(one.jobs()):
        finish(one, job, auroc=[0.6, 0.8, 0.7, 0.5, 0.65][i])
    assert [trial.state for trial in one.study.trials] == [TrialState.COMPLETE] * 5
    assert [trial.number for trial in one.best()] == [1]
    assert "<svg" in history(one.study.trials, one.objectives)
    assert "model.inverse_penalty" in importance(one.study, one.objectives)


def test_several_objectives_end_in_the_trials_that_none_beats(tmp_path):
    one = search(tmp_path, trials=3, objectives={"auroc": "maximize", "ece": "minimize"})
    for i, job in enumerate(one.jobs()):
        finish(one, job, auroc=[0.6, 0.8, 0.7][i], ece=[0.01, 0.05, 0.06][i])
    assert [trial.number for trial in one.best()] == [0, 1]
    assert one.monitor is None, "Optuna prunes by one objective only"


def test_the_page_of_a_search_shows_what_it_chooses_by_and_no_test_stays(tmp_path, capsys):
    one = search(tmp_path, trials=2, objectives={"auroc": "maximize", "ece": "minimize"})
    progress = Progress(2, 0, of_search(one.objectives))
    for i, job in enumerate(one.jobs()):
        finish(one, job, auroc=[0.61, 0.82][i], ece=[0.013, 0.054][i])
        metrics = json.loads((job.run / "metrics.json").read_text())
        test = {name: {"value": 0.987, "low": 0.986, "high": 0.988} for name in METRICS}
        (job.run / "metrics.json").write_text(json.dumps(metrics | {"test": test}))
        progress(job)
    report(tmp_path, [one.job(trial) for trial in one.own()], compared=False, search=one)
    said, stored = capsys.readouterr().out, tmp_path / "jobs.csv"
    page = re.sub(r"(?s)<svg.*?</svg>", "", (tmp_path / "index.html").read_text())
    for text in (said, page, stored.read_text()):
        assert all(number in text for number in ("0.61", "0.82", "0.013", "0.054"))
        assert not re.search(r"[.]98[678]", text)
    assert pl.read_csv(stored)["val/auroc"].to_list() == [0.61, 0.82]
    assert "val ece" in said
    assert "test)" not in said + page


def test_a_trial_far_behind_the_others_is_pruned(tmp_path):
    one = search(tmp_path, trials=8)
    verdicts = []
    for i, job in enumerate(one.jobs()):
        job.run.mkdir(parents=True)
        rows = ["stage,epoch,val/auroc", "pretrain,0,", *(f"fit,{epoch},{0.9 if i < 7 else 0.2}" for epoch in range(3))]
        (job.run / "metrics.csv").write_text("\n".join(rows) + "\n")
        verdicts.append(one.watch(job))
        finish(one, job, auroc=0.9)
    assert verdicts == [False] * 7 + [True]
    assert one.study.trials[0].intermediate_values == {0: 0.9, 1: 0.9, 2: 0.9}, (
        "epochs without the column count for nothing"
    )


def test_a_trial_that_was_left_is_gone_on_with(tmp_path):
    left = next(search(tmp_path).jobs())
    again = list(zip(range(2), search(tmp_path).jobs(), strict=False))
    assert [job.name for _, job in again] == [left.name, "trial-0001"]


@pytest.mark.parametrize("how", [{"exit": 1}, {"exit": 143, "pruned": True}])
def test_a_trial_that_ended_while_nobody_told_the_study_is_told_not_run(how, tmp_path):
    left = next(search(tmp_path).jobs())
    left.log.parent.mkdir()
    left.note(**how)
    again = search(tmp_path)
    assert next(again.jobs()).name == "trial-0001"
    assert again.study.trials[0].state == (TrialState.PRUNED if "pruned" in how else TrialState.FAIL)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param(
            "postgresql",
            marks=[pytest.mark.slow, pytest.mark.skipif(not THERE, reason="needs Debian's postgresql")],
        ),
    ]
)
def url(request, tmp_path) -> Iterator[str]:
    """Of a database that many can share."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shared.db"
    else:
        with server() as found:
            yield found


def test_machines_that_share_a_study_never_ask_the_same_trial(url, tmp_path):
    """Two folders, one URL, asking at the same time, and none is asked too many; each goes on with its own."""
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
    searches = [search(folder, study=url, trials=12) for folder in folders]
    start = threading.Barrier(2)

    def asked(one: Search) -> list:
        start.wait()
        return [one.study.trials[trial.number] for trial in iter(one.ask, None)]

    with ThreadPoolExecutor(2) as both:
        found = [trial for trials in both.map(asked, searches) for trial in trials]
    assert sorted(trial.number for trial in found) == sorted({trial.number for trial in found})
    assert len(found) == 12
    assert len({tuple(trial.params.items()) for trial in found}) == 12, "nor with the same settings"
    assert sorted(len(one.own()) for one in searches)[0] > 0
    assert sum(len(one.own()) for one in searches) == 12
    left = [[job.name for job in search(folder, study=url, trials=12).jobs()] for folder in folders]
    assert left == [[one.job(trial).name for trial in one.own()] for one in searches]


def test_a_trial_that_another_machine_made_one_too_many_counts_for_nothing(tmp_path, monkeypatch):
    one = search(tmp_path, trials=1)
    assert one.ask() is not None
    with monkeypatch.context() as patch:  # what it sees before the other has asked
        begun, looks = Search.begun, iter([True])
        patch.setattr(Search, "begun", lambda self: [] if next(looks, False) else begun(self))
        assert one.ask() is None
    assert [trial.state for trial in one.study.trials] == [TrialState.RUNNING, TrialState.FAIL]
    assert len(one.begun()) == 1
    assert search(tmp_path, trials=2).ask().number == 2


@pytest.mark.parametrize("shared", [False, True])
def test_a_trial_whose_process_was_killed_before_it_had_a_folder_is_given_up(shared, tmp_path, monkeypatch):
    """Between the study's `ask` and the trial's folder; in a study that machines share only when it is a day old."""
    changes = {"trials": 2} | ({"study": f"sqlite:///{tmp_path}/shared.db"} if shared else {})
    one = search(tmp_path, **changes)
    with monkeypatch.context() as patch:
        patch.setattr(Trial, "set_user_attr", lambda *_: (_ for _ in ()).throw(SystemExit(137)))
        with pytest.raises(SystemExit):
            one.ask()
    assert [trial.state for trial in one.study.trials] == [TrialState.RUNNING]
    if shared:
        assert [job.name for job in search(tmp_path, **changes).jobs()] == ["trial-0001"], "it may be another machine's"
        monkeypatch.setattr(study, "FORGOTTEN", timedelta(0))
    again = search(tmp_path, **changes)
    names = [job.name for job in again.jobs()]
    assert names == ["trial-0001", "trial-0002"], "as many as were asked for"
    assert again.study.trials[0].state == TrialState.FAIL


def test_what_failed_is_asked_again_with_retry_in_its_own_folder_and_only_then(tmp_path):
    one = search(tmp_path, trials=2)
    jobs = one.jobs()
    failed = next(jobs)
    failed.log.parent.mkdir()
    failed.note(exit=1)
    one.ended(failed)
    finish(one, next(jobs), auroc=0.6)
    assert list(search(tmp_path, trials=2).jobs()) == []
    again = Search(tmp_path, ["report=none"], conf_of(trials=2), retry=True)
    (job,) = [job for job, _ in zip(again.jobs(), range(1), strict=True)]
    assert job == failed
    finish(again, job, auroc=0.7)
    assert next(again.jobs(), None) is None
    assert [trial.state for trial in again.own()] == [TrialState.COMPLETE] * 2
    assert [again.job(trial) for trial in again.best()] == [failed]


def test_a_failed_or_undefined_trial_is_told_so(tmp_path):
    one = search(tmp_path, trials=2)
    jobs = one.jobs()
    finish(one, next(jobs), auroc=None)
    failed = next(jobs)
    failed.log.parent.mkdir(exist_ok=True)
    failed.note(exit=1)
    one.ended(failed)
    assert [trial.state for trial in one.study.trials] == [TrialState.FAIL] * 2
    assert one.best() == []


def test_mistakes_in_a_search_are_told(tmp_path):
    for values in ([], "fast", {"low": 3}, {"low": 3, "high": 1}, {"low": 0.0, "high": 1.0, "log": True}):
        with pytest.raises(UserError, match=r"search.space.model.x is .*: it must be a list of values"):
            distribution("model.x", values)
    with pytest.raises(UserError, match=r"Unknown direction in search.objectives 'up'"):
        objectives({"auroc": "up"})
    for changes, message in (
        ({"objectives": {"aurocc": "maximize"}}, r"Unknown metric in search.objectives 'aurocc'. Did you mean 'auroc'"),
        ({"monitor": "val/aurocc"}, r"Unknown metric in search.monitor 'val/aurocc'. Did you mean 'val/auroc'"),
        ({"monitor": "val/loss"}, r"Unknown metric in search.monitor 'val/loss'"),
        ({"pruning": "no"}, r"search.pruning must be true or false; it is no"),
        ({"trials": 0}, r"search.trials must be a whole number of at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            search(tmp_path, **changes)
    assert not list(tmp_path.iterdir()), "told before there is a study"
    search(tmp_path)
    with pytest.raises(UserError, match="has other objectives"):
        search(tmp_path, objectives={"auroc": "maximize", "ece": "minimize"})


def test_mistakes_in_the_line_of_a_search_are_told_before_anything_is_begun(cli, tmp_path):
    for line, message in {
        ("search=lightgbm", "model=focal_lstm"): (
            r"^error: search=lightgbm is for model=lightgbm, and model=focal_lstm does not have its settings .*'model.trees'"
        ),
        ("search=lightgbm", "+search.objectives.eec=minimize"): r"search.objectives 'eec'. Did you mean 'ece'",
    }.items():
        done = cli("-m", *line)
        assert done.returncode == 1, line
        assert re.search(message, done.stderr), done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "work" / "sweeps").exists()


def test_two_searches_have_two_folders_and_a_longer_one_has_the_same():
    def folder(*line: str) -> Path:
        overrides = OverridesParser.create().parse_overrides(["search=lightgbm", *line])
        return folder_of("", overrides, words_of_jobs(overrides), [])

    others = [
        ("+search.objectives.ece=minimize",),
        ("search.seed=1",),
        ("search.space={model.trees: [1, 2]}",),
        ("seed=1",),
    ]
    assert len({folder(), *(folder(*line) for line in others)}) == 5
    assert folder("search.trials=40") == folder("launcher=local") == folder()


def test_an_objective_is_replaced_as_the_readme_says(tmp_path):
    words = re.search(r"`(~search\.objectives\S+ \+search\.objectives\S+)`", chapter("Many runs: sweeps"))[1].split()
    found = composed("search=lightgbm", *words).plain["search"]["objectives"]
    assert found == {"auprc": "maximize"}


def test_a_study_that_is_damaged_locked_or_out_of_reach_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "WAIT", 0.2)
    one = search(tmp_path)
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=r"study.db cannot be used \(database is locked\); another process has held it"):
        next(one.jobs())
    holder.close()
    (tmp_path / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"study.db cannot be used \(file is not a database\).*move it away"):
        search(tmp_path)
    with pytest.raises(UserError, match=r"no URL at all cannot be used .*search.study is a URL such as postgresql"):
        search(tmp_path, study="no URL at all")
    with pytest.raises(UserError, match=r"postgresql://me:\*\*\*@127.0.0.1:1/x cannot .*refused.*is the server there"):
        search(tmp_path, study="postgresql://me:secret@127.0.0.1:1/x")
    with pytest.raises(
        UserError, match=r"mysql://me:\*\*\*@localhost/x needs the package .*PyMySQL for mysql\+pymysql"
    ):
        search(tmp_path, study="mysql://me:secret@localhost/x")


@pytest.mark.slow
def test_twenty_trials_begun_by_one_process_and_finished_by_two_at_once(tmp_path):
    """SIGKILL takes the first in the middle; two others share what is left, and what the first had begun."""
    words = ["search=logistic_regression", "data.stays=300", "report=none", "bootstrap=5", "hydra.sweep.dir=sweep"]
    command = [sys.executable, "-m", "icu_lightning.run", "-m", *words]
    quiet = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command, **quiet)
    while len(list(tmp_path.glob("sweep/runs/*/metrics.json"))) < 3:
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    both = [subprocess.Popen(command, **quiet) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        assert said == ""
    found = study.opened(f"sqlite:///{tmp_path}/sweep/study.db", "icu_lightning", ["maximize"], startup=5)
    assert [trial.state for trial in found.trials] == [TrialState.COMPLETE] * 20
    assert {path.parent.name for path in tmp_path.glob("sweep/runs/*/metrics.json")} == {
        f"trial-{i:04d}" for i in range(20)
    }
    page = (tmp_path / "sweep" / "index.html").read_text()
    assert "Importance" in page
    assert page.count("<svg") == 2


def test_two_searches_on_one_database_do_not_mix(tmp_path):
    """One name for two of them would give each the other's trials, and a best line that cannot be run."""
    url = f"sqlite:///{tmp_path}/shared.db"
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    words = ["model=logistic_regression", "data=eicu", "data.root=/one"]
    Search(tmp_path / "a", words, conf_of(study=url))
    Search(tmp_path / "b", [*words[1::-1], "data.root=/another", "trainer=gpu"], conf_of(study=url, trials=9))
    for other in (
        {"words": ["model=logistic_regression", "data=mimic4"]},
        {"words": words, "space": {"model.inverse_penalty": [1.0, 2.0]}},
        {"words": words, "objectives": {"auprc": "maximize"}},
    ):
        with pytest.raises(UserError, match=r"The study icu_lightning is of another search.*another search\.name"):
            Search(tmp_path / "c", other.pop("words"), conf_of(study=url, **other))
    Search(tmp_path / "c", ["model=logistic_regression", "data=mimic4"], conf_of(study=url, name="mimic4"))


@pytest.mark.slow
def test_a_search_prunes_what_is_behind_and_its_page_says_when(cli, tmp_path):
    """For real: Optuna's median pruner stops trials of the focal LSTM that are behind the first one."""
    line = ["search=focal_lstm", "search.trials=4", "search.startup=1", "trainer.max_epochs=20", "model.patience=20"]
    line += ["data.stays=500", "report=none", "bootstrap=5"]
    done = cli("-m", *line, "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "work" / "sweep"
    found = study.opened(f"sqlite:///{folder}/study.db", "icu_lightning", ["maximize"], startup=1)
    pruned = [trial for trial in found.trials if trial.state == TrialState.PRUNED]
    assert pruned
    assert {trial.state for trial in found.trials} == {TrialState.PRUNED, TrialState.COMPLETE}
    page = (folder / "index.html").read_text()
    for trial in pruned:
        assert f"pruned at epoch {trial.last_step}" in page
        assert trial.last_step < 19, "before its end"
        assert not (folder / "runs" / f"trial-{trial.number:04d}" / "metrics.json").exists()
    assert f"{len(pruned)} pruned" in done.stdout
    assert "failed" not in done.stdout
