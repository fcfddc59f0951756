"""Experiments that bring the lines of their sweep: what is typed beside them, and that tables 1 to 6 are the paper's."""

import json
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from icu_lightning.comparison.published import AFTER, OF_MTDM, TABLES, facts
from icu_lightning.errors import UserError
from icu_lightning.sweep.grids import lines_of, refuse_alone
from icu_lightning.sweep.sweeper import folder_of, words_of_lines
from tests.conftest import CONF, composed

EXPERIMENTS = CONF.parent / "experiments" / "experiment"
BRINGING = sorted(path.stem for path in EXPERIMENTS.glob("*.yaml") if "grids:" in path.read_text())
PARSE = OverridesParser.create().parse_overrides
GRIDS = [
    "model=two imputer=zero,knn predictor=lstm,knn",
    "model=two imputer=brits predictor=brits",
    "model=mtdm size=s",
]


def jobs(grids: list[str], *typed: str) -> list[str]:
    """The words of each job, sorted, in one string."""
    return [" ".join(sorted(own)) for own, _ in words_of_lines(lines_of(grids, PARSE(list(typed)), PARSE))]


def grids_of(name: str) -> list[str]:
    return yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())["hydra"]["sweeper"]["grids"]


def test_the_lines_are_one_sweep_and_what_is_typed_beside_them_is_in_every_job():
    assert len(jobs(GRIDS)) == 4 + 1 + 1
    seeds = jobs(GRIDS, "seed=0,1", "data=eicu")
    assert len(seeds) == 12
    assert all("data=eicu" in job and "seed=" in job for job in seeds)
    assert len(jobs([GRIDS[0], GRIDS[0]])) == 4, "each job once"
    assert jobs([], "a=1,2") == ["a=1", "a=2"], "without lines, what was typed"


NARROWED = {
    ("predictor=knn", "model=two"): {("zero", "knn"), ("knn", "knn")},
    ("predictor=brits", "model=two"): {("brits", "brits")},
    ("imputer=brits", "model=two"): {("brits", "brits")},
    ("imputer=saits", "model=two"): {("saits", "lstm"), ("saits", "knn")},  # new: to the first line that has imputers
    ("imputer=saits,brits", "model=two"): {("saits", "lstm"), ("saits", "knn"), ("brits", "brits")},
    ("imputer=zero", "predictor=lstm"): {("zero", "lstm")},  # no line of a model that has no imputer
    # Of several settings: to the first line that is left, if it is not in one already
    ("imputer=brits", "predictor=brits,gru"): {("brits", "brits"), ("brits", "gru")},
    ("imputer=knn", "predictor=gru,lstm"): {("knn", "gru"), ("knn", "lstm")},
    ("imputer=zero", "predictor=brits"): {("zero", "brits")},  # which is refused by its names, not here
    ("imputer=saits,knn", "predictor=gru"): {("saits", "gru"), ("knn", "gru")},
    ("imputer=saits", "predictor=gru"): {("saits", "gru")},  # neither takes the line from the other
}


@pytest.mark.parametrize("typed", NARROWED)
def test_typed_values_narrow_the_lines_that_name_their_setting(typed):
    found = [dict(word.split("=") for word in job.split()) for job in jobs(GRIDS, *typed)]
    assert {(job["imputer"], job["predictor"]) for job in found} == NARROWED[typed]
    assert len(found) == len(NARROWED[typed])


def test_a_setting_that_is_the_same_in_all_lines_that_name_it_is_replaced_in_all():
    grids = [*GRIDS[:1], "model=two imputer=csdi size=s", GRIDS[2], "model=two imputer=saits,locf"]
    sized = [job for job in jobs(grids, "size=l,s") if "size" in job]
    assert sized == [f"{own} size={size}" for own in ("imputer=csdi model=two", "model=mtdm") for size in "ls"]
    assert len(jobs(grids, "size=l")) == len(jobs(grids))
    assert jobs(grids, "size=l", "imputer=csdi", "model=two") == ["imputer=csdi model=two size=l"]


def test_a_line_that_does_not_name_what_was_typed_stays():
    assert jobs(GRIDS, "size=l").count("model=mtdm size=l") == 1
    assert len(jobs(GRIDS, "size=l")) == 6
    assert jobs(GRIDS, "model=mtdm") == ["model=mtdm size=s"]
    with pytest.raises(UserError, match="has no end"):
        jobs(GRIDS, "imputer=interval(0,1)")


