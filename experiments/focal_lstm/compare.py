"""The public repository's comparison, honestly: focal LSTM against logistic regression, five folds of patients, and the oracle.

Every fold has patients of its own for testing, others for validation (best epoch, calibrator) and the rest for training; scalers
are fitted on training stays. Each model's AUROC stands beside that of the true risk, which no model can beat but by a leak.
A fold's risks are kept as they come, so that what was cut short goes on where it was.

`python -m icu_lightning.synthesize schema=mimic3 out=FOLDER stays=24327 seed=1`, then
`python experiments/focal_lstm/compare.py FOLDER --out folds.json`
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

from icu_lightning.atomic import atomic_file, write_text
from icu_lightning.batch import StayBatch
from icu_lightning.build import built
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.prepared import prepared
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.synthetic.writers.columns import ORACLE
from icu_lightning.evaluation.bootstrap import with_intervals
from icu_lightning.evaluation.calibration import Isotonic
from icu_lightning.evaluation.evaluate import of_risk
from icu_lightning.evaluation.metrics import auroc
from icu_lightning.models.logistic_regression import summaries
from icu_lightning.run import CONF
from icu_lightning.training.stages import StageTrainer, stable_seed

Doubles = NDArray[np.float64]
FOLDS, BUCKETS, VALIDATION = 5, 20, 3  # 4 of 20 buckets of patients are a fold, the 3 after it validate
LSTM, LAST, TRUTH = "focal LSTM", "logistic regression, last values", "oracle"
MODELS = {
    LSTM: ["model=focal_lstm"],
    "focal LSTM, l2 as published": ["model=focal_lstm", "model.l2=0.01"],
    "logistic regression, summaries": ["model=logistic_regression"],
}
SHOWN = ("auroc", "auprc", "brier", "calibration_slope", "ece")
REPLICATES = 500  # of patients


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
    parser.add_argument("--keep", type=Path, help="where each fold's risks are kept; FOLDER-risks if not said")
    parser.add_argument("--out", type=Path, help="keep the numbers as JSON")
    arguments = parser.parse_args()
    keep = arguments.keep or arguments.folder.with_name(arguments.folder.name + "-risks")
    keep.mkdir(parents=True, exist_ok=True)
    found: list[pl.DataFrame] = []
    for fold in range(arguments.folds):
        found.append(kept(keep, arguments, fold))
        print(table(of_fold(found[-1], fold)), flush=True)
    result = of_all(pl.concat(found))
    print(table({name: flat(numbers) for name, numbers in result["pooled"].items()}))
    if arguments.out:
        write_text(arguments.out, json.dumps(result, indent=1) + "\n")


def kept(folder: Path, arguments: argparse.Namespace, fold: int) -> pl.DataFrame:
    """A row a model and test stay of the fold: its risks, from the file of an earlier call if there is one."""
    path = folder / f"fold-{fold}.parquet"
    if not path.exists():
        with atomic_file(path) as new:
            risks_of(arguments, fold).write_parquet(new)
    return pl.read_parquet(path)


def risks_of(arguments: argparse.Namespace, fold: int) -> pl.DataFrame:
    """model, fold, stay_id, patient_id, label, risk_raw, and risk: calibrated on the fold's validation patients."""
    data = fold_data(arguments, fold)
    val, test = data.val.label.numpy(), data.stays.filter(pl.col("split") == "test").select("stay_id", "patient_id")
    truth = pl.read_ipc(arguments.folder / ORACLE).select("stay_id", risk_raw="recorded_risk", risk="recorded_risk")
    test = test.with_columns(label=pl.Series(data.test.label.numpy()), fold=pl.lit(fold))
    risks = {name: fitted(data, overrides, arguments.max_epochs) for name, overrides in MODELS.items()}
    parts = []
    for name, (of_val, of_test) in (risks | {LAST: last_values(data)}).items():
        calibrated = Isotonic().fit(val, of_val).transform(of_test)
        own = test.with_columns(risk_raw=pl.Series(of_test), risk=pl.Series(calibrated))
        parts.append(own.with_columns(model=pl.lit(name)))
    known = test.join(truth, on="stay_id", how="left", maintain_order="left").with_columns(model=pl.lit(TRUTH))
    return pl.concat([*parts, known.select(parts[0].columns)])


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


