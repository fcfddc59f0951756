"""What can be attained at the default settings: the oracle, and no model above it (METHODS A.2, E)."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from tests.conftest import composed, synthetic_icu
from tests.models.test_every_model import MODELS, fitted


def interval(label, risk, replicates=200):
    """95 % bootstrap interval of the AUROC."""
    rng = np.random.default_rng(0)
    places = [rng.integers(0, len(label), len(label)) for _ in range(replicates)]
    return np.percentile([roc_auc_score(label[at], risk[at]) for at in places], [2.5, 97.5])


def data_of(stays: int, model: str = "focal_lstm") -> tuple[ICUDataModule, np.ndarray]:
    """The synthetic ICU as the model wants it, and the risk of a recorded death of its test stays."""
    conf = composed("data=synthetic", f"model={model}").plain["data"]
    _, chosen = source_and_settings(**conf)
    data = ICUDataModule(synthetic_icu(stays), chosen, seed=0)
    data.setup()
    test = pl.DataFrame({"stay_id": data.test.stay_id})
    truth = test.join(synthetic_icu(stays).oracle(), on="stay_id", how="left", maintain_order="left")
    return data, truth["recorded_risk"].to_numpy()


def test_the_oracle_is_as_good_as_it_should_be():
    """AUROC .88 to .94 against what is recorded, for stays of 48 hours."""
    source = synthetic_icu(3000)
    long = source.collect(source.stays()).filter(pl.col("los_hours") >= 48).select("stay_id")
    truth = source.oracle().join(long, on="stay_id")
    assert 0.88 < roc_auc_score(truth["recorded_death"], truth["recorded_risk"]) < 0.94
    assert roc_auc_score(truth["died"], truth["true_risk"]) > roc_auc_score(truth["recorded_death"], truth["true_risk"])


LONGER = {"mtdm", "teacher_student", "vis_gru", "vis_logistic", "vis_lstm"}  # of more stays, all but the first


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONGER else []) for name in MODELS]
)
def test_no_model_is_above_the_oracle(name, tmp_path):
    """A model that is above the interval of the true risk has seen the outcome.

    Of 3,000 stays the cohort of those that read drugs, septic ones, leaves 48 to test on, which tell nothing: they get more, and
    more epochs for their few batches.
    """
    stays, max_epochs = (12_000, 12) if composed(f"model={name}").plain["data"]["vis"] else (3_000, 4)
    data, risk = data_of(stays, name)
    label = data.test.label.numpy()
    found = roc_auc_score(label, fitted(name, data, tmp_path, max_epochs=max_epochs).predict(data.test).mean(1))
    assert 0.6 < found < interval(label, risk)[1]


def test_a_leak_would_be_found():
    """A model that knew the recorded outcome a little would be above the oracle's interval."""
    data, risk = data_of(3000)
    label = data.test.label.numpy()
    assert roc_auc_score(label, risk + 0.5 * label) > interval(label, risk)[1]


@pytest.mark.slow
def test_the_focal_lstm_is_between_the_last_values_and_the_oracle(tmp_path):
    """At 8,000 stays with the default settings, as at 24,327 in experiments/focal_lstm."""
    from sklearn.linear_model import LogisticRegression

    from icu_lightning.models.summaries import summaries

    data, risk = data_of(8000)
    label = data.test.label.numpy()
    model = fitted("focal_lstm", data, tmp_path, max_epochs=20)
    lstm = roc_auc_score(label, model.predict(data.test).mean(1))
    x = [summaries(part.values, part.observed)[:, :15].nan_to_num(0.0).numpy() for part in (data.train, data.test)]
    last = LogisticRegression(max_iter=3000).fit(x[0], data.train.label.numpy())
    assert 0.80 < lstm < min(0.91, interval(label, risk)[1])
    assert lstm - roc_auc_score(label, last.predict_proba(x[1])[:, 1]) > 0.05
