"""Raw tables: found in every form, every fault named."""

import gzip

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.sources.eicu import EICU
from icu_lightning.errors import UserError
from tests.conftest import MTDM, settings


def extracted(folder):
    from icu_lightning.data.extract import extract

    return extract(EICU(folder), **settings(cohort=["age_known"]).of_extract)


def compress(path):
    with gzip.open(path.with_name(path.name + ".gz"), "wb") as file:
        file.write(path.read_bytes())
    path.unlink()
    return path.with_name(path.name + ".gz")


def test_csv_gz_and_parquet_and_case_give_the_same(write_eicu):
    plain, zipped, parquet = (write_eicu(folder=name) for name in ("plain", "zipped", "parquet"))
    for path in list(zipped.iterdir()):
        compress(path).rename(zipped / (path.name.upper() + ".gz"))
    for path in list(parquet.iterdir()):
        pl.read_csv(path).write_parquet(parquet / (path.stem.lower() + ".parquet"))
        path.unlink()
    first = extracted(plain)
    assert len(MTDM) == first.values.shape[2]
    for other in (extracted(zipped), extracted(parquet)):
        assert (first.values == other.values)[
            ~pl.Series(first.values.ravel()).is_nan().to_numpy().reshape(first.values.shape)
        ].all()
        assert first.cleaning.equals(other.cleaning)
        assert first.stays.equals(other.stays)


def test_tables_are_found_below_the_root_and_column_names_may_be_upper_case(write_eicu):
    folder = write_eicu()
    for name in ("patient", "lab"):
        frame = pl.read_csv(folder / f"{name}.csv", infer_schema=False)
        frame.rename(str.upper).write_csv(folder / f"{name}.csv")
    assert EICU(folder.parent).tables.folder == folder
    assert extracted(folder.parent).stays.height > 0


@pytest.mark.parametrize("spelling", ["infusiondrug.csv", "infusionDrug.csv", "INFUSIONDRUG.csv"])
def test_every_spelling_of_a_table_is_the_same_table(write_eicu, spelling):
    """The open demo has infusiondrug, the full release infusionDrug."""
    folder = write_eicu()
    (folder / spelling).write_text("patientunitstayid,drugrate\n1,5\n")
    tables = EICU(folder).tables
    assert "infusionDrug" in tables
    assert tables.scan("infusionDrug", ["drugrate"]).collect().item() == "5"


def test_a_missing_root_says_what_to_set_and_where_to_get_the_data():
    with pytest.raises(
        UserError,
        match=r"set data.root=FOLDER or .* ICU_DATA_ROOT.\n.*eICU(.*\n)+.*credentialed(.*\n)+.*demo(.*\n)+.*synthetic",
    ):
        EICU(None)


def test_a_root_that_is_no_folder(tmp_path):
    with pytest.raises(UserError, match=r"does not exist: .*nowhere"):
        EICU(tmp_path / "nowhere")


def test_a_missing_marker_table_is_named_with_the_folders_looked_at(write_eicu):
    folder = write_eicu()
    (folder / "vitalPeriodic.csv").unlink()
    with pytest.raises(
        UserError,
        match=r"'vitalPeriodic' \(vitalPeriodic.parquet, .*, any case\) was looked for in .*eicu(.|\n)*data=synthetic",
    ):
        EICU(folder)


def test_another_missing_table_is_named(write_eicu):
    folder = write_eicu()
    (folder / "lab.csv").unlink()
    with pytest.raises(UserError, match=r"Table 'lab' of eICU is missing: .*lab.csv.gz(.|\n)*demo"):
        extracted(folder)


def test_two_databases_in_one_root_are_not_guessed_between(write_eicu):
    write_eicu(folder="a")
    root = write_eicu(folder="b").parent
    with pytest.raises(UserError, match=r"2 folders below .* choose one with data.root"):
        EICU(root)


def test_a_missing_column_is_named(write_eicu):
    folder = write_eicu()
    frame = pl.read_csv(folder / "lab.csv")
    frame.drop("labresult").write_csv(folder / "lab.csv")
    with pytest.raises(UserError, match=r"lab.csv has no column 'labresult'; its columns are: patientunitstayid,"):
        extracted(folder)


