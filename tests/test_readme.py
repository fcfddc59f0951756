"""The README is followed as a new user would: its two 'add your own' chapters literally, every command run, every key explained."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import composed
from tests.forked import Commands

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def chapter(title: str) -> str:
    return re.split(r"\n## ", TEXT.split(f"\n## {title}\n")[1])[0]


def commands(text: str) -> list[str]:
    """The lines of all bash blocks, without comments."""
    lines = [line for kind, body in BLOCK.findall(text) if kind == "bash" for line in body.splitlines()]
    return [line.split("    #")[0].strip() for line in lines if line.strip()]


def shortened(command: str, *, report: bool = True) -> str:
    """The command with less to do, and without the figures of a report that another one draws alike; what it says stands."""
    if "pytest" in command:
        return command
    if "icu_lightning.compare" in command or "icu_lightning.average" in command:
        return f"{command} --bootstrap 20"
    if "icu_lightning.transfer" in command:
        return f"{command} bootstrap=20 draws=2 trainer.max_epochs=2"
    if "icu_lightning.evaluate" in command:
        return f"{command} bootstrap=20"
    if "icu_lightning.explain" in command:
        return f"{command} stays=4 evaluations=300"
    if not trains(command):
        return command
    stays = "data.stays=300" if "data=" not in command else ""
    epochs = "" if "trainer.max_epochs" in command else "trainer.max_epochs=2"
    tiny = "model/size=tiny imputation.stays=10" if "model=mtdm" in command else ""
    tiny += "model/network=tiny" if "model=teacher_student" in command and "model/network" not in command else ""
    tiny += "imputation.stays=10" if "model=two_stage" in command else ""
    shown = "report.explanation.stays=4" if report else "report=none"
    return f"{command} {stays} {epochs} {tiny} {'' if 'report=' in command else shown} bootstrap=20"


@pytest.fixture
def copy(tmp_path):
    """A copy of what git tracks or would track, in a folder of its own."""
    target = tmp_path / "icu_lightning_copy"
    ignore = shutil.ignore_patterns(
        ".venv",
        ".git",
        "runs",
        "descriptions",
        "comparisons",
        "averages",
        "sweeps",
        "transfers",
        "__pycache__",
        ".*_cache",
        "wandb",
        "*.egg-info",
    )
    shutil.copytree(ROOT, target, ignore=ignore)
    return target


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = os.environ | {"PYTHONPATH": str(folder), "PATH": path} | environment
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=settings, capture_output=True, text=True, timeout=600
    )


def write_blocks(text: str, folder: Path) -> list[str]:
    """Write every '# file: PATH' block, and put every '# add to: PATH' block under the variables it names."""
    written = []
    for kind, body in BLOCK.findall(text):
        head, _, rest = body.partition("\n")
        if head.startswith("# file: "):
            path = folder / head.removeprefix("# file: ")
            path.write_text(rest)
            written.append(path.name)
        elif head.startswith("# add to: "):
            path = folder / head.removeprefix("# add to: ").split(",")[0]
            for variable, lines in re.findall(r"^(\w+):\n((?:  .*\n)+)", rest, re.MULTILINE):
                path.write_text(
                    re.sub(
                        rf"(^{variable}:\n(?:  .*\n)+)",
                        lambda found, lines=lines: found.group(1) + lines,
                        path.read_text(),
                        flags=re.MULTILINE,
                    )
                )
            written.append(path.name)
        else:
            assert kind not in ("python", "yaml"), f"a block that says no file: {body[:60]}"
    return written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "files"),
    [
        ("Add your own model", ["pooled_gru.py", "pooled_gru.yaml"]),
        ("Add your own hospital", ["st_elsewhere.py", "st_elsewhere.yaml", "concepts.yaml", "make_st_elsewhere.py"]),
    ],
)
def test_the_add_your_own_chapters_followed_to_the_letter(title, files, copy):
    text = chapter(title)
    assert write_blocks(text, copy) == files
    for command in commands(text):
        done = run(command, copy)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if "icu_lightning.run" in command:
            assert "auroc" in done.stdout
        if "pytest" in command:
            assert re.search(r"\n(\d+) passed", done.stdout), "the laws were run"
            assert int(re.search(r"\n(\d+) passed", done.stdout).group(1)) >= 8
    if "hospital" in title:
        cleaning = next((copy / "runs").rglob("cleaning.csv")).read_text()
        assert re.search(r"temperature,0,[1-9]\d*", cleaning), "Fahrenheit was converted"


OTHERS = [
    command
    for command in commands(TEXT.split("\n## Add your own model")[0])
    if not command.startswith(("make", "source", "export"))
]


def trains(command: str) -> bool:
    own = "icu_lightning.run" in command or command.startswith("icu-lightning")
    return own and not any(word in command for word in ("--help", "--cfg", "resume="))


def kind(command: str) -> tuple[str, ...]:
    """What sets the reports of runs apart: the model, real or made-up stays, folds, and who else is told."""
    words = dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)
    usual = {"model": "focal_lstm", "data": "synthetic", "cv": "", "logger": "csv"}
    return tuple(words.get(name, default) for name, default in usual.items())


REPORTED = {kind(command): command for command in reversed(OTHERS) if trains(command)}.values()  # the first of its kind


def chains() -> list[list[str]]:
    """The commands, in lists of those that name the same folder or file: what one leaves, the next one needs."""
    found: list[tuple[set[str], list[str]]] = []
    for command in OTHERS:
        names = set(re.findall(r"runs/[a-z]+(?:-[a-z]+)*|made-up|risks\.parquet", command))
        linked = [chain for chain in found if chain[0] & names]
        lines = sorted((line for _, lines in linked for line in lines), key=OTHERS.index)
        found = [chain for chain in found if chain not in linked]
        found.append((names.union(*(own for own, _ in linked)), [*lines, command]))
    return [lines for _, lines in found]


def module(command: str) -> str | None:
    """Of `python -m icu_lightning...`, if that is all there is to the line, for a shell too; None of others."""
    unquoted = re.sub(r"'[^']*'", "", command)
    found = re.match(r"python -m (icu_lightning[\w.]*)( |$)", command)
    return found[1] if found and not re.search(r"[^\w ./=,:~+-]", unquoted) and "trainer=" not in command else None


FIRST = {module(command): command for command in reversed(OTHERS)}.values()  # of each module: in a process of its own


def forked(command: str, folder: Path, commands: Commands, **environment: str) -> subprocess.CompletedProcess[str]:
    """As `run`, of a command of a module alone, by a process that has imported the packages."""
    _, _, name, *arguments = shlex.split(command)
    return commands.run(name, arguments, folder, {**os.environ, "PYTHONPATH": str(folder), **environment})


@pytest.mark.slow
@pytest.mark.parametrize("chain", chains(), ids=lambda chain: chain[0])
def test_every_other_command_of_the_readme(chain, copy, commands, real_root):
    """Needs the eICU demo; in the README's order, because one resumes another."""
    for command in chain:
        line, data = shortened(command, report=command in REPORTED), {"ICU_DATA_ROOT": str(real_root)}
        alone = module(command) is None or command in FIRST
        done = run(line, copy, **data) if alone else forked(line, copy, commands, **data)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


