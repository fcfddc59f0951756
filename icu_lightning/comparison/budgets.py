"""What the runs of a published table were given, and which code they are of: a table's notes on epochs, draws, sizes and commits.

Epochs are those that each run's own configuration allows: `max_epochs`, of the MTDM both stages', each stage capped by
`trainer.max_epochs`. That is one in a table (published.py refuses others), and makes of budgets that were equal others, if it caps two
stages of one and the one stage of another; `model/size` and a part's own settings may differ. All of it is told.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icu_lightning.comparison.cells import HIGHER
from icu_lightning.comparison.published import Table, predictor_and_imputer, protocol
from icu_lightning.comparison.runs import Run

DRAWN = ("csdi", "mtdm")  # imputers whose draws differ, and whose budget is model/size's
CHANGED = " + changes"  # behind a commit: files differed from it
Name = Callable[[str], str]  # of a row or column, as it is printed


@dataclass(frozen=True)
class Budget:
    """epochs: at most. patience: of them without a better validation. size, draws: of DRAWN alone. then: more, of the LSTM alone."""

    epochs: int
    patience: int | None
    size: str | None = None
    draws: int | None = None
    then: int | None = None

    def __str__(self) -> str:
        parts = [f"at most {self.epochs} epochs{f' of the imputer, then {self.then} of the LSTM' if self.then else ''}"]
        parts += [f"patience {self.patience}"] if self.patience else []
        parts += [f"model/size={self.size}"] if self.size else []
        return ", ".join([*parts, *([f"{self.draws} draws"] if self.draws else [])])


def notes(table: Table, name_of: Name) -> list[str]:
    """Budgets of imputers and, of AUROCs, of predictors; the cap; what an AUROC of several draws is; the commits."""
    runs = [run for found in table.runs.values() for run in found]
    aurocs = any(metric in HIGHER for _, _, metric in table.cells)
    told = _unequal("imputers", {id(run): of_imputer(run, aurocs=aurocs) for run in runs}, runs, 1, name_of)
    if aurocs:
        told += _unequal("predictors", {id(run): of_predictor(run) for run in runs}, runs, 0, name_of)
    if cap := cap_of(runs[0]):
        told.append(f"trainer.max_epochs={cap} in all runs: no stage was longer; the MTDM has two.")
    if aurocs and any(_place(run)[1] in DRAWN for run in runs):
        told.append(
            "AUROC of model=mtdm (its own LSTM, Siamese network) is of the mean of the risks over its draws; that of a two-stage "
            "model with imputer=csdi or mtdm is of one risk, read from the median of the draws."
        )
    return [*told, *_unequal_seeds(table, name_of, aurocs=aurocs), commits(runs, name_of)]


def _unequal_seeds(table: Table, name_of: Name, *, aurocs: bool) -> list[str]:
    """A warning for each protocol whose cells have several numbers of seeds: which rows (of errors columns) have which."""
    found = []
    for p in table.runs:
        groups: dict[int, dict[str, None]] = {}
        for (row, column, _), cell in table.cells.items():
            if ours := cell.ours[p]:
                groups.setdefault(ours.seeds, {})[name_of(row if aurocs else column)] = None
        if len(groups) > 1:
            told = "; ".join(f"{n}: {', '.join(groups[n])}" for n in sorted(groups))
            found.append(
                f"WARNING, unequal numbers of seeds, {p}: {told}. Another seed may tell two such cells apart, or not."
            )
    return found


def of_imputer(run: Run, *, aurocs: bool) -> Budget | None:
    """None of an imputer that is not trained. Draws are those behind the numbers: of AUROCs `samples`, of errors those scored."""
    model, column = run.config["model"], _place(run)[1]
    own = model if run.model == "mtdm" else model.get("imputer") or {}
    found = _budget(own.get("joint", own), cap_of(run))
    if found is None or (run.model != "mtdm" and column not in DRAWN):  # model/tasks=single is in no table's column
        return found
    draws = model.get("samples") if aurocs else (run.config.get("imputation") or {}).get("draws")
    cap = cap_of(run)
    epochs, then = found.epochs, None
    weights = own.get("weights", {})
    if run.model == "mtdm" and weights.get("imputation") == 0 and not weights.get("feedback"):
        # The imputer is trained by itself, for both stages' epochs
        then = _capped(own["epochs"]["stage2"], cap)
        epochs = _capped(sum(own["epochs"].values()), cap)
    return Budget(epochs, found.patience, run.config["names"].get("model/size"), draws, then)


def of_predictor(run: Run) -> Budget | None:
    """None of one that has no epochs, or that is trained along with its imputer."""
    return _budget(run.config["model"].get("predictor") or {}, cap_of(run)) if run.model == "two_stage" else None


def cap_of(run: Run) -> int | None:
    """Epochs that no stage is longer than."""
    return (run.config.get("trainer") or {}).get("max_epochs")


def _budget(settings: Mapping[str, Any], cap: int | None) -> Budget | None:
    of_stages = settings["epochs"].values() if "epochs" in settings else [settings.get("max_epochs")]
    epochs = [_capped(stage, cap) for stage in of_stages if stage is not None]
    return Budget(sum(epochs), settings.get("patience")) if epochs else None


def _capped(epochs: int, cap: int | None) -> int:
    return epochs if cap is None else min(epochs, cap)


def _unequal(
    what: str, budgets: Mapping[int, Budget | None], runs: Sequence[Run], axis: int, name_of: Name
) -> list[str]:
    """A line on the budgets, or none where nothing is trained; a warning if epochs, patience or draws are not all the same."""
    trained = [run for run in runs if budgets[id(run)]]
    groups: dict[Budget, list[Run]] = {}
    for run in trained:
        if budget := budgets[id(run)]:
            groups.setdefault(budget, []).append(run)
    unequal = len({(b.epochs, b.patience) for b in groups}) > 1 or len({b.draws for b in groups} - {None}) > 1
    told = "; ".join(f"{budget}: {_where(found, trained, axis, name_of)}" for budget, found in groups.items())
    return [f"{'WARNING, unequal budgets' if unequal else 'Budgets'} of {what}: {told}."] if told else []


def commits(runs: Sequence[Run], name_of: Name) -> str:
    """Of one commit, that; a warning, with what is of which, of several, or of files that differed from it."""
    return of_commits(runs, lambda part: _where(part, runs, 1, name_of))


def of_commits(runs: Sequence[Run], where: Callable[[Sequence[Run]], str]) -> str:
    """`commits`, with a name for a part of the runs."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(re.sub(r"^([0-9a-f]{7})[0-9a-f]+", r"\1", run.commit), []).append(run)
    if len(groups) == 1:
        (commit,) = groups
        return f"{'WARNING, commit' if commit.endswith(CHANGED) else 'Commit'} of all runs: {commit}."
    told = "; ".join(f"{commit}: {where(found)}" for commit, found in groups.items())
    return f"WARNING, runs of {len(groups)} commits: {told}."


def _place(run: Run) -> tuple[str, str]:
    """Its row and column in a table of AUROCs."""
    return predictor_and_imputer(run) or ("", "")


def _where(part: Sequence[Run], whole: Sequence[Run], axis: int, name_of: Name) -> str:
    """The rows (axis 0) or columns (1) of these runs, and which runs of one that has others, too."""
    told = []
    for name in dict.fromkeys(_place(run)[axis] for run in part):
        own = [run for run in part if _place(run)[axis] == name]
        there = [run for run in whole if _place(run)[axis] == name]
        which = "; ".join(_which(run, axis, name_of) for run in own)
        shown = name_of(name).replace(",", "")  # "LSTM, trained after the imputer" is one
        told.append(shown if len(own) == len(there) else f"{shown} ({which})")
    return ", ".join(told)


def _which(run: Run, axis: int, name_of: Name) -> str:
    seed = f", seed {run.seed}" if run.seed else ""
    return f"{name_of(_place(run)[1 - axis])}, {protocol(run)}{seed}"
