"""Values that were charted inside the window and stored after it: counted, or left out, of scores too."""

import pytest

from icu_lightning.data.extract import extract
from icu_lightning.data.sources.mimic3 import MIMIC3
from icu_lightning.data.sources.mimic4 import MIMIC4
from icu_lightning.errors import UserError

LABS = ["glucose", "lactate", "creatinine", "platelets"]


def counts(source, lab_time, **more):
    got = extract(source, 24, LABS, ["age_known", {"stay_at_least": 24}], "died_in_hospital", lab_time=lab_time, **more)
    return got, got.cleaning.select("kept", "stored_later", "used_before_stored", "cells").sum().row(0, named=True)


def test_late_values_of_the_demo_are_counted_or_left_out(real_root):
    """Needs icustays, admissions, patients, labevents: 1 to 4 % of the values of the first day are stored after it."""
    source = MIMIC4(real_root)
    (charted, by_chart), (stored, by_store) = (counts(source, time) for time in ("charttime", "storetime"))
    assert by_chart["stored_later"] == by_store["used_before_stored"] == 0
    assert by_store["stored_later"] == by_chart["used_before_stored"]
    assert by_store["kept"] + by_store["stored_later"] == by_chart["kept"]
    assert 0.01 < by_chart["used_before_stored"] / by_chart["kept"] < 0.04
    assert by_store["cells"] < by_chart["cells"]
    assert charted.stays["stay_id"].equals(stored.stays["stay_id"])


@pytest.mark.slow
def test_scores_of_the_demo_know_what_was_stored(real_root):
    """Needs all of MIMIC-IV's demo. A worst value that was stored too late makes a score of a stay lower, never higher."""
    source = MIMIC4(real_root)
    scores = [counts(source, time, scores=["sofa"])[0].stays["sofa"] for time in ("charttime", "storetime")]
    assert (scores[0] >= scores[1]).all()
    assert (scores[0] > scores[1]).sum() > 0


def test_a_database_that_does_not_tell_is_refused(real_root):
    with pytest.raises(UserError, match="mimic3 does not tell when a laboratory's value was stored"):
        counts(MIMIC3(real_root), "storetime")
