"""Worse charting: what is changed and what is not, that nothing is drawn anew for a greater share, and what is written."""

import json

import numpy as np
import pytest
import torch

from icu_lightning.errors import UserError
from icu_lightning.examination import robustness as examination
from icu_lightning.examination.robustness import KINDS, TITLES, robustness
from icu_lightning.models.teacher_student.masking import fixed_numbers
from icu_lightning.models.vis import rates
from icu_lightning.robustness import write_robustness
from tests.conftest import run_in
from tests.models.teacher_student.conftest import HOURS, stays


class Last:
    """A model whose risk is the mean of the scores that are known; S = 1."""

    def predict(self, batch):
        vis, known = rates(batch)
        score = torch.where(known, vis, 0.0)[..., -1].sum(1) / known[..., -1].sum(1).clamp(min=1)
        return torch.sigmoid(score).double().unsqueeze(1)


ASKED = {kind: [0.0, 0.3, 0.8] for kind in ("hours", "spans", "held")} | {"shifted": [0, 2]}


@pytest.mark.parametrize(("kind", "amount"), [("hours", 0.5), ("spans", 0.5), ("held", 0.5), ("shifted", 3)])
def test_only_drugs_of_hours_in_the_unit_change_and_a_stay_is_alone(kind, amount):
    batch = stays(60, left=True)
    worse = KINDS[kind](batch, amount, fixed_numbers(batch, 0))
    changed = (worse.vis != batch.vis).any(2) | (worse.vis_observed != batch.vis_observed).any(2)
    assert changed.any()
    assert not changed[~batch.in_icu].any()
    assert not worse.vis_observed[~batch.in_icu].any()
    assert (worse.vis[~worse.vis_observed] == 0).all()
    assert torch.equal(worse.in_icu, batch.in_icu)
    one = batch[17:18]
    assert torch.equal(KINDS[kind](one, amount, fixed_numbers(one, 0)).vis, worse.vis[17:18])


@pytest.mark.parametrize("kind", ["hours", "spans"])
def test_a_greater_share_hides_the_hours_of_a_smaller_one_too(kind):
    batch = stays(60, left=True)
    uniform = fixed_numbers(batch, 0)
    few, many = (KINDS[kind](batch, share, uniform).vis_observed for share in (0.3, 0.7))
    assert not (many & ~few).any()
    assert int(many.sum()) < int(few.sum()) < int(batch.vis_observed.sum())


def test_a_held_hour_shows_the_one_before_and_the_first_stays():
    batch = stays(60)
    worse = KINDS["held"](batch, 0.5, fixed_numbers(batch, 0))
    assert torch.equal(worse.vis[:, 0], batch.vis[:, 0])
    same = (worse.vis[:, 1:] == batch.vis[:, 1:]).all(2)
    copied = (worse.vis[:, 1:] == worse.vis[:, :-1]).all(2)
    assert (same | copied).all()
    assert 0.25 < float((~same).float().mean()) < 0.55, "half of the hours, of which some are as the one before"


def test_a_shifted_hour_shows_one_that_is_near():
    batch = stays(60)
    worse = KINDS["shifted"](batch, 2, fixed_numbers(batch, 0))
    for t in range(HOURS):
        near = batch.vis[:, max(0, t - 2) : t + 3]
        assert (near == worse.vis[:, t : t + 1]).all(2).any(1).all()


def test_nothing_changed_is_the_auroc_itself_and_intervals_follow_from_the_seed():
    batch = stays(90)
    first, again = (robustness(Last(), batch, ASKED, bootstrap=40, seed=1) for _ in range(2))
    assert first == again
    for rows in first["kinds"].values():
        assert rows[0]["auroc"] == first["auroc"]
        assert rows[0]["change"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert first["kinds"]["hours"][2]["change"]["value"] != 0
    assert first["deaths"] == 30


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gaps": [0.1]}, "There is no 'gaps'"),
        ({"hours": [1.0]}, "from 0 to below 1"),
        ({"shifted": [12]}, "below 12"),
        ({"hours": ["abc"]}, "worse.hours takes numbers .* one is abc"),
        ({"spans": "0.5"}, "worse.spans is a list of numbers"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, said):
    with pytest.raises(UserError, match=said):
        robustness(Last(), stays(30), asked, bootstrap=0, seed=0)


def test_a_model_of_a_horizon_is_shown_no_hour_beyond_it(tmp_path, monkeypatch):
    """Else hour 11 of twelve could show hour 13, which only moves into the horizon by being charted late."""
    shorter = ("data.stays=400", "bootstrap=0", "data.cache_dir=null", "cohort=mtdm", "data.hours=24")
    columns = ("data.static=[age]", "model.columns=[vis_max,vis_last,vis_slope]", "model.horizon=12")
    run, seen = run_in(tmp_path / "run", "model=vis_logistic", *shorter, *columns), []
    monkeypatch.setattr(examination, "risk_of", lambda model, batch: seen.append(batch) or np.full(len(batch), 0.5))
    write_robustness({"run": str(run), "worse": ASKED, "bootstrap": 0, "seed": 0})
    assert len(seen) > 4
    for batch in seen:
        assert not batch.in_icu[:, 12:].any()
        assert not batch.vis_observed[:, 12:].any()


def test_the_command_writes_into_the_run_and_refuses_one_without_drugs(tmp_path):
    shorter = ("data.stays=400", "bootstrap=20", "data.cache_dir=null", "cohort=mtdm", "data.hours=24")
    columns = ("data.static=[age]", "model.columns=[vis_max,vis_last,vis_slope]")
    report = ("report=full", "report.explanation.stays=0", "report.stays=0", "report.embedding=0")
    run = run_in(tmp_path / "run", "model=vis_logistic", *shorter, *columns, *report)
    assert "charted worse?" not in (run / "report.html").read_text()
    asked = {"run": str(run), "worse": ASKED, "bootstrap": 20, "seed": 0}
    write_robustness(asked)
    written = json.loads((run / "robustness.json").read_text())
    assert written["synthetic"] is True
    assert "charted worse?" in (run / "report.html").read_text()
    figure = (run / "plots" / "robustness.svg").read_text()
    assert all(said in figure for said in (*TITLES.values(), "SYNTHETIC"))
    stored = json.loads((run / "metrics.json").read_text())
    assert written["auroc"]["value"] == pytest.approx(stored["test"]["raw"]["auroc"]["value"])
    with pytest.raises(UserError, match="Which run"):
        write_robustness(asked | {"run": None})
    other = run_in(tmp_path / "other", "model=logistic_regression", *shorter)
    with pytest.raises(UserError, match="reads none"):
        write_robustness(asked | {"run": str(other)})
