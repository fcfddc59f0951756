"""The dashboard as W&B would get it: every section, every metric, built and never sent."""

import json
import sys

import pytest

from icu_lightning.dashboard import CHARTS, COLUMNS, CURVES, FIGURES, built_dashboard, dashboard, matrix_table
from icu_lightning.errors import UserError
from icu_lightning.models.summary_gru import EPOCH
from tests.conftest import CONF

CONFIG = {"entity": "ward-7", "project": "icu", "experiment": "night", "matrix": None, "show": True}


def cell(home: str, target: str, value: float) -> dict:
    kind = "external" if home != target else "internal"
    before = {"auroc": {"value": value, "low": value - 0.1, "high": value + 0.1}}
    return {"trained_on": home, "target": target, "external": home != target, "kind": kind, "before": before}


@pytest.fixture
def plain(tmp_path) -> dict:
    cells = [cell(a, b, 0.7 if a == b else 0.6) for a in ("mimic4", "eicu") for b in ("mimic4", "eicu")]
    (tmp_path / "matrix.json").write_text(json.dumps(cells))
    return built_dashboard({**CONFIG, "matrix": str(tmp_path)}).plain()


def test_report_and_workspace_show_every_curve_chart_and_figure(plain):
    for name in ("report", "workspace"):
        text = json.dumps(plain[name])
        for titles in CURVES.values():
            assert all(f'"{metric}"' in text for metric in titles), name
        assert all(f"{key}_table" in text for key in CHARTS.values()), name
        assert all(figure in text for figure in FIGURES), name
        assert all(f"test.{column}.value" in text for column in COLUMNS), name
        assert "night" in text, "only the experiment's runs"


SMALL = {
    "mtdm": ["model/size=tiny", "model/tasks=multi_siamese", "imputation=null"],
    "teacher_student": ["model/network=tiny"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.stem for path in sorted((CONF / "model").glob("*.yaml"))])
def test_every_column_of_every_models_metrics_is_a_curve(name, run_here):
    folder = run_here(f"model={name}", *SMALL.get(name, []), "data.stays=300", "trainer.max_epochs=1", "bootstrap=5")
    columns = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    shown = {metric for metrics in CURVES.values() for metric in metrics}
    assert {column for column in columns if "/" in column} - {EPOCH} <= shown


def test_the_report_has_the_transfer_matrix(plain):
    text = json.dumps(plain["report"])
    assert "Transfer matrix" in text
    assert "| **mimic4** | 0.700 (0.600 to 0.800), internal | 0.600 (0.500 to 0.700) |" in text


def test_a_matrix_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match=r"matrix.json is missing"):
        matrix_table(tmp_path)


def test_what_is_missing_is_told(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="entity= is missing"):
        dashboard({**CONFIG, "entity": None})
    for name, value in {"WANDB_API_KEY": "", "HOME": str(tmp_path), "NETRC": str(tmp_path / ".netrc")}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="Not logged in to W&B: `wandb login`"):
        dashboard({**CONFIG, "show": False})
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match=r"pip install 'icu-lightning"):
        dashboard(CONFIG)
