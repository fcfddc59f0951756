"""What of the model's variables the target has."""

import numpy as np
import pytest

from icu_lightning.transferring.variables import variable_table


def test_shares_means_and_remarks():
    z, observed = np.zeros((2, 4, 3)), np.zeros((2, 4, 3), dtype=bool)
    observed[0, :, 0], z[0, :, 0] = True, [1, 2, 3, 2]
    rows = variable_table(["a", "b", "c"], ["x", "y", "z"], z, observed, ["b"], {"a": 0.25}).to_dicts()
    assert rows[0] == {
        "variable": "a",
        "unit": "x",
        "stays_with_a_value": 0.5,
        "hours_with_a_value": 0.5,
        "hours_with_a_value_training": 0.25,
        "mean_z": 2.0,
        "sd_z": pytest.approx(np.std([1, 2, 3, 2])),
        "remark": "mean 2.0 training SDs above the training mean; is the unit the same?",
    }
    assert rows[1]["remark"] == "fed as never measured, because you asked for it"
    assert rows[2]["remark"] == "charted by the database, but in no stay of this cohort"
    assert rows[2]["mean_z"] is None
