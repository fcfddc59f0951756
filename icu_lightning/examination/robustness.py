"""How much of a finished model's ranking is left when the drugs of test stays are charted worse than those it learnt from?

    hours    a share of each stay's hours in the unit is unknown, single hours at random
    spans    the same share, in spans of 4 to 8 hours
    held     a share of the hours is not charted anew: the hour before it is copied, as a nurse who did not look again would
    shifted  what an hour shows is that of an hour up to so many before or after

The model is not trained anew. Which hours, follows from (seed, stay) alone, and a greater share hides the hours of a smaller one too.
What is done to a stay is done to its rates and its score together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icu_lightning.batch import StayBatch
from icu_lightning.errors import UserError
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.metrics import auroc
from icu_lightning.models.base import Model, draws_of
from icu_lightning.models.teacher_student.masking import Masking, fixed_numbers
from icu_lightning.models.vis import rates

Worse = Callable[[StayBatch, float, Tensor], StayBatch]
SPAN_HOURS = (4, 8)


def without_hours(batch: StayBatch, share: float, uniform: Tensor, *, spans: float = 0.0) -> StayBatch:
    """The batch with that share of each stay's hours unknown."""
    vis, known = rates(batch)
    gone = Masking(ratio=share, spans=spans, span_hours=SPAN_HOURS)(batch.in_icu, uniform).unsqueeze(2)
    return replace(batch, vis=vis.masked_fill(gone, 0.0), vis_observed=known & ~gone)


def without_spans(batch: StayBatch, share: float, uniform: Tensor) -> StayBatch:
    return without_hours(batch, share, uniform, spans=1.0)


def held(batch: StayBatch, share: float, uniform: Tensor) -> StayBatch:
    """The batch with that share of the hours, never the first, showing what the hour before them shows."""
    hour = torch.arange(batch.in_icu.shape[1])
    charted = (uniform[:, : len(hour)] >= share) | (hour == 0)
    return _shown_from(batch, torch.where(charted, hour, 0).cummax(1).values)


def shifted(batch: StayBatch, most: float, uniform: Tensor) -> StayBatch:
    """The batch with every hour showing one that is at most `most` hours away, and is in the unit."""
    hour, last = torch.arange(batch.in_icu.shape[1]), (batch.in_icu.sum(1, keepdim=True) - 1).clamp(min=0)
    away = ((2 * uniform[:, : len(hour)] - 1) * most).round().long()
    return _shown_from(batch, torch.minimum((hour + away).clamp(min=0), last))


def _shown_from(batch: StayBatch, source: Tensor) -> StayBatch:
    """(B, T) of which hour each shows the drugs; hours outside of the unit stay what they are."""
    vis, known = rates(batch)
    source = torch.where(batch.in_icu, source, torch.arange(source.shape[1])).unsqueeze(2).expand_as(vis)
    return replace(batch, vis=vis.gather(1, source), vis_observed=known.gather(1, source))


KINDS: dict[str, Worse] = {"hours": without_hours, "spans": without_spans, "held": held, "shifted": shifted}
TITLES = {
    "hours": "Single hours unknown",
    "spans": "Spans of 4 to 8 hours unknown",
    "held": "Hours that repeat the hour before",
    "shifted": "Hours too early or too late",
}


def robustness(
    model: Model, test: StayBatch, asked: Mapping[str, Sequence[float]], *, bootstrap: int, seed: int
) -> dict[str, Any]:
    """{stays, deaths, seed, auroc, titles: {kind: words}, kinds: {kind: [{amount, auroc, change}]}}.

    Each number with its 95 % interval over patients.

    Arguments:
        test: the stays as charted.
        asked: amounts by kind: shares from 0 to below 1, and of `shifted` hours. 0 changes nothing.
        bootstrap: resamples of patients, the same for every number; `change` is of the AUROC within a resample.

    Raises UserError for stays without drugs or with one outcome only, and for what is no kind or amount.
    """
    check(test, asked)
    uniform, label = fixed_numbers(test, seed), test.label.numpy()
    cases = [(kind, float(amount)) for kind, amounts in asked.items() for amount in amounts]
    whole = risk_of(model, test)
    risks = {case: risk_of(model, KINDS[case[0]](test, case[1], uniform)) if case[1] else whole for case in cases}

    def metrics(weight: NDArray[np.float64]) -> dict[str, Any]:
        base = auroc(label, whole, weight)
        parts = {case: auroc(label, risk, weight) for case, risk in risks.items()}
        named = {f"auroc {kind} {amount}": value for (kind, amount), value in parts.items()}
        return {"auroc": base, **named, **{f"change {k} {a}": value - base for (k, a), value in parts.items()}}

    cells = with_intervals(metrics, test.patient_id, bootstrap, seed)
    kinds = {
        kind: [
            {
                "amount": float(a),
                "auroc": cells[f"auroc {kind} {float(a)}"],
                "change": cells[f"change {kind} {float(a)}"],
            }
            for a in amounts
        ]
        for kind, amounts in asked.items()
    }
    counts = {"stays": len(test), "deaths": int(label.sum()), "seed": seed}
    return {**counts, "auroc": cells["auroc"], "titles": {kind: TITLES[kind] for kind in kinds}, "kinds": kinds}


def check(test: StayBatch, asked: Mapping[str, Sequence[float]]) -> None:
    if test.vis is None:
        raise UserError("robustness is of the hourly rates of vasoactive drugs, and this run reads none (data.vis).")
    if len(test.label.unique()) < 2:
        raise UserError(f"The {len(test)} test stays have one outcome only: there is no AUROC to lose.")
    for kind, amounts in asked.items():
        if kind not in KINDS:
            raise UserError(f"There is no '{kind}' among {', '.join(KINDS)}.")
        if isinstance(amounts, str) or not isinstance(amounts, Sequence):
            raise UserError(f"worse.{kind} is a list of numbers, as in 'worse.{kind}=[0,0.5]'; it is {amounts}.")
        for amount in amounts:
            most = test.in_icu.shape[1] if kind == "shifted" else 1
            if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < most:
                raise UserError(f"worse.{kind} takes numbers from 0 to below {most}; one is {amount}.")


def risk_of(model: Model, batch: StayBatch) -> NDArray[np.float64]:
    """(B): the mean of a stay's draws, as everywhere."""
    return draws_of(model, batch).mean(1)
