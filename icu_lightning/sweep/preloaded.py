"""What every job imports, imported once: each job is then a fork of a process that has done so, and has nothing else.

Nothing is computed here, so no thread is running when a job is forked.
"""

import os
import signal
import sys

os.environ["TERM"] = "dumb"  # jobs write into files: no colours, whatever terminal the sweep was started in

import icu_lightning.pipeline
import icu_lightning.run

sys.modules[
    "__main__"
].__spec__ = icu_lightning.run.__spec__  # multiprocessing would import the command again, as what it was

if "forkserver" in (sys.orig_argv[-1] if sys.orig_argv else ""):  # not where somebody merely imports this
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(
            number, signal.SIG_IGN
        )  # Slurm tells everybody in a job: whoever waits for the jobs' ends must stay