def test_no_typed_value_vanishes():
    """Those that were lost, of lines as tables 3 and 6 have them."""
    table3 = grids_of("table3")
    found = jobs(table3, "model=two_stage", "imputer=locf,mean", "protocol=clean,foo")
    assert [job.split()[0] for job in found if "protocol=foo" in job] == ["imputer=mean"], "which Hydra then refuses"
    narrowed = [*jobs(table3, "imputer=locf", "protocol=clean"), *jobs(table3, "imputer=locf", "protocol=paper")]
    assert narrowed == [
        f"imputer=locf model=two_stage predictor=kmeans protocol={protocol}" for protocol in ("clean", "paper")
    ]
    both = jobs(table3, "model=mtdm,two_stage", "imputer=locf", "protocol=clean")
    assert sum("model=mtdm" in job for job in both) == 1, "a model that was typed stays"
    table6 = grids_of("table6")
    misspelt = jobs(table6, "model=two_stage", "imputer=locf", "predictor=gru_d,lstmm,kmeans")
    assert {word for job in misspelt for word in job.split() if word.startswith("predictor=")} == {
        "predictor=gru_d",
        "predictor=lstmm",
        "predictor=kmeans",
    }
    across = jobs(table6, "imputer=mean", "predictor=gru_d,kmeans", "protocol=clean")
    assert {word for job in across for word in job.split() if word.startswith("predictor=")} == {
        "predictor=gru_d",
        "predictor=kmeans",
    }
    for order in (1, -1):  # whichever is typed first
        single = jobs(table6, *["model/tasks=single", "model=mtdm", "protocol=clean"][::order])
        assert single == ["model/size=long model/tasks=single model=mtdm protocol=clean"]
        sized = jobs(table6, *["imputer=mtdm", "predictor=gru_d", "protocol=paper"][::order])
        assert sized == ["imputer=mtdm model/size=long model=two_stage predictor=gru_d protocol=paper"]
    given = jobs(table3, "imputer=mtdm", "model/size=lean", "protocol=clean")
    assert given == ["imputer=mtdm model/size=lean model=two_stage predictor=kmeans protocol=clean"]
    clusters = jobs(table6, "model=two_stage", "predictor=kmeans", "model.predictor.clusters=5")
    assert clusters
    assert all("model.predictor.clusters=5" in job for job in clusters)
    with_size = jobs(GRIDS, "size=l", "imputer=knn", "predictor=lstm")
    assert with_size == ["imputer=knn model=two predictor=lstm size=l"], "which Hydra refuses, if it cannot be"
    ablation = grids_of("ablation")
    seeds = [jobs(ablation, words) for words in ("seed=0", "seed=5,6", "seed=0,7")]
    assert [len(found) for found in seeds] == [12, 24, 24]
    alone = jobs(table6, "imputer=saits", "predictor=gru_d", "protocol=paper")
    assert alone == ["imputer=saits model=two_stage predictor=gru_d protocol=paper"]


def test_a_typed_value_that_no_line_can_have_beside_the_others_is_refused():
    with pytest.raises(
        UserError, match=r"^imputer=zero: the experiment has no run with this and model=mtdm\. Its lines:"
    ):
        jobs(GRIDS, "imputer=zero", "model=mtdm")
    with pytest.raises(UserError, match=r"^imputer=a predictor=b: the experiment has no run with this\. Its lines:"):
        jobs(["imputer=a", "predictor=b"], "imputer=a", "predictor=b")


def test_what_sets_the_jobs_apart_is_told_of_each():
    axes = [axes for _, axes in words_of_lines(lines_of(GRIDS, PARSE(["seed=0"]), PARSE))]
    assert axes[0] == ("model=two", "imputer=zero", "predictor=lstm")
    assert axes[-1] == ("model=mtdm", "size=s")


def test_the_folder_has_the_experiments_name_and_other_lines_are_another_sweep():
    def folder(grids: list[str], *typed: str) -> Path:
        overrides = PARSE(["experiment=table6", *typed])
        return folder_of("", overrides, words_of_lines(lines_of(grids, overrides, PARSE)), [], brought=True)

    assert folder(GRIDS).name.startswith("table6-")
    assert folder(GRIDS, "seed=0,1").name.startswith("table6-seed-")
    assert len({folder(GRIDS), folder(GRIDS[:2]), folder(GRIDS, "data=eicu")}) == 3
    assert folder(GRIDS) == folder(list(GRIDS))


def test_such_an_experiment_is_no_single_run_but_each_of_its_jobs_is():
    with pytest.raises(UserError, match=r"many runs: python -m icu_lightning.run -m experiment=table6 model=two$"):
        refuse_alone(GRIDS, ["experiment=table6", "model=two"])
    refuse_alone(GRIDS, ["experiment=table6", "model=two", "imputer=zero", "predictor=lstm"])
    refuse_alone([], ["model=two"])


def cell_of(words: dict[str, str]) -> tuple[str, str]:
    """(predictor, imputer), as comparison/published.py places the run of these words."""
    if words["model"] == "mtdm":
        return OF_MTDM[words["model/tasks"]], "mtdm"
    found = words["predictor"], words["imputer"]
    return (AFTER, "mtdm") if found == ("lstm", "mtdm") else found


