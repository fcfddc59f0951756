"""The whole explanation: for every model of conf/, by globbing; table, summary and figures from one run's data."""

import json
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import torch
from matplotlib.text import Text

from icu_lightning.batch import BatchShape
from icu_lightning.data.drugs import vis_drugs
from icu_lightning.data.vis import vis
from icu_lightning.explanation.bars import bars
from icu_lightning.explanation.explain import explain, not_charted
from icu_lightning.explanation.figures import draw
from icu_lightning.explanation.settings import Settings
from icu_lightning.explanation.single import single_stays, stay_map
from icu_lightning.explanation.subjects import Many, One
from icu_lightning.explanation.summary import by_hour, summary
from icu_lightning.explanation.swarm import swarm
from tests.models.test_every_model import MODELS, fitted

FEW = Settings(stays=12, evaluations=220, background=2, risk="raw", single=2)


def explained(folder, data, model, settings=FEW, calibrator=None, show_stays=True):
    explain(folder, data, model, settings, calibrator=calibrator, bootstrap=20, seed=0, show_stays=show_stays)
    return json.loads((folder / "explanation.json").read_text()), pl.read_parquet(folder / "attributions.parquet")


@pytest.fixture(scope="module")
def data(request):
    make = request.getfixturevalue("synthetic_data")
    return make(400, static=["age", "sex", "unit_type", "weight_kg"], vis="mean")


class OfAge:
    """A risk of age and heart rate; `wrong` is added, a number or a function of the batch."""

    def __init__(self, data, wrong=lambda batch: 0.0):
        self.age, self.wrong = data.shape.static.index("age"), wrong

    def predict(self, batch):
        logit = batch.static[:, self.age].double() + batch.values[..., 0].double().mean(1) - 1
        return (torch.sigmoid(logit) / 2 + self.wrong(batch)).unsqueeze(1)


@pytest.mark.parametrize("name", MODELS)
def test_every_models_risks_are_explained_and_add_up(name, data_of, tmp_path):
    data = data_of(name, 400)
    content, table = explained(tmp_path, data, fitted(name, data, tmp_path / "model", max_epochs=1))
    assert content["adds_up"], content
    assert content["largest_error"] < 1e-9
    assert content["n"] == table["stay_id"].n_unique() == 12
    assert content["evaluations_spent"] <= 12 * 220
    assert 0 < content["base_value"] < 1
    assert content["features"][0]["mean_absolute"] > 0
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {
        "shap_bar.svg", "shap_beeswarm.svg", "shap_stay_1.svg", "shap_stay_2.svg"
    }  # fmt: skip


def test_a_feature_that_is_unknown_of_every_stay_is_told():
    shape = BatchShape(
        hours=1, variables=("a",), static=("age", "sex=f", "sex=unknown", "unit=x", "unit=unknown", "insurance=unknown")
    )
    train, test = (
        SimpleNamespace(static=torch.tensor(rows))
        for rows in ([[0.0, 1, 0, 0, 1, 1]], [[0.5, 0, 1, 0, 1, 1], [0, 1, 0, 0, 1, 1]])
    )
    assert not_charted(shape, (train, test)) == ["unit", "insurance"]
    test.static[0, 3] = 1.0
    assert not_charted(shape, (train, test)) == ["insurance"]


def test_what_is_in_the_files(data, tmp_path):
    content, table = explained(tmp_path, data, OfAge(data))
    assert table.height == 12 * content["players"]
    assert {f["feature"] for f in content["features"][:2]} == {"age", "heart_rate"}
    assert all(f["mean_absolute"] < 1e-9 for f in content["features"][2:])
    sex = next(f for f in content["features"] if f["feature"] == "sex")
    assert sum(c["n"] for c in sex["categories"].values()) == 12
    assert all(c["mean_absolute"] >= abs(c["mean"]) - 1e-12 for c in sex["categories"].values())
    assert sum(c["n"] * c["mean_absolute"] for c in sex["categories"].values()) / 12 == pytest.approx(
        sex["mean_absolute"]
    )
    assert {"vasoactive_drugs", "in_icu", "weight_kg"} <= {f["feature"] for f in content["features"]}
    assert (content["drugs"], content["background"]) == ("together", 2)
    assert content["synthetic"] is True
    assert pl.read_parquet_metadata(tmp_path / "attributions.parquet")["synthetic"] == "true"
    for feature in content["features"]:
        assert feature["low"] <= feature["mean_absolute"] <= feature["high"]
        if feature["kind"] == "series":
            assert feature["values_low"] <= feature["values"] <= feature["values_high"]
            assert feature["mean_absolute"] <= feature["values"] + feature["missingness"] + 1e-12


