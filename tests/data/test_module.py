"""Laws of the data module: no leak from test to train, in no direction; and what cannot be learnt from is refused."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch

from icu_lightning.batch import StayBatch, hours_since_last
from icu_lightning.data.audit import audit, audit_line
from icu_lightning.data.loader import TrainingData
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.splits import LEFT_OUT
from icu_lightning.errors import NotFittedError, UserError
from tests.conftest import composed, settings


class Perturbed:
    """A source whose stays of the given ids have other measurements, ages and categories."""

    synthetic = True

    def __init__(self, source, ids) -> None:
        self.source, self.ids, self.name = source, list(ids), source.name
        self.collect, self.fingerprint = source.collect, source.fingerprint

    def stays(self):
        chosen = pl.col("stay_id").is_in(self.ids)
        return self.source.stays().with_columns(
            age=pl.when(chosen).then(17.0).otherwise("age"),
            ethnicity=pl.when(chosen).then(pl.lit("new")).otherwise("ethnicity"),
        )

    def events(self, concepts):
        chosen = pl.col("stay_id").is_in(self.ids)
        return self.source.events(concepts).with_columns(
            value=pl.when(chosen).then(pl.col("value") * 1.3).otherwise("value")
        )


def assert_same(one: StayBatch, other: StayBatch) -> None:
    for f in dataclasses.fields(StayBatch):
        assert np.array_equal(np.asarray(getattr(one, f.name)), np.asarray(getattr(other, f.name))), f.name


def uncached(data):
    """The settings of a source that was changed: under its own key it would be given what another has kept."""
    return dataclasses.replace(data.settings, cache_dir=None)


def test_patients_are_disjoint(synthetic_data):
    data = synthetic_data(1000)
    sides = [set(part.patient_id) for part in (data.train, data.val, data.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert sum(len(part) for part in (data.train, data.val, data.test)) == data.stays.height


@pytest.mark.parametrize("outliers", ["range", "iqr"])
def test_perturbed_test_patients_change_nothing_fitted_and_no_training_batch(outliers, synthetic_data):
    data = synthetic_data(outliers=outliers)
    touched = ICUDataModule(Perturbed(data.source, data.test.stay_id.tolist()), uncached(data), seed=0)
    touched.setup()
    assert touched.outliers.state() == data.outliers.state()
    assert touched.scaler.state() == data.scaler.state()
    assert touched.encoder.state() == data.encoder.state()
    for batch, other in zip(data.train_dataloader(), touched.train_dataloader(), strict=True):
        assert_same(batch, other)
    assert not torch.equal(data.test.values, touched.test.values), "the perturbation was real"


def test_the_scaler_makes_training_cells_standard(synthetic_data):
    train = synthetic_data().train
    for v in range(train.values.shape[2]):
        cells = train.values[..., v][train.observed[..., v]]
        assert float(cells.mean()) == pytest.approx(0, abs=1e-3)
        assert float(cells.std()) == pytest.approx(1, abs=1e-2)


def test_evaluation_refuses_an_unfitted_scaler(synthetic_data):
    """The public original loads its test split without the training split, and so evaluates unscaled data."""
    data = synthetic_data()
    fresh = ICUDataModule(data.source, data.settings, seed=0)
    fresh.stays, fresh.values = data.stays, data.values
    with pytest.raises(NotFittedError):
        fresh._tensors(data.stays["split"] == "test")


def test_nothing_at_or_after_the_prediction_time_is_seen(synthetic_data):
    """Events after the window, multiplied by 100, change nothing."""
    data = synthetic_data()

    class Later(Perturbed):
        def events(self, concepts):
            late = pl.col("hours") >= data.settings.hours
            return self.source.events(concepts).with_columns(
                value=pl.when(late).then(pl.col("value") * 100).otherwise("value")
            )

    touched = ICUDataModule(Later(data.source, [-1]), uncached(data), seed=0)
    touched.setup()
    assert_same(data.train, touched.train)
    assert_same(data.test, touched.test)


EARLIER = {"outliers": "iqr", "vis": "mean", "static": ["age", "sofa"], "hours": 30}


@pytest.mark.parametrize("hidden", [None, {"pattern": "block", "rate": 0.3, "seed": 0}])
def test_earlier_after_the_whole_window_is_the_batch_itself(hidden, synthetic_data):
    data = synthetic_data(**EARLIER, held_out=hidden)
    assert_same(data.earlier(data.stays["split"] == "test", 30), data.test)
    assert_same(data.earlier(data.stays["split"] == "train", 30), data.train)
    data = synthetic_data(
        **EARLIER | {"outliers": "range"}, held_out=hidden
    )  # so that none is missing until a neighbour is seen
    cut = data.earlier(data.stays["split"] == "test", 12)
    assert torch.equal(cut.observed[:, :12] | cut.held_out[:, :12], data.measured["test"].observed[:, :12])
    assert not cut.held_out[:, 12:].any()


def test_earlier_after_the_whole_window_is_the_batch_itself_of_who_was_left_out_of_training_too(synthetic_data):
    data = synthetic_data(**EARLIER, held_out={"pattern": "mcar", "rate": 0.3, "seed": 0}, undersample=1)
    assert len(data.left_out)
    assert_same(data.earlier(data.stays["split"] == LEFT_OUT, 30), data.left_out)


@pytest.mark.parametrize("hours", [1, 6, 24, 29])
def test_earlier_sees_nothing_of_what_came_later(synthetic_data, hours):
    """Whatever the later hours and the first day's score are, the batch is the same, outliers repaired from earlier ones only."""
    data = synthetic_data(**EARLIER)
    rows = data.stays["split"] == "test"
    before = data.earlier(rows, hours)
    rng = np.random.default_rng(0)
    data.extract.values[:, hours:] = rng.normal(70, 40, data.extract.values[:, hours:].shape)
    data.extract.rates[:, hours:] = 1.0
    if hours < 24:
        data.stays = data.stays.with_columns(sofa=pl.lit(23))
    assert_same(data.earlier(rows, hours), before)
    for later in (before.observed, before.values, before.in_icu, before.vis, before.vis_observed):
        assert not later[:, hours:].any()
    assert torch.equal(before.hours_since, hours_since_last(before.observed))
    sofa = before.static[:, data.shape.static.index("sofa")]
    assert (sofa == 0).all() == (hours < 24)
    assert before.observed[:, :hours].any()


