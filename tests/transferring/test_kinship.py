"""What is said of how far from home a model is, and whom it has seen."""

import polars as pl
import pytest

from tests.transferring.conftest import kinship, scored


@pytest.mark.parametrize(
    ("trained", "target", "made_up", "word", "said"),
    [
        ("mimic4", "eicu", (False, False), "external", None),
        ("eicu", "mimic3", (False, False), "external", None),
        ("mimic3", "mimic4", (False, False), "shared patients", "SHARED PATIENTS: mimic3 and mimic4"),
        ("physionet2012", "mimic3", (False, False), "shared patients", "SHARED PATIENTS"),
        ("eicu", "eicu", (False, False), "not external", "NOT EXTERNAL: trained on eicu itself"),
        ("eicu", "eicu", (True, False), "SYNTHETIC", "SYNTHETIC to real: trained on made-up stays"),
        ("mimic3", "mimic4", (False, True), "SYNTHETIC", "Real to SYNTHETIC"),
        ("synthetic", "eicu", (True, True), "SYNTHETIC", "SYNTHETIC stays throughout"),
        ("synthetic", "synthetic", (True, True), "not external, SYNTHETIC", "NOT EXTERNAL"),
    ],
)
def test_marks(trained, target, made_up, word, said):
    related = kinship(trained, target, made_up)
    assert related.word == word
    assert related.external == (said is None)
    assert (said in " ".join(related.marks)) if said else related.marks == []


def test_patients_of_training_and_validation_are_left_out_and_those_of_the_test_split_stay(make_transfer):
    table = scored()
    own = table.with_columns(split=pl.Series(["train", "train", "val", "val", "test", "test"] * 100))
    transfer = make_transfer(table=table, own=own, related=kinship("eicu", "eicu"))
    assert transfer.seen == 400
    tested = own.filter(split="test")["stay_id"]
    assert transfer.predictions["stay_id"].sort().to_list() == tested.to_list()


def test_a_same_database_without_the_runs_predictions_is_refused_and_another_needs_none(make_transfer):
    with pytest.raises(ValueError, match="whom the model has seen"):
        make_transfer(related=kinship("eicu", "eicu"))
    assert make_transfer().seen == 0


def test_ids_of_another_made_up_icu_are_other_stays(make_transfer):
    own = scored(seed=1).with_columns(split=pl.lit("train"))
    related = kinship("synthetic", "synthetic", (True, True))
    assert make_transfer(own=own, related=related).seen == 0
    mostly = scored().with_columns(
        split=pl.when(pl.col("stay_id") < 500).then(pl.lit("train")).otherwise(pl.lit("test"))
    )
    assert make_transfer(own=mostly, related=related).seen == 500


def test_a_model_that_has_seen_everybody_is_told(make_transfer):
    from icu_lightning.errors import UserError

    own = scored().with_columns(split=pl.lit("train"))
    with pytest.raises(UserError, match="All 600 stays are of patients that the model was trained or validated on"):
        make_transfer(own=own, related=kinship("eicu", "eicu"))
