"""Fixtures: made-up eICU tables, settings, data modules, real open data where they lie, and runs in and out of process."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import icu_lightning.run  # noqa: F401  tells Hydra where the experiments are
from icu_lightning.data.settings import DataSettings, source_and_settings
from icu_lightning.data.sources.synthetic import SyntheticICU
from icu_lightning.data.synthetic.settings import settings_of
from icu_lightning.data.synthetic.writers.write import write
from tests.forked import Commands

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
MTDM = [
    "heart_rate",
    "temperature",
    "sbp",
    "dbp",
    "map",
    "respiratory_rate",
    "spo2",
    "glucose",
    "hemoglobin",
    "potassium",
    "sodium",
]


DEALT_OUT = ("tests/test_readme.py",)  # files of long tests that share nothing: one here, one there


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """xdist's --dist loadfile, a file to a process, but for files that are dealt out test by test."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return nodeid if path in DEALT_OUT else path

    return ByFile(config, log)


def of_xdist(config: pytest.Config) -> bool:
    """Whether this is one of xdist's processes; a pytest that a test has started is none, though it inherits their variables."""
    return hasattr(config, "workerinput")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of xdist's processes: what takes longest first, so that they end together. Longest are files with the most slow tests."""
    if not of_xdist(config):
        return
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    tests = Counter(item.path for item in items)
    first = {ROOT / name for name in DEALT_OUT}
    items.sort(key=lambda item: (item.path not in first, -slow[item.path], -tests[item.path], str(item.path)))


@pytest.fixture(scope="session")
def cache_dir(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of extracts and made-up tables of all tests, those of xdist's other processes among them."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if of_xdist(pytestconfig) else base) / "cache"


@pytest.fixture(scope="session", autouse=True)
def _quiet_and_private(cache_dir: Path) -> Iterator[None]:
    """No test, and nothing that tests share, reads or writes the user's cache, or talks to W&B."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICU_CACHE_DIR", str(cache_dir))
        patch.setenv("WANDB_MODE", "offline")
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The folder of the open real data; the test is skipped where it is not."""
    root = os.environ.get("ICU_DATA_ROOT")
    if not root or not Path(root).is_dir():
        pytest.skip("needs open real data: set ICU_DATA_ROOT")
    return Path(root).resolve()


@pytest.fixture(scope="session")
def real_eicu(real_root: Path) -> Path:
    """The eICU demo's folder (patient, vitalPeriodic, vitalAperiodic, nurseCharting, lab)."""
    folder = real_root / "eicu-demo-2.0.1"
    if not folder.is_dir():
        pytest.skip("needs the eICU demo below ICU_DATA_ROOT")
    return folder


def settings(**changes: Any) -> DataSettings:
    """The defaults of conf/run.yaml (of a model without a window of its own), without a cache, with changes."""
    return DataSettings(**(composed("model=logistic_regression").data_settings | {"cache_dir": None} | changes))


class Composed:
    """A composed configuration: `plain`, and its data part without the source's own keys."""

    def __init__(self, *overrides: str) -> None:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            self.cfg = compose("run", list(overrides), return_hydra_config=False)
        self.plain: dict[str, Any] = OmegaConf.to_container(self.cfg, resolve=True)  # type: ignore[assignment]

    @property
    def data_settings(self) -> dict[str, Any]:
        names = DataSettings.__dataclass_fields__
        return {name: value for name, value in self.plain["data"].items() if name in names}


def composed(*overrides: str) -> Composed:
    """A copy of its own; composed once for the same overrides and the same variables of the environment, as it takes time."""
    return deepcopy(_composed(overrides, os.environ.get("ICU_DATA_ROOT"), os.environ.get("ICU_CACHE_DIR")))


@cache
def _composed(overrides: tuple[str, ...], *_: str | None) -> Composed:
    return Composed(*overrides)


def tiny(model: str) -> list[str]:
    """How a model's tiny size is chosen: of each group of its defaults list that has one. Nothing, if it has no sizes."""
    stored = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text())
    groups = {Path(group).name for choice in stored.get("defaults", []) if isinstance(choice, dict) for group in choice}
    return [f"model/{group}=tiny" for group in sorted(groups) if (CONF / "model" / group / "tiny.yaml").is_file()]


def generator_conf(option: str = "icu", **changes: Any) -> dict[str, Any]:
    """conf/generator/<option>.yaml, with changes; a feature of FEATURES may be changed by its name."""
    conf = composed("data=synthetic", f"generator@data.generator={option}").plain["data"]["generator"]
    features = {name: changes.pop(name) for name in list(changes) if name in conf["features"]}
    return conf | changes | {"features": conf["features"] | features}


@cache
def synthetic_icu(stays: int, seed: int = 0) -> SyntheticICU:
    """The synthetic ICU with its defaults; one a size and seed, so that its tables are made once."""
    return SyntheticICU(stays, seed, generator_conf())


@pytest.fixture(scope="session")
def synthetic_eicu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of 1,000 made-up stays as eICU's tables: the schema with hospitals."""
    folder = tmp_path_factory.mktemp("synthetic") / "eicu"
    write(folder, "eicu", settings_of(generator_conf()), 1000, seed=0)
    return folder


@pytest.fixture(scope="session")
def synthetic_data(cache_dir: Path) -> Callable[..., Any]:
    """A function: number of stays, changed settings -> an ICUDataModule of the synthetic ICU, 24 h x 11 by default, set up.

    Its extract is kept for who asks for the same one.
    """
    from icu_lightning.data.module import ICUDataModule

    def make(stays: int = 400, **changes: Any) -> ICUDataModule:
        plain = (
            composed("data=synthetic", "model=logistic_regression").plain["data"]
            | {"cache_dir": str(cache_dir)}
            | changes
        )
        _, chosen = source_and_settings(**plain)
        data = ICUDataModule(synthetic_icu(stays), chosen, seed=0)
        data.setup()
        return data

    return make


