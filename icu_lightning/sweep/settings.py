"""What conf/search says, told to be wrong before anything is trained: how many trials, what they are judged by, what is tried."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from icu_lightning.errors import UserError, true_or_false, unknown_name, whole_number
from icu_lightning.evaluation.evaluate import metric_names

DIRECTIONS = ("maximize", "minimize")
MONITORS = ("val/auroc", "val/auprc")  # of each epoch; a loss is not comparable between trials whose settings change it
Distribution = CategoricalDistribution | IntDistribution | FloatDistribution


@dataclass(frozen=True, kw_only=True)
class Settings:
    """conf/search without the study.

    Arguments:
        startup: trials at random, before TPE; and before any is pruned.
        objectives: metric of the validation split -> direction.
        monitor: column of metrics.csv that trials are pruned by; None if none is pruned.
        space: setting -> what is tried.
    """

    trials: int
    startup: int
    seed: int
    objectives: dict[str, str]
    monitor: str | None
    space: dict[str, Distribution]

    @classmethod
    def of(cls, conf: Mapping[str, Any]) -> "Settings":
        """Raises UserError for numbers, metrics, directions or spaces that cannot be."""
        numbers = {
            name: whole_number(f"search.{name}", conf[name], least)
            for name, least in {"trials": 1, "startup": 1, "seed": 0}.items()
        }
        true_or_false("search.pruning", conf["pruning"])
        if conf["monitor"] not in MONITORS:
            raise unknown_name("metric in search.monitor", conf["monitor"], MONITORS)
        aims = objectives(conf["objectives"])
        upwards = list(aims.values()) == ["maximize"]  # as what is monitored: higher is better
        monitor = conf["monitor"] if conf["pruning"] and upwards else None
        space = {name: distribution(name, values) for name, values in conf["space"].items()}
        return cls(**numbers, objectives=aims, monitor=monitor, space=space)


def objectives(conf: Mapping[str, str]) -> dict[str, str]:
    """Metric -> direction. Raises UserError for none, a metric that no run has, or a direction that is none."""
    if not conf or not isinstance(conf, Mapping):
        raise UserError(
            "search.objectives names a metric or more: auroc: maximize, and others with +search.objectives.ece=minimize."
        )
    known = metric_names()
    for name, direction in conf.items():
        if name not in known:
            raise unknown_name("metric in search.objectives", name, known)
        if direction not in DIRECTIONS:
            raise unknown_name("direction in search.objectives", direction, DIRECTIONS)
    return dict(conf)


def distribution(name: str, values: Any) -> Distribution:
    """A list of values, or {low, high} with log or step. Raises UserError for anything else."""
    if isinstance(values, list) and values and all(isinstance(v, bool | int | float | str) for v in values):
        return CategoricalDistribution(values)
    try:
        low, high = values["low"], values["high"]
        options = {key: values[key] for key in values if key not in ("low", "high")}
        whole = isinstance(low, int) and isinstance(high, int)
        kind = IntDistribution if whole else FloatDistribution
        return kind(low, high, **options)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"search.space.{name} is {values} ({error}): it must be a list of values, or {{low: 1, high: 8}}, with log: true or step."
        ) from error
