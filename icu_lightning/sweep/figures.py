"""What a search came to, drawn: the objectives trial by trial, and which settings they depend on (fANOVA).

References: An efficient approach for assessing hyperparameter importance (Hutter et al., 2014).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from icu_lightning.plots.save import svg
from icu_lightning.plots.sheet import BLUE, SOFT, VERMILION

LEAST = 4  # complete trials before importance means anything


def history(trials: Sequence[FrozenTrial], objectives: dict[str, str]) -> str:
    """SVG: a panel an objective; a point a complete trial, and the best so far."""
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    figure = Figure(figsize=(8, 2.4 * len(objectives)), layout="constrained", facecolor="white")
    panels = np.atleast_1d(figure.subplots(len(objectives), 1, sharex=True))
    number = np.array([trial.number for trial in done])
    for i, (ax, (name, direction)) in enumerate(zip(panels, objectives.items(), strict=True)):
        value = np.array([trial.values[i] for trial in done])
        best = np.maximum.accumulate(value) if direction == "maximize" else np.minimum.accumulate(value)
        ax.plot(number, value, "o", color=BLUE, markersize=4, label="trial")
        ax.step(number, best, where="post", color=VERMILION, label="best so far")
        ax.set_ylabel(f"val {name}")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    panels[-1].set_xlabel("Trial")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return svg(figure, "history", "Objectives trial by trial, with the best so far")


def importance(study: optuna.Study, objectives: dict[str, str]) -> str | None:
    """SVG: bars, a panel an objective; None with too few complete trials, or if nothing varied."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < LEAST or any(len({trial.values[i] for trial in done}) == 1 for i in range(len(objectives))):
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = [
        optuna.importance.get_param_importances(study, evaluator=evaluator, target=partial(value_of, i))
        for i in range(len(objectives))
    ]
    figure = Figure(figsize=(8, 0.35 * len(shares[0]) * len(shares) + 0.9), layout="constrained", facecolor="white")
    panels = np.atleast_1d(figure.subplots(len(objectives), 1, sharex=True))
    for ax, name, share in zip(panels, objectives, shares, strict=True):
        names = list(share)[::-1]
        ax.barh(names, [share[one] for one in names], color=BLUE)
        ax.set_title(f"val {name}", fontsize=10, loc="left", color=SOFT)
        ax.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("Importance (share of the variance)")
    return svg(figure, "importance", "Which settings the objectives depend on")


def value_of(i: int, trial: FrozenTrial) -> float:
    """Of the i-th objective."""
    return float(trial.values[i])
