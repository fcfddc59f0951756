"""The report as its readers get it: complete, escaped, self-contained, the same twice, and never a patient in it."""

import html
import json
import re

import numpy as np
import polars as pl
import pytest

from icu_lightning.errors import UserError
from icu_lightning.evaluate import evaluate_runs
from icu_lightning.report.figures import known
from icu_lightning.report.folder import read
from icu_lightning.report.inside import _course, _kept
from icu_lightning.report.performance import METRICS
from icu_lightning.report.sections import sections
from icu_lightning.report.write import pages, write_report
from tests.browser import opened
from tests.report.conftest import AUDIT, EXPLANATION, NASTY, stays

FILES = {"report.html", "report.md", "tripod_ai.md", "model_card.md"}
FIRST = re.compile(r"<header.*?</header>", re.DOTALL)


@pytest.fixture
def made(make_run):
    return pages(read(make_run()))


def test_four_files_the_same_whenever_they_are_made(make_run):
    folder = make_run()
    assert write_report(folder) == folder / "report.html"
    first = {name: (folder / name).read_bytes() for name in FILES}
    write_report(folder)
    assert {name: (folder / name).read_bytes() for name in FILES} == first


def test_page_and_twin_hold_every_section_metric_and_figure(made, make_run):
    run = read(make_run("other"))
    for section in sections(run):
        assert f'id="{section.name}"' in made["report.html"]
        assert f"## {section.title}" in made["report.md"]
    for title, _ in METRICS.values():
        assert title in made["report.html"]
        assert title in made["report.md"]
    for figure in known():
        assert f"![{figure.title}" in made["report.md"]
        assert f"<h3>{figure.title}</h3><img" in made["report.html"]
    assert made["report.html"].count("data:image/svg+xml;base64,") == len(known())
    ids = re.findall(r' id="([^"]*)"', made["report.html"])
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', made["report.html"])) <= set(ids)


def test_errors_of_imputing_stand_in_sds_and_in_each_variables_unit(make_run):
    run = read(make_run())
    folder, made = run.metrics["imputation"], pages(run)
    assert "MAE of the mean" in made["report.md"]
    lines = [line for line in made["report.md"].splitlines() if line.startswith("| Mean arterial pressure, mmHg")]
    assert len(lines) == len(folder) == 3
    for line, of in zip(lines, folder.values(), strict=True):
        assert f"{of['variables']['map']['mae']['value']:.3g}" in line
    assert "<summary>The same of each variable, in its unit</summary>" in made["report.html"]
    for of in folder.values():
        del of["variables"]
    assert "in its unit" not in pages(run)["report.md"]


def test_figures_of_the_twin_are_where_it_says(make_run):
    folder = make_run()
    write_report(folder)
    paths = re.findall(r"\]\(([^)]*)\)", (folder / "report.md").read_text())
    assert len(paths) > len(known())
    for path in paths:
        assert (folder / path).exists(), path


def test_every_row_of_a_markdown_table_has_as_many_cells(made):
    for name in FILES - {"report.html"}:
        tables = re.findall(r"(?:^\|.*\n)+", made[name], re.MULTILINE)
        assert tables
        for table in tables:
            counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            assert len(counts) == 1, table


def test_names_of_the_database_are_text(made):
    assert html.escape(NASTY) in made["report.html"]
    assert "<script>alert" not in made["report.html"]
    assert "<script>alert" not in re.sub(r"\\<", "", made["report.md"])


def test_no_patient_no_stay_and_no_folder_of_the_machine(make_run):
    folder = make_run(data__root="/home/somebody/icu-data", data__cache_dir="/home/somebody/cache")
    table = pl.read_parquet(folder / "predictions.parquet")
    for text in pages(read(folder)).values():
        numbers = set(re.findall(r"\d+", text))
        assert not {str(stay) for stay in table["stay_id"]} & numbers
        assert "person-" not in text
        assert "/home/somebody" not in text
        extremes = {f"{table['risk'].max():.3f}", f"{table['risk'].min():.3f}"}
        assert not extremes & set(re.findall(r"0\.\d{3}", text)), "the ends of the risks are single patients"


