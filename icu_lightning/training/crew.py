"""The processes that train one run together. Rank 0 is the run; the others train along, and do nothing else.

Rank 0 alone reads tables, writes the run folder, predicts, evaluates and logs. Only when a model asks it to train, which one that is
no neural network never does, it sends its training and validation stays to the others, who build the same model and join in. So
there is one run, one folder and one file of predictions, however many devices there are.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import IO, Any

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.plugins.environments import LightningEnvironment

from icu_lightning.errors import UserError
from icu_lightning.training.ranks import started

STEP = timedelta(hours=1)  # the longest that ranks wait for one another within training
IDLE = timedelta(days=7)  # the longest that the others wait for work, while rank 0 reads tables or evaluates a fold
LAST = 20  # lines of what a rank said before it died
HOST = "127.0.0.1"


class OurOwn(LightningEnvironment):
    """Processes that rank 0 started on its own machine; Lightning must not start any."""

    @property
    def creates_processes_externally(self) -> bool:
        return True


class Crew:
    """Rank `rank` of `size`; as a context, the others end with the block.

    Arguments:
        size: all processes.
        rank: of this one.
        starter: what started them all; None if rank 0 starts the others, when there is work.
    """

    def __init__(self, size: int = 1, rank: int = 0, starter: ClusterEnvironment | None = None) -> None:
        self.size, self.rank, self.starter = size, rank, starter
        self.environment = starter or OurOwn()
        self.engaged = False  # the others were given this model's task
        self._task: Callable[[], object] | None = None
        self._control: Any = None
        self._others: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._control is not None:
            if kind is None and self.rank == 0:
                self._send(None)
            self._end_the_others(at_once=kind is not None)
            dist.destroy_process_group()
            self._control = None

    @contextmanager
    def ready_for(self, task: Callable[[], object]) -> Iterator[None]:
        """While a model is fitted: should it train, `task()` is what the others are given.

        Raises UserError with the last words of another rank, if the fit failed because that one died.
        """
        self.engaged, self._task = False, task
        try:
            yield
        except UserError:
            raise
        except RuntimeError as error:
            if self.size > 1 and (words := self._last_words(error)):
                raise UserError(words) from error
            raise

    def engage(self) -> None:
        """Called before training: at a model's first stage, rank 0 gives the others their task."""
        if self.size == 1 or self.rank or self.engaged:
            return
        if self._control is None:
            self._start_the_others()
        assert self._task is not None
        self._send(self._task())
        self.engaged = True

    def received(self) -> Any:
        """The next task, on a rank that is not 0; None if there is no more."""
        return self._send(None)

    def agreed(self, value: Any) -> Any:
        """What rank 0 says; nobody goes on before everybody has asked."""
        return value if self.size == 1 else self._send(value)

    def join(self) -> None:
        """Meet the processes that torchrun or Slurm started; nothing to do for processes of our own."""
        if isinstance(self.starter, TorchElasticEnvironment):
            self._meet(init_method="env://")
        elif self.starter is not None:
            self._meet(init_method=f"tcp://{self.starter.main_address}:{self.starter.main_port}")

    def _send(self, value: Any) -> Any:
        """Rank 0's value, on all ranks."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._control)
        return box[0]

    def _meet(self, **where: Any) -> None:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, rank=self.rank, world_size=self.size, timeout=STEP, **where)
        self._control = dist.new_group(backend="gloo", timeout=IDLE)

    def _start_the_others(self) -> None:
        """As many processes as there are further devices. Raises UserError if one dies before it is ready."""
        store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
        for rank in range(1, self.size):
            said = tempfile.TemporaryFile()  # noqa: SIM115  read when it has died
            command = [sys.executable, "-m", "icu_lightning.training.fitting"]
            process = subprocess.Popen(
                command,
                env=_environment(rank, self.size, store.port),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,  # Ctrl-C is rank 0's to hear
            )
            self._others.append((process, said))
        try:
            while not store.check([_here(rank) for rank in range(1, self.size)]):
                if any(process.poll() is not None for process, _ in self._others):
                    raise UserError(self._last_words(None))
                time.sleep(0.02)
            with _loopback():
                self._meet(store=store)
        except BaseException:
            self._end_the_others(at_once=True)
            raise

    def _end_the_others(self, *, at_once: bool) -> None:
        for process, said in self._others:
            if not at_once:
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    at_once = True
            if at_once:
                process.kill()
                process.wait()
            said.close()
        self._others = []

    def _last_words(self, error: RuntimeError | None) -> str:
        """What a rank that has died said last; empty if all are alive and `error` is no lost connection."""
        deadline = time.monotonic() + 10
        while self._others and time.monotonic() < deadline:
            for rank, (process, said) in enumerate(self._others, start=1):
                if process.poll():
                    said.seek(0)
                    return _words(rank, process.returncode, said.read().decode(errors="replace"))
            time.sleep(0.1)
        return LOST.format(self.rank) if error is not None and lost(error) else ""


LOST = "rank {}: another process of this run has stopped, and this one cannot go on; what it said last is the reason."


def lost(error: Exception) -> bool:
    """Whether an error of torch means that another process has gone."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "Connection", "NCCL"))


def _words(rank: int, code: int, text: str) -> str:
    lines = text.strip().splitlines()[-LAST:]
    told = next((line.split(": ", 1)[1] for line in lines if line.startswith("error")), None)
    if told is not None:
        at = next(i for i, line in enumerate(lines) if line.startswith("error"))
        return "\n".join([told, *lines[at + 1 :]])
    ended = (
        f"was ended by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    )
    hint = "; out of memory?" if code == -signal.SIGKILL else "."
    return "\n".join([f"The training process of rank {rank} {ended}{hint}", *lines])


def crew_of(trainer: Mapping[str, Any]) -> Crew:
    """Those whom torchrun or Slurm started with this process, whom it has met; else as many as trainer.devices says, started later.

    `auto` is every GPU, and one on a CPU.
    """
    rank, size = started()
    if size > 1:
        return together(rank, size)
    devices = trainer.get("devices", 1)
    if devices == "auto":
        devices = max(1, torch.cuda.device_count()) if trainer["accelerator"] in ("gpu", "cuda", "auto") else 1
    return Crew(int(devices))


def together(rank: int, size: int) -> Crew:
    """Processes that torchrun or Slurm started; returns when all are there. Raises UserError for a step that Lightning cannot use."""
    try:
        elastic = TorchElasticEnvironment.detect()
        crew = Crew(size, rank, TorchElasticEnvironment() if elastic else SLURMEnvironment(auto_requeue=False))
    except RuntimeError as error:  # --ntasks without --ntasks-per-node
        raise UserError(str(error)) from error
    crew.join()
    return crew


def one_of_ours() -> Crew:
    """The crew of a process that rank 0 of `_start_the_others` has started."""
    crew = Crew(int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"]))
    store = dist.TCPStore(HOST, int(os.environ["MASTER_PORT"]), is_master=False)
    store.set(_here(crew.rank), "")
    crew._meet(store=store)
    return crew


def _here(rank: int) -> str:
    return f"icu_lightning/{rank}"


def _environment(rank: int, size: int, port: int) -> dict[str, str]:
    """Of a process that is started: the same packages, its place, and no word of Slurm, which knows of one process only."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port, "MASTER_ADDR": HOST}
    path = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    return inherited | path | LOOPBACK | {name: str(value) for name, value in place.items()}


LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}


@contextmanager
def _loopback() -> Iterator[None]:
    """gloo looks for the machine's name otherwise, which need not have an address."""
    before = {name: os.environ.get(name) for name in LOOPBACK}
    os.environ.update(LOOPBACK)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
