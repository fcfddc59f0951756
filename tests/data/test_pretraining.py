"""The wider cohort for pretraining: nobody of it is validated or tested on; it is counted, audited and passed on."""

import dataclasses
import pickle

import polars as pl
import pytest

from icu_lightning.data.audit import audit
from icu_lightning.data.loader import TrainingData
from icu_lightning.data.module import ICUDataModule
from icu_lightning.data.pretraining import sides_of_pretraining
from icu_lightning.data.settings import source_and_settings
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.splits import LEFT_OUT
from icu_lightning.errors import UserError
from tests.conftest import composed, settings, synthetic_icu

WIDER = ["age_known", {"age_at_least": 18}, {"stay_at_least": 4}]
NARROW = [*WIDER, "first_stay", {"age_at_least": 60}, {"outcome_known": "died_in_hospital"}]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """48 h of drugs, an older cohort within a wider one, its scores as inputs: read once."""
    cache = str(tmp_path_factory.mktemp("extracts"))
    plain = composed("data=synthetic", "model=teacher_student", "model/variant=paper_shap").plain["data"]
    plain |= {"cohort": NARROW, "pretraining_cohort": WIDER, "cache_dir": cache, "variables": ["heart_rate"]}
    return lambda **changes: ready(synthetic_icu(600), source_and_settings(**plain | changes)[1])


def ready(source, chosen) -> ICUDataModule:
    data = ICUDataModule(source, chosen, seed=0)
    data.setup()
    return data


@pytest.fixture(scope="module")
def data(asked):
    return asked()


def patients(part) -> set[str]:
    return set(part.patient_id)


@pytest.mark.parametrize("fold", [None, *([i, 4] for i in range(4))])
def test_no_validation_or_test_patient_is_in_it_and_its_own_sides_are_apart(asked, fold):
    data = asked(fold=fold)
    train, val = data.pretraining.train, data.pretraining.val
    later = patients(data.val) | patients(data.test)
    assert not (patients(train) | patients(val)) & later
    assert not patients(train) & patients(val)
    everyone = patients(train) | patients(val)
    assert patients(data.train) <= everyone, "but every training patient is"
    assert len(everyone - patients(data.train)) > 50, "and many who are not in the cohort"
    assert len(patients(val)) == pytest.approx(0.15 * len(everyone), abs=3)


def test_with_hospitals_apart_so_are_those_of_validation_and_test(synthetic_eicu):
    plain = composed("data=eicu").plain["data"] | {"root": str(synthetic_eicu), "cache_dir": None, "hours": 24}
    _, chosen = source_and_settings(
        **plain | {"split": "hospital", "fractions": [0.5, 0.25, 0.25], "cohort": NARROW, "pretraining_cohort": WIDER}
    )
    data = ready(EICU(root=str(synthetic_eicu)), chosen)
    hospital = dict(data.source.stays().select("stay_id", "hospital_id").collect().iter_rows())
    seen = {hospital[stay] for part in (data.pretraining.train, data.pretraining.val) for stay in part.stay_id}
    tested = set(data.stays.filter(pl.col("split") != "train")["hospital_id"])
    assert seen
    assert tested
    assert not seen & tested


def test_it_is_transformed_as_the_cohort_is_and_knows_no_score(data):
    stays = {stay: i for i, stay in enumerate(data.train.stay_id)}
    wider = data.pretraining.train
    both = [(i, stays[stay]) for i, stay in enumerate(wider.stay_id) if stay in stays]
    assert len(both) > 50
    own, theirs = (list(rows) for rows in zip(*both, strict=True))
    assert (wider.vis[own] == data.train.vis[theirs]).all()
    assert (wider.in_icu[own] == data.train.in_icu[theirs]).all()
    score, age = data.shape.static.index("sofa"), data.shape.static.index("age")
    assert (wider.static[:, score] == 0).all()
    assert (wider.static[own, age] == data.train.static[theirs, age]).all()
    assert not wider.severity_observed.any()


def test_hours_after_the_stay_are_not_in_the_unit(data):
    """Unlike the cohort's, these stays may end within the window."""
    train = data.pretraining.train
    assert int((~train.in_icu).sum()) > 0
    assert not train.vis_observed[~train.in_icu].any()


def test_it_is_counted_in_a_block_of_its_own(data):
    table = data.attrition
    blocks = {name: table.filter(pl.col("block") == name) for name in ("cohort", "pretraining")}
    assert blocks["cohort"].drop("block").equals(data.extract.attrition)
    assert blocks["pretraining"]["filter"].to_list()[-1] == "stay_at_least 4"
    assert blocks["pretraining"]["stays"][-1] > blocks["cohort"]["stays"][-1] == data.stays.height


def test_the_audit_sees_a_test_patient_in_it(asked):
    data = asked()
    checks = {check["name"]: check["passed"] for check in audit(data)["checks"]}
    assert checks["pretraining apart"] is True
    wrong = TrainingData.of(data, 8, 0)
    wrong.train = data.test
    data.__dict__["pretraining"] = wrong
    assert {c["name"]: c["passed"] for c in audit(data)["checks"]}["pretraining apart"] is False


def test_further_processes_are_given_it(data):
    again = pickle.loads(pickle.dumps(TrainingData.of(data, 8, 0)))
    assert list(again.pretraining.train.stay_id) == list(data.pretraining.train.stay_id)
    assert again.pretraining.shape == data.shape


def test_a_model_without_labels_has_none(synthetic_data):
    data = synthetic_data()
    assert data.pretraining is None
    assert "block" not in data.attrition.columns
    assert "pretraining apart" not in {check["name"] for check in audit(data)["checks"]}


def test_nobody_left_is_told():
    stays = pl.DataFrame(
        {"stay_id": ["1", "2"], "patient_id": ["a", "b"], "hospital_id": ["h", "h"], "died_in_hospital": [True, None]}
    )
    cohort = stays.with_columns(split=pl.lit("test"))
    with pytest.raises(UserError, match=r"Of the 2 stays of data\.pretraining_cohort, 0 are of patients"):
        sides_of_pretraining(stays, cohort, settings())


def test_an_unknown_outcome_is_no_reason_to_leave_a_stay_out():
    n = 40
    stays = pl.DataFrame(
        {
            "stay_id": [f"s{i}" for i in range(n)],
            "patient_id": [f"p{i}" for i in range(n)],
            "hospital_id": ["h"] * n,
            "died_in_hospital": [None, True, False, False] * (n // 4),
        }
    )
    cohort = stays.head(10).with_columns(split=pl.Series(["train"] * 6 + ["val"] * 2 + ["test"] * 2))
    side = sides_of_pretraining(stays, cohort, settings())
    assert (side == LEFT_OUT).arg_true().to_list() == [6, 7, 8, 9]


@pytest.mark.parametrize("wrong", ["adults", 3])
def test_what_is_no_list_is_refused(wrong):
    with pytest.raises(UserError, match=r"data\.pretraining_cohort is a list of filters"):
        settings(pretraining_cohort=wrong)


def test_its_filters_are_checked_and_stored():
    with pytest.raises(UserError, match="age_at_lest"):
        settings(pretraining_cohort=[{"age_at_lest": 18}])
    chosen = settings(pretraining_cohort=WIDER)
    assert chosen.plain["pretraining_cohort"] == WIDER
    assert dataclasses.replace(chosen, cohort=WIDER).of_extract != chosen.of_extract, "each cohort has its own entry"