def test_nothing_is_fetched(made):
    text = re.sub(r"data:image/svg\+xml;base64,[\w+/=]*", "data:", made["report.html"])
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"""src=["'](?!data:)""", text)
    assert "url(" not in text
    assert "@import" not in text


def test_robustness_is_a_section_where_it_was_asked_for(made, make_run):
    for said in ("Single hours unknown", "40%", "up to 2 h", "0.020"):
        assert said in made["report.md"]
    assert "charted worse?" not in pages(read(make_run("bare", bare=True)))["report.html"]


def test_single_stays_are_linked_and_not_shown(made, make_run):
    for name in ("stays/index.html", "plots/shap_stay_1.svg"):
        assert f'<a href="{name}">' in made["report.html"]
    bare = pages(read(make_run("bare", bare=True)))["report.html"]
    assert "No pages of single stays were made" in bare


def test_what_is_missing_is_a_sentence(make_run):
    made = pages(read(make_run(bare=True)))
    for said in (
        "There is no attrition.csv",
        "no explanation.json",
        "no hours_observed.csv",
        "There is no audit.json",
        "There is no cleaning.csv",
        "This model has no epochs",
        "Not in the run folder: ROC curve, Precision and recall",
    ):
        assert said in made["report.html"], said
        assert said in made["report.md"], said
    assert "There is no leakage audit" in FIRST.search(made["report.html"])[0]


def test_what_is_there_is_told(made):
    text = made["report.html"]
    for said in (
        "123,456",
        "Heart rate",
        "highest AUROC on validation stays, 0.730, in epoch 1",
        '0.610 <span class="interval">(0.500–0.700)',
        '5.12 <span class="interval">(4.11–6.13)',
        "64 test stays (12 deaths) were taken apart",
        "its uncalibrated risk up or down, from the 20.0 % that 8 training stays",
        "What moves no risk at all: Age, years.",
        "within 1e-16 (tolerance 1e-06). Hours are taken 8 at a time; the model was asked 37,530 times",
        "Sex: male",
        "torch",
        "2.13.0",
    ):
        assert said in text, said


def test_synthetic_stays_are_called_so_on_the_first_screen(made, make_run):
    synthetic = pages(read(make_run("s", synthetic=True)))
    assert "SYNTHETIC DATA" in FIRST.search(synthetic["report.html"])[0]
    assert all("SYNTHETIC" in text for text in synthetic.values())
    assert not any("SYNTHETIC" in text for text in made.values())


def test_a_failed_audit_is_on_the_first_screen_and_takes_the_verdict(make_run):
    failed = {"name": "patients disjoint", "passed": False, "said": "4 of 758 on two sides"}
    made = pages(read(make_run(audit=AUDIT | {"checks": [failed, *AUDIT["checks"]]})))
    first = FIRST.search(made["report.html"])[0]
    assert "LEAKAGE AUDIT FAILED" in first
    assert "4 of 758 on two sides" in first
    assert "do not rely on them" in first
    assert "LEAKAGE AUDIT FAILED" in made["report.md"]
    assert "FAILED" not in FIRST.search(pages(read(make_run("passed")))["report.html"])[0]


@pytest.mark.parametrize("deaths", [0.0, 1.0])
def test_test_stays_of_one_class(deaths, make_run):
    table = stays().with_columns(label=pl.when(pl.col("split") == "test").then(deaths).otherwise("label"))
    made = pages(read(make_run(table=table)))
    first = FIRST.search(made["report.html"])[0]
    assert "cannot be said" in first
    assert f"only {'deaths' if deaths else 'survivors'} among 600 stays" in first


def test_few_deaths_are_a_warning(make_run):
    assert (
        "every number here is uncertain"
        in FIRST.search(pages(read(make_run(table=stays(rate=0.05))))["report.html"])[0]
    )