def test_everyone_is_alive_and_in_the_unit_at_the_prediction_time(synthetic_data):
    data = synthetic_data(2000)
    assert data.train.in_icu.all()
    assert (data.stays["los_hours"] >= data.settings.hours).all()
    assert (data.stays["death_hours"].drop_nulls() > data.settings.hours).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hours": 0}, "data.hours must be a whole number"),
        ({"hours": 1.5}, "data.hours must be a whole number"),
        ({"batch_size": 0}, "data.batch_size"),
        ({"outcome": "died"}, "Unknown outcome in data.outcome 'died'"),
        ({"fractions": [0.7, 0.1, 0.1]}, "sum to 1"),
        ({"fractions": [1.0, 0.0, 0.0]}, "three positive shares"),
        ({"variables": "map"}, "data.variables must be a list"),
        ({"cohort": "age_known"}, "data.cohort must be a list"),
        ({"outliers": "zscore"}, "Unknown rule in data.outliers 'zscore'"),
        ({"static": "age"}, "data.static must be a list"),
        ({"static": ["insurence"]}, "Unknown feature in data.static 'insurence'. Did you mean 'insurance'"),
        ({"static": ["age", "age"]}, "data.static must name each feature once"),
        ({"split": "stay"}, "Unknown split in data.split 'stay'"),
        ({"fractions": 0.7}, "data.fractions must be a list"),
        ({"fractions": ["a", "b", "c"]}, "three positive shares"),
        ({"variables": ["foo"]}, "Unknown variable in data.variables 'foo'"),
        ({"cohort": ["adults"]}, "Unknown filter in data.cohort 'adults'"),
        ({"held_out": 0.3}, "data.held_out is null, or has a pattern, a rate and a seed"),
        ({"held_out": {"pattern": "mcar"}}, "has a pattern, a rate and a seed"),
        ({"held_out": {"pattern": "mcar", "rate": 0.3, "sede": 1}}, "has a pattern, a rate and a seed"),
        ({"held_out": {"pattern": "mcr", "rate": 0.3}}, "Unknown pattern in data.held_out 'mcr'. Did you mean 'mcar'"),
        ({"held_out": {"pattern": "mcar", "rate": 30}}, "rate in data.held_out must be between 0 and 1"),
        ({"held_out": {"pattern": "mcar", "rate": True}}, "rate in data.held_out must be between 0 and 1"),
        ({"held_out": {"pattern": "mcar", "rate": 0.3, "seed": -1}}, "data.held_out.seed must be a whole number"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        settings(**changes)


def test_a_training_split_of_one_class_is_refused(synthetic_data):
    data = synthetic_data()
    alive = Perturbed(data.source, [])
    alive.stays = lambda: data.source.stays().with_columns(died_in_hospital=pl.lit(False))
    with pytest.raises(UserError, match=r"has 1 of the 2 classes of died_in_hospital among \d+ stays"):
        ICUDataModule(alive, uncached(data), seed=0).setup()


def test_a_cohort_that_keeps_unknown_outcomes_is_refused(synthetic_data):
    data = synthetic_data()
    unknown = Perturbed(data.source, [])
    unknown.stays = lambda: data.source.stays().with_columns(
        died_in_hospital=pl.when(pl.col("stay_id") % 10 > 2).then("died_in_hospital")
    )
    chosen = dataclasses.replace(uncached(data), cohort=["age_known"])
    with pytest.raises(UserError, match="add '- outcome_known: died_in_hospital'"):
        ICUDataModule(unknown, chosen, seed=0).setup()


@pytest.mark.parametrize(("key", "near"), [("rot", "data.root"), ("hour", "data.hours")])
def test_a_setting_that_nobody_knows_is_refused(key, near):
    with pytest.raises(UserError, match=f"Did you mean '{near}'"):
        source_and_settings("icu_lightning.data.sources.eicu.EICU", root=None, **{key: 1})


def test_a_configuration_of_another_version_is_told_as_such():
    conf = composed("data=eicu").plain["data"]
    for key in ("fold", "root"):
        with pytest.raises(UserError, match=rf"data\.{key} is missing: .* another version"):
            source_and_settings(**{name: value for name, value in conf.items() if name != key})


@pytest.mark.parametrize("name", ["icu_lightning.data.sources.eicu.EIC", "nowhere.Source", "Source"])
def test_a_source_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match=r"data.source: there is no"):
        source_and_settings(name)


