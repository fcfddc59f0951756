"""A matrix of databases: pinned, resumable, marked, and refused before anything is trained."""

import json

import polars as pl
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from icu_lightning.data.synthetic.settings import settings_of
from icu_lightning.data.synthetic.writers.write import write
from icu_lightning.errors import UserError
from icu_lightning.run import check
from icu_lightning.transfer_matrix import named, run_config, transfer_matrix
from icu_lightning.transferring.matrix import Cell, remarks
from tests.conftest import CONF, generator_conf

FAST = (
    "data=eicu",
    "model=logistic_regression",
    "bootstrap=5",
    "draws=2",
    "k=[50]",
    "data.variables=[heart_rate,sbp,lactate]",
)


def config_of(words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("transfer", list(words)), resolve=True)


def make(folder, *words):
    folder.mkdir(exist_ok=True)
    transfer_matrix(folder, config_of(words), list(words))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """One folder with made-up MIMIC-III, MIMIC-IV and eICU tables."""
    root = tmp_path_factory.mktemp("made-up")
    for seed, schema in enumerate(("mimic3", "mimic4", "eicu")):
        write(root / schema, schema, settings_of(generator_conf()), 260, seed=seed)
    return root


@pytest.mark.slow
def test_every_database_on_every_other_and_nothing_is_done_twice(tables, tmp_path, monkeypatch):
    words = ("matrix=[mimic3,mimic4,eicu]", *FAST, f"data.root={tables}")
    folder = tmp_path / "matrix"
    make(folder, *words)
    cells = json.loads((folder / "matrix.json").read_text())
    assert [(one["trained_on"], one["target"]) for one in cells][:4] == [
        ("mimic3", "mimic3"),
        ("mimic3", "mimic4"),
        ("mimic3", "eicu"),
        ("mimic4", "mimic3"),
    ]
    assert len(cells) == 9
    assert not any(one["external"] for one in cells), "all of it is made up"
    table = pl.read_csv(folder / "matrix.csv")
    assert table.group_by("trained_on", "target").len().height == 9
    for home in ("mimic3", "mimic4", "eicu"):
        stored = yaml.safe_load((folder / "runs" / home / "config.yaml").read_text())
        assert stored["names"]["data"] == home
        assert stored["data"]["variables"] == ["heart_rate", "sbp", "lactate"]
    page = (folder / "index.html").read_text()
    assert "SYNTHETIC stays throughout" in page
    assert "NOT EXTERNAL: mimic3, mimic4, eicu each on itself" in page
    assert "SYNTHETIC" in (folder / "plots" / "matrix.svg").read_text()

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.parent != folder and path.is_file()}
    (folder / "mimic4-to-eicu" / "transfer.json").unlink()  # as if it had been stopped there
    make(folder, *words)
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert {path.parent.name for path in changed if path.parent.name != "plots"} == {"mimic4-to-eicu"}
    assert json.loads((folder / "matrix.json").read_text()) == cells
    with pytest.raises(UserError, match="holds a matrix of other settings"):
        make(folder, *words, "seed=1")

    reused = tmp_path / "reused"
    runs = f"{{mimic4: {folder / 'runs' / 'mimic4'}, eicu: null}}"
    make(reused, f"matrix={runs}", *FAST, f"data.root={tables}")
    assert {path.name for path in (reused / "runs").iterdir()} == {"eicu"}
    same = json.loads((reused / "mimic4-to-eicu" / "transfer.json").read_text())["before"]["auroc"]
    assert same == next(
        one["before"]["auroc"] for one in cells if (one["trained_on"], one["target"]) == ("mimic4", "eicu")
    )
    with pytest.raises(UserError, match=r"stands for mimic4, but its data\.variables is"):
        make(tmp_path / "other", f"matrix={runs}", *FAST[:-1], "data.variables=[heart_rate,sbp]", f"data.root={tables}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["matrix=[eicu]"], r"two databases or more, as in 'matrix=\[mimic4,eicu\]'; it is \['eicu'\]"),
        (["matrix=eicu"], "two databases or more"),
        (["matrix=[eicu,mimic5]"], "Unknown database in matrix 'mimic5'. Did you mean 'mimic"),
        (["matrix=[eicu,mimic4]", "run=x"], "takes neither run nor unmeasured"),
        (["matrix=[eicu,mimic4]", "draws=0"], "draws must be a whole number"),
        (["matrix=[eicu,mimic4]", "cv=5"], "cv is of icu_lightning.run"),
    ],
)
def test_mistakes_are_told(words, message, tmp_path):
    with pytest.raises(UserError, match=message):
        make(tmp_path / "matrix", *words)
    assert not list((tmp_path / "matrix").iterdir())


def test_a_variable_that_one_database_lacks_is_told_before_anything_is_trained(tables, tmp_path, monkeypatch):
    from icu_lightning.data import concepts

    known = {name: concept for name, concept in concepts.all_concepts().items()}
    lacking = [name for name, c in known.items() if "eicu" not in c.charted and not c.derive and "mimic4" in c.charted]
    assert lacking
    words = ("matrix=[mimic4,eicu]", *FAST[:-1], f"data.variables=[heart_rate,{lacking[0]}]", f"data.root={tables}")
    with pytest.raises(
        UserError, match=f"eicu: The model uses {lacking[0]}, which eicu does not chart.*leave it out of data.variables"
    ):
        make(tmp_path / "matrix", *words)
    assert not list((tmp_path / "matrix").iterdir())


def test_a_folder_with_anything_else_in_it_is_refused(tables, tmp_path):
    (tmp_path / "matrix").mkdir()
    (tmp_path / "matrix" / "notes.txt").touch()
    with pytest.raises(UserError, match="is not empty, and nothing is overwritten"):
        make(tmp_path / "matrix", "matrix=[mimic4,eicu]", *FAST, f"data.root={tables}")


def test_all_runs_see_the_same_hours_and_variables_whatever_a_source_or_model_brings():
    words = ["experiment=transfer", "model=logistic_regression", "trainer.max_epochs=3", "k=[50]", "data.static=[age]"]
    config = config_of(words)
    assert list(named(config["matrix"])) == ["mimic3", "mimic4", "eicu"]
    configs = [run_config(name, config, words) for name in ("mimic3", "eicu", "physionet2012")]
    for own in configs:
        assert (own["data"]["hours"], len(own["data"]["variables"])) == (48, 15)
        assert own["names"]["model"] == "logistic_regression"
        assert own["trainer"]["max_epochs"] == 3
        assert own["data"]["static"] == ["age"]
        assert own["report"]["write"] is False
        assert not {"matrix", "k", "hydra"} & own.keys()
    assert configs[0]["data"]["cohort"][-1] == {"in_icu_at_prediction": 48}


def test_run_does_not_take_a_matrix_for_one_run():
    with pytest.raises(UserError, match=r"made by python -m icu_lightning\.transfer"):
        check({"matrix": ["eicu"], "seed": 0})


def test_marks_are_said_once():
    def one(home, target, marks, events=500):
        stored = {"marks": marks, "before": {"n": 1000, "events": events}}
        return Cell(home=home, target=target, stored=stored)

    shared = "SHARED PATIENTS: a and b"
    cells = [
        one("a", "a", ["NOT EXTERNAL: a"]),
        one("a", "b", [shared]),
        one("b", "a", [shared], 99),
        one("b", "b", ["NOT EXTERNAL: b"]),
    ]
    said = remarks(cells)
    assert said[0].startswith("NOT EXTERNAL: a, b each on itself")
    assert said.count(shared) == 1
    assert said[-1].startswith("In 1 of 4 cells fewer than 100")