@pytest.mark.parametrize(("drugs", "feature"), [("apart", "norepinephrine"), ("together", "vasoactive_drugs")])
def test_the_table_says_what_the_stay_had(drugs, feature, data, tmp_path):
    """Values in their units, categories by name, against the frames of the data module."""
    _, table = explained(tmp_path, data, OfAge(data), replace(FEW, drugs=drugs))
    for stay_id in table["stay_id"].unique().to_list():
        row = data.stays["stay_id"].to_list().index(stay_id)
        rows = table.filter(pl.col("stay_id") == stay_id)
        person = data.stays.row(row, named=True)
        assert rows.filter(pl.col("feature") == "age")["value"].item() == pytest.approx(person["age"])
        assert rows.filter(pl.col("feature") == "sex")["category"].item() == (person["sex"] or "unknown")
        assert rows["label"][0] == person["died_in_hospital"]
        for cell in rows.filter(
            (pl.col("kind") == "value") & pl.col("feature").is_in(data.settings.variables)
        ).iter_rows(named=True):
            v = list(data.settings.variables).index(cell["feature"])
            charted = data.values[row, cell["first_hour"] : cell["end_hour"], v]
            assert cell["measured"] == np.isfinite(charted).sum()
            if cell["measured"]:
                assert cell["value"] == pytest.approx(np.nanmean(charted), rel=1e-4)
            else:
                assert cell["value"] is None
        infused = rows.filter((pl.col("feature") == feature) & pl.col("value").is_not_null())
        rates = data.extract.rates[row][..., data.vis_names.index("norepinephrine")]
        if drugs == "together":  # what is told of them all is their score
            rates = vis(data.extract.rates[row], vis_drugs())
        for cell in infused.iter_rows(named=True):
            mean = float(np.nanmean(rates[cell["first_hour"] : cell["end_hour"]]))
            assert cell["value"] == pytest.approx(mean, abs=1e-4, rel=1e-4)


def test_means_weigh_each_stay_by_those_it_stands_for(data, tmp_path):
    content, table = explained(tmp_path, data, OfAge(data))
    age = table.filter(pl.col("feature") == "age")
    expected = np.average(np.abs(age["attribution"].to_numpy()), weights=age["weight"].to_numpy())
    assert next(f for f in content["features"] if f["feature"] == "age")["mean_absolute"] == pytest.approx(expected)
    cells = table.filter(
        (pl.col("feature") == "heart_rate") & (pl.col("kind") == "value") & (pl.col("first_hour") == 0)
    )
    expected = np.average(np.abs(cells["attribution"].to_numpy()), weights=cells["weight"].to_numpy())
    assert by_hour(table)["mean_absolute"]["heart_rate"][0] == pytest.approx(expected)
    assert table["weight"].to_numpy()[:: content["players"]].sum() == pytest.approx(len(data.test))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda batch: 0.01 * torch.rand(len(batch)).double(),  # no promise kept
        lambda batch: torch.full((len(batch),), 1e-3 * (len(batch) % 7)).double(),  # depends on its batch
    ],
    ids=["random", "of the batch"],
)
def test_a_model_that_does_not_add_up_is_told_loudly(wrong, data, tmp_path, capsys):
    content, _ = explained(tmp_path, data, OfAge(data, wrong))
    assert content["adds_up"] is False
    assert content["largest_error"] > content["tolerance"]
    assert "do not add up" in content["warning"]
    assert "WARNING: The attributions do not add up" in capsys.readouterr().out


def test_it_is_said_that_it_adds_up(data, tmp_path, capsys):
    explained(tmp_path, data, OfAge(data))
    said = " ".join(capsys.readouterr().out.split())
    assert "tolerance 1e-06" in said
    assert "12 test stays against 2 training stays" in said


