"""What is logged and kept: two defects of peers, a metric averaged over batches and the last epoch in place of the best one."""

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score


def test_the_best_epochs_weights_are_kept_and_its_auroc_is_that_of_all_stays_at_once(run_here):
    """Two batches of validation stays; so large a step that some epoch before the last is the best."""
    few = ("data.stays=700", "bootstrap=20", "data.batch_size=64", "calibration=none")
    folder = run_here("model=focal_lstm", "trainer.max_epochs=6", "model.optimizer.lr=0.05", *few)
    table = pl.read_parquet(folder / "predictions.parquet").filter(pl.col("split") == "val")
    assert table.height > 64
    logged = pl.read_csv(folder / "metrics.csv")["val/auroc"].drop_nulls().to_list()
    assert max(logged) > logged[-1] + 0.005, "else this test would not notice"
    assert roc_auc_score(table["label"], table["risk_raw"]) == pytest.approx(max(logged), abs=1e-4)
