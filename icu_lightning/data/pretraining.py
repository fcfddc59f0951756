"""The wider cohort that a model may be pretrained on: who of it may be seen, and who of those validates.

Nobody is tested on it. So it is train and validation only, and every stay is left out that the cohort itself does not train on:
those of its validation and test patients, and with data.split=hospital all of the hospitals that it validates and tests on.
"""

import polars as pl

from icu_lightning.data.settings import DataSettings
from icu_lightning.data.splits import LEFT_OUT, split_by_patient
from icu_lightning.errors import UserError


def sides_of_pretraining(wider: pl.DataFrame, cohort: pl.DataFrame, settings: DataSettings) -> pl.Series:
    """The side of every stay of the wider cohort: train, val, or LEFT_OUT.

    Arguments:
        wider: its stays; an outcome may be unknown.
        cohort: stays that a model is trained, validated and tested on, with their `split`.
        settings: of the cohort. Of the wider one's patients, `fractions` gives validation the share that it names.

    Raises UserError if nobody is left to train or to validate on.
    """
    others = cohort.filter(pl.col("split").is_in(["val", "test"]))
    apart = ["patient_id", "hospital_id"] if settings.split == "hospital" else ["patient_id"]
    seen = pl.any_horizontal(pl.col(name).is_in(others[name].implode()).fill_null(True) for name in apart)
    allowed = wider.select(~seen).to_series()
    died = wider[settings.outcome].fill_null(False)
    kept = wider["patient_id"].filter(allowed), died.filter(allowed)
    split = split_by_patient(*kept, settings.fractions, settings.split_seed).replace("test", "train")
    if missing := {"train", "val"} - set(split):
        raise UserError(
            f"Of the {wider.height:,} stays of data.pretraining_cohort, {len(split):,} are of patients whom data.cohort does not "
            f"validate or test on: too few for {' and '.join(sorted(missing))}. Widen it, or pretrain on the cohort itself: "
            "data.pretraining_cohort=null."
        )
    side = pl.DataFrame({"stay_id": wider["stay_id"].filter(allowed), "split": split})
    return (
        wider.select("stay_id").join(side, on="stay_id", how="left", maintain_order="left")["split"].fill_null(LEFT_OUT)
    )
