"""All figures of a run, drawn into its plots/ folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from icu_lightning.evaluation import stored
from icu_lightning.plots import calibration, discrimination, imputation, learning, summary, thresholds
from icu_lightning.plots.evidence import Evidence, interval_text, read
from icu_lightning.plots.kinds import figures_asked
from icu_lightning.plots.save import write_figure

FIGURES: dict[str, Callable[[Evidence], Figure]] = {
    "roc_curve": discrimination.roc_curve,
    "precision_recall_curve": discrimination.precision_recall_curve,
    "calibration_curve": calibration.calibration_curve,
    "calibration_smooth": calibration.calibration_smooth,
    "confusion_matrix": thresholds.confusion_matrix,
    "probability_distribution": thresholds.probability_distribution,
    "threshold_metrics": thresholds.threshold_metrics,
    "fbeta": thresholds.fbeta,
    "summary_metrics": summary.summary_metrics,
    "learning_curves": learning.learning_curves,
    "decision_curve": discrimination.decision_curve,
    "subgroup_forest": summary.subgroup_forest,
    "imputation_errors": imputation.imputation_errors,
}


def draw_run(folder: Path, config: Mapping[str, Any], kind: str | None = None) -> list[str]:
    """Draw what a finished run folder's predictions.parquet, metrics.json and metrics.csv show; returns the figures' names.

    Arguments:
        config: the run's.
        kind: svg, png (both), or none, which leaves plots/ as it is; None: as the run's report says.

    Raises UserError for another kind, or predictions that are not what a run writes.
    """
    asked = figures_asked(config, kind)
    if asked == "none":
        return []
    predictions = stored.read(folder / "predictions.parquet", None)
    return draw(read(folder, config, predictions.table, predictions.facts), folder / "plots", png=asked == "png")


def draw(run: Evidence, folder: Path, *, png: bool = False) -> list[str]:
    """Write <name>.svg of every figure into `folder`, and <name>.png beside it if asked for; returns their names.

    What a figure cannot show (one outcome only) is a sentence in it. A run without test stays has none, one without epochs no
    learning curves, one that does not impute no imputation errors; such files of an earlier evaluation are removed, so that
    nothing stale stands beside the numbers.
    """
    drawn = []
    there = {"learning_curves": run.epochs, "imputation_errors": run.imputation}
    without = {name for name, content in there.items() if not content}
    for name, figure in FIGURES.items():
        if not run.n or name in without:
            for ending in ("svg", "png"):
                (folder / f"{name}.{ending}").unlink(missing_ok=True)
            continue
        made = figure(run)
        write_figure(made, folder / f"{name}.svg", f"{made.get_label()}. {alt(run)}", png=png)
        drawn.append(name)
    return drawn


def alt(run: Evidence) -> str:
    """What all figures say, for those who cannot see them."""
    kind = "SYNTHETIC stays, no patients. " if run.synthetic else ""
    return f"{kind}{run.facts.about}. AUROC {interval_text(run.cell('auroc'))}."
