"""How many of the machine's cores this process may use, and how many calls they can take side by side."""

import os


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side() -> int:
    """How many calls of one thread its cores can take at once, at least one.

    OMP_NUM_THREADS, which a launcher gives to jobs that share a machine, bounds the cores that count.
    """
    bound = os.environ.get("OMP_NUM_THREADS", "")
    mine = min(cores(), int(bound)) if bound.isdecimal() and int(bound) else cores()
    return max(1, mine)
