"""Drug rates and VIS in the batches: channels, masks, fitted on training stays only, counted, refused where there are none."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import torch

from icu_lightning.data.audit import audit, audit_line
from icu_lightning.data.drugs import all_drugs, vis_drugs
from icu_lightning.data.infusions import STATUSES
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.narrow import narrowed
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.errors import UserError
from tests.conftest import composed, settings

CHANNELS = ["dopamine", "dobutamine", "epinephrine", "norepinephrine", "milrinone", "vasopressin", "vis"]
STAYS = 60


def infusion_rows():
    """Every other stay has norepinephrine, of the first two an hour at an unknown rate; some have more drugs, one later than 24 h."""
    usual = {"patientweight": "", "drugamount": "", "volumeoffluid": ""}
    rows = []
    for stay in range(1, STAYS + 1):
        for hour in range(stay % 7, 20) if stay % 2 else ():
            name = "Norepinephrine (mcg/min)"
            rows.append(
                {"patientunitstayid": stay, "infusionoffset": hour * 60, "drugname": name, "drugrate": stay % 9 + 1}
            )
        others = ["Dopamine (mcg/kg/min)", "DOBUTamine (mcg/kg/min)", "Epinephrine (mcg/min)", "Milrinone (mcg/kg/min)"]
        name = [*others, "Vasopressin (units/min)", "Phenylephrine (mcg/min)"][stay % 6]
        rate = {"Dop": 5, "DOB": 4, "Epi": 6, "Mil": 0.5, "Vas": 0.04, "Phe": 40}[name[:3]]
        rows.append({"patientunitstayid": stay, "infusionoffset": 300, "drugname": name, "drugrate": rate})
        rows.append({"patientunitstayid": stay, "infusionoffset": 2000, "drugname": name, "drugrate": rate})
    rows += [
        {"patientunitstayid": stay, "infusionoffset": 30, "drugname": "Dopamine ()", "drugrate": "20-40"}
        for stay in (1, 2)
    ]
    return [row | usual for row in rows]


@pytest.fixture
def infused(write_eicu):
    """A function: changed settings, other infusions, another source -> a data module of a made-up eICU, set up."""
    folders = iter(range(99))

    def make(rows=None, wrap=lambda source: source, **changes):
        folder = write_eicu(stays=STAYS, folder=f"eicu{next(folders)}", infusionDrug=rows or infusion_rows())
        chosen = settings(**({"vis": "mean", "cohort": ["age_known"], "variables": ["heart_rate"]} | changes))
        data = ICUDataModule(wrap(EICU(folder)), chosen, say=pytest.fail)
        data.setup()
        return data

    return make


def of_stay(data, stay, what="vis"):
    part = next(p for p in (data.train, data.val, data.test) if stay in p.stay_id)
    return getattr(part, what)[list(part.stay_id).index(stay)]


def test_channels_are_standardised_log1p_of_the_rates_and_of_the_score(infused):
    data = infused()
    assert list(data.shape.vis) == CHANNELS
    assert data.train.vis.shape == (len(data.train), 24, 7)
    assert data.train.vis.dtype == torch.float32
    known = data.train.vis_observed
    for channel in range(7):
        cells = data.train.vis[..., channel][known[..., channel]]
        assert float(cells.mean()) == pytest.approx(0, abs=1e-4), "zero hours count as well as others"
        assert float(cells.std(correction=0)) == pytest.approx(1, abs=1e-3)
    # stay 3: 4 ug/min from hour 3 on, at 80 kg; milrinone 0.5 from 5 to 7
    units = of_stay(data, 3).numpy() * data.vis_scaler.sd + data.vis_scaler.mean
    rates = np.expm1(units)
    assert rates[2, 6] == pytest.approx(0, abs=1e-4)
    assert rates[4, 3] == pytest.approx(0.05, abs=1e-5)
    assert rates[4, 6] == pytest.approx(5, abs=1e-3)
    assert rates[5, [3, 4, 6]] == pytest.approx([0.05, 0.5, 10], abs=1e-3)


def test_an_unknown_rate_is_not_observed_and_zero(infused):
    data = infused()
    observed = of_stay(data, 1, "vis_observed")
    unknown = [0, CHANNELS.index("vis")]
    assert not observed[0:3, unknown].any(), "from 0:30 to 2:30, two hours of hold"
    assert observed[0:3, 1:6].all()
    assert observed[3:].all()
    assert (of_stay(data, 1)[0:3][:, unknown] == 0).all()


def test_hours_after_leaving_the_unit_or_death_are_masked(infused, write_eicu):
    def shorter(source):
        stays = source.stays
        source.stays = lambda: stays().with_columns(
            los_hours=pl.when(pl.col("stay_id") == 3)
            .then(9.5)
            .when(pl.col("stay_id") == 5)
            .then(None)
            .otherwise("los_hours"),
            death_hours=pl.when(pl.col("stay_id") == 7).then(4.0).otherwise("death_hours"),
        )
        return source

    data = infused(wrap=shorter)
    for stay, hours in {3: 10, 5: 0, 7: 4}.items():
        in_icu, observed = of_stay(data, stay, "in_icu"), of_stay(data, stay, "vis_observed")
        assert in_icu.tolist() == [True] * hours + [False] * (24 - hours)
        assert observed[:hours].all()
        assert not observed[hours:].any()
        assert (of_stay(data, stay)[hours:] == 0).all()


def test_the_extension_is_an_eighth_channel_and_counts_in_the_score(infused):
    data, plain = infused(vis_extended=True), infused()
    assert list(data.shape.vis) == [*CHANNELS[:6], "phenylephrine", "vis"]
    assert data.test.vis.shape[2] == 8
    rows = data.stays["stay_id"] == 11  # phenylephrine 40 ug/min, norepinephrine 3 ug/min, at 80 kg
    assert np.expm1(data.treatments(rows)[0, 5, [6, 7]]) == pytest.approx([0.5, 8.75], abs=1e-5)
    assert np.expm1(plain.treatments(rows)[0, 5, 6]) == pytest.approx(3.75, abs=1e-5)


@pytest.mark.parametrize(("how", "rate"), [("mean", 0.025), ("max", 0.05), ("last", 0.0)])
def test_how_an_hour_is_summarised(infused, how, rate):
    usual = {"patientweight": "", "drugamount": "", "volumeoffluid": "", "drugname": "Norepinephrine (mcg/min)"}
    of_4 = [usual | {"patientunitstayid": 4, "infusionoffset": m, "drugrate": r} for m, r in ((600, 4), (630, 0))]
    data = infused(rows=[*infusion_rows(), *of_4], vis=how)
    rows = data.stays["stay_id"] == 4
    assert np.expm1(data.treatments(rows)[0, 10, 3]) == pytest.approx(rate, abs=1e-6)


def test_without_data_vis_nothing_is_read(infused, monkeypatch):
    monkeypatch.setattr(EICU, "infusions", lambda *_: pytest.fail("infusions were read"))
    data = infused(vis=None)
    assert (data.train.vis, data.train.vis_observed, data.shape.vis) == (None, None, ())
    assert "unknown_unit" not in data.cleaning.columns


def test_perturbed_test_stays_change_nothing_fitted_and_no_training_batch(infused):
    data = infused()
    test = data.test.stay_id.tolist()

    def perturbed(source):
        infusions = source.infusions
        more = pl.when(pl.col("stay_id").is_in(test)).then(pl.col("rate") * 1.7).otherwise("rate")
        source.infusions = lambda drugs: infusions(drugs).with_columns(rate=more)
        return source

    other = infused(wrap=perturbed)
    assert other.vis_scaler.state() == data.vis_scaler.state()
    for batch, touched in zip(data.train_dataloader(), other.train_dataloader(), strict=True):
        assert torch.equal(batch.vis, touched.vis)
        assert torch.equal(batch.vis_observed, touched.vis_observed)
    assert not torch.equal(data.test.vis, other.test.vis), "the perturbation was real"


def test_what_runs_after_the_window_changes_nothing(infused):
    later = [row | {"drugrate": 9} if int(row["infusionoffset"]) >= 24 * 60 else row for row in infusion_rows()]
    data, other = infused(), infused(rows=later)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(data, part).vis, getattr(other, part).vis)


def test_the_cleaning_table_has_a_row_a_drug(infused):
    unknown_stay = infusion_rows()[0] | {"patientunitstayid": 9999}
    rows = [*infusion_rows(), unknown_stay]
    data = infused(rows=rows, vis_extended=True)
    names = [drug.name for drug in vis_drugs(extended=True)]
    table = data.cleaning.filter(pl.col("variable").is_in(names))
    assert table["variable"].to_list() == names
    norepinephrine, dopamine = (table.row(names.index(name), named=True) for name in ("norepinephrine", "dopamine"))
    charted = [row for row in rows if "Norepi" in row["drugname"]]
    assert sum(norepinephrine[status] for status in STATUSES) == len(charted)
    assert norepinephrine["no_stay"] == 1, "of a stay that is not in the patient table"
    assert norepinephrine["converted"] == len(charted) - 1
    assert norepinephrine["latest_hours"] == 19
    assert dopamine["non_numeric"] == 2
    assert dopamine["outside_window"] == sum(
        int(row["infusionoffset"]) == 2000 for row in rows if "Dopa" in row["drugname"]
    )
    hours = [int(((rates > 0) | np.isnan(rates)).sum()) for rates in np.moveaxis(data.extract.rates, -1, 0)]
    assert table["cells"].to_list() == hours
    assert data.cleaning.null_count().drop("latest_hours").sum_horizontal().item() == 0


def test_the_narrow_cache_gives_the_same_rates(infused, tmp_path):
    data = infused()
    other = infused(wrap=lambda source: narrowed(source, tmp_path / "cache", pytest.fail))
    assert np.array_equal(data.extract.rates, other.extract.rates, equal_nan=True)
    assert data.cleaning.equals(other.cleaning)


def test_an_extract_from_the_cache_has_the_rates(infused, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    data = infused(cache_dir=str(folder))
    again = ICUDataModule(data.source, data.settings, say=pytest.fail)
    monkeypatch.setattr("icu_lightning.data.prepared.extract", lambda *_, **__: pytest.fail("built again"))
    again.setup()
    assert np.array_equal(again.extract.rates, data.extract.rates, equal_nan=True)
    assert torch.equal(again.train.vis, data.train.vis)


@pytest.mark.parametrize("database", ["physionet2012", "synthetic"])
def test_a_source_without_infusions_is_refused_in_one_line(database):
    if any(database in drug.charted for drug in all_drugs().values()):
        pytest.skip("it charts infusions")
    conf = composed(f"data={database}", "model=logistic_regression").plain["data"]
    if database == "physionet2012":
        from icu_lightning.data.sources.physionet2012 import PhysioNet2012

        source = PhysioNet2012.__new__(PhysioNet2012)
    else:
        source, _ = source_and_settings(**(conf | {"stays": 50, "vis": "mean"}))
    with pytest.raises(UserError, match=rf"^data={database} charts no infusions \(.*\): set data.vis=null.$"):
        source.infusions(vis_drugs())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vis": "median"}, "Unknown summary of an hour in data.vis 'median'. .*Known: last, max, mean"),
        ({"vis": "maxx"}, "Did you mean 'max'"),
        ({"vis": True}, "Unknown summary of an hour in data.vis 'True'"),
        ({"vis_extended": "yes"}, "data.vis_extended must be true or false"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        settings(**changes)


def test_a_unit_that_nobody_can_read_is_counted_and_listed_and_its_stay_is_there_with_unknown_hours(infused):
    """Per text and drug; the stay keeps its place, its hours are not taken for hours without the drug."""
    usual = {"patientweight": "", "drugamount": "", "volumeoffluid": "", "drugrate": 3}
    odd = [(2, 60, "Norepinephrine (drops/min)"), (2, 120, "Norepinephrine (drops/min)"), (4, 60, "Dopamine (vials)")]
    odd += [(6, 60, "Norepinephrine (drops/min)"), (6, 3000, "Norepinephrine (drops/min)")]  # the last after the window
    rows = [{"patientunitstayid": stay, "infusionoffset": at, "drugname": name, **usual} for stay, at, name in odd]
    data = infused(rows=[*infusion_rows(), *rows])
    listed = {(drug, unit): counts for drug, unit, *counts in data.extract.units.rows()}
    assert listed == {("dopamine", "vials"): [1, 1], ("norepinephrine", "drops/min"): [3, 2]}
    observed = of_stay(data, 2, "vis_observed")
    assert not observed[1:3, [CHANNELS.index("norepinephrine"), CHANNELS.index("vis")]].any()
    assert observed[1:3, CHANNELS.index("dobutamine")].all()
    result = audit(data)
    assert result["unknown_units"] == data.extract.units.to_dicts()
    assert (
        "at an unknown rate: 1 of dopamine in 'vials' (stays: 1), 3 of norepinephrine in 'drops/min' (stays: 2)"
        in audit_line(result)
    )
    assert "cannot be read" not in audit_line(audit(infused()))


def test_a_training_split_without_a_known_rate_is_refused(infused):
    unknown = [row | {"drugrate": "?"} for row in infusion_rows()]
    rows = [row | {"infusionoffset": hour * 60} for row in unknown for hour in range(24) if "Dopa" in row["drugname"]]
    every = [row | {"patientunitstayid": stay} for row in rows[:24] for stay in range(1, STAYS + 1)]
    with pytest.raises(
        UserError, match=r"is an hour's dopamine, vis known: .*hospital_charts_infusions.*data\.vis=null"
    ):
        infused(rows=every)


def test_a_missing_table_of_infusions_is_named(write_eicu):
    chosen = settings(vis="mean", cohort=["age_known"])
    with pytest.raises(UserError, match=r"Table 'infusionDrug' of eICU is missing: looked for infusionDrug.parquet"):
        ICUDataModule(EICU(write_eicu()), chosen).setup()


def test_a_run_keeps_the_scaler_and_audits_it(run_here, write_eicu):
    """The checkpoint is loaded weights-only, so what it holds are tensors and plain values."""
    folder = write_eicu(stays=240, infusionDrug=[
        row | {"patientunitstayid": row["patientunitstayid"] + STAYS * i} for row in infusion_rows() for i in range(4)
    ])  # fmt: skip
    path = run_here(
        "data=eicu", f"data.root={folder}", "model=logistic_regression", "data.vis=max", "data.vis_extended=true", "bootstrap=20",
        "data.variables=[heart_rate]", "data.cache_dir=null",
    )  # fmt: skip
    content = torch.load(path / "checkpoints" / "model.ckpt", weights_only=True)
    assert content["shape"]["vis"] == [*CHANNELS[:6], "phenylephrine", "vis"]
    assert [len(content["vis_scaler"][part]) for part in ("mean", "sd")] == [8, 8]
    cleaning = pl.read_csv(path / "cleaning.csv")
    assert {"norepinephrine", "phenylephrine"} <= set(cleaning["variable"])
    checks = {check["name"]: check["passed"] for check in json.loads((path / "audit.json").read_text())["checks"]}
    assert checks["fitted on train only"] is True
    assert checks["events before prediction"] is True


def test_the_audit_notices_a_scaler_that_saw_other_stays(infused):
    from icu_lightning.data.audit import fitted_on_train

    data = infused()
    assert fitted_on_train(data).passed
    everyone = pl.Series([True] * data.stays.height)
    data.vis_scaler.fit(data.treatments(everyone), data.vis_names)
    assert not fitted_on_train(data).passed


def test_batches_travel_with_their_treatments(infused):
    train = infused().train
    part = train[torch.tensor([0, 2])]
    assert torch.equal(part.vis, train.vis[[0, 2]])
    assert torch.equal(part.vis_observed, train.vis_observed[[0, 2]])
    assert {f.name for f in dataclasses.fields(train)} >= {"vis", "vis_observed"}
