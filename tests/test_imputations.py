"""imputations.parquet: the same cells for every method, nothing of the truth shown to it, and metrics that follow from the file."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from icu_lightning.batch import StayBatch
from icu_lightning.data.concepts import all_concepts
from icu_lightning.errors import UserError
from icu_lightning.evaluate import evaluate_runs
from icu_lightning.evaluation.imputation import FEWEST, evaluate_imputations, imputation_metrics
from icu_lightning.evaluation.stored import read_imputations
from icu_lightning.imputations import FILE, imputation_settings, pool_imputations, write_imputations
from tests.conftest import composed

ASKED = {"rates": [0.3, 1.0], "pattern": "mcar", "seed": 0, "draws": 6, "stays": 30}


class Filler:
    """Draws from N(shift, 1), and keeps what it was shown."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift, self.seen = shift, list[StayBatch]()

    def impute(self, batch: StayBatch, n_samples: int) -> torch.Tensor:
        self.seen.append(batch)
        generator = torch.Generator().manual_seed(len(self.seen))
        drawn = torch.randn(len(batch), n_samples, *batch.values.shape[1:], generator=generator) + self.shift
        return torch.where(batch.observed.unsqueeze(1), batch.values.unsqueeze(1), drawn)


@pytest.fixture
def data(synthetic_data):
    return synthetic_data(400)


def written(folder, data, model, **changes) -> pl.DataFrame:
    folder.mkdir(exist_ok=True)
    write_imputations(folder, {"imputation": ASKED | changes}, data, model)
    return pl.read_parquet(folder / FILE)


def test_the_cells_are_the_same_for_every_method_and_their_truth_is_not_shown(data, tmp_path):
    model = Filler()
    table, other = written(tmp_path / "a", data, model), written(tmp_path / "b", data, Filler(3.0))
    cells = ["stay_id", "patient_id", "rate", "hour", "variable", "truth"]
    assert table.select(cells).equals(other.select(cells))
    assert not table["draws"].equals(other["draws"])
    assert table["stay_id"].n_unique() == 30
    assert set(table["stay_id"]) <= set(data.test.stay_id.tolist())
    for batch in model.seen:
        assert (batch.values[~batch.observed] == 0).all(), "what is hidden is not there"
        assert not (batch.held_out & batch.observed).any()
    measured = {stay: int(seen.sum()) for stay, seen in zip(data.test.stay_id, data.test.observed, strict=True)}
    for (rate, stay), part in table.group_by("rate", "stay_id"):
        assert part.height == round(rate * measured[stay])


def test_each_draw_stands_beside_the_truth_of_its_own_cell(data, tmp_path):
    class Knowing:
        """Tells which cell it was asked about."""

        def impute(self, batch: StayBatch, n_samples: int) -> torch.Tensor:
            b, t, v = batch.values.shape
            code = torch.arange(t).view(1, t, 1) * 100.0 + torch.arange(v).view(1, 1, v)
            return code.expand(b, t, v).unsqueeze(1) + torch.arange(n_samples).view(1, -1, 1, 1) * 10_000.0

    table = written(tmp_path / "a", data, Knowing())
    place = table["variable"].replace_strict({name: i for i, name in enumerate(data.shape.variables)})
    expected = table["hour"].to_numpy() * 100.0 + place.to_numpy()
    draws = table["draws"].to_numpy()
    assert np.array_equal(draws - np.arange(6) * 10_000.0, np.repeat(expected[:, None], 6, axis=1))
    of_stay = {stay: i for i, stay in enumerate(data.test.stay_id)}
    rows = [of_stay[stay] for stay in table["stay_id"]]
    truth = data.test.values[rows, table["hour"].to_list(), place.to_list()]
    assert np.allclose(truth.numpy(), table["truth"].to_numpy())


