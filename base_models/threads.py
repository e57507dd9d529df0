"""How many threads a setting stands for."""

import os


def thread_count(threads: int) -> int:
    """Return ``threads``, or for 0 the number of cores that this process may use."""
    return threads or usable_cores()


def let_idle_threads_sleep() -> None:
    """Make OpenMP's idle threads sleep instead of spinning; call before importing what uses it.

    Two pools that spin on the same two cores were measured many times slower than one thread
    each. A value that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1
