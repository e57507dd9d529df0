"""How many threads a setting stands for."""

import os


def thread_count(threads: int) -> int:
    """Return ``threads``, or for 0 the number of cores that this process may use."""
    return threads or usable_cores()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1