def test_metrics_are_those_of_the_cells_and_beside_them_the_means(data, tmp_path):
    table = written(tmp_path / "a", data, Filler())
    found = evaluate_imputations(table, 50, 0)
    assert list(found) == ["0.3", "1"]
    for rate, of in found.items():
        cells = table.filter(pl.col("rate") == float(rate))
        truth, draws = cells["truth"].to_numpy().astype(float), cells["draws"].to_numpy().astype(float).T
        for name, value in imputation_metrics(truth, draws).items():
            assert of[name]["value"] == pytest.approx(value)
            assert of[name]["low"] <= of[name]["value"] <= of[name]["high"]
        assert of["mae_mean"]["value"] == pytest.approx(np.abs(truth).mean())
        assert of["rmse_mean"]["value"] == pytest.approx(np.sqrt((truth**2).mean()))
        assert (of["n"], of["stays"]) == (cells.height, cells["stay_id"].n_unique())
    assert found == evaluate_imputations(table, 50, 0)


def test_an_error_in_a_unit_is_that_in_z_scores_times_the_variables_sd(data, tmp_path):
    """Every variable is scaled by a mean and an SD alone: of none is the logarithm taken, so one number is enough."""
    table = written(tmp_path / "a", data, Filler(), stays=100)
    units = {name: concept.unit for name, concept in all_concepts().items()}
    for rate, of in evaluate_imputations(table, 20, 0).items():
        parts = table.filter(pl.col("rate") == float(rate)).partition_by("variable", as_dict=True)
        assert {(name,) for name in of["variables"]} == set(parts)
        assert sum(variable["n"] for variable in of["variables"].values()) == of["n"]
        for (name,), cells in parts.items():
            found, sd = of["variables"][name], data.scaler.sd[data.shape.variables.index(name)]
            z = imputation_metrics(cells["truth"].to_numpy().astype(float), cells["draws"].to_numpy().astype(float).T)
            assert (found["unit"], found["n"], found["stays"]) == (
                units[name],
                cells.height,
                cells["stay_id"].n_unique(),
            )
            if cells["patient_id"].n_unique() < FEWEST:
                assert found["mae"] == found["rmse"] == found["mae_mean"] == dict.fromkeys(("value", "low", "high"))
                continue
            assert found["mae"]["value"] == pytest.approx(sd * z["mae"])
            assert found["rmse"]["value"] == pytest.approx(sd * z["rmse"])
            assert found["mae_mean"]["value"] == pytest.approx(sd * cells["truth"].abs().mean())
            assert found["mae"]["low"] <= found["mae"]["value"] <= found["mae"]["high"]


def test_the_errors_in_units_are_those_of_the_charted_values(data, tmp_path):
    """Of a model that says the training mean everywhere, against the grid in clinical units."""
    mean, values = data.scaler.mean, data.values[(data.stays["split"] == "test").to_numpy()]
    filler = Filler()
    filler.impute = lambda batch, n: torch.zeros(len(batch), n, *batch.values.shape[1:])
    of = evaluate_imputations(written(tmp_path / "a", data, filler, rates=[1.0], stays=10_000), 0, 0)["1"]
    for place, name in enumerate(data.shape.variables):
        charted = values[:, :, place][np.isfinite(values[:, :, place])]
        assert of["variables"][name]["n"] == len(charted)
        assert of["variables"][name]["mae"]["value"] == pytest.approx(np.abs(charted - mean[place]).mean(), rel=1e-5)
        assert of["variables"][name]["mae_mean"] == of["variables"][name]["mae"]


def test_pooled_folds_have_each_their_own_scale_and_an_older_table_has_none(data, tmp_path):
    table = written(tmp_path / "a", data, Filler(), rates=[0.5], stays=100)
    wider = table.with_columns(sd=2 * pl.col("sd"), patient_id=pl.format("other {}", "patient_id"))
    one, both = (evaluate_imputations(part, 0, 0)["0.5"]["variables"] for part in (table, pl.concat([table, wider])))
    for name, of in both.items():
        if one[name]["mae"]["value"] is not None:
            assert of["mae"]["value"] == pytest.approx(1.5 * one[name]["mae"]["value"])
    older = evaluate_imputations(table.drop("unit", "sd"), 5, 0)["0.5"]
    assert "variables" not in older
    assert older["mae"]["value"] == evaluate_imputations(table, 0, 0)["0.5"]["mae"]["value"]


