"""Episode files: what the writer wrote is read back, the real benchmark's texts and the public repository's long files too."""

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.concepts import concepts_of
from icu_lightning.data.extract import extract
from icu_lightning.data.sources.episodes import EpisodeFiles
from icu_lightning.data.synthetic.generate import in_blocks
from icu_lightning.data.synthetic.variables import CHARTED, LABORATORY
from icu_lightning.data.synthetic.writers import episodes, mimic3
from icu_lightning.data.synthetic.writers.columns import ORACLE
from icu_lightning.data.synthetic.writers.write import write
from icu_lightning.errors import UserError
from tests.conftest import composed, settings
from tests.data.synthetic.conftest import configured

HEADER = "Hours,Capillary refill rate,Fraction inspired oxygen,Glascow coma scale eye opening,Glascow coma scale motor response,"
HEADER += "Glascow coma scale total,Glascow coma scale verbal response,Heart Rate,Temperature\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(folder, the block that was written)."""
    folder = tmp_path_factory.mktemp("episodes") / "all"
    write(folder, "episodes", configured("icu"), 80, 4)
    (_, block), *_ = in_blocks(configured("icu"), 4, 80, lambda block: block)
    return folder, block


@pytest.fixture
def benchmark(tmp_path):
    """A function: content of an episode -> the folder of a benchmark that has it, as mimic3-benchmarks lays it out."""

    def make(content, outcome="1"):
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "57_episode2_timeseries.csv").write_text(content)
        for name in ("train/listfile.csv", "train_listfile.csv"):
            (tmp_path / name).write_text(f"stay,y_true\n57_episode2_timeseries.csv,{outcome}\n")
        return tmp_path

    return make


def test_every_charted_value_of_every_long_enough_stay_is_read_back(written):
    folder, block = written
    source = EpisodeFiles(folder)
    names = [name for name in episodes.COLUMNS.values() if name]
    long_enough = block.visits.length >= 48 * 60
    stay = mimic3.subject(block) * 1000 + block.visits.visit + 1
    places = np.array([CHARTED.index(name) for name in names])
    row, hour, v = np.isfinite(block.values[..., places]).nonzero()
    laboratory = np.array([name in LABORATORY for name in names])[v]
    minute = np.where(laboratory, block.laboratory[row, hour], block.bedside[row, hour])
    sent = pl.DataFrame({"stay_id": stay[row], "variable": np.array(names)[v], "minute": minute})
    sent = sent.with_columns(value=block.values[row, hour, places[v]].astype(float))
    sent = sent.filter(pl.Series(long_enough[row] & (minute < 48 * 60)))
    sent = sent.with_columns(
        value=pl.when((pl.col("variable") == "gcs_verbal") & (pl.col("value") == 0)).then(1.0).otherwise("value")
    )
    got = source.collect(source.events(concepts_of(names)))
    got = got.with_columns(minute=(pl.col("hours") * 60).round().cast(pl.Int64))
    key = ["stay_id", "variable", "minute"]
    both = sent.join(got.select(*key, read="value"), on=key, how="full", coalesce=True)
    assert both.null_count().sum_horizontal().item() == 0
    assert both.height == sent.height
    assert (both["value"] - both["read"]).abs().max() < 1e-5


def test_stays_are_those_of_48_hours_with_their_outcomes_and_the_oracle_fits(written):
    folder, block = written
    source = EpisodeFiles(folder)
    assert source.synthetic
    stays = source.collect(source.stays()).sort("stay_id")
    assert stays.height == (block.visits.length >= 48 * 60).sum()
    oracle = pl.read_ipc(folder / ORACLE).sort("stay_id")
    assert stays["stay_id"].equals(oracle["stay_id"])
    assert stays["died_in_hospital"].to_list() == oracle["recorded_death"].to_list()
    assert stays["patient_id"].equals(oracle["patient_id"])


def test_a_patient_is_on_one_side_of_the_lists_and_the_lists_agree(written):
    folder, _ = written
    sides = {side: pl.read_csv(folder / f"{side}_listfile.csv") for side in ("train", "val", "test")}
    patients = {side: set(table["stay"].str.split("_").list.first()) for side, table in sides.items()}
    assert (
        not patients["train"] & patients["val"]
        | patients["train"] & patients["test"]
        | patients["val"] & patients["test"]
    )
    train = pl.read_csv(folder / "train" / "listfile.csv")
    assert train.height == sides["train"].height + sides["val"].height
    shares = [episodes.side_of(subject) for subject in range(10_000, 14_000)]
    assert [shares.count(side) / 4000 for side in ("train", "val", "test")] == pytest.approx(
        [0.70, 0.15, 0.15], abs=0.02
    )


def test_a_model_can_be_given_them(written):
    conf = composed("data=episodes", "model=focal_lstm").plain["data"]
    assert (conf["hours"], len(conf["variables"])) == (48, 15)
    chosen = settings(hours=48, variables=conf["variables"], cohort=conf["cohort"])
    found = extract(EpisodeFiles(written[0]), **chosen.of_extract)
    assert np.isfinite(found.values).any((0, 1)).all(), "every variable of the focal LSTM"


