"""Treatment follows the body: the sicker, the more drugs, tubes and the less urine; and survivors are treated too."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from icu_lightning.data.synthetic.people import visits_of
from icu_lightning.data.synthetic.physiology import body_of
from icu_lightning.data.synthetic.treatment import DRUGS, care_of
from icu_lightning.data.synthetic.variables import CONDITIONS
from tests.data.synthetic.conftest import configured


@pytest.fixture(scope="module")
def unit():
    """Visits, their bodies and their care."""
    settings = configured("icu")
    visits = visits_of(settings, 5, np.arange(800))
    body = body_of(settings, 5, visits)
    return visits, body, care_of(settings, 5, visits, body)


def thirds(severity):
    """The least, the middle and the most ill third of the stays."""
    return np.array_split(severity.argsort(), 3)


def test_vasoactive_drugs_follow_latent_severity(unit):
    _, body, care = unit
    severity, norepinephrine = body.strength.mean(1), care.rates[..., DRUGS.index("norepinephrine")].mean(1)
    assert spearmanr(severity, norepinephrine)[0] > 0.4
    given = [(care.rates[rows] > 0).any((1, 2)).mean() for rows in thirds(severity)]
    assert given[0] < given[1] < given[2]
    assert given[2] > 2 * given[0]


def test_tubes_and_coma_follow_severity_and_urine_the_kidneys(unit):
    visits, body, care = unit
    least, _, most = thirds(body.strength.mean(1))
    eyes, tube, urine = (care.hourly[name] for name in ("gcs_eyes", "ventilation", "urine"))
    assert (tube[most] > 0).mean() > 2 * (tube[least] > 0).mean()
    assert eyes[most].mean() < eyes[least].mean() - 0.5
    kidney, none = visits.condition == CONDITIONS.index("aki"), visits.condition == CONDITIONS.index("none")
    a_kg, severity = urine.mean(1) / visits.weight, body.strength.mean(1)
    assert np.median(a_kg[kidney]) < np.median(a_kg[none])
    assert spearmanr(a_kg[kidney], severity[kidney])[0] < spearmanr(a_kg[none], severity[none])[0] < 0


def test_survivors_are_treated_too(population):
    block = population("icu", n=1200)
    treated = np.isin(np.arange(len(block)), block.infusions["row"].to_numpy())
    died = block.truth["died"].to_numpy()
    assert 0.15 < treated[~died].mean() < treated[died].mean() < 1


def test_every_drug_is_given_to_somebody_and_each_for_its_reason(unit):
    visits, _, care = unit
    rate = {name: care.rates[..., i] for i, name in enumerate(DRUGS)}
    assert all((values > 0).any() for values in rate.values())
    weak = visits.condition == CONDITIONS.index("heart_failure")
    for inotrope in ("dobutamine", "milrinone"):
        assert not rate[inotrope][~weak].any()
    pressors = rate["norepinephrine"] + rate["dopamine"] + rate["phenylephrine"]
    for second in ("vasopressin", "epinephrine"):
        assert (pressors[rate[second] > 0] > 0).all(), "only beside another one"
    assert ((rate["norepinephrine"] > 0).astype(int) + (rate["dopamine"] > 0) + (rate["phenylephrine"] > 0)).max() == 1


def test_the_septic_have_cultures_then_antibiotics_and_only_they_are_coded_so(population):
    block = population("icu", n=1200)
    of = {kind: block.coded.filter(kind=kind) for kind in ("culture", "antibiotic", "diagnosis")}
    septic = np.isin(block.visits.condition, [CONDITIONS.index("sepsis"), CONDITIONS.index("multi_organ")])
    cultured = np.isin(np.arange(len(block)), of["culture"]["row"])
    late = of["antibiotic"].filter(of["antibiotic"]["minute"] != -60).join(of["culture"], on="row", suffix="_taken")
    treated = np.isin(np.arange(len(block)), late["row"])
    assert cultured[septic].all()
    assert treated[septic].mean() == pytest.approx(0.97, abs=0.03)
    assert treated[~septic].mean() < 0.15
    assert (late["minute"] - late["minute_taken"]).is_between(30, 330).all()
    codes = of["diagnosis"].filter(of["diagnosis"]["text"] == "99592")["row"]
    assert septic[codes.to_numpy()].all()
    assert len(codes) == pytest.approx(0.92 * septic.sum(), rel=0.05)