def folded(n=4) -> pl.DataFrame:
    """Test stays only, in folds of patients with thresholds of their own."""
    fold = pl.col("patient_id").str.slice(-1).cast(pl.Int32) % n
    return stays().with_columns(split=pl.lit("test"), fold=fold, threshold=0.2 + fold / 100)


def test_folds_are_told_of_a_runs_own_pooled_predictions_only(made, make_run):
    assert "Fold by fold" not in made["report.html"]
    folder = make_run("folds", table=folded(), cv=4)
    pooled = pages(read(folder))
    for text in (pooled["report.html"], pooled["report.md"]):
        assert "Fold by fold" in text
        assert "Each fold has a threshold of its own" in text
        assert read(folder).stored.sha256[:12] in text
    (folder / "explanation.json").unlink()
    assert "icu_lightning.explain run=folds/fold-0" in pages(read(folder))["report.html"]
    altered = pl.read_parquet(folder / "predictions.parquet").with_columns(risk=pl.col("risk") / 2)
    altered.write_parquet(folder / "predictions.parquet", metadata={"outcome": "died_in_hospital"})
    with pytest.raises(UserError, match="not the file that its run wrote"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.json", "{", "is not finished"),
        ("audit.json", "{", "is no valid JSON"),
        ("attrition.csv", "", "cannot be read as CSV"),
    ],
)
def test_a_damaged_run_is_refused_by_the_files_name(name, content, said, make_run):
    folder = make_run()
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=said):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_evaluate_says_that_a_report_is_of_before(make_run, capsys):
    folder = make_run()
    evaluate_runs([folder], 10, 50)
    assert "report.html" not in capsys.readouterr().out
    write_report(folder)
    evaluate_runs([folder], 10, 50)
    assert f"python -m icu_lightning.report run={folder}" in capsys.readouterr().out


def test_numbers_are_those_of_the_run(make_run):
    folder = make_run()
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    text = pages(read(folder))["report.html"]
    assert set(METRICS) == {
        name for name, cell in metrics.items() if isinstance(cell, dict) and cell.keys() == {"value", "low", "high"}
    }
    for name in METRICS:
        assert f'data-value="{metrics[name]["value"]}"' in text, name
    rows = pl.read_parquet(folder / "predictions.parquet").filter(pl.col("split") == "test")
    flagged, died = (rows["risk"] >= rows["threshold"]).to_numpy(), rows["label"].to_numpy() == 1
    counts = [int(np.sum(side & alarm)) for side in (died, ~died) for alarm in (flagged, ~flagged)]
    table = re.search(r"Alarms at the stored threshold.*?</table>", text, re.DOTALL)[0]
    shown = [int(n) for n in re.findall(r'data-value="(\d+)"', table)]
    assert [shown[i] for i in (0, 1, 3, 4)] == counts


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(width, make_run, tmp_path):
    path = write_report(make_run())
    with opened(path, width=width, phone=width < 500) as page:
        assert page.console() == []
        assert page.requests() == []
        assert not page.overflows()
        assert page.not_drawn() == []
        assert page.run("return document.querySelectorAll('svg, figure img').length") >= len(known()) + 3
        assert page.unsorted() == []
        assert page.pdf().startswith(b"%PDF")
        assert (page.console(), page.requests()) == ([], [])