def test_a_single_draw_has_no_band(data, tmp_path):
    of = evaluate_imputations(written(tmp_path / "a", data, Filler(), draws=1), 5, 0)["0.3"]
    assert "coverage90" not in of
    assert of["crps"]["value"] == pytest.approx(of["mae"]["value"])


def test_a_model_that_does_not_impute_has_none_and_neither_has_a_run_that_asks_for_none(data, tmp_path):
    written(tmp_path / "a", data, Filler())
    write_imputations(tmp_path / "a", {"imputation": ASKED}, data, object())
    assert not (tmp_path / "a" / FILE).exists(), "nothing stale is left"
    write_imputations(tmp_path / "a", {"imputation": None}, data, Filler())
    assert not (tmp_path / "a" / FILE).exists()


def test_folds_are_pooled_if_all_have_some(data, tmp_path):
    one, two = written(tmp_path / "0", data, Filler()), written(tmp_path / "1", data, Filler(1.0))
    pool_imputations(tmp_path, [tmp_path / "0", tmp_path / "1"])
    assert pl.read_parquet(tmp_path / FILE).equals(pl.concat([one, two]))
    (tmp_path / "whole").mkdir()
    (tmp_path / "1" / FILE).unlink()
    pool_imputations(tmp_path / "whole", [tmp_path / "0", tmp_path / "1"])
    assert not (tmp_path / "whole" / FILE).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "mcarr"}, "Unknown pattern in imputation 'mcarr'. Did you mean 'mcar'"),
        ({"rates": [0.0]}, "imputation.rates are numbers above 0, at most 1"),
        ({"rates": 0.3}, "imputation.rates is a list"),
        ({"rates": []}, "imputation.rates is empty: name a rate"),
        ({"draws": 0}, "imputation.draws must be a whole number of at least 1"),
        ({"rate": 0.3}, "Unknown key of imputation 'rate'. Did you mean 'rates'"),
    ],
)
def test_what_cannot_be_meant_is_told(changes, message):
    with pytest.raises(UserError, match=message):
        imputation_settings({"imputation": ASKED | changes})


def test_the_default_is_the_papers_rates():
    settings = imputation_settings(composed().plain)
    assert settings is not None
    assert settings.rates == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert settings.pattern == "mcar"


def test_a_run_of_the_mtdm_scores_its_imputations_and_evaluate_finds_the_same(run_here):
    tiny = ["model/size=tiny", "trainer.max_epochs=1", "imputation.stays=20", "imputation.rates=[0.5]"]
    folder = run_here("model=mtdm", "data.stays=300", "data.cache_dir=null", "bootstrap=10", *tiny)
    before = (folder / "metrics.json").read_bytes()
    metrics = json.loads(before)
    assert metrics["imputation"]["0.5"]["stays"] == 20
    assert set(metrics["test"]["spread"]) == {"narrow", "middle", "wide"}
    evaluate_runs([folder], None, 50)
    assert (folder / "metrics.json").read_bytes() == before
    table = pl.read_parquet(folder / FILE)
    table.with_columns(truth=pl.col("truth") + 1).write_parquet(folder / FILE)
    with pytest.raises(UserError, match=r"imputations\.parquet is not the file that its run wrote"):
        evaluate_runs([folder], None, 50)
    (folder / FILE).unlink()
    with pytest.raises(UserError, match=r"imputations\.parquet is missing, and metrics\.json tells of it"):
        evaluate_runs([folder], None, 50)


def test_a_file_of_an_older_run_is_read(data, tmp_path):
    written(tmp_path / "a", data, Filler()).drop("unit", "sd").write_parquet(tmp_path / FILE)
    stored = read_imputations(tmp_path / FILE, None)
    assert stored is not None
    assert "sd" not in stored.table.columns


def test_a_file_of_other_columns_is_refused(tmp_path):
    path = tmp_path / FILE
    pl.DataFrame({"stay_id": [1]}).write_parquet(path)
    with pytest.raises(UserError, match="has other columns than a run writes"):
        read_imputations(path, None)
    path.write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_imputations(path, None)