@pytest.mark.parametrize(
    ("eyes", "motor", "verbal", "means"),
    [
        ("4 Spontaneously", "6 Obeys Commands", "5 Oriented", (4, 6, 5, 0)),
        ("Spontaneously", "Obeys Commands", "Oriented", (4, 6, 5, 0)),
        ("3 To speech", "5 Localizes Pain", "4 Confused", (3, 5, 4, 0)),
        ("To Speech", "Flex-withdraws", "Inappropriate Words", (3, 4, 3, 0)),
        ("To Pain", "Abnormal Flexion", "Incomprehensible sounds", (2, 3, 2, 0)),
        ("2 To pain", "3 Abnorm flexion", "2 Incomp sounds", (2, 3, 2, 0)),
        ("1 No Response", "2 Abnorm extensn", "1.0 ET/Trach", (1, 2, 1, 1)),
        ("None", "Abnormal extension", "No Response-ETT", (1, 2, 1, 1)),
        ("None", "No response", "No Response", (1, 1, 1, 0)),
    ],
)
def test_the_coma_scale_in_the_words_of_the_real_files(benchmark, eyes, motor, verbal, means):
    """CareVue's and MetaVision's texts as mimic3-benchmarks keeps them."""
    source = EpisodeFiles(benchmark(HEADER + f"0.5,0.0,0.4,{eyes},{motor},,{verbal},88.0,36.9\n"))
    names = ["gcs_eyes", "gcs_motor", "gcs_verbal", "gcs_tube"]
    got = source.collect(source.events(concepts_of(names)))
    assert [got.filter(pl.col("variable") == name)["value"].to_list() for name in names] == [[mean] for mean in means]


def test_an_episode_that_two_lists_name_is_one_stay(benchmark):
    source = EpisodeFiles(benchmark(HEADER + "0.25,,0.5,,,,,120,38.0\n1.75,,,,,15,,,\n"))
    assert not source.synthetic
    stays = source.collect(source.stays())
    assert stays.select("stay_id", "patient_id", "died_in_hospital", "los_hours").rows() == [(57002, "57", True, 48.0)]
    got = source.collect(source.events(concepts_of(["heart_rate", "gcs", "fio2"]))).sort("variable")
    assert got.select("variable", "hours", "value").rows() == [
        ("fio2", 0.25, 0.5),
        ("gcs", 1.75, 15.0),
        ("heart_rate", 0.25, 120.0),
    ]


def test_the_public_repositorys_long_files(tmp_path):
    """METHODS A.3: <subject>/episodeN_timeseries.csv with Hours, Itemid, Value."""
    (tmp_path / "root" / "10007").mkdir(parents=True)
    (tmp_path / "root" / "10007" / "episode1_timeseries.csv").write_text(
        "Hours,Itemid,Value\n0.5,211,91.0\n1.0,50813,2.4\n"
    )
    lists = tmp_path / "in-hospital-mortality" / "test"
    lists.mkdir(parents=True)
    (lists / "listfile.csv").write_text("stay,y_true\n10007/episode1_timeseries.csv,0\n")
    source = EpisodeFiles(tmp_path)
    got = source.collect(source.events(concepts_of(["heart_rate", "lactate"]))).sort("variable")
    assert got.select("stay_id", "variable", "value").rows() == [
        (10007001, "heart_rate", 91.0),
        (10007001, "lactate", 2.4),
    ]


def test_an_outcome_that_is_neither_is_unknown(benchmark):
    source = EpisodeFiles(benchmark(HEADER + "0.25,,,,,,,120,38.0\n", outcome=""))
    assert source.collect(source.stays())["died_in_hospital"].to_list() == [None]


def test_bad_files_are_named(benchmark, tmp_path):
    folder = benchmark("Minutes,Heart Rate\n3,88\n")
    with pytest.raises(UserError, match=r"57_episode2_timeseries.csv has no column 'Hours'; it begins with: Minutes"):
        EpisodeFiles(folder).events(concepts_of(["heart_rate"]))
    (folder / "train_listfile.csv").write_text("stay,y_true\n57_episode2_timeseries.csv,0\n")
    with pytest.raises(UserError, match=r"57_episode2_timeseries.csv has two outcomes"):
        EpisodeFiles(folder)
    (folder / "train_listfile.csv").write_text("stay,y_true\n58_episode1_timeseries.csv,0\n")
    with pytest.raises(UserError, match=r"lists 58_episode1_timeseries.csv, which is in none of"):
        EpisodeFiles(folder)
    (folder / "train_listfile.csv").write_text("stay,y_true\nfifty,0\n")
    with pytest.raises(UserError, match=r"'fifty' is no episode"):
        EpisodeFiles(folder)
    (folder / "train_listfile.csv").write_text("stay,label\n")
    with pytest.raises(UserError, match=r"has no column 'y_true'"):
        EpisodeFiles(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    for root, message in (
        (empty, "No episode files in"),
        (None, "No folder given"),
        (empty / "x", "There is no folder"),
    ):
        with pytest.raises(UserError, match=message):
            EpisodeFiles(root)


def test_infusions_are_not_in_these_files(benchmark):
    from icu_lightning.data.drugs import vis_drugs

    with pytest.raises(UserError, match=r"data=episodes charts no infusions"):
        EpisodeFiles(benchmark(HEADER)).infusions(vis_drugs())