def test_an_undersampled_run_says_what_was_left_out_and_corrected(make_run, made):
    table = stays().with_columns(
        split=pl.when((pl.col("split") == "train") & (pl.col("label") == 0) & (pl.col("stay_id") % 3 > 0))
        .then(pl.lit("left_out"))
        .otherwise("split"),
        risk_prior=pl.col("risk_raw") / 2,
    )
    gone = table.filter(pl.col("split") == "left_out").height
    counts = {"per_death": 1, "deaths": 60, "survivors": gone + 80, "left_out": gone}
    page = pages(read(make_run("undersampled", table, audit=AUDIT | {"undersampled": counts}, data__undersample=1)))
    for name in ("report.html", "report.md"):
        assert f"{gone:,} training survivors were left out at random" in page[name]
        assert "prior-corrected" in page[name]
        assert "Prior-corrected, before calibration: " in page[name]
        assert "Training, left out at random" in page[name]
        assert f"{gone:,} of {gone + 80:,}, beside 60 deaths" in page[name]
        assert "rior-corrected" not in made[name]
    for name in ("tripod_ai.md", "model_card.md"):
        assert "data.undersample=1" in page[name]
    header = page["report.md"].split("| Metric | calibrated |")[1].splitlines()[0]
    assert header.split("|")[:2] == [" prior-corrected ", " raw "]


def test_an_explanation_that_does_not_add_up_or_is_of_another_version_says_so(make_run):
    assert "Sex: other" not in pages(read(make_run()))["report.html"], "three stays"
    folder = make_run("wrong")
    for content, said in (
        (
            EXPLANATION | {"warning": "The attributions do not add up: off by 0.1."},
            "The attributions do not add up: off by 0.1.",
        ),
        (EXPLANATION | {"not_charted": ["sex"]}, "Unknown of every stay, because this database does not chart it"),
        ({"features": []}, "explanation.json is of another version"),
        ([1], "explanation.json is of another version"),
    ):
        (folder / "explanation.json").write_text(json.dumps(content))
        made = pages(read(folder))
        assert f"> **{said}" in made["report.md"]
        assert said in made["report.html"]


def test_a_run_without_test_stays_has_a_report_too(make_run):
    folder = make_run("untested", stays().filter(pl.col("split") != "test"))
    write_report(folder)
    assert "it cannot be said whether the model foresees anything" in (folder / "report.html").read_text()


def test_units_that_nobody_could_read_and_components_that_were_not_measured_are_listed(make_run):
    units = [{"drug": "norepinephrine", "unit": unit, "infusions": 12, "stays": 5} for unit in ("<drops>", None)]
    units.append({"drug": "dopamine", "unit": "somebody's words", "infusions": 98765, "stays": 4})
    components = [{"score": "sofa", "component": "liver", "scored": 1234, "missing": 567}]
    folder = make_run(audit=AUDIT | {"unknown_units": units, "missing_components": components})
    write_report(folder)
    page, twin = ((folder / name).read_text() for name in ("report.html", "report.md"))
    assert "&lt;drops&gt;" in page
    for text in ("somebody", "98,765"):
        assert text not in page + twin, "of a handful of stays"
    for text in (
        "norepinephrine",
        "no unit",
        "dopamine",
        "liver",
        "1,234",
        "567",
        "counts 0 points",
        "a rate that is not known",
    ):
        assert text in page
        assert text in twin


def test_the_kept_epoch_is_told_with_what_chose_it(tmp_path):
    """Not that of the highest AUROC, which a predictor of filled series does not keep."""
    assert _kept(tmp_path) == ""
    for stage, told in {"fit": {"val/loss": 0.2345}, "imputer": {"val/loss": 0.5}}.items():
        (tmp_path / "checkpoints" / stage).mkdir(parents=True)
        (tmp_path / "checkpoints" / stage / "finished.json").write_text(
            json.dumps({"epochs": 9, "best_epoch": 4, **told})
        )
    assert _kept(tmp_path) == (
        " Kept are the weights of fit: epoch 4, by val/loss (0.234); imputer: epoch 4, by val/loss (0.500)."
    )


def test_epochs_of_an_earlier_run_are_told_to_be_its():
    history = pl.DataFrame(
        {"stage": ["imputer (reused)"] * 3 + ["fit"], "epoch": [0, 1, 2, 0], "val/loss": [0.5, 0.4, 0.3, 0.2]}
    )
    assert _course(history) == (
        "4 epochs in 2 stages; 3 of them, marked (reused), are of an earlier run on the same stays, with the same settings and seed."
    )