@pytest.fixture
def write_eicu(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes made-up eICU tables as .csv and returns their folder; tables given by name replace the made-up ones."""

    def write(stays: int = 60, folder: str = "eicu", **tables: list[dict[str, Any]]) -> Path:
        target = tmp_path / folder
        target.mkdir()
        for name, rows in (eicu_tables(stays) | tables).items():
            pl.DataFrame(rows, infer_schema_length=None).write_csv(target / f"{name}.csv")
        return target

    return write


def eicu_tables(stays: int) -> dict[str, list[dict[str, Any]]]:
    """Made-up rows of the tables that the papers' series need, over 50 hours; every third stay ends in death."""
    rng = np.random.default_rng(0)
    tables: dict[str, list[dict[str, Any]]] = {
        "patient": [],
        "vitalPeriodic": [],
        "vitalAperiodic": [],
        "lab": [],
        "nurseCharting": [],
    }
    for stay in range(1, stays + 1):
        died = stay % 3 == 0
        status = "Expired" if died else "Alive"
        tables["patient"].append(
            {
                "patientunitstayid": stay,
                "uniquepid": f"00{stay % 9}-{stay // 2}",
                "hospitalid": stay % 5,
                "gender": ["Female", "Male"][stay % 2],
                "age": ["54", "> 89"][stay % 20 == 0],
                "ethnicity": ["Caucasian", "Asian", ""][stay % 3],
                "unittype": "MICU",
                "unitdischargeoffset": 3000,
                "hospitaldischargeoffset": 4000,
                "admissionweight": 80,
                "hospitaldischargestatus": status,
                "unitdischargestatus": "Alive",
            }
        )
        for hour in range(0, 50, 2):
            minute = hour * 60 + int(rng.integers(0, 60))
            of_stay = {"patientunitstayid": stay}
            rate = 80 + 25 * died + float(rng.normal(0, 5))
            vital = {
                "heartrate": round(rate),
                "respiration": 18,
                "sao2": 97,
                "temperature": "",
                "systemicsystolic": "",
                "systemicdiastolic": "",
                "systemicmean": "",
            }
            tables["vitalPeriodic"].append(of_stay | {"observationoffset": minute} | vital)
            cuff = {"noninvasivesystolic": 120 - 20 * died, "noninvasivediastolic": 60, "noninvasivemean": ""}
            tables["vitalAperiodic"].append(of_stay | {"observationoffset": minute} | cuff)
            note = {
                "nursingchartcelltypevallabel": "Temperature",
                "nursingchartcelltypevalname": "Temperature (F)",
                "nursingchartvalue": "98.6",
            }
            tables["nurseCharting"].append(of_stay | {"nursingchartoffset": minute} | note)
            usual = {"glucose": 120, "Hgb": 11, "potassium": 4.1, "sodium": 139}
            usual |= {"lactate": 1.5, "creatinine": 1, "WBC x 1000": 9, "bicarbonate": 24, "BUN": 18}
            for name, value in usual.items():
                tables["lab"].append(
                    of_stay
                    | {"labresultoffset": minute, "labname": name, "labresult": value, "labresultrevisedoffset": minute}
                )
    return tables


@pytest.fixture
def run_here(tmp_path: Path) -> Callable[..., Path]:
    """A function: overrides -> run folder, run in this process (fast: torch is loaded once), without a report unless asked for."""
    return lambda *overrides, folder="run": run_in(tmp_path / folder, *overrides)


def run_in(path: Path, *overrides: str) -> Path:
    """The new folder of a run of these overrides, in this process, without a report unless asked for."""
    from icu_lightning import runfolder
    from icu_lightning.pipeline import run_pipeline

    config = composed("report=none", *overrides).plain
    names = dict(o.split("=", 1) for o in overrides if "." not in o.split("=")[0]) | {}
    defaults = {
        "data": "synthetic",
        "model": "focal_lstm",
        "trainer": "cpu",
        "logger": "csv",
        "calibration": "isotonic",
    }
    source, chosen = source_and_settings(**config["data"])
    path.mkdir()
    stored = runfolder.start(path, {"names": {k: names.get(k, v) for k, v in defaults.items()}, **config})
    run_pipeline(path, stored, source, chosen)
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The empty folder that commands are called in."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """The process that `cli` forks."""
    made = Commands(tmp_path_factory.mktemp("said"))
    yield made
    made.close()


@pytest.fixture
def cli(commands: Commands, work: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function: arguments of `python -m icu_lightning.run` -> the finished process, run in an empty folder.

    It is a fork of a process that has imported the packages; see `fresh_cli` for one that has not.
    """

    def call(
        *arguments: str, module: str = "icu_lightning.run", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return commands.run(module, arguments, work, {**os.environ, **environment})

    return call


@pytest.fixture
def fresh_cli(work: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `cli`, in a process that shares nothing with another: for what warns on import, or must not follow from a set's order."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "icu_lightning.run", *arguments]
        return subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=600)

    return call


@pytest.fixture(scope="session")
def data_of(synthetic_data):
    """A function: a model's name, number of stays -> made-up stays with the drugs and scores that the model asks for."""

    def make(name: str, stays: int):
        asked = composed(f"model={name}").plain["data"]
        if asked["vis"] is None and not asked["severity"]:
            return synthetic_data(stays)
        return synthetic_data(stays, vis=asked["vis"], severity=asked["severity"], static=asked["static"])

    return make
