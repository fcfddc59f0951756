"""What an evaluation costs: 20,000 made-up stays with 1,000 resamples of patients and all their subgroups; DeLong of 200,000.

    python experiments/benchmarks/evaluation.py --stays 20000 --replicates 1000

The stays are SYNTHETIC: random numbers with a signal, every risk another, which is the slowest case.
"""

import argparse
import time

import numpy as np
import polars as pl
from scipy.special import expit

from icu_lightning.evaluation import delong
from icu_lightning.evaluation.evaluate import evaluate
from icu_lightning.evaluation.predictions import COLUMNS

GROUPS = {
    "sex": ["female", "male"],
    "ethnicity": ["white", "black", "hispanic", "asian", "unknown"],
    "unit_type": ["medical", "surgical", "cardiac", "coronary", "neuro"],
    "insurance": ["Medicare", "Medicaid", "Private"],
}


def predictions(n: int, seed: int = 0) -> pl.DataFrame:
    """n test stays of 4 n / 5 patients in 200 hospitals, about 11 % of whom die."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-2.6, 1.3, n)
    raw = expit(2 * (x + rng.normal(0, 0.7, n)))
    facts = {
        "stay_id": np.arange(n),
        "patient_id": (np.arange(n) * 4 // 5).astype(str),
        "hospital_id": rng.integers(0, 200, n).astype(str),
        "split": ["test"] * n,
        "fold": pl.Series([None] * n, dtype=pl.Int32),
        "label": (rng.random(n) < expit(x)).astype(float),
        "risk_raw": raw,
        "risk": expit(np.log(raw / (1 - raw)) / 2),
        "risk_sd": pl.Series([None] * n, dtype=pl.Float64),
        "threshold": [0.17] * n,
        "age": rng.uniform(18, 89, n),
    }
    return pl.DataFrame(facts | {name: rng.choice(groups, n) for name, groups in GROUPS.items()}).select(COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stays", type=int, default=20_000)
    parser.add_argument("--replicates", type=int, default=1000)
    asked = parser.parse_args()
    table = predictions(asked.stays)
    wall, processor = time.perf_counter(), time.process_time()
    evaluate(table, asked.replicates)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"SYNTHETIC, {asked.stays:,} stays, {asked.replicates:,} resamples: {wall:.1f} s, {processor:.1f} processor s"
    )
    many = predictions(10 * asked.stays)
    start = time.perf_counter()
    delong.interval(many["label"].to_numpy(), many["risk"].to_numpy())
    print(f"DeLong of {many.height:,}: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