def test_the_readme_has_commands_and_its_chapters():
    assert len(OTHERS) >= 10
    assert sorted(command for chain in chains() for command in chain) == sorted(OTHERS)
    for title in (
        "Quick start",
        "Your data",
        "Every output file",
        "Configuration reference",
        "Another hospital: transfer",
        "Many runs: sweeps",
        "Reproducibility",
        "Several devices",
        "Stopped and started again",
        "The report",
        "Evaluate again",
        "What drives a risk",
        "Compare models",
        "Average models",
        "Add your own model",
        "Add your own hospital",
    ):
        assert chapter(title)


def test_every_setting_of_a_transfer_is_explained():
    own = yaml.safe_load((ROOT / "conf" / "transfer_settings.yaml").read_text()).keys() - {"run"}
    explained = chapter("Another hospital: transfer")
    assert not {key for key in own if f"`{key}`" not in explained}


def test_make_targets_of_the_readme_exist():
    for target in set(re.findall(r"\bmake (\w+)", TEXT)) - {"sure"}:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "No rule" not in done.stderr, target


def test_every_setting_of_run_yaml_is_explained():
    reference = chapter("Configuration reference")
    plain = composed("data=eicu").plain | {
        "data": composed("data=synthetic").plain["data"] | composed("data=eicu").plain["data"]
    }
    keys = (
        {key for key in plain if key != "data"}
        | {f"data.{key}" for key in plain["data"]}
        | {f"trainer.{key}" for key in plain["trainer"] if key != "_target_"}
    )
    missing = {key for key in keys if f"`{key}`" not in reference and f"`{key}=" not in reference}
    assert not missing


def test_every_cohort_is_explained():
    for path in (ROOT / "conf" / "cohort").glob("*.yaml"):
        assert f"| `{path.stem}` |" in chapter("Your data"), path.stem


def test_every_output_file_is_explained():
    text = chapter("Every output file")
    for name in (
        "config.yaml",
        "environment.txt",
        "attrition.csv",
        "cleaning.csv",
        "plots/attrition.svg",
        "audit.json",
        "metrics.csv",
        "best.ckpt",
        "model.ckpt",
        "predictions.parquet",
        "metrics.json",
        "report.html",
        "report.md",
        "tripod_ai.md",
        "model_card.md",
        "explanation.json",
        "attributions.parquet",
        "plots/shap_bar.svg",
    ):
        assert name in text
    from icu_lightning.data.cleaning import STATUSES

    assert all(f"`{status}`" in text for status in STATUSES)


def test_every_open_data_set_of_the_readme_can_be_downloaded():
    from icu_lightning.download import OPEN

    assert all(f"`{name}`" in TEXT or f"download {name} " in TEXT for name in OPEN)


def test_commands_are_valid_shell():
    for command in commands(TEXT):
        assert shlex.split(command)
