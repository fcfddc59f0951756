"""A sweep: every job to its end whatever becomes of the others, each once, and on from where it was killed."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from icu_lightning.errors import UserError
from icu_lightning.results import finished_metrics
from icu_lightning.sweep import local, process
from icu_lightning.sweep.grids import lines_of
from icu_lightning.sweep.jobs import ELSEWHERE, LAST_LINES, Job, held_sweep, jobs_of, keep, name_of, taken
from icu_lightning.sweep.local import THREADS, LocalLauncher, slots
from icu_lightning.sweep.parts import refuse_senseless
from icu_lightning.sweep.process import Here, run_jobs
from icu_lightning.sweep.report import Row, report
from icu_lightning.sweep.sweeper import Sweep, never, one_of_each_value, run_to_the_end, told, words_of_jobs
from tests.conftest import composed

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("trainer.max_epochs=6", "data.stays=300", "report=none", "bootstrap=20", "data.cache_dir=null")


def job(folder: Path, *overrides: str) -> Job:
    return Job(sweep=folder, name=name_of(overrides, overrides[:1]), overrides=(*overrides, *QUICK), axes=overrides[:1])


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def words(*line: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return words_of_jobs(OverridesParser.create().parse_overrides(list(line)))


def test_a_line_is_every_combination_of_its_values():
    found = words(
        "model=mtdm,focal_lstm", "seed=range(0,3)", "data.cohort=[{age_at_least: 18}]", "launcher.jobs=2", "~a.b"
    )
    assert len(found) == 6
    assert found[0] == (
        ("model=mtdm", "seed=0", "data.cohort=[{age_at_least: 18}]", "~a.b"),
        ("model=mtdm", "seed=0"),
    )
    assert len(set(found)) == 6


def test_a_range_without_steps_is_no_axis():
    with pytest.raises(UserError, match=r"model.hidden=interval\(1,9\) has no end"):
        words("model.hidden=interval(1,9)")


def test_a_job_is_its_words_in_any_order():
    assert name_of(["a=1", "b=2"], ["a=1"]) == name_of(["b=2", "a=1"], ["a=1"])
    assert name_of(["a=1", "b=2"], ["a=1"]) != name_of(["a=1", "b=3"], ["a=1"])
    assert re.fullmatch(r"[\w.-]+", name_of(["x=/a b"], ["x=/a b"])), "a name for a file, typed without quotes"


def test_two_sweeps_of_one_name_are_not_one_for_a_logger(tmp_path, monkeypatch):
    here, there = (job(tmp_path / root / "night-1", "seed=1").sweep_id for root in ("a", "b"))
    assert here != there
    assert here.startswith("night-1-")
    monkeypatch.chdir(tmp_path)
    assert job(Path("a/night-1"), "seed=2").sweep_id == here


def test_every_value_is_composed_at_least_once(tmp_path):
    jobs = [job(tmp_path, *own) for own, _ in words("model=a,b,c", "seed=0,1")]
    looked_at = {word for one in one_of_each_value(jobs) for word in one.overrides}
    assert looked_at == {word for one in jobs for word in one.overrides}
    assert len(list(one_of_each_value(jobs))) < len(jobs)


def test_each_place_has_one_gpu_or_its_share_of_the_cores():
    places = slots(None, ["a", "b", "c"], cores=12)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["a", "b", "c"]
    assert {place["OMP_NUM_THREADS"] for place in places} == {"4"}
    assert [place["POLARS_MAX_THREADS"] for place in slots(None, [], cores=2)] == ["1", "1"]
    assert len(slots(4, ["a", "b"], cores=2)) == 4, "more jobs than GPUs share them"


def test_jobs_of_the_cpu_have_the_cores_and_jobs_of_gpus_have_the_gpus(tmp_path, monkeypatch):
    """On a machine with one GPU: else four jobs of the CPU would wait for it one after another."""
    monkeypatch.setattr(local, "gpus", lambda: ["the only one"])
    monkeypatch.setattr(local, "cores", lambda: 4)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    seen: list[tuple[list[Job], int]] = []
    monkeypatch.setattr(local, "run_jobs", lambda jobs, begin, places, **_: seen.append((list(jobs), places)))
    line = words("trainer=cpu,gpu", "seed=0,1")
    jobs = [replace(job(tmp_path, *own), gpu="trainer=gpu" in own) for own, _ in line]
    LocalLauncher(jobs=None).launch(sorted(jobs, key=lambda one: one.gpu), watch=never, ended=print)
    assert [(places, [one.gpu for one in alike]) for alike, places in seen] == [(4, [False] * 2), (1, [True] * 2)]


def test_a_job_knows_from_its_configuration_whether_it_trains_on_a_gpu(tmp_path):
    class Composing(Sweep):
        def __init__(self) -> None: ...

        def checked(self, job: Job) -> dict[str, object]:
            return composed(*job.overrides[: -len(QUICK)]).plain

    jobs = [job(tmp_path, *own) for own, _ in words("seed=0,1", "trainer=gpu,ddp_cpu", "+trainer.x=1")]
    for one in (jobs, [*jobs, job(tmp_path, "trainer.accelerator=auto")]):
        first = {one[0].name: Composing().checked(one[0])}
        found = {name.split("_")[-1]: gpu for name, gpu in ((j.name, j.gpu) for j in Composing().placed(one, first))}
        expected = {j.name.split("_")[-1]: not any("ddp_cpu" in word for word in j.overrides) for j in one}
        assert found == expected


def threads(told) -> None:
    """In a job's process: what its packages take for granted."""
    import polars as pl
    import torch
    from threadpoolctl import threadpool_info

    told.put([pl.thread_pool_size(), torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info())])


