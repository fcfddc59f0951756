"""A Ray cluster of this machine, for a test: on loopback, with files and a token of its own, stopped afterwards."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HEAD = ["--head", "--block", "--node-ip-address=127.0.0.1", "--port=0", "--include-dashboard=false", "--num-cpus=2"]


@contextmanager
def one_machine(home: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which `address=auto` is this cluster.

    Arguments:
        home: where Ray keeps its token.
    """
    home.mkdir()
    environment = {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    environment |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # or every interface is listened at
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # short: sockets lie in it
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(os.urandom(32).hex())
        log = Path(folder, "out")
        command = [Path(sys.executable).with_name("ray"), "start", *HEAD, f"--temp-dir={folder}"]
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | environment)
        try:
            address = Path(folder, "ray_current_cluster")
            wait_for(lambda: "runtime started" in log.read_text() and address.exists(), log)
            yield environment | {"RAY_ADDRESS": address.read_text().strip()}
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_for(ready, log: Path, seconds: float = 90) -> None:
    began = time.monotonic()
    while not ready():
        assert time.monotonic() - began < seconds, log.read_text()[-3000:]
        time.sleep(0.1)