MORE = {  # what the paper does not have
    *((predictor, imputer) for imputer in ("locf", "saits") for predictor in ("kmeans", "knn", "lstm", "transformer")),
    *((predictor, "locf") for predictor in ("gru_d", "logistic_regression", "lightgbm")),
    (AFTER, "mtdm"),
    *(("kmeans_10", imputer) for imputer in ("zero", "mean", "knn", "locf", "brits")),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_every_published_cell_under_both_protocols_and_the_other_comparators_clean(name):
    published = facts(name)
    asked = [dict(word.split("=") for word in job.split()) for job in jobs(grids_of(name))]
    cells = sorted((*cell_of(words), words["protocol"]) for words in asked)
    if name in TABLES[:3]:
        expected = {(imputer, p) for imputer in published["imputer"] for p in ("clean", "paper")}
        expected |= {("locf", "clean"), ("saits", "clean")}
        assert {(imputer, p) for _, imputer, p in cells} == expected
        assert len(cells) == len(expected)
        return
    rows = set(published.select("row", "imputer").iter_rows())
    both = {(*row, p) for row in rows for p in ("clean", "paper")}
    assert cells == sorted(both | {(*row, "clean") for row in MORE})
    assert composed(f"experiment={name}", "model/size=lean"), "of the line, which Hydra composes before its jobs"
    smaller = [dict(word.split("=") for word in job.split()) for job in jobs(grids_of(name), "model/size=lean")]
    sized = [words for words in smaller if "model/size" in words]
    assert len(smaller) == len(asked)
    assert {words["model/size"] for words in sized} == {"lean"}
    assert {words.get("imputer", "mtdm") for words in sized} == {"csdi", "mtdm"}


def test_of_the_sociodemographic_inputs_each_is_left_out_once():
    asked = [
        job.removeprefix("data.static=[").removesuffix("]").split(",") for job in jobs(grids_of("sociodemographics"))
    ]
    whole = composed("model=teacher_student").plain["data"]["static"]
    assert asked.count(whole) == 1
    lacking = [set(whole) - set(own) for own in asked if own != whole]
    assert sorted(map(list, lacking)) == [["ethnicity"], ["insurance"], ["language"], ["marital_status"]]
    assert all(own == [name for name in whole if name in own] for own in asked)


def test_the_ablation_of_teacher_and_student_takes_every_part_away_once():
    asked = [job.removeprefix("model/ablation=") for job in jobs(grids_of("teacher_student_ablation"))]
    assert sorted(asked) == sorted(path.stem for path in (CONF / "model" / "ablation").glob("*.yaml"))


HOMES = {"ablation": "mimic3", "contrastive": "physionet2012"} | dict.fromkeys(
    ("sociodemographics", "teacher_student_ablation"), "mimic4"
)


@pytest.mark.parametrize("data", [None, "physionet2012", "synthetic"])
@pytest.mark.parametrize("name", BRINGING)
def test_all_jobs_see_the_same_stays_and_hidden_cells_on_any_data(name, data):
    """They leave the window to the data, so that one which has its own can take the paper's database's place."""
    stored = (EXPERIMENTS / f"{name}.yaml").read_text()
    assert stored.startswith("# @package _global_\n# ")
    database = [f"data={data}"] if data else []
    seen = set()
    for grid in grids_of(name):
        words = lines_of([grid], PARSE(["protocol=clean"] if "protocol" in grid else []), PARSE)
        own, _ = words_of_lines(words)[-1]
        plain = composed(f"experiment={name}", *own, *database).plain
        pinned = {key: value for key, value in plain["data"].items() if key not in ("root", "cache_dir", "batch_size")}
        seen.add(json.dumps([pinned, plain["imputation"], plain["cv"], plain["report"]["write"]], default=str))
    assert len(seen) == 1
    source = json.loads(seen.pop())[0]["source"]
    home = facts(name)["data"][0] if name in TABLES else HOMES[name]
    expected = {None: home}.get(data, data)
    assert source.split(".")[-2] == expected


@pytest.mark.slow
def test_one_command_runs_the_ablations_of_teacher_and_student(cli):
    done = cli(
        "-m", "experiment=teacher_student_ablation", "data=synthetic", "data.stays=300", "model/network=tiny", "trainer.max_epochs=1",
        "bootstrap=5", "model/ablation=none,no_line,no_teacher",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "3 finished" in done.stdout


@pytest.mark.slow
def test_one_command_runs_a_table_goes_on_and_is_printed(cli):
    line = [
        "-m", "experiment=table4", "data=synthetic", "data.stays=300", "cv=null", "protocol=clean", "model=two_stage", "imputer=zero",
        "predictor=kmeans,knn", "bootstrap=5", "imputation.stays=10",
    ]  # fmt: skip
    done = cli(*line)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 finished" in done.stdout
    again = cli(*line)
    assert again.returncode == 0
    assert "Sweep of 2 jobs in sweeps/table4-" in again.stdout
    assert ", 2 finished" in again.stdout
    shown = cli("sweeps", "--published", "table4", "--synthetic", module="icu_lightning.compare")
    assert shown.returncode == 0, shown.stderr
    assert "SYNTHETIC STAYS" in shown.stdout
    assert "runs: 2." in shown.stdout
    errors = cli("sweeps", "--published", "table1", "--synthetic", "--out", "errors", module="icu_lightning.compare")
    assert errors.returncode == 0, errors.stderr
    alone = cli("experiment=table4")
    assert alone.returncode == 1
    assert "many runs: python -m icu_lightning.run -m experiment=table4" in alone.stderr
    mixed = cli("-m", "experiment=table4,table5")
    assert "is an experiment of many runs (hydra.sweeper.grids): run it in a line of its own" in mixed.stderr