@pytest.mark.slow
def test_a_job_side_by_side_has_no_more_threads_than_its_share(tmp_path):
    """In a process of its own, whose fork server starts as that of a sweep does."""
    code = """if True:
        import multiprocessing
        from types import SimpleNamespace
        from icu_lightning.sweep import local
        from tests.test_sweep import threads

        def one_job(jobs, begin, places, *, watch, ended):
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["icu_lightning.sweep.preloaded"])
            told = context.Queue()
            context.Process(target=threads, args=(told,)).start()
            print(*told.get())

        if __name__ == "__main__":
            local.cores, local.gpus, local.run_jobs = (lambda: 2), list, one_job
            local.LocalLauncher(jobs=2).launch([SimpleNamespace(gpu=False)], watch=None, ended=None)
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code.replace("if True:", "", 1)))
    settings = {name: value for name, value in os.environ.items() if name not in THREADS} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=settings, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == {"1"}, done.stdout + done.stderr


def test_a_folder_takes_one_sweep_at_a_time_and_nothing_that_is_no_sweep(tmp_path):
    with held_sweep(tmp_path, shared=False):
        with pytest.raises(UserError, match="Another sweep is running in"), held_sweep(tmp_path, shared=False):
            pass
        first = keep(tmp_path, "-m a=1,2", [job(tmp_path, "a=1"), job(tmp_path, "a=2")], {"a": "meaning"})
        both = keep(tmp_path, "-m a=3", [job(tmp_path, "a=3"), job(tmp_path, "a=2")], {})
        assert [one.axes for one in first] == [("a=1",), ("a=2",)]
        assert [one.axes for one in both] == [("a=1",), ("a=2",), ("a=3",)], "a longer line joins the sweep"
        with pytest.raises(UserError, match="the configuration has changed: a stands for something else now"):
            keep(tmp_path, "-m a=1,2", [job(tmp_path, "a=1")], {"a": "another"})
    with held_sweep(tmp_path, shared=False):
        assert len(jobs_of(tmp_path)) == 3
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(UserError, match=r"sweep.json is damaged"):
        keep(tmp_path, "", [], {})
    (tmp_path / "sweep.json").unlink()
    (tmp_path / "thesis.pdf").touch()
    with pytest.raises(UserError, match="is no folder of a sweep, and nothing is overwritten"):
        keep(tmp_path, "", [], {})


@pytest.mark.slow
def test_what_dies_is_recorded_and_the_others_go_on(tmp_path):
    """An error, kill -9, an interruption and a success, two at a time; then again with the same jobs."""
    good, wrong = job(tmp_path, "model=logistic_regression"), job(tmp_path, "model.dense=[32]")
    killed, stopped = job(tmp_path, "seed=1"), job(tmp_path, "seed=2")
    fate = {killed.name: signal.SIGKILL, stopped.name: signal.SIGINT}

    def watch(one: Job) -> bool:
        if one.name in fate and one.log.exists() and "Training" in one.log.read_text():
            os.kill(one.last["pid"], fate.pop(one.name))
        return False

    jobs = [killed, wrong, stopped, good]
    assert {one.state for one in jobs} == {"waiting"}
    keep(tmp_path, "", jobs, {})
    ended: list[str] = []
    LocalLauncher(jobs=2).launch(jobs, watch=watch, ended=lambda one: ended.append(one.name))
    assert sorted(ended) == sorted(one.name for one in jobs)
    assert [one.state for one in jobs] == ["failed", "failed", "interrupted", "finished"]
    assert killed.last["how"].startswith("killed by SIGKILL")
    assert killed.last["last_lines"][-1].startswith("Training focal_lstm")
    assert re.match(r"error: .*dense must be the units of two layers", wrong.last["last_lines"][-1])
    assert len(wrong.last["last_lines"]) <= LAST_LINES
    assert "\x1b" not in good.log.read_text(), "no colours in a file"

    rows = report(tmp_path, jobs, compared=False)
    page = (tmp_path / "index.html").read_text()
    assert "1 finished, 2 failed, 1 interrupted" in page
    assert "dense must be the units of two layers" in page
    assert Row.of(wrong).again.endswith("bootstrap=20 data.cache_dir=null")
    assert f"resume={killed.run}" in Row.of(killed).again
    table = {row["job"]: row for row in read(tmp_path / "jobs.csv")}
    assert table[good.name]["state"] == "finished"
    assert "SYNTHETIC DATA" in page
    assert f"{good.title} (SYNTHETIC)" in page
    assert (table[good.name]["synthetic"], table[wrong.name]["synthetic"]) == ("true", "")
    assert float(table[good.name]["auroc"]) == finished_metrics(good.run)["test"]["auroc"]["value"]
    assert len(rows) == 4

    before = (good.run / "metrics.json").stat().st_mtime_ns
    LocalLauncher(jobs=2).launch([killed, stopped, good], watch=never, ended=print)
    assert [one.state for one in (killed, stopped, good)] == ["finished"] * 3
    assert (good.run / "metrics.json").stat().st_mtime_ns == before, "a finished job is not run again"
    assert killed.last["attempts"] == 2
    assert "resume" not in (killed.run / "environment.txt").read_text(), "it went on in its own folder"


def test_a_sweep_that_is_stopped_before_its_first_job_has_a_page_too(tmp_path):
    jobs = keep(tmp_path, "", [job(tmp_path, "seed=1")], {})
    report(tmp_path, jobs, compared=False)
    assert "1 waiting" in (tmp_path / "index.html").read_text()


class Done:
    """An attempt that ends at once, well."""

    code: int | None = 0

    def __init__(self, one: Job, begun: list[str]) -> None:
        self.job = one
        begun.append(one.name)

    def tell(self, number: int) -> None: ...

    def conclude(self, *, pruned: bool) -> None: ...


@pytest.mark.parametrize(
    ("record", "again"), [({"exit": 1}, False), ({"exit": 143, "pruned": True}, False), ({"exit": 143}, True)]
)
def test_what_another_process_brings_to_an_end_is_not_begun_again(record, again, tmp_path):
    """It is waited for, and then gone on with only if it was interrupted."""
    one = job(tmp_path, "seed=1")
    one.log.parent.mkdir()
    holder = one.lock.open("a")
    assert taken(holder)
    begun: list[str] = []
    ended: list[str] = []

    def end_elsewhere(other: Job) -> None:
        one.note(**record)
        holder.close()

    run_jobs(
        [one, job(tmp_path, "seed=2")],
        lambda job, place: Done(job, begun),
        1,
        watch=never,
        ended=lambda job: end_elsewhere(job) if job != one else ended.append(job.state),
    )
    assert (one.name in begun) == again
    assert ended == [one.state], "told once, whoever ran it"


@pytest.mark.parametrize("ours", [True, False])
def test_a_job_that_needs_what_another_makes_is_put_back_and_its_place_goes_on(ours, tmp_path, monkeypatch):
    """Until a job of ours has ended, or, if another sweep's job makes it, for a while."""
    makes, needs, other = (job(tmp_path, f"seed={n}") for n in range(3))
    begun: list[str] = []
    ended: list[str] = []

    class Attempt(Done):
        """`makes` goes on until `other` has begun; `needs` can go on when `makes` has ended, or at its third start."""

        def __init__(self, one: Job) -> None:
            super().__init__(one, begun)
            self.ready = makes.name in ended if ours else begun.count(needs.name) > 2

        @property
        def code(self) -> int | None:
            if self.job == makes:
                return 0 if other.name in begun else None
            return 0 if self.job == other or self.ready else ELSEWHERE

    monkeypatch.setattr(process, "AGAIN", 0.0)
    run_jobs(
        [makes, needs, other], lambda one, _: Attempt(one), 2, watch=never, ended=lambda one: ended.append(one.name)
    )
    assert sorted(ended) == sorted(one.name for one in (makes, needs, other)), "each once"
    assert [begun.count(one.name) for one in (makes, needs, other)] == [1, 2 if ours else 3, 1]