def test_any_static_features_reach_the_batches_in_their_order(synthetic_data):
    data = synthetic_data(static=["weight_kg", "unit_type", "insurance"])
    units = [name for name in data.shape.static if name.startswith("unit_type=")]
    assert data.shape.static[0] == "weight_kg"
    assert data.shape.static[1:6] == tuple(units)
    assert data.shape.static[6:] == ("insurance=medicaid", "insurance=medicare", "insurance=other", "insurance=unknown")
    assert data.train.static.shape == (len(data.train), 10)
    assert data.train.static[:, 0].mean() == pytest.approx(0, abs=1e-4)
    assert (data.train.static[:, 1:6].sum(1) == 1).all()
    assert (data.train.static[:, 6:].sum(1) == 1).all()


def test_outliers_are_replaced_counted_and_gone_from_the_batches(synthetic_data):
    data = synthetic_data(outliers="iqr")
    counts = data.cleaning.filter(pl.col("variable").is_in(data.settings.variables))
    changed = (data.values != data.extract.values) & np.isfinite(data.extract.values)
    assert counts["outlier_replaced"].sum() > 100
    assert (counts["outlier_replaced"] + counts["outlier_removed"]).to_list() == changed.sum((0, 1)).tolist()
    assert counts["cells"].to_list() == np.isfinite(data.values).sum((0, 1)).tolist()
    most = data.scaler.transform(np.asarray(data.outliers.high, dtype=np.float32)[None, None])
    for part in (data.train, data.val, data.test):
        assert (part.values <= torch.from_numpy(most) + 1e-4).all()


