"""A transfer as tables, figures and a page: every number there, everything escaped, nothing fetched."""

import html
import json
import re
from pathlib import Path

import polars as pl
import pytest

from icu_lightning.evaluation.stored import check
from icu_lightning.transferring import tables
from icu_lightning.transferring.figures import figures
from icu_lightning.transferring.page import page
from tests.browser import opened
from tests.transferring.conftest import kinship, scored

NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def transfer(make_transfer):
    return make_transfer(facts={"Model": NASTY, "Window": "48 h x 2"}, related=kinship("mimic3", "mimic4"))


@pytest.fixture(scope="module")
def text(transfer):
    return page(transfer, figures(transfer))


def test_predictions_are_a_runs_and_no_patient_is_on_both_sides(transfer):
    check(Path("predictions.parquet"), transfer.predictions)
    sides = {
        split: set(part["patient_id"])
        for (split,), part in transfer.predictions.partition_by("split", as_dict=True).items()
    }
    assert not sides["test"] & sides["train"]
    assert set(transfer.judges.patient_id) == sides["test"]
    assert transfer.before["n"] == len(transfer.judges.label)


def test_every_row_of_a_table_is_as_wide_as_its_heading(transfer):
    for head, rows in (tables.metric_rows(transfer), tables.draw_rows(transfer), tables.narrow_draw_rows(transfer)):
        assert {len(row) for row in rows} == {len(head)}


def test_before_is_what_the_same_stays_say_of_the_risks_as_they_came(transfer):
    from sklearn.metrics import brier_score_loss, roc_auc_score

    judges = transfer.judges
    assert transfer.before["auroc"]["value"] == pytest.approx(roc_auc_score(judges.label, judges.risk), abs=1e-12)
    assert transfer.before["brier"]["value"] == pytest.approx(brier_score_loss(judges.label, judges.risk), abs=1e-12)
    after = {(one.method, one.k): one.metrics for one in transfer.after}
    assert after["intercept", 100]["auroc"]["value"] == pytest.approx(transfer.before["auroc"]["value"], abs=1e-12)
    ratio = transfer.before["observed_to_expected"]["value"]
    assert abs(after["intercept", 100]["observed_to_expected"]["value"] - 1) < abs(ratio - 1)


def test_k_without_room_is_named(transfer):
    assert (transfer.ks, transfer.no_room) == ([50, 100], [5000])
    assert any("No room for k = 5000" in line for line in tables.remarks(transfer))


def test_csv_and_json_hold_every_number_and_the_marks(transfer):
    table = tables.transfer_table(transfer)
    assert table.height == (1 + 2 * 3) * len(tables.METRICS)
    assert set(table["kind"]) == {"shared patients"}
    before = table.filter(recalibration=tables.BEFORE, metric="auroc")
    assert before["value"].item() == transfer.before["auroc"]["value"]
    stored = json.loads(json.dumps(tables.as_json(transfer), allow_nan=False))
    assert stored["external"] is False
    assert "SHARED PATIENTS" in stored["marks"][0]
    assert stored["hospitals"]["over"]["auroc"]["n"] == 6
    hospitals = tables.hospital_table(transfer)
    assert hospitals["stays"].sum() == 600
    assert set(hospitals["kind"]) == {"shared patients"}


def test_hospitals_are_left_out_by_name(make_transfer):
    table = scored().with_columns(
        hospital_id=pl.when(pl.col("stay_id") < 10)
        .then(pl.lit("tiny"))
        .when(pl.col("stay_id") < 40)
        .then(None)
        .otherwise("hospital_id"),
        label=pl.when(pl.col("hospital_id") == "h3").then(0.0).otherwise("label"),
    )
    transfer = make_transfer(table=table, bootstrap=0, draws=1)
    out = tables.left_out(transfer)
    assert out["AUROC"] == {"no deaths": ["h3"], "fewer than 20 stays": ["tiny"]}
    assert out["calibration"] == out["AUROC"]
    assert "Not in the summary of AUROC, no deaths: 1 hospitals (h3)" in tables.left_out_lines(transfer)
    assert "30 stays are of no named hospital, and in none of the summaries." in tables.left_out_lines(transfer)
    assert "tiny" in page(transfer, figures(transfer))


def test_a_database_of_one_hospital_has_no_spread(make_transfer):
    transfer = make_transfer(table=scored(hospitals=0), bootstrap=0, draws=1)
    assert transfer.hospitals is None
    assert tables.hospital_table(transfer) is None
    assert {figure.name for figure in figures(transfer)} == {"calibration", "by_k"}
    assert "names fewer than two hospitals" in page(transfer, [])


def test_a_target_without_deaths_or_with_few_stays_is_told_and_not_a_crash(make_transfer):
    for table in (scored(60).with_columns(label=pl.lit(0.0)), scored(8)):
        transfer = make_transfer(table=table, bootstrap=10)
        assert transfer.ks == [len(transfer.pool.label)]
        made = page(transfer, figures(transfer))
        assert "undefined" in made
        json.dumps(tables.as_json(transfer), allow_nan=False)


def test_figures_carry_the_marks_and_are_the_same_every_time(transfer):
    drawn = figures(transfer)
    assert {figure.name for figure in drawn} == {"calibration", "by_k", "funnel", "forest"}
    for figure, again in zip(drawn, figures(transfer), strict=True):
        assert "SHARED PATIENTS" in figure.svg
        assert figure.svg == again.svg


def test_the_page_is_self_contained_escaped_and_marked(text):
    assert "<script" not in text
    assert html.escape(NASTY) in text
    assert "SHARED PATIENTS" in text
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert not re.search(r"https?://", text)
    assert text.count("data:image/svg+xml;base64,") == 4
    assert "nan" not in re.sub(r"data:image[^\"]*", "", text).lower()


def test_an_external_validation_says_so(make_transfer):
    transfer = make_transfer(bootstrap=0, draws=1)
    assert "External: no patient of eicu had a part in making the model." in page(transfer, figures(transfer))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 390])
def test_in_a_browser_every_figure_is_drawn_and_nothing_is_fetched(width, text, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(text)
    with opened(path, width=width) as shown:
        assert shown.not_drawn() == []
        assert not shown.overflows()
        assert shown.console() == []
        assert shown.requests() == []
