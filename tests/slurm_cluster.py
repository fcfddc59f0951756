"""A Slurm cluster of one node, for a test: munged, slurmctld and slurmd with a configuration of their own, stopped afterwards.

A job that is queued again waits for cred_expire (seconds) before it starts: usually two minutes, here five seconds.
"""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CONF = """\
ClusterName=icu
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MinJobAge=300
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which sbatch speaks to the cluster. Needs Debian's slurm-wlm and munge."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=PATH)]
    assert not missing, f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    host = socket.gethostname().split(".")[0]
    facts = {"host": host, "user": getpass.getuser(), "folder": folder, "ports": free_ports(2), "cpus": os.cpu_count()}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    (folder / "slurm.conf").write_text(CONF.format(**facts, memory=int(memory * 0.9)))
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    munge = {name: f"{folder}/munge.{name}" for name in ("socket", "log", "seed", "pid")}
    files = [f"--{option}={munge[name]}" for option, name in MUNGE.items()]
    daemons = {
        "munged": ["--foreground", "--force", f"--key-file={folder}/munge.key", *files],
        "slurmctld": ["-D", "-i"],
        "slurmd": ["-D", "-N", host],
    }
    with ExitStack() as stack:
        for name, arguments in daemons.items():
            stack.enter_context(
                daemon([shutil.which(name, path=PATH), *arguments], folder / f"{name}.out", environment)
            )
            if name == "munged":
                wait_for(lambda: (folder / "munge.socket").exists(), folder)
        wait_for(lambda: "idle" in said(["sinfo", "--noheader", "--format=%T"], environment), folder)
        yield environment


PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
MUNGE = {"socket": "socket", "log-file": "log", "seed-file": "seed", "pid-file": "pid"}


@contextmanager
def daemon(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | environment)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def said(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False).stdout


def wait_for(ready, folder: Path, seconds: float = 60) -> None:
    began = time.monotonic()
    while not ready():
        logs = "\n".join(path.read_text()[-1500:] for path in folder.glob("*.[ol]*") if path.is_file())
        assert time.monotonic() - began < seconds, f"the cluster did not start:\n{logs}"
        time.sleep(0.2)
