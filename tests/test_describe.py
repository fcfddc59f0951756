"""The command: what it writes, what it refuses, and that it agrees with a run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from icu_lightning.description.flow_chart import flow_chart

MODULE = "icu_lightning.describe"


@pytest.fixture
def describe(cli):
    return lambda *arguments, **environment: cli(*arguments, module=MODULE, **environment)


def test_a_page_and_a_chart_in_a_new_folder_named_at_the_end(describe, tmp_path):
    done = describe("data.stays=200")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    page = tmp_path / "work" / re.search(r"Description: (.*)", done.stdout)[1]
    assert re.fullmatch(r"synthetic-[\d_-]+-[0-9a-f]{4}", page.parent.name)
    assert page.parent.parent.name == "descriptions"
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "attrition.svg"}
    assert "SYNTHETIC DATA" in page.read_text()
    assert "SYNTHETIC" in done.stdout


def test_the_folder_can_be_chosen_and_is_never_overwritten(describe, tmp_path):
    folder = tmp_path / "mine"
    assert describe("data.stays=100", f"hydra.run.dir={folder}").returncode == 0
    before = (folder / "index.html").read_bytes()
    again = describe("data.stays=100", f"hydra.run.dir={folder}")
    assert again.returncode == 1
    assert "is not empty, and nothing is overwritten: choose another hydra.run.dir" in again.stderr
    assert (folder / "index.html").read_bytes() == before


def test_overrides_of_a_run_are_understood(describe, write_eicu, tmp_path):
    root = write_eicu(stays=60)
    folder = tmp_path / "page"
    done = describe(
        "data=eicu",
        f"data.root={root}",
        "data.hours=12",
        "data.variables=[heart_rate,glucose]",
        f"hydra.run.dir={folder}",
    )
    assert done.returncode == 0, done.stderr
    page = (folder / "index.html").read_text()
    assert "the first 12 hours" in page
    assert "Potassium" not in page
    assert "real stays of intensive care units" in page


def test_a_run_folder_holds_the_chart_of_its_attrition_table(run_here):
    import polars as pl

    folder = run_here("model=logistic_regression", "data.stays=300", "bootstrap=20")
    table = pl.read_csv(folder / "attrition.csv")
    drawn = (folder / "plots" / "attrition.svg").read_text()
    assert drawn == flow_chart(table, title="synthetic: who is in the cohort")


MISTAKES = {
    "unknown data": (["data=mimik"], r"Could not find 'data/mimik'"),
    "unknown variable": (["data.variables=[lactat]"], r"Did you mean 'lactate'"),
    "unknown key": (["smallest_cel=3"], r"Key 'smallest_cel' is not in struct"),
    "no data folder": (["data=eicu", "data.root=null"], r"set data.root=FOLDER or the environment variable"),
    "wrong data folder": (["data=eicu", "data.root=nowhere"], r"does not exist: .*nowhere"),
    "nobody left": (["data.cohort=[{age_at_least: 200}]"], r"No stay is left in the cohort"),
    "a cell of nobody": (["smallest_cell=0"], r"smallest_cell must be a whole number of at least 1; it is 0"),
    "a word for a cell": (["smallest_cell=few"], r"smallest_cell must be a whole number"),
    "resume": (["resume=runs/mine"], r"resume continues a run of icu_lightning.run"),
    "a folder that cannot be": (["hydra.run.dir=/proc/icu/page"], r"error: .*/proc/icu"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_message_and_exit_code_1(name, describe, tmp_path):
    arguments, message = MISTAKES[name]
    done = describe(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert re.search(message, done.stderr), done.stderr
    assert not list((tmp_path / "work").rglob("*.html"))
    assert not list((tmp_path / "work" / "descriptions").glob("*")), "no empty folder is left behind"


def test_a_page_that_cannot_be_written_is_one_message(tmp_path, monkeypatch):
    """As root every folder can be written to, so the disk is made to refuse."""
    from icu_lightning import describe as module
    from icu_lightning.run import one_line_errors

    def refuse(path: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "write_text", refuse)
    from tests.conftest import composed

    plain = composed("data=synthetic").plain | {"smallest_cell": 5}
    plain["data"] |= {"stays": 100, "cache_dir": None}
    with pytest.raises(SystemExit, match=r"error: .*Permission denied.*attrition.svg"), one_line_errors(tmp_path):
        module.describe(tmp_path, plain)


def test_help_names_the_overrides(describe):
    done = describe("--help")
    assert done.returncode == 0
    assert "smallest_cell=10" in done.stdout
    assert "eicu, episodes, mimic3, mimic4, physionet2012, synthetic" in done.stdout


def test_torch_is_not_loaded(tmp_path):
    code = (
        "import sys; from icu_lightning import describe; import icu_lightning.description.page, icu_lightning.data.prepared;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_eicu_demo(describe, real_eicu, tmp_path):
    """Needs the eICU demo."""
    folder = tmp_path / "page"
    done = describe("model=logistic_regression", "data=eicu", f"data.root={real_eicu}", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    page = (folder / "index.html").read_text()
    assert "1,542 stays of 1,259 patients" in page
    assert "126 of 1,542" in page
    assert len(page) < 3_000_000
