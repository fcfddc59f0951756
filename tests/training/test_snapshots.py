"""Weights kept at some epochs: those of that moment, counted over all stages, and drawn."""

from itertools import pairwise

import torch

from icu_lightning.build import built
from icu_lightning.evaluation.stored import read
from icu_lightning.examination.epochs import learnt, learnt_figure
from icu_lightning.examination.examined import examined
from icu_lightning.plots.sheet import Facts
from icu_lightning.training.checkpoint import trained
from icu_lightning.training.snapshots import earlier_models
from icu_lightning.training.stages import load_checkpoint, read_metrics, stable_seed
from tests.conftest import composed

TINY = ("model=mtdm", "model/size=tiny", "data.stays=300", "data.cache_dir=null", "bootstrap=5", "imputation=null")
EPOCHS = ("model.epochs.stage1=1", "model.epochs.stage2=2", "model.snapshots=[0,1,2,3,7]")


def test_snapshots_are_the_model_of_that_moment_and_are_drawn(run_here, synthetic_data):
    folder = run_here(*TINY, *EPOCHS)
    final = trained(folder)
    earlier = earlier_models(folder, final.model)
    assert [epoch for epoch, _ in earlier] == [0, 1, 2, 3], "the last after the last epoch"
    kept = {path.relative_to(folder / "checkpoints").as_posix() for path in folder.rglob("epoch-*.ckpt")}
    assert kept == {"stage1/epoch-0.ckpt", *(f"stage2/epoch-{n}.ckpt" for n in (0, 1, 2))}, "none twice"
    data = synthetic_data(300)
    torch.manual_seed(stable_seed(0, "initial weights"))
    fresh = built(composed(*TINY, *EPOCHS).plain["model"], shape=data.shape)
    untrained = earlier[0][1].state_dict()
    assert all(torch.equal(untrained[name], weight) for name, weight in fresh.state_dict().items())
    last = load_checkpoint(folder / "checkpoints" / "stage2" / "epoch-1.ckpt")["state_dict"]
    assert all(torch.equal(last[name], weight) for name, weight in earlier[2][1].state_dict().items())
    embedded = [model.embed(data.test) for _, model in earlier]
    assert not any(torch.equal(before, after) for before, after in pairwise(embedded))

    predictions = read(folder / "predictions.parquet", None).table
    it = examined(data, final.model, final.calibrator, predictions, earlier)
    drawn = learnt(it, 40, 0, Facts(about="mtdm", synthetic=True))
    assert list(drawn.maps) == ["Raw input", "Epoch 0", "Epoch 1", "Epoch 2", "Epoch 3", "As it is used"]
    assert drawn.note.endswith(" Training ended before epoch 7.")
    assert all(points.shape == (len(drawn.label), 2) for points in drawn.maps.values())
    figure = learnt_figure(drawn)
    assert len(figure.axes) == 6
    figure.draw_without_rendering()
    assert learnt(examined(data, final.model, final.calibrator, predictions), 40, 0, drawn.facts) is None


def test_where_training_stops_early_the_weights_of_its_end_are_kept_if_they_are_asked_for(run_here):
    folder = run_here(
        *TINY,
        "model.patience=1",
        "model.epochs={stage1:0,stage2:30}",
        "model.optimizer.lr=0.2",
        f"model.snapshots={list(range(31))}",
    )
    trained_for = len(read_metrics(folder / "metrics.csv"))
    assert 1 < trained_for < 30, "else this test would not notice"
    kept = {int(path.stem.removeprefix("epoch-")) for path in folder.rglob("epoch-*.ckpt")}
    assert kept == set(range(trained_for + 1))


def test_a_model_that_kept_none_has_none(run_here):
    folder = run_here("model=logistic_regression", "data.stays=300", "data.cache_dir=null", "bootstrap=5")
    assert earlier_models(folder, trained(folder).model) == []
