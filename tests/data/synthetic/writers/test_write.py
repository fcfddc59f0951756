"""Values in, values out: what a schema's tables say, read by the source of the real database, is what was simulated."""

import gzip
import io
import json

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.concepts import all_concepts, concepts_of
from icu_lightning.data.drugs import all_drugs
from icu_lightning.data.extract import extract
from icu_lightning.data.infusions import clean_infusions
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.data.synthetic.generate import in_blocks
from icu_lightning.data.synthetic.people import ETHNICITY
from icu_lightning.data.synthetic.variables import CHARTED, LABORATORY
from icu_lightning.data.synthetic.writers import eicu
from icu_lightning.data.synthetic.writers.columns import MARKER, ORACLE
from icu_lightning.data.synthetic.writers.write import EPISODES, SCHEMAS, write
from icu_lightning.errors import UserError
from tests.conftest import composed, settings
from tests.data.synthetic.conftest import configured

SOURCES = {"mimic3": MIMIC3, "mimic4": MIMIC4, "eicu": EICU}
STAYS, SEED = 70, 4


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A function: schema -> (folder of its tables, the block that was written)."""
    made = {}

    def make(schema):
        if schema not in made:
            folder = tmp_path_factory.mktemp("synthetic") / schema
            write(folder, schema, configured("icu"), STAYS, SEED)
            (_, block), *_ = in_blocks(configured("icu"), SEED, STAYS, lambda block: block)
            made[schema] = folder, block
        return made[schema]

    return make


def simulated_events(writer, block) -> pl.DataFrame:
    """stay_id, variable, minute, value of all that was charted, as the variables of concepts.yaml."""
    row, hour, v = np.isfinite(block.values).nonzero()
    laboratory = np.array([name in LABORATORY for name in CHARTED])[v]
    minute = np.where(laboratory, block.laboratory[row, hour], block.bedside[row, hour])
    value = block.values[row, hour, v].astype(np.float64)
    frame = pl.DataFrame(
        {"stay_id": writer.stay(block)[row], "variable": np.array(CHARTED)[v], "minute": minute, "value": value}
    )
    tube = (pl.col("variable") == "gcs_verbal") & (pl.col("value") == 0)
    return frame.with_columns(value=pl.when(tube).then(1.0).otherwise("value"))


@pytest.mark.parametrize("schema", SOURCES)
def test_every_charted_value_is_read_back(schema, written):
    folder, block = written(schema)
    source = SOURCES[schema](folder)
    sent = simulated_events(SCHEMAS[schema], block)
    got = source.collect(source.events(concepts_of(CHARTED)))
    if schema == "eicu":  # the first day's flags, and when a tube was seen, say again what is charted elsewhere
        got = got.filter((pl.col("variable") != "ventilation") | pl.col("preference").is_in([0]))
    shown = got.with_columns(
        minute=(pl.col("hours") * 60).round().cast(pl.Int64),
        value=pl.when(pl.col("unit") == "degF").then((pl.col("value") - 32) / 1.8)
        .when(pl.col("unit") == "percent").then(pl.col("value") / 100).otherwise("value"),
    )  # fmt: skip
    key = ["stay_id", "variable", "minute"]
    both = sent.join(shown.select(*key, read="value"), on=key, how="full", coalesce=True)
    assert both.null_count().sum_horizontal().item() == 0, "nothing lost, nothing added"
    assert both.height == sent.height
    assert (both["value"] - both["read"]).abs().max() < 0.03, "a tenth of a degree Fahrenheit"


@pytest.mark.parametrize("schema", SOURCES)
def test_every_stay_is_read_back(schema, written):
    folder, block = written(schema)
    source = SOURCES[schema](folder)
    stays = source.collect(source.stays()).sort("stay_id")
    visits = block.visits
    order = np.argsort(SCHEMAS[schema].stay(block))
    assert stays["stay_id"].to_list() == SCHEMAS[schema].stay(block)[order].tolist()
    assert stays["los_hours"].to_numpy() == pytest.approx(visits.length[order] / 60)
    assert stays["pre_icu_hours"].to_numpy() == pytest.approx(visits.before[order] / 60)
    assert stays["died_in_hospital"].to_list() == block.died[order].tolist()
    assert stays["died_in_icu"].to_list() == block.died_in_unit[order].tolist()
    assert stays["sex"].to_list() == np.where(visits.male, "male", "female")[order].tolist()
    assert stays["stay_number"].to_list() == (visits.visit[order] + 1).tolist()
    young = (visits.age <= 89)[order]
    assert (np.abs(stays["age"].to_numpy() - visits.age[order]) < 1)[young].all()
    assert (stays["age"].to_numpy()[~young] > 89).all()
    died = block.died[order]
    assert stays["death_hours"].is_null().to_list() == (~died).tolist()
    in_unit = block.died_in_unit[order]
    end = np.where(in_unit, visits.length[order], block.left[order]) / 60
    assert stays["death_hours"].to_numpy()[died] == pytest.approx(end[died])
    names = np.array([{"unknown": None}.get(name, name) for name in ETHNICITY], dtype=object)[visits.ethnicity[order]]
    unclear = {"other"} if schema == "eicu" else set()
    assert [x for x in stays["ethnicity"]] == [None if name in unclear else name for name in names]
    if schema != "eicu":
        assert stays["marital_status"].drop_nulls().n_unique() >= 3
        assert stays["insurance"].drop_nulls().n_unique() >= 3
    else:
        assert stays["hospital_id"].to_list() == (visits.hospital[order] + 100).astype(str).tolist()
        assert stays["weight_kg"].to_numpy() == pytest.approx(visits.weight[order], abs=0.01)


@pytest.mark.parametrize("schema", SOURCES)
def test_hours_and_rates_of_every_infusion_are_read_back(schema, written):
    folder, block = written(schema)
    source = SOURCES[schema](folder)
    drugs = list(all_drugs().values())
    stays = source.collect(source.stays()).select("stay_id", "weight_kg")
    got = clean_infusions(source.collect(source.infusions(drugs)), drugs, stays, 48)
    got = got.filter((pl.col("rate") > 0) & (pl.col("end_hours") > pl.col("start_hours")))
    sent = block.infusions
    if schema == "eicu":
        sent = sent.filter(pl.Series(eicu.charts_infusions(block)).gather(sent["row"]))
        assert sent.height < block.infusions.height, "some hospitals chart none"
    sent = sent.with_columns(stay_id=pl.Series(SCHEMAS[schema].stay(block)).gather(sent["row"]))
    ends = pl.col("end").clip(upper_bound=48 * 60)
    given = sent.group_by("stay_id", "drug").agg(hours=(ends - pl.col("start")).sum() / 60, most=pl.col("rate").max())
    read = got.group_by("stay_id", "drug").agg(
        read=(pl.col("end_hours") - pl.col("start_hours")).sum(), highest=pl.col("rate").max()
    )
    both = given.join(read, on=["stay_id", "drug"], how="full", coalesce=True)
    assert both.null_count().sum_horizontal().item() == 0
    assert (both["hours"] - both["read"]).abs().max() < 1e-6
    same_unit = both.filter(pl.col("drug") != "vasopressin")
    assert (same_unit["most"] - same_unit["highest"]).abs().max() < 1e-6
    assert both.filter(pl.col("drug") == "vasopressin")["highest"].max() < 2.4 / 60 / 30


def test_hospitals_have_their_own_practice(tmp_path):
    """Some chart no infusions, some name rates by the minute; pressures of the treated are periodic, of others the cuff's."""
    write(tmp_path / "eicu", "eicu", configured("icu"), 400, SEED)
    (_, block), *_ = in_blocks(configured("icu"), SEED, 400, lambda block: block)
    frame = {
        name: pl.read_csv(tmp_path / "eicu" / f"{name}.csv.gz", infer_schema_length=None)
        for name in ("patient", "infusiondrug", "vitalPeriodic", "vitalAperiodic")
    }
    at = frame["patient"].select("patientunitstayid", "hospitalid")
    rates = frame["infusiondrug"].join(at, on="patientunitstayid").filter(pl.col("drugname").str.contains("Norepi"))
    units = rates.group_by("hospitalid").agg(pl.col("drugname").unique())
    assert {names[0] for names in units["drugname"]} == {"Norepinephrine (mcg/kg/min)", "Norepinephrine (mcg/min)"}
    assert units["drugname"].list.len().max() == 1, "a hospital has one way"
    assert len(set(at["hospitalid"]) - set(rates["hospitalid"])) >= 2, "some chart none"
    treated = eicu.stay(block)[np.unique(block.infusions["row"].to_numpy())].tolist()
    assert not set(treated) & set(frame["vitalAperiodic"]["patientunitstayid"])
    invasive = frame["vitalPeriodic"].filter(pl.col("systemicsystolic").is_not_null())["patientunitstayid"].unique()
    assert set(treated) <= set(invasive)
    assert not set(invasive) & set(frame["vitalAperiodic"]["patientunitstayid"])
    assert frame["vitalAperiodic"].height > 1000