def test_a_job_is_held_until_its_end_is_written_down(tmp_path):
    """Else another process would take it for one that was interrupted."""
    one = job(tmp_path, "seed=none")  # refused at once
    attempt = Here(one, {})
    assert one.held
    second = Here(one, {})
    assert second.code == ELSEWHERE
    second.tell(signal.SIGTERM)
    second.conclude(pruned=False)
    assert one.last["attempts"] == 1
    attempt.process.join()
    assert one.state == "running", "nobody has said how it ended"
    attempt.conclude(pruned=False)
    assert one.state == "failed"
    assert not one.held


def test_mistakes_are_told_before_the_first_job(cli, tmp_path):
    for line, message in {
        ("-m", "model=logistic_regression,mdtm"): r"'model/mdtm'",
        ("-m", "model.hiden=3", "seed=0,1"): r"hiden",
        ("-m", "seed=0,one"): r"seed must be a whole number of at least 0; it is one",
        ("-m", "seed=0,1", "launcher=local", "launcher.jobs=0"): r"launcher.jobs must be a whole number of at least 1",
        ("-m", "seed=0,1", "resume=x"): r"resume is of a single run",
        ("launcher=local",): r"launcher=local is of a sweep: add -m",
        ("-m", "experiment=table6", "imputer=locf", "predictor=kmeans,lstmm", "data=synthetic"): r"'predictor/lstmm'",
    }.items():
        done = cli(*line)
        assert done.returncode == 1, line
        assert re.search(message, done.stderr), done.stderr
        assert "Traceback" not in done.stderr
    assert not list((tmp_path / "work").rglob("jobs")), "nothing was begun"


