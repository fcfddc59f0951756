"""Commands in forks of one process, which has imported what they import: each is a process of its own, but need not load torch.

A line of JSON in, the command's exit code out; what it says is in the files that the line names. Forks have one seed for the order
of sets: what two processes must agree on is a law for two of them that share nothing, see `conftest.fresh_cli`.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("pipeline", "explanation.explain", "run")  # with torch, Lightning, scikit-learn, Matplotlib and shap
LONGEST = 600  # seconds that a command may take


class Commands:
    """The process from which commands are forked; to be closed. `said` is a folder for what they say."""

    def __init__(self, said: Path) -> None:
        self.said = said
        command = [sys.executable, "-m", "tests.forked"]
        root = str(Path(__file__).resolve().parents[1])
        found = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        self.process = subprocess.Popen(
            command, env=found, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(
        self, module: str, arguments: Sequence[str], cwd: Path, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """As `python -m module arguments` in `cwd`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        out, err = self.said / "stdout", self.said / "stderr"
        asked = {"module": module, "arguments": arguments, "cwd": str(cwd), "out": str(out), "err": str(err)}
        self.process.stdin.write(json.dumps(asked | {"environment": environment}) + "\n")
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess([module, *arguments], code, out.read_text(), err.read_text())

    def close(self) -> None:
        self.process.communicate()


def serve() -> None:
    """Fork once for each line, one after another."""
    for package in PACKAGES:
        importlib.import_module(f"icu_lightning.{package}")
    for line in sys.stdin:
        asked = json.loads(line)
        if (child := os.fork()) == 0:
            obey(**asked)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def obey(module: str, arguments: list[str], cwd: str, out: str, err: str, environment: dict[str, str]) -> None:
    """Be the command, and end as Python ends."""
    signal.alarm(LONGEST)
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        os.dup2(os.open(path, flags | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    code = 1
    try:
        called = importlib.import_module(module)
        sys.modules["__main__"] = called
        sys.argv = [str(called.__file__), *arguments]
        called.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        ended(code)


def ended(code: int) -> None:
    """What Python does at the end, and then no more: the rest of this module is the parent's."""
    import atexit
    import threading

    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
