"""The command that writes a synthetic ICU: what it makes, what it says, what it refuses."""

import errno
import re

import polars as pl
import pytest

from icu_lightning.data.synthetic.settings import FEATURES
from icu_lightning.errors import UserError
from tests.conftest import CONF, generator_conf

MODULE = "icu_lightning.synthesize"
SMALL = ("stays=60", "look=false")


@pytest.fixture
def synthesize(cli):
    return lambda *arguments, **environment: cli(*arguments, module=MODULE, **environment)


def test_a_folder_of_tables_and_what_to_do_next(synthesize, tmp_path):
    out = tmp_path / "tables"
    done = synthesize("schema=mimic3", f"out={out}", "stays=60", ICU_DATA_ROOT="")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(
        r"60 SYNTHETIC stays \(no patients of any hospital\), \d+ patients, \d+ recorded deaths", done.stdout
    )
    assert f"python -m icu_lightning.run model=focal_lstm data=mimic3 data.root={out}" in done.stdout
    assert {"CHARTEVENTS.csv.gz", "LABEVENTS.csv.gz", "SYNTHETIC.json", "oracle.arrow", "look.html"} <= {
        p.name for p in out.iterdir()
    }
    assert "SYNTHETIC DATA" in (out / "look.html").read_text()
    assert list((tmp_path / "work").iterdir()) == [], "nothing is left where it was called"


@pytest.mark.slow
@pytest.mark.parametrize("schema", ["mimic3", "mimic4", "eicu", "episodes"])
def test_a_model_is_trained_on_every_schema(schema, synthesize, cli, tmp_path):
    out = tmp_path / "tables"
    assert synthesize(f"schema={schema}", f"out={out}", "stays=300", "look=false").returncode == 0
    few = ("trainer.max_epochs=1", "bootstrap=20", "report=none")
    done = cli("model=focal_lstm", f"data={schema}", f"data.root={out}", *few)
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC stays" in done.stdout
    assert "auroc" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say where the tables shall go: out=FOLDER"),
        (["out=x", "schema=mimc3"], r"Unknown schema 'mimc3'. Did you mean 'mimic3'"),
        (["out=x", "stays=few"], "stays must be a whole number of at least 10; it is few"),
        (["out=x", "stays=12", "generator.hospitals=13"], "12 stays are fewer than generator.hospitals=13"),
        (["out=x", "generator.prevalence=0"], "generator.prevalence must be a number above 0 and below 1; it is 0"),
        (["out=x", "generator.dropout=-1"], "generator.dropout must be a number from 0 to 1"),
        (["out=x", "seed=-1", *SMALL], "seed must be a whole number of at least 0"),
        (["out=x", "workers=0", *SMALL], "workers must be a whole number of at least 1"),
        (["out=x", "look=maybe", "stays=60"], "look must be true or false; it is maybe"),
        (
            ["out=x", "generator.prevalence=0.999", *SMALL],
            r"prevalence=0.999 cannot be reached: .* of stays are recorded as deaths",
        ),
        (["out=x", "generator=none"], "Could not find 'generator/none'"),
        (["outt=x"], "Key 'outt' is not in struct"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(arguments, message, synthesize, tmp_path):
    done = synthesize(*arguments)
    assert done.returncode == 1
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "work").iterdir()) == []


def test_a_folder_that_holds_anything_is_never_touched(synthesize, tmp_path):
    (tmp_path / "work" / "mine").mkdir()
    (tmp_path / "work" / "mine" / "thesis.txt").write_text("mine")
    done = synthesize("out=mine", *SMALL)
    assert done.returncode == 1
    assert "there already, and nothing is overwritten" in done.stderr
    assert [p.name for p in (tmp_path / "work" / "mine").iterdir()] == ["thesis.txt"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    from icu_lightning.data.synthetic.writers import mimic3
    from icu_lightning.synthesize import synthesize as called

    def full(block):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mimic3, "tables", full)
    out = tmp_path / "new"
    config = {"generator": generator_conf(), "stays": 20, "out": str(out), "schema": "mimic3", "seed": 1, "workers": 1}
    config["look"] = False
    with pytest.raises(UserError, match=rf"Cannot write {out}: No space left on device. No half table is left there"):
        called(config)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_when_the_page_comes_keeps_the_tables_and_says_so(tmp_path, monkeypatch):
    from icu_lightning import synthesize as module

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_text", full)
    monkeypatch.setenv("ICU_DATA_ROOT", "")
    out = tmp_path / "new"
    config = {"generator": generator_conf(), "stays": 60, "out": str(out), "schema": "eicu", "seed": 1, "workers": 1}
    with pytest.raises(UserError, match=r"The tables are whole, but .*look.html cannot be written: No space left"):
        module.synthesize(config | {"look": True})
    assert {"patient.csv.gz", "oracle.arrow"} <= {path.name for path in out.iterdir()}


def test_stays_too_short_for_the_benchmark_are_told(synthesize, tmp_path):
    done = synthesize("schema=episodes", f"out={tmp_path / 'new'}", *SMALL)
    made, short = (
        int(re.search(pattern, done.stdout)[1]) for pattern in (r"(\d+) SYNTHETIC", r"(\d+) of 60 stays are")
    )
    assert made + short == 60
    assert len(list((tmp_path / "new").rglob("*_timeseries.csv"))) == made


def test_a_feature_is_switched_off_on_the_command_line(synthesize, tmp_path):
    for name, change in (("on", []), ("off", ["generator.features.label_noise=false"])):
        assert synthesize(f"out={tmp_path / name}", *SMALL, *change).returncode == 0
    oracle = {name: pl.read_ipc(tmp_path / name / "oracle.arrow", use_pyarrow=False) for name in ("on", "off")}
    assert (oracle["on"]["outcome"] != "observed").any() or oracle["on"]["flipped"].any()
    assert (oracle["off"]["outcome"] == "observed").all()
    assert oracle["off"]["died"].to_list() == oracle["off"]["recorded_death"].to_list()


def test_every_feature_names_its_source_in_conf():
    lines = (CONF / "generator" / "icu.yaml").read_text().splitlines()
    for i, feature in enumerate(FEATURES, 1):
        line = next(line for line in lines if line.startswith(f"  {feature}: "))
        assert f"# {i}: " in line, "the number in METHODS A.2"


def test_help_names_the_overrides(synthesize):
    done = synthesize("--help")
    assert done.returncode == 0
    for word in ("schema=mimic3", "out=FOLDER", "generator.features.label_noise=false"):
        assert word in done.stdout