PAIRS = ["imputer=locf predictor=kmeans", "imputer=brits predictor=kmeans,brits"]


@pytest.mark.parametrize(
    "typed", ["model=two_stage imputer=locf,brits predictor=kmeans,brits", "model=two_stage imputer=locf,brits"]
)
def test_a_pair_that_cannot_be_is_told_before_the_first_job_with_the_lines_of_the_others(typed, tmp_path):
    """Of jobs of which every value is composed once, and the pair in none of them; or whose predictor no word chooses."""
    jobs = [job(tmp_path, *own) for own, _ in words(*typed.split(), "seed=0,1")]
    made: list[str] = []

    def compose(one: Job) -> dict[str, object]:
        made.append(one.name)
        brits = () if "predictor" in typed else ("predictor=brits",)
        return composed(*one.overrides[: -len(QUICK)], *brits).plain

    some = {one.name: compose(one) for one in one_of_each_value(jobs[::-1])}
    with pytest.raises(UserError) as told:
        refuse_senseless(jobs, some, compose)
    first, wrong, how, *left = str(told.value).splitlines()
    assert first == f"2 of the {len(jobs)} jobs cannot be run, so none was begun:"
    assert re.search(r"^    model=two_stage imputer=locf.*: predictor=brits is a head of .* LOCF does not have", wrong)
    assert how.startswith("Run the others, ")
    both = "predictor" in typed
    assert left == [f"    model=two_stage {line}" for line in (PAIRS if both else ["imputer=brits"])]
    assert len(made) == len(some), "nothing more was composed"
    alone = [one for one in jobs if "imputer=locf" in one.overrides and "predictor=kmeans" not in one.overrides]
    with pytest.raises(UserError, match=r"^predictor=brits is a head of imputer=brits"):
        refuse_senseless(alone, some, compose)
    refuse_senseless([one for one in jobs if "imputer=brits" in one.overrides], some, compose)


class Launched:
    """A launcher that begins nothing, and knows what it was given."""

    def launch(self, jobs, **_):
        self.names = [one.name for one in jobs]