def test_plausible_ranges_alone_change_nothing_and_count_nothing(synthetic_data):
    data = synthetic_data()
    assert np.array_equal(data.values, data.extract.values, equal_nan=True)
    assert data.cleaning.select(pl.col("outlier_replaced", "outlier_removed").sum()).row(0) == (0, 0)
    assert data.cleaning["cells"].equals(data.extract.cleaning["cells"])


def test_hospitals_are_on_one_side_where_asked_for(synthetic_eicu):
    data = ICUDataModule(EICU(synthetic_eicu), settings(split="hospital", fractions=[0.7, 0.15, 0.15]), seed=0)
    data.setup()
    sides = [set(part["hospital_id"]) for part in data.stays.partition_by("split")]
    assert len(sides) == 3
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_cells_of_validation_and_test_stays_are_hidden_and_those_of_training_stays_are_not(synthetic_data):
    hidden = {"pattern": "mcar", "rate": 0.5, "seed": 3}
    whole, data = synthetic_data(), synthetic_data(held_out=hidden)
    assert_same(data.train, whole.train)
    assert data.scaler.state() == whole.scaler.state()
    for name in ("val", "test"):
        part, measured = getattr(data, name), data.measured[name]
        assert_same(measured, getattr(whole, name))
        assert torch.equal(part.observed | part.held_out, measured.observed)
        assert not (part.observed & part.held_out).any()
        assert (part.values[part.held_out] == 0).all()
        assert part.held_out.sum() / measured.observed.sum() == pytest.approx(0.5, abs=0.02)
    other_method = ICUDataModule(data.source, dataclasses.replace(data.settings, batch_size=7), seed=99)
    other_method.setup()
    assert torch.equal(other_method.test.held_out, data.test.held_out), "the same cells, whoever imputes them"
    assert data.settings.plain["held_out"] == {"pattern": "mcar", "rate": 0.5, "seed": 3}


def test_no_copy_of_a_hidden_cell_is_seen_or_scored(synthetic_data):
    """What replaces an outlier is another hour's value: that hour hidden, it would tell the truth, and be the truth of its own."""
    hidden = {"pattern": "mcar", "rate": 0.3, "seed": 0}
    whole, data = (synthetic_data(outliers="iqr", held_out=cells) for cells in (None, hidden))
    for name in ("val", "test"):
        copied = torch.from_numpy(whole.copied[(whole.stays["split"] == name).to_numpy()])
        seen, part = getattr(whole, name), getattr(data, name)
        assert copied.any()
        assert (copied & ~seen.observed).sum() == 0, "models that are not scored on hidden cells have them"
        for batch in (whole.measured[name], part):
            assert not (copied & (batch.observed | batch.held_out)).any()
        assert torch.equal(part.observed | part.held_out, seen.observed & ~copied)
    assert_same(data.train, whole.train)


def test_cells_of_stays_that_a_trained_model_is_applied_to_are_not_hidden(synthetic_data):
    data = synthetic_data()
    again = ICUDataModule(data.source, dataclasses.replace(data.settings, held_out={"pattern": "hour", "rate": 0.1}))
    with pytest.raises(UserError, match="none of these: leave it out"):
        again.apply(data.state())


def test_undersampling_touches_the_training_stays_alone(synthetic_data):
    """And everything is fitted on those that remain, of which the audit makes sure."""
    whole, data = synthetic_data(1000), synthetic_data(1000, undersample=1)
    for name in ("val", "test"):
        assert getattr(data, name).stay_id.tolist() == getattr(whole, name).stay_id.tolist()
        assert np.array_equal(getattr(data, name).observed, getattr(whole, name).observed)
    assert sorted([*data.train.stay_id, *data.left_out.stay_id]) == sorted(whole.train.stay_id)
    assert len(whole.left_out) == 0
    assert not data.left_out.label.any()
    deaths, survivors = int(whole.train.label.sum()), int((1 - whole.train.label).sum())
    assert (int(data.train.label.sum()), len(data.train)) == (deaths, 2 * deaths)
    assert data.prior_odds == pytest.approx(deaths / survivors)
    assert TrainingData.of(data, 8, 0).prior_odds == data.prior_odds  # what a model sees
    assert whole.prior_odds is None
    assert data.scaler.state() != whole.scaler.state()


