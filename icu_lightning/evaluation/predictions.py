"""predictions.parquet: one row a stay, everything that evaluation needs and nothing else.

| column | meaning |
|---|---|
| stay_id, patient_id, hospital_id | as in the raw tables |
| split | train, val or test; left_out for a training stay that undersampling took out of training |
| fold | of a cross-validation; null in a single split |
| label | 1.0 if the outcome happened, 0.0 if not; outcome, source and whether it is synthetic are in the file's metadata |
| risk_raw | the model's score, the mean of its draws |
| risk_prior | the score with its odds corrected for undersampled training; only in runs that undersampled |
| risk | calibrated; of a validation stay by calibrators that did not see its patient |
| risk_sd | SD of the calibrated risks of a stay's draws, by the calibrator of all validation stays; null for a model with one draw |
| n_measured | cells of the stay's window that showed the model a value; a stay of 0 has the risk of nobody in particular |
| threshold | a risk at or above it flags the stay |
| sex, age, ethnicity, unit_type, insurance, marital_status, language | for subgroups |

In files of before, whose metadata has no `risk_sd`, that column is the SD of the scores, not of the calibrated risks.
"""

import copy
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.atomic import atomic_file
from icu_lightning.errors import UserError
from icu_lightning.evaluation.calibration import AfterPrior, Calibrator
from icu_lightning.evaluation.thresholds import Rule, threshold_rule

FOLDS = 5  # of cross-fitting the calibrator
ALWAYS = ("sex", "age", "ethnicity", "unit_type", "insurance")
LATER = ("marital_status", "language")  # not in files of before there were these columns
SUBGROUPS = (*ALWAYS, *LATER)
COLUMNS = (
    "stay_id",
    "patient_id",
    "hospital_id",
    "split",
    "fold",
    "label",
    "risk_raw",
    "risk",
    "risk_sd",
    "threshold",
    *ALWAYS,
)
PRIOR = "risk_prior"  # a column of its own kind of run
MEASURED = "n_measured"  # not in files of before there was one


def columns(table: pl.DataFrame) -> list[str]:
    """The file's columns in their order: COLUMNS, and PRIOR, MEASURED and LATER where there are."""
    order = [*COLUMNS, *(name for name in LATER if name in table.columns)]
    for name, before in ((PRIOR, "risk"), (MEASURED, ALWAYS[0])):
        if name in table.columns:
            order.insert(order.index(before), name)
    return order


def raw_predictions(
    stays: pl.DataFrame, outcome: str, draws: NDArray[np.floating], n_measured: NDArray[np.integer] | None = None
) -> pl.DataFrame:
    """Predictions before calibration, which gives `risk_sd` its values.

    Arguments:
        stays: (B rows) with the id columns, `split`, the outcome and the subgroup columns.
        draws: (B, S) risks in [0, 1].
        n_measured: (B,) cells that showed a value; None leaves the column out.

    Raises UserError if a risk is not a number in [0, 1], naming how many stays.
    """
    wrong = np.asarray(~((draws >= 0) & (draws <= 1)).all(axis=1))
    if wrong.any():
        first = stays["stay_id"].filter(pl.Series(wrong)).head(3).to_list()
        raise UserError(
            f"The model gave {int(wrong.sum())} of {len(wrong)} stays a risk that is no number in [0, 1] (stays {first}, ...)."
        )
    return stays.select(
        "stay_id",
        "patient_id",
        "hospital_id",
        "split",
        pl.lit(None, pl.Int32).alias("fold"),
        pl.col(outcome).cast(pl.Float64).alias("label"),
        pl.Series("risk_raw", draws.mean(axis=1), dtype=pl.Float64),
        pl.lit(None, pl.Float64).alias("risk_sd"),
        *([] if n_measured is None else [pl.Series(MEASURED, n_measured, dtype=pl.Int32)]),
        *SUBGROUPS,
    )


