"""Several processes train one run: one folder, every stay once, and the numbers of one process on the same checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import pytorch_lightning as lightning
import torch
from sklearn.metrics import roc_auc_score

from icu_lightning.build import built
from icu_lightning.data.loader import StayLoader
from icu_lightning.errors import UserError
from icu_lightning.models.base import RiskModule, anew
from icu_lightning.training.checkpoint import trained
from icu_lightning.training.crew import Crew
from icu_lightning.training.preemption import Preempted, heard
from icu_lightning.training.ranks import check_devices, started
from icu_lightning.training.stages import StageTrainer, read_metrics, restore
from tests.conftest import composed, run_in
from tests.models.mtdm.conftest import gaussian_stays
from tests.test_run import FILES, resumed, same_results

PLAIN = ("model.input_dropout=0", "model.recurrent_dropout=0", "model.dropout=0")  # nothing random but the order
MODELS = {
    "focal_lstm": PLAIN,
    "mtdm": ("model/size=tiny", "imputation.stays=10"),
    "teacher_student": ("model/network=tiny", "cohort=h48"),
    "summary_gru": (),
}
ONE = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "deterministic": True, "threads": 1}
TWO = ("trainer=ddp_cpu", "trainer.devices=2")
SMALL = ("data.stays=299", "bootstrap=20", "++report.explanation.stays=0")  # 164 to train on, 37 to validate


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("n", [3, 64, 65, 67, 200])
def test_processes_share_out_each_batch_of_one_process(n, ranks):
    stays = gaussian_stays(n)[0]
    whole = [set(batch.stay_id) for batch in StayLoader(stays, 64, shuffle_seed=3)]
    shares = [list(StayLoader(stays, 64, shuffle_seed=3, rank=rank, ranks=ranks)) for rank in range(ranks)]
    for i, batch in enumerate(whole):
        assert set().union(*(share[i].stay_id for share in shares)) == batch
        assert all(len(share[i]) for share in shares)
    assert {len(share) for share in shares} == {len(whole)}, "else some would wait for ever"


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("n", [3, 64, 65, 67, 200])
def test_in_order_every_stay_is_in_one_process_once(n, ranks):
    stays = gaussian_stays(n)[0]
    shares = [list(StayLoader(stays, 64, rank=rank, ranks=ranks)) for rank in range(ranks)]
    seen = [stay for share in shares for batch in share for stay in batch.stay_id]
    assert sorted(seen) == sorted(stays.stay_id)
    assert len({len(share) for share in shares}) == 1
    assert all(len(batch) for share in shares for batch in share)


def test_more_devices_than_stays_are_refused():
    with pytest.raises(UserError, match="3 devices cannot share 2 stays"):
        StayLoader(gaussian_stays(2)[0], 64, ranks=3)


class Restored:
    """A trainer that trains nothing: each stage has the weights that a run found best, and the last one is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fit(self, module, data, *, stage: str, **_: object) -> None:
        restore(module, self.folder / "checkpoints" / stage / "best.ckpt")
        self.module, self.stage = module, stage

    def keep(self, model, **_: object) -> None:
        pass


def validated(module, data) -> dict[str, float]:
    """What one process finds of all validation stays."""
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    with pytest.warns() as _:  # Lightning's, of few workers and of torch
        (found,) = trainer.validate(module, dataloaders=StayLoader(data.val, 1024), verbose=False)
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Callable[[str], Path]:
    """A function: model -> the folder of its run in two processes, made once."""
    return cache(lambda name: run_in(tmp_path_factory.mktemp("two") / name, *TWO, *arguments_of(name)))