def test_undersampling_that_asks_for_more_than_there_are_changes_nothing(synthetic_data):
    whole, data = synthetic_data(), synthetic_data(undersample=1000)
    assert data.prior_odds == 1
    assert data.scaler.state() == whole.scaler.state()
    assert_same(data.train, whole.train)


@pytest.mark.parametrize("asked", [True, 0, -1, "one", float("inf"), float("nan"), [1]])
def test_what_cannot_be_a_number_of_survivors_is_refused(asked):
    with pytest.raises(UserError, match=r"data\.undersample is how many training survivors are kept for each death"):
        settings(undersample=asked)


class Without:
    """A source in which some variables were never measured, and nothing at all of some stays."""

    synthetic = True

    def __init__(self, source, variables=(), ids=()) -> None:
        self.source, self.variables, self.ids, self.name = source, list(variables), list(ids), source.name
        self.collect, self.fingerprint, self.stays = source.collect, source.fingerprint, source.stays

    def events(self, concepts):
        gone = pl.col("variable").is_in(self.variables) | pl.col("stay_id").is_in(self.ids)
        return self.source.events(concepts).filter(~gone)


def test_a_variable_that_was_never_measured_is_refused_or_dropped_on_request(synthetic_data):
    source, said = Without(synthetic_data(400).source, ["sodium"]), []
    with pytest.raises(UserError, match=r"No training stay has a value of sodium: .*data\.never_measured=drop"):
        ICUDataModule(source, settings()).setup()
    data = ICUDataModule(source, settings(never_measured="drop"), say=said.append)
    data.setup()
    assert "Left out, because no training stay has a value of it: sodium." in said
    assert data.shape.variables == tuple(name for name in settings().variables if name != "sodium")
    assert data.train.values.shape[2] == data.shape.n_variables == 10
    assert list(data.settings.plain["variables"]) == list(data.shape.variables), (
        "a checkpoint asks for what it was trained on"
    )
    everywhere = ICUDataModule(synthetic_data(400).source, settings(never_measured="drop"))
    everywhere.setup()
    assert everywhere.shape.n_variables == 11


def test_with_no_variable_left_the_scaler_refuses(synthetic_data):
    source = Without(synthetic_data(400).source, settings().variables)
    with pytest.raises(UserError, match="No training stay has a value of heart_rate"):
        ICUDataModule(source, settings(never_measured="drop")).setup()


def test_what_is_done_before_the_split_is_done_with_all_stays_and_told_as_a_leak(synthetic_data):
    source = synthetic_data(2000).source  # some patients have a stay that is left out and one that is not
    paper = composed("data=synthetic", "protocol=paper", "model=logistic_regression").plain["data"]
    _, chosen = source_and_settings(**paper | {"cache_dir": None})
    data = ICUDataModule(source, chosen)
    data.setup()
    for part in (data.train, data.val, data.test):
        assert part.label.mean() == pytest.approx(0.5, abs=0.1), "balanced on every side"
    assert int(data.stays["died_in_hospital"].sum()) == sum(
        int(p.label.sum()) for p in (data.train, data.val, data.test)
    )
    assert len(data.left_out) > 0
    assert data.left_out.label.sum() == 0
    assert data.prior_odds is None
    kept = data.stays.filter(pl.col("split") != "left_out")
    assert kept.group_by("patient_id").agg(pl.col("split").n_unique())["split"].max() == 1
    checks = {check["name"]: check for check in audit(data)["checks"]}
    assert checks["patients disjoint"]["passed"] is True
    assert checks["fitted on train only"]["passed"] is False
    assert "outlier bounds of all" in checks["fitted on train only"]["said"]
    assert checks["cohort known at prediction"]["passed"] is False
    assert "survivors left out before the split at random" in audit_line(audit(data))


def test_the_clean_protocol_does_nothing_before_the_split():
    assert composed("protocol=clean").plain["data"]["before_split"] == []
    assert composed().plain == composed("protocol=clean").plain
    with pytest.raises(UserError, match=r"data\.undersample says nothing"):
        settings(before_split=["undersample"])
    with pytest.raises(UserError, match=r"Unknown step in data.before_split 'outlier'. Did you mean 'outliers'"):
        settings(before_split=["outlier"])