def spread_of(draws: NDArray[np.floating], calibrator: Calibrator) -> pl.Series:
    """(B) `risk_sd`: SD over a stay's draws (B, S) of their calibrated risks, so on the scale of `risk`; null of one draw."""
    if draws.shape[1] == 1:
        return pl.Series("risk_sd", [None] * len(draws), dtype=pl.Float64)
    return pl.Series("risk_sd", calibrator.transform(np.asarray(draws, float)).std(axis=1, ddof=1), dtype=pl.Float64)


def calibrate(
    predictions: pl.DataFrame, calibrator: Calibrator, rule: Rule, draws: NDArray[np.floating]
) -> pl.DataFrame:
    """Fit calibrator and threshold on the validation rows, apply them to all: `risk`, `threshold`, `risk_sd`, perhaps `risk_prior`.

    The calibrator sees all validation stays; their own risks, by which the threshold is chosen, come from calibrators that did
    not see their patients (`cross_fitted`), because a calibrated risk of a stay it was fitted on flatters.

    Arguments:
        draws: (B, S) scores, whose mean is `risk_raw` (of an average over models, on the scale on which they are averaged).

    Raises UserError for an unknown rule.
    """
    is_val = predictions["split"] == "val"
    val = predictions.filter(is_val)
    label, raw = val["label"].to_numpy(), val["risk_raw"].to_numpy()
    own = cross_fitted(calibrator, label, raw, val["patient_id"].to_numpy())
    calibrator.fit(label, raw)
    threshold = threshold_rule(rule)(label, own)
    risk = np.array(
        calibrator.transform(predictions["risk_raw"].to_numpy())
    )  # a copy: no calibration gives its input back
    risk[is_val.to_numpy()] = own
    table = predictions.with_columns(spread_of(draws, calibrator), risk=pl.Series(risk), threshold=pl.lit(threshold))
    if isinstance(calibrator, AfterPrior):
        table = table.with_columns(pl.Series(PRIOR, calibrator.prior(table["risk_raw"].to_numpy())))
    return table.select(columns(table))


def cross_fitted(calibrator: Calibrator, label: NDArray, raw: NDArray, patient_id: NDArray) -> NDArray:
    """(n,) each stay's risk by a copy of the calibrator that was fitted on the stays of other patients, in FOLDS folds.

    With fewer than FOLDS patients that died, or that did not, some fold would have nothing to learn from: then the one
    calibrator of all of them is used, and the validation numbers flatter.
    """
    patients, of_stay = np.unique(patient_id, return_inverse=True)
    died = np.zeros(len(patients), dtype=bool)
    np.logical_or.at(died, of_stay, label == 1)
    if min(died.sum(), (~died).sum()) < FOLDS:
        return copy.deepcopy(calibrator).fit(label, raw).transform(raw)
    fold = np.empty(len(patients), dtype=int)
    for side in (died, ~died):  # patients in the order of their ids, which mean nothing
        fold[side] = np.arange(side.sum()) % FOLDS
    risk = np.empty(len(raw))
    for i in range(FOLDS):
        held = fold[of_stay] == i
        risk[held] = copy.deepcopy(calibrator).fit(label[~held], raw[~held]).transform(raw[held])
    return risk


def write(
    predictions: pl.DataFrame,
    path: Path,
    *,
    outcome: str,
    source: str,
    synthetic: bool,
    open_data: bool = False,
    **more: object,
) -> None:
    """The file; whose outcome, database and kind of stays it tells is in its metadata, for those who compare or show runs.

    Arguments:
        more: further facts for the metadata.
    """
    kind = {"synthetic": synthetic, "open_data": open_data, "risk_sd": "of calibrated risks"}
    facts = {"outcome": outcome, "source": source, **{name: str(value).lower() for name, value in kind.items()}}
    with atomic_file(path) as temporary:
        predictions.write_parquet(temporary, metadata=facts | {name: str(value) for name, value in more.items()})