def test_calibrated_risks_are_explained_when_asked_for(data, tmp_path):
    calibrator = SimpleNamespace(transform=lambda raw: raw**2)
    content, table = explained(
        tmp_path,
        data,
        OfAge(data),
        Settings(stays=6, evaluations=220, background=2, risk="calibrated", single=0),
        calibrator,
    )
    raw = OfAge(data).predict(data.test).squeeze(1).numpy()
    of_stay = dict(zip(data.test.stay_id, raw, strict=True))
    assert content["risk"] == "calibrated"
    assert content["adds_up"]
    assert table["risk"].to_numpy() == pytest.approx([of_stay[i] ** 2 for i in table["stay_id"]])


def test_no_single_stay_is_drawn_where_none_may_be_shown(data, tmp_path):
    explained(tmp_path, data, OfAge(data))
    assert list((tmp_path / "plots").glob("shap_stay_*"))
    explained(tmp_path, data, OfAge(data), show_stays=False)
    assert not list((tmp_path / "plots").glob("shap_stay_*")), "nor are those of before left there"
    ids = set(pl.read_parquet(tmp_path / "attributions.parquet")["stay_id"].cast(pl.String))
    for path in (tmp_path / "explanation.json", *(tmp_path / "plots").iterdir()):
        assert not any(f'"{i}"' in path.read_text() for i in ids)


def texts(figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_the_figures_say_what_a_reader_needs(data, tmp_path):
    content, table = explained(tmp_path, data, OfAge(data))
    many = Many(content=content, table=table)
    for figure in (bars(many), swarm(many)):
        said = texts(figure)
        assert "SYNTHETIC" in said
        assert "percentage points" in said
        assert "Heart rate" in said
    assert "risk up" in texts(swarm(many))
    stay = single_stays(table, 1)[0]
    rows = table.filter(pl.col("stay_id") == stay.stay_id)
    said = texts(stay_map(One(rows=rows, content=content, why=stay.why)))
    assert "Heart rate, bpm" in said
    assert "Died in hospital" in said
    assert "Uncalibrated" in said
    assert f"Stay {stay.stay_id}" in said


def test_figures_are_valid_and_the_same_again(data, tmp_path):
    content, table = explained(tmp_path, data, OfAge(data))
    first = {p.name: p.read_bytes() for p in (tmp_path / "plots").iterdir()}
    again = draw(tmp_path / "again", table, content, single=2)
    assert {p.name: p.read_bytes() for p in again} == first
    draw(tmp_path / "again", table, content, single=1, png=True)
    names = {p.name for p in (tmp_path / "again").iterdir()}
    assert {"shap_bar.png", "shap_stay_1.png"} <= names
    assert "shap_stay_2.svg" not in names
    for content_bytes in first.values():
        assert ElementTree.fromstring(content_bytes).tag.endswith("svg")


def test_single_stays_are_chosen_to_teach_and_each_once():
    table = pl.DataFrame(
        {"stay_id": [1, 2, 3, 4, 5], "label": [0.0, 1, 1, 0, 1], "risk": [0.9, 0.2, 0.8, 0.1, 0.5]}
    ).with_columns(patient_id=pl.col("stay_id"), weight=1.0, base_value=0.3)
    assert [c.stay_id for c in single_stays(table, 9)] == [3, 1, 2, 5, 4]
    assert [c.stay_id for c in single_stays(table, 2)] == [3, 1]
    only = table.filter(pl.col("label") == 0)
    assert [c.stay_id for c in single_stays(only, 9)] == [1, 4]


def test_a_model_that_sees_nothing_is_explained_too(data, tmp_path):
    """Every attribution is zero; there is still a summary and a figure."""
    blind = SimpleNamespace(predict=lambda batch: torch.full((len(batch), 1), 0.25))
    content, table = explained(tmp_path, data, blind)
    assert content["adds_up"]
    assert table["attribution"].abs().max() == 0
    assert content["base_value"] == 0.25


def test_the_summary_follows_from_the_table_alone(data, tmp_path):
    content, table = explained(tmp_path, data, OfAge(data))
    facts = {k: content[k] for k in ("source", "risk", "seed")}
    assert summary(table, facts, bootstrap=20, seed=0)["features"] == content["features"]