@pytest.mark.parametrize("table", ["patient", "lab", "vitalPeriodic"])
def test_a_truncated_gz_is_named(write_eicu, table):
    folder = write_eicu(stays=600)
    path = compress(folder / f"{table}.csv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"{table}.csv.gz: .*damaged or cut short; download it again"):
        extracted(folder)


def test_a_file_that_is_no_gz_at_all_is_named(write_eicu):
    folder = write_eicu()
    path = compress(folder / "lab.csv")
    path.write_bytes(b"<html>Please log in</html>")
    with pytest.raises(UserError, match=r"lab.csv.gz"):
        extracted(folder)


def test_an_empty_file_is_named(write_eicu):
    folder = write_eicu()
    (folder / "lab.csv").write_text("")
    with pytest.raises(UserError, match=r"Cannot read .*lab.csv: .*empty"):
        extracted(folder)


def test_a_file_that_is_not_utf8_is_named(write_eicu):
    folder = write_eicu()
    with (folder / "lab.csv").open("ab") as file:
        file.write(b"3,60,gluc\xffose,110,60\n")
    with pytest.raises(UserError, match=r"lab.csv"):
        extracted(folder)


def test_cells_that_are_no_numbers_are_counted_and_crash_nothing(write_eicu):
    folder = write_eicu()
    clean = extracted(folder)
    lab = [line.split(",") for line in (folder / "lab.csv").read_text().splitlines()]

    def first(stay: int, name: str) -> list[str]:
        return next(fields for fields in lab if fields[0] == str(stay) and fields[2] == name)

    for stay, word in {2: "> 600", 3: "hemolysed", 4: "inf", 5: "NaN"}.items():
        first(stay, "glucose")[3] = word
    first(6, "glucose")[3] = ""
    first(7, "sodium")[1] = "soon"
    first(8, "sodium")[0] = "eight"
    (folder / "lab.csv").write_text("\n".join(map(",".join, lab)) + "\n")
    (folder / "patient.csv").write_text((folder / "patient.csv").read_text().replace(",54,", ",fifty,", 1))
    dirty = extracted(folder)
    before, after = ({row["variable"]: row for row in table.cleaning.iter_rows(named=True)} for table in (clean, dirty))
    assert after["glucose"]["non_numeric"] == 4
    assert after["sodium"]["no_time"] == 1
    assert after["sodium"]["no_stay"] == 1
    gone = before["glucose"]["kept"] // clean.stays.height  # events of the stay whose age nobody can read
    assert after["glucose"]["kept"] == before["glucose"]["kept"] - gone - 5
    assert dirty.attrition.filter(pl.col("filter") == "age_known")["removed_stays"][0] == 1
    assert "age" not in after, "that stay is counted out by a filter, not by cleaning"


def test_a_table_that_is_there_twice_is_refused_by_name(write_eicu):
    folder = write_eicu()
    pl.read_csv(folder / "lab.csv").head(3).write_parquet(folder / "LAB.parquet")
    with pytest.raises(UserError, match=r"Table 'lab' of eICU is there more than once: .*LAB.parquet, .*lab.csv"):
        extracted(folder)


def test_ids_and_flags_that_became_floats_in_a_parquet_are_read(write_eicu):
    """Gaps turn integer columns into floats; 1001.0 is stay 1001, and lost otherwise."""
    plain, floats = write_eicu(folder="plain"), write_eicu(folder="floats")
    for path in list(floats.iterdir()):
        table = pl.read_csv(path)
        table.with_columns(pl.col(pl.Int64).cast(pl.Float64)).write_parquet(path.with_suffix(".parquet"))
        path.unlink()
    one, other = extracted(plain), extracted(floats)
    assert np.array_equal(one.values, other.values, equal_nan=True)
    assert one.cleaning.equals(other.cleaning)
    assert one.stays["stay_id"].equals(other.stays["stay_id"])
