"""What a model of this kind is for, and what its numbers do not say: texts, shared by page, technical report and model card."""

from icu_lightning.report.folder import Run

INTENDED = (
    "Research on prediction in intensive care: comparing models, methods and databases on equal terms.",
    "Teaching how such a model is evaluated.",
)
NOT_INTENDED = (
    "It is not a medical device. It was not approved by anybody for any use with patients.",
    "It must not decide, or help to decide, who is treated, how, or where; least of all who is not treated.",
    "It must not be used to compare units or hospitals, or to judge their staff.",
)
MADE_UP = "The stays are made up by a program. Nothing here holds for any patient."
RETROSPECTIVE = (
    "Retrospective: the stays of {database} lie in the past, and nobody acted on the risks. What happens when staff see them is "
    "not known."
)
CALIBRATED = (
    "Calibrated on {database}: a risk of 20 % means 20 of 100 only for stays like these, treated as these were. In another "
    "hospital, another country or another year the order of the risks may hold while the risks themselves are wrong. Before any "
    "use elsewhere it has to be evaluated there, and most likely recalibrated."
)
OUTCOME = (
    "The outcome is {outcome} as the database records it. It depends on treatment, on its limitation, and on where patients are "
    "discharged to; who dies after discharge counts as a survivor."
)
MEASUREMENT = (
    "What is measured, and how often, is a decision of staff. The model may learn that decision instead of the patient."
)
RARE = (
    "Groups that are rare in the database are rare in training and test: for them the numbers are least certain, or not known "
    "at all."
)
ONE_SPLIT = (
    "One split of the patients: another split would give other numbers. The intervals tell of test patients drawn anew, not of a "
    "model trained anew."
)


def intended(run: Run) -> list[str]:
    first = f"The stays are made up: the model is for trying out this software, not for saying anything about {run.outcome}."
    return [first, *INTENDED] if run.synthetic else list(INTENDED)


def limits(run: Run) -> list[str]:
    """In the order of their weight; what depends on the run is told of this run."""
    texts = [MADE_UP] if run.synthetic else []
    texts += [text.format(database=run.database, outcome=run.outcome) for text in (RETROSPECTIVE, CALIBRATED, OUTCOME)]
    texts += [f"It speaks of patients {patients(run)}. Of others it says nothing.", MEASUREMENT, RARE]
    return texts if run.folds else [*texts, ONE_SPLIT]


def patients(run: Run) -> str:
    """Who is meant, behind "patients"."""
    if "in_icu_at_prediction" in str(run.data["cohort"]):
        return f"who are alive and still in the unit {run.hours} hours after admission"
    return f"whose first {run.hours} hours are known, also of those who died or left within them"
