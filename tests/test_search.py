"""A search: what is asked follows from the study, what is told from the runs; shared by processes, gone on with after a kill."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from icu_lightning.errors import UserError
from icu_lightning.sweep import study
from icu_lightning.sweep.figures import history, importance
from icu_lightning.sweep.study import Search, distribution, objectives
from tests.conftest import composed

SPACE = {"model.inverse_penalty": {"low": 1e-3, "high": 10.0, "log": True}, "model.static": [False, True]}


def search(folder: Path, **changes: object) -> Search:
    conf = (
        composed("search=logistic_regression").plain["search"] | {"space": SPACE, "trials": 6, "startup": 3} | changes
    )
    return Search(folder, ["report=none"], conf)


def finish(one: Search, job, **metrics: float) -> None:
    """What a job leaves behind that came to these metrics of the validation split."""
    job.run.mkdir(parents=True, exist_ok=True)
    val = {name: {"value": value} for name, value in metrics.items()}
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
    one = search(tmp_path, objectives={"aurocc": "maximize"})
    job = next(one.jobs())
    with pytest.raises(UserError, match=r"Unknown metric in search.objectives 'aurocc'. Did you mean 'auroc'"):
        finish(one, job, auroc=0.5)
    with pytest.raises(UserError, match="has other objectives"):
        search(tmp_path, objectives={"auroc": "maximize", "ece": "minimize"})


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
    with pytest.raises(UserError, match=r"postgresql://me:\*\*\*@localhost/x needs the package of its database"):
        search(tmp_path, study="postgresql://me:secret@localhost/x")


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
