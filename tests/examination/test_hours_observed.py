"""AUROC against hours seen: the last row is the run's own, and every other is what the model says of the hours alone."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

from icu_lightning.batch import hours_since_last
from icu_lightning.errors import UserError
from icu_lightning.examination.examined import SAME, examined
from icu_lightning.examination.hours_observed import HoursSeen, column, hours_figure, hours_observed
from icu_lightning.plots.sheet import Facts


def test_after_the_whole_window_the_numbers_are_the_runs_own(it, run):
    stored = json.loads((run / "metrics.json").read_text())["test"]
    last = hours_observed(it, [6, 48], 50, 0).row(-1, named=True)
    assert (last["hours"], last["n"], last["events"]) == (24, stored["n"], stored["events"])
    for part in ("value", "low", "high"):
        assert last[column("auroc", part)] == stored["auroc"][part], "exactly"
        assert last[column("observed_to_expected", part)] == pytest.approx(
            stored["observed_to_expected"][part], abs=1e-12
        )


def test_earlier_rows_are_what_the_model_says_of_those_hours_alone(it):
    """Against a batch cut by hand."""
    table = hours_observed(it, [12, 6, 6], 10, 0)
    assert table["hours"].to_list() == [6, 12, 24]
    test, seen = it.data.test, torch.arange(24) < 6
    observed = test.observed & seen.view(1, -1, 1)
    sofa = it.data.shape.static.index("sofa")
    static = test.static.clone()
    static[:, sofa] = 0.0
    cut = dataclasses.replace(
        test,
        values=torch.where(observed, test.values, 0.0),
        observed=observed,
        hours_since=hours_since_last(observed),
        in_icu=test.in_icu & seen,
        static=static,
    )
    risk = it.calibrator.transform(it.model.predict(cut).double().mean(1).numpy())
    assert table["auroc"][0] == pytest.approx(roc_auc_score(test.label, risk), abs=1e-12)
    assert table["observed_to_expected"][0] == pytest.approx(float(test.label.sum()) / risk.sum(), abs=1e-9)
    assert table["auroc"][0] != table["auroc"][-1]


def test_hours_beyond_the_window_are_left_out_and_the_window_itself_is_always_there(it):
    assert hours_observed(it, [], 5, 0)["hours"].to_list() == [24]
    assert hours_observed(it, [24, 36, 100], 5, 0)["hours"].to_list() == [24]


def test_the_figure_says_what_it_is_not(it):
    table = hours_observed(it, [6, 12], 20, 0)
    figure = hours_figure(HoursSeen(table=table, facts=Facts(about="whose it is", synthetic=True)))
    said = " ".join(text.get_text() for text in figure.texts)
    for words in ("not trained anew", "windows of 24 h", "whose it is", "SYNTHETIC"):
        assert words in said
    assert len(figure.axes) == 2


def test_one_class_is_null_and_not_drawn(it):
    lived = dataclasses.replace(it, test=it.test.with_columns(label=pl.lit(0.0)))
    table = hours_observed(lived, [6], 10, 0)
    assert table["auroc"].null_count() == 2
    assert table["events"].to_list() == [0, 0]


def test_another_model_or_other_stays_are_refused(it):
    table = pl.concat([it.test, it.test.head(0)])
    other = table.with_columns(risk_raw=pl.col("risk_raw") * 0.99)
    with pytest.raises(UserError, match=r"gives other risks than predictions\.parquet holds"):
        examined(it.data, it.model, it.calibrator, other)
    with pytest.raises(UserError, match=r"has \d+ test stays, the data now have \d+"):
        examined(it.data, it.model, it.calibrator, table.head(5))
    nearly = table.with_columns(risk_raw=pl.col("risk_raw") + SAME / 10)
    assert examined(it.data, it.model, it.calibrator, nearly).test.height == np.sum(it.rows().to_numpy())
