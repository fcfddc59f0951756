"""An installed wheel runs from any folder: it carries conf and concepts.yaml."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_an_installed_wheel_runs_from_any_folder(tmp_path):
    def call(*command: str, **environment: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for path in [*(ROOT / "conf").rglob("*.yaml")]:
        assert f"icu_lightning/conf/{path.relative_to(ROOT / 'conf')}" in names
    package = ROOT / "icu_lightning"
    templates = [
        str(p.relative_to(ROOT)) for p in package.rglob("*") if p.suffix in (".html", ".svg", ".md", ".css", ".js")
    ]
    assert len(templates) >= 12
    assert set(templates) <= set(names)
    assert not [name for name in names if "tests/" in name]
    site = tmp_path / "site"
    call(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)
    )
    assert str(site) in call(
        sys.executable, "-c", "import icu_lightning; print(icu_lightning.__file__)", PYTHONPATH=str(site)
    )
    assert "stays: 2000" in call(
        sys.executable, str(site / "bin" / "icu-lightning"), "--cfg", "job", PYTHONPATH=str(site)
    )
    said = call(
        sys.executable,
        "-m",
        "icu_lightning.run",
        "model=logistic_regression",
        "data.stays=300",
        "bootstrap=20",
        PYTHONPATH=str(site),
    )
    assert "auroc" in said
    assert "Description: " in call(
        sys.executable, "-m", "icu_lightning.describe", "data.stays=100", PYTHONPATH=str(site)
    )
    assert "none (installed package)" in next(tmp_path.rglob("environment.txt")).read_text()