def test_the_same_line_runs_what_failed_again_unless_it_says_not_to(tmp_path, capsys):
    jobs = keep(tmp_path, "", [job(tmp_path, f"seed={seed}") for seed in (1, 2)], {})
    jobs[0].log.parent.mkdir()
    jobs[0].note(exit=1, how="exit code 1", began="then", seconds=1.0, last_lines=[], attempts=1, where="here")
    for retry, names in ((True, [one.name for one in jobs]), (False, [jobs[1].name])):
        launcher = Launched()
        with pytest.raises(SystemExit):
            run_to_the_end(jobs, jobs, launcher, retry=retry)
        assert launcher.names == names
        assert f"1 failed ({'again' if retry else 'not again'})" in capsys.readouterr().out


def test_lines_that_an_experiment_brings_are_said_before_the_first_job(tmp_path, capsys):
    parse = OverridesParser.create().parse_overrides
    grids = [
        "model=mtdm size=s",
        "model=two imputer=zero,knn predictor=lstm,knn",
        "model=two imputer=knn predictor=knn,km",
    ]
    lines = told(lines_of(grids, parse(["experiment=x", "seed=0,1", "size=l"]), parse), grids)
    jobs = keep(tmp_path, "", [job(tmp_path, "seed=1")], {})
    run_to_the_end(jobs, jobs, Launched(), retry=True, lines=lines)
    assert capsys.readouterr().out.splitlines()[1:4] == [
        "    2 jobs: model=mtdm size=l",
        "    8 jobs: model=two imputer=zero,knn predictor=lstm,knn",
        "    2 jobs: model=two imputer=knn predictor=knn,km",
    ]


def test_a_job_that_fails_is_told_at_the_end_the_others_finish_and_the_same_line_runs_it_alone(cli, tmp_path):
    line = ["-m", "model=logistic_regression", "model.inverse_penalty=-1,1", *QUICK[1:], "hydra.sweep.dir=sweep"]
    done = cli(*line)
    assert done.returncode == 1
    jobs = jobs_of(tmp_path / "work" / "sweep")
    assert [one.state for one in jobs] == ["failed", "finished"]
    told = done.stdout[done.stdout.index("FAILED") :]
    assert "inverse_penalty must be above 0; it is -1" in told
    assert re.search(r"alone: python -m icu_lightning.run .*model.inverse_penalty=-1", " ".join(told.split()))
    assert "The same line runs them again." in told
    again = cli(*line)
    assert again.returncode == 1
    assert "1 finished, 1 failed (again)" in again.stdout
    assert [one.last["attempts"] for one in jobs] == [2, 1]


PINNED = (
    "data=eicu",
    "cohort=h48",
    "data.hours=48",
    "data.variables=[heart_rate,map,spo2,lactate]",
    "trainer.max_epochs=1",
)


@pytest.mark.slow
def test_twelve_jobs_killed_in_the_middle_are_finished_by_the_same_line(cli, real_eicu, tmp_path):
    """Needs the eICU demo. SIGKILL takes the sweep, not the two jobs that it was running: those are waited for."""
    line = ["-m", "model=logistic_regression,focal_lstm", "seed=range(0,6)", *PINNED, f"data.root={real_eicu}"]
    line += ["report=none", "bootstrap=20", "launcher=local", "launcher.jobs=2", "hydra.sweep.dir=sweep"]
    work = tmp_path / "work"
    process = subprocess.Popen([sys.executable, "-m", "icu_lightning.run", *line], cwd=work, stdout=subprocess.DEVNULL)
    finished: list[Path] = []
    while len(finished) < 4:
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.05)
        finished = [path.parent for path in work.glob("sweep/runs/*/metrics.json")]
    process.send_signal(signal.SIGSTOP)  # else a fast one is over before it is found to hold the folder
    refused = cli(*line)
    assert refused.returncode == 1
    assert "Another sweep is running in sweep" in refused.stderr
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = {path: (path / "metrics.json").stat().st_mtime_ns for path in finished if finished_metrics(path)}
    done = cli(*line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    jobs = jobs_of(work / "sweep")
    assert [one.state for one in jobs] == ["finished"] * 12
    assert all((path / "metrics.json").stat().st_mtime_ns == at for path, at in written.items())
    assert all(one.last["attempts"] == 1 for one in jobs if one.run in written)
    assert {yaml.safe_load((one.run / "config.yaml").read_text())["seed"] for one in jobs} == set(range(6))
    models = read(work / "sweep" / "comparison" / "models.csv")
    assert len({row["model"] for row in models}) == 2
    assert {row["seeds"] for row in models} == {"6"}
    again = cli(*line)
    assert again.returncode == 0
    assert "12 finished" in again.stdout
    assert len(json.loads((work / "sweep" / "sweep.json").read_text())["lines"]) == 1
