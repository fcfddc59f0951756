"""A run that dies in the middle of any of its three stages ends, gone on with, as one that did not; its stages can be reused."""

import pytest

from icu_lightning.errors import UserError
from icu_lightning.models.stage import Stage
from icu_lightning.training.stages import load_checkpoint, read_metrics
from tests.conftest import run_in
from tests.test_run import SMALL, Killed, resumed, same_results, smallest

EPOCHS = [f"model.stages.{stage}.epochs=3" for stage in ("mae", "teacher", "student")]
LINE = ("model=teacher_student", *smallest("teacher_student"), *EPOCHS, "data.batch_size=8", *SMALL)
STAGES = {"mae": "Pretraining", "teacher": "Teaching", "student": "Learning"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody killed."""
    return run_in(tmp_path_factory.mktemp("whole") / "run", *LINE)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_the_middle_of_a_stage_it_ends_as_if_it_had_not_been(stage, whole, run_here, monkeypatch, tmp_path):
    """In the second step of the second of three epochs: weights, curves, predictions and metrics are equal to the last bit."""
    real = Stage.training_step

    def dying(self, batch, step):
        if type(self).__name__ == STAGES[stage] and self.current_epoch == 1 and step == 1:
            raise Killed
        return real(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "training_step", dying)
        with pytest.raises(Killed):
            run_here(*LINE, folder="killed")
    killed = tmp_path / "killed"
    done = [row["stage"] for row in read_metrics(killed / "metrics.csv")]
    before = list(STAGES)[: list(STAGES).index(stage)]
    assert done == [name for name in before for _ in range(3)] + [stage]
    assert (killed / "checkpoints" / stage / "last.ckpt").exists()
    assert not (killed / "checkpoints" / stage / "finished.json").exists()
    resumed(killed)
    assert same_results(whole, killed)


@pytest.mark.slow
def test_what_it_learnt_is_taken_by_a_run_of_its_split_and_by_no_other(whole, run_here):
    """The trainer of a run knows whom that run validates and tests on."""
    taken = (*LINE, f"model.stages.teacher.checkpoint={whole}")
    again = run_here(*taken, folder="again")
    teachers = [load_checkpoint(folder / "checkpoints" / "teacher" / "best.ckpt") for folder in (whole, again)]
    assert teachers[0]["origin"]["patients"].keys() == teachers[1]["origin"]["patients"].keys() == {"mae", "teacher"}
    with pytest.raises(UserError, match=r"stage 'mae' was trained on [\d,]+ patients, \d+ of them test patients here"):
        run_here(*taken, "data.split_seed=1", folder="other")
