"""The public repository's comparison, honestly: focal LSTM against logistic regression, five folds of patients, and the oracle.

Every fold has patients of its own for testing, others for validation (best epoch, calibrator) and the rest for training; scalers
are fitted on training stays. Each model's AUROC stands beside that of the true risk, which no model can beat but by a leak.

`python -m icu_lightning.synthesize schema=mimic3 out=FOLDER stays=24327 seed=1`, then
`python experiments/focal_lstm/compare.py FOLDER`
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from icu_lightning.atomic import write_text
from icu_lightning.batch import StayBatch
from icu_lightning.build import built
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.prepared import prepared
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.synthetic.writers.columns import ORACLE
from icu_lightning.evaluation.calibration import Isotonic
from icu_lightning.models.logistic_regression import summaries
from icu_lightning.run import CONF
from icu_lightning.training import StageTrainer, stable_seed

FOLDS, BUCKETS, VALIDATION = 5, 20, 3  # 4 of 20 buckets of patients are a fold, the 3 after it validate
MODELS = {
    "focal LSTM, l2 as published": ["model=focal_lstm"],
    "focal LSTM, l2 = 0.001": ["model=focal_lstm", "model.l2=0.001"],
    "logistic regression, summaries": ["model=logistic_regression"],
}
LAST = "logistic regression, last values"
ORACLE_NAME = "oracle"


class Fold(ICUDataModule):
    """The data of one fold: `number` of FOLDS is tested."""

    def __init__(self, *arguments: Any, number: int, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self.number = number

    def setup(self, stage: str | None = None) -> None:
        if not self._ready:
            self.extract, stays = prepared(self.source, self.settings, self.say, self.step)
            side = [side_of(patient, self.number) for patient in stays["patient_id"]]
            self.stays = stays.with_columns(split=pl.Series(side))
            self._fit()
            self.train, self.val, self.test = (
                self._tensors(self.stays["split"] == n) for n in ("train", "val", "test")
            )
            self._ready = True


def side_of(patient: str, fold: int) -> str:
    """Of a patient in a fold: test, val or train, from a hash of the patient alone."""
    bucket = int.from_bytes(hashlib.blake2b(patient.encode(), digest_size=8).digest(), "little") % BUCKETS
    since = (bucket - fold * BUCKETS // FOLDS) % BUCKETS
    return "test" if since < BUCKETS // FOLDS else "val" if since < BUCKETS // FOLDS + VALIDATION else "train"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="tables of icu_lightning.synthesize")
    parser.add_argument("--data", default="mimic3", help="their schema")
    parser.add_argument("--folds", type=int, default=FOLDS, help="only the first so many folds")
    parser.add_argument("--max-epochs", type=int, help="shorter, to try it")
    parser.add_argument("--out", type=Path, help="keep the numbers as JSON")
    arguments = parser.parse_args()
    oracle = pl.read_ipc(arguments.folder / ORACLE)
    results: list[dict[str, Any]] = []
    for fold in range(arguments.folds):
        results += of_fold(arguments, fold, oracle)
        print(table([row for row in results if row["fold"] == fold]), flush=True)
    print(table(averaged(results)))
    if arguments.out:
        write_text(arguments.out, json.dumps(results, indent=1) + "\n")


def of_fold(arguments: argparse.Namespace, fold: int, oracle: pl.DataFrame) -> list[dict[str, Any]]:
    """A row a model: its numbers on the fold's test stays, before and after isotonic calibration."""
    data = fold_data(arguments, fold)
    label = {name: getattr(data, name).label.numpy() for name in ("val", "test")}
    rows = []
    for name, overrides in MODELS.items():
        val, test = fitted(data, overrides, arguments.max_epochs)
        rows.append(numbers(name, fold, label, val, test))
    rows.append(numbers(LAST, fold, label, *last_values(data)))
    risk = pl.DataFrame({"stay_id": data.test.stay_id}).join(oracle, on="stay_id", how="left", maintain_order="left")
    rows.append({"model": ORACLE_NAME, "fold": fold, **scores(label["test"], risk["recorded_risk"].to_numpy())})
    return rows


def fold_data(arguments: argparse.Namespace, fold: int) -> Fold:
    conf = composed("model=focal_lstm", f"data={arguments.data}", f"data.root={arguments.folder.absolute()}")["data"]
    data = Fold(*source_and_settings(**conf), number=fold)
    data.setup()
    return data


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("run", list(overrides)), resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def fitted(data: Fold, overrides: list[str], max_epochs: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Risks of the validation and the test stays."""
    torch.manual_seed(stable_seed(0, "initial weights"))
    model = built(composed(*overrides)["model"], shape=data.shape)
    with tempfile.TemporaryDirectory() as folder:
        trainer = StageTrainer(
            folder=Path(folder), seed=0, max_epochs=max_epochs, accelerator="cpu", devices=1, precision="32-true",
            deterministic=True, threads=1,
        )  # fmt: skip
        model.fit(data, trainer)
    val, test = (model.predict(part).mean(1).double().numpy() for part in (data.val, data.test))
    return val, test


def last_values(data: Fold) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A logistic regression on each variable's last value, missing ones the training median: what the original's was meant to be."""

    def features(part: StayBatch) -> NDArray[np.float64]:
        return summaries(part.values, part.observed)[:, : data.shape.n_variables].double().numpy()

    x = features(data.train)
    median = np.nanmedian(x, axis=0)
    model = LogisticRegression(max_iter=5000)
    model.fit(np.where(np.isnan(x), median, x), data.train.label.numpy())
    val, test = (
        model.predict_proba(np.where(np.isnan(f), median, f))[:, 1] for f in (features(data.val), features(data.test))
    )
    return val, test


def numbers(
    name: str, fold: int, label: dict[str, Any], val: NDArray[np.float64], test: NDArray[np.float64]
) -> dict[str, Any]:
    calibrated = Isotonic().fit(label["val"], val).transform(test)
    return {
        "model": name,
        "fold": fold,
        **scores(label["test"], test),
        "brier_calibrated": float(brier_score_loss(label["test"], calibrated)),
        "mean_risk_calibrated": float(calibrated.mean()),
    }


def scores(label: NDArray[np.float32], risk: NDArray[np.float64]) -> dict[str, float]:
    return {
        "n": len(label),
        "deaths": int(label.sum()),
        "auroc": float(roc_auc_score(label, risk)),
        "auprc": float(average_precision_score(label, risk)),
        "brier": float(brier_score_loss(label, risk)),
        "mean_risk": float(risk.mean()),
    }


def averaged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a model: the means over its folds, and the SD of its AUROC."""
    means = []
    for name in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == name]
        mean = {key: float(np.mean([row[key] for row in own])) for key in own[0] if key not in ("model", "fold")}
        means.append({"model": name, "fold": "mean", **mean, "auroc_sd": float(np.std([row["auroc"] for row in own]))})
    return means


def table(rows: list[dict[str, Any]]) -> str:
    keys = ("auroc", "auroc_sd", "auprc", "brier", "brier_calibrated", "mean_risk", "mean_risk_calibrated")
    lines = [f"{'fold ' + str(rows[0]['fold']):34}" + "".join(f"{key:>22}" for key in keys)]
    for row in rows:
        lines.append(f"{row['model']:34}" + "".join(f"{row[key]:22.4f}" if key in row else " " * 22 for key in keys))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