@pytest.mark.parametrize("schema", SOURCES)
def test_scores_sepsis_and_vis_can_be_had(schema, written):
    source = SOURCES[schema](written(schema)[0])
    cohort = ["age_known", {"stay_at_least": 24}, {"sepsis_onset_within": 24}]
    chosen = settings(hours=24, cohort=cohort, vis="mean", severity=["sofa", "saps2", "lods", "oasis", "sirs"])
    found = extract(source, **chosen.of_extract)
    assert 3 <= found.stays.height < STAYS
    assert found.stays.select("sofa", "saps2", "lods", "oasis", "sirs").null_count().sum_horizontal().item() == 0
    assert np.nanmax(found.rates) > 0


def contents(folder) -> dict[str, bytes]:
    """Path within the folder -> what it holds, without compression; not the marker, which says how many stays there are."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {
        name: gzip.decompress(text) if name.endswith(".gz") else text for name, text in files.items() if name != MARKER
    }


@pytest.mark.parametrize("schema", [*SOURCES, EPISODES])
def test_the_same_seed_is_the_same_bytes_on_any_number_of_workers_and_begins_what_more_stays_are(schema, tmp_path):
    for name, stays, workers in (("one", 600, 1), ("three", 600, 3), ("few", 90, 2)):
        write(tmp_path / name, schema, configured("icu"), stays, 1, workers=workers)
    one, three = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "three")
    )
    assert one == three
    few, many = contents(tmp_path / "few"), contents(tmp_path / "one")
    risks = [pl.read_ipc(io.BytesIO(found.pop(ORACLE))) for found in (few, many)]
    assert risks[0].equals(risks[1].head(len(risks[0])))
    assert set(few) <= set(many)
    for name, text in few.items():
        lines = text.splitlines(keepends=True)
        if "PATIENTS" in name.upper():  # the last one's death may come with a stay that was not asked for
            lines = lines[:-1]
        if name == "train/listfile.csv":  # the validation patients come after all of the others
            assert set(lines) <= set(many[name].splitlines(keepends=True))
        else:
            assert many[name].startswith(b"".join(lines)), name
        assert len(lines) > 1, name


@pytest.mark.parametrize("schema", SOURCES)
def test_columns_are_the_real_ones(schema, written, real_root):
    """Needs the three open demos: every column that is written has its real name, and comes in the real order."""
    real, folder = SOURCES[schema](real_root).tables, SOURCES[schema](written(schema)[0]).tables
    assert set(folder.files) <= set(real.files)
    for table, path in folder.files.items():
        made, true = (
            [name.lower() for name in pl.scan_csv(p, infer_schema=False).collect_schema().names()]
            for p in (path, real.files[table])
        )
        assert [name for name in true if name in made] == made, table


def test_the_oracle_is_apart_and_no_source_sees_it(written):
    for schema, source in SOURCES.items():
        folder, block = written(schema)
        oracle = pl.read_ipc(folder / ORACLE)
        assert oracle["stay_id"].to_list() == SCHEMAS[schema].stay(block).tolist()
        assert oracle["true_risk"].is_between(0.001, 0.95).all()
        tables = source(folder).tables
        assert not any("oracle" in name for name in tables.files)
        secret = set(oracle.columns) - {"stay_id", "patient_id", "hospital_id", "outcome"}
        for path in tables.files.values():
            assert not secret & set(pl.scan_csv(path, infer_schema=False).collect_schema().names())
        assert not secret & set(all_concepts())


@pytest.mark.parametrize("place", ["data.static=[age,true_risk]", "data.variables=[heart_rate,true_risk]"])
def test_nobody_can_ask_for_the_oracle_as_a_feature(place, written):
    folder, _ = written("mimic4")
    conf = composed("data=mimic4", f"data.root={folder}", place).plain["data"] | {"cache_dir": None}
    with pytest.raises(UserError, match="true_risk"):
        source_and_settings(**conf)


@pytest.mark.parametrize("schema", SOURCES)
def test_made_up_tables_are_marked_and_real_ones_are_not(schema, written, real_root):
    """Needs the three open demos."""
    folder, _ = written(schema)
    assert SOURCES[schema](folder).synthetic
    assert json.loads((folder / MARKER).read_text())["synthetic"] is True
    assert not SOURCES[schema](real_root).synthetic


def test_nothing_is_overwritten_and_what_cannot_be_meant_is_refused(tmp_path):
    made = tmp_path / "there"
    made.mkdir()
    (made / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="there already, and nothing is overwritten"):
        write(made, "mimic4", configured("icu"), 20, 1)
    assert (made / "thesis.txt").read_text() == "mine"
    for changes, message in (
        ({"schema": "mimic5"}, "Unknown schema 'mimic5'. Did you mean 'mimic4'"),
        ({"stays": 9}, "stays must be a whole number of at least 10"),
        ({"settings": configured("icu", hospitals=30)}, "20 stays are fewer than generator.hospitals=30"),
        ({"seed": -1}, "seed must be"),
    ):
        arguments = {"schema": "mimic4", "settings": configured("icu"), "stays": 20, "seed": 1} | changes
        with pytest.raises(UserError, match=message):
            write(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    from icu_lightning.data.synthetic.writers import write as module

    real, calls = module._compressed, []

    def full(table, header):
        calls.append(1)
        if len(calls) > 20:
            raise OSError("No space left on device")
        return real(table, header)

    monkeypatch.setattr(module, "_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "new", "mimic4", configured("icu"), 40, 1)
    assert list(tmp_path.iterdir()) == []
