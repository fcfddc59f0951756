"""The command, what a run does by itself, and the commands that a report tells to repeat it."""

import re
import shlex
import subprocess
import sys

import pytest

from icu_lightning.errors import UserError
from icu_lightning.report.__main__ import report_runs
from icu_lightning.report.folder import read
from icu_lightning.report.origin import HERE, commands, settings

SMALL = ("model=logistic_regression", "data.stays=300", "bootstrap=20")
FILES = {"report.html", "report.md", "tripod_ai.md", "model_card.md"}


def test_a_run_writes_it_unless_told_not_to(run_here):
    with_it = run_here(*SMALL, "report.write=true")
    assert {path.name for path in with_it.iterdir()} >= FILES
    assert "SYNTHETIC DATA" in (with_it / "report.html").read_text()
    without = run_here(*SMALL, folder="without")
    assert not {path.name for path in without.iterdir()} & FILES


def test_a_cross_validation_has_one_of_the_whole(run_here):
    folder = run_here(*SMALL, "cv=2", "report.write=true")
    assert "Fold by fold" in (folder / "report.html").read_text()
    assert not (folder / "fold-0" / "report.html").exists()


def test_several_runs_and_a_sentence_for_none(make_run, tmp_path, capsys):
    folders = [make_run(name) for name in "ab"]
    report_runs([str(folder) for folder in folders])
    assert capsys.readouterr().out == "".join(f"Report: {folder / 'report.html'}\n" for folder in folders)
    for named, said in ((None, "Which run?"), (str(tmp_path / "no"), "there is no run in that folder")):
        with pytest.raises(UserError, match=re.escape(said)):
            report_runs(named)


@pytest.mark.slow
def test_the_command_makes_it_and_refuses_without_a_traceback(make_run, tmp_path):
    folder = make_run()

    def call(argument: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "icu_lightning.report", argument]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    done = call(f"run={folder}")
    assert (done.returncode, done.stdout.strip()) == (0, f"Report: {folder / 'report.html'}"), done.stderr
    refused = call(f"run={tmp_path / 'no'}")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert "Traceback" not in refused.stderr


def test_what_was_typed_is_repeated_as_it_was_but_into_a_new_folder(make_run):
    lines = commands(read(make_run()))
    assert lines[0] == "git checkout 0123456789abcdef0123456789abcdef01234567"
    again = next(shlex.split(line) for line in lines if "icu_lightning.run" in line)
    assert again == [
        "python",
        "-m",
        "icu_lightning.run",
        "data=eicu",
        "data.variables=[heart_rate, lactate]",
        "hydra.run.dir=runs/again",
    ]


@pytest.mark.parametrize("command", ["pytest -q", "run.py 'a lone quote", ""])
def test_of_a_run_that_was_started_otherwise_its_choices_are_told(command, make_run):
    folder = make_run()
    text = (folder / "environment.txt").read_text()
    (folder / "environment.txt").write_text(
        "\n".join(f"command: {command}" if line.startswith("command") else line for line in text.splitlines())
    )
    assert any("model=focal_lstm" in line and "data=eicu" in line for line in commands(read(folder)))


def test_every_setting_is_told_and_no_folder_of_the_machine():
    config = {"data": {"root": "/home/x", "cache_dir": None, "cohort": [{"a": 1}], "more": {}}, "seed": 0}
    assert dict(settings(config)) == {
        "data.root": HERE,
        "data.cache_dir": "null",
        "data.cohort": '[{"a": 1}]',
        "data.more": "{}",
        "seed": "0",
    }
