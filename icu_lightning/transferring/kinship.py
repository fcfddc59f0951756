"""How far from home a model is: what has to stand beside every number of a transfer, and which stays it has already seen.

A number on another database is external validation only if nobody in it helped to make the model. MIMIC-III (2001 to 2012),
MIMIC-IV (2008 on), the episode files made of MIMIC-III, and the Challenge of 2012 (MIMIC-II, 2001 to 2008) are of one hospital,
under ids that cannot be matched.
"""

from dataclasses import dataclass

import polars as pl

ONE_HOSPITAL = ("mimic3", "mimic4", "episodes", "physionet2012")
SAME_RISK = 1e-6  # what predict promises to reproduce


@dataclass(frozen=True, kw_only=True)
class Database:
    """name: of its source. synthetic: its stays are no patients'."""

    name: str
    synthetic: bool

    @property
    def called(self) -> str:
        return f"{self.name} (SYNTHETIC)" if self.synthetic else self.name


@dataclass(frozen=True, kw_only=True)
class Kinship:
    """The database that a model was trained on, and the one it is applied to."""

    trained_on: Database
    target: Database

    @property
    def same(self) -> bool:
        return self.trained_on == self.target

    @property
    def external(self) -> bool:
        """True if nobody in the target can have helped to make the model, and both are real."""
        return not self.marks

    @property
    def marks(self) -> list[str]:
        """Sentences that belong beside every number; none for an external validation on real patients."""
        trained, target = self.trained_on, self.target
        said = []
        if self.same:
            said.append(
                f"NOT EXTERNAL: trained on {trained.called} itself; stays of patients in training and validation are left out."
            )
        if trained.synthetic and target.synthetic:
            said.append("SYNTHETIC stays throughout, made up by one program: this says nothing about patients.")
        elif trained.synthetic:
            said.append(f"SYNTHETIC to real: trained on made-up stays, applied to patients of {target.name}.")
        elif target.synthetic:
            said.append(f"Real to SYNTHETIC: trained on patients of {trained.name}, applied to made-up stays.")
        elif not self.same and {trained.name, target.name} <= set(ONE_HOSPITAL):
            first, second = sorted((trained.name, target.name))
            said.append(
                f"SHARED PATIENTS: {first} and {second} are of one hospital and share patients under ids that cannot be "
                "matched; some of these stays may have been trained on."
            )
        return said

    @property
    def word(self) -> str:
        """The marks in one or two words, for a cell of a table."""
        if not self.marks:
            return "external"
        words = ["not external"] * self.same + ["SYNTHETIC"] * (self.trained_on.synthetic or self.target.synthetic)
        return ", ".join(words) or "shared patients"


def seen(kinship: Kinship, target: pl.DataFrame, own: pl.DataFrame | None) -> pl.Series:
    """(B,) True for stays of the target whose patient was in the run's training or validation.

    Ids name patients inside one database only. Two synthetic ICUs name different stays alike: there it is the same stays only if
    the model gives them the risks that it gave its own.

    Arguments:
        target: predictions for the target's stays, with `patient_id`, `stay_id` and `risk_raw`.
        own: the run's predictions.parquet; None if nobody has it.

    Raises ValueError if it is missing for a model that is applied to its own database.
    """
    nobody = pl.Series("seen", [False] * target.height, dtype=pl.Boolean)
    if not kinship.same:
        return nobody
    if own is None:
        raise ValueError("the run's predictions are needed to know whom the model has seen")
    if kinship.target.synthetic:
        both = target.join(own, on="stay_id", suffix="_own")
        alike = ((both["risk_raw"] - both["risk_raw_own"]).abs() < SAME_RISK).mean()
        if not both.height or alike < 0.5:  # type: ignore[operator]
            return nobody
    patients = own.filter(pl.col("split") != "test")["patient_id"].cast(pl.String)
    return target["patient_id"].cast(pl.String).is_in(patients.implode()).alias("seen")
