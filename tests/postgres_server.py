"""A PostgreSQL server for a test: on a socket in a folder of its own, stopped afterwards. Needs Debian's postgresql."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
THERE = BINARIES is not None


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of an empty database."""
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}  # it refuses root
    assert BINARIES is not None, "no initdb: apt-get install postgresql"
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:  # short: the socket lies in it
        if user:
            shutil.chown(folder, "postgres")
        data, quiet = f"{folder}/data", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        made = [BINARIES, "-D", data, "--username=icu", "--auth=trust", "--no-sync"]
        subprocess.run(made, check=True, **quiet, **user)
        control = [BINARIES.with_name("pg_ctl"), "-D", data, "--wait"]
        options = f"-c listen_addresses= -c fsync=off -k {folder}"
        subprocess.run([*control, "-o", options, "start"], check=True, **quiet, **user)
        try:
            yield f"postgresql://icu@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "--mode=immediate", "stop"], check=True, **quiet, **user)