def fitted(data: Fold, overrides: list[str], max_epochs: int | None) -> tuple[Doubles, Doubles]:
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


def last_values(data: Fold) -> tuple[Doubles, Doubles]:
    """A logistic regression on each variable's last value, missing ones the training median: what the original's was meant to be."""

    def features(part: StayBatch) -> Doubles:
        return summaries(part.values, part.observed)[:, : data.shape.n_variables].double().numpy()

    x = features(data.train)
    median = np.nanmedian(x, axis=0)
    model = LogisticRegression(max_iter=5000)
    model.fit(np.where(np.isnan(x), median, x), data.train.label.numpy())
    val, test = (
        model.predict_proba(np.where(np.isnan(f), median, f))[:, 1] for f in (features(data.val), features(data.test))
    )
    return val, test


def of_fold(risks: pl.DataFrame, fold: int) -> dict[str, dict[str, float]]:
    """model -> its numbers on the test stays of one fold, with `raw_` before those of uncalibrated risks."""
    part = risks.filter(pl.col("fold") == fold)
    ones = np.ones(part["stay_id"].n_unique())
    return {
        str(name): {key: float(value) for key, value in metrics(own)(ones).items()}
        for (name,), own in part.group_by("model", maintain_order=True)
    }


def metrics(own: pl.DataFrame) -> Any:
    """A function: weights of one model's stays -> name -> value, of calibrated and of raw risks, and the mean risks."""
    label, risk, raw = (own[name].to_numpy().astype(np.float64) for name in ("label", "risk", "risk_raw"))

    def measured(weight: Doubles) -> dict[str, Any]:
        after, before = of_risk(label, risk, weight), of_risk(label, raw, weight)
        total = weight.sum(-1)
        means = {"mean_risk": weight @ risk / total, "raw_mean_risk": weight @ raw / total}
        return {n: after[n] for n in SHOWN} | {f"raw_{n}": before[n] for n in SHOWN} | means

    return measured


def of_all(risks: pl.DataFrame) -> dict[str, Any]:
    """Every fold, and all out-of-fold risks together with intervals over patients; synthetic, so nothing about patients."""
    by_model = {str(name): own for (name,), own in risks.group_by("model", maintain_order=True)}
    one = by_model[LSTM]
    patients, label = one["patient_id"].to_numpy(), one["label"].to_numpy().astype(np.float64)
    pooled = {name: with_intervals(metrics(own), patients, REPLICATES, seed=0) for name, own in by_model.items()}
    risk = {name: own["risk"].to_numpy() for name, own in by_model.items()}

    def gains(weight: Doubles) -> dict[str, Any]:
        lstm = auroc(label, risk[LSTM], weight)
        return {name: lstm - auroc(label, risk[name], weight) for name in risk if name != LSTM}

    return {
        "synthetic": True,
        "stays": one.height,
        "patients": one["patient_id"].n_unique(),
        "deaths": int(label.sum()),
        "folds": [
            {"fold": fold, "stays": own.height, "deaths": int(own["label"].sum()), "models": of_fold(risks, fold)}
            for (fold,), own in one.group_by("fold", maintain_order=True)
        ],
        "pooled": pooled,
        "auroc_of_the_lstm_minus": with_intervals(gains, patients, REPLICATES, seed=0),
    }


def flat(numbers: dict[str, dict[str, float | None]]) -> dict[str, float]:
    """name -> value of a model's numbers with intervals."""
    return {name: np.nan if n["value"] is None else n["value"] for name, n in numbers.items()}


def table(models: dict[str, dict[str, float]]) -> str:
    keys = ("auroc", "raw_auroc", "auprc", "raw_brier", "brier", "raw_mean_risk", "mean_risk", "calibration_slope")
    lines = [f"{'':34}" + "".join(f"{key:>18}" for key in keys)]
    return "\n".join(
        lines + [f"{name:34}" + "".join(f"{row[key]:18.4f}" for key in keys) for name, row in models.items()]
    )


if __name__ == "__main__":
    main()
