"""What lands in the run folder, and what does not."""

import dataclasses

import polars as pl
import pytest

from icu_lightning import runfolder
from icu_lightning.errors import UserError
from icu_lightning.examination.choices import choices
from icu_lightning.examination.write import look_closer


class Closed:
    """A source of patients who were not asked."""

    synthetic = open_data = False

    def __init__(self, source) -> None:
        self.name = source.name


def config_of(run, **report):
    return {**runfolder.configuration(run), "report": report}


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


PLOTS = ["hours_observed.csv", "plots/embedding.svg", "plots/hours_observed.svg"]
STAYS = [*(f"stays/{n}.html" for n in range(1, 5)), "stays/index.html"]


def test_all_of_it_and_the_same_again_to_the_byte(it, run, tmp_path):
    said = []
    for name in ("one", "two"):
        look_closer(tmp_path / name, config_of(run), it, said.append)
    assert said == []
    assert written(tmp_path / "one") == [*PLOTS, *STAYS]
    for name in written(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    look_closer(tmp_path / "one", config_of(run, stays=1), it, said.append)
    assert written(tmp_path / "one") == [*PLOTS, "stays/1.html", "stays/index.html"], "pages of before are gone"


@pytest.mark.parametrize(
    ("report", "shown"), [({}, False), ({"stay_pages": "never"}, False), ({"stay_pages": "always"}, True)]
)
def test_patients_are_shown_only_if_asked_for_and_then_without_ids(it, run, tmp_path, report, shown, monkeypatch):
    said = []
    monkeypatch.setattr(it.data, "source", Closed(it.data.source))
    look_closer(tmp_path, config_of(run, **report), it, said.append)
    assert written(tmp_path) == ([*PLOTS, *STAYS] if shown else PLOTS)
    assert any("Single stays are not shown" in line for line in said) != shown
    text = "".join((tmp_path / name).read_text() for name in written(tmp_path))
    ids = [*it.test["stay_id"].cast(str), *it.test["patient_id"]]
    assert not [name for name in ids if name in text], "an id is in one of the files"


def test_one_outcome_is_a_sentence_and_a_figure_of_before_is_gone(it, run, tmp_path):
    said = []
    for test in (it.test, it.test.with_columns(label=pl.lit(0.0))):
        look_closer(tmp_path, config_of(run, stays=0, embedding=0), dataclasses.replace(it, test=test), said.append)
    assert written(tmp_path) == ["hours_observed.csv"]
    assert said == ["plots/hours_observed.svg is not drawn: the test stays all have one outcome."]


def test_what_is_not_wanted_is_not_made(it, run, tmp_path):
    look_closer(tmp_path, config_of(run, stays=0, embedding=0), it, print)
    assert written(tmp_path) == ["hours_observed.csv", "plots/hours_observed.svg"]


def test_no_test_stays_is_a_sentence(it, run, tmp_path):
    said = []
    look_closer(tmp_path, config_of(run), dataclasses.replace(it, test=it.test.head(0)), said.append)
    assert written(tmp_path) == []
    assert said == ["There are no test stays, so there is nothing to look at more closely."]


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"stays": -1}, "report.stays must be a whole number of at least 0"),
        ({"embedding": "many"}, "report.embedding must be a whole number"),
        ({"hours_observed": 6}, "report.hours_observed must be a list of hours"),
        ({"hours_observed": [0]}, "An hour in report.hours_observed must be a whole number of at least 1"),
        ({"stay_pages": True}, "Unknown choice in report.stay_pages 'True'"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused(report, message):
    with pytest.raises(UserError, match=message):
        choices({"report": report})
