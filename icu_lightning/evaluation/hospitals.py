"""One model in many hospitals: each one's discrimination and calibration with standard errors, and the limits of a funnel plot.

AUROC is summarised as its logit, O:E as its logarithm, on which they are nearly normal; calibration in the large is a logit
already. Funnel limits are those of the deaths that chance alone would give a hospital of E expected ones, Poisson's: slightly
too wide, because deaths are no rare events, so that few hospitals are accused wrongly.

References: Funnel plots for comparing institutional performance (Spiegelhalter, 2005); A guide to systematic review and
    meta-analysis of prediction model performance (Debray et al., 2017), for the standard errors.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import poisson

from icu_lightning.evaluation import delong
from icu_lightning.evaluation.random_effects import Summary, random_effects
from icu_lightning.evaluation.reliability import in_the_large, logit

Array = NDArray[np.float64]
LEVELS = (0.95, 0.998)
SUMMARISED = {  # -> estimate on the scale of the summary, its standard error, why a hospital is left out
    "auroc": ("logit_auroc", "logit_auroc_se", "auroc_left_out"),
    "observed_to_expected": ("log_observed_to_expected", "log_observed_to_expected_se", "calibration_left_out"),
    "calibration_in_the_large": ("calibration_in_the_large", "calibration_in_the_large_se", "calibration_left_out"),
}
NUMBERS = (
    "expected",
    "auroc",
    "logit_auroc",
    "logit_auroc_se",
    "observed_to_expected",
    "log_observed_to_expected",
    "log_observed_to_expected_se",
    "calibration_in_the_large",
    "calibration_in_the_large_se",
    "low_95",
    "high_95",
    "low_99_8",
    "high_99_8",
)
SCHEMA = {
    "hospital_id": pl.String,
    **{name: pl.Int64 for name in ("stays", "patients", "deaths")},
    **{name: pl.Float64 for name in NUMBERS},
    "beyond": pl.String,
    "auroc_left_out": pl.String,
    "calibration_left_out": pl.String,
}


def by_hospital(hospital_id: NDArray, patient_id: NDArray, label: Array, risk: Array, smallest: int) -> pl.DataFrame:
    """A row a hospital, largest first, with the columns of SCHEMA; null is what is undefined.

    `auroc_left_out` and `calibration_left_out` say why a hospital is not in a summary; null for one that is. `beyond` names the
    funnel limit outside of which its O:E lies.

    Arguments:
        hospital_id: (n,) text.
        smallest: stays that a hospital must have to be in a summary.
    """
    hospitals, of_stay = np.unique(hospital_id, return_inverse=True)
    rows = []
    for i, name in enumerate(hospitals):
        own = of_stay == i
        n_patients = len(np.unique(patient_id[own]))
        rows.append({"hospital_id": str(name), "patients": n_patients, **_hospital(label[own], risk[own], smallest)})
    table = pl.DataFrame(rows, schema=SCHEMA).with_columns(pl.col(NUMBERS).fill_nan(None))
    return table.sort("stays", "hospital_id", descending=[True, False])


def summaries(hospitals: pl.DataFrame) -> dict[str, Summary]:
    """Name of SUMMARISED -> what the hospitals that are not left out have in common, on the scale of the estimates."""
    result = {}
    for name, (estimate, se, left_out) in SUMMARISED.items():
        kept = hospitals.filter(pl.col(left_out).is_null())
        result[name] = random_effects(kept[estimate].to_numpy(), kept[se].to_numpy() ** 2)
    return result


def readable(name: str, number: float) -> float:
    """From the scale of a summary back to AUROC, O:E, or calibration in the large, which is on its own."""
    return float({"auroc": expit, "observed_to_expected": np.exp}.get(name, float)(number))


def funnel_limits(expected: Array, level: float) -> tuple[Array, Array]:
    """O:E between which a share `level` of hospitals with so many expected deaths would lie by chance; 0 where none is too low.

    The exact quantiles r of Poisson's distribution, moved by (F(r) - p) / (F(r) - F(r - 1)), so that the limits are smooth in E.

    Arguments:
        expected: (K,) above 0.
    """
    low, high = (_quantile(expected, p) for p in ((1 - level) / 2, (1 + level) / 2))
    return np.maximum(low, 0.0) / expected, high / expected


def _quantile(expected: Array, p: float) -> Array:
    r = poisson.ppf(p, expected)
    up_to, below = poisson.cdf(r, expected), poisson.cdf(r - 1, expected)
    return r - (up_to - p) / (up_to - below)


def _hospital(label: Array, risk: Array, smallest: int) -> dict[str, Any]:
    n, deaths, expected = len(label), int(label.sum()), float(risk.sum())
    row: dict[str, Any] = {"stays": n, "deaths": deaths, "expected": expected}
    row["auroc"], variance = _auroc(label, risk)
    inside = 0 < row["auroc"] < 1 and variance > 0
    row["logit_auroc"] = float(logit(row["auroc"])) if inside else np.nan
    row["logit_auroc_se"] = np.sqrt(variance) / (row["auroc"] * (1 - row["auroc"])) if inside else np.nan
    row |= _calibration(label, risk) | _funnel(deaths, expected)
    small = f"fewer than {smallest} stays" if n < smallest else None
    row["auroc_left_out"] = small or _no_auroc(deaths, n - deaths, inside)
    row["calibration_left_out"] = small or _no_calibration(deaths, n, row["calibration_in_the_large_se"])
    return row


def _auroc(label: Array, risk: Array) -> tuple[float, float]:
    value, covariance = delong.auroc_covariance(label, risk[None])
    return float(value[0]), float(covariance[0, 0])


def _calibration(label: Array, risk: Array) -> dict[str, float]:
    """With standard errors sqrt((1 - O / n) / O) of log O:E, and 1 / sqrt(sum p (1 - p)) of calibration in the large."""
    n, deaths, expected = len(label), float(label.sum()), float(risk.sum())
    there = 0 < deaths < n and expected > 0
    shift = float(in_the_large(label, risk, np.ones(n))) if there else np.nan
    p = expit(shift + logit(risk))
    return {
        "observed_to_expected": deaths / expected if expected > 0 else np.nan,
        "log_observed_to_expected": float(np.log(deaths / expected)) if there else np.nan,
        "log_observed_to_expected_se": float(np.sqrt((1 - deaths / n) / deaths)) if there else np.nan,
        "calibration_in_the_large": shift,
        "calibration_in_the_large_se": float(1 / np.sqrt((p * (1 - p)).sum())) if there else np.nan,
    }


def _funnel(deaths: int, expected: float) -> dict[str, Any]:
    if expected <= 0:
        return {"beyond": None}
    limits = {level: [float(limit[0]) for limit in funnel_limits(np.array([expected]), level)] for level in LEVELS}
    (low, high), (lowest, highest) = limits.values()
    ratio = deaths / expected
    side = "above" if ratio > high else "below" if ratio < low else None
    level = "99.8 %" if ratio > highest or ratio < lowest else "95 %"
    return {
        "low_95": low, "high_95": high, "low_99_8": lowest, "high_99_8": highest,
        "beyond": f"{side} the {level} limit" if side else None,
    }  # fmt: skip


def _no_auroc(deaths: int, survivors: int, inside: bool) -> str | None:
    if min(deaths, survivors) < 2:
        return "no deaths" if not deaths else f"fewer than two {'deaths' if deaths < 2 else 'survivors'}"
    return None if inside else "the risks part deaths from survivors perfectly: no standard error"


def _no_calibration(deaths: int, n: int, se: float) -> str | None:
    if deaths in (0, n):
        return "no deaths" if not deaths else "no survivors"
    return None if np.isfinite(se) else "no finite calibration in the large"
