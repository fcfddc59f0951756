"""python -m icu_lightning.dashboard: the W&B report and workspace of a project as code, from names that every run logs.

Sections of both: comparison (a run a row, and its AUROC by model), learning curves of every task, discrimination and calibration,
explanation. The report also has the table of a transfer matrix. Needs wandb-workspaces, which is no part of a plain installation.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from icu_lightning.errors import UserError
from icu_lightning.run import CONF, answer, one_line_errors

CURVES = {  # title: what is logged each epoch, by one stage or another of a model; every column of its metrics.csv
    "Loss": ("train/loss", "val/loss"),
    "Mortality": ("train/mortality", "val/mortality"),
    "Imputation": ("train/imputation", "val/imputation"),
    "Contrastive": ("train/contrastive",),
    "Distances of pairs": ("train/alike", "train/unlike"),
    "Severity scores": ("train/severity", "val/severity"),
    "Soft labels of the teacher": ("train/soft_labels", "val/soft_labels"),
    "Features of the teacher": ("train/features", "val/features"),
    "Hidden hours of the vasoactive score (squared error)": (
        "val/vis_mse",
        "val/carried_forward_mse",
        "val/interpolated_mse",
    ),
    "AUROC": ("train/auroc", "val/auroc"),
    "AUPRC": ("val/auprc",),
}
COLUMNS = ("auroc", "auprc", "brier", "calibration_slope", "calibration_in_the_large", "observed_to_expected", "ece")
CHARTS = {"ROC": "test/roc", "Precision and recall": "test/pr", "Calibration": "test/calibration"}
FIGURES = ("figures/calibration_smooth", "figures/shap_bar", "figures/shap_beeswarm", "figures/embedding")


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="dashboard")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    with one_line_errors(Path(), new=False):
        dashboard(config)


@dataclass(frozen=True)
class Dashboard:
    """The two things that are written: a wandb_workspaces Report and Workspace."""

    report: Any
    workspace: Any

    def plain(self) -> dict[str, Any]:
        """What W&B is sent."""
        report, workspace = self.report._to_model(), self.workspace._to_model()
        return {
            name: json.loads(made.spec.model_dump_json(by_alias=True, exclude_none=True))
            for name, made in {"report": report, "workspace": workspace}.items()
        }


def dashboard(config: Mapping[str, Any]) -> None:
    """Write both, or print them. Raises UserError for what is missing: the package, the entity, an account, the server."""
    made = built_dashboard(config)
    if config["show"]:
        return print(json.dumps(made.plain(), indent=1))
    import wandb

    from icu_lightning.terminal import say

    try:
        made.report.save()
        made.workspace.save()
    except wandb.errors.AuthenticationError as error:
        raise UserError(f"W&B does not know you ({error}). Log in with `wandb login`, or set WANDB_API_KEY.") from error
    except (wandb.errors.Error, OSError, ValueError) as error:
        raise UserError(f"W&B has not taken the dashboard: {str(error).strip() or type(error).__name__}") from error
    say(f"Report: {made.report.url}\nWorkspace: {made.workspace.url}")


def built_dashboard(config: Mapping[str, Any]) -> Dashboard:
    """Raises UserError if the package is missing, or nobody says whose project it is."""
    try:
        import wandb_workspaces.reports.v2  # noqa: F401
    except ImportError as error:
        raise UserError("The dashboard needs a package: pip install 'icu-lightning[dashboards]'") from error
    for name in ("entity", "project"):
        if not config[name]:
            raise UserError(f"{name}= is missing: python -m icu_lightning.dashboard entity=ME project=icu_lightning")
    from icu_lightning.wandb_results import logged_in

    if not config["show"] and not logged_in():
        raise UserError("Not logged in to W&B: `wandb login`, or set WANDB_API_KEY; show=true needs no account.")
    return Dashboard(_report(config), _workspace(config))


def _panels(wr: Any) -> dict[str, list[Any]]:
    """Section -> its panels."""
    models = {"groupby": wr.Config("names.model"), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    tests = [wr.SummaryMetric(f"test.{name}.value") for name in COLUMNS]
    return {
        "Comparison": [wr.BarPlot(title=metric.name, metrics=[metric], **models) for metric in tests],
        "Learning curves": [wr.LinePlot(title=title, x="epoch", y=list(names)) for title, names in CURVES.items()],
        "Discrimination and calibration": [
            *(wr.CustomChart.from_table(f"{key}_table", *_axes(title)) for title, key in CHARTS.items()),
            wr.MediaBrowser(title="Smooth calibration", media_keys=[FIGURES[0]]),
        ],
        "What drives a risk": [wr.MediaBrowser(title=key.split("/")[1], media_keys=[key]) for key in FIGURES[1:]],
    }


def _axes(title: str) -> tuple[dict[str, str], dict[str, str]]:
    """Fields and words of a line chart, by the columns of its table."""
    x, y = {
        "ROC": ("1 - specificity", "sensitivity"),
        "Precision and recall": ("sensitivity", "positive predictive value"),
        "Calibration": ("predicted risk", "observed share of deaths"),
    }[title]
    return {"x": x, "y": y}, {"title": title}


def _report(config: Mapping[str, Any]) -> Any:
    import wandb_workspaces.reports.v2 as wr

    where = {"entity": config["entity"], "project": config["project"]}
    chosen = f"Config('names.experiment') = '{config['experiment']}'" if config["experiment"] else ""
    columns = ["run:name", "config:names.data.value", "config:names.model.value", "config:seed.value"]
    columns += [f"summary:test.{name}.value" for name in COLUMNS]
    blocks: list[Any] = [wr.TableOfContents()]
    for title, panels in _panels(wr).items():
        runs = wr.Runset(name="Runs", filters=chosen, pinned_columns=columns)  # of the report's own project
        blocks += [wr.H1(title), wr.PanelGrid(runsets=[runs], panels=panels, hide_run_sets=title != "Comparison")]
    if config["matrix"]:
        blocks += [wr.H1("Transfer matrix"), wr.MarkdownBlock(matrix_table(Path(config["matrix"]).expanduser()))]
    return wr.Report(**where, title=_title(config), description=DESCRIPTION, blocks=blocks, width="fluid")


DESCRIPTION = "Test stays only, calibrated risks. Intervals and paired tests: python -m icu_lightning.compare."


def _title(config: Mapping[str, Any]) -> str:
    return f"{config['experiment'] or config['project']}: mortality models"


def _workspace(config: Mapping[str, Any]) -> Any:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    chosen = f"Config('names.experiment') = '{config['experiment']}'" if config["experiment"] else ""
    return ws.Workspace(
        entity=config["entity"],
        project=config["project"],
        name=_title(config),
        sections=[ws.Section(name=title, panels=panels, is_open=True) for title, panels in _panels(wr).items()],
        runset_settings=ws.RunsetSettings(filters=chosen),
    )


def matrix_table(folder: Path) -> str:
    """AUROC of each model on each database, as Markdown. Raises UserError if there is no finished matrix."""
    path = folder / "matrix.json"
    if not path.exists():
        raise UserError(
            f"{path} is missing: matrix= names a folder that python -m icu_lightning.transfer matrix=[...] wrote."
        )
    cells = {(cell["trained_on"], cell["target"]): cell for cell in json.loads(path.read_text(encoding="utf-8"))}
    databases = list(dict.fromkeys(home for home, _ in cells))
    rows = [[f"**{home}**", *(_cell(cells[home, target]) for target in databases)] for home in databases]
    lines = [["trained on", *(f"on {name}" for name in databases)], ["---"] * (1 + len(databases)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Mapping[str, Any]) -> str:
    auroc = cell["before"].get("auroc") or {}
    value, low, high = (auroc.get(name) for name in ("value", "low", "high"))
    shown = (
        "undefined" if value is None else f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None else "")
    )
    return shown if cell["external"] else f"{shown}, {cell['kind']}"


if __name__ == "__main__":
    main()