def arguments_of(name: str) -> tuple[str, ...]:
    return (f"model={name}", "trainer.max_epochs=3", "data.cache_dir=null", *SMALL, *MODELS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_two_processes_find_what_one_finds_on_the_same_checkpoint(name, two, synthetic_data):
    """An odd number of validation stays, so that the shares differ; AUROC to 1e-6, the others to the digits of metrics.csv."""
    folder = two(name)
    assert {path.name for path in folder.iterdir()} == FILES | ({"imputations.parquet"} if name == "mtdm" else set())
    table, metrics = pl.read_parquet(folder / "predictions.parquet"), json.loads((folder / "metrics.json").read_text())
    attrition = pl.read_csv(folder / "attrition.csv")
    if "block" in attrition.columns:  # those of the wider cohort, on which it is pretrained, are told beside it
        attrition = attrition.filter(pl.col("block") == "cohort")
    assert table.height == table["stay_id"].n_unique() == attrition["stays"][-1]
    found = trained(folder)
    config = found.content["data"]["settings"]
    same = ("variables", "hours", "cohort", "vis", "severity", "static")
    data = synthetic_data(299, **{key: config[key] for key in same})
    auroc = roc_auc_score(data.test.label, found.model.predict(data.test).mean(1))
    assert metrics["test"]["raw"]["auroc"]["value"] == pytest.approx(auroc, abs=1e-6)
    assert len(data.val) % 2 == 1 or name != "focal_lstm"
    again = Restored(folder)
    found.model.fit(data, again)
    stage = again.stage
    best = json.loads((folder / "checkpoints" / stage / "finished.json").read_text())
    rows = [row for row in read_metrics(folder / "metrics.csv") if row["stage"] == stage]
    alone = validated(again.module, data)
    for metric in [metric for metric in alone if metric.startswith("val/")]:
        kept = float(rows[best["best_epoch"]][metric])
        # abs: a divergence of nearly equal risks is a small difference of rounded numbers
        assert kept == pytest.approx(alone[metric], rel=1e-5, abs=1e-6), metric
        assert best.get(metric, alone[metric]) == pytest.approx(alone[metric], abs=1e-6)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(two, run_here):
    """With nothing random in the network, and batches that can be halved."""
    one = run_here(*arguments_of("focal_lstm"))
    for row, other in zip(
        read_metrics(two("focal_lstm") / "metrics.csv"), read_metrics(one / "metrics.csv"), strict=True
    ):
        mine, its = ({k: float(v) for k, v in each.items() if k != "stage"} for each in (row, other))
        assert mine == pytest.approx(its, rel=2e-3)


def test_a_model_that_is_no_network_starts_nobody(run_here, capsys, monkeypatch):
    monkeypatch.setattr(Crew, "_start_the_others", lambda self: pytest.fail("a process was started"))
    run_here(*TWO, "model=logistic_regression", *SMALL)
    assert "trains by itself, in one process" in capsys.readouterr().out


WRONG = {
    "mistake": r"^these stays are unlike any others",
    "kill": r"rank 1 was ended by signal 9 \(SIGKILL\); out of memory\?",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", WRONG)
def test_what_kills_another_process_is_told(how, run_here):
    failing = ("model=focal_lstm", "model._target_=tests.failing_model.FailingModel", f"+model.how={how}")
    without = [f"~model.{key}" for key in ("hidden", "dense", "input_dropout", "recurrent_dropout", "dropout", "l2")]
    with pytest.raises(UserError, match=WRONG[how]):
        run_here(*TWO, *failing, *without, *SMALL)
    assert not children()


def children() -> list[str]:
    """Of this process, those that train along."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent, command = (path / "stat").read_text().rsplit(")", 1)[1].split()[1], (path / "cmdline").read_text()
        except OSError:  # it has just ended
            continue
        if int(parent) == os.getpid() and "icu_lightning.training.fitting" in command:
            found.append(command)
    return found


@pytest.mark.slow
def test_two_processes_that_are_told_to_stop_go_on_to_the_same_numbers(two, run_here, monkeypatch, tmp_path):
    real = RiskModule.training_step

    def stopping(self, batch, step):
        if self.trainer.current_epoch == 1 and step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        return real(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(RiskModule, "training_step", stopping)
        with pytest.raises(Preempted), heard():
            run_here(*TWO, *arguments_of("focal_lstm"), folder="stopped")
    assert not children()
    resumed(tmp_path / "stopped")
    assert same_results(two("focal_lstm"), tmp_path / "stopped")


def slurm(rank: int) -> dict[str, str]:
    """What srun tells the processes of a step."""
    place = {
        "PROCID": rank,
        "LOCALID": rank,
        "NODEID": 0,
        "NTASKS": 2,
        "NTASKS_PER_NODE": 2,
        "STEP_NUM_TASKS": 2,
        "JOB_ID": 4000 + os.getpid(),
    }
    return {
        f"SLURM_{name}": str(value) for name, value in (place | {"NODELIST": "127.0.0.1", "JOB_NAME": "icu"}).items()
    }


@pytest.mark.slow
def test_processes_that_srun_has_started_are_one_run(tmp_path):
    """By what srun puts into the environment; the README's command shows it of torchrun."""
    line = ["-m", "icu_lightning.run", "trainer=ddp_cpu", "trainer.max_epochs=1", "report=none", *SMALL]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([sys.executable, *line], cwd=tmp_path, env=os.environ | slurm(rank), **pipes)
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    (folder,) = (tmp_path / "runs" / "synthetic-focal_lstm").iterdir()
    assert "auroc" in said[0][0]
    assert said[1] == ("", ""), "one process speaks"
    table = pl.read_parquet(folder / "predictions.parquet")
    assert table.height == table["stay_id"].n_unique()


def test_what_was_started_and_what_was_asked_for_have_to_agree(monkeypatch):
    for name, value in slurm(1).items():
        monkeypatch.setenv(name, value)
    assert started() == (1, 2)
    check_devices({"devices": 2, "nodes": 1})
    check_devices({"devices": 1, "nodes": 2})
    check_devices({"devices": "auto", "nodes": 2})
    with pytest.raises(
        UserError, match=r"2 processes were started together, but trainer.devices=1 times trainer.nodes=1 is 1"
    ):
        check_devices({"devices": 1, "nodes": 1})
    with pytest.raises(UserError, match=r"2 processes .* trainer.nodes=3 does not divide"):
        check_devices({"devices": "auto", "nodes": 3})


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", 16])
def test_a_precision_in_which_stays_are_not_read_is_refused(precision):
    check_devices({"precision": "bf16-mixed"})
    with pytest.raises(UserError, match=f"trainer.precision '{precision}'.* Known: 16-mixed, 32-true, bf16-mixed"):
        check_devices({"precision": precision})


def test_batch_norm_on_cpus_is_told_once_and_only_of_several(tmp_path, capsys):
    settings = {"accelerator": "cpu", "devices": 2, "precision": "32-true", "deterministic": True, "threads": 1}
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    for size, told in ((1, 0), (2, 1)):
        trainer = StageTrainer(folder=tmp_path, seed=0, max_epochs=1, **settings, crew=Crew(size))
        trainer._tell_of_batch_norm(module)
        trainer._tell_of_batch_norm(module)
        assert capsys.readouterr().out.count("SyncBatchNorm is for GPUs only") == told


@pytest.mark.parametrize(
    ("accelerator", "there", "asked_on"),
    [
        ("cpu", True, "cpu"),
        ("gpu", True, "cuda:1"),
        ("auto", True, "cuda:1"),
        ("gpu", False, "cpu"),
        ("mps", True, "cpu"),
    ],
)
def test_a_model_is_asked_on_cudas_gpu_that_trains_if_it_is_here(accelerator, there, asked_on, tmp_path, monkeypatch):
    """A run that was trained on one goes on elsewhere: nothing of Lightning's, which would refuse, is asked then."""
    of_lightning = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda:1")))
    trainer = StageTrainer(folder=tmp_path, seed=0, max_epochs=1, **ONE | {"accelerator": accelerator})
    if there:
        monkeypatch.setattr(trainer, "_lightning", lambda epochs, callbacks: of_lightning)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert trainer._device() == torch.device(asked_on)


def test_after_training_resuming_and_reusing_a_network_is_on_the_device(tmp_path, synthetic_data, monkeypatch):
    """Lightning leaves it on the CPU, which would draw a GPU's series. `meta` stands for the GPU: it has no numbers, but a name."""
    monkeypatch.setattr(StageTrainer, "_device", lambda self: torch.device("meta"))

    def where(kept=None, once: bool = False) -> set[str]:
        model = built(composed("model=focal_lstm").plain["model"], shape=data.shape)
        trainer = StageTrainer(folder=tmp_path, seed=0, max_epochs=1, kept=kept, **ONE)
        if once:
            trainer.fit_once(model, lambda: None, name="imputer", beside={})
        else:
            model.fit(data, trainer)
        return {parameter.device.type for parameter in model.parameters()}

    data = synthetic_data(60)
    assert where() == {"meta"}
    assert where() == {"meta"}, "loaded from finished.json's best.ckpt"
    found_before = SimpleNamespace(fit_once=lambda part, fit, **_: anew)
    assert where(kept=found_before, once=True) == {"meta"}


ON_A_DEVICE = [
    ("model=focal_lstm",),
    ("model=summary_gru",),
    ("model=teacher_student", "model/network=tiny", "cohort=h48"),
    ("model=vis_lstm", "cohort=h48"),
    ("model=two_stage", "imputer=brits", "predictor=brits"),
    ("model=two_stage", "imputer=saits", "predictor=lstm"),
    ("model=two_stage", "imputer=brits", "predictor=transformer"),
    ("model=two_stage", "imputer=brits", "predictor=gru_d"),
]


@pytest.mark.parametrize("words", ON_A_DEVICE, ids=" ".join)
def test_stays_come_to_the_device_of_a_model_and_what_it_says_back(words, synthetic_data, monkeypatch):
    """On `meta`, where an operation with a tensor of another device fails as on a GPU; there are no numbers to come back.

    Diffusion and ReMasker are left out: on what is no GPU they look at numbers.
    """
    to_cpu = torch.Tensor.cpu
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda self: torch.zeros_like(self, device="cpu") if self.is_meta else to_cpu(self)
    )
    config = composed(*words).plain
    data = synthetic_data(
        60, **{name: config["data"][name] for name in ("hours", "variables", "static", "vis", "severity")}
    )
    model = built(config["model"], shape=data.shape)
    for part in (model.imputer, model.predictor) if "model=two_stage" in words else (model,):
        getattr(part, "to", lambda _: None)(torch.device("meta"))
    asked = {"predict": (data.test,), "embed": (data.test,), "impute": (data.test, 2)}
    for name, arguments in asked.items():
        if hasattr(model, name):
            assert getattr(model, name)(*arguments).device.type == "cpu", name
